"""Tests of numpy_detector.py, with a detector made up here, and of `load`, with a tiny one."""

import re

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import mtl_ssl_tf
from mtl_ssl_tf.serving import numpy_detector
from tests import fixtures
from tests.serving import tiny_run as tiny_run_lib


class CornerDetector:
  """Says that a `cat` covers each image and, less certain, a `dog` its top left pixel.

  The cat's score is the first pixel's red value in percent. Notes the shapes that it is given.
  """

  class_names = ("cat", "dog")
  score_thresholds = None

  def __init__(self):
    self.shapes = []

  def __call__(self, images):
    self.shapes.append(images.shape)
    batch_size, height, width, _ = images.shape
    if height == 13:
      raise tf.errors.ResourceExhaustedError(None, None, "out of memory\nmuch detail")
    boxes = [[0, 0, height, width], [0, 0, 1, 1], [0, 0, 0, 0]]
    scores = np.zeros([batch_size, 3], np.float32)
    scores[:, 0] = images[:, 0, 0, 0] / np.float32(100.0)
    scores[:, 1] = 0.125
    return {
      "detection_boxes_px": np.tile(np.float32(boxes), [batch_size, 1, 1]),
      "detection_scores": scores,
      "detection_classes": np.tile(np.float32([1, 2, 0]), [batch_size, 1]),
      "num_detections": np.full([batch_size], 2.0, np.float32),
    }


@pytest.fixture(name="raw")
def _raw():
  return CornerDetector()


@pytest.fixture(name="detect")
def _detect(raw):
  return numpy_detector.NumpyDetector(raw)


class TestResults:
  def test_one_image(self, detect):
    found = detect(fixtures.solid_image(4, 6, 75))
    assert found.keys() == {"boxes_px", "scores", "class_ids", "class_names"}
    np.testing.assert_array_equal(found["boxes_px"], [[0, 0, 4, 6], [0, 0, 1, 1]])
    np.testing.assert_array_equal(found["scores"], [0.75, 0.125])
    np.testing.assert_array_equal(found["class_ids"], [1, 2])
    assert found["class_ids"].dtype == np.int32
    assert found["class_names"] == ["cat", "dog"]

  def test_what_scores_less_is_left_out(self, detect):
    image = fixtures.solid_image(4, 6, 75)
    assert detect(image, score_threshold=0.5)["class_names"] == ["cat"]
    assert detect(image, score_threshold=0.125)["class_names"] == ["cat", "dog"]
    found = detect(image, score_threshold=0.9)
    assert found["boxes_px"].shape == (0, 4)
    assert found["class_names"] == []

  def test_thresholds_of_the_export_unless_another_is_given(self, raw):
    image = fixtures.solid_image(4, 6, 75)
    assert numpy_detector.NumpyDetector(raw).score_thresholds is None
    raw.score_thresholds = {"dog": 0.125, "cat": 0.8}
    detect = numpy_detector.NumpyDetector(raw)
    assert detect.score_thresholds == {"dog": 0.125, "cat": 0.8}
    assert detect(image)["class_names"] == ["dog"]
    np.testing.assert_array_equal(detect([image])[0]["boxes_px"], [[0, 0, 1, 1]])
    assert detect(image, score_threshold=0.5)["class_names"] == ["cat"]
    assert detect(image, score_threshold=0.0)["class_names"] == ["cat", "dog"]

  def test_a_list_of_different_sizes_keeps_its_order(self, detect, raw):
    sizes = [(4, 6), (1, 1), (4, 6), (6, 4), (4, 6)]
    images = [fixtures.solid_image(*size, 10 * i) for i, size in enumerate(sizes, start=1)]
    found = detect(images, batch_size=2)
    assert raw.shapes == [(2, 4, 6, 3), (1, 4, 6, 3), (1, 1, 1, 3), (1, 6, 4, 3)]
    for i, (size, result) in enumerate(zip(sizes, found, strict=True), start=1):
      np.testing.assert_array_equal(result["boxes_px"][0], [0, 0, *size])
      assert result["scores"][0] == np.float32(0.1 * i)

  def test_a_batch(self, detect, raw):
    batch = np.stack([fixtures.solid_image(4, 6, value) for value in (10, 20, 30)])
    found = detect(batch)
    assert [result["scores"][0] for result in found] == list(np.float32([0.1, 0.2, 0.3]))
    assert raw.shapes == [(3, 4, 6, 3)]

  def test_none(self, detect, raw):
    assert detect([]) == detect(np.zeros([0, 4, 6, 3], np.uint8)) == []
    assert raw.shapes == []

  @pytest.mark.parametrize("shape", [(4, 6), (4, 6, 1)])
  def test_grey(self, detect, raw, shape):
    image = np.full(shape, 30, np.uint8)
    assert detect(image)["scores"][0] == np.float32(0.3)
    assert detect([image])[0]["scores"][0] == np.float32(0.3)
    assert raw.shapes == [(1, 4, 6, 3)] * 2


_ACCEPTED = "accepted: NumPy uint8 [height, width, 3] in the order RGB, or grey [height, width]"


