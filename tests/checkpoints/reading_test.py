import numpy as np
import pytest
import tensorflow as tf

from mtl_ssl_tf.checkpoints import reading
from tests.checkpoints import slim_files

ARRAYS = {"net/weights": np.arange(6.0).reshape(2, 3), "global_step": np.array(7, np.int64)}


@pytest.fixture(name="path", params=["V1", "V2"])
def _path(request, tmp_path):
  version = getattr(tf.compat.v1.train.SaverDef, request.param)
  return slim_files.write(tmp_path / "model.ckpt", ARRAYS, version)


def test_both_formats(path):
  assert reading.find(path, "--x") == path
  assert reading.names(path, "--x") == sorted(ARRAYS)
  found = reading.arrays(path, "--x")
  assert sorted(found) == sorted(ARRAYS)
  for name, value in ARRAYS.items():
    np.testing.assert_array_equal(found[name], value)


@pytest.mark.parametrize("ending", [".index", ".data-00000-of-00001", ".meta"])
def test_a_file_of_the_checkpoint_means_all(tmp_path, ending):
  path = slim_files.write(tmp_path / "model.ckpt", ARRAYS)
  assert reading.find(path + ending, "--x") == path


def test_a_folder_means_its_latest(tmp_path):
  slim_files.write(tmp_path / "model.ckpt-1", ARRAYS)
  path = slim_files.write(tmp_path / "model.ckpt-2", ARRAYS)
  tf.compat.v1.train.update_checkpoint_state(str(tmp_path), path)
  assert reading.find(str(tmp_path), "--x") == path


def test_a_folder_without(tmp_path):
  with pytest.raises(
    ValueError,
    match=rf"^--x '{tmp_path}' is a folder without checkpoints; accepted: one with checkpoints$",
  ):
    reading.find(str(tmp_path), "--x")


def test_a_folder_whose_latest_is_damaged(tmp_path):
  first = slim_files.write(tmp_path / "ckpt-1", ARRAYS)
  second = slim_files.write(tmp_path / "ckpt-2", ARRAYS)
  tf.compat.v1.train.update_checkpoint_state(str(tmp_path), second)
  (tmp_path / "ckpt-2.index").write_bytes(b"")
  assert reading.find(str(tmp_path), "--x") == first
  (tmp_path / "ckpt-1.index").write_bytes(b"")
  with pytest.raises(ValueError, match=r"is a folder whose checkpoints cannot be used; accepted: "):
    reading.find(str(tmp_path), "--x")


def test_a_wrong_name_is_reported_the_right_ones(tmp_path):
  slim_files.write(tmp_path / "model.ckpt", ARRAYS)
  path = tmp_path / "modle.ckpt"
  message = rf"^--x '{path}' does not exist; that folder holds model.ckpt$"
  with pytest.raises(ValueError, match=message):
    reading.find(str(path), "--x")
  with pytest.raises(ValueError, match=r"'/nowhere/at/all' does not exist$"):
    reading.find("/nowhere/at/all", "--x")


def test_not_a_checkpoint(tmp_path):
  path = tmp_path / "model.ckpt"
  path.write_bytes(b"weights")
  assert reading.find(str(path), "--x") == str(path)
  with pytest.raises(ValueError, match=rf"^--x '{path}' is no checkpoint that can be read \("):
    reading.names(str(path), "--x")


def test_an_index_without_its_beginning(tmp_path):
  path = slim_files.write(tmp_path / "model.ckpt", ARRAYS)
  index = tmp_path / "model.ckpt.index"
  index.write_bytes(index.read_bytes()[-60:])  # TensorFlow's error is an IndexError.
  with pytest.raises(ValueError, match=rf"^--x '{path}' is no checkpoint that can be read \("):
    reading.names(path, "--x")


def test_damaged(tmp_path):
  path = slim_files.write(tmp_path / "model.ckpt", {"a": np.ones(1000), "b": np.ones(1000)})
  data = tmp_path / "model.ckpt.data-00000-of-00001"
  content = bytearray(data.read_bytes())
  content[100] ^= 1
  data.write_bytes(content)
  with pytest.raises(ValueError, match=rf"^--x '{path}' is damaged: 'a' cannot be read \("):
    reading.arrays(path, "--x")


def test_cut_short(tmp_path):
  path = slim_files.write(tmp_path / "model.ckpt", {"a": np.ones(1000), "b": np.ones(1000)})
  data = tmp_path / "model.ckpt.data-00000-of-00001"
  data.write_bytes(data.read_bytes()[:9000])
  with pytest.raises(ValueError, match=rf"^--x '{path}' is damaged: 'b' cannot be read \("):
    reading.arrays(path, "--x")
