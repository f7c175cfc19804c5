"""Whole networks for a feature pyramid: the layers of both stages, and maps at four strides."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from mtl_ssl_tf.modeling import normalization
from mtl_ssl_tf.modeling.acceleration import folding
from mtl_ssl_tf.modeling.backbones import (
  base,
  efficientnet_lite,
  inception_resnet_v2,
  mobilenet_v1,
  resnet,
)
from tests.modeling import small

NORM_FN = functools.partial(normalization.make_norm, "frozen", momentum=0.5, groups=8)
BACKBONES = {
  "basic blocks": resnet.ResNet(NORM_FN, (1, 2, 1, 1), "r", "torchvision", unit=resnet.BasicBlock),
  "bottlenecks, torchvision": resnet.ResNet(NORM_FN, (1, 1, 2, 1), "r", "torchvision"),
  "bottlenecks, keras": resnet.ResNet(NORM_FN, (2, 1, 1, 1), "r", "keras"),
  "MobileNet": mobilenet_v1.MobileNetV1(NORM_FN, 0.25, fused_stage2=False),
  "EfficientNet-Lite": efficientnet_lite.EfficientNetLite(NORM_FN, "thin", 0.25, 0.5),
}
# One more than multiples of 32: padding to the same size is symmetric on every map.
HEIGHT, WIDTH = 65, 97
IMAGES = tf.constant(np.random.default_rng(0).normal(size=(2, HEIGHT, WIDTH, 3)), tf.float32)


def randomize(network):
  """Random weights, and variances that are none too small."""
  small.randomize(network)
  for layer in network.named_layers().values():
    layer.norm.moving_variance.assign(tf.abs(layer.norm.moving_variance) + 0.5)


@pytest.mark.parametrize("name", BACKBONES)
def test_maps_are_those_of_both_stages(name):
  backbone = BACKBONES[name]
  network, stage1, stage2 = backbone.make_network(), backbone.make_stage1(), None
  maps = network(IMAGES)
  randomize(network)
  maps = network(IMAGES)
  assert [m.shape[1:3] for m in maps] == [(17, 25), (9, 13), (5, 7), (3, 4)]
  assert tuple(m.shape[-1] for m in maps) == backbone.map_depths
  stage2 = backbone.make_stage2("stage2")
  stage2(stage1(IMAGES))
  ours = network.named_layers()
  theirs = {**stage1.named_layers(), **stage2.named_layers()}
  assert set(theirs) - set(ours) <= {"head"}
  assert set(ours) <= set(theirs)
  for layer in ours:
    theirs[layer].set_weights(ours[layer].get_weights())
  np.testing.assert_allclose(maps[2], stage1(IMAGES), atol=1e-4 * np.std(maps[2]))


@pytest.mark.parametrize("name", BACKBONES)
def test_each_map_is_the_last_of_its_stride(name):
  network = BACKBONES[name].make_network()
  network(IMAGES)
  randomize(network)
  # The names of the units that maps of a size come from, in the order in which they run.
  seen = {}
  run_unit = network.run_unit

  def spy(unit, net, training, *others):
    result = run_unit(unit, net, training, *others)
    seen[result.shape[1:3]] = result
    return result

  network.run_unit = spy
  maps = network(IMAGES)
  assert len(maps) == 4
  for m in maps:
    np.testing.assert_array_equal(m, seen[m.shape[1:3]])


@pytest.mark.parametrize("name", BACKBONES)
def test_cells_lie_at_multiples_of_the_stride(name):
  """An image that is moved by 32 pixels moves every map by whole cells, whatever its size."""
  network = BACKBONES[name].make_network()
  images = np.zeros([1, 160, 192, 3], np.float32)
  network(images)
  randomize(network)
  patch = np.random.default_rng(0).normal(size=(1, 9, 9, 3))
  images[:, 60:69, 60:69] = patch
  moved = np.zeros([1, 191, 223, 3], np.float32)
  moved[:, 92:101, 92:101] = patch
  for stride, before, after in zip((4, 8), network(images)[:2], network(moved)[:2], strict=True):
    cells = 32 // stride
    # Away from the border, whose zeros are seen by many cells.
    inner = slice(48 // stride, 80 // stride)
    outer = slice(48 // stride + cells, 80 // stride + cells)
    np.testing.assert_allclose(
      after[:, outer, outer], before[:, inner, inner], atol=1e-4 * np.std(before)
    )


def test_recomputed_and_frozen():
  backbone = efficientnet_lite.EfficientNetLite(NORM_FN, "thin", 0.25, 0.5, recompute=True)
  network = backbone.make_network()
  network(IMAGES)
  network.freeze(["stem", "blocks_0"])
  plain = BACKBONES["EfficientNet-Lite"].make_network()
  plain(IMAGES)
  for name, layer in plain.named_layers().items():
    for variable, other in zip(
      layer.variables, network.named_layers()[name].variables, strict=True
    ):
      variable.assign(other)
  variables = [network.named_layers()["blocks_3/expand"].conv.kernel]
  with tf.GradientTape() as tape:
    value = tf.add_n([tf.reduce_sum(m) for m in network(IMAGES, training=True)])
  (found,) = tape.gradient(value, variables)
  with tf.GradientTape() as tape:
    value = tf.add_n([tf.reduce_sum(m) for m in plain(IMAGES, training=True)])
  (expected,) = tape.gradient(value, [plain.named_layers()["blocks_3/expand"].conv.kernel])
  np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)
  assert not network.named_layers()["stem"].trainable
  assert len(network.decayed_kernels) == len(plain.decayed_kernels) - 2


def test_folded_normalisation_pads_alike():
  backbone = BACKBONES["MobileNet"]
  plain, folded = backbone.make_network(), backbone.with_conv_norm(folding.conv_norm).make_network()
  plain(IMAGES), folded(IMAGES)
  randomize(plain)
  folded.set_weights(plain.get_weights())
  for found, expected in zip(folded(IMAGES), plain(IMAGES), strict=True):
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize(
  ("backbone", "message"),
  [
    (resnet.ResNet(NORM_FN, (1, 1, 1, 1), "r"), "layout 'slim' has no maps at four strides"),
    (
      inception_resnet_v2.InceptionResNetV2(NORM_FN, repeats=(1, 1, 1)),
      "InceptionResNetV2 has no maps at four strides",
    ),
    (small.BlockBackbone(), "BlockBackbone has no maps at four strides"),
  ],
)
def test_backbones_without_maps(backbone, message):
  for make in (backbone.make_network, lambda: backbone.map_depths):
    with pytest.raises(ValueError, match=message):
      make()


def test_levels():
  assert base.MAP_LEVELS == (2, 3, 4, 5)
