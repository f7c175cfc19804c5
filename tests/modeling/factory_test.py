import functools
from unittest import mock

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from official.modeling import performance

from mtl_ssl_tf.configs import detector as config_lib
from mtl_ssl_tf.configs import fields
from mtl_ssl_tf.labels import windows
from mtl_ssl_tf.modeling import detections, factory, proposals
from mtl_ssl_tf.modeling.acceleration import folding, resnet_stage2
from mtl_ssl_tf.modeling.backbones import layers, resnet
from mtl_ssl_tf.modeling.heads import foreground_head, pooling, rfcn_heads, roi_heads

NUM_CLASSES = 4
_SMALL = {
  "backbone": {"type": "mobilenet_v1", "depth_multiplier": 0.125},
  "anchors": {"base_size_px": 16.0},
  "rpn": {"depth": 8, "num_proposals": 6},
  "detections": {"max_total": 5},
}
BACKBONES = ["mobilenet_v1", "resnet_50", "inception_resnet_v2", "efficientnet_lite0"]
_RESNET = {"backbone": {"type": "resnet_50"}}


def _config(*overrides):
  config = config_lib.MtlDetection()
  for override in (_SMALL, *overrides):
    config.override(override, is_strict=True)
  return config


def _components(*overrides, **options):
  """The arguments that the factory gives to the detector."""
  with mock.patch.object(factory.detector, "Detector") as build:
    factory.build_detector(_config(*overrides), NUM_CLASSES, **options)
  return build.call_args.kwargs


@pytest.fixture(scope="module")
def model():
  return factory.build_detector(_config(), NUM_CLASSES)


def test_components_are_as_configured():
  parts = _components(
    {
      "anchors": {"base_size_px": 30.0, "scales": [0.5, 2.0], "aspect_ratios": [1.0, 2.0, 3.0]},
      "rpn": {"depth": 7, "nms_iou": 0.65, "num_proposals": 11, "pre_nms_top_k": 99},
      "detections": {
        "score_threshold": 0.01,
        "nms_iou": 0.45,
        "max_per_class": 12,
        "max_total": 13,
      },
      "roi_head": {"crop_size": 14, "max_pool": 2},
      "refinement": {"num_windows": 3, "closeness_mean": "all_rows"},
    }
  )
  assert parts["anchor_grid"] == proposals.AnchorGrid(16, 30.0, (0.5, 2.0), (1.0, 2.0, 3.0))
  assert (parts["rpn"].conv.filters, parts["rpn"].box.filters) == (7, 24)
  assert parts["proposal_generator"] == proposals.ProposalGenerator(0.65, 11, 99, "native")
  detection_generator = detections.DetectionGenerator(0.01, 0.45, 12, 13, "native")
  assert parts["detection_generator"] == detection_generator
  assert parts["refinement_stage"].windows.num_windows == 3
  assert parts["refinement_stage"].windows.num_classes == NUM_CLASSES
  assert parts["refinement_stage"].closeness_mean == "all_rows"
  assert parts["box_head"].box.units == 4 * (NUM_CLASSES - 1)
  for name in ("box_head", "multi_object_head", "closeness_head"):
    assert parts[name].classifier.units == NUM_CLASSES
    assert parts[name].crop_features.cropper == pooling.Cropper(16, 14, 2)


@pytest.mark.parametrize("value", [False, True])
def test_switches_and_kernels_reach_the_parts(value):
  switches = {
    "anchors": {"whole_px": value},
    "rpn": {"num_convs": 1 + value},
    "roi_head": {"keep_border": value, "class_agnostic_boxes": value},
  }
  parts = _components(switches, crop_method="matmul")
  assert parts["anchor_grid"].whole_px == value
  assert len(parts["rpn"].convs) == 1 + value
  assert parts["box_head"].box.units == 4 * (1 if value else NUM_CLASSES - 1)
  on_maps = {"roi_head": {"type": "rfcn", "keep_border": value}}
  on_maps = _components(on_maps, crop_method="matmul")
  for name in ("box_head", "multi_object_head", "closeness_head"):
    for part in (parts[name].crop_features.cropper, on_maps[name].pooler):
      assert (part.method, part.keep_border) == ("matmul", value), name


def test_where_crops_compile_so_does_suppression():
  parts = _components(crop_method="matmul")
  assert parts["proposal_generator"].nms_method == "loop"
  assert parts["detection_generator"].nms_method == "loop"


