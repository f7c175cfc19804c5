"""Tests of input_files.py. Files are empty: nothing here looks into them."""

import pytest

from mtl_ssl_tf.serving import input_files


@pytest.fixture(name="folder")
def _folder(tmp_path):
  for name in ("b/c.jpg", "a.png", "a.jpg", "d.JPEG", "drawn/a.jpg", ".hidden.jpg", "notes.txt"):
    path = tmp_path / "in" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")
  return tmp_path / "in"


def _find(folder, source="", input_list=None):
  found, names = input_files.find_images(str(folder / source), folder / "drawn", input_list)
  assert found == folder
  return names


def _error(folder, source="", input_list=None):
  with pytest.raises(ValueError) as caught:
    _find(folder, source, input_list)
  return str(caught.value).replace(str(folder.parent), "")


class TestFolder:
  def test_folders_inside_but_no_drawn_images(self, folder):
    assert _find(folder) == ["a.jpg", "a.png", "b/c.jpg", "d.JPEG"]

  def test_a_file_whatever_it_is_called(self, folder):
    assert _find(folder, "notes.txt") == ["notes.txt"]

  def test_nothing_there(self, folder):
    assert _error(folder, "x.jpg") == "--input '/in/x.jpg' does not exist"

  def test_no_image(self, folder):
    (folder / "empty").mkdir()
    assert _error(folder, "empty") == (
      "--input '/in/empty' holds no image; accepted: .jpg, .jpeg, .png, .bmp, .tif, .tiff, .webp"
    )

  @pytest.mark.parametrize("source", ["drawn", "drawn/a.jpg"])
  def test_drawn_images_are_no_input(self, folder, source):
    assert _error(folder, source) == (
      f"--input '/in/{source}' lies in '/in/drawn', where drawn images go"
    )


class TestList:
  @pytest.fixture(name="write")
  def _write(self, tmp_path):
    def write(content: bytes) -> str:
      (tmp_path / "list.txt").write_bytes(content)
      return str(tmp_path / "list.txt")

    return write

  def test_names_with_and_without_ending(self, folder, write):
    lines = write(b"d\nb/c\r\n\na.png\na\nd.JPEG\n")
    assert _find(folder, input_list=lines) == ["d.JPEG", "b/c.jpg", "a.png", "a.jpg"]

  def test_only_images_of_the_folder(self, folder, write):
    lines = write(b"d\ne\n../in/a.jpg\ndrawn/a\n")
    assert _error(folder, input_list=lines) == (
      "--input_list '/list.txt': 'e' is no image in --input (missing: 3 of 4)"
    )

  def test_empty(self, folder, write):
    assert _error(folder, input_list=write(b"\n")) == (
      "--input_list '/list.txt' is empty; accepted: one name a line"
    )

  def test_no_text(self, folder, write):
    assert "--input_list '/list.txt' cannot be read (" in _error(folder, "", write(b"\xff"))

  def test_missing(self, folder):
    path = str(folder / "list.txt")
    assert "--input_list '/in/list.txt' cannot be read (" in _error(folder, input_list=path)

  def test_of_a_file(self, folder, write):
    assert _error(folder, "a.jpg", write(b"a")) == (
      "--input '/in/a.jpg' is a file; --input_list chooses from a folder"
    )
