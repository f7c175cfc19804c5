"""Proposals that are probably unlabelled objects, on the tiny detector: who still learns from them.

The detector has random weights, to which every place is more or less an object.
"""

import contextlib
import dataclasses
from unittest import mock

import numpy as np
import pytest
import tensorflow as tf

from mtl_ssl_tf.labels import roi_targets, rpn_targets, unlabelled_objects
from mtl_ssl_tf.tasks import co_mining, mining_measures, training_losses, unlabelled_proposals
from tests.labels import mining_oracle
from tests.modeling import small_backbones
from tests.tasks import co_mining_test

NUM_IMAGES, STEP = co_mining_test.NUM_IMAGES, co_mining_test.STEP
# Half of the proposals of a network that was not trained score more.
RULE = {"min_objectness": 0.3, "max_iou": 0.2}
MASKED = {**RULE, "mask_proposals": True}


@pytest.fixture(name="backbones", autouse=True, scope="module")
def _backbones():
  with small_backbones.registered():
    yield


def make_task(folder, unlabelled, **mining):
  return co_mining_test.make_task(folder, {"mode": "joint", "unlabelled": unlabelled, **mining})


@pytest.fixture(name="model", scope="module")
def _model(folder):
  return co_mining_test.make_model(make_task(folder, {}))


@pytest.fixture(name="batch", scope="module")
def _batch(folder):
  task = make_task(folder, {})
  return next(iter(task.build_inputs(task.task_config.train_data)))


def supervise(folder, model, batch, unlabelled, step=STEP, **mining):
  """What a step learns from where both views differ."""
  with mock.patch.object(co_mining, "second_view", co_mining_test.negative):
    return make_task(folder, unlabelled, **mining).supervise(batch, model, step)


def probable(supervision) -> np.ndarray:
  """The proposals that are probably objects, by the rule."""
  boxes, valid, scores = supervision.first.proposals
  labels = supervision.labels
  return unlabelled_objects.probable_objects(
    boxes, scores, valid, labels["gt_boxes_px"], labels["gt_classes"], **RULE
  ).numpy()


def test_masked_proposals_are_not_sampled(folder, model, batch):
  plain = supervise(folder, model, batch, RULE)
  masked = supervise(folder, model, batch, MASKED)
  found = probable(plain)
  valid = plain.first.proposals.valid.numpy()
  assert 0 < found.sum() < valid.sum()
  np.testing.assert_array_equal(masked.first.proposals.valid, valid & ~found)
  np.testing.assert_array_equal(masked.first.proposals.boxes_px, plain.first.proposals.boxes_px)
  measure = masked.measures[mining_measures.UNLABELLED]
  assert float(measure.mean) == pytest.approx(found.sum() / (2 * NUM_IMAGES))
  assert sampled_from(folder, model, batch, MASKED) == masked.first.proposals.valid.numpy().tolist()


def sampled_from(folder, model, batch, unlabelled) -> list:
  """The proposals, bool, that the RoI head's minibatch is drawn from."""
  wrapped = mock.patch.object(
    training_losses.roi_targets, "roi_targets", wraps=roi_targets.roi_targets
  )
  with mock.patch.object(co_mining, "second_view", co_mining_test.negative), wrapped as called:
    make_task(folder, unlabelled)._compute_replica_losses(batch, model, STEP)
  return called.call_args.args[1].numpy().tolist()


def test_the_rule_knows_mined_boxes(folder, model, batch):
  """What one view mined is an object of the other, which is then annotated for the rule."""
  plain = supervise(folder, model, batch, RULE)
  target = plain.first.proposals.boxes_px[2][int(np.flatnonzero(probable(plain)[2])[0])].numpy()
  with (
    mock.patch.object(co_mining_test, "MINED_BOX", target.tolist()),
    co_mining_test.mined_in(0),
  ):
    masked = supervise(folder, model, batch, MASKED, mode="co_mining")
  is_left_out = plain.first.proposals.valid.numpy() & ~masked.first.proposals.valid.numpy()
  assert is_left_out[2].sum() < probable(plain)[2].sum()
  np.testing.assert_array_equal(is_left_out[:2], probable(plain)[:2])