@pytest.mark.parametrize(
  ("overrides", "options", "side"),
  [
    ({}, {}, 7),
    ({"roi_head": {"crop_size": 14, "max_pool": 2}}, {}, 7),
    ({}, {"crop_method": "matmul"}, None),
    ({}, {"precision": "bfloat16"}, None),
    ({"backbone": {"norm": {"type": "group"}}}, {}, None),
    ({"roi_head": {"convolution": "direct"}}, {}, None),
    ({"roi_head": {"convolution": "fourier"}}, {"crop_method": "matmul"}, 7),
  ],
)
def test_crops_are_convolved_by_fourier_transform_where_that_is_faster(overrides, options, side):
  with mock.patch.object(tf.config, "list_logical_devices", return_value=[]):
    parts = _components(_RESNET, overrides, **options)
  for name in ("box_head", "multi_object_head", "closeness_head"):
    assert parts[name].crop_features.fourier_side == side


def test_a_gpu_convolves_crops_directly():
  with mock.patch.object(tf.config, "list_logical_devices", return_value=["GPU:0"]) as devices:
    assert _components(_RESNET)["box_head"].crop_features.fourier_side is None
  devices.assert_called_once_with("GPU")


@pytest.mark.parametrize(("max_pool", "projects"), [(1, True), (2, False)])
def test_resnet_projects_before_the_crop_unless_that_is_pooled(max_pool, projects):
  parts = _components(_RESNET, {"roi_head": {"crop_size": 14, "max_pool": max_pool}})
  features = parts["box_head"].crop_features
  assert isinstance(features, resnet_stage2.AcceleratedCropFeatures)
  assert features.projects == projects


def test_basic_blocks_do_not_project():
  config = {
    "backbone": {"type": "resnet_18", "layout": "torchvision"},
    "roi_head": {"convolution": "fourier", "crop_size": 5},
  }
  features = _components(config)["box_head"].crop_features
  assert (features.projects, features.fourier_side) == (False, 5)


@pytest.mark.parametrize("name", ["resnet_18", "resnet_34"])
@pytest.mark.parametrize("layout", ["slim", "keras"])
def test_basic_blocks_have_one_layout(name, layout):
  message = rf"^task\.backbone\.layout is '{layout}'; accepted with {name}: torchvision$"
  with pytest.raises(ValueError, match=message):
    factory.build_backbone(config_lib.Backbone(type=name, layout=layout))


@pytest.mark.parametrize(
  ("name", "unit", "units", "scope"),
  [
    ("resnet_18", resnet.BasicBlock, (2, 2, 2, 2), "resnet_v1_18"),
    ("resnet_34", resnet.BasicBlock, (3, 4, 6, 3), "resnet_v1_34"),
    ("resnet_50", resnet.Bottleneck, (3, 4, 6, 3), "resnet_v1_50"),
    ("resnet_101", resnet.Bottleneck, (3, 4, 23, 3), "resnet_v1_101"),
  ],
)
def test_resnets_by_name(name, unit, units, scope):
  config = config_lib.Backbone(type=name, layout="torchvision", recompute=True)
  backbone = factory.build_backbone(config)
  assert (backbone.unit, backbone.num_units, backbone.slim_scope) == (unit, units, scope)
  assert (backbone.layout, backbone.recompute) == ("torchvision", True)
  assert backbone.torch_network == f"torchvision's {name.replace('_', '')}"


def test_other_second_stages_run_as_they_are():
  features = _components()["box_head"].crop_features
  assert type(features) is pooling.CropFeatures


@pytest.mark.parametrize(
  ("norm", "precision", "kind"),
  [
    ("frozen", "float32", folding.FoldedConvNorm),
    ("frozen", "bfloat16", layers.ConvNorm),
    ("group", "float32", layers.ConvNorm),
  ],
)
@pytest.mark.parametrize("backbone", BACKBONES)
def test_frozen_normalisation_is_folded(backbone, norm, precision, kind):
  parts = _components({"backbone": {"type": backbone, "norm": {"type": norm}}}, precision=precision)
  before = tf_keras.mixed_precision.global_policy()
  performance.set_mixed_precision_policy(precision)
  try:
    stages = [parts["backbone"].make_stage1(), parts["box_head"].stage2]
  finally:
    tf_keras.mixed_precision.set_global_policy(before)
  foldable = [
    type(layer)
    for stage in stages
    for layer in stage.named_layers().values()
    if layer.norm is not None and type(layer.conv) is not tf_keras.layers.SeparableConv2D
  ]
  assert set(foldable) == {kind}


