"""The detector on a feature pyramid: its parts, its flow, and the whole of it compiled."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from mtl_ssl_tf.modeling import factory, proposals
from mtl_ssl_tf.modeling.heads import pyramid_heads, pyramid_pooling, roi_heads
from tests.modeling import small, small_backbones, small_fpn

SIZES = tf.constant([[96.0, 128.0], [80.0, 101.0]])
FEATURES = ("own_stage2", "main_head", "shared_map")


@pytest.fixture(name="backbones", autouse=True, scope="module")
def _backbones():
  with small_backbones.registered():
    yield


@pytest.fixture(name="model", scope="module")
def _model(backbones):
  del backbones
  return small_fpn.build()


def test_parts_are_as_configured():
  model = small_fpn.build(
    {
      "fpn": {"depth": 12, "min_level": 2, "max_level": 5, "norm": "batch"},
      "anchors": {
        "cells": 6.0,
        "level_scales": [1.0, 1.5],
        "aspect_ratios": [1.0],
        "whole_px": True,
      },
      "rpn": {"depth": 7, "num_convs": 2, "nms_iou": 0.65, "num_proposals": 11, "pre_nms_top_k": 0},
      "roi_head": {
        "crop_size": 5,
        "class_agnostic_boxes": True,
        "fpn": {"layers": "4conv1fc", "norm": "group", "samples": 1, "canonical_size_px": 100.0},
      },
    }
  )
  assert model.anchor_grid.grids == tuple(
    proposals.AnchorGrid(2**level, 6.0 * 2**level, (1.0, 1.5), (1.0,), True)
    for level in range(2, 6)
  )
  assert [conv.filters for conv in model.rpn.convs] == [7, 7]
  assert model.rpn.box.filters == 8
  assert len(model.rpn.decayed_kernels) == 4
  generator = model._propose
  assert (generator.nms_iou, generator.num_proposals) == (0.65, 11)
  assert (generator.pre_nms_top_k, generator.nms_method) == (1000, "native")
  cropper = pyramid_pooling.PyramidCropper(2, 5, 5, 100.0, 1, "native")
  for head in model.region_heads:
    assert head.crop_features.cropper == cropper
  assert model._pyramid_cropper == cropper
  assert list(model.box_head.stage2.named_layers())[-1] == "fc6"
  norm = model.box_head.stage2.named_layers()["conv1"].norm
  assert type(norm) is tf_keras.layers.GroupNormalization
  assert model.box_head.box.units == 4
  output = model.pyramid.named_layers()["output_2"]
  assert output.conv.filters == 12
  assert type(output.norm) is tf_keras.layers.BatchNormalization
  assert norm.epsilon == output.norm.epsilon == 1e-5


def test_stages_and_their_order(model):
  first, pyramid, *others = model.stages
  assert (first, pyramid) == (model.stage1, model.pyramid)
  assert others == [head.stage2 for head in model.region_heads]
  assert model.backbone_stages() == [model.stage1]
  main = model.box_head.stage2.get_weights()
  model.start_auxiliary_heads_like_main()
  for head in (model.multi_object_head, model.closeness_head):
    for value, expected in zip(head.stage2.get_weights(), main, strict=True):
      np.testing.assert_array_equal(value, expected)
  small.randomize(model)


def test_foreground_is_of_level_four(model):
  first = model.first_stage(small.noise_images(2, 96, 128), SIZES)
  assert [m.shape[1:3] for m in first.features.maps] == [(12, 16), (6, 8), (3, 4), (2, 2)]
  logits = model.predict_foreground(first.features)
  np.testing.assert_array_equal(logits, model.foreground_head(first.features.maps[1]))
  assert model.foreground_stride == 16


def test_heads_see_the_pyramid(model):
  """The main head's outputs are those of its layers on crops that are cut here."""
  first = model.first_stage(small.noise_images(2, 96, 128), SIZES)
  boxes_px, _, _ = first.proposals
  found = model.box_stage(first.features, boxes_px, SIZES)
  cropper = model.box_head.crop_features.cropper
  boxes_norm = boxes_px / tf.tile(SIZES, [1, 2])[:, tf.newaxis]
  crops = cropper(first.features, boxes_norm, SIZES)
  features = model.box_head.stage2(crops)
  np.testing.assert_allclose(
    found.class_logits, tf.reshape(model.box_head.classifier(features), [2, 8, 4]), atol=1e-4
  )
  assert found.box_deltas.shape == (2, 8, 3, 4)
  assert found.closeness_logits.shape == (2, 8, 4)