def test_masked_anchors_are_no_negatives(folder, model, batch):
  settings = {**RULE, "mask_anchors": True}
  wrapped = mock.patch.object(
    training_losses.rpn_targets, "rpn_targets", wraps=rpn_targets.rpn_targets
  )
  with mock.patch.object(co_mining, "second_view", co_mining_test.negative), wrapped as called:
    make_task(folder, settings)._compute_replica_losses(batch, model, STEP)
  marked = supervise(folder, model, batch, settings).labels[unlabelled_objects.ANCHORS].numpy()
  assert 0 < marked.sum() < marked.size
  np.testing.assert_array_equal(called.call_args.kwargs["never_negative"], marked)


def test_an_anchor_is_judged_by_the_box_that_it_predicts(folder, model, batch):
  task = make_task(folder, {**RULE, "mask_anchors": True})
  supervision = task.supervise(batch, model, tf.constant(0))
  first, labels = supervision.first, supervision.labels
  # Each box half of its anchor's width further to the right.
  shift = tf.constant([0.0, 5.0, 0.0, 0.0])
  first = first._replace(rpn=first.rpn._replace(deltas=tf.zeros_like(first.rpn.deltas) + shift))
  done = unlabelled_proposals.apply(
    model,
    task.task_config.mining.unlabelled,
    dataclasses.replace(supervision, first=first),
    STEP,
  )
  boxes = np.array(first.anchors.boxes_px)
  boxes[:, 1::2] += 0.5 * (boxes[:, 3] - boxes[:, 1])[:, np.newaxis]
  scores = tf.nn.softmax(first.rpn.logits)[..., 1].numpy()
  candidates = first.anchors.is_candidate.numpy()
  expected = np.zeros_like(candidates)
  for i, j in zip(*np.nonzero(candidates & (scores > RULE["min_objectness"])), strict=True):
    height, width = labels["image_size_px"][i].numpy()
    box = np.clip(boxes[j], 0.0, [height, width, height, width])
    rows = labels["gt_boxes_px"][i].numpy()[labels["gt_classes"][i].numpy() >= 0]
    expected[i, j] = all(mining_oracle.iou(box, row) < RULE["max_iou"] for row in rows)
  assert 0 < expected.sum() < candidates.sum()
  np.testing.assert_array_equal(done.labels[unlabelled_objects.ANCHORS], expected)


def test_the_start_step(folder, model, batch):
  settings = {**MASKED, "mask_anchors": True, "consistency_loss_weight": 1.0, "start_step": 5}
  for step, begun in ((4, False), (5, True)):
    found = supervise(folder, model, batch, settings, tf.constant(step))
    assert bool(found.measures[mining_measures.UNLABELLED].total > 0.0) == begun
    assert bool(found.labels[unlabelled_objects.ANCHORS].numpy().any()) == begun
    assert bool(found.losses[unlabelled_proposals.CONSISTENCY].count > 0.0) == begun


def test_shared_proposals_are_those_of_the_image_as_it_is(folder, model, batch):
  own = supervise(folder, model, batch, {}).first.proposals
  shared = supervise(folder, model, batch, {"shared_proposals": True}).first.proposals
  for ours, theirs in zip(own, shared, strict=True):
    np.testing.assert_array_equal(theirs[:NUM_IMAGES], ours[:NUM_IMAGES])
    np.testing.assert_array_equal(theirs[NUM_IMAGES:], ours[:NUM_IMAGES])
  assert not np.array_equal(own.boxes_px[:NUM_IMAGES], own.boxes_px[NUM_IMAGES:])


