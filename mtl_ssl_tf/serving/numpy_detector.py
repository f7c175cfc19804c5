"""Detections in NumPy images, of an exported detector or of a training run.

import mtl_ssl_tf
detector = mtl_ssl_tf.load("exported/NAME")
for found in detector(images, score_threshold=0.5):
  print(found["class_names"], found["scores"], found["boxes_px"])
"""

import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from mtl_ssl_tf.serving import (
  export_paths,
  saved_model_detector,
  score_thresholds,
  served_detector,
)

_RUN_FILE = "params.yaml"
_ACCEPTED = "NumPy uint8 [height, width, 3] in the order RGB, or grey [height, width]"


class NumpyDetector:
  """A detector of NumPy images: images in, detections of each out.

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
    images: np.ndarray | Sequence[np.ndarray],
    *,
    score_threshold: float | None = None,
    batch_size: int = 8,
  ) -> dict[str, Any] | list[dict[str, Any]]:
    """Detections of each image, best first.

    Args:
      images: one image, a list of images of any sizes, or a batch [B, height, width, 3]. An image
        is uint8 [height, width, 3], RGB, or grey as [height, width] or [height, width, 1]. (OpenCV
        reads BGR: turn it around with `image[..., ::-1]`.)
      score_threshold: detections below it are left out. None is `score_thresholds` of each class,
        or 0 where there are none.
      batch_size: at most so many images, of one size, are processed together.

    Returns:
      For one image a dict, else a list with a dict for each. With n detections:
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
    if isinstance(images, np.ndarray):
      if images.ndim != 4:
        return self._detect([_rgb(images, "the image")], threshold, batch_size)[0]
    elif not isinstance(images, list | tuple):
      raise ValueError(
        f"images is a {type(images).__name__}; accepted: one image, a list of images or a batch,"
        f" where an image is {_ACCEPTED}"
      )
    pictures = [_rgb(image, f"image {i}") for i, image in enumerate(images)]
    return self._detect(pictures, threshold, batch_size)

  def _threshold(self, given: float | None) -> float | np.ndarray:
    """Returns the smallest score, or those of each class, float [C]."""
    if given is not None or self.score_thresholds is None:
      return given or 0.0
    return score_thresholds.in_order(self.score_thresholds, self.class_names)

  def _detect(
    self, pictures: Sequence[np.ndarray], threshold: float | np.ndarray, batch_size: int
  ) -> list[dict[str, Any]]:
    """The detections of uint8 [h, w, 3] images, in their order."""
    found: list[dict[str, Any]] = [{}] * len(pictures)
    for rows in _batches_of_one_size(pictures, batch_size):
      try:
        outputs = self._detector(np.stack([pictures[row] for row in rows]))
      except tf.errors.OpError as error:
        size = " x ".join(map(str, pictures[rows[0]].shape[:2]))
        reason = error.message.strip().split("\n")[0]
        raise RuntimeError(
          f"detection failed in {len(rows)} of {size} pixels ({reason})"
        ) from error
      for i, row in enumerate(rows):
        found[row] = self._detections(outputs, i, threshold)
    return found

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


def _rgb(image: Any, where: str) -> np.ndarray:
  """The image as uint8 [h, w, 3].

  Raises:
    ValueError: it is none, or could be meant in more than one way.
  """
  if not isinstance(image, np.ndarray):
    raise ValueError(f"{where} is a {type(image).__name__}; accepted: {_ACCEPTED}")
  if image.dtype != np.uint8:
    hint = ""
    if np.issubdtype(image.dtype, np.floating):
      hint = "; of values 0 … 1, (255 * image).round().astype(np.uint8) makes that"
    raise ValueError(f"{where} is {image.dtype}; accepted: {_ACCEPTED}{hint}")
  channels = image.shape[2] if image.ndim == 3 else None
  if image.ndim == 2 or channels == 1:
    image = np.repeat(np.reshape(image, (*image.shape[:2], 1)), 3, axis=2)
  elif channels != 3:
    hint = "; image[..., :3] leaves out transparency" if channels == 4 else ""
    raise ValueError(f"{where} has the shape {list(image.shape)}; accepted: {_ACCEPTED}{hint}")
  if not image.size:
    raise ValueError(f"{where} has the shape {list(image.shape)}; accepted: sides of at least 1")
  return image


def _batches_of_one_size(pictures: Sequence[np.ndarray], batch_size: int) -> Iterator[list[int]]:
  """Yields indices of images of one size, at most `batch_size` at a time."""
  by_size: dict[tuple[int, ...], list[int]] = {}
  for i, picture in enumerate(pictures):
    by_size.setdefault(picture.shape, []).append(i)
  for rows in by_size.values():
    for start in range(0, len(rows), batch_size):
      yield rows[start : start + batch_size]
