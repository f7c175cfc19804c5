"""A detector with the signatures that are served, for use from Python on NumPy arrays."""

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import tensorflow as tf

IMAGES_SIGNATURE, IMAGES_INPUT = "serving_default", "images"
ENCODED_SIGNATURE, ENCODED_INPUT = "serving_bytes", "encoded_images"


class ServedDetector:
  """Detects in arrays and in encoded images; outputs are those of `DetectionModule`, as arrays.

  Where only batches of one size are served, others are cut up and filled up to it.

  Attributes:
    class_names: class 1 first.
    fingerprint: the same for the same weights and classes, wherever they lie.
    score_thresholds: smallest score of each class by its name, which the detector is used with by
      default; None for a detector without such.
    output_names: of what it returns.
  """

  def __init__(
    self,
    signatures: Mapping[str, tf.types.experimental.ConcreteFunction],
    class_names: Sequence[str],
    fingerprint: str,
    score_thresholds: Mapping[str, float] | None = None,
  ):
    """Takes the signatures of one detector.

    Raises:
      KeyError: one of the two signatures is missing.
    """
    self.class_names = list(class_names)
    self.fingerprint = fingerprint
    self.score_thresholds = None if score_thresholds is None else dict(score_thresholds)
    self._detect_images = signatures[IMAGES_SIGNATURE]
    self._detect_encoded = signatures[ENCODED_SIGNATURE]
    self.output_names = frozenset(self._detect_encoded.structured_outputs)
    self._fixed_size: int | None = self._detect_images.inputs[0].shape[0]

  def __call__(self, images: np.ndarray) -> dict[str, np.ndarray]:
    """Detections in images uint8 [B, h, w, 3], RGB; see `detection_module.DetectionModule`."""
    return self._in_batches(
      lambda batch: self._detect_images(**{IMAGES_INPUT: tf.constant(batch, tf.uint8)}), images
    )

  def detect_encoded(self, contents: Sequence[bytes]) -> dict[str, np.ndarray]:
    """Detections in images as the bytes of their files, JPEG or PNG, of any sizes."""
    return self._in_batches(
      lambda batch: self._detect_encoded(**{ENCODED_INPUT: tf.constant(batch, tf.string)}),
      np.array(contents, object),
    )

  def _in_batches(
    self, detect: Callable[[np.ndarray], dict[str, tf.Tensor]], images: np.ndarray
  ) -> dict[str, np.ndarray]:
    """Returns the outputs of `detect` as arrays, called with batches of the size that it takes."""
    size, count = self._fixed_size or len(images), len(images)
    parts = []
    for start in range(0, count, size):
      rows = np.minimum(np.arange(start, start + size), count - 1)  # Filled up with the last.
      parts.append({name: values.numpy() for name, values in detect(images[rows]).items()})
    return {name: np.concatenate([part[name] for part in parts])[:count] for name in parts[0]}


def digest(files: Iterable[str | os.PathLike[str]]) -> str:
  """16 hexadecimal digits of the files' contents, in this order."""
  total = hashlib.sha256()
  for path in files:
    with open(path, "rb") as file:
      total.update(hashlib.file_digest(file, "sha256").digest())
  return total.hexdigest()[:16]
