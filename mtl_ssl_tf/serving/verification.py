"""Compares an export with the checkpoint that it was made of, on evaluation images."""

import dataclasses
import itertools
import logging
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from mtl_ssl_tf.configs import data as data_config
from mtl_ssl_tf.configs import detector as detector_config
from mtl_ssl_tf.data import progress_lines, schema
from mtl_ssl_tf.data.pipeline import decoder, input_sizes, reader
from mtl_ssl_tf.data.records import paths as record_paths
from mtl_ssl_tf.evaluation import voc_evaluator
from mtl_ssl_tf.modeling import detector
from mtl_ssl_tf.serving import detection_module

_LOGGER = logging.getLogger(__name__)
# Of the image's longer side; of a score; of the mean average precision.
BOX_TOLERANCE, SCORE_TOLERANCE, MAP_TOLERANCE = 1e-4, 1e-4, 1e-3


@dataclasses.dataclass(frozen=True)
class Comparison:
  """The differences that a comparison of `num_images` images found.

  Attributes:
    box_px: largest difference of a coordinate, pixels of the image.
    box_fraction: the same as a fraction of the image's longer side.
    score: largest difference of a score.
    num_other_counts: images with another number of detections.
    map_name: name of the mean average precision.
    checkpoint_map, export_map: both, as fractions; NaN where there is no ground truth.
  """

  num_images: int
  box_px: float
  box_fraction: float
  score: float
  num_other_counts: int
  map_name: str
  checkpoint_map: float
  export_map: float

  @property
  def agrees(self) -> bool:
    """Whether the export detects what the checkpoint does."""
    difference = abs(self.checkpoint_map - self.export_map)
    return (
      self.num_other_counts == 0
      and self.box_fraction <= BOX_TOLERANCE
      and self.score <= SCORE_TOLERANCE
      and not difference > MAP_TOLERANCE  # NaN, if there is no ground truth.
    )

  def __str__(self) -> str:
    counts = f"; other counts: {self.num_other_counts} images" if self.num_other_counts else ""
    return (
      f"export and checkpoint on {self.num_images} images: largest difference"
      f" {self.box_px:.2g} px, score {self.score:.2g}{counts}; {self.map_name}"
      f" {self.export_map:.4f} and {self.checkpoint_map:.4f}"
    )


def has_records(data: data_config.Data) -> bool:
  """Whether there are files that the configuration's records can be read from."""
  try:
    return bool(record_paths.match_files(data.input_path))
  except ValueError:
    return False


def image_sizes(data: data_config.Data, num_images: int) -> list[tuple[int, int]]:
  """Heights and widths of the first images of the records, each once, where records name them."""
  features = {
    name: tf.io.FixedLenFeature([], tf.int64, default_value=0)
    for name in (schema.IMAGE_HEIGHT, schema.IMAGE_WIDTH)
  }
  sizes = []
  for record in tf.data.TFRecordDataset(record_paths.match_files(data.input_path)).take(num_images):
    parsed = tf.io.parse_single_example(record, features)
    sizes.append(tuple(int(parsed[name]) for name in features))
  return [size for size in dict.fromkeys(sizes) if min(size) > 0]


def verify(
  model: detector.Detector,
  folder: str,
  task: detector_config.MtlDetection,
  class_names: list[str],
  *,
  num_images: int,
  batch_size: int | None = None,
) -> Comparison:
  """Compares checkpoint and export on the first images of the evaluation data.

  The checkpoint's detections come about as in evaluation. The images go to the signatures in turn.

  Args:
    model: with the weights of the checkpoint.
    folder: of the SavedModel.
    task, class_names, num_images: see `compare`.
    batch_size: the only one that the export serves; an image is sent so many times.

  Raises:
    ValueError: the records cannot be read.
  """
  loaded = tf.saved_model.load(folder)
  signatures = itertools.cycle(detection_module.INPUTS)
  return compare(
    model,
    lambda record, *_: _ask(loaded, next(signatures), record, batch_size),
    task,
    class_names,
    num_images=num_images,
  )


