"""Frozen groups of a backbone keep weights and statistics, whichever backbone it is."""

import numpy as np
import pytest
import tensorflow as tf

from mtl_ssl_tf.configs import detector as detector_config
from mtl_ssl_tf.modeling import factory
from tests.modeling import small_backbones

# Groups to freeze, how the names of their layers go on, and how many layers that are.
FROZEN = {
  "mobilenet_v1": (["Conv2d_0", "Conv2d_1"], "_", 1 + 2),
  "small_efficientnet": (["stem", "blocks_1"], "/", 1 + 3),
  # Of each block all branches, and the convolution that brings them back to the input's depth.
  "small_inception": (["Conv2d_1a_3x3", "Mixed_5b", "Repeat"], "/", 1 + 7 + 7),
  "small_resnet": (["conv1", "block2"], "/", 1 + 4),
}


@pytest.fixture(name="backbones", autouse=True, scope="module")
def _backbones():
  with small_backbones.registered():
    yield


@pytest.mark.parametrize("name", FROZEN)
def test_a_step_leaves_frozen_groups_as_they_are(name):
  groups, separator, num_frozen = FROZEN[name]
  norm = detector_config.Norm(type="batch", momentum=0.5)
  config = detector_config.Backbone(type=name, depth_multiplier=0.125, norm=norm)
  stage = factory.build_backbone(config).make_stage1()
  images = tf.random.stateless_normal([2, 32, 32, 3], [0, 0])
  stage(images)
  stage.freeze(groups)
  starts = tuple(group + separator for group in groups)
  named = stage.named_layers()
  frozen = [key for key in named if key in groups or key.startswith(starts)]
  assert len(frozen) == num_frozen
  weights = {key: layer.get_weights() for key, layer in named.items()}

  with tf.GradientTape() as tape:
    loss = tf.reduce_sum(stage(images, training=True) ** 2)
  variables = stage.trainable_variables
  for variable, gradient in zip(variables, tape.gradient(loss, variables), strict=True):
    variable.assign_sub(gradient + 1.0)
  for key, layer in named.items():
    # Kernel, scale and shift, mean and variance: all of them, or none.
    changed = [np.any(a != b) for a, b in zip(layer.get_weights(), weights[key], strict=True)]
    assert changed == [key not in frozen] * len(changed), key
  decayed = {kernel.ref() for kernel in stage.decayed_kernels}
  assert decayed <= {variable.ref() for variable in variables}
