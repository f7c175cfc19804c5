"""Tests of finding files, and of staying inside the data set."""

import os
import pickle

import pytest

from mtl_ssl_tf.data import faults
from mtl_ssl_tf.data.sources import voc_folder, voc_listing
from tests.data import voc_files


@pytest.fixture(name="root")
def _root(tmp_path):
  return voc_files.write(tmp_path / "voc", {"a.xml": b"<annotation/>"})


def _error(call, *args) -> str:
  with pytest.raises(faults.FaultError) as caught:
    call(*args)
  return str(caught.value)


class TestCopies:
  def test_a_copy_reads_the_index_and_lists_nothing_again(self, root, tmp_path):
    folder = voc_folder.VocFolder(root, tmp_path / "index?#%.sqlite")
    voc_listing.list_split(folder, "train")
    (root / "JPEGImages/a.jpg").unlink()
    copy = pickle.loads(pickle.dumps(folder))
    assert copy.stem(0) == "a"
    assert copy.image_file("a", None) == "JPEGImages/a.jpg"
    assert copy.read("Annotations/a.xml") == b"<annotation/>"
    assert pickle.loads(pickle.dumps(copy)).stem(0) == "a"

  def test_without_an_index_file_there_is_none(self, root):
    with pytest.raises(TypeError, match="without an index file"):
      pickle.dumps(voc_folder.VocFolder(root))


class TestFinding:
  def test_missing_annotation(self, root):
    assert _error(voc_folder.VocFolder(root).annotation_file, "b") == (
      "Annotations/b.xml: file: missing; accepted: one annotation for each image"
    )

  def test_missing_image(self, root):
    message = (
      "JPEGImages/b.*: file: missing; accepted: one image, with one of the extensions .jpg, .jpeg,"
      " .jpe, .jfif, .mpo, .png, .bmp, .tif, .tiff, .webp, .gif"
    )
    folder = voc_folder.VocFolder(root)
    assert _error(folder.image_file, "b", None) == message
    assert _error(folder.image_file, "b", "c.jpg") == message

  def test_the_annotation_names_the_image_where_the_split_does_not(self, root):
    assert voc_folder.VocFolder(root).image_file("b", "a.jpg") == "JPEGImages/a.jpg"

  def test_the_split_comes_before_the_annotation(self, root):
    (root / "JPEGImages/b.jpg").touch()
    assert voc_folder.VocFolder(root).image_file("b", "a.jpg") == "JPEGImages/b.jpg"

  def test_the_annotation_names_an_image_in_another_folder(self, root):
    for name in ("cam1/c.jpg", "cam1/d.jpg", "cam2/d.jpg"):
      (root / "JPEGImages" / name).parent.mkdir(exist_ok=True)
      (root / "JPEGImages" / name).touch()
    folder = voc_folder.VocFolder(root)
    assert folder.image_file("b", "c.jpg") == "JPEGImages/cam1/c.jpg"
    assert "there are cam1/d.jpg, cam2/d.jpg;" in _error(folder.image_file, "b", "d.jpg")
    assert "JPEGImages/b.*: file: missing" in _error(folder.image_file, "b", "c.png")

  def test_several_images(self, root):
    (root / "JPEGImages/a.png").touch()
    folder = voc_folder.VocFolder(root)
    assert "JPEGImages/a.*: file: there are a.jpg, a.png; accepted: one image" in _error(
      folder.image_file, "a", None
    )
    assert folder.image_file("a", "a.png") == "JPEGImages/a.png"

  def test_several_annotations(self, root):
    (root / "Annotations/a.XML").touch()
    assert "Annotations/a.xml: file: there are a.XML, a.xml" in _error(
      voc_folder.VocFolder(root).annotation_file, "a"
    )

  @pytest.mark.parametrize("filename", ["../secret.jpg", "/etc/passwd", "secret.txt", "secret.jpg"])
  def test_a_file_name_reaches_nothing_but_images(self, root, filename):
    (root / "secret.jpg").touch()
    (root / "JPEGImages/secret.txt").touch()
    assert "file: missing" in _error(voc_folder.VocFolder(root).image_file, "b", filename)


