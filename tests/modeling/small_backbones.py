"""Backbones for tests that compile a whole step: the real ones with a unit of each kind."""

import contextlib
from collections.abc import Iterator

from mtl_ssl_tf.modeling.backbones import efficientnet_lite, inception_resnet_v2, registry, resnet
from tests.modeling import small


def _blocks(norm_fn, config):
  del norm_fn, config
  return small.BlockBackbone()


def _small_resnet(norm_fn, config):
  return resnet.ResNet(norm_fn, (1, 1, 1, 1), "resnet_v1_50", config.layout, config.recompute)


def _small_basic_resnet(norm_fn, config):
  return resnet.ResNet(
    norm_fn, (1, 1, 1, 1), "resnet_v1_18", "torchvision", config.recompute, unit=resnet.BasicBlock
  )


def _small_inception(norm_fn, config):
  del config
  return inception_resnet_v2.InceptionResNetV2(norm_fn, repeats=(1, 1, 1))


def _small_efficientnet(norm_fn, config):
  # A quarter of the channels; two blocks a group at most, one of them with a shortcut.
  return efficientnet_lite.EfficientNetLite(
    norm_fn, "small_efficientnet", 0.25, 0.5, config.recompute
  )


@contextlib.contextmanager
def registered() -> Iterator[None]:
  """Inside, there are `small_resnet`, `small_basic_resnet`, of basic blocks, `small_inception`,
  `small_efficientnet` and, of one convolution, `blocks`.
  """
  before = dict(registry._BUILDERS)
  registry.register("blocks")(_blocks)
  registry.register("small_resnet")(_small_resnet)
  registry.register("small_basic_resnet")(_small_basic_resnet)
  registry.register("small_inception")(_small_inception)
  registry.register("small_efficientnet")(_small_efficientnet)
  try:
    yield
  finally:
    registry._BUILDERS.clear()
    registry._BUILDERS.update(before)
