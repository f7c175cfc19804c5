"""Tests of detection_module.py, on a SavedModel of a tiny detector."""

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from tensorflow.core.protobuf import config_pb2

from mtl_ssl_tf.ops import box_ops
from mtl_ssl_tf.serving import detection_module, export_lib
from tests import fixtures
from tests.data import voc_files
from tests.modeling import small
from tests.serving import tiny_run as tiny_run_lib

_FORMATS = ("BMP", "GIF", "JPEG", "MPO", "PNG", "WEBP")


@pytest.fixture(name="detect", scope="module")
def _detect(tiny_loaded):
  """Calls `serving_default` with images [B, h, w, 3]."""
  function = tiny_loaded.signatures["serving_default"]
  return lambda images: _numpy(function(images=tf.constant(np.asarray(images), tf.uint8)))


@pytest.fixture(name="detect_encoded", scope="module")
def _detect_encoded(tiny_loaded):
  """Calls `serving_bytes` with a list of files' contents."""
  function = tiny_loaded.signatures["serving_bytes"]
  return lambda contents: _numpy(function(encoded_images=tf.constant(contents, tf.string)))


@pytest.fixture(name="detect_examples", scope="module")
def _detect_examples(tiny_loaded):
  """Calls `serving_tf_example` with a list of serialized tf.Examples."""
  function = tiny_loaded.signatures["serving_tf_example"]
  return lambda examples: _numpy(function(tf_examples=tf.constant(examples, tf.string)))


@pytest.fixture(name="model", scope="module")
def _model(tiny_run):
  return export_lib.build_model(export_lib.read_run(str(tiny_run)))


def _module(model, tiny_run, **options):
  """The detector as it is served, without a detour by way of files."""
  return detection_module.DetectionModule(
    model,
    input_size=[128, 160],
    short_side=96,
    long_side=160,
    label_map_file=tiny_run / "label_map.txt",
    **options,
  )


def _numpy(outputs):
  return {name: values.numpy() for name, values in outputs.items()}


def _encode(image: np.ndarray, image_format: str) -> bytes:
  content = io.BytesIO()
  Image.fromarray(image).save(content, image_format)
  return content.getvalue()


def _assert_same(outputs, expected):
  assert outputs.keys() == expected.keys() == set(tiny_run_lib.OUTPUTS)
  for name, values in expected.items():
    atol = 1e-3 if name == "detection_boxes_px" else 1e-5
    np.testing.assert_allclose(outputs[name], values, atol=atol, err_msg=name)


class TestSignatures:
  def test_inputs_and_outputs(self, tiny_loaded):
    assert set(tiny_loaded.signatures) == set(tiny_run_lib.SIGNATURES)
    inputs = {name: f.structured_input_signature[1] for name, f in tiny_loaded.signatures.items()}
    images = inputs["serving_default"]["images"]
    assert (images.dtype, images.shape.as_list()) == (tf.uint8, [None, None, None, 3])
    encoded = inputs["serving_bytes"]["encoded_images"]
    assert (encoded.dtype, encoded.shape.as_list()) == (tf.string, [None])
    examples = inputs["serving_tf_example"]["tf_examples"]
    assert (examples.dtype, examples.shape.as_list()) == (tf.string, [None])
    max_detections = 40
    for function in tiny_loaded.signatures.values():
      outputs = function.structured_outputs
      assert {name: spec.shape.as_list() for name, spec in outputs.items()} == {
        "detection_boxes": [None, max_detections, 4],
        "detection_boxes_px": [None, max_detections, 4],
        "detection_scores": [None, max_detections],
        "detection_classes": [None, max_detections],
        "num_detections": [None],
      }
      assert {spec.dtype for spec in outputs.values()} == {tf.float32}

  def test_the_label_map_is_an_asset(self, tiny_loaded):
    with open(tiny_loaded.label_map.asset_path.numpy(), encoding="utf-8") as file:
      assert file.read().split() == tiny_run_lib.CLASS_NAMES

  def test_holds_only_what_detection_reads(self, tiny_loaded):
    names = {variable.name.split("/")[0] for variable in tiny_loaded.weights}
    assert {"rpn", "box_head", "multi_object", "closeness", "refinement"} <= names
    assert "foreground" not in names


