"""The folder that repeats a step, of a task that is small; a detector's: `interruption_test.py`."""

import io
import json
import os
import pickle
import types
import zipfile

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from mtl_ssl_tf.training import reproduction
from tests.training import toy_task


@pytest.mark.parametrize(
  "batch",
  [
    np.ones([2, 3]),
    (np.zeros([2]), {"gt_classes": np.ones([2, 1]), "image_key": np.arange(2)}),
    # Two views of each image, as mappings in a tuple.
    ({"image": np.zeros([1])}, {"image": np.ones([1]), "boxes": {"px": np.ones([4])}}),
    [np.arange(number) for number in range(12)],
  ],
)
def test_a_batch_comes_back_as_it_was(batch):
  paths = dict(reproduction._flatten(batch))
  again = reproduction._unflatten(paths)

  def check(one, other):
    if isinstance(one, np.ndarray):
      np.testing.assert_array_equal(one, other)
    elif isinstance(one, dict):
      assert list(one) == list(other)
      for name in one:
        check(one[name], other[name])
    else:
      assert len(one) == len(other)
      for first, second in zip(one, other, strict=True):
        check(first, second)

  check(batch, again)


def test_a_part_is_missing():
  with pytest.raises(KeyError):
    reproduction._unflatten({"0": 1, "2": 3})


@pytest.fixture(name="folder")
def _folder(tmp_path):
  """With the weights and a batch of the toy task, whose loss is finite."""
  params = toy_task.experiment(tmp_path)
  model = toy_task.ToyTask(params.task).build_model()
  tf.train.Checkpoint(model=model).write(str(tmp_path / reproduction.WEIGHTS))
  np.savez(tmp_path / reproduction.BATCH_FILE, **{"": np.ones([4, 4], np.float32)})
  return tmp_path


def repeat(folder):
  return reproduction.repeat(toy_task.experiment(folder), str(folder))


def test_what_is_saved(tmp_path):
  params = toy_task.experiment(tmp_path)
  weight = tf.Variable(3.0)
  trainer = types.SimpleNamespace(checkpoint=tf.train.Checkpoint(weight=weight), config=params)
  batch = (tf.constant([1.0, 2.0]), {"gt_classes": tf.constant([3])})
  numbers, folder = {"step": 7, "batch": 5}, tmp_path / "new"
  reproduction.save(str(folder), trainer, batch, numbers, "a loss\nof an image")
  report = json.loads((folder / "report.json").read_text())
  assert report == {"step": 7, "batch": 5, "report": ["a loss", "of an image"]}
  images, labels = reproduction._read_batch(str(folder / reproduction.BATCH_FILE))
  assert (images.numpy().tolist(), labels["gt_classes"].numpy().tolist()) == ([1.0, 2.0], [3])
  weights = tf.train.load_checkpoint(str(folder / reproduction.WEIGHTS))
  assert weights.get_tensor("weight/.ATTRIBUTES/VARIABLE_VALUE") == 3.0
  assert "train_steps: 600" in (folder / "params.yaml").read_text()


def test_a_folder_repeats_its_step(folder):
  losses, gradients = repeat(folder)
  assert set(losses) == {"loss"} and gradients == {}


@pytest.mark.parametrize("enable_xla", [False, True])
def test_the_step_is_the_run_s_in_kernels_and_precision(folder, monkeypatch, enable_xla):
  made, taken = [], []
  monkeypatch.setattr(
    toy_task.ToyTask,
    "for_run",
    classmethod(lambda cls, config, runtime: made.append(runtime) or cls(config)),
  )
  monkeypatch.setattr(
    reproduction.nonfinite, "take_apart", lambda *args, **others: taken.append((args, others))
  )
  half = {"mixed_precision_dtype": "float16", "loss_scale": 64, "enable_xla": enable_xla}
  params = toy_task.experiment(folder, {"runtime": half})
  reproduction.repeat(params, str(folder))
  assert made == [params.runtime]
  (((_, _, optimizer, batch), others),) = taken
  assert others == {"jit_compile": enable_xla}
  assert float(optimizer.loss_scale) == 64.0
  np.testing.assert_array_equal(batch, np.ones([4, 4]))


class Harmful:
  """Leaves a file where it is unpickled."""

  def __init__(self, path):
    self._path = path

  def __reduce__(self):
    return os.mkdir, (str(self._path),)


def zipped(**members: bytes) -> bytes:
  content = io.BytesIO()
  with zipfile.ZipFile(content, "w") as archive:
    for name, member in members.items():
      archive.writestr(name, member)
  return content.getvalue()


def saved(save=np.savez, **arrays) -> bytes:
  content = io.BytesIO()
  save(content, **arrays)
  return content.getvalue()


