"""Co-mining: a detector that completes sparse annotations by its own detections while it trains.

    images -> two views of each -> first stage -> proposals as at inference -> second stage
                                       |                                            |
                                       |     annotations + detections mined in the other view
                                       |                                            |
                                       +-----> losses of mtl_detection, summed over the views

All else is `mtl_detection`: model, labels, losses, evaluation. Letters: `B` images, `V` views of
each, `P` slots of mined boxes.

Reference: Wang et al., "Co-mining: Self-Supervised Learning for Sparsely Annotated Object
Detection", AAAI 2021. The paper has one-stage detectors; here the boxes are those of the second
stage, and both stages learn from them.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import tensorflow as tf
import tf_keras
from official.core import task_factory

from mtl_ssl_tf.configs import co_mining as config_lib
from mtl_ssl_tf.configs import data as data_config
from mtl_ssl_tf.data.pipeline import reader
from mtl_ssl_tf.labels import auxiliary as auxiliary_labels
from mtl_ssl_tf.labels import mining
from mtl_ssl_tf.modeling import detector, mining_scores
from mtl_ssl_tf.ops import color_ops, seed_ops
from mtl_ssl_tf.tasks import (
  mining_guard,
  mining_measures,
  mtl_detection,
  training_losses,
  unlabelled_proposals,
)

# Bits of an image's key that the key of its second view has otherwise.
_SECOND_VIEW_BITS = 0x2AAAAAAA
Batch = tuple[tf.Tensor, dict[str, tf.Tensor]]


class MinedViews(NamedTuple):
  """The views of a batch and what was mined in them; the B first rows are the images as they are.

  Attributes:
    images: float32 [V·B, H, W, 3].
    annotations: labels of the views; `view_key` int32 [V·B] seeds what is drawn for each of them.
    first: the first stage's outputs for the views, in training; None without a model.
    pseudo: boxes mined in each view, [V·B, P, ...].
    counts: boxes dropped in each view, [V·B] each.
  """

  images: tf.Tensor
  annotations: dict[str, tf.Tensor]
  first: detector.FirstStage | None
  pseudo: mining.PseudoBoxes
  counts: mining.MiningCounts


@task_factory.register_task_cls(config_lib.CoMining)
class CoMiningTask(mtl_detection.MtlDetectionTask):
  """Trains a detector on annotations and on what each view of an image mines for the other."""

  counters = (*mtl_detection.MtlDetectionTask.counters, *mining_measures.NAMES)

  def __init__(self, params: config_lib.CoMining, *args, **kwargs):
    """Builds the task of `mtl_detection`, and what watches over mining."""
    super().__init__(params, *args, **kwargs)
    self._mining_guard = mining_guard.MiningGuard(params.mining)
    self._mine_for_pictures = tf.function(
      lambda model, images, labels, step: mine_views(
        params, (images, labels), model, step, training=False
      ),
      autograph=False,
    )

  def build_inputs(
    self,
    params: data_config.Data,
    input_context: tf.distribute.InputContext | None = None,
    first_batch: int = 0,
    skipped_batches: Sequence[int] = (),
  ) -> tf.data.Dataset:
    """Returns batches as `MtlDetectionTask` does, of training with the erased objects, if any."""
    return reader.make_dataset(
      params,
      first_batch=first_batch,
      skipped_batches=skipped_batches,
      input_context=input_context,
      with_erased=self._measures_erased,
      num_classes=self.num_classes,
    )

  def supervise(
    self, inputs: Batch, model: detector.Detector, step: tf.Tensor
  ) -> training_losses.Supervision:
    """Returns the views of a batch, with their annotations completed by mined boxes."""
    config = self.task_config.mining
    images, labels = inputs
    # From here on, nothing but the measures knows of them.
    labels, erased = mining_measures.without_erased(labels)
    views = mine_views(self.task_config, (images, labels), model, step)
    pseudo, measures = views.pseudo, {}
    if config.mines:
      measures = mining_measures.measures(views.pseudo, views.counts, config.views, erased)
    if config.mode == config_lib.CO_MINING:
      pseudo = mining.of_other_view(pseudo)
    completed = mining.complete_ground_truth(views.annotations, pseudo)
    if config.boxes_from == config_lib.ANNOTATIONS:
      completed = mining.without_box_targets(completed)
    supervision = training_losses.Supervision(
      views.first,
      completed,
      num_views=config.views,
      measures=measures,
    )
    return unlabelled_proposals.apply(model, config.unlabelled, supervision, step)

  def auxiliary_targets(
    self, labels: dict[str, tf.Tensor], step: tf.Tensor
  ) -> auxiliary_labels.AuxiliaryTargets:
    """Returns the auxiliary targets of completed labels, or of a batch's, in `step`; compiled."""
    if self.task_config.mining.labels_from == config_lib.ANNOTATIONS and "is_pseudo" in labels:
      labels = mining.annotations_alone(labels)
    return super().auxiliary_targets(labels, step)

  def mined_views(
    self, model: detector.Detector | None, inputs: Batch, step: tf.Tensor
  ) -> "MinedViews":
    """Returns the views of a batch in `step` with what the present weights mine in them.

    Without a model, nothing is mined. The model runs as at inference, so that pictures change
    nothing; normalisation that learns statistics may mine others in the training step.
    """
    images, labels = inputs
    labels, _ = mining_measures.without_erased(labels)
    if model is None:
      config = self.task_config
      images, annotations = make_views(config, (images, labels), step)
      found = mining.nothing_mined(len(images), config.mining.num_slots)
      return MinedViews(images, annotations, None, *found)
    return self._mine_for_pictures(model, images, labels, step)

  def build_metrics(self, training: bool = True) -> list[tf_keras.metrics.Metric]:
    """Returns a running mean for each loss and for each measure of mining."""
    metrics = super().build_metrics(training)
    if training:
      config = self.task_config.mining
      names = mining_measures.names(config, self._measures_erased)
      if config.unlabelled.consistency_loss_weight:
        names.append(unlabelled_proposals.CONSISTENCY)
      metrics += [tf_keras.metrics.Mean(name, dtype=tf.float32) for name in names]
    return metrics

  def describe_logs(self, values: Mapping[str, float]) -> str:
    """Returns how mining goes, for the progress line."""
    return mining_measures.describe(values)

  def check_logs(self, values: Mapping[str, float], step: int) -> None:
    """Raises RunError where mined boxes, or losses, have become too many or too large."""
    self._mining_guard.check(values, step)

  @property
  def nonfinite_advice(self) -> str:
    """Returns what to change where losses are not finite: mined boxes are their usual cause."""
    return self._mining_guard.advice

  @functools.cached_property
  def _measures_erased(self) -> bool:
    """Whether mined boxes can be compared with annotations that were erased on purpose."""
    data = self.task_config.train_data
    if data.augmentation.mosaic or data.augmentation.copy_paste:
      return False  # Composed images show objects of several records.
    try:
      return reader.carries_erased(data.input_path)
    except ValueError:  # There are no records, and whoever needs them says so.
      return False


