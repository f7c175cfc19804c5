"""Writes pictures and text of a run for TensorBoard: when the task draws, and to which folder."""

import os

import numpy as np
import tensorflow as tf
import tf_keras

from mtl_ssl_tf.training import task as task_lib


class TrainingPictures:
  """Orbit train action: has the task draw every `picture_interval` steps."""

  def __init__(
    self,
    task: task_lib.TrainableTask,
    model: tf_keras.Model,
    global_step: tf.Variable,
    model_dir: str,
  ):
    """Opens the event file.

    Args:
      task: draws.
      model: in training.
      global_step: counts the steps of the run.
      model_dir: pictures go to its `pictures` folder. Not to the scalars': of two event files in
        a folder, a running TensorBoard follows only the later one.
    """
    self._task, self._model, self._global_step = task, model, global_step
    self._writer = tf.summary.create_file_writer(os.path.join(model_dir, "pictures"))
    self._next_step = 0

  def __call__(self, output: dict[str, tf.Tensor]) -> None:
    del output
    step, interval = int(self._global_step.numpy()), self._task.picture_interval
    if not interval or step < self._next_step:
      return
    self._next_step = step + interval
    drawn = self._task.draw(self._model, step)
    with self._writer.as_default(step=step):
      for i, picture in enumerate(drawn):
        tf.summary.image(f"training/{i}", picture[np.newaxis])
    self._writer.flush()


class ValidationPictures:
  """Has the task draw after each evaluation."""

  def __init__(self, task: task_lib.TrainableTask, model_dir: str):
    """Writes nothing yet.

    Args:
      task: draws.
      model_dir: pictures go to its `pictures_validation` folder, see `TrainingPictures`.
    """
    self._task = task
    self._folder = os.path.join(model_dir, "pictures_validation")
    self._writer: tf.summary.SummaryWriter | None = None

  def __call__(self, step: int) -> None:
    """Writes the pictures of the last evaluation, if the task draws any."""
    drawn = self._task.draw_evaluation()
    if not drawn:
      return
    if self._writer is None:
      self._writer = tf.summary.create_file_writer(self._folder)
    with self._writer.as_default(step=step):
      for i, picture in enumerate(drawn):
        tf.summary.image(f"validation/{i}", picture[np.newaxis])
    self._writer.flush()


def write_configuration(text: str, model_dir: str, step: int) -> None:
  """Leaves the configuration as text of TensorBoard, in the run's `configuration` folder.

  Args:
    text: YAML.
    model_dir: folder of the run.
    step: that the run starts at.
  """
  # Indented, Markdown leaves lines and blanks as they are.
  indented = "".join(f"    {line}\n" for line in text.splitlines())
  write_text("configuration", indented, model_dir, step)


def write_text(name: str, markdown: str, model_dir: str, step: int) -> None:
  """Leaves a text of TensorBoard in a folder of its own in the run's.

  Args:
    name: of text and folder.
    markdown: the text.
    model_dir: folder of the run.
    step: that it belongs to.
  """
  writer = tf.summary.create_file_writer(os.path.join(model_dir, name))
  with writer.as_default(step=step):
    tf.summary.text(name, markdown)
  writer.close()
