"""Time of steps in parts: by a clock that the test moves, and in a run's curves."""

import time

import pytest
import tensorflow as tf

from mtl_ssl_tf.training import checkpointing, pictures, step_times
from mtl_ssl_tf.visualization import curves
from tests.training import toy_task


def test_parts_add_up_to_the_whole():
  now = [0.0]

  def work(seconds):
    now[0] += seconds

  times = step_times.StepTimes(lambda: now[0])
  with times.between():
    work(1.0)
    with times.loop():
      for _ in range(2):
        with times.input():
          work(2.0)
        work(5.0)
      work(0.5)
    work(0.25)
  work(100.0)  # An evaluation.
  with times.between():
    work(0.75)
  assert times.take(2) == {
    "time/step_ms/input": 2000.0,
    "time/step_ms/step": 5250.0,
    "time/step_ms/rest": 1000.0,
  }
  assert set(times.take(0).values()) == {0.0}


def test_a_block_that_fails_is_counted():
  now = [0.0]
  times = step_times.StepTimes(lambda: now[0])
  with pytest.raises(ValueError, match="no batch"), times.loop(), times.input():
    now[0] = 3.0
    raise ValueError("no batch")
  found = times.take(1)
  assert found["time/step_ms/input"] == 3000.0 and found["time/step_ms/step"] == 0.0


def test_a_run_writes_the_times_of_its_own_parts(tmp_path, monkeypatch):
  """Steps, pictures and checkpoints take times that tell them apart on a busy machine too."""
  toy_task.write_records(tmp_path)
  train_step = toy_task.ToyTask.train_step

  def slow_step(self, inputs, *args, **kwargs):
    def wait(rows):
      time.sleep(0.1)
      return rows

    rows = tf.ensure_shape(tf.py_function(wait, [inputs], inputs.dtype), inputs.shape)
    return train_step(self, rows, *args, **kwargs)

  monkeypatch.setattr(toy_task.ToyTask, "train_step", slow_step)

  def slow_save(*args, **kwargs):
    time.sleep(0.6)
    return save(*args, **kwargs)

  save = checkpointing.RunCheckpoints.save
  monkeypatch.setattr(checkpointing.RunCheckpoints, "save", slow_save)
  monkeypatch.setattr(pictures.TrainingPictures, "__call__", lambda self, _: time.sleep(0.6))
  steps = {"train_steps": 8, "steps_per_loop": 2, "validation_interval": 8}
  toy_task.run(tmp_path, "run", {"trainer": steps | {"checkpoint_interval": 2}})
  series = curves.read_scalars(str(tmp_path / "run"))
  found = {part: series[f"train/time/step_ms/{part}"] for part in ("input", "step", "rest")}
  assert [where for where, _ in found.values()] == [[2, 4, 6, 8]] * 3
  # Of the loops after the first, which builds the program, the quickest.
  least = {part: min(values[1:]) for part, (_, values) in found.items()}
  assert 0.0 < least["input"] < 100.0 <= least["step"] < 600.0 <= least["rest"]