class TestImages:
  def test_a_batch_is_its_images_one_by_one(self, detect):
    image = tiny_run_lib.images()[0]
    images = np.stack([image, image[::-1], image[:, ::-1], 255 - image])
    outputs = detect(images)
    for i, image in enumerate(images):
      _assert_same({name: values[i : i + 1] for name, values in outputs.items()}, detect([image]))

  def test_boxes_lie_in_the_image_and_the_rest_is_zero(self, detect):
    image = tiny_run_lib.images()[1]
    outputs = {name: values[0] for name, values in detect([image]).items()}
    count = int(outputs["num_detections"])
    assert 0 < count < 40
    boxes_px, size = outputs["detection_boxes_px"][:count], np.tile(image.shape[:2], 2)
    assert (boxes_px >= 0.0).all() and (boxes_px <= size).all()
    assert (boxes_px[:, 2:] > boxes_px[:, :2]).all()
    assert (boxes_px.max(axis=0)[2:] > 0.5 * size[2:]).all()  # Of the image, not of the input.
    np.testing.assert_allclose(outputs["detection_boxes"][:count] * size, boxes_px, rtol=1e-6)
    assert set(outputs["detection_classes"][:count]) <= {1.0, 2.0, 3.0}
    assert (np.diff(outputs["detection_scores"][:count]) <= 0.0).all()
    for name in tiny_run_lib.OUTPUTS[:-1]:
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
    images = tiny_run_lib.images()
    outputs = detect_encoded([_encode(image, "PNG") for image in images])
    for i, image in enumerate(images):
      _assert_same({name: values[i : i + 1] for name, values in outputs.items()}, detect([image]))

  def test_formats(self, detect, detect_encoded):
    image = tiny_run_lib.images()[0]
    contents = [_encode(image, image_format) for image_format in _FORMATS]
    outputs = detect_encoded(contents)
    for i, content in enumerate(contents):
      decoded = tf.io.decode_image(content, expand_animations=False).numpy()
      assert decoded.shape == image.shape
      _assert_same({name: values[i : i + 1] for name, values in outputs.items()}, detect([decoded]))

  def test_jpeg_without_its_end_marker(self, detect_encoded):
    content = _encode(tiny_run_lib.images()[0], "JPEG")
    _assert_same(detect_encoded([content[:-2]]), detect_encoded([content]))

  def test_grey_and_the_first_of_several_pictures(self, detect, detect_encoded):
    grey = tiny_run_lib.images()[0][..., 0]
    outputs = detect_encoded([_encode(grey, "JPEG")])
    decoded = tf.io.decode_jpeg(_encode(grey, "JPEG"), channels=3)
    _assert_same(outputs, detect([decoded]))
    movie = io.BytesIO()
    frames = [Image.fromarray(frame) for frame in (grey, 255 - grey)]
    frames[0].save(movie, "GIF", save_all=True, append_images=frames[1:])
    outputs = detect_encoded([movie.getvalue()])
    _assert_same(outputs, detect([tf.io.decode_gif(movie.getvalue())[0]]))

  def test_boxes_are_those_of_the_upright_image(self, detect, detect_encoded):
    image = tiny_run_lib.images()[0]
    stored = Image.fromarray(np.rot90(image))  # Shown after a turn to the right.
    outputs = detect_encoded([voc_files.image_bytes(stored, "PNG", exif=voc_files.exif(6))])
    _assert_same(outputs, detect([image]))

  @pytest.mark.parametrize(
    ("content", "message"),
    [
      (b"no image", "bytes that do not begin like an image; accepted: a whole JPEG, PNG, BMP, W"),
      (_encode(tiny_run_lib.images()[0], "JPEG")[:900], "a JPEG that is cut short"),
      (_encode(tiny_run_lib.images()[0], "PNG")[:900], "a PNG that is cut short"),
    ],
    ids=["text", "half a jpeg", "half a png"],
  )
  def test_no_image(self, detect_encoded, content, message):
    sound = _encode(tiny_run_lib.images()[0], "PNG")
    with pytest.raises(tf.errors.InvalidArgumentError, match=rf"encoded_images\[1\]: {message}"):
      detect_encoded([sound, content])
    assert detect_encoded([sound])["num_detections"][0] > 0  # And serves the next request.

  def test_empty_batch(self, detect_encoded):
    with pytest.raises(tf.errors.InvalidArgumentError, match="at least one image"):
      detect_encoded([])


