"""Estimated statistics against plain ones of the same images."""

import numpy as np
import pytest
import tensorflow as tf

from mtl_ssl_tf.configs import detector as detector_config
from mtl_ssl_tf.modeling import factory, norm_statistics, normalization
from tests.modeling.pretraining import small

SMALL = {
  "backbone": {"type": small.BACKBONE},
  "rpn": {"depth": 8},
  "roi_head": {"crop_size": 3},
}

# What a normalisation sees of `_batch`: 2 images of 64 x 80 pixels, at strides 4 and 16; 6 crops.
NUM_CELLS = {"first": 2 * 16 * 20, "second": 2 * 4 * 5, "third": 6 * 3 * 3}


def _config(**changed) -> detector_config.MtlDetection:
  config = detector_config.MtlDetection()
  for override in (SMALL, changed):
    config.override(override, is_strict=True)
  return config


def _batch(seed: int, sizes=((64, 80), (64, 80))):
  """Noise on content of these sizes, padded to 96 x 96 by a value that would be seen."""
  rng = np.random.default_rng(seed)
  images = np.full([len(sizes), 96, 96, 3], 255.0, np.float32)
  for image, (height, width) in zip(images, sizes, strict=True):
    image[:height, :width] = rng.integers(0, 100, [height, width, 3])
  labels = {
    "image_size_px": tf.constant(sizes, tf.float32),
    "gt_boxes_px": tf.constant(
      [[[4, 4, 40, 60], [10, 20, 60, 70], [-1, -1, -1, -1]]] * len(sizes), tf.float32
    ),
    "gt_classes": tf.constant([[1, 2, -1]] * len(sizes)),
  }
  return tf.constant(images), labels


def _first_maps(model, images: np.ndarray) -> np.ndarray:
  """What the first normalisation of stage 1 gets."""
  layer = model.stage1.named_layers()["first"]
  return tf.nn.conv2d(model.backbone.preprocess(images), layer.conv.kernel, 4, "SAME").numpy()


def test_the_first_norm_has_the_plain_statistics_of_all_pixels():
  config = _config()
  model = factory.build_detector(config, 3)
  batches = [_batch(seed) for seed in range(3)]
  found = norm_statistics.estimate(model, config, batches)
  norms = [layer.norm for stage in model.stages for layer in stage.named_layers().values()]
  assert found == (6, len(norms))
  maps = np.concatenate([_first_maps(model, images[:, :64, :80]) for images, _ in batches]).astype(
    np.float64
  )  # [6, 16, 20, c]
  norm = model.stage1.named_layers()["first"].norm
  np.testing.assert_allclose(norm.moving_mean, maps.mean(axis=(0, 1, 2)), rtol=1e-4, atol=1e-5)
  np.testing.assert_allclose(norm.moving_variance, maps.var(axis=(0, 1, 2)), rtol=1e-4)


def test_of_one_batch_they_are_what_batch_normalisation_saw():
  config = _config()
  model = factory.build_detector(config, 3)
  images, labels = _batch(0)
  rng = np.random.default_rng(2)
  for stage in model.stages[:2]:
    for layer in stage.named_layers().values():  # As training leaves them, not 1 and 0.
      layer.norm.gamma.assign(rng.uniform(0.5, 2.0, layer.norm.gamma.shape))
      layer.norm.beta.assign(rng.uniform(-0.5, 0.5, layer.norm.beta.shape))
  norm_statistics.estimate(model, config, [(images, labels)])
  # The same network with `batch` and a momentum of 0 keeps the statistics of its last batch.
  usual = factory.build_detector(_config(backbone={"norm": {"type": "batch", "momentum": 0.0}}), 3)
  names = zip(usual.stages[:2], model.stages[:2], strict=True)
  for stage, other in names:
    for name, layer in stage.named_layers().items():
      given = other.named_layers()[name]
      for own, value in zip(layer.conv.weights, given.conv.weights, strict=True):
        own.assign(value)
      layer.norm.gamma.assign(given.norm.gamma)
      layer.norm.beta.assign(given.norm.beta)
  maps = usual.stage1(usual.backbone.preprocess(images[:, :64, :80]), training=True)
  sizes = labels["image_size_px"]
  boxes = labels["gt_boxes_px"] / tf.constant([64.0, 80.0, 64.0, 80.0])
  boxes = tf.gather(boxes, [0, 1, 0], axis=1)  # The two boxes over and over.
  usual.box_head.crop_features(maps, boxes, sizes, training=True)
  for stage, other in zip(usual.stages[:2], model.stages[:2], strict=True):
    for name, layer in stage.named_layers().items():
      norm, given = layer.norm, other.named_layers()[name].norm
      np.testing.assert_allclose(given.moving_mean, norm.moving_mean, atol=1e-3, err_msg=name)
      # Keras keeps the variance of the population that the cells are drawn from.
      num_cells = NUM_CELLS[name]
      variance = norm.moving_variance * ((num_cells - 1) / num_cells)
      np.testing.assert_allclose(given.moving_variance, variance, rtol=1e-3, err_msg=name)


def test_only_what_all_images_of_a_batch_have_counts():
  config = _config()
  sizes = ((96, 64), (64, 96))
  images, labels = _batch(1, sizes)
  model = factory.build_detector(config, 3)
  means = []
  for change in (0.0, 50.0):
    # Padding, and content that only one of the images has.
    changed = images.numpy()
    changed[:, 64:] += change
    changed[:, :, 64:] += change
    norm_statistics.estimate(model, config, [(tf.constant(changed), labels)])
    means.append(model.stage1.named_layers()["first"].norm.moving_mean.numpy())
  np.testing.assert_array_equal(*means)
  assert np.all(means[0] != 0.0)


