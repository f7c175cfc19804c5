"""The parts that a detector is made of, and the order of its stages; `detector.py` has its flow."""

import tf_keras

from mtl_ssl_tf.modeling import detections, proposals, pyramid_proposals, refinement
from mtl_ssl_tf.modeling import pyramid as pyramid_lib
from mtl_ssl_tf.modeling.backbones import base
from mtl_ssl_tf.modeling.heads import base as heads_base
from mtl_ssl_tf.modeling.heads import foreground_head, pyramid_pooling, rpn_head


class DetectorParts(tf_keras.Model):
  """Holds the parts of a detector, whose names and order its checkpoints depend on."""

  def __init__(
    self,
    *,
    backbone: base.Backbone,
    anchor_grid: proposals.AnchorGrid | pyramid_proposals.PyramidAnchorGrid,
    rpn: rpn_head.RpnHead,
    proposal_generator: proposals.ProposalGenerator | pyramid_proposals.PyramidProposalGenerator,
    box_head: heads_base.MainHead,
    multi_object_head: heads_base.AuxiliaryHead | None,
    closeness_head: heads_base.AuxiliaryHead | None,
    foreground: foreground_head.ForegroundHead | None,
    refinement_stage: refinement.RefinementStage | None,
    detection_generator: detections.DetectionGenerator,
    stop_gradient_shared: bool,
    stop_gradient_foreground: bool,
    rows_are_independent: bool = False,
    pyramid: pyramid_lib.FeaturePyramid | None = None,
    pyramid_cropper: pyramid_pooling.PyramidCropper | None = None,
    **kwargs,
  ):
    """Takes the parts, and of `configs/detector.py` what concerns more than one of them.

    `rows_are_independent` says that no normalisation depends on other rows of a batch or on the
    mode, so that work can be split and shared without changing its results. With a `pyramid`,
    `pyramid_cropper` is that of its heads, and anchors, RPN and proposals are those of pyramids.
    """
    # Images must not be rounded before their mean is taken off, and sizes never.
    super().__init__(autocast=False, **kwargs)
    self.backbone = backbone
    # Checkpoints are read by the names of these attributes, and optimizer slots by their order.
    self.stage1 = backbone.make_stage1() if pyramid is None else backbone.make_network()
    self.pyramid = pyramid
    self.rpn = rpn
    self.box_head = box_head
    self.multi_object_head = multi_object_head
    self.closeness_head = closeness_head
    self.foreground_head = foreground
    # Keras tracks a layer, but not the dataclass that holds it.
    self.refiner = None if refinement_stage is None else refinement_stage.layer
    self._refinement = refinement_stage
    self._pyramid_cropper = pyramid_cropper
    self.anchor_grid = anchor_grid
    self._propose = proposal_generator
    self.detect = detection_generator
    self._stop_gradient_shared = stop_gradient_shared
    self._stop_gradient_foreground = stop_gradient_foreground
    self._rows_are_independent = rows_are_independent

  @property
  def region_heads(self) -> list[heads_base.RegionHead]:
    """The main, the multi-object and the closeness head, as far as there are any."""
    heads = (self.box_head, self.multi_object_head, self.closeness_head)
    return [head for head in heads if head is not None]

  @property
  def main_heads(self) -> list[heads_base.MainHead]:
    """The main head, or those of a cascade, first one first."""
    return list(getattr(self.box_head, "heads", [self.box_head]))

  @property
  def stages(self) -> list[base.Stage]:
    """Stage 1, the pyramid if there is one, and the second stages of all heads."""
    pyramid = [] if self.pyramid is None else [self.pyramid]
    return [self.stage1, *pyramid, *self.second_stages]

  @property
  def second_stages(self) -> list[base.Stage]:
    """Those of all heads, the main head's first."""
    return [stage for head in self.region_heads for stage in head.stages]

  def backbone_stages(self, auxiliary: bool = True) -> list[base.Stage]:
    """Returns the stages that weights of a classification network are of.

    Args:
      auxiliary: whether those of the auxiliary heads are among them.
    """
    stages = self.stages if auxiliary else [self.stage1, *self.box_head.stages]
    return [stage for stage in stages if stage.is_backbone]

  def start_auxiliary_heads_like_main(self) -> None:
    """Copies the main head's second stage, a cascade's first, into those of the auxiliary heads."""
    main = self.box_head.stages[0]
    for stage in self.second_stages[len(self.box_head.stages) :]:
      stage.set_weights(main.get_weights())