class TestExamples:
  def test_as_records_hold_them(self, detect, detect_examples):
    images = tiny_run_lib.images()[:2]
    outputs = detect_examples([fixtures.serialized_example(image) for image in images])
    for i, image in enumerate(images):
      _assert_same({name: values[i : i + 1] for name, values in outputs.items()}, detect([image]))

  def test_refusals_name_the_example(self, detect_examples):
    sound = fixtures.serialized_example(tiny_run_lib.images()[0])
    for bad, message in (
      (sound[:-1], "bytes that are no tf.Example, or cut short"),
      (tf.train.Example().SerializeToString(), "bytes that are no tf.Example"),
      (b"\x0a\x00", "no bytes; accepted"),  # Without an image.
    ):
      with pytest.raises(tf.errors.InvalidArgumentError, match=rf"tf_examples\[1\]: {message}"):
        detect_examples([sound, bad])
    with pytest.raises(tf.errors.InvalidArgumentError, match="at least one image"):
      detect_examples([])


class TestServer:
  """Feeds the graph like a C++ server: whatever it is sent, and TensorFlow alone checks."""

  @pytest.fixture(name="call", scope="class")
  def _call(self, tiny_export):
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
      loaded = tf.compat.v1.saved_model.load(session, ["serve"], str(tiny_export[0]))

      def make(definition):
        (feed,) = definition.inputs.values()
        fetches = [definition.outputs["detection_scores"].name]
        # As it takes names, this checks neither shapes nor types.
        options = config_pb2.CallableOptions(feed=[feed.name], fetch=fetches)
        return session._make_callable_from_options(options)

      functions = {name: make(loaded.signature_def[name]) for name in tiny_run_lib.SIGNATURES}
      yield lambda signature, value: functions[signature](value)[0]

  def test_sound(self, call):
    assert call("serving_default", np.zeros([2, 8, 8, 3], np.uint8)).shape == (2, 40)

  @pytest.mark.parametrize(
    ("signature", "value", "message"),
    [
      ("serving_default", np.zeros([8, 8, 3], np.uint8), r"[Ss]hape"),
      ("serving_default", np.zeros([1, 8, 8, 1], np.uint8), r"[Ss]hape"),
      ("serving_default", np.full([1, 8, 8, 3], np.nan, np.float32), "float.* uint8|uint8.* float"),
      ("serving_bytes", np.array(b"a", object), r"[Ss]hape"),
      ("serving_bytes", np.array([["a"]], object), r"[Ss]hape"),
      ("serving_bytes", np.zeros([1], np.uint8), "uint8.* string|string.* uint8"),
      ("serving_tf_example", np.array(b"a", object), r"[Ss]hape"),
    ],
    ids=["rank 3", "one channel", "NaN", "scalar", "matrix", "type", "scalar example"],
  )
  def test_wrong_rank_and_type(self, call, signature, value, message):
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
      call(signature, value)


def _around_content(padded, sizes_px):
  """Stands in for the detector: one box around the content; it scores what the input shows."""
  num_images = tf.shape(padded)[0]
  return {
    "detection_boxes_px": tf.concat([tf.zeros_like(sizes_px), sizes_px], axis=-1)[:, tf.newaxis],
    "detection_scores": tf.reduce_mean(padded, axis=[1, 2, 3])[:, tf.newaxis] / 255.0,
    "detection_classes": tf.ones([num_images, 1], tf.int32),
    "num_detections": tf.ones([num_images], tf.int32),
  }