def mine_views(
  config: config_lib.CoMining,
  inputs: Batch,
  model: detector.Detector,
  step: tf.Tensor,
  training: bool = True,
) -> MinedViews:
  """Makes the views of a batch and mines boxes in each.

  Mined are detections as at inference: proposals are not sampled, and annotations are none of them.
  Where there is refinement, scores are refined: those of `task.mining.max_refined` proposals of a
  view, or with 0 as at inference. No gradient passes from them.

  Args:
    config: of the task.
    inputs: images and labels, see `data/pipeline/detection_parser.py`.
    model: the detector.
    step: integer scalar, seeds the second view and says which threshold holds.
    training: mode of the first stage.
  """
  images, annotations = make_views(config, inputs, step)
  image_size_px = annotations["image_size_px"]
  first = model.first_stage(images, image_size_px, training=training)
  settings = config.mining
  if not settings.mines:
    found = mining.nothing_mined(tf.shape(images)[0], settings.num_slots)
    return MinedViews(images, annotations, first, *found)
  as_at_inference = model.propose_as_at_inference(
    first, image_size_px, settings.num_proposals or None
  )
  scores = mining_scores.mining_scores(model, as_at_inference, image_size_px, settings.max_refined)
  found = mining.mine_pseudo_boxes(
    scores.class_logits,
    scores.box_deltas,
    scores.boxes_px,
    as_at_inference.proposals.valid,
    annotations,
    score_threshold=score_threshold(settings, step),
    ignore_band=settings.ignore_band,
    nms_iou=settings.nms_iou,
    same_class_iou=settings.same_class_iou,
    any_class_iou=settings.any_class_iou,
    num_slots=settings.num_slots,
    min_size_px=settings.min_size_px,
    nms_method=model.detect.nms_method,
  )
  return MinedViews(images, annotations, first, *found)


def make_views(config: config_lib.CoMining, inputs: Batch, step: tf.Tensor) -> Batch:
  """Returns images and labels of all views: those of the batch, then those of their copies.

  Args:
    config: of the task.
    inputs: images and labels of a batch.
    step: integer scalar, seeds the changes of the copies.
  """
  images, labels = inputs
  if config.mining.views == 1:
    return inputs
  keys = labels["image_key"]  # [B]
  seeds = seed_ops.image_seeds(config.seed, seed_ops.SECOND_VIEW, step, keys)  # [B, 2]
  copies = second_view(images, labels["image_size_px"], seeds, config.mining.augmentation)
  doubled = {name: tf.concat([values, values], axis=0) for name, values in labels.items()}
  # What is drawn for a view is its own, but for the windows, which have the key of the image.
  second_keys = tf.bitwise.bitwise_xor(keys, _SECOND_VIEW_BITS)
  doubled["view_key"] = tf.concat([keys, second_keys], axis=0)  # [2·B]
  return tf.concat([images, copies], axis=0), doubled


def second_view(
  images: tf.Tensor,
  image_size_px: tf.Tensor,
  seeds: tf.Tensor,
  settings: config_lib.ViewAugmentation,
) -> tf.Tensor:
  """Returns the images with other colours, by chance, float32 [B, H, W, 3]; see `color_ops`."""
  return color_ops.jitter_colors(
    images,
    image_size_px,
    seeds,
    probability=settings.probability,
    blur_probability=settings.blur_probability,
    blur_sigmas=(settings.blur_sigma_min, settings.blur_sigma_max),
    **settings.color_jitter.as_dict(),
  )


def score_threshold(config: config_lib.Mining, step: tf.Tensor) -> float | tf.Tensor:
  """Returns the score beyond which detections are mined in `step`."""
  threshold = config.score_threshold
  since_start = tf.cast(step, tf.int32) - config.start_step
  if config.warmup_steps:
    done = tf.maximum(tf.cast(since_start, tf.float32), 0.0) / config.warmup_steps
    falling = config.warmup_score_threshold + done * (threshold - config.warmup_score_threshold)
    threshold = tf.where(done < 1.0, falling, threshold)
  if config.start_step:
    threshold = tf.where(since_start < 0, mining.NEVER, threshold)
  return threshold
