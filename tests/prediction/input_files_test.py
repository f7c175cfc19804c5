"""Tests of input_files.py. Files are empty: nothing here looks into them."""

import pytest

from mtl_ssl_tf.prediction import input_files


@pytest.fixture(name="folder")
def _folder(tmp_path):
  for name in ("b/c.jpg", "a.png", "a.jpg", "d.JPEG", "drawn/a.jpg", ".hidden.jpg", "notes.txt"):
    path = tmp_path / "in" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")
  return tmp_path / "in"


def _find(folder, *sources, input_list=None):
  sources = [str(folder / source) for source in sources or [""]]
  inputs = input_files.find_inputs(sources, [folder / "drawn"], input_list)
  assert inputs.folder == folder
  return list(inputs.names)


def _error(folder, source="", input_list=None):
  with pytest.raises(ValueError) as caught:
    _find(folder, source, input_list=input_list)
  return str(caught.value).replace(str(folder.parent), "")


class TestFolder:
  def test_folders_inside_but_no_drawn_images(self, folder):
    assert _find(folder) == ["a.jpg", "a.png", "b/c.jpg", "d.JPEG"]

  def test_a_file_whatever_it_is_called(self, folder):
    assert _find(folder, "notes.txt") == ["notes.txt"]

  def test_nothing_there(self, folder):
    assert _error(folder, "x.jpg") == (
      "--input '/in/x.jpg' does not exist; accepted: files, folders and patterns"
    )

  def test_no_image(self, folder):
    (folder / "empty").mkdir()
    assert _error(folder, "empty") == (
      "--input '/in/empty' holds no image or video; accepted: .jpg, .jpeg, .jpe, .jfif,"
      " .mpo, .png, .bmp, .tif, .tiff, .webp, .gif, .mp4, .m4v, .mov, .avi, .mkv, .webm, .mpg,"
      " .mpeg, .wmv"
    )

  @pytest.mark.parametrize("source", ["drawn", "drawn/a.jpg"])
  def test_drawn_images_are_no_input(self, folder, source):
    assert _error(folder, source) == (
      f"--input '/in/{source}' lies in '/in/drawn'; accepted: files outside the results"
    )

  def test_videos_are_found_too(self, folder):
    (folder / "b" / "clip.MP4").write_bytes(b"")
    assert _find(folder) == ["a.jpg", "a.png", "b/c.jpg", "b/clip.MP4", "d.JPEG"]
    assert input_files.is_video("b/clip.MP4")
    assert not input_files.is_video("mp4.jpg")


class TestSeveral:
  def test_in_the_order_given_and_each_once(self, folder):
    found = _find(folder, "d.JPEG", "b", "a.jpg", "d.JPEG", "b/c.jpg")
    assert found == ["d.JPEG", "b/c.jpg", "a.jpg"]

  def test_names_begin_in_the_folder_that_holds_all(self, folder):
    files = [str(folder / "b" / "c.jpg"), str(folder / "a.png")]
    assert input_files.find_inputs(files) == input_files.Inputs(folder, ("b/c.jpg", "a.png"))
    alone = input_files.find_inputs(files[:1])
    assert alone == input_files.Inputs(folder / "b", ("c.jpg",))

  def test_relative_to_where_the_command_runs(self, folder, monkeypatch):
    monkeypatch.chdir(folder / "b")
    found = input_files.find_inputs(["c.jpg", "../a.jpg"])
    assert found == input_files.Inputs(folder, ("b/c.jpg", "a.jpg"))

  def test_a_link_to_nowhere_is_left_to_the_reader(self, folder):
    (folder / "lost.jpg").symlink_to("nowhere")
    assert _find(folder, "lost.jpg") == ["lost.jpg"]


class TestPatterns:
  @pytest.mark.parametrize(
    ("pattern", "names"),
    [
      ("*", ["a.jpg", "a.png", "d.JPEG"]),
      ("a.*", ["a.jpg", "a.png"]),
      ("**/*.jpg", ["a.jpg", "b/c.jpg"]),
      ("?/[c-d].jpg", ["b/c.jpg"]),
    ],
  )
  def test_images_but_no_drawn_images(self, folder, pattern, names):
    assert _find(folder, pattern) == names

  def test_a_folder_before_the_pattern_begins_the_names(self, folder):
    found = input_files.find_inputs([str(folder / "b" / "*.jpg")])
    assert found == input_files.Inputs(folder / "b", ("c.jpg",))

  def test_a_file_whose_name_looks_like_a_pattern(self, folder):
    (folder / "a[1].jpg").write_bytes(b"")
    assert _find(folder, "a[1].jpg") == ["a[1].jpg"]

  def test_nothing_matches(self, folder):
    message = "--input '/in/*.txt' matches no image or video; accepted: .jpg"
    assert _error(folder, "*.txt").startswith(message)


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
      "--input_list '/list.txt': 'e' is not in --input (missing: 3 of 4); accepted: names of its"
      " images and videos"
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
      "--input '/in/a.jpg' is a file; accepted: a folder, with --input_list"
    )


def test_what_is_passed_over_in_folders_is_counted(tmp_path):
  for name in ("a.jpg", "b.GIF", "c.jfif", "notes.txt", "deep/d.txt", "deep/e.xml", "Thumbs"):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).touch()
  found = input_files.find_inputs([str(tmp_path)])
  assert found.names == ("a.jpg", "b.GIF", "c.jfif")
  assert found.passed_over == {".txt": 2, ".xml": 1, "Thumbs": 1}
