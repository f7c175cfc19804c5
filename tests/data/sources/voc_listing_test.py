"""Tests of listing a split, from lists and from the files themselves."""

import hashlib
import pathlib
import shutil

import pytest

from mtl_ssl_tf.data.sources import voc_folder, voc_listing, voc_split
from tests.data import voc_files


@pytest.fixture(name="root")
def _root(tmp_path):
  return voc_files.write(tmp_path / "voc", {"a.xml": b"<annotation/>"})


def _list(root, split: str = "train", **options):
  folder = voc_folder.VocFolder(root, split=split)
  listed = voc_listing.list_split(folder, split, **options)
  return listed, [folder.stem(position) for position in range(listed.num_images)]


class TestLists:
  def _parse(self, root, content: bytes):
    (root / "ImageSets/Main/train.txt").write_bytes(content)
    listed, names = _list(root)
    assert listed.hashes == {"ImageSets/Main/train.txt": hashlib.sha256(content).hexdigest()}
    return names, [str(fault).removeprefix("ImageSets/Main/") for fault in listed.faults]

  @pytest.mark.parametrize("split", ["trian", "../Main/train", ""])
  def test_missing_split_is_told_with_what_there_are(self, root, split):
    (root / "ImageSets/Main/val.txt").touch()
    message = f"--split {split}: no file ImageSets/Main/{split}.txt; accepted, .*: train, val"
    with pytest.raises(ValueError, match=message):
      _list(root, split)

  def test_a_name_a_line(self, root):
    assert self._parse(root, b"\xef\xbb\xbfb\r\n\n  a \n") == (["b", "a"], [])

  def test_endings_and_folders(self, root):
    assert self._parse(root, b"JPEGImages/a.jpg\ncam1/b.png\n") == (["a", "cam1/b"], [])

  def test_flags_of_files_for_one_class(self, root):
    assert self._parse(root, b"a  1\nb -1\nc  0\nd\t1\n") == (["a", "c", "d"], [])

  @pytest.mark.parametrize("file", ["Annotations/scan 1.xml", "JPEGImages/scan 1.jpg"])
  def test_a_name_with_a_blank_is_no_flag_if_there_is_a_file(self, root, file):
    (root / file).touch()
    assert self._parse(root, b"scan 1\nscan 2\n") == (["scan 1", "scan 2"], [])

  @pytest.mark.parametrize("name", ["../x", "/etc/passwd", "..", ".", "b\0"])
  def test_names_that_lead_out_are_faults(self, root, name):
    assert self._parse(root, f"a\n{name}\n".encode()) == (
      ["a"],
      [f"train.txt: line 2: {name!r}; accepted: the name of an image inside the data set"],
    )

  def test_a_name_twice_is_a_fault(self, root):
    assert self._parse(root, b"a\nb\n\na.jpg\n") == (
      ["a", "b"],
      ["train.txt: line 4: 'a' repeats line 1; accepted: each image once"],
    )

  @pytest.mark.parametrize("content", [b"", b"\n\n", b"a1 -1\n"])
  def test_no_name(self, root, content):
    with pytest.raises(ValueError, match=r"train.txt: it names no image; accepted: the name"):
      self._parse(root, content)

  @pytest.mark.parametrize(
    "line", ["../a.jpg", "/home/me/a.jpg", "C:\\me\\a.jpg", "VOC/JPEGImages/a"]
  )
  def test_a_path_of_another_machine(self, root, line):
    (root / "ImageSets/Main/train.txt").write_text(f"{line}\n/home/me/cam1/b.jpg\nc\n")
    (root / "JPEGImages/cam1").mkdir()
    (root / "JPEGImages/cam1/b.jpg").touch()
    listed, names = _list(root)
    assert (names, listed.faults) == (["a", "cam1/b", "c"], ())
    (remark,) = listed.remarks
    assert str(remark.fault) == (
      "ImageSets/Main/train.txt: lines: 2 lead elsewhere, and their ends count: a, cam1/b;"
      " accepted: names of images inside the data set"
    )

  def test_the_first_few_paths_of_another_machine_are_named(self, root):
    names = "bcdef"
    for name in names:
      (root / f"JPEGImages/{name}.jpg").touch()
    text = "".join(f"/home/me/{name}.jpg\n" for name in names)
    (root / "ImageSets/Main/train.txt").write_text(text)
    (remark,) = _list(root)[0].remarks
    assert (remark.kind, remark.is_warning) == ("names_by_end", False)
    assert remark.fault.value == "5 lead elsewhere, and their ends count: b, c, d"

  def test_the_last_part_of_a_path_that_several_folders_have(self, root):
    for name in ("JPEGImages/a.jpg", "JPEGImages/cam1/a.jpg"):
      (root / name).parent.mkdir(exist_ok=True)
      (root / name).touch()
    names, problems = self._parse(root, b"/home/me/a.jpg\ncam2/a.jpg\n/x/cam1/a.jpg\n")
    assert names == ["cam2/a", "cam1/a"]
    assert "line 1: '/home/me/a'; accepted" in problems[0]

  def test_no_text(self, root):
    with pytest.raises(ValueError, match=r"train.txt: not a UTF-8 text file"):
      self._parse(root, b"\xff\xfea\0")

  @pytest.mark.parametrize("folder", ["imagesets/main", "ImageSets", "ImageSets/Segmentation", "."])
  def test_lists_in_other_folders(self, root, folder):
    shutil.rmtree(root / "ImageSets")
    (root / folder).mkdir(parents=True, exist_ok=True)
    (root / folder / "val.txt").write_text("a")
    (root / "JPEGImages/b.jpg").touch()
    listed, names = _list(root, "val")
    assert names == ["a"]
    assert list(listed.hashes) == [(pathlib.PurePath(folder) / "val.txt").as_posix()]
    if folder != ".":  # Of a folder without lists, all images are any split.
      with pytest.raises(ValueError, match=f"no file {folder}/vall.txt; accepted, .*: val"):
        _list(root, "vall")

  def test_lists_in_any_case(self, root):
    (root / "ImageSets/Main/val.TXT").write_text("a")
    assert list(_list(root, "val")[0].hashes) == ["ImageSets/Main/val.TXT"]

  def test_lists_of_single_classes_together(self, root):
    main = root / "ImageSets/Main"
    (main / "cat_val.txt").write_text("a.jpg 1\nb.jpg -1\n")
    (main / "dog_val.txt").write_text("a.jpg -1\nb.jpg 1\nc.jpg -1\n")
    listed, names = _list(root, "val")
    assert names == ["a", "b", "c"]
    assert list(listed.hashes) == [f"ImageSets/Main/{name}_val.txt" for name in ("cat", "dog")]
    assert not listed.faults
    assert _list(root, "cat_val")[1] == ["a"]
    (main / "dog_val.txt").write_text("a.jpg\n")
    with pytest.raises(ValueError, match=r"no file ImageSets/Main/val.txt"):
      _list(root, "val")

  def test_shares_have_no_use(self, root):
    message = "--split_share has no use here, as ImageSets/Main lists the splits; .* of train$"
    with pytest.raises(ValueError, match=message):
      _list(root, shares=voc_split.Shares.parse("train=1"))