def test_the_detector_is_given_the_image_as_evaluation_has_it(tmp_path):
  (tmp_path / "label_map.txt").write_text("all\n")
  module = detection_module.DetectionModule(
    _around_content,
    input_size=[64, 96],
    short_side=30,
    long_side=50,
    label_map_file=tmp_path / "label_map.txt",
  )
  # White, 20 x 40: the long side allows 5/4, so that the input shows 25 x 50 of it.
  image = fixtures.solid_image(20, 40, 255)
  found = {
    "images": module.detect_images(tf.constant(image[np.newaxis])),
    "bytes": module.detect_encoded_images(tf.constant([_encode(image, "PNG")])),
    "records": module.detect_tf_examples(tf.constant([fixtures.serialized_example(image)])),
  }
  for kind, outputs in found.items():
    np.testing.assert_allclose(outputs["detection_boxes"], [[[0, 0, 1, 1]]], err_msg=kind)
    np.testing.assert_allclose(outputs["detection_boxes_px"], [[[0, 0, 20, 40]]], err_msg=kind)
    shown = 25 * 50 / (64 * 96)
    np.testing.assert_allclose(outputs["detection_scores"], [[shown]], rtol=1e-5, err_msg=kind)


class _Foreground:
  """Stands in for the detector: of two cells, the second shows an object for certain."""

  foreground_head, refiner = True, None

  def predict_foreground(self, features):
    assert features == "map"
    return tf.constant([[[[50.0, 0.0], [0.0, 50.0]]]])


def test_each_raw_output_is_made_of_the_logits_of_its_name():
  # Two proposals and padding; each kind of logits is certain of another class.
  certain = {
    "class_logits": 0,
    "refined_logits": 1,
    "closeness_logits": 2,
    "window_logits": 3,
  }
  outputs = {name: 50.0 * tf.one_hot([[column] * 3], 4) for name, column in certain.items()}
  outputs |= {
    "features": "map",
    "proposals_valid": tf.constant([[True, True, False]]),
    "proposals_scores": tf.constant([[0.75, 0.5, 0.0]]),
    "detection_proposal_indices": tf.constant([[1, 0]]),
  }
  found = detection_module._raw_outputs(_Foreground(), outputs, tf.zeros([1, 3, 4]))
  assert found.pop("detection_proposals").numpy().tolist() == [[1.0, 0.0]]
  assert found.pop("num_proposals").numpy().tolist() == [2.0]
  assert found.pop("proposal_scores").numpy().tolist() == [[0.75, 0.5, 0.0]]
  np.testing.assert_allclose(found.pop("foreground_scores"), [[[0.0, 1.0]]], atol=1e-6)
  columns = {name: np.argmax(values, axis=-1).tolist() for name, values in found.items()}
  assert columns == {
    "proposal_class_scores": [[0] * 3],
    "proposal_refined_class_scores": [[1] * 3],
    "proposal_closeness_scores": [[2] * 3],
    "proposal_multi_object_scores": [[3] * 3],
  }
  for values in found.values():
    np.testing.assert_allclose(tf.reduce_sum(values, axis=-1), 1.0)


