"""Tests of export_folder.py. Files are empty: nothing here looks into them."""

import os
import pathlib
import stat

import pytest

from mtl_ssl_tf.serving import export_folder


def _make(folder, *names):
  for name in names:
    path = folder / name / "saved_model.pb"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"old")


def _refusal(folder, version=None, overwrite=False):
  with pytest.raises(ValueError) as caught:
    export_folder.choose_version(str(folder), version, overwrite)
  return str(caught.value).replace(str(folder), "DIR")


class TestChooseVersion:
  def test_new_empty_and_used_folders(self, tmp_path):
    assert export_folder.choose_version(str(tmp_path / "new"), None, False) == 1
    assert export_folder.choose_version(str(tmp_path / "new"), 7, False) == 7
    assert export_folder.choose_version(str(tmp_path / "new"), 1, False) == 1
    (tmp_path / ".export-killed").mkdir()  # Left by a process that was killed.
    assert export_folder.choose_version(str(tmp_path), None, False) == 1
    _make(tmp_path, "1", "10")
    (tmp_path / "notes.txt").write_text("")
    assert export_folder.choose_version(str(tmp_path), None, False) == 11
    assert export_folder.choose_version(str(tmp_path), 5, False) == 5

  def test_taken(self, tmp_path):
    _make(tmp_path, "3")
    assert _refusal(tmp_path, 3) == (
      "--version 3 is in --export_dir 'DIR'; accepted: the same with --overwrite, or another, of"
      " which 4 is the next"
    )
    assert export_folder.choose_version(str(tmp_path), 3, True) == 3
    (tmp_path / "4").mkdir()
    assert _refusal(tmp_path, 4, True) == (
      "--version 4: 'DIR/4' is no SavedModel; accepted: to --overwrite a SavedModel, nothing else"
    )

  def test_unusable_numbers(self, tmp_path):
    for number in (0, -1):
      assert _refusal(tmp_path, number) == f"--version is {number}; accepted: at least 1"
    assert _refusal(tmp_path, None, True) == (
      "--overwrite is given without --version; accepted: both, or neither"
    )

  def test_folders_of_other_things(self, tmp_path):
    (tmp_path / "thesis.txt").write_text("")
    assert _refusal(tmp_path) == (
      "--export_dir 'DIR' holds more than versions; accepted: a folder that is new, empty"
      " or holds versions"
    )
    assert _refusal(tmp_path / "thesis.txt") == (
      "--export_dir 'DIR' is a file; accepted: a folder that is new, empty or holds versions"
    )
    _make(tmp_path, "flat")
    assert _refusal(tmp_path / "flat").startswith("--export_dir 'DIR' is itself a SavedModel")


class TestNewVersion:
  def test_appears_whole_under_its_number(self, tmp_path):
    target = tmp_path / "a" / "b"
    with export_folder.new_version(str(target), 2) as folder:
      path = pathlib.Path(folder)
      _make(path.parent, path.name)
      # Nothing that a server would take for a version, at any time.
      assert all(not name.isdigit() for name in os.listdir(target))
    assert os.listdir(target) == ["2"]
    # For everyone to read: a server often runs as another user.
    assert stat.S_IMODE((target / "2").stat().st_mode) & 0o055

  def test_replaces(self, tmp_path):
    _make(tmp_path, "2")
    with export_folder.new_version(str(tmp_path), 2) as folder:
      pathlib.Path(folder).mkdir()
      pathlib.Path(folder, "saved_model.pb").write_bytes(b"new")
      assert (tmp_path / "2" / "saved_model.pb").read_bytes() == b"old"
    assert (tmp_path / "2" / "saved_model.pb").read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["2"]

  def test_a_failure_takes_new_folders_with_it(self, tmp_path):
    _make(tmp_path, "kept/1")
    for target in ("kept", "a/b"):
      with (
        pytest.raises(RuntimeError, match="half-way"),
        export_folder.new_version(str(tmp_path / target), 1) as folder,
      ):
        pathlib.Path(folder).mkdir()
        raise RuntimeError("half-way")
    assert os.listdir(tmp_path) == ["kept"]
    assert (tmp_path / "kept" / "1" / "saved_model.pb").read_bytes() == b"old"
    assert os.listdir(tmp_path / "kept") == ["1"]

  def test_a_number_taken_meanwhile_is_left_alone(self, tmp_path):
    with (
      pytest.raises(OSError, match="not empty"),
      export_folder.new_version(str(tmp_path), 1) as folder,
    ):
      pathlib.Path(folder).mkdir()
      _make(tmp_path, "1")
    assert (tmp_path / "1" / "saved_model.pb").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["1"]
