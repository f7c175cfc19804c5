"""A detector so small that its outputs can be worked out: one cell of the shared map sees one block
of 16 x 16 pixels, so nothing beside a block, such as the size of the input, can change it.
"""

import numpy as np
import tensorflow as tf
import tf_keras

from mtl_ssl_tf.modeling import detections, detector, proposals, refinement, window_evidence
from mtl_ssl_tf.modeling.backbones import base
from mtl_ssl_tf.modeling.heads import (
  cascade_head,
  foreground_head,
  pooling,
  rfcn_heads,
  roi_heads,
  rpn_head,
)

NUM_CLASSES = 3
STAGE1_DEPTH = 4
STAGE2_DEPTH = 5
ANCHORS_PER_CELL = 2


class BlockStage(base.Stage):
  """[B, H, W, 3] -> [B, H / 16, W / 16, 4]: every block by itself, black ones to 0.

  Notes the batch size and the mode of every call.
  """

  def __init__(self, **kwargs):
    super().__init__(**kwargs)
    self.conv = tf_keras.layers.Conv2D(STAGE1_DEPTH, 16, strides=16, use_bias=False, name="conv")
    self.seen = []

  @property
  def decayed_kernels(self):
    return [self.conv.kernel]

  def call(self, inputs, training=False):
    self.seen = [*self.seen, (inputs.shape[0], training)]
    return self.conv(inputs)


class CropStage(base.Stage):
  """[R, h, w, 4] -> [R, h, w, 5]; notes the number of crops and the mode of every call."""

  def __init__(self, **kwargs):
    super().__init__(**kwargs)
    self.conv = tf_keras.layers.Conv2D(STAGE2_DEPTH, 1, activation="relu", name="conv")
    self.seen = []

  @property
  def decayed_kernels(self):
    return [self.conv.kernel]

  def call(self, inputs, training=False):
    self.seen = [*self.seen, (inputs.shape[0], training)]
    return self.conv(inputs)


class BlockBackbone(base.Backbone):
  """Both, for images of 0 ... 255."""

  stage1_depth = STAGE1_DEPTH

  def preprocess(self, images):
    return images / 255.0

  def make_stage1(self):
    return BlockStage(name="stage1")

  def make_stage2(self, name):
    return CropStage(name=name)


def make_detector(**components) -> detector.Detector:
  """Returns a detector with all heads and random weights, the same every time.

  Args:
    **components: arguments of `Detector` to replace; a head given as None is left out. `refinement`
      gives arguments of `make_refinement`.
  """
  backbone = BlockBackbone()
  arguments = {
    "backbone": backbone,
    "anchor_grid": proposals.AnchorGrid(16, 24.0, (1.0,), (0.5, 2.0)),
    "rpn": rpn_head.RpnHead(ANCHORS_PER_CELL, 6, name="rpn"),
    "proposal_generator": proposals.ProposalGenerator(0.7, 7, None),
    **crop_heads(),
    "foreground": foreground_head.ForegroundHead("conv1x1", "linear", name="foreground"),
    "refinement_stage": make_refinement(**components.pop("refinement", {})),
    "detection_generator": detections.DetectionGenerator(0.0, 0.5, 5, 8),
    "stop_gradient_shared": False,
    "stop_gradient_foreground": False,
  }
  model = detector.Detector(**{**arguments, **components})
  model.build_variables()
  randomize(model)
  return model


def crop_features(size: int = 2, max_pool: int = 1) -> pooling.CropFeatures:
  """Returns features of crops by a second stage of their own."""
  stage2 = BlockBackbone().make_stage2("stage2")
  return pooling.CropFeatures(pooling.Cropper(16, size, max_pool), stage2)


def crop_heads(**options) -> dict[str, tf_keras.layers.Layer]:
  """The three heads on crops as arguments of `Detector`; options as of `crop_features`."""
  return {
    "box_head": roi_heads.BoxHead(crop_features(**options), NUM_CLASSES, name="box_head"),
    **{
      f"{name}_head": roi_heads.CropClassifier(crop_features(**options), NUM_CLASSES, name=name)
      for name in ("multi_object", "closeness")
    },
  }