def compare(
  model: detector.Detector,
  ask: Callable[..., dict[str, tf.Tensor]],
  task: detector_config.MtlDetection,
  class_names: list[str],
  *,
  num_images: int,
) -> Comparison:
  """Compares a checkpoint with something made of it on the first evaluation images.

  Args:
    model: with the weights of the checkpoint.
    ask: returns detections, as `DetectionModule` names them, of a record, the string scalar, given
      with its padded input [1, H, W, 3], the size [1, 2] of the content and that [1, 2] of the
      image.
    task: the configuration of both.
    class_names: class 1 first.
    num_images: how many, or all where there are fewer.

  Raises:
    ValueError: the records cannot be read.
  """
  config = task.evaluation
  evaluators = [
    voc_evaluator.VOCEvaluator(
      class_names, config.iou_threshold, config.voc_ap, config.voc_inclusive_pixels
    )
    for _ in range(2)
  ]
  data = task.validation_data
  num_images = min(num_images, record_paths.count_examples(data.input_path))
  progress_line = progress_lines.Progress("verifying", num_images, _LOGGER.info)
  evaluate = tf.function(lambda *inputs: _evaluate(model, *inputs), autograph=False)
  largest, num_other_counts = np.zeros(3), 0  # Pixels, fraction and score.
  for record, (images, labels) in _examples(data).take(num_images):
    expected = _rows(evaluate(images, labels["image_size_px"], labels["image_info"]))
    found = _rows(ask(record, images, labels["image_size_px"], labels["image_info"][:, 0]))
    side = float(tf.reduce_max(labels["image_info"][0, 0]))
    largest = np.maximum(largest, largest_differences(expected, found, side))
    num_other_counts += len(expected[1]) != len(found[1])
    boxes_orig, classes, difficult, is_crowd = (
      labels[name][0].numpy()
      for name in ("gt_boxes_orig", "gt_classes", "gt_difficult", "gt_is_crowd")
    )
    for evaluator, rows in zip(evaluators, (expected, found), strict=True):
      # As in `DetectionMetrics`, so that the figures are those of an evaluation.
      evaluator.update(boxes_orig, classes, difficult | is_crowd, *rows)
    progress_line.step()
  maps = [evaluator.result()[evaluator.main_key] for evaluator in evaluators]
  box_px, box_fraction, score = map(float, largest)
  return Comparison(
    num_images, box_px, box_fraction, score, num_other_counts, evaluators[0].main_key, *maps
  )


def largest_differences(
  expected: tuple[np.ndarray, ...], found: tuple[np.ndarray, ...], side: float
) -> tuple[float, float, float]:
  """Returns the largest differences in one image: pixels, fraction of `side`, and score.

  Each detection is compared with the nearest of its class on the other side: of two that score the
  same, either may come first. Where the other side has none of its class, the difference is
  infinite.

  Args:
    expected, found: boxes [D, 4] in pixels, scores [D] and classes [D]; D may differ.
    side: length that the fraction is of, pixels.
  """
  if not len(expected[1]) and not len(found[1]):
    return 0.0, 0.0, 0.0
  if not len(expected[1]) or not len(found[1]):
    return np.inf, np.inf, np.inf
  (boxes, scores, classes), (other_boxes, other_scores, other_classes) = expected, found
  box_px = np.abs(boxes[:, np.newaxis] - other_boxes).max(axis=-1)  # [D, D']
  score = np.abs(scores[:, np.newaxis] - other_scores)  # [D, D']
  distance = np.maximum(box_px / side / BOX_TOLERANCE, score / SCORE_TOLERANCE)
  is_other = classes[:, np.newaxis] != other_classes
  box_px, score, distance = (
    np.where(is_other, np.inf, values) for values in (box_px, score, distance)
  )
  nearest = distance.argmin(axis=1), distance.argmin(axis=0)
  pairs = [(np.arange(len(scores)), nearest[0]), (nearest[1], np.arange(len(other_scores)))]
  worst_px = max(box_px[pair].max() for pair in pairs)
  worst_score = max(score[pair].max() for pair in pairs)
  return float(worst_px), float(worst_px / side), float(worst_score)


def _examples(data: data_config.Data) -> tf.data.Dataset:
  """Records, each with its batch of one as evaluation sees it."""
  input_size, short_side, long_side = input_sizes.single(
    data.input_layout, data.input_size, data.short_side, data.long_side
  )
  batches = reader.make_dataset(
    data_config.Data(
      input_path=data.input_path,
      global_batch_size=1,
      is_training=False,
      input_size=list(input_size),
      short_side=short_side,
      long_side=long_side,
      max_num_boxes=data.max_num_boxes,
    )
  )
  records = tf.data.TFRecordDataset(record_paths.match_files(data.input_path))
  return tf.data.Dataset.zip((records, batches))


def _evaluate(
  model: detector.Detector, images: tf.Tensor, image_size_px: tf.Tensor, image_info: tf.Tensor
) -> dict[str, tf.Tensor]:
  """Detections in pixels of the file, as the evaluator is given them."""
  outputs = model(images, image_size_px)
  scale = tf.tile(image_info[:, 2], [1, 2])[:, tf.newaxis]  # [B, 1, 4]
  return outputs | {"detection_boxes_px": outputs["detection_boxes_px"] / scale}


def _ask(loaded, signature: str, record: tf.Tensor, batch_size: int | None):
  """Detections of the export in the image of a record, which goes to a signature."""
  value = record
  if signature != detection_module.SERVING_TF_EXAMPLE:
    features = {schema.IMAGE_ENCODED: tf.io.FixedLenFeature([], tf.string)}
    value = tf.io.parse_single_example(record, features)[schema.IMAGE_ENCODED]
  if signature == detection_module.SERVING_DEFAULT:
    value = decoder.DetectionDecoder().decode(record)["image"]
  inputs = {detection_module.INPUTS[signature]: tf.stack([value] * (batch_size or 1))}
  return loaded.signatures[signature](**inputs)


def _rows(outputs: dict[str, tf.Tensor]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Boxes in pixels [D, 4], scores [D] and classes int [D] of the first image, no padding."""
  count = int(outputs["num_detections"][0])
  boxes, scores, classes = (
    np.asarray(outputs[name][0, :count])
    for name in ("detection_boxes_px", "detection_scores", "detection_classes")
  )
  return boxes, scores, classes.astype(np.int64)
