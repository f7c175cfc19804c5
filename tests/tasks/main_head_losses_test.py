"""Losses of a cascade's stages against loops over boxes, and what follows from its last stage."""

from unittest import mock

import numpy as np
import pytest
import tensorflow as tf

from mtl_ssl_tf.configs import detector as config_lib
from mtl_ssl_tf.labels import annotated_classes, roi_targets
from mtl_ssl_tf.losses import auxiliary_losses, detection_losses
from mtl_ssl_tf.modeling import detector, proposals
from mtl_ssl_tf.modeling.heads import base as heads_base
from mtl_ssl_tf.tasks import main_head_losses, training_losses
from tests.labels import rematched_test
from tests.modeling import small

NUM_CLASSES = small.NUM_CLASSES
STEP = tf.constant(3)
LABELS = {
  # An object of class 2 and one of class 1, a region to be ignored, padding.
  "gt_boxes_px": tf.constant(
    [[[8.0, 8, 40, 40], [24, 50, 60, 90], [0, 70, 20, 96], [-1, -1, -1, -1]]]
  ),
  "gt_classes": tf.constant([[2, 1, 0, -1]]),
  "image_size_px": tf.constant([[64.0, 96.0]]),
  "image_key": tf.constant([17]),
  "flipped": tf.constant([False]),
}
SETTINGS = {
  "batch_size": 8,
  "positive_fraction": 0.5,
  "positive_iou": 0.4,
  "class_loss_weight": 3.0,
  "box_loss_weight": 5.0,
  "box_loss_sigma": 2.0,
  "cascade": {
    "enabled": True,
    "ious": [0.4, 0.6, 0.75],
    "delta_factors": [1.5, 2.0, 3.0],
    "loss_weights": [1.0, 0.5, 0.25],
  },
}


def config(**fields):
  result = config_lib.MtlDetection()
  result.override(
    {
      "roi_head": SETTINGS,
      "auxiliary": {
        "multi_object": {"num_windows": 3, "min_size_px": 8.0},
        "foreground": {"mask_size": 8},
      },
      **fields,
    },
    is_strict=True,
  )
  return result


def proposed():
  """Two near each object, two of background, one in the region, one that is missing."""
  boxes = [
    [6.0, 10, 38, 36],
    [16, 8, 48, 40],
    [24, 50, 60, 84],
    [30, 44, 60, 80],
    [40, 4, 60, 30],
    [0, 0, 10, 60],
    [2, 75, 18, 90],
    [0, 0, 0, 0],
  ]
  return proposals.Proposals(tf.constant([boxes]), tf.range(8)[None] < 7, tf.zeros([1, 8]))


def random_stages():
  """The sampled boxes, and outputs of three stages, of which later ones have other boxes.

  Their first four rows have overlaps of 0.45, 0.65, 0.7 and 0.8 with an object.
  """
  rois = training_losses.sample_rois(config(), proposed(), LABELS, STEP)
  assert rois.is_positive.numpy().tolist() == [[True] * 4 + [False] * 4]
  rng = np.random.default_rng(0)
  objects = tf.gather(LABELS["gt_boxes_px"], rois.gt_indices, batch_dims=1).numpy()[0, :4]
  boxes_px, stages = rois.boxes_px.numpy(), []
  for i in range(3):
    logits = rng.normal(size=[1, 8, NUM_CLASSES]).astype(np.float32)
    deltas = rng.normal(size=[1, 8, 1, 4]).astype(np.float32)
    stages.append(heads_base.CascadeStage(*map(tf.constant, (boxes_px, logits, deltas))))
    boxes_px = boxes_px.copy()
    shares = np.roll([0.45, 0.65, 0.7, 0.8], i)
    boxes_px[0, :4] = objects
    boxes_px[0, :4, 2] = objects[:, 0] + shares * (objects[:, 2] - objects[:, 0])
  return rois, tuple(stages)


def smooth_l1(errors, sigma):
  total = 0.0
  for size in np.abs(errors):
    small_error = size < 1.0 / sigma**2
    total += 0.5 * sigma**2 * size**2 if small_error else size - 0.5 / sigma**2
  return total


