"""Tests of detection_module.py, on a SavedModel of a tiny detector."""

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tests.serving import tiny_run


@pytest.fixture(name="loaded", scope="module")
def _loaded(tiny_export):
  return tf.saved_model.load(tiny_export[0])


@pytest.fixture(name="detect", scope="module")
def _detect(loaded):
  """Calls `serving_default` with images [B, h, w, 3]."""
  function = loaded.signatures["serving_default"]
  return lambda images: _numpy(function(images=tf.constant(np.asarray(images), tf.uint8)))


@pytest.fixture(name="detect_encoded", scope="module")
def _detect_encoded(loaded):
  """Calls `serving_bytes` with a list of files' contents."""
  function = loaded.signatures["serving_bytes"]
  return lambda contents: _numpy(function(encoded_images=tf.constant(contents, tf.string)))


def _numpy(outputs):
  return {name: values.numpy() for name, values in outputs.items()}


def _encode(image: np.ndarray, image_format: str) -> bytes:
  content = io.BytesIO()
  Image.fromarray(image).save(content, image_format)
  return content.getvalue()


def _assert_same(outputs, expected):
  assert outputs.keys() == expected.keys() == set(tiny_run.OUTPUTS)
  for name, values in expected.items():
    atol = 1e-3 if name == "detection_boxes_px" else 1e-5
    np.testing.assert_allclose(outputs[name], values, atol=atol, err_msg=name)


class TestSignatures:
  def test_inputs_and_outputs(self, loaded):
    assert set(loaded.signatures) == {"serving_default", "serving_bytes"}
    inputs = {name: f.structured_input_signature[1] for name, f in loaded.signatures.items()}
    images = inputs["serving_default"]["images"]
    assert (images.dtype, images.shape.as_list()) == (tf.uint8, [None, None, None, 3])
    encoded = inputs["serving_bytes"]["encoded_images"]
    assert (encoded.dtype, encoded.shape.as_list()) == (tf.string, [None])
    max_detections = 40
    for function in loaded.signatures.values():
      outputs = function.structured_outputs
      assert {name: spec.shape.as_list() for name, spec in outputs.items()} == {
        "detection_boxes": [None, max_detections, 4],
        "detection_boxes_px": [None, max_detections, 4],
        "detection_scores": [None, max_detections],
        "detection_classes": [None, max_detections],
        "num_detections": [None],
      }
      assert {spec.dtype for spec in outputs.values()} == {tf.float32}

  def test_the_label_map_is_an_asset(self, loaded):
    with open(loaded.label_map.asset_path.numpy(), encoding="utf-8") as file:
      assert file.read().split() == tiny_run.CLASS_NAMES

  def test_holds_only_what_detection_reads(self, loaded):
    names = {variable.name.split("/")[0] for variable in loaded.weights}
    assert {"rpn", "box_head", "multi_object", "closeness", "refinement"} <= names
    assert "foreground" not in names


class TestImages:
  def test_a_batch_is_its_images_one_by_one(self, detect):
    image = tiny_run.images()[0]
    images = np.stack([image, image[::-1], image[:, ::-1], 255 - image])
    outputs = detect(images)
    for i, image in enumerate(images):
      _assert_same({name: values[i : i + 1] for name, values in outputs.items()}, detect([image]))

  def test_boxes_lie_in_the_image_and_the_rest_is_zero(self, detect):
    image = tiny_run.images()[1]
    outputs = {name: values[0] for name, values in detect([image]).items()}
    count = int(outputs["num_detections"])
    assert 0 < count < 40
    boxes_px, size = outputs["detection_boxes_px"][:count], np.tile(image.shape[:2], 2)
    assert (boxes_px >= 0.0).all() and (boxes_px <= size).all()
    assert (boxes_px[:, 2:] > boxes_px[:, :2]).all()
    assert (boxes_px.max(axis=0)[2:] > 0.5 * size[2:]).all()  # Of the image, not of the canvas.
    np.testing.assert_allclose(outputs["detection_boxes"][:count] * size, boxes_px, rtol=1e-6)
    assert set(outputs["detection_classes"][:count]) <= {1.0, 2.0, 3.0}
    assert (np.diff(outputs["detection_scores"][:count]) <= 0.0).all()
    for name in tiny_run.OUTPUTS[:-1]:
      assert not outputs[name][count:].any()

  @pytest.mark.parametrize("size", [(1, 1), (1, 300), (700, 40)])
  def test_odd_sizes(self, detect, size):
    outputs = detect(np.zeros([2, *size, 3]))
    assert np.isfinite(outputs["detection_boxes_px"]).all()
    assert (outputs["detection_boxes_px"] <= np.tile(size, 2)).all()

  @pytest.mark.parametrize("shape", [(0, 8, 8, 3), (1, 0, 8, 3), (1, 8, 0, 3)])
  def test_nothing_to_look_at(self, detect, shape):
    with pytest.raises(tf.errors.InvalidArgumentError, match="each side at least 1"):
      detect(np.zeros(shape))


class TestEncodedImages:
  def test_sizes_may_differ(self, detect, detect_encoded):
    images = tiny_run.images()
    outputs = detect_encoded([_encode(image, "PNG") for image in images])
    for i, image in enumerate(images):
      _assert_same({name: values[i : i + 1] for name, values in outputs.items()}, detect([image]))

  def test_formats(self, detect, detect_encoded):
    image = tiny_run.images()[0]
    contents = [_encode(image, image_format) for image_format in ("BMP", "GIF", "JPEG", "PNG")]
    outputs = detect_encoded(contents)
    for i, content in enumerate(contents):
      decoded = tf.io.decode_image(content, expand_animations=False).numpy()
      assert decoded.shape == image.shape
      _assert_same({name: values[i : i + 1] for name, values in outputs.items()}, detect([decoded]))

  def test_grey_and_the_first_of_several_pictures(self, detect, detect_encoded):
    grey = tiny_run.images()[0][..., 0]
    outputs = detect_encoded([_encode(grey, "JPEG")])
    decoded = tf.io.decode_jpeg(_encode(grey, "JPEG"), channels=3)
    _assert_same(outputs, detect([decoded]))
    movie = io.BytesIO()
    frames = [Image.fromarray(frame) for frame in (grey, 255 - grey)]
    frames[0].save(movie, "GIF", save_all=True, append_images=frames[1:])
    outputs = detect_encoded([movie.getvalue()])
    _assert_same(outputs, detect([tf.io.decode_gif(movie.getvalue())[0]]))

  @pytest.mark.parametrize(
    ("content", "message"),
    [
      (b"no image", "Unknown image file format"),
      (b"", "Input is empty"),
      (_encode(tiny_run.images()[0], "PNG")[:900], "PNG"),
      (_encode(tiny_run.images()[0], "JPEG")[:900], "JPEG"),
    ],
    ids=["text", "empty", "half a png", "half a jpeg"],
  )
  def test_no_image(self, detect_encoded, content, message):
    sound = _encode(tiny_run.images()[0], "PNG")
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
      detect_encoded([sound, content])
    assert detect_encoded([sound])["num_detections"][0] > 0  # And serves the next request.

  def test_empty_batch(self, detect_encoded):
    with pytest.raises(tf.errors.InvalidArgumentError, match="at least one image"):
      detect_encoded([])
