"""The checkpoint that a run resumes from, and that the next one harms none."""

import errno
import math
import os
import pathlib
import shutil

import pytest
import tensorflow as tf

from mtl_ssl_tf.checkpoints import run_checkpoints
from mtl_ssl_tf.training import averaged_weights, checkpointing, stopping


class Run:
  """A step, a weight, and the manager of their checkpoints every 4 steps."""

  def __init__(self, folder: pathlib.Path, max_to_keep: int = 10):
    self.folder = folder
    self.step = tf.Variable(0, dtype=tf.int64)
    self.model = tf.Module()
    self.model.weight = self.weight = tf.Variable([0.0, 0.0, 0.0, 0.0])
    self.initialized = 0
    self.restore_from = run_checkpoints.newest_usable(str(folder))
    checkpointing.tidy(str(folder), self.restore_from)
    self.manager = checkpointing.RunCheckpoints(
      averaged_weights.Checkpoint(None, global_step=self.step, model=self.model),
      str(folder),
      self.restore_from,
      self.step,
      4,
      max_to_keep,
      self._initialize,
    )

  def _initialize(self):
    self.initialized += 1

  def save(self, step: int, check_interval: bool = False) -> str | None:
    self.step.assign(step)
    self.weight.assign([float(step)] * 4)
    return self.manager.save(step, check_interval=check_interval)

  def restore(self) -> int:
    self.manager.restore_or_initialize()
    assert self.weight.numpy().tolist() == [float(self.step.numpy())] * 4
    return int(self.step.numpy())


def steps(folder: pathlib.Path) -> list[int]:
  return list(run_checkpoints.numbered(str(folder)))


@pytest.fixture(name="folder")
def _folder(tmp_path):
  """Holds checkpoints of the steps 4, 8 and 12."""
  run = Run(tmp_path)
  for step in (4, 8, 12):
    run.save(step)
  return tmp_path


def data_file(folder: pathlib.Path, step: int) -> pathlib.Path:
  return folder / f"ckpt-{step}.data-00000-of-00001"


def test_newest_is_restored(folder):
  assert Run(folder).restore() == 12
  assert steps(folder) == [12, 8, 4]


def test_nothing_to_restore(tmp_path):
  run = Run(tmp_path / "new")
  assert run.restore() == 0
  assert run.initialized == 1


def break_by_index(folder):
  (folder / "ckpt-12.index").write_bytes(b"nothing")


def break_by_empty_index(folder):
  (folder / "ckpt-12.index").write_bytes(b"")


def break_by_short_data(folder):
  path = data_file(folder, 12)
  path.write_bytes(path.read_bytes()[:-3])


def break_by_flipped_bit(folder):
  path = data_file(folder, 12)
  content = bytearray(path.read_bytes())
  content[5] ^= 1
  path.write_bytes(content)


def break_by_missing_data(folder):
  data_file(folder, 12).unlink()


@pytest.mark.parametrize(
  "damage",
  [
    break_by_index,
    break_by_empty_index,
    break_by_short_data,
    break_by_flipped_bit,
    break_by_missing_data,
  ],
)
def test_damaged_checkpoint_is_left_out_and_named(folder, damage, capsys):
  damage(folder)
  run = Run(folder)
  assert run.restore() == 8
  line = capsys.readouterr().err
  assert line.startswith(
    f"warning: checkpoint {folder}/ckpt-12 is left out, as it cannot be read ("
  )
  assert line.count("\n") == 1
  # To everybody else, too, the latest one is whole.
  assert tf.train.latest_checkpoint(str(folder)) == str(folder / "ckpt-8")
  # It is in the way of none.
  run.save(12)
  assert Run(folder).restore() == 12


@pytest.mark.parametrize("left", ["data", "temp"])
def test_half_written_checkpoint_is_deleted(folder, left, capsys):
  if left == "data":
    shutil.copy(data_file(folder, 12), data_file(folder, 16))
  else:
    (folder / "ckpt-16_temp").mkdir()
    (folder / "ckpt-16_temp" / "part-00000-of-00001.data-00000-of-00001").write_bytes(b"beginning")
  assert Run(folder).restore() == 12
  assert capsys.readouterr().err == (
    f"warning: checkpoint {folder}/ckpt-16 was half written and is deleted\n"
  )
  assert not [path.name for path in folder.iterdir() if "16" in path.name]


def test_folder_for_a_second_try_is_deleted_and_the_checkpoint_is_not(folder):
  (folder / "ckpt-12_temp").mkdir()
  assert Run(folder).restore() == 12
  assert not (folder / "ckpt-12_temp").exists()


def state_gone(folder):
  (folder / "checkpoint").unlink()


def state_empty(folder):
  (folder / "checkpoint").write_text("")


def state_of_one_that_is_gone(folder):
  (folder / "checkpoint").write_text('model_checkpoint_path: "ckpt-16"\n')


def state_of_an_older_one(folder):
  (folder / "checkpoint").write_text('model_checkpoint_path: "ckpt-4"\n')


