"""ImageNet weights of `tf_keras.applications` for our backbones.

`mobilenet_v1`: all of it with `fused_stage2: false`; with the released, fused stage 2, the kernels
  of that stage stay random.
`resnet_50`, `resnet_101`: all of it with `layout: keras`, nothing with the others, which stride
  elsewhere. There are none for `resnet_18` and `resnet_34`.
`inception_resnet_v2`: all of it.

Keras pads MobileNet's strided convolutions at the end alone, which is the same for even sizes, and
Inception-ResNet's not at all, where stage 1 pads them so that cells lie where the anchors are.
"""

import re
from collections.abc import Callable, Iterator

import numpy as np
import tf_keras

from mtl_ssl_tf.checkpoints import reading, reference
from mtl_ssl_tf.checkpoints.report import Report
from mtl_ssl_tf.modeling import detector
from mtl_ssl_tf.modeling.backbones import (
  efficientnet_lite,
  inception_resnet_v2,
  mobilenet_v1,
  resnet,
)

IMAGENET = "imagenet"
# Types of our backbones that need layout `keras` for them.
RESNETS = ("resnet_50", "resnet_101")


def load(model: detector.Detector, weights: str, source: str, auxiliary: bool = True) -> Report:
  """Loads a classification network's weights into the stages of the detector.

  Args:
    model: the detector, with its variables made.
    weights: `imagenet`, which is downloaded once and kept, or a file of `save_weights` (.h5) of
      the Keras model, with or without its top.
    source: how `weights` came about, for the message.
    auxiliary: whether the auxiliary heads' second stages get them too.

  Returns:
    A report with TF-slim's names.

  Raises:
    ValueError: if there is no such network, its form is another, or the file cannot be read.
  """
  check(model.backbone, source)
  network = _read(_maker(model.backbone), weights, source)
  arrays = {
    f"{model.backbone.slim_scope}/{name}": value for name, value in _arrays(model.backbone, network)
  }
  return reference.assign_named(reference.classification_variables(model, auxiliary), arrays)


def check(backbone, source: str) -> None:
  """Refuses backbones that no Keras weights fit.

  Raises:
    ValueError: naming what to change.
  """
  if isinstance(backbone, resnet.ResNet) and backbone.unit is not resnet.Bottleneck:
    raise ValueError(
      f"{source} there are no Keras weights for {backbone.torch_network}; accepted: the path of "
      "its PyTorch weights (.pth)"
    )
  if isinstance(backbone, resnet.ResNet) and backbone.layout != "keras":
    raise ValueError(
      f"{source} Keras weights, but task.backbone.layout is {backbone.layout!r}, which strides "
      "elsewhere; accepted: layout keras, or the path of a TF-slim checkpoint"
    )
  if isinstance(backbone, efficientnet_lite.EfficientNetLite):
    raise ValueError(
      f"{source} there are no Keras weights for {backbone.name}; accepted: {backbone.name}, which "
      "are ImageNet weights too"
    )
  _maker(backbone)


def _maker(backbone) -> Callable[..., tf_keras.Model]:
  applications = tf_keras.applications
  if isinstance(backbone, mobilenet_v1.MobileNetV1):
    return lambda **options: applications.MobileNet(alpha=backbone.depth_multiplier, **options)
  if isinstance(backbone, inception_resnet_v2.InceptionResNetV2):
    return applications.InceptionResNetV2
  if isinstance(backbone, resnet.ResNet):
    by_units = {
      resnet.UNITS["resnet_50"]: applications.ResNet50,
      resnet.UNITS["resnet_101"]: applications.ResNet101,
    }
    return by_units[backbone.num_units]
  raise ValueError(f"there are no Keras weights for {type(backbone).__name__}")