def check_compiled_inference(config):
  """A detector with other kernels finds the same as one XLA program."""
  tf.random.set_seed(0)
  native, twin = (
    factory.build_detector(config, small_fpn.NUM_CLASSES, method) for method in ("native", "matmul")
  )
  twin.set_weights(native.get_weights())
  images = small.noise_images(2, 96, 128)
  expected = native(images, SIZES)
  compiled = tf.function(lambda *inputs: twin(*inputs), jit_compile=True, autograph=False)
  found = compiled(images, SIZES)
  assert set(found) == set(expected)
  for name in ("proposals_px", "class_logits", "refined_logits", "closeness_logits"):
    scale = np.std(expected[name])
    np.testing.assert_allclose(found[name], expected[name], atol=1e-3 * scale, err_msg=name)
  np.testing.assert_array_equal(found["refined"], expected["refined"])
  np.testing.assert_array_equal(found["num_detections"], expected["num_detections"])
  np.testing.assert_allclose(found["detection_scores"], expected["detection_scores"], atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("features", FEATURES)
def test_inference_compiles_whole(features):
  override = {
    "backbone": {"type": "small_basic_resnet"},
    "auxiliary": {"features": features, "shared_map": {"reduce_depth": 6}},
    "roi_head": {"class_agnostic_boxes": features == "main_head"},
    "refinement": {"max_proposals": 5},
  }
  check_compiled_inference(small_fpn.config(override))


@pytest.mark.parametrize("crop_method", ["native", "matmul"])
def test_images_do_not_depend_on_their_batch(model, crop_method):
  twin = small_fpn.build(crop_method=crop_method)
  images = small.noise_images(2, 96, 128)
  both = twin(images, SIZES)
  for i in range(2):
    alone = twin(images[i : i + 1], SIZES[i : i + 1])
    for name in ("proposals_px", "refined_logits", "detection_boxes_px"):
      np.testing.assert_allclose(alone[name][0], both[name][i], atol=1e-3, err_msg=name)


def test_kinds_of_auxiliary_heads():
  kinds = (
    roi_heads.CropClassifier,
    roi_heads.FeatureClassifier,
    pyramid_heads.PyramidMapClassifier,
  )
  for features, kind in zip(FEATURES, kinds, strict=True):
    model = small_fpn.build({"auxiliary": {"features": features}})
    assert type(model.multi_object_head) is type(model.closeness_head) is kind
  assert model.closeness_head.cropper.num_samples == 1
  assert model.closeness_head.cropper.size == 7
  assert model.closeness_head.reduce.filters == 8
  assert model._propose.pre_nms_top_k == 20


def test_heads_on_maps_are_as_configured():
  shared_map = {"reduce_depth": 5, "crop_size": 4}
  model = small_fpn.build({"auxiliary": {"features": "shared_map", "shared_map": shared_map}})
  for head in (model.multi_object_head, model.closeness_head):
    assert head.reduce.filters == 5
    assert head.cropper == pyramid_pooling.PyramidCropper(3, 5, 4, 64.0, 1, "native")


def test_score_maps_keep_their_bits_in_mixed_precision(monkeypatch):
  model = small_fpn.build({"auxiliary": {"features": "shared_map"}}, precision="bfloat16")
  features = model.first_stage(small.noise_images(2, 96, 128), SIZES).features
  assert features.maps[0].dtype == tf.bfloat16
  pack, packed = pyramid_pooling.pyramid_ops.pack, []
  monkeypatch.setattr(
    pyramid_pooling.pyramid_ops, "pack", lambda *args: packed.extend(args[0]) or pack(*args)
  )
  boxes_px = tf.constant([[[8.0, 8.0, 60.0, 70.0]]] * 2)
  logits = model.classify_windows(features, boxes_px, SIZES)
  assert {maps.dtype for maps in packed} == {logits.dtype} == {tf.float32}


def test_once_per_image_heads_average_score_maps():
  model = small_fpn.build({"auxiliary": {"features": "shared_map"}})
  head = model.multi_object_head
  first = model.first_stage(small.noise_images(2, 96, 128), SIZES)
  prepared = head.prepare(first.features)
  # As many as levels that boxes are cropped from: not the coarsest.
  assert [m.shape for m in prepared] == [(2, *s, 4) for s in ((12, 16), (6, 8), (3, 4))]
  boxes_norm = tf.constant([[[0.1, 0.2, 0.5, 0.9], [0.0, 0.0, 1.0, 1.0]]] * 2)
  found = head(prepared, boxes_norm, SIZES)
  packed = head.cropper.pack(prepared, SIZES)
  crops = tf.reshape(head.cropper(packed, boxes_norm, SIZES), [2, 2, 49, 4])
  np.testing.assert_allclose(found, tf.reduce_mean(crops, axis=2), atol=1e-5)


def test_rows_depend_on_each_other_where_any_layer_learns_statistics():
  for override, independent in (
    ({}, True),
    ({"fpn": {"norm": "batch"}}, False),
    ({"roi_head": {"fpn": {"layers": "4conv1fc", "norm": "sync"}}}, False),
    ({"fpn": {"norm": "group"}}, True),
  ):
    assert small_fpn.build(override)._rows_are_independent == independent


@pytest.mark.parametrize(
  ("backbone", "cause"),
  [
    ({"type": "resnet_50"}, "layout 'slim' has no maps at four strides"),
    ({"type": "small_inception"}, "InceptionResNetV2 has no maps at four strides"),
  ],
)
def test_backbones_without_maps(backbone, cause):
  message = (
    r"^task\.roi_head\.type is 'fpn'; accepted: faster_rcnn or rfcn with this backbone: " + cause
  )
  with pytest.raises(ValueError, match=message):
    factory.build_detector(small_fpn.config({"backbone": backbone}), 4)
