"""A detector with the signatures that are served, for use from Python on NumPy arrays."""

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import tensorflow as tf

IMAGES_SIGNATURE = "serving_default"
ENCODED_SIGNATURE = "serving_bytes"


class ServedDetector:
  """Detects in arrays and in encoded images; outputs are those of `DetectionModule`, as arrays.

  Attributes:
    class_names: class 1 first.
    fingerprint: the same for the same weights and classes, wherever they lie.
  """

  def __init__(
    self,
    signatures: Mapping[str, Callable[..., dict[str, tf.Tensor]]],
    class_names: Sequence[str],
    fingerprint: str,
  ):
    """Keeps what it is given.

    Raises:
      KeyError: one of the two signatures is missing.
    """
    self.class_names = list(class_names)
    self.fingerprint = fingerprint
    self._detect_images = signatures[IMAGES_SIGNATURE]
    self._detect_encoded = signatures[ENCODED_SIGNATURE]

  def __call__(self, images: np.ndarray) -> dict[str, np.ndarray]:
    """Detections in images uint8 [B, h, w, 3], RGB; see `detection_module.DetectionModule`."""
    return _arrays(self._detect_images(images=tf.constant(images, tf.uint8)))

  def detect_encoded(self, contents: Sequence[bytes]) -> dict[str, np.ndarray]:
    """Detections in images as the bytes of their files, JPEG or PNG, of any sizes."""
    return _arrays(self._detect_encoded(encoded_images=tf.constant(contents, tf.string)))


def digest(files: Iterable[str | os.PathLike[str]]) -> str:
  """16 hexadecimal digits of the files' contents, in this order."""
  total = hashlib.sha256()
  for path in files:
    with open(path, "rb") as file:
      total.update(hashlib.file_digest(file, "sha256").digest())
  return total.hexdigest()[:16]


def _arrays(outputs: Mapping[str, tf.Tensor]) -> dict[str, np.ndarray]:
  return {name: values.numpy() for name, values in outputs.items()}