@pytest.mark.parametrize(
  "damage", [state_gone, state_empty, state_of_one_that_is_gone, state_of_an_older_one]
)
def test_the_state_file_decides_nothing(folder, damage):
  damage(folder)
  run = Run(folder, max_to_keep=3)
  assert run.restore() == 12
  assert tf.train.latest_checkpoint(str(folder)) == str(folder / "ckpt-12")
  # The files from before still count among those to keep.
  run.save(16)
  assert steps(folder) == [16, 12, 8]


def test_without_a_whole_checkpoint_the_state_file_goes(tmp_path):
  Run(tmp_path).save(4)
  (tmp_path / "ckpt-4.index").write_bytes(b"")
  Run(tmp_path)
  assert tf.train.latest_checkpoint(str(tmp_path)) is None


def test_a_step_is_saved_once(folder):
  run = Run(folder)
  run.restore()
  before = os.stat(data_file(folder, 12)).st_mtime_ns
  assert run.save(12) is None
  assert os.stat(data_file(folder, 12)).st_mtime_ns == before
  assert run.save(13) == str(folder / "ckpt-13")
  assert run.save(13) is None


def test_interval_is_a_grid_wherever_the_process_began(folder):
  Run(folder).save(14)
  run = Run(folder)
  run.restore()
  assert [step for step in range(15, 25) if run.save(step, check_interval=True)] == [16, 20, 24]


def test_full_disk_leaves_the_others(folder, monkeypatch):
  run = Run(folder)
  run.restore()
  real = tf.train.Checkpoint._write

  def write_half(self, path, options=None):
    del self, options
    pathlib.Path(f"{path}.data-00000-of-00001").write_bytes(b"beginning")
    os.makedirs(f"{path}_temp")
    raise tf.errors.ResourceExhaustedError(None, None, f"{path}; {os.strerror(errno.ENOSPC)}")

  monkeypatch.setattr(tf.train.Checkpoint, "_write", write_half)
  with pytest.raises(stopping.RunError) as error:
    run.save(16)
  assert str(error.value) == (
    f"checkpoint {folder}/ckpt-16 cannot be written ({folder}/ckpt-16; No space left on device); "
    f"the last one is {folder}/ckpt-12"
  )
  assert not [path.name for path in folder.iterdir() if "16" in path.name]
  assert Run(folder).restore() == 12
  # With room again, the same step can be saved.
  monkeypatch.setattr(tf.train.Checkpoint, "_write", real)
  assert run.save(16) == str(folder / "ckpt-16")


def test_folder_that_is_gone(folder):
  run = Run(folder)
  run.restore()
  shutil.rmtree(folder)
  folder.write_text("no longer a folder")
  with pytest.raises(stopping.RunError, match="ckpt-16 cannot be written"):
    run.save(16)


def test_a_full_disk_is_reported_in_one_line():
  where = "{{function_node __wrapped__Flush}} events.v2"
  full = f"{where}; No space left on device [Op:Flush]\nand more"
  message = r"^runs/x cannot be written to \(events\.v2; No space left on device\)$"
  for text, error, expected in (
    (full, stopping.RunError, message),
    ("OOM when allocating tensor", tf.errors.ResourceExhaustedError, "OOM"),
  ):
    with pytest.raises(error, match=expected), checkpointing.reporting_full_disk("runs/x"):
      raise tf.errors.ResourceExhaustedError(None, None, text)


class TestWeightsThatAreNotFinite:
  @pytest.fixture(name="run")
  def _run(self, folder):
    run = Run(folder)
    run.restore()
    run.step.assign(16)
    return run

  @pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
  def test_are_not_saved(self, run, value):
    before = {path: path.read_bytes() for path in run.folder.iterdir()}
    run.weight.assign([1.0, value, 1.0, 1.0])
    with pytest.raises(stopping.RunError) as error:
      run.manager.save(16, check_interval=False)
    assert str(error.value) == (
      f"checkpoint {run.folder}/ckpt-16 is not saved, as 1 of 1 variables hold numbers that are "
      f"not finite, such as model/weight; the last one is {run.folder}/ckpt-12. To change: a lower "
      "trainer.optimizer_config.learning_rate, a warm-up, or global_clipnorm of the optimizer; "
      "then the same command resumes from the last checkpoint"
    )
    assert {path: path.read_bytes() for path in run.folder.iterdir()} == before
    # Finite again, the step can be saved.
    assert run.save(16) == str(run.folder / "ckpt-16")

  def test_that_an_earlier_version_saved_are_left_out(self, run, monkeypatch, capsys):
    monkeypatch.setattr(checkpointing, "check_finite", lambda *_: None)
    run.weight.assign([math.nan] * 4)
    run.manager.save(16, check_interval=False)
    assert Run(run.folder).restore() == 12
    assert capsys.readouterr().err == (
      f"warning: checkpoint {run.folder}/ckpt-16 is left out, as weights in it are not finite (1, "
      "such as model/weight)\n"
    )


def test_what_is_removed_lies_in_the_folder(tmp_path):
  for folder in ("a", "[ab]"):
    Run(tmp_path / folder).save(4)
  checkpointing.remove(str(tmp_path / "[ab]" / "ckpt-4"))
  assert steps(tmp_path / "a") == [4]
  assert not list((tmp_path / "[ab]").glob("ckpt-4.*"))
  checkpointing.remove(str(tmp_path / "nowhere" / "ckpt-4"))
