import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from mtl_ssl_tf.modeling import mining_scores
from tests.modeling import small

_SIZES = tf.constant([[64.0, 96.0], [48.0, 80.0]])
_MAKE = {
  "crops": small.make_detector,
  "features": small.make_feature_detector,
  "maps": small.make_rfcn_detector,
  "shared_map": small.make_shared_map_detector,
}


def _first_stage(model, num_valid=7):
  first = model.first_stage(small.noise_images(2, 64, 96), _SIZES)
  valid = first.proposals.valid & (tf.range(7) < num_valid)
  return first._replace(proposals=first.proposals._replace(valid=valid))


class MiningScoresTest(parameterized.TestCase, tf.test.TestCase):
  @parameterized.product(kind=("crops", "features"), max_refined=(1, 3, 6), num_valid=(7, 4))
  def test_the_likeliest_objects_are_refined(self, kind, max_refined, num_valid):
    model = _MAKE[kind]()
    first = _first_stage(model, num_valid)
    boxes_px, valid, _ = first.proposals
    scores = tf.function(mining_scores.mining_scores, jit_compile=False)
    logits, deltas, moved_px = scores(model, first, _SIZES, max_refined)

    second = model.box_stage(first.features, boxes_px, _SIZES)
    self.assertAllClose(deltas, second.box_deltas, atol=1e-4)
    self.assertAllEqual(moved_px, boxes_px)
    spread = [i * 7 // max_refined for i in range(max_refined)]
    closeness = model.mean_closeness(
      tf.gather(second.closeness_logits, spread, axis=1), tf.gather(valid, spread, axis=1)
    )
    refined = model.refine(
      first.features, boxes_px, second.class_logits, closeness, _SIZES, second.box_features
    ).numpy()
    expected = second.class_logits.numpy().copy()
    probability = 1.0 - tf.nn.softmax(tf.cast(expected, tf.float64))[..., 0].numpy()
    for image in range(2):
      order = np.argsort(-np.where(valid[image], probability[image], -1.0), kind="stable")
      expected[image, order[:max_refined]] = refined[image, order[:max_refined]]
    self.assertAllClose(logits, expected, atol=1e-3)
    self.assertNotAllClose(refined, second.class_logits, atol=1e-2)

  @parameterized.parameters(("crops", 0), ("crops", 7), ("maps", 3))
  def test_as_at_inference(self, kind, max_refined):
    model = _MAKE[kind]()
    first = _first_stage(model)
    logits, deltas, boxes_px = mining_scores.mining_scores(model, first, _SIZES, max_refined)
    outputs, expected, expected_deltas = model.score_proposals(first, _SIZES)
    self.assertAllClose(logits, outputs["refined_logits"])
    self.assertAllClose(logits, expected)
    self.assertAllClose(deltas, expected_deltas)
    self.assertAllEqual(boxes_px, first.proposals.boxes_px)

  @parameterized.parameters(
    {"closeness_head": None}, {"multi_object_head": None}, {"refinement_stage": None}
  )
  def test_without_a_head(self, **components):
    model = small.make_detector(**components)
    first = _first_stage(model)
    logits, *_ = mining_scores.mining_scores(model, first, _SIZES, 2)
    main = model.box_stage(first.features, first.proposals.boxes_px, _SIZES).class_logits
    changed = np.any(np.abs(logits - main) > 1e-3, axis=-1).sum(axis=-1)
    self.assertAllEqual(changed, [0, 0] if "refinement_stage" in components else [2, 2])

  def test_fewer_crops_than_at_inference(self):
    model = small.make_detector()
    first = _first_stage(model)
    heads = (model.box_head, model.closeness_head, model.multi_object_head)
    for head in heads:
      head.stage2.seen = []
    mining_scores.mining_scores(model, first, _SIZES, 2)
    # Two images each: 7 boxes; 2 boxes; 4 windows around 2 boxes, and the image.
    seen = [list(head.stage2.seen) for head in heads]
    self.assertEqual(seen, [[(14, False)], [(4, False)], [(18, False)]])
