"""Tests of files.py."""

import hashlib
import os
import stat

import pytest
import tensorflow as tf

from mtl_ssl_tf import files


@pytest.fixture
def log(monkeypatch):
  """Syncs and renames in the order in which they happen; they are carried out, too."""
  done = []
  sync, replace, rename = files.sync, os.replace, os.rename

  def record(name, function):
    def call(*paths):
      done.append((name, *(os.path.basename(path) for path in paths)))
      return function(*paths)

    return call

  monkeypatch.setattr(files, "sync", record("sync", sync))
  monkeypatch.setattr(os, "replace", record("replace", replace))
  monkeypatch.setattr(os, "rename", record("rename", rename))
  return done


def fill_disk(monkeypatch, which="sync"):
  def fail(*paths):
    raise OSError(28, "No space left on device")

  monkeypatch.setattr(files if which == "sync" else os, which, fail)


class TestFiles:
  def test_the_new_content_takes_the_place_of_the_old(self, tmp_path):
    path = tmp_path / "a.json"
    files.write_bytes(path, b"one")
    files.write_text(str(path), "zwölf")
    assert path.read_bytes() == "zwölf".encode()
    assert os.listdir(tmp_path) == ["a.json"]

  def test_content_is_on_the_disk_before_it_has_its_name(self, tmp_path, log):
    files.write_bytes(tmp_path / "a", b"x")
    part = f"a.{os.getpid()}{files.PART_SUFFIX}"
    assert log == [("sync", part), ("replace", part, "a"), ("sync", tmp_path.name)]

  def test_sync_reaches_the_disk(self, tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.fstat(descriptor).st_ino))
    files.sync(tmp_path)
    assert synced == [tmp_path.stat().st_ino]

  @pytest.mark.parametrize("function", ["sync", "replace"])
  def test_what_was_there_stays_where_writing_fails(self, tmp_path, monkeypatch, function):
    path = tmp_path / "a"
    files.write_bytes(path, b"before")
    fill_disk(monkeypatch, function)
    with pytest.raises(OSError, match="No space"):
      files.write_bytes(path, b"after")
    assert path.read_bytes() == b"before"
    assert os.listdir(tmp_path) == ["a"]

  @pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
  def test_an_error_during_writing(self, tmp_path, error):
    path = tmp_path / "b.txt"
    path.write_bytes(b"old")
    with pytest.raises(error), files.writing(path) as file:
      file.write(b"half")
      raise error
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["b.txt"]

  def test_the_file_is_not_there_before_it_is_closed(self, tmp_path):
    path = tmp_path / "b.txt"
    with files.writing(path) as file:
      file.write(b"new")
      assert not path.exists()
    assert path.read_bytes() == b"new"

  @pytest.mark.parametrize("write", [files.replacing, files.writing])
  def test_the_only_writer_replaces_what_a_kill_left(self, tmp_path, write):
    left = tmp_path / ".partial.mp4"  # OpenCV goes by the ending.
    left.write_bytes(b"left, and longer")
    with write(tmp_path / "clip.mp4", only_writer=True):
      assert os.listdir(tmp_path) == [left.name]
      left.write_bytes(b"new")
    assert os.listdir(tmp_path) == ["clip.mp4"]
    assert (tmp_path / "clip.mp4").read_bytes() == b"new"

  def test_moving_syncs_the_folder_once(self, tmp_path, log):
    for name in ("a", "b"):
      (tmp_path / name).write_bytes(name.encode())
    target = tmp_path / "to"
    target.mkdir()
    files.move_into(target, [tmp_path / "a", tmp_path / "b"])
    assert log == [("replace", "a", "a"), ("replace", "b", "b"), ("sync", "to")]
    assert (target / "b").read_bytes() == b"b"

  def test_sha256(self, tmp_path):
    content = bytes(range(256)) * 1000
    (tmp_path / "a").write_bytes(content)
    assert files.sha256(tmp_path / "a") == hashlib.sha256(content).hexdigest()


