"""Activations computed again on the way back: the same step, with less kept."""

import functools

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from mtl_ssl_tf.modeling import normalization
from mtl_ssl_tf.modeling.acceleration import folding, resnet_stage2
from mtl_ssl_tf.modeling.backbones import (
  efficientnet_lite,
  inception_resnet_v2,
  mobilenet_v1,
  resnet,
)
from mtl_ssl_tf.modeling.heads import pooling

NORM_FN = functools.partial(normalization.make_norm, "group", momentum=0.5, groups=8)
BACKBONES = {
  "resnet": resnet.ResNet(NORM_FN, (1, 1, 1, 2), "resnet_v1_x"),
  "mobilenet": mobilenet_v1.MobileNetV1(NORM_FN, depth_multiplier=0.25),
  "efficientnet": efficientnet_lite.EfficientNetLite(NORM_FN, "thin", 0.25, 0.5),
  "inception": inception_resnet_v2.InceptionResNetV2(NORM_FN, repeats=(1, 1, 1)),
}


def gradients(stage, inputs, training, run=None):
  """The gradients of a sum for the inputs and all weights, and the graph that they come from."""
  run = run or functools.partial(stage, training=training)

  @functools.partial(tf.function, autograph=False)
  def compute(inputs):
    with tf.GradientTape() as tape:
      tape.watch(inputs)
      # Some first parts of the sum, which keeps rounding small.
      loss = tf.reduce_sum(run(inputs)[..., :8])
    return tape.gradient(loss, [inputs, *stage.trainable_variables])

  return compute(inputs), compute.get_concrete_function(inputs).graph


def num_convolutions(graph):
  # Each has gradients for its inputs and its kernel, of other types.
  return sum(op.type in ("Conv2D", "DepthwiseConv2dNative") for op in graph.get_operations())


@pytest.mark.parametrize("projects", [False, True])
def test_same_gradients_of_crops_by_fourier_transform(projects):
  norm_fn = functools.partial(normalization.make_norm, "frozen", momentum=0.5, groups=8)
  backbone = resnet.ResNet(norm_fn, (1, 1, 1, 3), "resnet_v1_x").with_conv_norm(folding.conv_norm)
  # Not at random: a ReLU whose input is next to 0 may be on or off by the order of a sum.
  tf_keras.utils.set_random_seed(0)
  stage = backbone.make_stage2("s")
  inputs = tf.constant(np.random.default_rng(0).normal(size=[2, 5, 5, 1024]), tf.float32)
  stage(inputs)
  cropper = pooling.Cropper(16, 5, method="matmul")
  fast = resnet_stage2.AcceleratedCropFeatures(cropper, stage, projects, fourier_side=5)
  boxes, sizes = tf.constant([[[0.0, 0.0, 1.0, 1.0]]] * 2), tf.constant([[80.0, 80.0]] * 2)

  def pool(inputs):
    return fast(fast.prepare(inputs), boxes, sizes, training=True)

  expected, graph = gradients(stage, inputs, True, pool)
  stage.recompute = True
  ours, recomputing = gradients(stage, inputs, True, pool)
  for gradient, theirs in zip(ours, expected, strict=True):
    scale = np.max(np.abs(theirs)) + 1e-3
    np.testing.assert_allclose(gradient / scale, theirs / scale, atol=1e-4)
  assert num_convolutions(recomputing) > 1.2 * num_convolutions(graph)


@pytest.mark.parametrize(
  ("name", "part"),
  [
    ("resnet", "stage1"),
    ("resnet", "stage2"),
    ("mobilenet", "stage1"),
    ("efficientnet", "stage1"),
    ("inception", "stage2"),
  ],
)
def test_same_gradients_computed_again(name, part):
  backbone = BACKBONES[name]
  stage = backbone.make_stage1() if part == "stage1" else backbone.make_stage2("s")
  shape = [1, 33, 33, 3] if part == "stage1" else [2, 5, 5, backbone.stage1_depth]
  inputs = tf.constant(np.random.default_rng(0).normal(size=shape), tf.float32)
  stage(inputs)
  expected, graph = gradients(stage, inputs, True)
  stage.recompute = True
  ours, recomputing = gradients(stage, inputs, True)
  for gradient, theirs in zip(ours, expected, strict=True):
    scale = np.max(np.abs(theirs)) + 1e-3
    np.testing.assert_allclose(gradient / scale, theirs / scale, atol=1e-4)
  assert num_convolutions(recomputing) > 1.5 * num_convolutions(graph)
  _, inference = gradients(stage, inputs, False)
  assert num_convolutions(inference) == num_convolutions(graph)