def test_half_precision_is_too_little_for_a_fourier_transform():
  message = (
    r"^task\.roi_head\.convolution is 'fourier'; accepted: auto or direct in bfloat16, which would "
    "lose too much in the transform$"
  )
  with pytest.raises(ValueError, match=message):
    _components({"roi_head": {"convolution": "fourier"}}, precision="bfloat16")


def test_no_top_k_is_all_anchors():
  assert _components()["proposal_generator"].pre_nms_top_k is None


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("stop", [False, True])
@pytest.mark.parametrize("use_bias", [False, True])
@pytest.mark.parametrize(
  ("kind", "zeroed"), [("logits", ""), ("probabilities", ""), ("logits", "closeness")]
)
def test_refinement_is_as_configured(residual, stop, use_bias, kind, zeroed):
  with mock.patch.object(factory.refinement, "Refinement") as build:
    _components(
      {
        "refinement": {
          "residual": residual,
          "stop_gradient_residual": stop,
          "use_bias": use_bias,
          "input": kind,
          "zeroed_input": zeroed,
        }
      }
    )
  assert build.call_args.args == (NUM_CLASSES, residual, stop, use_bias, kind, zeroed)


def test_foreground_head_is_as_configured():
  with mock.patch.object(factory.foreground_head, "ForegroundHead") as build:
    _components({"auxiliary": {"foreground": {"head": "conv3x3", "logit_activation": "tanh"}}})
  assert build.call_args.args == ("conv3x3", "tanh")


@pytest.mark.parametrize(
  ("shared", "includes_foreground", "foreground"),
  [(False, False, False), (False, True, False), (True, False, False), (True, True, True)],
)
def test_stopped_gradients(shared, includes_foreground, foreground):
  parts = _components(
    {
      "auxiliary": {
        "stop_gradient_shared": shared,
        "stop_gradient_includes_foreground": includes_foreground,
      }
    }
  )
  assert parts["stop_gradient_shared"] == shared
  assert parts["stop_gradient_foreground"] == foreground


@pytest.mark.parametrize(
  ("override", "component"),
  [
    ({"auxiliary": {"multi_object": {"loss_weight": 0.0}}}, "multi_object_head"),
    ({"auxiliary": {"closeness": {"loss_weight": 0.0}}}, "closeness_head"),
    ({"auxiliary": {"foreground": {"loss_weight": 0.0}}}, "foreground"),
    ({"refinement": {"enabled": False}}, "refinement_stage"),
  ],
)
def test_a_part_not_wanted_is_left_out(override, component):
  parts = _components(override)
  optional = ("multi_object_head", "closeness_head", "foreground", "refinement_stage")
  assert [name for name in optional if parts[name] is None] == [component]


def test_heads_are_named_after_their_task(model):
  names = [
    layer.name
    for layer in (
      model.stage1,
      model.rpn,
      model.box_head,
      model.multi_object_head,
      model.closeness_head,
      model.foreground_head,
      model.refiner,
    )
  ]
  assert names == [
    "stage1",
    "rpn",
    "box_head",
    "multi_object",
    "closeness",
    "foreground",
    "refinement",
  ]
  assert model.name == "detector"


def test_detects_in_a_batch_as_one_by_one(model):
  rng = np.random.default_rng(0)
  sizes = tf.constant([[48.0, 64.0], [40.0, 50.0]])
  images = tf.constant(rng.uniform(0.0, 255.0, [2, 48, 64, 3]), tf.float32)
  outputs = model(images, sizes)
  assert outputs["proposals_px"].shape == [2, 6, 4]
  assert outputs["detection_boxes_px"].shape == [2, 5, 4]
  for i in range(2):
    alone = model(images[i : i + 1], sizes[i : i + 1])
    for name in ("features", "class_logits", "refined_logits", "detection_scores"):
      np.testing.assert_allclose(outputs[name][i], alone[name][0], rtol=1e-4, atol=1e-5)


def test_auxiliary_stages_start_like_the_main_one_by_default(model):
  for ours, theirs in zip(
    model.closeness_head.stage2.weights, model.box_head.stage2.weights, strict=True
  ):
    np.testing.assert_array_equal(ours, theirs)


def test_auxiliary_stages_start_at_random_if_wanted():
  other = factory.build_detector(_config({"auxiliary": {"init_from": "random"}}), NUM_CLASSES)
  ours, theirs = (head.stage2.weights[0] for head in (other.closeness_head, other.box_head))
  assert not np.allclose(ours, theirs)


def test_refinement_sees_every_head(model):
  # Main, five windows and closeness.
  assert model.refiner.linear.kernel.shape == [7 * NUM_CLASSES, NUM_CLASSES]


