"""Tests of export_paths.py. Files are empty: nothing here looks into them."""

import pytest

from mtl_ssl_tf.serving import export_paths


def _make(folder, *names):
  for name in names:
    path = folder / name / "saved_model.pb"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"")


class TestFindSavedModel:
  def test_the_highest_version_by_number(self, tmp_path):
    _make(tmp_path, "9", "10", "2")
    assert export_paths.find_saved_model(tmp_path) == str(tmp_path / "10")

  def test_a_version_or_a_flat_folder_is_its_own(self, tmp_path):
    _make(tmp_path, "9", "10", "flat", "flat/3")
    for name in ("9", "flat"):
      assert export_paths.find_saved_model(tmp_path / name) == str(tmp_path / name)

  def test_what_is_no_version_does_not_count(self, tmp_path):
    _make(tmp_path, "3", ".4-abc", "05", "-6", "7a", "٨")
    (tmp_path / "8").mkdir()  # Without a SavedModel.
    (tmp_path / "9").write_text("")
    assert export_paths.find_saved_model(tmp_path) == str(tmp_path / "3")
    assert export_paths.versions(tmp_path) == [3]

  def test_none(self, tmp_path):
    with pytest.raises(ValueError) as caught:
      export_paths.find_saved_model(tmp_path)
    assert str(caught.value) == (
      f"{str(tmp_path)!r} is no exported detector: '{tmp_path}/saved_model.pb' does not exist, nor"
      " does a version with that file"
    )
    with pytest.raises(ValueError, match=r"nowhere' is no exported detector: it is no folder$"):
      export_paths.find_saved_model(tmp_path / "nowhere")


class TestNextVersion:
  def test_the_first_is_one(self, tmp_path):
    assert export_paths.next_version(tmp_path / "new") == 1
    assert export_paths.next_version(tmp_path) == 1

  def test_follows_the_highest_name_taken(self, tmp_path):
    _make(tmp_path, "9", "10")
    assert export_paths.next_version(tmp_path) == 11
    (tmp_path / "12").mkdir()
    assert export_paths.next_version(tmp_path) == 13
