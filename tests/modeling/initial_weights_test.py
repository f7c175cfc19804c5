"""What kernels are drawn from, where no pretrained weights come instead: deviation and kind."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from mtl_ssl_tf.modeling import normalization, pyramid
from mtl_ssl_tf.modeling.backbones import resnet
from mtl_ssl_tf.modeling.heads import (
  box_stages,
  pyramid_heads,
  pyramid_pooling,
  rfcn_heads,
  roi_heads,
)
from mtl_ssl_tf.modeling.heads import pooling as pooling_lib

# A uniform distribution ends at so many deviations; a normal one is cut, after that, by Keras.
UNIFORM_END, NORMAL_END = 3.0**0.5, 2.0 / 0.8796


def assert_drawn(kernel, deviation, end):
  kernel = kernel.numpy()
  assert kernel.size > 2000
  assert np.std(kernel) == pytest.approx(deviation, rel=4.0 / np.sqrt(kernel.size))
  assert np.abs(kernel).max() == pytest.approx(end * deviation, rel=0.05)
  assert np.abs(np.mean(kernel)) < 5.0 * deviation / np.sqrt(kernel.size)


def test_second_stages_of_a_pyramid():
  """As in detectron2: fully connected layers by their inputs, convolutions by their outputs."""
  stage = box_stages.BoxStage("4conv1fc", 50, 40)
  stage(tf.zeros([1, 3, 3, 12]))
  layers = {name: layer.conv.kernel for name, layer in stage.named_layers().items()}
  assert_drawn(layers["conv1"], (2.0 / (9 * 40)) ** 0.5, NORMAL_END)
  assert_drawn(layers["conv4"], (2.0 / (9 * 40)) ** 0.5, NORMAL_END)
  assert_drawn(layers["fc6"], (1.0 / (9 * 40)) ** 0.5, UNIFORM_END)


def test_convolutions_of_a_pyramid():
  layer = pyramid.FeaturePyramid(60, 4, 6, "convolution")
  layer([tf.zeros([1, 8 // 2**i, 8 // 2**i, 50]) for i in range(4)])
  for name, conv in layer.named_layers().items():
    fan_in = 50 if name.startswith("lateral") else 9 * 60
    assert_drawn(conv.conv.kernel, (1.0 / fan_in) ** 0.5, UNIFORM_END)


def test_heads_on_the_maps_of_a_pyramid():
  cropper = pyramid_pooling.PyramidCropper(3, 3, 2, 32.0, 1)
  head = pyramid_heads.PyramidMapClassifier(cropper, 30, 90, name="closeness")
  maps = cropper.pack((tf.zeros([1, 4, 4, 10]),), tf.constant([[32.0, 32.0]]))
  head.prepare(maps)
  reduce, classifier = head.last_kernels
  assert_drawn(reduce, (2.0 / 90) ** 0.5, NORMAL_END)
  assert_drawn(classifier, 0.01 * 0.8796, NORMAL_END)


@pytest.mark.parametrize("unit", [resnet.Bottleneck, resnet.BasicBlock])
def test_resnet(unit):
  norm_fn = functools.partial(normalization.make_norm, "frozen", momentum=0.5, groups=8)
  backbone = resnet.ResNet(norm_fn, (1, 1, 1, 1), "r", "torchvision", unit=unit)
  stage = backbone.make_stage1()
  stage(tf.zeros([1, 32, 32, 3]))
  for layer in stage.named_layers().values():
    kernel = layer.conv.kernel
    assert_drawn(kernel, (2.0 / np.prod(kernel.shape[:3])) ** 0.5, NORMAL_END)


def test_last_layers_on_maps_and_on_crops():
  """Small ones, the box layers as well as the others."""
  stage = resnet.ResNet(
    functools.partial(normalization.make_norm, "frozen", momentum=0.5, groups=8),
    (1, 1, 1, 1),
    "r",
    "torchvision",
    unit=resnet.BasicBlock,
  ).make_stage2("stage2")
  size, boxes = tf.constant([[32.0, 32.0]]), tf.constant([[[0.0, 0.0, 1.0, 1.0]]])
  maps = tf.zeros([1, 2, 2, 256])
  on_maps = rfcn_heads.MapBoxHead(stage, 5, pooling_lib.PsRoiPooler(16, 2, 4), 20)
  on_maps.prepare(maps)
  features = pooling_lib.CropFeatures(pooling_lib.Cropper(16, 2), stage)
  on_crops = roi_heads.BoxHead(features, 5)
  on_crops(maps, boxes, size)
  for kernel in (*on_maps.last_kernels, *on_crops.last_kernels):
    if np.size(kernel) > 5000:
      assert_drawn(kernel, 0.01 * 0.8796, NORMAL_END)
