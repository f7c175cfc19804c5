"""What the detector hands to its heads: the mode, and what has been computed already."""

from unittest import mock

import numpy as np
import pytest
import tensorflow as tf

from mtl_ssl_tf.modeling import mining_scores, window_evidence
from tests.modeling import small, small_fpn

SIZES = tf.constant([[64.0, 96.0], [40.0, 70.0]])
BOXES = tf.constant(
  [
    [[0, 0, 64, 96], [16, 16, 48, 80], [5, 7, 21, 40]],
    [[0, 0, 40, 70], [8, 16, 40, 64], [-1, -1, -1, -1]],
  ],
  tf.float32,
)
IMAGES = small.noise_images(2, 64, 96)


def make_pyramid_detector(**options):
  """One whose auxiliary heads run on the maps of a pyramid, and rows depend on each other."""
  del options  # It is small as it is.
  model = small_fpn.build({"auxiliary": {"features": "shared_map"}, "fpn": {"norm": "batch"}})
  for variable in model.pyramid.variables:
    if "variance" in variable.name:
      variable.assign(0.5 + tf.abs(variable))
  return model


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("make", [small.make_rfcn_detector, small.make_shared_map_detector])
def test_second_stages_on_maps_run_in_the_mode_of_the_call(make, training):
  model = make()
  features = model.first_stage(IMAGES, SIZES).features
  stages = (model.box_head.stage2, model.closeness_head.stage2)
  for stage in stages:
    stage.seen = []
  model.box_stage(features, BOXES, SIZES, training=training)
  assert [[mode for _, mode in stage.seen] for stage in stages] == [[training]] * 2


def crops_of(model, function):
  """Numbers of crops in the calls of the main second stage, which other heads share."""
  stage = model.box_head.stage2
  stage.seen = []
  function()
  return [number for number, _ in stage.seen]


def test_features_of_the_main_head_are_not_computed_again():
  model = small.make_feature_detector()
  first = model.first_stage(IMAGES, SIZES)
  second = model.box_stage(first.features, BOXES, SIZES)
  assert crops_of(model, lambda: model.box_stage(first.features, BOXES, SIZES)) == [2 * 3]
  closeness = model.mean_closeness(second.closeness_logits, tf.ones([2, 3], tf.bool))

  def refine():
    logits, features = second.class_logits, second.box_features
    model.refine(first.features, BOXES, logits, closeness, SIZES, features)

  # Of five windows the innermost is the box, the outermost the image.
  assert crops_of(model, refine) == [2 * (3 * 3 + 1)]
  assert crops_of(model, lambda: model(IMAGES, SIZES)) == [2 * 7, 2 * (7 * 3 + 1)]
  mined = crops_of(model, lambda: mining_scores.mining_scores(model, first, SIZES, 2))
  assert mined == [2 * 7, 2 * (2 * 3 + 1)]


def test_refinement_takes_the_map_that_is_prepared():
  model = small.make_rfcn_detector(rows_are_independent=True)
  first = model.first_stage(IMAGES, SIZES)
  second = model.box_stage(first.features, BOXES, SIZES)
  closeness = model.mean_closeness(second.closeness_logits, tf.ones([2, 3], tf.bool))
  prepared = model.prepare_multi_object(first.features, training=True)
  with mock.patch.object(model, "prepare_multi_object") as prepare:
    model.refine(first.features, BOXES, second.class_logits, closeness, SIZES, prepared=prepared)
  prepare.assert_not_called()


@pytest.mark.parametrize(
  "make", [small.make_detector, small.make_feature_detector, make_pyramid_detector]
)
def test_a_map_prepared_in_training_serves_at_inference_where_nothing_was_normalised(make):
  model = make(rows_are_independent=False)
  assert not model._rows_are_independent
  features = model.first_stage(IMAGES, SIZES).features
  prepared = model.prepare_multi_object(features, training=True)
  with mock.patch.object(model, "prepare_multi_object") as prepare:
    model.expanded_window_logits(features, BOXES, SIZES, prepared=prepared)
  prepare.assert_not_called()


@pytest.mark.parametrize(
  "make", [small.make_rfcn_detector, small.make_shared_map_detector, make_pyramid_detector]
)
def test_heads_on_maps_classify_all_windows_at_once(make):
  """Fewer windows would not cost less, and those of all proposals are known then."""
  model = make(refinement={"max_proposals": 2, "chunk_size": 7})
  first = model.first_stage(IMAGES, SIZES)
  boxes_px = first.proposals.boxes_px
  every = model.expanded_window_logits(first.features, boxes_px, SIZES)
  selected = tf.constant([[True] + [False] * (boxes_px.shape[1] - 1)] * 2)
  with mock.patch.object(window_evidence, "predict_selected") as predict_selected:
    found = model.expanded_window_logits(first.features, boxes_px, SIZES, selected=selected)
  predict_selected.assert_not_called()
  np.testing.assert_allclose(found, every, atol=1e-5)
  assert np.std(every[:, 0, 0]) > 0.0


def test_calls_that_do_not_name_a_mode_are_of_inference():
  model = small.make_rfcn_detector()
  heads = (model.box_head, model.multi_object_head, model.closeness_head)
  stages = [model.stage1, *(head.stage2 for head in heads)]
  for stage in stages:
    stage.seen = []
  first = model.first_stage(IMAGES, SIZES)
  model.second_stage(first, SIZES)
  model.score_proposals(first, SIZES)
  model.box_stage(first.features, BOXES, SIZES)
  model.classify_windows(first.features, BOXES, SIZES)
  model.classify_closeness(first.features, BOXES, SIZES)
  model.prepare_multi_object(first.features)
  model.call(IMAGES, SIZES)
  model(IMAGES, SIZES)
  assert [len(stage.seen) for stage in stages] == [3, 5, 6, 6]
  assert {mode for stage in stages for _, mode in stage.seen} == {False}


HEADS = ["box_head", "multi_object", "closeness"]


@pytest.mark.parametrize(
  ("make", "heads"),
  [
    (small.make_detector, [*HEADS, "foreground"]),
    (small.make_feature_detector, ["box_head", "closeness", "foreground", "multi_object"]),
    (small.make_rfcn_detector, ["box_head", "closeness", "foreground", "multi_object"]),
  ],
)
def test_variables_are_drawn_in_the_order_in_which_they_always_were(make, heads):
  """So that a seed starts a run with the weights that it has always started with."""
  drawn = []

  def note(next_creator, **options):
    variable = next_creator(**options)
    part, _, layer = variable.name.partition("/")
    if layer and part not in drawn:
      drawn.append(part)
    return variable

  with tf.variable_creator_scope(note):
    make()
  assert drawn == ["stage1", "rpn", *heads, "refinement"]