def test_each_stage_has_its_own_targets_and_weights():
  rois, stages = random_stages()
  second = detector.BoxStage(None, None, None, None, stages[-1].boxes_px, stages)
  found, final = main_head_losses.main_head_losses(config().roi_head, second, rois, LABELS)
  assert list(found) == main_head_losses.names(config().roi_head)
  assert list(found) == [
    "roi_class",
    "roi_box",
    "roi_class_2",
    "roi_box_2",
    "roi_class_3",
    "roi_box_3",
  ]
  cascade = SETTINGS["cascade"]
  for i, stage in enumerate(stages):
    rows = rematched_test.oracle(
      stage.boxes_px[0].numpy(),
      rois.valid[0].numpy(),
      LABELS["gt_boxes_px"][0].numpy(),
      LABELS["gt_classes"][0].numpy(),
      cascade["ious"][i],
    )
    num_valid = sum(row[0] for row in rows)
    classes = boxes = 0.0
    for row, (is_valid, name, target, is_positive, _) in enumerate(rows):
      logits = stage.class_logits[0, row].numpy()
      if is_valid:
        classes += np.log(np.exp(logits).sum()) - logits[name]
      if is_positive:
        errors = cascade["delta_factors"][i] * (stage.box_deltas[0, row, 0].numpy() - target)
        boxes += smooth_l1(errors, SETTINGS["box_loss_sigma"])
    suffix, weight = f"_{i + 1}" if i else "", cascade["loss_weights"][i]
    np.testing.assert_allclose(
      found[f"roi_class{suffix}"], weight * 3.0 * classes / num_valid, rtol=1e-4
    )
    np.testing.assert_allclose(
      found[f"roi_box{suffix}"], weight * 5.0 * boxes / num_valid, rtol=1e-4
    )
  # The case tells the stages' IoUs apart.
  for stage in stages[1:]:
    counts = [int(np.sum(rematched(stage, rois, iou).is_positive)) for iou in cascade["ious"]]
    assert counts == [4, 3, 1]
  expected = rematched(stages[-1], rois, 0.75)
  for ours, theirs in zip(final, expected, strict=True):
    np.testing.assert_array_equal(ours, theirs)


# The left half was annotated for class 1, the right half for class 2.
PARTS = {
  "annotated_classes": tf.constant([[1.0, 0.0, 0.0]]),
  "annotated_parts_px": tf.constant([[[0.0, 0, 64, 48], [0, 48, 64, 96]]]),
  "annotated_parts": tf.constant([[[1.0, 1.0, 0.0], [1.0, 0.0, 1.0]]]),
}


def test_each_stage_has_the_annotated_classes_of_its_own_boxes():
  rois, stages = random_stages()
  second = detector.BoxStage(None, None, None, None, stages[-1].boxes_px, stages)
  labels = LABELS | PARTS
  found, _ = main_head_losses.main_head_losses(config().roi_head, second, rois, labels)
  masks = [annotated_classes.of_boxes(labels, stage.boxes_px).numpy() for stage in stages]
  assert np.any(masks[0] != masks[1])  # A box that meets both halves has moved into one.
  for i, (stage, mask) in enumerate(zip(stages, masks, strict=True)):
    own = rematched(stage, rois, SETTINGS["cascade"]["ious"][i]) if i else rois
    weight = 3.0 * SETTINGS["cascade"]["loss_weights"][i]
    expected = detection_losses.roi_class_loss(stage.class_logits, own.classes, own.valid, mask)
    name = main_head_losses.names(config().roi_head)[2 * i]
    np.testing.assert_allclose(found[name], weight * expected, rtol=1e-5)
    whole = detection_losses.roi_class_loss(stage.class_logits, own.classes, own.valid)
    assert abs(expected - whole) > 1e-3


def test_annotated_classes_of_what_follows():
  model = small.make_cascade_detector()
  first = model.first_stage(small.noise_images(1, 64, 96), LABELS["image_size_px"], training=True)
  first = first._replace(proposals=proposed())
  settings, labels = config(refinement={"train_rois": 0}), LABELS | PARTS
  targets = training_losses.make_auxiliary_targets(settings, labels, STEP, NUM_CLASSES)
  with (
    mock.patch.object(
      annotated_classes, "unannotated_regions", wraps=annotated_classes.unannotated_regions
    ) as regions,
    mock.patch.object(
      detection_losses, "roi_class_loss", wraps=detection_losses.roi_class_loss
    ) as class_loss,
  ):
    training_losses.replica_losses(model, settings, first, labels, targets, STEP)
  rois = training_losses.sample_rois(settings, first.proposals, labels, STEP)
  second = model.box_stage(first.features, rois.boxes_px, LABELS["image_size_px"])
  # The RPN's regions are of the sampled boxes, which the first stage classifies.
  logits, boxes_px, _, mask = regions.call_args.args
  np.testing.assert_allclose(logits, second.cascade[0].class_logits, atol=1e-4)
  np.testing.assert_array_equal(boxes_px, rois.boxes_px)
  np.testing.assert_array_equal(mask, annotated_classes.of_boxes(labels, rois.boxes_px))
  # Refinement is of the last stage's boxes.
  *_, refined_mask = class_loss.call_args.args
  last_px = second.cascade[-1].boxes_px
  np.testing.assert_array_equal(refined_mask, annotated_classes.of_boxes(labels, last_px))


