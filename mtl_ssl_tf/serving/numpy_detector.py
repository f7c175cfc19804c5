"""Detections in images as programs have them, of an exported detector or of a training run.

import mtl_ssl_tf
detector = mtl_ssl_tf.load("exported/NAME")
for found in detector(["a.jpg", "b.jpg"], score_threshold=0.5):
  print(found["class_names"], found["scores"], found["boxes_px"])
  found.draw().show()
"""

import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from mtl_ssl_tf.data import faults
from mtl_ssl_tf.serving import (
  drawable,
  export_paths,
  image_inputs,
  saved_model_detector,
  score_thresholds,
  served_detector,
)

_RUN_FILE = "params.yaml"


class NumpyDetector:
  """A detector for programs: images in, detections of each out.

  Attributes:
    class_names: class 1 first.
    score_thresholds: smallest scores by class that an export was given (`--default_thresholds`);
      None where it was not.
  """

  def __init__(self, detector: served_detector.ServedDetector):
    self._detector = detector
    self.class_names = list(detector.class_names)
    self.score_thresholds = detector.score_thresholds

  def __call__(
    self,
    images: Any,
    *,
    score_threshold: float | None = None,
    batch_size: int = 8,
  ) -> drawable.Detections | list[drawable.Detections]:
    """Detections of each image, best first.

    Args:
      images: one image, a list of images of any kinds and sizes, or an array [B, height, width, 3].
        An image is the path of a file; or Pillow's; or uint8 [height, width, 3], RGB, or grey as
        [height, width] or [height, width, 1]. (OpenCV reads BGR: turn it around with
        `image[..., ::-1]`.) Files and Pillow's images are turned upright as EXIF says.
      score_threshold: detections below it are left out. None is `score_thresholds` of each class,
        or 0 where there are none.
      batch_size: at most so many images, in memory of one size, are processed together. Files are
        read as their turn comes.

    Returns:
      For one image a dict, else a list with a dict for each; see `drawable.Detections`, which can
      also be drawn and printed. With n detections:
        boxes_px: float32 [n, 4], ymin, xmin, ymax, xmax in pixels of the image.
        scores: float32 [n].
        class_ids: int32 [n], from 1.
        class_names: list of n names.

    Raises:
      ValueError: an argument is not acceptable.
      RuntimeError: detection failed, for want of memory for example.
    """
    if score_threshold is not None and not 0.0 <= score_threshold <= 1.0:
      raise ValueError(f"score_threshold is {score_threshold}; accepted: 0 to 1")
    if batch_size < 1:
      raise ValueError(f"batch_size is {batch_size}; accepted: at least 1")
    threshold = self._threshold(score_threshold)
    is_batch = isinstance(images, np.ndarray) and images.ndim == 4
    if not is_batch and not isinstance(images, list | tuple):
      return self._detect([image_inputs.of(images, "the image")], threshold, batch_size)[0]
    inputs = [image_inputs.of(image, f"image {i}") for i, image in enumerate(images)]
    return self._detect(inputs, threshold, batch_size)

  def _threshold(self, given: float | None) -> float | np.ndarray:
    """Returns the smallest score, or those of each class, float [C]."""
    if given is not None or self.score_thresholds is None:
      return given or 0.0
    return score_thresholds.in_order(self.score_thresholds, self.class_names)

  def _detect(
    self,
    inputs: Sequence[image_inputs.ImageInput],
    threshold: float | np.ndarray,
    batch_size: int,
  ) -> list[drawable.Detections]:
    """The detections of images, in their order."""
    found: list[Any] = [None] * len(inputs)
    for rows in _batches(inputs, batch_size):
      outputs = self._outputs([inputs[row] for row in rows])
      for i, row in enumerate(rows):
        entries = self._detections(outputs, i, threshold)
        found[row] = drawable.Detections(entries, inputs[row], self.class_names)
    return found

  def _outputs(self, inputs: Sequence[image_inputs.ImageInput]) -> dict[str, np.ndarray]:
    """Outputs of the detector for some files, or for some images in memory of one size."""
    first = inputs[0]
    try:
      if first.array is None:
        return self._detector.detect_encoded([image.stored().encoded for image in inputs])
      return self._detector(np.stack([image.array for image in inputs]))
    except tf.errors.OpError as error:
      what = faults.listing([image.path for image in inputs])
      if first.array is not None:
        what = f"{len(inputs)} of {' x '.join(map(str, first.array.shape[:2]))} pixels"
      reason = error.message.strip().split("\n")[0]
      raise RuntimeError(f"detection failed in {what} ({reason})") from error

  def _detections(
    self, outputs: dict[str, np.ndarray], i: int, threshold: float | np.ndarray
  ) -> dict[str, Any]:
    count = int(outputs["num_detections"][i])
    scores = outputs["detection_scores"][i, :count]
    class_ids = outputs["detection_classes"][i, :count].astype(np.int32)
    shown = np.flatnonzero(score_thresholds.passes(scores, class_ids, threshold))
    class_ids = class_ids[shown]
    return {
      "boxes_px": outputs["detection_boxes_px"][i, shown],
      "scores": scores[shown],
      "class_ids": class_ids,
      "class_names": [self.class_names[class_id - 1] for class_id in class_ids],
    }


def load(path: str | os.PathLike[str], checkpoint: str | None = None) -> NumpyDetector:
  """The detector in a folder that `export.py` wrote, or in the folder of a training run.

  Args:
    path: of the export, or one of its versions (the highest is taken where there are several), or
      of the run, whose best checkpoint is taken.
    checkpoint: another checkpoint of the run: a path without ending, or a folder with checkpoints.

  Raises:
    ValueError: the folder is neither, or something in it is missing or not acceptable.
  """
  path = os.fspath(path)
  if os.path.isfile(os.path.join(path, _RUN_FILE)):
    # Here, since it needs Model Garden, and an export does not.
    from mtl_ssl_tf.serving import checkpoint_detector

    return NumpyDetector(checkpoint_detector.CheckpointDetector(path, checkpoint))
  try:
    folder = export_paths.find_saved_model(path)
  except ValueError as error:
    raise ValueError(
      f"{path!r} holds no detector; accepted: a folder that export.py wrote"
      f" ({export_paths.SAVED_MODEL_FILE} in it or in a folder of a version), or the folder of a"
      f" training run ({_RUN_FILE})"
    ) from error
  if checkpoint is not None:
    raise ValueError(f"checkpoint is {checkpoint!r}; accepted: None, as {path!r} is an export")
  return NumpyDetector(saved_model_detector.SavedModelDetector(folder))


def _batches(inputs: Sequence[image_inputs.ImageInput], batch_size: int) -> Iterator[list[int]]:
  """Yields indices of files, or of images in memory of one size, at most `batch_size` at a time."""
  alike: dict[tuple[int, ...] | None, list[int]] = {}
  for i, image in enumerate(inputs):
    alike.setdefault(None if image.array is None else image.array.shape, []).append(i)
  for rows in alike.values():
    for start in range(0, len(rows), batch_size):
      yield rows[start : start + batch_size]