def _read(make: Callable[..., tf_keras.Model], weights: str, source: str) -> tf_keras.Model:
  if weights != IMAGENET:
    reading.check_files([weights], source)
  try:
    if weights == IMAGENET:
      return make(include_top=False, weights=IMAGENET)
    try:
      network = make(include_top=False, weights=None)
      network.load_weights(weights)
    except ValueError:  # Another number of layers.
      network = make(include_top=True, weights=None)
      network.load_weights(weights)
    return network
  except Exception as error:  # Downloads and HDF5 fail in many ways.
    reason = " ".join(str(error).split())
    what = "could not be downloaded" if weights == IMAGENET else "does not hold this network"
    raise ValueError(f"{source} {weights!r} {what} ({reason})") from error


def _arrays(backbone, network: tf_keras.Model) -> Iterator[tuple[str, np.ndarray]]:
  """Returns the values by their TF-slim names, without the network's own name."""
  if isinstance(backbone, resnet.ResNet):
    pairs = _resnet_pairs(network)
  elif isinstance(backbone, mobilenet_v1.MobileNetV1):
    pairs = _mobilenet_pairs()
  else:
    pairs = _inception_resnet_pairs(backbone, network)
  for name, conv_name, norm_name in pairs:
    conv = network.get_layer(conv_name)
    depthwise = isinstance(conv, tf_keras.layers.DepthwiseConv2D)
    kernel = conv.depthwise_kernel if depthwise else conv.kernel
    yield f"{name}/{'depthwise_weights' if depthwise else 'weights'}", kernel.numpy()
    if conv.use_bias:
      yield f"{name}/biases", conv.bias.numpy()
    if norm_name:
      norm = network.get_layer(norm_name)
      for leaf in reference.NORM_LEAVES:
        if getattr(norm, leaf, None) is not None:
          yield f"{name}/BatchNorm/{leaf}", getattr(norm, leaf).numpy()


def _resnet_pairs(network: tf_keras.Model) -> Iterator[tuple[str, str, str]]:
  yield "conv1", "conv1_conv", "conv1_bn"
  for layer in network.layers:
    match = re.fullmatch(r"conv(\d)_block(\d+)_(\d)_conv", layer.name)
    if match:
      block, unit, number = (int(group) for group in match.groups())
      inner = f"conv{number}" if number else "shortcut"
      prefix = layer.name.removesuffix("_conv")
      name = f"block{block - 1}/unit_{unit}/bottleneck_v1/{inner}"
      yield name, layer.name, f"{prefix}_bn"


def _mobilenet_pairs() -> Iterator[tuple[str, str, str]]:
  yield "Conv2d_0", "conv1", "conv1_bn"
  for i in range(1, len(mobilenet_v1.BLOCKS) + 1):
    yield f"Conv2d_{i}_depthwise", f"conv_dw_{i}", f"conv_dw_{i}_bn"
    yield f"Conv2d_{i}_pointwise", f"conv_pw_{i}", f"conv_pw_{i}_bn"


def _inception_resnet_pairs(backbone, network) -> Iterator[tuple[str, str, str | None]]:
  """Yields names of layers; most have running numbers, in the order of TF-slim's layers."""
  convs = _numbered(network, tf_keras.layers.Conv2D, "conv2d")
  norms = _numbered(network, tf_keras.layers.BatchNormalization, "batch_normalization")
  for stage, in_stage2 in ((backbone.make_stage1(), False), (backbone.make_stage2("s"), True)):
    for name, layer in stage.named_layers().items():
      slim_name = backbone.classification_name(name, in_stage2)
      if name == "Conv2d_7b_1x1":
        yield slim_name, "conv_7b", "conv_7b_bn"
      elif layer.norm is None:
        # Repeat_1/block17_3/Conv2d_1x1 is block17_3_conv; Block8, the last, is block8_10_conv.
        block = name.split("/")[-2]
        yield slim_name, f"{'block8_10' if block == 'Block8' else block}_conv", None
      else:
        yield slim_name, next(convs), next(norms)


def _numbered(network: tf_keras.Model, kind: type, stem: str) -> Iterator[str]:
  numbers = {}
  for layer in network.layers:
    match = re.fullmatch(rf"{stem}(?:_(\d+))?", layer.name)
    if match and isinstance(layer, kind):
      numbers[int(match.group(1) or 0)] = layer.name
  return iter([numbers[number] for number in sorted(numbers)])
