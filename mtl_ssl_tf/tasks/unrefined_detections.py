"""Detections by scores without refinement, kept until a run's end asks what refinement is worth."""

from collections.abc import Mapping, Sequence

import numpy as np

from mtl_ssl_tf.configs import data as data_config
from mtl_ssl_tf.data.ground_truth import detection_files
from mtl_ssl_tf.data.ground_truth import objects as ground_truth
from mtl_ssl_tf.evaluation import detection_metrics


class UnrefinedDetections:
  """Images with their objects and unrefined detections: `reset`, `add`, `figure`.

  An evaluation only keeps them, which takes no time; the last one's figure is computed.
  """

  def __init__(self, config: data_config.Evaluation, class_names: Sequence[str]):
    """Keeps nothing yet.

    Args:
      config: of the evaluation, whose main figure it is.
      class_names: class 1 first.
    """
    self._config, self._class_names = config, tuple(class_names)
    self.reset()

  def reset(self) -> None:
    """Forgets every image."""
    self._images: list[tuple[int | str, Mapping[str, np.ndarray]]] = []

  def add(
    self,
    image_id: int | str,
    image: ground_truth.ImageTruth,
    found: detection_files.Detections,
  ) -> None:
    """Adds an image, its objects and its detections."""
    self._images.append((image_id, detection_files.metric_arguments(image, found)))

  def figure(self) -> float | None:
    """Returns the main figure of the images since `reset`, a fraction; None without images."""
    if not self._images:
      return None
    metrics = detection_metrics.DetectionMetrics(
      self._class_names,
      self._config.metrics[:1],
      iou_threshold=self._config.iou_threshold,
      ap_rule=self._config.voc_ap,
      inclusive_pixels=self._config.voc_inclusive_pixels,
      figures_only=True,
    )
    for image_id, arguments in self._images:
      metrics.update(image_id=image_id, **arguments)
    return metrics.result()[metrics.main_key]