def test_backbone_is_as_configured():
  config = config_lib.Backbone(
    type="mobilenet_v1",
    depth_multiplier=0.25,
    fused_stage2=False,
    recompute=True,
    norm=config_lib.Norm(type="batch", momentum=0.6, groups=4),
  )
  backbone = factory.build_backbone(config)
  assert (backbone.depth_multiplier, backbone.fused_stage2) == (0.25, False)
  assert backbone.recompute
  assert backbone.norm_fn(8).momentum == 0.6
  config.norm.type = "group"
  assert factory.build_backbone(config).norm_fn(8).groups == 4


def test_efficientnets_by_name():
  backbone = factory.build_backbone(config_lib.Backbone(type="efficientnet_lite2", recompute=True))
  assert (backbone.name, backbone.recompute) == ("efficientnet_lite2", True)
  assert (backbone.width, backbone.depth) == (1.1, 1.2)


@pytest.mark.parametrize(
  ("train_affine", "name", "expected"),
  [
    (None, "mobilenet_v1", True),
    (None, "efficientnet_lite0", True),
    (None, "resnet_50", False),
    (False, "mobilenet_v1", False),
    (True, "resnet_50", True),
  ],
)
def test_frozen_normalisation_trains_as_published_or_as_configured(train_affine, name, expected):
  config = config_lib.Backbone(type=name, norm=config_lib.Norm(train_affine=train_affine))
  stage = factory.build_backbone(config).make_stage2("s")
  layer = next(iter(stage.named_layers().values()))
  assert layer.norm.trainable == expected


@pytest.mark.parametrize(
  ("freeze", "frozen"), [(None, ["conv1", "block1"]), ([], []), (["block2"], ["block2"])]
)
def test_groups_are_frozen_as_published_or_as_configured(freeze, frozen):
  backbone = {"type": "resnet_50", "freeze": freeze, "norm": {"type": "group"}}
  with tf.Graph().as_default():
    config = _config({"backbone": backbone, "auxiliary": {"init_from": "random"}})
    model = factory.build_detector(config, NUM_CLASSES)
  groups = model.stage1.freeze_groups()
  assert [name for name, layers in groups.items() if not layers[0].trainable] == frozen
  kernels = {kernel.ref() for kernel in model.stage1.decayed_kernels}
  trained = {variable.ref() for variable in model.stage1.trainable_variables}
  assert kernels <= trained


def test_unknown_group_to_freeze():
  message = (
    r"task.backbone.freeze names 'block1'; accepted: Conv2d_0, Conv2d_1, .*, or \[\] for none"
  )
  with pytest.raises(ValueError, match=message):
    factory.build_detector(_config({"backbone": {"freeze": ["block1"]}}), NUM_CLASSES)


def test_position_sensitive_heads():
  rfcn = {"reduce_depth": 5, "num_bins": 2, "crop_size": 8}
  parts = _components({"roi_head": {"type": "rfcn", "rfcn": rfcn}})
  assert isinstance(parts["box_head"], rfcn_heads.MapBoxHead)
  cells = parts["backbone"].stage2_cells
  for name in ("box_head", "multi_object_head", "closeness_head"):
    assert parts[name].pooler == pooling.PsRoiPooler(16, 2, 8, stage2_cells=cells)
    assert parts[name].reduce.filters == 5
  stages = {id(parts[name].stage2) for name in ("box_head", "multi_object_head", "closeness_head")}
  assert len(stages) == 3


@pytest.mark.parametrize(
  ("backbone", "stride", "expected"),
  [
    # Dense, striding, without a stride, every other cell, striding without padding.
    ("mobilenet_v1", 1, (1, [7, 8])),
    ("mobilenet_v1", 2, (1, [4, 4])),
    ("resnet_50", 1, (1, [7, 8])),
    ("resnet_50", 2, (2, [4, 4])),
    ("inception_resnet_v2", 2, (1, [3, 3])),
    ("efficientnet_lite0", 1, (1, [7, 8])),
    ("efficientnet_lite0", 2, (1, [4, 4])),
  ],
)
def test_cells_of_the_auxiliary_maps(backbone, stride, expected):
  parts = _components(
    {
      "backbone": {"type": backbone},
      "auxiliary": {"features": "shared_map", "shared_map": {"stride": stride}},
    }
  )
  stride, num_cells = expected
  for name in ("multi_object_head", "closeness_head"):
    assert parts[name].stride == stride
    assert parts[name].pooler.stride == 16 * stride
    # Of 7 x 8 cells of the shared map.
    assert list(parts[name].pooler.map_size(tf.constant([112.0, 128.0]))) == num_cells


