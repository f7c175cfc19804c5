"""A backbone of one's own is one file and one registration."""

import pytest
import tensorflow as tf

from mtl_ssl_tf.configs import detector as config_lib
from mtl_ssl_tf.modeling import factory
from mtl_ssl_tf.modeling.backbones import registry
from tests.modeling import small


@pytest.fixture(name="blocks")
def _blocks(monkeypatch):
  """A tiny backbone, registered for one test."""
  monkeypatch.setattr(registry, "_BUILDERS", dict(registry._BUILDERS))

  @registry.register("blocks")
  def build(norm_fn, config):
    assert norm_fn(8) is not None
    assert config.type == "blocks"
    return small.BlockBackbone()

  return "blocks"


@pytest.mark.parametrize("head", ["faster_rcnn", "rfcn"])
def test_a_backbone_of_ones_own(blocks, head):
  config = config_lib.MtlDetection()
  override = {
    "backbone": {"type": blocks, "freeze": []},
    "roi_head": {"type": head},
    "rpn": {"depth": 8, "num_proposals": 5},
  }
  config.override(override, is_strict=True)
  model = factory.build_detector(config, 3)
  images = small.noise_images(1, 64, 64)
  outputs = model(images, tf.constant([[64.0, 64.0]]))
  assert outputs["refined_logits"].shape == [1, 5, 3]


def test_names():
  names = [
    *(f"efficientnet_lite{i}" for i in range(3)),
    "inception_resnet_v2",
    "mobilenet_v1",
    *(f"resnet_{depth}" for depth in (101, 18, 34, 50)),
  ]
  # Other tests of this process may have registered more.
  ours = [name for name in registry.names() if "tests" not in registry._BUILDERS[name].__module__]
  assert ours == names
  with pytest.raises(
    ValueError, match=r"task\.backbone\.type is 'vgg'; accepted: efficientnet_lite0"
  ):
    registry.check("vgg")


def test_a_name_is_given_once():
  with pytest.raises(ValueError, match="backbone 'mobilenet_v1' is registered already"):
    registry.register("mobilenet_v1")(lambda norm_fn, config: None)