class TestFaults:
  @pytest.mark.parametrize(
    ("image", "message"),
    [
      (
        np.zeros([4, 6, 3], np.float32),
        f"is float32; {_ACCEPTED}; of values 0 … 1, (255 * image).round().astype(np.uint8) makes"
        " that",
      ),
      (np.zeros([4, 6, 3], np.int64), f"is int64; {_ACCEPTED}"),
      (
        np.zeros([4, 6, 4], np.uint8),
        f"has the shape [4, 6, 4]; {_ACCEPTED}; image[..., :3] leaves out transparency",
      ),
      (np.zeros([6], np.uint8), f"has the shape [6]; {_ACCEPTED}"),
      (np.zeros([2, 4, 6, 3, 1], np.uint8), f"has the shape [2, 4, 6, 3, 1]; {_ACCEPTED}"),
      (np.zeros([0, 6, 3], np.uint8), "has the shape [0, 6, 3]; accepted: sides of at least 1"),
    ],
  )
  def test_images(self, detect, raw, image, message):
    for images, where in ((image, "the image"), ([fixtures.solid_image(4, 6), image], "image 1")):
      with pytest.raises(ValueError, match=f"^{re.escape(f'{where} {message}')}$"):
        detect(images)
    assert raw.shapes == []

  @pytest.mark.parametrize(
    ("images", "message"),
    [
      ("a.jpg", f"images is a str; {_ACCEPTED[:9]} one image, a list of images or a batch, where"),
      (["a.jpg"], f"image 0 is a str; {_ACCEPTED}"),
      ([Image.new("RGB", (6, 4))], f"image 0 is a Image; {_ACCEPTED}"),
      (np.zeros([2, 4, 6, 2], np.uint8), f"image 0 has the shape [4, 6, 2]; {_ACCEPTED}"),
    ],
  )
  def test_no_images(self, detect, images, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
      detect(images)

  @pytest.mark.parametrize(
    ("options", "message"),
    [
      ({"score_threshold": 1.5}, "score_threshold is 1.5; accepted: 0 to 1"),
      ({"score_threshold": float("nan")}, "score_threshold is nan; accepted: 0 to 1"),
      ({"batch_size": 0}, "batch_size is 0; accepted: at least 1"),
    ],
  )
  def test_options(self, detect, options, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
      detect(fixtures.solid_image(4, 6), **options)

  def test_detection_fails(self, detect):
    message = r"^detection failed in 1 of 13 x 6 pixels \(out of memory\)$"
    with pytest.raises(RuntimeError, match=message):
      detect(fixtures.solid_image(13, 6))


@pytest.fixture(name="of_a_run", scope="module")
def _of_a_run(tiny_run):
  return mtl_ssl_tf.load(tiny_run)


@pytest.fixture(name="of_an_export", scope="module")
def _of_an_export(tiny_export):
  return mtl_ssl_tf.load(tiny_export[0])


class TestLoad:
  @pytest.mark.parametrize("source", ["of_an_export", "of_a_run"])
  def test_an_export_or_a_run(self, request, source, tiny_loaded):
    detector = request.getfixturevalue(source)
    assert detector.class_names == tiny_run_lib.CLASS_NAMES
    images = tiny_run_lib.images()
    raw = tiny_loaded.signatures["serving_default"]
    for image, found in zip(images, detector(images), strict=True):
      expected = raw(images=tf.constant(image[np.newaxis]))
      count = int(expected["num_detections"][0])
      assert len(found["scores"]) == count > 0
      np.testing.assert_allclose(
        found["boxes_px"], expected["detection_boxes_px"][0, :count], atol=1e-3
      )

  def test_another_checkpoint(self, tiny_run, of_a_run):
    image = tiny_run_lib.images()[0]
    latest = mtl_ssl_tf.load(tiny_run, str(tiny_run / "ckpt-10"))
    best_scores, latest_scores = (detect(image)["scores"][:3] for detect in (of_a_run, latest))
    assert not np.allclose(best_scores, latest_scores)

  def test_neither(self, tmp_path):
    for path in (tmp_path, tmp_path / "nowhere"):
      with pytest.raises(ValueError, match=r"holds no detector; accepted: .* \(params.yaml\)$"):
        mtl_ssl_tf.load(path)

  def test_a_checkpoint_of_an_export(self, tiny_export):
    with pytest.raises(
      ValueError, match=r"^checkpoint is 'best'; accepted: None, as .* is an export$"
    ):
      mtl_ssl_tf.load(tiny_export[0], "best")


def test_importing_the_package_loads_no_tensorflow():
  code = "import mtl_ssl_tf\nassert callable(mtl_ssl_tf.load)\n"
  done = tiny_run_lib.run_python(code, without=("tensorflow", "numpy", "PIL"))
  assert done.returncode == 0, done.stderr


def test_an_export_needs_no_training_code(tiny_export):
  code = "import sys, mtl_ssl_tf\nprint(*mtl_ssl_tf.load(sys.argv[1]).class_names)\n"
  done = tiny_run_lib.run_python(
    code, [str(tiny_export[0])], without=("tf_keras", "official", "orbit")
  )
  assert done.returncode == 0, done.stderr
  assert done.stdout.split() == tiny_run_lib.CLASS_NAMES
