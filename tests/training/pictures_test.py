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


def test_pictures_of_an_evaluation_have_a_folder_of_their_own(tmp_path):
  drawn = [[], [np.zeros([4, 4, 3], np.uint8)] * 2, [np.zeros([4, 4, 3], np.uint8)]]
  task = types.SimpleNamespace(draw_evaluation=lambda: drawn.pop(0))
  action = pictures.ValidationPictures(task, str(tmp_path))
  action(5)
  assert not list(tmp_path.iterdir())
  action(10)
  action(15)
  expected = [(10, "validation/0"), (10, "validation/1"), (15, "validation/0")]
  assert tags(tmp_path / "pictures_validation") == expected


def test_the_configuration_is_text(tmp_path):
  pictures.write_configuration("task:\n  seed: 1\n", str(tmp_path), step=30)
  assert tags(tmp_path / "configuration") == [(30, "configuration")]
  (path,) = (tmp_path / "configuration").iterdir()
  *_, event = tf.compat.v1.train.summary_iterator(str(path))
  (value,) = event.summary.value
  assert value.metadata.plugin_data.plugin_name == "text"
  assert value.tensor.string_val[0].decode() == "    task:\n      seed: 1\n"