def rematched(stage, rois, iou):
  return roi_targets.rematched(
    stage.boxes_px, rois.valid, LABELS["gt_boxes_px"], LABELS["gt_classes"], iou
  )


@pytest.fixture(name="step", scope="module")
def _step():
  """A cascade with all heads, its losses and what the parts of a step were called with."""
  model = small.make_cascade_detector()
  images = small.noise_images(1, 64, 96)
  first = model.first_stage(images, LABELS["image_size_px"], training=True)
  first = first._replace(proposals=proposed())
  settings = config(refinement={"train_rois": 0})
  targets = training_losses.make_auxiliary_targets(settings, LABELS, STEP, NUM_CLASSES)
  with (
    mock.patch.object(model, "refine", wraps=model.refine) as refine,
    mock.patch.object(
      auxiliary_losses, "closeness_loss", wraps=auxiliary_losses.closeness_loss
    ) as closeness_loss,
  ):
    parts = training_losses.replica_losses(model, settings, first, LABELS, targets, STEP)
  losses = training_losses.reduce_over_replicas(parts)
  rois = training_losses.sample_rois(settings, first.proposals, LABELS, STEP)
  second = model.box_stage(first.features, rois.boxes_px, LABELS["image_size_px"])
  return model, first, rois, second, losses, refine.call_args, closeness_loss.call_args


def test_refinement_follows_the_last_stage(step):
  model, first, rois, second, losses, call, _ = step
  last = second.cascade[-1]
  final = rematched(last, rois, 0.75)
  assert np.abs(last.boxes_px - rois.boxes_px).max() > 1.0
  assert np.any(final.classes != rois.classes)
  _, boxes_px, logits, closeness, _, features, _ = call.args
  np.testing.assert_allclose(boxes_px[final.valid], last.boxes_px[final.valid], atol=1e-3)
  np.testing.assert_allclose(logits, second.class_logits, atol=1e-4)
  np.testing.assert_allclose(features, second.box_features, atol=1e-4)
  mean = model.mean_closeness(second.closeness_logits, final.valid)
  np.testing.assert_allclose(closeness, mean, atol=1e-4)
  refined = model.refine(
    first.features, boxes_px, logits, closeness, LABELS["image_size_px"], features
  )
  own = detection_losses.roi_class_loss(refined, final.classes, final.valid)
  np.testing.assert_allclose(losses["refinement"], own, rtol=1e-4)


def test_closeness_has_the_objects_of_the_sample(step):
  _, _, rois, second, _, _, call = step
  logits, _, counted, *_ = call.args
  np.testing.assert_allclose(logits, second.closeness_logits, atol=1e-4)
  np.testing.assert_array_equal(counted, rois.is_positive)


def test_a_detector_without_cascade_has_the_losses_of_one_stage():
  rois, stages = random_stages()
  boxes_px, logits, deltas = stages[0]
  settings = config().roi_head
  settings.override({"cascade": {"ious": [0.4], "delta_factors": [1.0], "loss_weights": [1.0]}})
  one = detector.BoxStage(None, None, None, None, boxes_px, stages[:1])
  found, final = main_head_losses.main_head_losses(settings, one, rois, LABELS)
  plain = detector.BoxStage(logits, deltas, None, None, boxes_px)
  expected, same = main_head_losses.main_head_losses(settings, plain, rois, LABELS)
  assert final is same is rois
  for name, value in expected.items():
    np.testing.assert_allclose(found[name], value, rtol=1e-6)
  settings.override({"cascade": {"enabled": False}})
  assert main_head_losses.names(settings) == list(expected) == ["roi_class", "roi_box"]
