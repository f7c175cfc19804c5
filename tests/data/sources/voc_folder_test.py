"""Tests of finding files, and of staying inside the data set."""

import hashlib
import os
import pickle

import pytest

from mtl_ssl_tf.data import faults
from mtl_ssl_tf.data.sources import voc_folder
from tests.data import voc_files


@pytest.fixture(name="root")
def _root(tmp_path):
  return voc_files.write(tmp_path / "voc", {"a.xml": b"<annotation/>"})


def _error(call, *args) -> str:
  with pytest.raises(faults.FaultError) as caught:
    call(*args)
  return str(caught.value)


class TestLayout:
  def test_missing_folder_is_told_with_what_there_is(self, root):
    (root / "ImageSets/Main/train.txt").unlink()
    (root / "ImageSets/Main").rmdir()
    message = (
      "no folder ImageSets/Main; accepted: a folder with Annotations, JPEGImages and"
      " ImageSets/Main; there: Annotations, ImageSets, JPEGImages"
    )
    with pytest.raises(ValueError, match=message):
      voc_folder.VocFolder(root)

  def test_missing_data_set(self, tmp_path):
    with pytest.raises(ValueError, match=r"no folder Annotations; .* there: nothing"):
      voc_folder.VocFolder(tmp_path / "nowhere")

  @pytest.mark.parametrize("split", ["trian", "../Main/train", ""])
  def test_missing_split_is_told_with_what_there_are(self, root, split):
    (root / "ImageSets/Main/val.txt").touch()
    message = f"--split {split}: no file ImageSets/Main/{split}.txt; accepted, .*: train, val"
    with pytest.raises(ValueError, match=message):
      voc_folder.VocFolder(root).split_file(split)

  def test_extensions_in_any_case(self, root):
    for name in ("Annotations/b.XML", "JPEGImages/b.PNG", "ImageSets/Main/val.TXT"):
      (root / name).touch()
    folder = voc_folder.VocFolder(root)
    assert folder.annotation_file("b") == "Annotations/b.XML"
    assert folder.image_file("b", None) == "JPEGImages/b.PNG"
    assert folder.split_file("val") == "ImageSets/Main/val.TXT"


class TestSplit:
  def _parse(self, root, content: bytes):
    (root / "ImageSets/Main/train.txt").write_bytes(content)
    folder = voc_folder.VocFolder(root)
    listed = folder.list_split("train")
    assert listed.file == "ImageSets/Main/train.txt"
    assert listed.sha256 == hashlib.sha256(content).hexdigest()
    faults_found = [str(fault).removeprefix("ImageSets/Main/") for fault in listed.faults]
    return [folder.stem(position) for position in range(listed.num_images)], faults_found

  def test_a_name_a_line(self, root):
    assert self._parse(root, b"\xef\xbb\xbfb\r\n\n  a \n") == (["b", "a"], [])

  def test_flags_of_files_for_one_class(self, root):
    assert self._parse(root, b"a  1\nb -1\nc  0\nd\t1\n") == (["a", "c", "d"], [])

  def test_a_name_with_a_blank_is_no_flag_if_it_is_annotated(self, root):
    (root / "Annotations/scan 1.xml").touch()
    assert self._parse(root, b"scan 1\nscan 2\n") == (["scan 1", "scan 2"], [])

  @pytest.mark.parametrize("name", ["../a", "/etc/passwd", r"..\a", "..", ".", "b\0"])
  def test_names_with_folders_are_faults(self, root, name):
    assert self._parse(root, f"a\n{name}\n".encode()) == (
      ["a"],
      [f"train.txt: line 2: {name!r}; accepted: the name of an image, without folders"],
    )

  def test_a_name_twice_is_a_fault(self, root):
    assert self._parse(root, b"a\nb\n\na 1\n") == (
      ["a", "b"],
      ["train.txt: line 4: 'a' repeats line 1; accepted: each image once"],
    )

  @pytest.mark.parametrize("content", [b"", b"\n\n", b"a -1\n"])
  def test_no_name(self, root, content):
    with pytest.raises(ValueError, match=r"train.txt: it names no image; accepted: the name"):
      self._parse(root, content)

  def test_no_text(self, root):
    with pytest.raises(ValueError, match=r"train.txt: not a UTF-8 text file"):
      self._parse(root, b"\xff\xfea\0")


class TestCopies:
  def test_a_copy_reads_the_index_and_lists_nothing_again(self, root, tmp_path):
    folder = voc_folder.VocFolder(root, tmp_path / "index?#%.sqlite")
    folder.list_split("train")
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
      " .png, .bmp, .tif, .tiff, .webp"
    )
    folder = voc_folder.VocFolder(root)
    assert _error(folder.image_file, "b", None) == message
    assert _error(folder.image_file, "b", "c.jpg") == message

  def test_the_annotation_names_the_image_where_the_split_does_not(self, root):
    assert voc_folder.VocFolder(root).image_file("b", "a.jpg") == "JPEGImages/a.jpg"

  def test_the_split_comes_before_the_annotation(self, root):
    (root / "JPEGImages/b.jpg").touch()
    assert voc_folder.VocFolder(root).image_file("b", "a.jpg") == "JPEGImages/b.jpg"

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

  @pytest.mark.parametrize("filename", ["../secret.jpg", "/etc/passwd", "secret.txt"])
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
    for name in ("pipe", "folder"):
      assert "file: neither a file nor a link to one; accepted: a regular file" in _error(
        voc_folder.VocFolder(root).read, f"JPEGImages/{name}.jpg"
      )
