"""Steps at which a run has pictures drawn, and where they go."""

import types

import numpy as np
import tensorflow as tf

from mtl_ssl_tf.training import pictures


def _action(interval: int, step: int, folder) -> pictures.TrainingPictures:
  """Draws the step's number as a grey value."""
  task = types.SimpleNamespace(
    picture_interval=interval, draw=lambda model, step: [np.full([4, 4, 3], step, np.uint8)]
  )
  return pictures.TrainingPictures(task, None, tf.Variable(step, dtype=tf.int64), str(folder))


def tags(folder) -> list[tuple[int, str]]:
  return [
    (event.step, value.tag)
    for path in sorted(folder.glob("*.tfevents.*"))
    for event in tf.compat.v1.train.summary_iterator(str(path))
    for value in event.summary.value
  ]


def test_pictures_are_written_every_so_many_steps(tmp_path):
  action = _action(interval=10, step=2, folder=tmp_path)
  for step in (2, 4, 11, 12, 14):
    action._global_step.assign(step)
    action({})
  assert tags(tmp_path / "pictures") == [(2, "training/0"), (12, "training/0")]


def test_interval_of_zero_draws_nothing(tmp_path):
  _action(interval=0, step=2, folder=tmp_path)({})
  assert tags(tmp_path / "pictures") == []