class TestRemoteFiles:
  """In TensorFlow's file system in memory, which is none of the operating system's."""

  def test_written_and_replaced(self):
    for text in ("one", "two"):
      files.write_text("ram://folder/a", text)
    with tf.io.gfile.GFile("ram://folder/a") as file:
      assert file.read() == "two"
    assert tf.io.gfile.listdir("ram://folder") == ["a"]

  def test_a_failure_leaves_the_earlier_file_alone(self, monkeypatch):
    files.write_text("ram://other/a", "old")

    def fail(*args, **kwargs):
      raise tf.errors.UnavailableError(None, None, "gone")

    with monkeypatch.context() as patched:
      patched.setattr(tf.io.gfile, "rename", fail)
      with pytest.raises(tf.errors.UnavailableError):
        files.write_text("ram://other/a", "new")
    with tf.io.gfile.GFile("ram://other/a") as file:
      assert file.read() == "old"
    assert tf.io.gfile.listdir("ram://other") == ["a"]


class TestFolders:
  def make(self, path, replace=False, content=b"new"):
    with files.new_folder(path, replace=replace) as folder:
      assert not folder.exists()
      (folder / "below").mkdir(parents=True)
      (folder / "below/file").write_bytes(content)

  def test_appears_whole_with_all_on_the_disk(self, tmp_path, log):
    self.make(tmp_path / "parent" / "1")
    *synced, renamed, last = log
    assert sorted(synced) == [("sync", "below"), ("sync", "file"), ("sync", "new")]
    assert (renamed, last) == (("rename", "new", "1"), ("sync", "parent"))
    assert os.listdir(tmp_path / "parent") == ["1"]
    # For everyone to read: a server often runs as another user.
    assert stat.S_IMODE((tmp_path / "parent/1").stat().st_mode) & 0o055

  def test_replaces_the_earlier_one(self, tmp_path):
    self.make(tmp_path / "1", content=b"old")
    self.make(tmp_path / "1", replace=True)
    assert (tmp_path / "1/below/file").read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["1"]

  def test_only_an_empty_one_is_replaced_unasked(self, tmp_path):
    (tmp_path / "1").mkdir()
    self.make(tmp_path / "1", content=b"old")
    with pytest.raises(OSError, match="not empty"):
      self.make(tmp_path / "1")
    assert (tmp_path / "1/below/file").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["1"]

  def test_the_earlier_one_comes_back_where_the_new_one_cannot_be_moved(
    self, tmp_path, monkeypatch
  ):
    self.make(tmp_path / "1", content=b"old")
    rename = os.rename

    def fail(source, target):
      if os.path.basename(source) == "new":
        raise OSError(5, "Input/output error")
      rename(source, target)

    monkeypatch.setattr(os, "rename", fail)
    with pytest.raises(OSError, match="Input/output"):
      self.make(tmp_path / "1", replace=True)
    assert (tmp_path / "1/below/file").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["1"]

  def test_an_error_during_writing_leaves_nothing(self, tmp_path):
    with pytest.raises(KeyboardInterrupt), files.new_folder(tmp_path / "1") as folder:
      folder.mkdir()
      raise KeyboardInterrupt
    assert os.listdir(tmp_path) == []


class TestCheckOutput:
  @pytest.mark.parametrize("name", ["new.html", "there.html", "gs://bucket/new.html"])
  def test_accepted(self, tmp_path, monkeypatch, name):
    (tmp_path / "there.html").touch()
    monkeypatch.chdir(tmp_path)
    files.check_output(name)
    files.check_output(name if "://" in name else tmp_path / name)

  @pytest.mark.parametrize("name", ["", "missing/a.html", "there.html/a.html"])
  def test_refused(self, tmp_path, name):
    (tmp_path / "there.html").touch()
    path = tmp_path / name
    with pytest.raises(ValueError, match=f"^{path}: cannot be written; accepted: a file in a fol"):
      files.check_output(path)
