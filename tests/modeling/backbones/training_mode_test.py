"""The mode reaches every normalisation of every stage, whichever backbone it is."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from mtl_ssl_tf.modeling import normalization
from mtl_ssl_tf.modeling.backbones import (
  efficientnet_lite,
  inception_resnet_v2,
  mobilenet_v1,
  resnet,
)

NORM_FN = functools.partial(normalization.make_norm, "batch", momentum=0.5, groups=8)
BACKBONES = {
  "bottlenecks": resnet.ResNet(NORM_FN, (1, 1, 1, 1), "r", "torchvision"),
  "basic blocks": resnet.ResNet(NORM_FN, (1, 1, 1, 1), "r", "torchvision", unit=resnet.BasicBlock),
  "MobileNet": mobilenet_v1.MobileNetV1(NORM_FN, 0.125),
  "EfficientNet-Lite": efficientnet_lite.EfficientNetLite(NORM_FN, "thin", 0.25, 0.5),
  "Inception-ResNet": inception_resnet_v2.InceptionResNetV2(NORM_FN, repeats=(1, 1, 1)),
}
CASES = [
  (name, part)
  for name in BACKBONES
  for part in ("stage1", "stage2", "network")
  if (name, part) != ("Inception-ResNet", "network")  # It has none.
]


@pytest.mark.parametrize(("name", "part"), CASES)
def test_statistics_are_learned_in_training_alone(name, part):
  backbone = BACKBONES[name]
  shape = [2, 32, 32, 3]
  if part == "stage1":
    stage = backbone.make_stage1()
  elif part == "stage2":
    stage, shape = backbone.make_stage2("stage2"), [2, 5, 5, backbone.stage1_depth]
  else:
    stage = backbone.make_network()
  inputs = tf.random.stateless_normal(shape, [0, 0])
  stage(inputs)
  norms = {key: layer.norm for key, layer in stage.named_layers().items() if layer.norm is not None}
  assert norms
  for training in (False, True):
    stage(inputs, training=training)
    for key, norm in norms.items():
      assert np.any(norm.moving_variance != 1.0) == training, key


@pytest.mark.parametrize("name", ["MobileNet", "EfficientNet-Lite", "basic blocks"])
def test_a_network_keeps_less_where_it_computes_again(name):
  network = BACKBONES[name].make_network()
  inputs = tf.random.stateless_normal([1, 32, 32, 3], [0, 0])
  network(inputs)

  def num_convolutions(training):
    @functools.partial(tf.function, autograph=False)
    def compute(inputs):
      with tf.GradientTape() as tape:
        total = tf.add_n([tf.reduce_sum(maps) for maps in network(inputs, training=training)])
      return tape.gradient(total, network.trainable_variables)

    operations = compute.get_concrete_function(inputs).graph.get_operations()
    return sum(op.type in ("Conv2D", "DepthwiseConv2dNative") for op in operations)

  plain = [num_convolutions(training) for training in (False, True)]
  network.recompute = True
  assert num_convolutions(False) == plain[0]
  assert num_convolutions(True) > 1.5 * plain[1]
