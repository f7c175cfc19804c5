"""Vectors of boxes on a feature pyramid: one of each level, by the parts of a detector."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from mtl_ssl_tf.configs import detector as detector_config
from mtl_ssl_tf.modeling import factory
from mtl_ssl_tf.modeling.pretraining import insloc_model
from mtl_ssl_tf.ops import pyramid_ops
from tests.modeling.pretraining import small

SIDE = 96
BOXES = np.array([[3, 8, 60, 90], [10, 20, 70, 50]], np.float32)
SIZES = tf.constant([[SIDE, SIDE]] * 2, tf.float32)


def _config(**changed):
  return small.config(**{**small.PYRAMID_CONFIG, **changed})


def _image() -> tf.Tensor:
  rng = np.random.default_rng(0)
  return tf.constant(rng.integers(0, 256, [2, SIDE, SIDE, 3], np.uint8))


def _on_levels(boxes=BOXES) -> np.ndarray:
  return np.repeat(boxes[:, np.newaxis], 4, axis=1)


def _with_statistics(config):
  """An encoder with the statistics of a batch: new ones let next to nothing through."""
  tf_keras.utils.set_random_seed(2)  # With some seeds no channel of a vector gets through.
  made = insloc_model.build(config).query_encoder
  for stage in (made.stage1, made.pyramid, made.box_head.stage2):
    for layer in stage.named_layers().values():
      if layer.norm is not None:
        layer.norm.momentum = 0.0
  made(_image(), tf.constant(_on_levels()), training=True)
  return made


@pytest.fixture(name="encoder", scope="module")
def _encoder():
  return _with_statistics(_config())


def _maps(encoder) -> tuple[tf.Tensor, ...]:
  images = encoder.backbone.preprocess(tf.cast(_image(), tf.float32))
  return encoder.pyramid(encoder.stage1(images))


def test_each_level_has_the_vector_of_its_own_crop(encoder):
  # A box of its own for each level, so that none can take that of another.
  boxes = _on_levels() + np.arange(4, dtype=np.float32)[:, np.newaxis]
  vectors = encoder(_image(), tf.constant(boxes)).numpy()
  assert vectors.shape == (2, 4, 4) and vectors.dtype == np.float32
  np.testing.assert_allclose(np.linalg.norm(vectors, axis=-1), 1.0, rtol=1e-5)
  maps = _maps(encoder)
  assert [m.shape[1] for m in maps] == [24, 12, 6, 3]
  for i, level in enumerate((2, 3, 4, 5)):
    packed = pyramid_ops.pack(maps[i : i + 1], SIZES, level, 1, "matmul")
    crops = pyramid_ops.crop(
      packed,
      tf.constant(boxes[:, i : i + 1]),
      tf.fill([2, 1], level),
      SIZES,
      min_level=level,
      crop_size=3,
      num_samples=2,
    )[:, 0]
    expected = encoder.projection(encoder.box_head.stage2(crops))
    np.testing.assert_allclose(vectors[:, i], expected, rtol=1e-4, atol=1e-5)


def test_boxes_are_cut_off_at_the_border(encoder):
  outside = BOXES + np.array([-30, 0, 0, 60], np.float32)
  found = encoder(_image(), tf.constant(_on_levels(outside)))
  expected = encoder(_image(), tf.constant(_on_levels(np.clip(outside, 0, SIDE))))
  np.testing.assert_allclose(found, expected, atol=1e-6)
  assert np.all(outside[:, 3] > SIDE)
  assert np.any(np.abs(found - encoder(_image(), tf.constant(_on_levels()))) > 1e-3)


def test_without_pooling_boxes_play_no_part():
  encoder = _with_statistics(_config(pooling="image"))
  one = encoder(_image(), tf.constant(_on_levels()))
  np.testing.assert_array_equal(one, encoder(_image(), tf.constant(_on_levels() + 5.0)))
  boxed = insloc_model.build(_config()).query_encoder
  boxed.set_weights(encoder.get_weights())
  whole = np.array([[0, 0, SIDE, SIDE]] * 2, np.float32)
  np.testing.assert_allclose(one, boxed(_image(), tf.constant(_on_levels(whole))), atol=1e-6)


def test_features_are_those_of_a_detector_with_these_weights(encoder):
  config = detector_config.MtlDetection()
  pyramid = small.PYRAMID_CONFIG
  config.override(
    {
      "backbone": {**pyramid["backbone"], "norm": {"type": "batch"}},
      "fpn": {**pyramid["fpn"], "norm": "batch"},
      "roi_head": {
        "type": "fpn",
        "crop_size": 3,
        "fpn": {**pyramid["fpn_head"], "layers": "4conv1fc", "norm": "batch"},
      },
      "rpn": {"depth": 8},
    },
    is_strict=True,
  )
  detector = factory.build_detector(config, 3)
  pairs = (
    (detector.stage1, encoder.stage1),
    (detector.pyramid, encoder.pyramid),
    (detector.box_head.stage2, encoder.box_head.stage2),
  )
  for stage, source in pairs:
    stage.set_weights(source.get_weights())
  images = tf.cast(_image(), tf.float32)
  # Small and large ones, that a detector crops from different levels.
  boxes = tf.constant([[[3.0, 8.0, 15.0, 20.0], [0.0, 4.0, 90.0, 96.0]]] * 2)
  for content in ([[SIDE, SIDE]] * 2, [[SIDE, 64], [60, SIDE]]):
    sizes = tf.constant(content, tf.float32)
    packed = detector.first_stage(images, sizes).features
    expected = detector.box_stage(packed, boxes, sizes).box_features
    found = encoder.box_features(images, boxes, sizes)
    assert found.shape == (2, 2, 7)
    np.testing.assert_allclose(
      tf.reshape(found, [4, 7]), tf.reshape(expected, [4, 7]), rtol=1e-4, atol=1e-5
    )


def test_parts_are_as_configured():
  config = _config(
    fpn={"depth": 6, "min_level": 3, "norm": "none"},
    fpn_head={"conv_depth": 5, "dense_depth": 9, "samples": 3, "canonical_size_px": 50.0},
    queue_size=12,
    seed=3,
  )
  model = insloc_model.build(config, "matmul")
  for encoder in (model.query_encoder, model.key_encoder):
    assert encoder.num_levels == 3 and encoder.pyramid.levels == (3, 4, 5)
    cropper = encoder.box_head.pyramid_cropper
    assert (cropper.min_level, cropper.max_level, cropper.size) == (3, 5, 3)
    assert (cropper.canonical_size_px, cropper.num_samples, cropper.method) == (50.0, 3, "matmul")
    assert all(layer.norm is None for layer in encoder.pyramid.named_layers().values())
    head = encoder.box_head.stage2.named_layers()
    assert list(head) == ["conv1", "conv2", "conv3", "conv4", "fc6"]
    # Groups of two images, each with a crop from three levels.
    assert head["conv1"].norm._group_size == 6 and head["conv1"].norm.epsilon == 1e-5
    assert head["conv1"].conv.filters == 5 and head["fc6"].conv.units == 9
    (first, *_) = encoder.stage1.named_layers().values()
    assert first.norm._group_size == 2
  assert model.pyramid is model.query_encoder.pyramid
  assert model.queue.keys.shape == [12, 3 * 4]
  normed = insloc_model.build(_config(fpn={"depth": 6, "coarser": "convolution"}))
  norms = [layer.norm for layer in normed.query_encoder.pyramid.named_layers().values()]
  assert {(norm._group_size, norm.epsilon) for norm in norms} == {(2, 1e-5)}


def test_group_norm():
  norm = {"type": "group", "groups": 2}
  changed = {"fpn": {"depth": 6, "norm": "group"}}
  changed["fpn_head"] = {**small.PYRAMID_CONFIG["fpn_head"], "norm": "group"}
  changed["backbone"] = {**small.PYRAMID_CONFIG["backbone"], "norm": norm}
  encoder = insloc_model.build(_config(**changed)).query_encoder
  for stage in (encoder.pyramid, encoder.box_head.stage2):
    layers = [layer for layer in stage.named_layers().values() if layer.norm is not None]
    assert layers and all("GroupNorm" in type(layer.norm).__name__ for layer in layers)


def test_each_level_of_the_queue_starts_at_random_with_length_1():
  queue = insloc_model.build(_config()).queue
  levels = [queue.of_level(i).numpy() for i in range(4)]
  np.testing.assert_array_equal(np.concatenate(levels, axis=1), queue.keys)
  for level in levels:
    np.testing.assert_allclose(np.linalg.norm(level, axis=1), 1.0, rtol=1e-5)
  assert len({level.tobytes() for level in levels}) == 4