class TestConsistency:
  def test_is_the_mean_squared_difference_of_the_features(self, folder, model, batch):
    weight = 0.7
    settings = {**RULE, "consistency_loss_weight": weight, "consistency_boxes": 2}
    found = supervise(folder, model, batch, settings)
    loss = found.losses[unlabelled_proposals.CONSISTENCY]
    boxes = found.first.proposals.boxes_px.numpy()
    is_found, total, count = probable(found), 0.0, 0
    sizes = found.labels["image_size_px"]
    for i in range(NUM_IMAGES):
      kept = []
      for row in np.flatnonzero(is_found[i]):  # Best first.
        overlaps = [mining_oracle.iou(boxes[i, row], boxes[i, other]) for other in kept]
        if max(overlaps, default=0.0) <= 0.3 and len(kept) < 2:
          kept.append(row)
      for row in kept:
        box = tf.tile(boxes[i, row][np.newaxis, np.newaxis], [2 * NUM_IMAGES, 1, 1])
        features = model.box_stage(found.first.features, box, sizes).box_features.numpy()
        total += np.mean((features[i, 0] - features[i + NUM_IMAGES, 0]) ** 2)
        count += 1
    assert count > NUM_IMAGES
    assert float(loss.count) == count
    np.testing.assert_allclose(loss.total, total, rtol=1e-4)
    assert float(loss.local_loss()) == pytest.approx(weight * total / count, rel=1e-4)

  def test_statistics_of_normalisation_stay(self, folder, model, batch):
    task = make_task(folder, {**RULE, "consistency_loss_weight": 1.0})
    with mock.patch.object(model, "box_stage", wraps=model.box_stage) as box_stage:
      task.supervise(batch, model, STEP)
    (call,) = box_stage.call_args_list[-1:]
    assert call.kwargs == {"training": False, "with_closeness": False}

  def test_alike_views_have_none(self, folder, model, batch):
    task = make_task(folder, {**RULE, "consistency_loss_weight": 1.0})
    loss = task.supervise(batch, model, STEP).losses[unlabelled_proposals.CONSISTENCY]
    assert float(loss.count) > 0.0
    assert float(loss.total) == pytest.approx(0.0, abs=1e-6)

  def test_both_views_learn(self, folder, model, batch):
    task = make_task(folder, {**RULE, "consistency_loss_weight": 1.0})
    images, labels = batch
    pixels = tf.concat([images, 255.0 - images], axis=0)
    doubled = {name: tf.concat([values] * 2, axis=0) for name, values in labels.items()}
    with tf.GradientTape() as tape:
      tape.watch(pixels)
      first = model.first_stage(pixels, doubled["image_size_px"], training=True)
      supervision = training_losses.Supervision(first, doubled, num_views=2)
      done = unlabelled_proposals.apply(
        model, task.task_config.mining.unlabelled, supervision, STEP
      )
      loss = done.losses[unlabelled_proposals.CONSISTENCY].local_loss()
    gradient = tape.gradient(loss, pixels).numpy()
    assert all(np.abs(one).max() > 0.0 for one in gradient)

  def test_is_a_loss_of_the_step(self, folder):
    task = make_task(folder, {**RULE, "consistency_loss_weight": 1.0})
    with mock.patch.object(co_mining, "second_view", co_mining_test.negative):
      logs = co_mining_test.Run(task, folder).step()
    others = sum(logs[name] for name in co_mining_test.tiny.LOSSES)
    assert logs["consistency"] > 0.0
    assert logs["loss"] == pytest.approx(others + logs["consistency"], rel=1e-5)


def test_unused_it_changes_nothing(folder, model, batch):
  with contextlib.ExitStack() as stack:
    called = stack.enter_context(
      mock.patch.object(unlabelled_objects, "probable_objects", side_effect=AssertionError)
    )
    done = supervise(folder, model, batch, {"min_objectness": 0.0})
  assert not called.called
  assert not done.losses and not done.measures
  assert unlabelled_objects.ANCHORS not in done.labels
