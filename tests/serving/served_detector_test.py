"""Tests of served_detector.py, with signatures made up here."""

import numpy as np
import pytest
import tensorflow as tf

from mtl_ssl_tf.serving import served_detector
from tests import fixtures


def _detector(batch_size):
  """Scores an image with its first red value, or with its length in bytes; notes batch sizes."""
  sizes = []

  def detect_images(images):
    tf.py_function(lambda x: sizes.append(int(x.shape[0])), [images], [])
    return {"detection_scores": tf.cast(images[:, 0, 0, :1], tf.float32)}

  def detect_encoded(encoded_images):
    tf.py_function(lambda x: sizes.append(int(x.shape[0])), [encoded_images], [])
    lengths = tf.strings.length(encoded_images)[:, tf.newaxis]
    return {"detection_scores": tf.cast(lengths, tf.float32)}

  specs = {
    "serving_default": tf.TensorSpec([batch_size, None, None, 3], tf.uint8, name="images"),
    "serving_bytes": tf.TensorSpec([batch_size], tf.string, name="encoded_images"),
  }
  signatures = {
    name: tf.function(function).get_concrete_function(**{specs[name].name: specs[name]})
    for name, function in (("serving_default", detect_images), ("serving_bytes", detect_encoded))
  }
  return served_detector.ServedDetector(signatures, ["cat"], "x"), sizes


@pytest.mark.parametrize(
  ("batch_size", "served"), [(None, [5]), (2, [2, 2, 2]), (5, [5]), (8, [8])]
)
def test_batches_of_the_size_that_is_served(batch_size, served):
  detector, sizes = _detector(batch_size)
  images = np.stack([fixtures.solid_image(2, 3, value) for value in range(5)])
  assert detector(images)["detection_scores"].tolist() == [[0], [1], [2], [3], [4]]
  assert sizes == served
  # Bytes may end in zeros, which NumPy's own strings would drop.
  contents = [b"x" * i + b"\0" * i for i in range(1, 6)]
  assert detector.detect_encoded(contents)["detection_scores"].tolist() == [
    [2],
    [4],
    [6],
    [8],
    [10],
  ]
  assert sizes == served * 2


def test_a_signature_is_missing():
  with pytest.raises(KeyError):
    served_detector.ServedDetector({}, ["cat"], "x")


def test_digest(tmp_path):
  for name in ("a", "b"):
    (tmp_path / name).write_text(name)
  first = served_detector.digest([tmp_path / "a", tmp_path / "b"])
  assert len(first) == 16
  assert served_detector.digest([tmp_path / "b", tmp_path / "a"]) != first
