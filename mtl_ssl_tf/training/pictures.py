"""Pictures for TensorBoard: what the network is shown, what it should say, what it says."""

import os
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from mtl_ssl_tf.modeling import detector
from mtl_ssl_tf.tasks import mtl_detection
from mtl_ssl_tf.training import determinism
from mtl_ssl_tf.visualization import draw


class TrainingPictures:
  """Orbit train action: draws a training batch every `interval` steps.

  Each picture shows the ground truth, the detections of the present weights, and the three
  auxiliary labels made by the function that makes them in the training step, for this step.
  """

  def __init__(
    self,
    task: mtl_detection.MtlDetectionTask,
    model: detector.Detector,
    global_step: tf.Variable,
    model_dir: str,
  ):
    """Prepares a stream of training batches of its own.

    Args:
      task: gives data, labels and class names.
      model: the detector in training.
      global_step: counts the steps of the run.
      model_dir: pictures go to its `pictures` folder. Not to the scalars': of two event files in
        a folder, a running TensorBoard follows only the later one.
    """
    self._task = task
    self._model = model
    self._global_step = global_step
    self._config = task.task_config.pictures
    self._writer = tf.summary.create_file_writer(os.path.join(model_dir, "pictures"))
    self._batches: Iterator | None = None
    self._next_step = 0
    self._predict = tf.function(lambda images, sizes: model(images, sizes), autograph=False)

  def __call__(self, output: dict[str, tf.Tensor]) -> None:
    del output
    step = int(self._global_step.numpy())
    if not self._config.interval or step < self._next_step:
      return
    self._next_step = step + self._config.interval
    panels = self.draw(step)
    with self._writer.as_default(step=step):
      for i, panel in enumerate(panels):
        tf.summary.image(f"training/{i}", panel[np.newaxis])
    self._writer.flush()

  def draw(self, step: int) -> list[np.ndarray]:
    """Returns one uint8 [H, W, 3] picture for each of the next `num_images` images."""
    panels = []
    while len(panels) < self._config.num_images:
      images, labels = next(self._training_batches())
      targets = self._task.auxiliary_targets(labels, tf.constant(step))
      outputs = self._predict(images, labels["image_size_px"])
      for i in range(len(images)):
        panels.append(self._panel(i, images, labels, targets, outputs))
    return panels[: self._config.num_images]

  def _training_batches(self) -> Iterator:
    if self._batches is None:
      data = self._task.task_config.train_data
      self._batches = iter(determinism.Batches(self._task.build_inputs(data)))
    return self._batches

  def _panel(self, i: int, images, labels, targets, outputs) -> np.ndarray:
    auxiliary = {}
    if self._model.multi_object_head is not None:
      auxiliary["windows_px"] = targets.windows_px[i].numpy()
      auxiliary["window_labels"] = targets.window_labels[i].numpy()
      auxiliary["window_weights"] = targets.window_weights[i].numpy()
    if self._model.closeness_head is not None:
      auxiliary["closeness_labels"] = targets.closeness_labels[i].numpy()
    if self._model.foreground_head is not None:
      auxiliary["foreground_mask"] = targets.foreground_mask[i].numpy()
    return draw.training_panel(
      np.clip(np.round(images[i]), 0, 255).astype(np.uint8),
      labels["gt_boxes_px"][i].numpy(),
      labels["gt_classes"][i].numpy(),
      self._task.class_names,
      detection_boxes_px=outputs["detection_boxes_px"][i].numpy(),
      detection_classes=outputs["detection_classes"][i].numpy(),
      detection_scores=outputs["detection_scores"][i].numpy(),
      min_score=self._config.score_threshold,
      image_size_px=labels["image_size_px"][i].numpy(),
      **auxiliary,
    )
