"""Pictures of validation images: ground truth and the detections of the last evaluation."""

from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from mtl_ssl_tf.configs import data as data_config
from mtl_ssl_tf.data.pipeline import decoder
from mtl_ssl_tf.data.records import paths as record_paths
from mtl_ssl_tf.visualization import draw


class ValidationPanels:
  """Draws the first images of the records, the same at each evaluation: `reset`, `update`, `draw`.

  The detections are those that the evaluation has anyway, so that the model does not run again.
  """

  def __init__(
    self, config: data_config.Pictures, class_names: Sequence[str], input_path: str | Sequence[str]
  ):
    """Reads nothing yet.

    Args:
      config: how many images, and from which score on detections are shown.
      class_names: class 1 first.
      input_path: the validation records.
    """
    self._config, self._class_names, self._input_path = config, class_names, input_path
    self._num_images = config.num_images if config.interval else 0
    self._images: list[np.ndarray] | None = None
    self.reset()

  def reset(self) -> None:
    """Forgets every image's detections."""
    self._rows: dict[int, Mapping[str, np.ndarray]] = {}

  def update(self, image: Mapping[str, np.ndarray]) -> None:
    """Keeps an image that is drawn: its row of each output of the validation step."""
    index = int(image["example_index"])
    if index < self._num_images:
      self._rows[index] = image

  def draw(self) -> list[np.ndarray]:
    """Returns one uint8 [H, W, 3] picture for each image, in the order of the records."""
    if not self._rows:
      return []
    if self._images is None:
      self._images = self._read_images()
    return [self._panel(self._images[index], self._rows[index]) for index in sorted(self._rows)]

  def _read_images(self) -> list[np.ndarray]:
    decode = decoder.DetectionDecoder().decode
    records = tf.data.TFRecordDataset(record_paths.match_files(self._input_path))
    return [decode(record)["image"].numpy() for record in records.take(self._num_images)]

  def _panel(self, image: np.ndarray, row: Mapping[str, np.ndarray]) -> np.ndarray:
    return draw.training_panel(
      image,
      row["gt_boxes_orig"],
      row["gt_classes"],
      self._class_names,
      detection_boxes_px=row["detection_boxes_orig"],
      detection_classes=row["detection_classes"],
      detection_scores=row["detection_scores"],
      min_score=self._config.score_threshold,
    )