def make_rfcn_detector(**components) -> detector.Detector:
  """The same with position-sensitive heads."""
  main = rfcn_heads.MapBoxHead(
    BlockBackbone().make_stage2("stage2"),
    NUM_CLASSES,
    pooling.PsRoiPooler(16, 2, 4),
    6,
    name="box_head",
  )
  return make_detector(**{"box_head": main, **_map_classifiers(1), **components})


def make_shared_map_detector(**components) -> detector.Detector:
  """The same with auxiliary heads that run on every other cell of the map."""
  return make_detector(**{**_map_classifiers(2), **components})


def make_feature_detector(stop_gradient: bool = False, **components) -> detector.Detector:
  """The same with auxiliary heads on the main head's features."""
  features = crop_features()
  main = roi_heads.BoxHead(features, NUM_CLASSES, name="box_head")
  heads = {
    f"{name}_head": roi_heads.FeatureClassifier(features, NUM_CLASSES, stop_gradient, name=name)
    for name in ("multi_object", "closeness")
  }
  return make_detector(**{"box_head": main, **heads, **components})


def make_cascade_detector(
  delta_factors: tuple[float, ...] = (1.0, 2.0, 3.0), **components
) -> detector.Detector:
  """The same with a cascade of main heads, which move boxes by some pixels."""
  model = make_detector(**{"box_head": cascade(delta_factors), **components})
  for head in model.box_head.heads:
    head.box.kernel.assign(0.2 * head.box.kernel)
  return model


def cascade(delta_factors: tuple[float, ...]) -> cascade_head.CascadeHead:
  """Returns a cascade on crops."""
  features = [crop_features() for _ in delta_factors]
  heads = [
    roi_heads.BoxHead(own, NUM_CLASSES, class_agnostic=True, name=f"stage_{i + 1}")
    for i, own in enumerate(features)
  ]
  return cascade_head.CascadeHead(heads, delta_factors, features[-1], name="box_head")


def make_refinement(
  layer: dict | None = None, num_windows: int = 5, chunk_size: int = 176, **options
) -> refinement.RefinementStage:
  """Returns refinement as the paper has it, but for `options` and those of its `layer`."""
  windows = window_evidence.WindowEvidence(NUM_CLASSES, num_windows, chunk_size)
  defaults = {"closeness_mean": "per_image_valid", "min_object_score": 0.0, "max_proposals": 0}
  options = defaults | options
  return refinement.RefinementStage(make_refiner(**(layer or {})), windows, **options)


def make_refiner(**options) -> refinement.Refinement:
  """Returns a refinement layer as the paper has it, but for `options`."""
  defaults = {
    "residual": True,
    "stop_gradient_residual": True,
    "use_bias": False,
    "input_kind": "logits",
  }
  return refinement.Refinement(NUM_CLASSES, **{**defaults, **options}, name="refinement")


def randomize(model: tf_keras.Model) -> None:
  """Gives every variable random values that keep the outputs apart, the same every time."""
  rng = np.random.default_rng(0)
  for variable in model.variables:
    fan_in = max(np.prod(variable.shape[:-1]), 1)
    variable.assign(rng.normal(0.0, 1.5 / np.sqrt(fan_in), variable.shape))


def noise_images(batch_size: int, height: int, width: int) -> tf.Tensor:
  """Returns float32 [B, H, W, 3] of 0 ... 255, each block of 16 x 16 of another colour."""
  rng = np.random.default_rng(1)
  shape = [batch_size, -(-height // 16), -(-width // 16), 3]
  blocks = rng.uniform(0.0, 255.0, shape).astype(np.float32)
  images = blocks.repeat(16, axis=1).repeat(16, axis=2)[:, :height, :width]
  return tf.constant(images)


def _map_classifiers(stride: int) -> dict[str, tf_keras.layers.Layer]:
  return {
    f"{name}_head": rfcn_heads.MapClassifier(
      BlockBackbone().make_stage2("stage2"),
      NUM_CLASSES,
      pooling.PsRoiPooler(16 * stride, 2, 4),
      6,
      stride,
      name=name,
    )
    for name in ("multi_object", "closeness")
  }
