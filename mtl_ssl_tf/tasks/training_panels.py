"""Pictures of training images with their targets and the network's outputs."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from mtl_ssl_tf.configs import data as data_config
from mtl_ssl_tf.modeling import detector
from mtl_ssl_tf.training import determinism
from mtl_ssl_tf.visualization import draw

_VIEWS = ("mined in the image (dashed)", "mined in its copy (dashed)")


class TrainingPanels:
  """Draws training images from a stream of its own.

  Each picture shows the ground truth, the detections of the present weights, and the three
  auxiliary labels made by the function that makes them in the training step, for this step. Of a
  task that mines boxes, it shows each view of the image with what was mined in it.
  """

  def __init__(
    self,
    config: data_config.Pictures,
    class_names: list[str],
    batches: Callable[[], tf.data.Dataset],
    auxiliary_targets: Callable[[dict[str, tf.Tensor], tf.Tensor], Any],
    mined_views: Callable[[detector.Detector, Any, tf.Tensor], Any] = lambda *_: None,
  ):
    """Takes the source of images and labels; no data are read yet.

    Args:
      config: how many images, and from which score on detections are shown.
      class_names: class 1 first.
      batches: returns the training batches `(images, labels)`.
      auxiliary_targets: the auxiliary labels of a batch's labels at a step.
      mined_views: the views of a batch `(images, labels)` at a step, one after the other, with
        their `images` and `pseudo` boxes, see `co_mining.MinedViews`; None without any.
    """
    self._config, self._class_names = config, class_names
    self._make_batches, self._auxiliary_targets = batches, auxiliary_targets
    self._mined_views = mined_views
    self._batches: Iterator | None = None
    self._predict = tf.function(lambda model, images, sizes: model(images, sizes), autograph=False)

  def draw(self, model: detector.Detector, step: int) -> list[np.ndarray]:
    """Returns one uint8 [H, W, 3] picture for each of the next `num_images` images."""
    panels = []
    while len(panels) < self._config.num_images:
      images, labels = next(self._training_batches())
      targets = self._auxiliary_targets(labels, tf.constant(step))
      outputs = self._predict(model, images, labels["image_size_px"])
      views = self._mined_views(model, (images, labels), tf.constant(step))
      for i in range(len(images)):
        parts = _auxiliary_parts(model, targets, i)
        if views is not None:
          parts["mined_views"] = views_of(views, i, len(images))
        panels.append(self._panel(i, images, labels, outputs, parts))
    return panels[: self._config.num_images]

  def _training_batches(self) -> Iterator:
    if self._batches is None:
      self._batches = iter(determinism.Batches(self._make_batches()))
    return self._batches

  def _panel(self, i: int, images, labels, outputs, parts: dict[str, Any]) -> np.ndarray:
    return draw.training_panel(
      as_bytes(images[i]),
      labels["gt_boxes_px"][i].numpy(),
      labels["gt_classes"][i].numpy(),
      self._class_names,
      detection_boxes_px=outputs["detection_boxes_px"][i].numpy(),
      detection_classes=outputs["detection_classes"][i].numpy(),
      detection_scores=outputs["detection_scores"][i].numpy(),
      min_score=self._config.score_threshold,
      image_size_px=labels["image_size_px"][i].numpy(),
      **parts,
    )


def _auxiliary_parts(model: detector.Detector, targets, i: int) -> dict[str, np.ndarray]:
  """The auxiliary labels of an image, of the heads that there are."""
  parts = {}
  if model.multi_object_head is not None:
    parts["windows_px"] = targets.windows_px[i].numpy()
    parts["window_labels"] = targets.window_labels[i].numpy()
    parts["window_weights"] = targets.window_weights[i].numpy()
  if model.closeness_head is not None:
    parts["closeness_labels"] = targets.closeness_labels[i].numpy()
  if model.foreground_head is not None:
    parts["foreground_mask"] = targets.foreground_mask[i].numpy()
  return parts


def views_of(
  views, i: int, num_images: int, captions: Sequence[str] = _VIEWS
) -> list[draw.MinedView]:
  """The views of image i of a batch, each with its mined boxes.

  Args:
    views: of a batch, see `co_mining.MinedViews`.
    i: number of the image in the batch.
    num_images: in the batch.
    captions: of the image and of its copy.
  """
  return [
    draw.MinedView(
      caption,
      as_bytes(views.images[row]),
      views.pseudo.boxes_px[row].numpy(),
      views.pseudo.classes[row].numpy(),
      views.pseudo.scores[row].numpy(),
    )
    for row, caption in zip(range(i, len(views.images), num_images), captions, strict=False)
  ]


def as_bytes(image: tf.Tensor) -> np.ndarray:
  """An image of a batch, values 0 … 255, as uint8."""
  return np.clip(np.round(image), 0, 255).astype(np.uint8)
