"""Our stages with the weights of `tf_keras.applications` compute what those networks compute."""

import json

import numpy as np
import pytest
import tf_keras

from mtl_ssl_tf.checkpoints import keras_weights, pretrained
from mtl_ssl_tf.configs import detector as config_lib
from mtl_ssl_tf.modeling import factory
from tests.modeling import small

SOURCE = "task.init_checkpoint:"


def build(**backbone):
  config = config_lib.MtlDetection()
  override = {
    "backbone": backbone,
    "rpn": {"depth": 8},
    # One second stage besides the main one is enough to see that it gets the weights too.
    "auxiliary": {"closeness": {"loss_weight": 0.0}},
  }
  config.override(override, is_strict=True)
  return factory.build_detector(config, 3)


def randomized(network: tf_keras.Model) -> tf_keras.Model:
  """Random statistics too, so that no two layers can be mixed up unseen."""
  rng = np.random.default_rng(0)
  for variable in network.variables:
    if "gamma" in variable.name or "variance" in variable.name:
      variable.assign(rng.uniform(0.5, 1.5, variable.shape))
    elif "kernel" in variable.name:
      fan_in = np.prod(variable.shape[:-1])
      if "depthwise" in variable.name:
        fan_in = np.prod(variable.shape[:2])
      variable.assign(rng.normal(0.0, np.sqrt(2.0 / fan_in), variable.shape))
    else:
      variable.assign(rng.normal(0.0, 0.1, variable.shape))
  return network


def changed(network: tf_keras.Model, replace) -> tf_keras.Model:
  """The same network and weights with other settings of some layers."""
  config = json.loads(json.dumps(network.get_config()))
  for layer in config["layers"]:
    replace(layer["config"])
  other = tf_keras.Model.from_config(config)
  other.set_weights(network.get_weights())
  return other


def outputs(network: tf_keras.Model, names, images):
  return tf_keras.Model(network.input, [network.get_layer(name).output for name in names])(images)


def assert_stages(model, images, golden_stage1, golden_stage2):
  features = model.stage1(model.backbone.preprocess(images))
  np.testing.assert_allclose(features, golden_stage1, atol=1e-3 * np.std(golden_stage1))
  for head in (model.box_head, model.multi_object_head):
    stage2 = head.stage2(features)
    np.testing.assert_allclose(stage2, golden_stage2, atol=1e-3 * np.std(golden_stage2))


def test_mobilenet(tmp_path):
  network = randomized(tf_keras.applications.MobileNet(alpha=0.25, include_top=False, weights=None))
  path = str(tmp_path / "mobilenet.h5")
  network.save_weights(path)
  model = build(type="mobilenet_v1", depth_multiplier=0.25, fused_stage2=False)
  report = pretrained.load(model, path, SOURCE)
  assert (report.missing, report.unused) == ([], [])
  images = small.noise_images(2, 224, 224)
  inputs = tf_keras.applications.mobilenet.preprocess_input(images.numpy())
  golden = outputs(network, ["conv_pw_11_relu", "conv_pw_13_relu"], inputs)
  assert_stages(model, images, *golden)

  alone = build(type="mobilenet_v1", depth_multiplier=0.25, fused_stage2=False)
  pretrained.load(alone, path, SOURCE, copy_missing=False)
  loaded = model.box_head.stage2.get_weights()[0]
  np.testing.assert_array_equal(alone.box_head.stage2.get_weights()[0], loaded)
  assert not np.array_equal(alone.multi_object_head.stage2.get_weights()[0], loaded)


def test_resnet(tmp_path):
  network = randomized(tf_keras.applications.ResNet50(weights=None))
  path = str(tmp_path / "resnet.h5")
  network.save_weights(path)  # With its top.
  model = build(type="resnet_50", layout="keras")
  report = pretrained.load(model, path, SOURCE)
  assert (report.missing, report.unused) == ([], [])

  def unstride(config):
    if config["name"] in ("conv5_block1_0_conv", "conv5_block1_1_conv"):
      config["strides"] = (1, 1)

  images = small.noise_images(1, 224, 224)
  inputs = tf_keras.applications.resnet.preprocess_input(images.numpy())
  golden = outputs(changed(network, unstride), ["conv4_block6_out", "conv5_block3_out"], inputs)
  assert_stages(model, images, *golden)