def header(descr: str, shape: tuple[int, ...]) -> bytes:
  content = io.BytesIO()
  fields = {"descr": descr, "fortran_order": False, "shape": shape}
  np.lib.format.write_array_header_1_0(content, fields)
  return content.getvalue()


@pytest.mark.parametrize(
  ("content", "reason"),
  [
    (b"", "File is not a zip file"),
    (b"\x93NUMPY" + bytes(100), "File is not a zip file"),
    (pickle.dumps([1]), "File is not a zip file"),
    (saved(x=np.ones(9))[:-30], "File is not a zip file"),
    (saved(x=np.ones(9)).replace(np.ones(9).tobytes(), bytes(72)), "Bad CRC-32 for file 'x.npy'"),
    (saved(np.savez_compressed, x=np.ones(9)), "it is compressed"),
    (zipped(x=b"\x93NUMPY"), "EOF: reading magic string, expected 8 bytes got 6"),
    (zipped(x=header("<f4", (2**40,)) + b"1234"), r"x: shape (1099511627776,) and type float32 of"),
    (zipped(x=header("<f4", (-1, -1)) + b"1234"), ""),
    (zipped(x=header("|O", (1,)) + b"12345678"), r"x: shape (1,) and type object of other values"),
    (zipped(x=b"\x93NUMPY\x01\x00\x10\x00" + b"(" * 16), ""),
    (saved(**{"/".join("abcdefghi"): np.ones(1)}), "9 levels; at most 8"),
    (saved(**{"1": np.ones(1), "2": np.ones(1)}), "'0'"),
    (saved(x=np.zeros(2, "datetime64[s]")), ""),
  ],
)
def test_a_batch_that_cannot_be_read(folder, content, reason):
  path = folder / reproduction.BATCH_FILE
  path.write_bytes(content)
  with pytest.raises(ValueError) as caught:
    repeat(folder)
  assert str(caught.value).startswith(f"{path} cannot be read ({reason}")
  assert str(caught.value).endswith("); accepted: the folder as the run left it")
  assert len(str(caught.value).splitlines()) == 1


def test_arrays_that_share_their_bytes(folder):
  # Each member of the list names the same place, so that few bytes would become many.
  one = saved(x=np.ones(1000))
  place = one.index(b"PK\x01\x02")
  end = one.index(b"PK\x05\x06")
  entry, tail = one[place:end], bytearray(one[end:])
  tail[8:12] = (3).to_bytes(2, "little") * 2
  tail[12:16] = (3 * len(entry)).to_bytes(4, "little")
  path = folder / reproduction.BATCH_FILE
  path.write_bytes(one[:place] + 3 * entry + bytes(tail))
  with pytest.raises(ValueError, match="its arrays are larger than the file"):
    repeat(folder)


def test_nothing_is_unpickled(folder):
  path = folder / reproduction.BATCH_FILE
  harmful = np.array([Harmful(folder / "harm")], object)
  for content in (saved(x=harmful), pickle.dumps(harmful[0])):
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"batch.npz cannot be read \("):
      repeat(folder)
  assert not (folder / "harm").exists()


def test_a_pipe_is_not_waited_for(folder):
  path = folder / reproduction.BATCH_FILE
  path.unlink()
  os.mkfifo(path)
  with pytest.raises(ValueError) as caught:
    repeat(folder)
  assert str(caught.value) == (
    f"{path} cannot be read (a pipe and no regular file); accepted: the folder as the run left it"
  )


@pytest.mark.parametrize(
  "arrays",
  [
    {"": np.ones([4, 9], np.float32)},
    {"": np.ones([4, 4], np.int64)},
    {"": np.array(["a\nb"])},
    {"": np.float32(1.0)},
    {"0": np.ones([4, 4], np.float32), "1": np.ones([4, 4], np.float32)},
    {"image": np.ones([4, 4], np.float32)},
  ],
)
def test_a_batch_of_something_else(folder, arrays):
  path = folder / reproduction.BATCH_FILE
  path.write_bytes(saved(**arrays))
  with pytest.raises(ValueError) as caught:
    repeat(folder)
  assert str(caught.value).startswith(f"{path} is no batch that the step can be taken with (")
  assert str(caught.value).endswith("); accepted: the folder as the run left it")
  assert len(str(caught.value).splitlines()) == 1 and len(str(caught.value)) < 600


def test_weights_of_something_else(folder):
  weights = folder / reproduction.WEIGHTS
  model = tf_keras.Sequential([tf_keras.layers.Dense(1, input_shape=[7])])
  tf.train.Checkpoint(model=model).write(str(weights))
  with pytest.raises(ValueError) as caught:
    repeat(folder)
  assert str(caught.value).startswith(f"{weights} does not fit params.yaml (")
  assert len(str(caught.value).splitlines()) == 1