def test_a_second_stage_without_a_dense_form():
  message = (
    r"^task\.auxiliary\.shared_map\.stride is 1; accepted: 2 with this backbone: the second stage"
    " of Inception"
  )
  with pytest.raises(ValueError, match=message):
    _components(
      {
        "backbone": {"type": "inception_resnet_v2"},
        "auxiliary": {"features": "shared_map", "shared_map": {"stride": 1}},
      }
    )


def test_heads_on_the_shared_map():
  shared = {"stride": 1, "reduce_depth": 5, "num_bins": 2, "crop_size": 8}
  for head in ("faster_rcnn", "rfcn"):
    parts = _components(
      {"roi_head": {"type": head}, "auxiliary": {"features": "shared_map", "shared_map": shared}}
    )
    stages = {id(parts["box_head"].stage2)}
    for name in ("multi_object_head", "closeness_head"):
      assert isinstance(parts[name], rfcn_heads.MapClassifier)
      assert parts[name].pooler == pooling.PsRoiPooler(16, 2, 8)
      assert parts[name].reduce.filters == 5
      stages.add(id(parts[name].stage2))
    assert len(stages) == 3


@pytest.mark.parametrize("stop", [False, True])
def test_heads_on_the_main_heads_features(stop):
  parts = _components({"auxiliary": {"features": "main_head", "stop_gradient_shared": stop}})
  for name in ("multi_object_head", "closeness_head"):
    head = parts[name]
    assert isinstance(head, roi_heads.FeatureClassifier)
    assert head.crop_features is parts["box_head"].crop_features
    assert head._stop_gradient == stop


def test_what_is_refined():
  parts = _components({"refinement": {"min_object_score": 0.3, "max_proposals": 7}})
  stage = parts["refinement_stage"]
  assert (stage.min_object_score, stage.max_proposals) == (0.3, 7)


@pytest.mark.parametrize(
  ("norm", "independent"), [("frozen", True), ("group", True), ("batch", False), ("sync", False)]
)
def test_rows_are_independent_where_normalisation_says_so(norm, independent):
  parts = _components({"backbone": {"norm": {"type": norm}}})
  assert parts["rows_are_independent"] == independent


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("backbone", BACKBONES)
def test_every_stage_computes_again(backbone, recompute):
  parts = _components({"backbone": {"type": backbone, "recompute": recompute}})
  heads = (parts["box_head"], parts["multi_object_head"], parts["closeness_head"])
  stages = (parts["backbone"].make_stage1(), *(head.stage2 for head in heads))
  assert [stage.recompute for stage in stages] == [recompute] * 4


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("backbone", ["mobilenet_v1", "resnet_18", "efficientnet_lite0"])
def test_a_network_for_a_pyramid_computes_again(backbone, recompute):
  config = config_lib.Backbone(type=backbone, layout="torchvision", recompute=recompute)
  assert factory.build_backbone(config).make_network().recompute == recompute


def test_position_sensitive_heads_can_be_left_out():
  without = {"multi_object": {"loss_weight": 0.0}, "closeness": {"loss_weight": 0.0}}
  parts = _components({"roi_head": {"type": "rfcn"}, "auxiliary": without})
  assert parts["multi_object_head"] is parts["closeness_head"] is None


def test_main_head_starts_as_configured():
  parts = _components({"roi_head": {"initializer": "glorot_uniform"}})
  for layer in (parts["box_head"].classifier, parts["box_head"].box):
    assert isinstance(layer.kernel_initializer, tf_keras.initializers.GlorotUniform)
  auxiliary_start = parts["closeness_head"].classifier.kernel_initializer
  assert isinstance(auxiliary_start, tf_keras.initializers.TruncatedNormal)


def test_unknown_backbone():
  with pytest.raises(
    ValueError,
    match=r"task\.backbone\.type is 'vgg'; accepted: efficientnet_lite0, efficientnet_lite1",
  ):
    factory.build_backbone(config_lib.Backbone(type="vgg"))


def test_modules_know_what_the_configuration_accepts():
  known = {
    "roi_head.initializer": roi_heads.INITIALIZERS,
    "auxiliary.multi_object.sampling": windows._LAWS,
    "auxiliary.foreground.logit_activation": foreground_head.ACTIVATIONS,
    "auxiliary.foreground.head": foreground_head.KERNEL_SIZES,
  }
  for path, names in known.items():
    *groups, name = path.split(".")
    config = functools.reduce(getattr, groups, config_lib.MtlDetection())
    assert set(fields.choices_of(fields.field_of(config, name))) == set(names), path