def test_inception_resnet(tmp_path):
  # Other convolutions made before must not shift the running numbers.
  tf_keras.Sequential([tf_keras.layers.Conv2D(1, 1), tf_keras.layers.BatchNormalization()])
  network = randomized(tf_keras.applications.InceptionResNetV2(include_top=False, weights=None))
  path = str(tmp_path / "inception.h5")
  network.save_weights(path)
  model = build(type="inception_resnet_v2")
  report = pretrained.load(model, path, SOURCE)
  assert (report.missing, report.unused) == ([], [])

  def align(config):
    # Stage 1 ends before the block 8 reduction, whose three strided convolutions stay VALID.
    if config.get("padding") == "valid" and config["name"] not in unaligned:
      config["padding"] = "same"

  names = [layer.name for layer in network.layers]
  unaligned = set(names[names.index("block17_20_ac") :])
  images = small.noise_images(1, 160, 160)
  inputs = tf_keras.applications.inception_resnet_v2.preprocess_input(images.numpy())
  golden = outputs(changed(network, align), ["block17_20_ac", "conv_7b_ac"], inputs)
  assert_stages(model, images, *golden)


def test_slim_layout_is_refused():
  model = build(type="resnet_50")
  message = (
    rf"^{SOURCE} Keras weights, but task.backbone.layout is 'slim', which strides elsewhere; "
    "accepted: layout keras, or the path of a TF-slim checkpoint$"
  )
  with pytest.raises(ValueError, match=message):
    pretrained.load(model, "imagenet", SOURCE)


def test_a_file_of_another_network(tmp_path):
  path = str(tmp_path / "other.h5")
  tf_keras.Sequential([tf_keras.layers.Dense(1, input_shape=(2,))]).save_weights(path)
  model = build(type="mobilenet_v1", depth_multiplier=0.25)
  with pytest.raises(ValueError, match=rf"^{SOURCE} '{path}' does not hold this network \("):
    pretrained.load(model, path, SOURCE)


def test_a_damaged_file(tmp_path):
  path = tmp_path / "cut.h5"
  path.write_bytes(b"\x89HDF")
  model = build(type="mobilenet_v1", depth_multiplier=0.25)
  with pytest.raises(ValueError, match=rf"^{SOURCE} '{path}' does not hold this network \("):
    pretrained.load(model, str(path), SOURCE)


@pytest.mark.parametrize(
  ("backbone", "function"),
  [
    ({"type": "resnet_101", "layout": "keras"}, "ResNet101"),
    ({"type": "mobilenet_v1", "depth_multiplier": 0.5}, "MobileNet"),
    ({"type": "inception_resnet_v2"}, "InceptionResNetV2"),
  ],
)
def test_imagenet_asks_keras_for_the_weights(monkeypatch, backbone, function):
  asked = []

  def download(**options):
    asked.append(options)
    raise OSError("no network")

  monkeypatch.setattr(tf_keras.applications, function, download)
  config = config_lib.Backbone()
  config.override(backbone, is_strict=True)
  message = f"^{SOURCE} 'imagenet' could not be downloaded .no network.$"
  with pytest.raises(ValueError, match=message):
    keras_weights._read(keras_weights._maker(factory.build_backbone(config)), "imagenet", SOURCE)
  alpha = {"alpha": 0.5} if function == "MobileNet" else {}
  assert asked == [{"include_top": False, "weights": "imagenet", **alpha}]


def test_no_keras_weights_of_basic_blocks():
  backbone = factory.build_backbone(config_lib.Backbone(type="resnet_18", layout="torchvision"))
  message = (
    rf"^{SOURCE} there are no Keras weights for torchvision's resnet18; accepted: the path of its "
    r"PyTorch weights \(.pth\)$"
  )
  with pytest.raises(ValueError, match=message):
    keras_weights.check(backbone, SOURCE)


def test_imagenet_weights_of_efficientnet_have_a_name_of_their_own():
  backbone = factory.build_backbone(config_lib.Backbone(type="efficientnet_lite1"))
  message = f"^{SOURCE} there are no Keras weights for .*lite1; accepted: efficientnet_lite1, which"
  with pytest.raises(ValueError, match=message):
    keras_weights.check(backbone, SOURCE)


def test_no_keras_network():
  with pytest.raises(ValueError, match="there are no Keras weights for BlockBackbone"):
    keras_weights.check(small.BlockBackbone(), SOURCE)
