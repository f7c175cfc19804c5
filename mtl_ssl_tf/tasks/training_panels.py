"""Pictures of training images with their targets and the network's outputs."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from mtl_ssl_tf.configs import data as data_config
from mtl_ssl_tf.modeling import detector
from mtl_ssl_tf.training import determinism
from mtl_ssl_tf.visualization import draw


class TrainingPanels:
  """Draws training images from a stream of its own.

  Each picture shows the ground truth, the detections of the present weights, and the three
  auxiliary labels made by the function that makes them in the training step, for this step.
  """

  def __init__(
    self,
    config: data_config.Pictures,
    class_names: list[str],
    batches: Callable[[], tf.data.Dataset],
    auxiliary_targets: Callable[[dict[str, tf.Tensor], tf.Tensor], Any],
  ):
    """Takes the source of images and labels; no data are read yet.

    Args:
      config: how many images, and from which score on detections are shown.
      class_names: class 1 first.
      batches: returns the training batches `(images, labels)`.
      auxiliary_targets: the auxiliary labels of a batch's labels at a step.
    """
    self._config, self._class_names = config, class_names
    self._make_batches, self._auxiliary_targets = batches, auxiliary_targets
    self._batches: Iterator | None = None
    self._predict = tf.function(lambda model, images, sizes: model(images, sizes), autograph=False)

  def draw(self, model: detector.Detector, step: int) -> list[np.ndarray]:
    """Returns one uint8 [H, W, 3] picture for each of the next `num_images` images."""
    panels = []
    while len(panels) < self._config.num_images:
      images, labels = next(self._training_batches())
      targets = self._auxiliary_targets(labels, tf.constant(step))
      outputs = self._predict(model, images, labels["image_size_px"])
      for i in range(len(images)):
        panels.append(self._panel(model, i, images, labels, targets, outputs))
    return panels[: self._config.num_images]

  def _training_batches(self) -> Iterator:
    if self._batches is None:
      self._batches = iter(determinism.Batches(self._make_batches()))
    return self._batches

  def _panel(
    self, model: detector.Detector, i: int, images, labels, targets, outputs
  ) -> np.ndarray:
    auxiliary = {}
    if model.multi_object_head is not None:
      auxiliary["windows_px"] = targets.windows_px[i].numpy()
      auxiliary["window_labels"] = targets.window_labels[i].numpy()
      auxiliary["window_weights"] = targets.window_weights[i].numpy()
    if model.closeness_head is not None:
      auxiliary["closeness_labels"] = targets.closeness_labels[i].numpy()
    if model.foreground_head is not None:
      auxiliary["foreground_mask"] = targets.foreground_mask[i].numpy()
    return draw.training_panel(
      np.clip(np.round(images[i]), 0, 255).astype(np.uint8),
      labels["gt_boxes_px"][i].numpy(),
      labels["gt_classes"][i].numpy(),
      self._class_names,
      detection_boxes_px=outputs["detection_boxes_px"][i].numpy(),
      detection_classes=outputs["detection_classes"][i].numpy(),
      detection_scores=outputs["detection_scores"][i].numpy(),
      min_score=self._config.score_threshold,
      image_size_px=labels["image_size_px"][i].numpy(),
      **auxiliary,
    )
