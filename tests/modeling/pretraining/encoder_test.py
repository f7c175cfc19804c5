"""Vectors of boxes, by the parts of a detector."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from mtl_ssl_tf.configs import detector as detector_config
from mtl_ssl_tf.modeling import factory
from mtl_ssl_tf.modeling.pretraining import insloc_model
from tests.modeling.pretraining import small


def _image(side: int = 64) -> tf.Tensor:
  return tf.constant(np.random.default_rng(0).integers(0, 256, [2, side, side, 3], np.uint8))


@pytest.fixture(name="encoder", scope="module")
def _encoder():
  # With the statistics of a batch: new ones let next to nothing through.
  config = small.config()
  config.backbone.norm.momentum = 0.0
  made = insloc_model.build(config).query_encoder
  made(_image(), tf.constant([[[0.0, 0.0, 64.0, 64.0]]] * 2), training=True)
  return made


def test_vectors_have_length_1(encoder):
  vectors = encoder(_image(), tf.constant([[[0.0, 0.0, 64.0, 64.0]], [[8.0, 16.0, 30.0, 60.0]]]))
  assert vectors.shape == [2, 1, 4]
  assert vectors.dtype == tf.float32
  np.testing.assert_allclose(np.linalg.norm(vectors, axis=-1), 1.0, rtol=1e-5)


def _sizes(side: int) -> tf.Tensor:
  return tf.constant([[side, side]] * 2, tf.float32)


def test_the_projection_is_on_the_features_of_the_box(encoder):
  boxes = tf.constant([[[3.0, 8.0, 40.0, 60.0]], [[8.0, 16.0, 30.0, 60.0]]])
  features = encoder.box_features(tf.cast(_image(), tf.float32), boxes, _sizes(64))
  expected = encoder.projection(features[:, 0])
  np.testing.assert_allclose(encoder(_image(), boxes)[:, 0], expected, atol=1e-5)


def test_boxes_are_of_images_of_any_sides(encoder):
  images = _image(80)[:, :48]
  boxes = tf.constant([[[3.0, 8.0, 40.0, 70.0]], [[8.0, 16.0, 30.0, 60.0]]])
  sizes = tf.constant([[48.0, 80.0]] * 2)
  features = encoder.box_features(tf.cast(images, tf.float32), boxes, sizes)
  expected = encoder.projection(features[:, 0])
  np.testing.assert_allclose(encoder(images, boxes)[:, 0], expected, atol=1e-5)


@pytest.mark.parametrize("pooling", ["box", "image"])
def test_statistics_are_learned_in_training_alone(pooling):
  norm = {"type": "batch", "momentum": 0.5}
  config = small.config(pooling=pooling, backbone={"type": small.BACKBONE, "norm": norm})
  encoder = insloc_model.build(config).query_encoder
  boxes = tf.constant([[[0.0, 0.0, 64.0, 64.0]]] * 2)
  moving = [variable for variable in encoder.variables if "moving_mean" in variable.name]
  assert len(moving) == 3
  for training in (False, True):
    encoder(_image(), boxes, training=training)
    assert [bool(np.any(variable != 0.0)) for variable in moving] == [training] * 3


def test_without_pooling_boxes_play_no_part():
  encoder = insloc_model.build(small.config(pooling="image")).query_encoder
  one = encoder(_image(), tf.constant([[[0.0, 0.0, 64.0, 64.0]]] * 2))
  other = encoder(_image(), tf.constant([[[8.0, 16.0, 30.0, 60.0]]] * 2))
  np.testing.assert_array_equal(one, other)
  maps = encoder.stage1(encoder.backbone.preprocess(tf.cast(_image(), tf.float32)))
  means = tf.reduce_mean(encoder.box_head.stage2(maps), axis=[1, 2])
  np.testing.assert_allclose(one[:, 0], encoder.projection(means), atol=1e-5)


@pytest.mark.parametrize("head", ["faster_rcnn", "rfcn"])
def test_features_are_those_of_a_detector_with_these_weights(encoder, head):
  config = detector_config.MtlDetection()
  config.override(
    {
      "backbone": {"type": small.BACKBONE, "norm": {"type": "batch"}},
      "roi_head": {"crop_size": 3, "type": head},
      "rpn": {"depth": 8},
    },
    is_strict=True,
  )
  detector = factory.build_detector(config, 3)
  detector.stage1.set_weights(encoder.stage1.get_weights())
  detector.box_head.stage2.set_weights(encoder.box_head.stage2.get_weights())
  images = tf.cast(_image(), tf.float32)
  maps = detector.first_stage(images, _sizes(64)).features
  np.testing.assert_allclose(
    maps, encoder.stage1(encoder.backbone.preprocess(images)), rtol=1e-5, atol=1e-5
  )
  if head == "faster_rcnn":  # The other has no features of a box.
    boxes = tf.constant([[[3.0, 8.0, 40.0, 60.0]], [[8.0, 16.0, 30.0, 60.0]]])
    expected = detector.box_stage(maps, boxes, _sizes(64)).box_features
    found = encoder.box_features(images, boxes, _sizes(64))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    # The input may be larger than the content, which alone counts and has the boxes.
    content = tf.constant([[64.0, 48.0], [40.0, 64.0]])
    maps = detector.first_stage(images, content).features
    expected = detector.box_stage(maps, boxes, content).box_features
    found = encoder.box_features(images, boxes, content)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
  ("backbone", "depth"),
  [
    ({"type": "resnet_18", "layout": "torchvision"}, 512),
    ({"type": "efficientnet_lite0"}, 1280),
    ({"type": "mobilenet_v1", "depth_multiplier": 0.125}, 128),
  ],
)
def test_other_backbones(backbone, depth):
  encoder = insloc_model.build(small.config(backbone=backbone)).query_encoder
  vectors = encoder(_image(), tf.constant([[[0.0, 0.0, 64.0, 64.0]]] * 2), training=True)
  assert vectors.shape == [2, 1, 4]
  boxes = tf.constant([[[0.0, 0.0, 64.0, 64.0]]] * 2)
  features = encoder.box_features(tf.cast(_image(), tf.float32), boxes, _sizes(64))
  assert features.shape == [2, 1, depth]


def test_mixed_precision_ends_in_float32():
  model = insloc_model.build(small.config(), precision="bfloat16")
  encoder = model.query_encoder
  vectors = encoder(_image(), tf.constant([[[0.0, 0.0, 64.0, 64.0]]] * 2), training=True)
  assert vectors.dtype == tf.float32
  maps = encoder.stage1(encoder.backbone.preprocess(tf.cast(_image(), tf.float32)))
  assert maps.dtype == tf.bfloat16
  assert model.queue.keys.dtype == tf.float32
  assert tf.convert_to_tensor(model.queue.keys).dtype == tf.float32
  assert encoder.box_head.of_images(maps, False).dtype == tf.float32
  features = np.random.default_rng(0).normal(size=[3, 16]).astype(np.float32)
  hidden, last = encoder.projection.hidden, encoder.projection.last
  net = np.maximum(features @ hidden.kernel.numpy() + hidden.bias.numpy(), 0.0)
  net = net @ last.kernel.numpy() + last.bias.numpy()
  expected = net / np.linalg.norm(net, axis=1, keepdims=True)
  np.testing.assert_allclose(encoder.projection(features), expected, atol=1e-4)
  # The policy was for this model alone.
  assert tf_keras.mixed_precision.global_policy().name == "float32"


def test_pixels_keep_their_bits_in_mixed_precision(monkeypatch):
  model = insloc_model.build(small.config(), precision="bfloat16")
  images = tf.random.stateless_uniform([2, 64, 64, 3], [0, 1], 0.0, 255.0)
  boxes = tf.constant([[[0.0, 0.0, 64.0, 64.0]]] * 2)
  kind, seen = type(model.query_encoder.backbone), []
  preprocess = kind.preprocess
  monkeypatch.setattr(
    kind, "preprocess", lambda self, images: seen.append(images) or preprocess(self, images)
  )
  model(images, boxes)
  model.query_encoder(images, boxes)
  assert len(seen) == 2
  for found in seen:
    np.testing.assert_array_equal(found, images)
