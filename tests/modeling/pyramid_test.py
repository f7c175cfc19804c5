"""The feature pyramid: Model Garden's decoder on the same weights, odd sizes, compiled code."""

import functools

import numpy as np
import pytest
import tensorflow as tf
from official.vision.modeling.decoders import fpn as official_fpn

from mtl_ssl_tf.modeling import normalization, pyramid

DEPTHS = {2: 3, 3: 4, 4: 5, 5: 6}
DEPTH = 7


def make_maps(height=64, width=96):
  rng = np.random.default_rng(0)
  return tuple(
    tf.constant(
      rng.normal(size=(2, -(-height // 2**level), -(-width // 2**level), depth)), tf.float32
    )
    for level, depth in DEPTHS.items()
  )


def make_official(min_level, max_level):
  """Model Garden's decoder with random weights; its last normalisation changes nothing."""
  specs = {
    str(level): tf.TensorShape([None, 64 // 2**level, 96 // 2**level, depth])
    for level, depth in DEPTHS.items()
  }
  decoder = official_fpn.FPN(specs, min_level, max_level, num_filters=DEPTH)
  rng = np.random.default_rng(1)
  for layer in decoder.layers:
    if layer.name.startswith("norm_"):
      layer.moving_variance.assign(tf.ones([DEPTH]) - layer.epsilon)
    else:
      for weight in layer.weights:
        weight.assign(rng.normal(0.0, 0.2, weight.shape))
  return decoder


@pytest.mark.parametrize(("min_level", "max_level"), [(2, 5), (3, 7), (2, 6)])
def test_equals_model_gardens_decoder(min_level, max_level):
  decoder = make_official(min_level, max_level)
  ours = pyramid.FeaturePyramid(DEPTH, min_level, max_level, "convolution")
  maps = make_maps()
  ours(maps)
  names = {"lateral": "lateral", "output": "post_hoc", "coarser": "coarser"}
  for name, layer in ours.named_layers().items():
    kind, level = name.split("_")
    layer.conv.set_weights(decoder.get_layer(f"{names[kind]}_{level}").get_weights())
  expected = decoder({str(level): m for level, m in zip(DEPTHS, maps, strict=True)})
  found = tf.function(ours, jit_compile=True, autograph=False)(maps)
  assert len(found) == len(expected) == max_level - min_level + 1
  for level, values in zip(range(min_level, max_level + 1), found, strict=True):
    np.testing.assert_allclose(values, expected[str(level)], atol=1e-4)


def test_coarser_levels_by_subsampling():
  layer = pyramid.FeaturePyramid(DEPTH, 2, 7)
  found = layer(make_maps())
  assert [m.shape[1:3] for m in found] == [(16, 24), (8, 12), (4, 6), (2, 3), (1, 2), (1, 1)]
  np.testing.assert_array_equal(found[4], found[3][:, ::2, ::2])
  np.testing.assert_array_equal(found[5], found[4][:, ::2, ::2])


def test_maps_of_odd_sides_are_cut():
  maps = make_maps(72, 100)  # 18 x 25, 9 x 13, 5 x 7, 3 x 4.
  found = pyramid.FeaturePyramid(DEPTH, 2, 5)(maps)
  assert [m.shape[1:3] for m in found] == [m.shape[1:3] for m in maps]
  coarse = tf.reshape(tf.range(6.0), [1, 2, 3, 1])
  expected = [[0, 0, 1, 1, 2], [0, 0, 1, 1, 2], [3, 3, 4, 4, 5]]
  np.testing.assert_array_equal(
    pyramid.upsample(coarse, tf.zeros([1, 3, 5, 1]))[0, ..., 0], expected
  )


def test_layers_and_weight_decay():
  layer = pyramid.FeaturePyramid(DEPTH, 3, 6, "convolution")
  layer(make_maps())
  assert sorted(layer.named_layers()) == sorted(
    [f"{kind}_{level}" for kind in ("lateral", "output") for level in (3, 4, 5)] + ["coarser_6"]
  )
  assert len(layer.decayed_kernels) == 7
  assert all(conv.conv.use_bias for conv in layer.named_layers().values())
  assert not layer.is_backbone


def test_normalised():
  norm_fn = functools.partial(normalization.make_norm, "batch", momentum=0.5, groups=2)
  layer = pyramid.FeaturePyramid(DEPTH, 2, 6, "convolution", norm_fn)
  layer(make_maps())
  for name, conv in layer.named_layers().items():
    assert (conv.norm is None) == conv.conv.use_bias == name.startswith("coarser")
  before = layer.named_layers()["output_3"].norm.moving_mean.numpy()
  outputs = layer(make_maps(), training=True)
  assert np.any(before != layer.named_layers()["output_3"].norm.moving_mean.numpy())
  np.testing.assert_allclose(tf.reduce_mean(outputs[1], axis=[0, 1, 2]), np.zeros(DEPTH), atol=1e-5)


def test_unknown_way_to_coarser_levels():
  with pytest.raises(ValueError, match="coarser is 'pool'; accepted: subsample, convolution"):
    pyramid.FeaturePyramid(DEPTH, 2, 6, "pool")