def test_raw_outputs_where_few_proposals_are_refined():
  model = small.make_detector(refinement={"max_proposals": 3})
  sizes_px = tf.constant([[64.0, 96.0]])
  outputs = model(small.noise_images(1, 64, 96), sizes_px)
  proposals_norm = box_ops.normalize(outputs["proposals_px"], sizes_px)
  found = _numpy(detection_module._raw_outputs(model, outputs, proposals_norm))
  is_refined = found["proposal_refined"] > 0.0
  assert (found["num_proposals"], is_refined.sum()) == (7, 3)
  # Refinement goes by the closeness of all proposals.
  mean = tf.reduce_mean(outputs["closeness_logits"], axis=1)
  np.testing.assert_allclose(found["closeness_summary_scores"], tf.nn.softmax(mean), rtol=1e-4)
  logits = found["proposal_refinement_parts"].sum(axis=2)
  refined, plain = outputs["refined_logits"].numpy(), outputs["class_logits"].numpy()
  np.testing.assert_allclose(logits[is_refined], refined[is_refined], rtol=1e-4, atol=1e-4)
  assert not np.allclose(refined[is_refined], plain[is_refined], atol=1e-2)
  # Nor does padding count, whatever the heads say of it.
  fewer = outputs | {"proposals_valid": tf.sequence_mask([4], 7)}
  found = _numpy(detection_module._raw_outputs(model, fewer, proposals_norm))
  assert found["num_proposals"] == 4
  mean = tf.reduce_mean(outputs["closeness_logits"][:, :4], axis=1)
  np.testing.assert_allclose(found["closeness_summary_scores"], tf.nn.softmax(mean), rtol=1e-4)


_ALWAYS = {"proposal_scores", "num_proposals", "proposal_class_scores", "detection_proposals"}
_REFINED = {"proposal_refined_class_scores", "proposal_refined", "proposal_refinement_parts"}
_WINDOWS = {"proposal_multi_object_scores", "proposal_window_boxes"}
_CLOSENESS = {"proposal_closeness_scores", "closeness_summary_scores"}
_OF_HEADS = {
  "refinement_stage": _REFINED | _WINDOWS | {"closeness_summary_scores"},
  "multi_object_head": _WINDOWS,
  "closeness_head": _CLOSENESS,
  "foreground": {"foreground_scores"},
}


@pytest.mark.parametrize("left_out", [*_OF_HEADS, "multi_object_head and closeness_head"])
def test_raw_outputs_are_of_the_heads_that_there_are(left_out):
  left_out = left_out.split(" and ")
  model = small.make_detector(**dict.fromkeys(left_out))
  sizes_px = tf.constant([[64.0, 96.0]])
  outputs = model(small.noise_images(1, 64, 96), sizes_px)
  proposals_norm = box_ops.normalize(outputs["proposals_px"], sizes_px)
  found = _numpy(detection_module._raw_outputs(model, outputs, proposals_norm))
  expected = _ALWAYS.union(*_OF_HEADS.values())
  for name in left_out:
    expected = expected - _OF_HEADS[name]
  assert found.keys() == expected
  assert all(np.isfinite(values).all() for values in found.values())