def test_an_image_without_boxes_is_taken_whole():
  images, labels = _batch(0)
  # The second image has a region to be ignored, which is no box of an object.
  labels["gt_classes"] = tf.constant([[-1, -1, -1], [0, 2, -1]])
  _, boxes, sizes = norm_statistics._content(images, labels)
  np.testing.assert_array_equal(boxes[0], [[0, 0, 1, 1]] * 3)
  np.testing.assert_allclose(boxes[1], [[10 / 64, 20 / 80, 60 / 64, 70 / 80]] * 3)
  np.testing.assert_array_equal(sizes, [[64, 80]] * 2)


@pytest.mark.parametrize(
  ("changed", "num_second"),
  [({}, 3), ({"roi_head": {"type": "rfcn", "rfcn": {"reduce_depth": 8}}}, 3)],
)
def test_auxiliary_stages_get_them_too_where_asked(changed, num_second):
  config = _config(**changed)
  for with_auxiliary in (True, False):
    model = factory.build_detector(config, 3)
    before = [stage.get_weights() for stage in model.stages]
    norm_statistics.estimate(model, config, [_batch(0)], with_auxiliary)
    _, *second = model.stages
    assert len(second) == num_second
    changed_stages = [
      any(np.any(now != was) for now, was in zip(stage.get_weights(), values, strict=True))
      for stage, values in zip(model.stages, before, strict=True)
    ]
    assert changed_stages == [True, True] + [with_auxiliary] * (num_second - 1)
    if with_auxiliary:
      for name, layer in second[0].named_layers().items():
        other = second[1].named_layers()[name]
        np.testing.assert_array_equal(layer.norm.moving_mean, other.norm.moving_mean)


def test_norms_that_train_nothing_and_convolutions_without_norm():
  for backbone in (
    {"type": "resnet_18", "layout": "torchvision"},
    {"type": "efficientnet_lite0"},
  ):
    config = _config(backbone=backbone)
    model = factory.build_detector(config, 3)
    trained = [variable.numpy() for variable in model.trainable_variables]
    found = norm_statistics.estimate(model, config, [_batch(0)])
    assert found.num_images == 2
    for variable, value in zip(model.trainable_variables, trained, strict=True):
      np.testing.assert_array_equal(variable, value)


def test_boxes_are_cut_where_the_common_content_ends():
  images, labels = _batch(0, ((96, 40), (32, 96)))
  images, boxes, sizes = norm_statistics._content(images, labels)
  assert images.shape == [2, 32, 40, 3]
  np.testing.assert_array_equal(sizes, [[32, 40]] * 2)
  # (4, 4) ... (40, 60) and (10, 20) ... (60, 70) of 32 x 40 pixels, the first one once more.
  expected = [[4 / 32, 4 / 40, 1, 1], [10 / 32, 20 / 40, 1, 1], [4 / 32, 4 / 40, 1, 1]]
  np.testing.assert_allclose(boxes, [expected] * 2)
  # Of 32 x 16 pixels the second one has none, so that the first one is all that there is.
  _, boxes, _ = norm_statistics._content(*_batch(0, ((96, 16), (32, 96))))
  np.testing.assert_allclose(boxes, [[[4 / 32, 4 / 16, 1, 1]] * 3] * 2)


@pytest.mark.parametrize("scale", [False, True])
def test_noting_normalises_as_the_network_asks(scale):
  norm = norm_statistics._make_statistics_norm(2, epsilon=0.5, scale=scale, train_affine=False)
  rows = tf.constant([[1.0, 20.0], [3.0, 40.0]])[:, tf.newaxis, tf.newaxis]
  norm(rows)
  norm.beta.assign([1.0, -1.0])
  if scale:
    norm.gamma.assign([2.0, 3.0])
  gamma = np.array([2.0, 3.0]) if scale else 1.0
  found = norm(rows, training=True)
  # Means 2 and 30, variances 1 and 100.
  expected = np.array([[-1.0, -10.0], [1.0, 10.0]]) / np.sqrt([1.5, 100.5]) * gamma + [1.0, -1.0]
  np.testing.assert_allclose(tf.reshape(found, [2, 2]), expected, atol=1e-5)
  assert (norm.scale, len(norm.trainable_variables)) == (scale, 1 + scale)


def test_a_channel_that_is_constant_has_no_variance_below_0():
  norm = norm_statistics.StatisticsNorm()
  rows = np.random.default_rng(0).normal(0.0, 100.0, 500).astype(np.float32)
  for _ in range(100):
    norm(tf.constant(rows[np.newaxis, np.newaxis, np.newaxis]), training=True)
  mean, variance = norm.statistics()
  np.testing.assert_allclose(mean, rows, rtol=1e-6)
  assert np.min(norm._square_sum / 100 - mean**2) < 0.0  # Rounding would make it so.
  assert np.all(variance >= 0.0) and np.max(variance) < 1e-6


def test_a_network_that_asks_for_nothing_gets_what_the_detectors_have():
  usual = normalization.make_norm("frozen", 8, momentum=0.5, groups=1)
  norm = norm_statistics._make_statistics_norm(8)
  assert (norm.epsilon, norm.scale) == (usual.epsilon, usual.scale)
