"""Tests of finding the folders of a data set, whatever tool left it."""

import pytest

from mtl_ssl_tf.data.sources import voc_layout


def _touch(root, *names: str):
  for name in names:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).touch()
  return root


def _found(root, split: str | None = "train") -> list[str | None]:
  layout = voc_layout.find(root, split)
  return [layout.annotations, layout.images, layout.splits]


@pytest.mark.parametrize(
  ("files", "folders"),
  [
    (
      ["Annotations/a.xml", "JPEGImages/a.jpg", "ImageSets/Main/train.txt"],
      ["Annotations", "JPEGImages", "ImageSets/Main"],
    ),
    (["Annotations/a.xml", "JPEGImages/a.jpg"], ["Annotations", "JPEGImages", None]),
    (["Annotations/a.xml", "images/a.jpg"], ["Annotations", "images", None]),
    (["annotations/a.xml", "Images/a.jpg"], ["annotations", "Images", None]),
    (["Annotations/a.xml", "Annotations/a.jpg"], ["Annotations", "Annotations", None]),
    (["train/a.xml", "train/a.jpg", "val/b.xml", "b.xml"], ["train", "train", None]),
    (["train/a.xml", "train/images/a.jpg"], ["train", "train/images", None]),
    (
      ["train/Annotations/a.xml", "train/images/a.jpg", "train/ImageSets/Main/train.txt"],
      ["train/Annotations", "train/images", "train/ImageSets/Main"],
    ),
    (["a.xml", "a.jpg", "val/b.xml"], ["", "", None]),
    (["a.xml", "images/a.jpg"], ["", "images", None]),
    (["a.xml"], ["", "", None]),
  ],
)
def test_layouts(tmp_path, files, folders):
  assert _found(_touch(tmp_path, *files)) == folders


def test_the_folder_of_a_split_is_taken_only_where_it_is_asked_for(tmp_path):
  _touch(tmp_path, "a.xml", "train/b.xml")
  assert _found(tmp_path, None) == ["", "", None]
  assert _found(tmp_path, "val") == ["", "", None]


@pytest.mark.parametrize("split", ["..", ".", "", "../other", "x\0"])
def test_a_split_leads_nowhere_else(tmp_path, split):
  _touch(tmp_path, "a.xml", "voc/b.txt")
  with pytest.raises(ValueError, match="no folder Annotations"):
    voc_layout.find(tmp_path / "voc", split)


def test_missing_images_are_told_with_the_folders(tmp_path):
  _touch(tmp_path, "Annotations/a.xml", "pictures/a.jpg")
  message = (
    r"no folder JPEGImages; accepted: a folder with Annotations, JPEGImages \(or images\) and, for"
    r" lists of names, ImageSets/Main, or one with images and their XML files together; there:"
    r" Annotations, pictures"
  )
  with pytest.raises(ValueError, match=message):
    voc_layout.find(tmp_path)


def test_missing_data_set(tmp_path):
  with pytest.raises(ValueError, match=r"no folder Annotations; .* there: nothing"):
    voc_layout.find(tmp_path / "nowhere", "train")


class TestNames:
  def test_folders_within_and_endings_in_any_case(self, tmp_path):
    _touch(tmp_path / "Annotations", "a.XML", "cam1/day1/b.xml", ".trash/c.xml", "._d.xml", "e.txt")
    _touch(tmp_path / "JPEGImages", "a.JPG", "cam1/b.Tiff", "__MACOSX/c.jpg", "a.xml", "d.gif.txt")
    layout = voc_layout.find(tmp_path)
    assert sorted(layout.annotation_names()) == ["a.XML", "cam1/day1/b.xml"]
    assert sorted(layout.image_names()) == ["a.JPG", "cam1/b.Tiff"]

  def test_links_to_folders_are_followed_once(self, tmp_path):
    _touch(tmp_path, "Annotations/a.xml", "JPEGImages/x/a.jpg", "JPEGImages/y/b.jpg", "more/c.jpg")
    (tmp_path / "JPEGImages/more").symlink_to(tmp_path / "more")
    (tmp_path / "JPEGImages/x/to_y").symlink_to(tmp_path / "JPEGImages/y")
    (tmp_path / "JPEGImages/y/to_x").symlink_to(tmp_path / "JPEGImages/x")
    names = sorted(voc_layout.find(tmp_path).image_names())
    assert [name for name in names if name.count("/") < 2] == ["more/c.jpg", "x/a.jpg", "y/b.jpg"]
    assert len(names) == 5  # And both through the link in the other.


def test_files_of_the_data_set_itself(tmp_path):
  layout = voc_layout.find(_touch(tmp_path, "a.xml"))
  assert layout.file("", "cam1/a.xml") == "cam1/a.xml"
  assert layout.file("train", "a.xml") == "train/a.xml"
