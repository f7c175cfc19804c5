"""Backbones for tests that compile a whole step: the real ones with a unit of each kind.

Importing this makes them known as `small_resnet` and `small_inception`, and the one-convolution
network of `small.py` as `blocks`.
"""

from mtl_ssl_tf.modeling.backbones import inception_resnet_v2, registry, resnet
from tests.modeling import small


@registry.register("blocks")
def _blocks(norm_fn, config):
  del norm_fn, config
  return small.BlockBackbone()


@registry.register("small_resnet")
def _small_resnet(norm_fn, config):
  return resnet.ResNet(norm_fn, (1, 1, 1, 1), "resnet_v1_50", config.layout)


@registry.register("small_inception")
def _small_inception(norm_fn, config):
  del config
  return inception_resnet_v2.InceptionResNetV2(norm_fn, repeats=(1, 1, 1))