class TestAll:
  @pytest.fixture(name="files")
  def _files(self, tmp_path):
    for name in ("b.xml", "b.jpg", "a.xml", "c.png", "c.jpg", "cam1/b.jpg"):
      (tmp_path / name).parent.mkdir(exist_ok=True)
      (tmp_path / name).touch()
    return tmp_path

  def test_all_images_and_annotations(self, files):
    listed, names = _list(files, "anything")
    assert names == ["a", "b", "c", "cam1/b"]
    assert listed.origin == "all images and annotations"
    (digest,) = listed.hashes.values()
    assert list(_list(files)[0].hashes.values()) == [digest]
    (files / "d.jpg").touch()
    assert list(_list(files)[0].hashes.values()) != [digest]

  def test_drawn(self, files):
    shares = voc_split.Shares.parse("train=0.5,val=0.5", seed=2)
    drawn = {split: _list(files, split, shares=shares)[1] for split in ("train", "val")}
    assert drawn == {
      split: [name for name in ("a", "b", "c", "cam1/b") if shares.split(name) == split]
      for split in ("train", "val")
    }
    assert all(drawn.values())
    with pytest.raises(ValueError, match=r"--split is test; accepted: one of .*: train, val"):
      _list(files, "test", shares=shares)

  def test_none_drawn(self, files):
    shares = voc_split.Shares.parse("train=0.999999,val=0.000001")
    with pytest.raises(ValueError, match="--split val: no image is drawn for it"):
      _list(files, "val", shares=shares)

  def test_an_image_that_another_annotation_means_comes_by_its_name(self, files):
    folder = voc_folder.VocFolder(files)
    assert list(folder.unpaired_annotations()) == [("a", "a.xml")]
    folder.claim(["C", "cam2/b"])
    listed = voc_listing.list_split(folder, "train")
    assert [folder.stem(position) for position in range(listed.num_images)] == ["a", "b"]