class TestOptions:
  def test_raw_outputs(self, model, tiny_run, detect):
    module = _module(model, tiny_run, raw_outputs=True)
    assert any(variable.name.startswith("foreground") for variable in module.weights)
    image = tiny_run_lib.images()[1]
    outputs = _numpy(module.detect_images(tf.constant(image[np.newaxis])))
    _assert_same(
      {name: values for name, values in outputs.items() if name in tiny_run_lib.OUTPUTS},
      detect([image]),
    )
    P, C, W = 20, 4, 5
    assert {
      name: outputs[name].shape[1:] for name in outputs.keys() - set(tiny_run_lib.OUTPUTS)
    } == {
      "proposal_boxes": (P, 4),
      "proposal_scores": (P,),
      "num_proposals": (),
      "proposal_class_scores": (P, C),
      "proposal_refined_class_scores": (P, C),
      "proposal_closeness_scores": (P, C),
      "proposal_multi_object_scores": (P, W, C),
      "proposal_window_boxes": (P, W, 4),
      "proposal_refined": (P,),
      # The logits as they are, the main head, the windows, closeness.
      "proposal_refinement_parts": (P, 1 + 1 + W + 1, C),
      "closeness_summary_scores": (C,),
      "detection_proposals": (40,),
      "foreground_scores": (8, 10),
    }
    for name, values in outputs.items():
      if name.endswith("class_scores") or name.startswith(("proposal_clo", "proposal_mul")):
        np.testing.assert_allclose(values.sum(axis=-1), 1.0, rtol=1e-5, err_msg=name)
    count = int(outputs["num_proposals"][0])
    assert 0 < count <= P
    boxes = outputs["proposal_boxes"][0, :count]
    assert (boxes >= 0.0).all() and (boxes <= 1.0).all() and boxes[:, 2:].max() > 0.5
    assert (np.diff(outputs["proposal_scores"][0, :count]) <= 0.0).all()
    # Detections score what refinement makes of their proposals.
    refined = outputs["proposal_refined_class_scores"][0, :, 1:]
    np.testing.assert_allclose(outputs["detection_scores"][0, 0], refined.max(), rtol=1e-5)
    assert not np.allclose(refined, outputs["proposal_class_scores"][0, :, 1:])

  def test_raw_outputs_explain_each_detection(self, model, tiny_run):
    module = _module(model, tiny_run, raw_outputs=True)
    image = tiny_run_lib.images()[1]
    outputs = _numpy(module.detect_images(tf.constant(image[np.newaxis])))
    found = {name: values[0] for name, values in outputs.items()}
    num_detections, num_proposals = int(found["num_detections"]), int(found["num_proposals"])
    assert num_detections > 3
    proposals = found["detection_proposals"][:num_detections].astype(int)
    assert (np.diff(proposals) != 1).any()  # Another order than that of the proposals.
    classes = found["detection_classes"][:num_detections].astype(int)
    np.testing.assert_allclose(
      found["proposal_refined_class_scores"][proposals, classes],
      found["detection_scores"][:num_detections],
      rtol=1e-5,
    )
    windows = found["proposal_window_boxes"][:num_proposals]
    np.testing.assert_allclose(windows[:, 0], found["proposal_boxes"][:num_proposals], atol=1e-6)
    np.testing.assert_allclose(windows[:, -1], [[0, 0, 1, 1]] * num_proposals, atol=1e-6)
    is_refined = found["proposal_refined"] > 0.0
    assert is_refined.sum() == num_proposals
    logits = found["proposal_refinement_parts"][is_refined].sum(axis=1)  # [P, C]
    np.testing.assert_allclose(
      tf.nn.softmax(logits), found["proposal_refined_class_scores"][is_refined], rtol=1e-4
    )
    # The mean of logits, which are known but for one number a row that does not matter.
    mean = np.log(found["proposal_closeness_scores"][:num_proposals]).mean(axis=0)
    np.testing.assert_allclose(tf.nn.softmax(mean), found["closeness_summary_scores"], rtol=1e-4)

  def test_padded_images_compile(self, tiny_run, detect):
    """The function of static shapes, under XLA; the image fills a part of the input."""
    run = export_lib.read_run(str(tiny_run))
    model = export_lib.build_model(run, "matmul")
    module = _module(model, tiny_run, padded_signature=True)
    assert set(module.signatures()) == {*tiny_run_lib.SIGNATURES, "serving_canvases"}
    image = tiny_run_lib.images()[2]  # 90 x 160 stays as it is.
    padded = np.zeros([1, 128, 160, 3], np.float32)
    padded[0, :90] = image
    size = tf.constant([[90.0, 160.0]])
    compiled = tf.function(module.detect_canvases, jit_compile=True)
    _assert_same(_numpy(compiled(tf.constant(padded), size, size)), detect([image]))

  def test_one_batch_size_alone(self, model, tiny_run, detect):
    module = _module(model, tiny_run, batch_size=2)
    for name, function in module.signatures().items():
      (spec,) = function.structured_input_signature[0]
      assert spec.shape[0] == 2, name
      assert function.structured_outputs["detection_boxes"].shape == (2, 40, 4), name
    image = tiny_run_lib.images()[0]
    outputs = _numpy(module.detect_images(tf.constant(np.stack([image, image]))))
    _assert_same({name: values[:1] for name, values in outputs.items()}, detect([image]))