class TestReading:
  def test_reads(self, root):
    assert voc_folder.VocFolder(root).read("Annotations/a.xml") == b"<annotation/>"

  def test_a_link_out_of_the_data_set_is_not_followed(self, root, tmp_path):
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    (root / "JPEGImages/b.jpg").symlink_to("../../secret.jpg")
    assert _error(voc_folder.VocFolder(root).read, "JPEGImages/b.jpg") == (
      "JPEGImages/b.jpg: file: a link that leads out of the data set;"
      " accepted: a file inside the data set"
    )

  def test_links_inside_are_followed(self, root):
    (root / "pool").mkdir()
    (root / "pool/1.jpg").write_bytes(b"x")
    (root / "JPEGImages/b.jpg").symlink_to(root / "pool/1.jpg")
    assert voc_folder.VocFolder(root).read("JPEGImages/b.jpg") == b"x"

  def test_the_data_set_and_its_folders_may_be_links(self, root, tmp_path):
    images = (root / "JPEGImages").rename(tmp_path / "elsewhere")
    (root / "JPEGImages").symlink_to(images)
    (tmp_path / "link").symlink_to(root)
    folder = voc_folder.VocFolder(tmp_path / "link")
    assert folder.read("JPEGImages/a.jpg") == (images / "a.jpg").read_bytes()
    assert folder.read("Annotations/a.xml") == b"<annotation/>"

  def test_what_cannot_be_read(self, root):
    images = root / "JPEGImages"
    (images / "gone.jpg").symlink_to("nowhere.jpg")
    (images / "loop.jpg").symlink_to("loop.jpg")
    folder = voc_folder.VocFolder(root)
    assert _error(folder.read, "JPEGImages/gone.jpg") == (
      "JPEGImages/gone.jpg: file: cannot be read (No such file or directory);"
      " accepted: a readable file"
    )
    assert "cannot be read (Too many levels" in _error(folder.read, "JPEGImages/loop.jpg")

  def test_pipes_and_folders_are_not_read(self, root):
    os.mkfifo(root / "JPEGImages/pipe.jpg")
    (root / "JPEGImages/folder.jpg").mkdir()
    for name, kind in (("pipe", "a pipe and no regular file"), ("folder", "Is a directory")):
      assert f"file: cannot be read ({kind}); accepted: a readable file" in _error(
        voc_folder.VocFolder(root).read, f"JPEGImages/{name}.jpg"
      )


def test_letters_with_accents_are_the_same_in_either_spelling(tmp_path):
  composed, decomposed = "caf\u00e9", "cafe\u0301"
  voc_files.write(tmp_path, {f"{decomposed}.xml": voc_files.annotation_xml()})
  folder = voc_folder.VocFolder(tmp_path)
  assert folder.annotation_file(composed) == f"Annotations/{decomposed}.xml"
  assert folder.image_file(composed, None) == f"JPEGImages/{decomposed}.jpg"


def test_claimed_names_in_any_spelling(root):
  folder = voc_folder.VocFolder(root)
  assert not folder.is_claimed("caf\u00e9")
  folder.claim(["x/Cafe\u0301", "x/Cafe\u0301"])
  for name in ("caf\u00e9", "cam1/CAFE\u0301"):
    assert folder.is_claimed(name)
  assert not folder.is_claimed("cafe")


@pytest.mark.parametrize(("stem", "there"), [("A1", "a1"), ("b 2", "b%202")])
def test_the_nearest_name_is_told(tmp_path, stem, there):
  voc_files.write(tmp_path, {f"{there}.xml": voc_files.annotation_xml()})
  folder = voc_folder.VocFolder(tmp_path)
  for call, file in (
    (folder.annotation_file, f"Annotations/{stem}.xml"),
    (lambda name: folder.image_file(name, None), f"JPEGImages/{stem}.*"),
  ):
    with pytest.raises(faults.FaultError) as caught:
      call(stem)
    ending = "xml" if "Annotations" in file else "jpg"
    start = f"{file}: file: missing; the nearest name there is '{there}.{ending}'; accepted: "
    assert str(caught.value).startswith(start)
