"""A detector with a cascade: its parts, what follows from its last stage, the whole compiled."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from mtl_ssl_tf.checkpoints import pretrained
from mtl_ssl_tf.modeling import mining_scores
from mtl_ssl_tf.ops import box_coder_ops, box_ops
from tests.modeling import fpn_detector_test, small, small_backbones, small_fpn

SIZES = tf.constant([[96.0, 128.0], [80.0, 101.0]])
FEATURES = ("own_stage2", "main_head", "shared_map")
CASCADE = {"roi_head": {"cascade": {"enabled": True}}}


@pytest.fixture(name="backbones", autouse=True, scope="module")
def _backbones():
  with small_backbones.registered():
    yield


def build(*overrides, **options):
  model = small_fpn.build(CASCADE, *overrides, **options)
  for head in model.box_head.heads:  # Boxes move, but seldom out of the image.
    head.box.kernel.assign(0.2 * head.box.kernel)
  return model


@pytest.fixture(name="model", scope="module")
def _model(backbones):
  del backbones
  return build()


@pytest.fixture(name="outputs", scope="module")
def _outputs(model):
  first = model.first_stage(small.noise_images(2, 96, 128), SIZES)
  return first, model.second_stage(first, SIZES)


def test_parts_are_as_configured():
  model = build(
    {
      "roi_head": {
        "crop_size": 5,
        "initializer": "glorot_uniform",
        "fpn": {"layers": "4conv1fc", "norm": "group"},
        "cascade": {
          "ious": [0.5, 0.6],
          "delta_factors": [1.0, 2.5],
          "loss_weights": [1.0, 1.0],
        },
      }
    }
  )
  assert model.main_heads == model.box_head.heads
  assert model.box_head._delta_factors == (1.0, 2.5)
  for head in model.main_heads:
    assert head.box.units == 4
    for layer in (head.box, head.classifier):
      assert isinstance(layer.kernel_initializer, tf_keras.initializers.GlorotUniform)
    assert head.classifier.units == small_fpn.NUM_CLASSES
    assert list(head.stage2.named_layers())[-1] == "fc6"
    assert head.crop_features.cropper == model._pyramid_cropper
    assert head.crop_features.gradient_share == 0.5
  assert model.box_head.crop_features.stage is model.main_heads[-1].stage2
  assert model.box_head.crop_features.gradient_share == 1.0
  assert len({id(stage) for stage in model.second_stages}) == 4


def test_a_detector_without_cascade_has_one_main_head():
  model = small_fpn.build()
  assert model.main_heads == [model.box_head]


def test_maps_get_their_share_of_the_gradient(model):
  first = model.first_stage(small.noise_images(2, 96, 128), SIZES)
  boxes_px = first.proposals.boxes_px

  def gradient(head):
    with tf.GradientTape() as tape:
      tape.watch(first.features.cells)
      boxes_norm = box_ops.normalize(boxes_px, SIZES)
      features = head.crop_features(head.prepare(first.features), boxes_norm, SIZES, True)
      total = tf.reduce_sum(features * features)
    return total, tape.gradient(total, first.features.cells)

  head = model.main_heads[-1]
  scaled, gradient_scaled = gradient(head)
  whole, gradient_whole = gradient(model.box_head)
  np.testing.assert_allclose(scaled, whole)
  np.testing.assert_allclose(3.0 * gradient_scaled, gradient_whole, rtol=1e-4, atol=1e-6)
  assert np.abs(gradient_whole).max() > 0.0


def test_detections_are_of_the_last_stage_by_mean_scores(model, outputs):
  first, found = outputs
  second = model.box_stage(first.features, first.proposals.boxes_px, SIZES)
  last = second.cascade[-1]
  assert np.abs(last.boxes_px - first.proposals.boxes_px).max() > 1.0
  np.testing.assert_allclose(found["proposals_px"], last.boxes_px, atol=1e-3)
  probabilities = [tf.nn.softmax(stage.class_logits).numpy() for stage in second.cascade]
  np.testing.assert_allclose(tf.exp(found["class_logits"]), sum(probabilities) / 3, atol=1e-4)
  moved = box_coder_ops.decode(last.box_deltas[:, :, 0], last.boxes_px)
  moved = box_ops.clip_to_size(moved, SIZES).numpy()
  scores = tf.nn.softmax(found["refined_logits"]).numpy()
  number = 0
  for image in range(2):
    for i in range(int(found["num_detections"][image])):
      row = int(found["detection_proposal_indices"][image, i])
      name = int(found["detection_classes"][image, i])
      np.testing.assert_allclose(
        found["detection_boxes_px"][image, i], moved[image, row], atol=1e-2
      )
      np.testing.assert_allclose(
        found["detection_scores"][image, i], scores[image, row, name], atol=1e-4
      )
      number += 1
  assert number >= 4


@pytest.mark.parametrize("features", FEATURES)
def test_auxiliary_heads_see_the_boxes_of_the_last_stage(features):
  model = build({"auxiliary": {"features": features}})
  first = model.first_stage(small.noise_images(2, 96, 128), SIZES)
  found = model.second_stage(first, SIZES)
  boxes_px = found["proposals_px"]
  # Without the main head's features, which are computed again.
  windows = model.expanded_window_logits(first.features, boxes_px, SIZES)
  np.testing.assert_allclose(found["window_logits"], windows, atol=1e-3)
  closeness = model.classify_closeness(first.features, boxes_px, SIZES)
  np.testing.assert_allclose(found["closeness_logits"], closeness, atol=1e-3)
  mean = model.mean_closeness(closeness, first.proposals.valid)
  refined = model.refiner(found["class_logits"], windows, mean).numpy()
  is_refined = found["refined"].numpy()
  assert is_refined.any()
  np.testing.assert_allclose(
    found["refined_logits"].numpy()[is_refined], refined[is_refined], atol=1e-3
  )
  others = model.expanded_window_logits(first.features, first.proposals.boxes_px, SIZES)
  assert np.abs(others - windows).max() > 0.01


@pytest.mark.parametrize("max_refined", [0, 3])
def test_boxes_are_mined_from_the_last_stage(model, outputs, max_refined):
  first, found = outputs
  scores = mining_scores.mining_scores(model, first, SIZES, max_refined)
  np.testing.assert_allclose(scores.boxes_px, found["proposals_px"], atol=1e-3)
  _, _, deltas = model.score_proposals(first, SIZES)
  np.testing.assert_allclose(scores.box_deltas, deltas, atol=1e-3)
  changed = np.abs(scores.class_logits - found["class_logits"]).max(axis=-1) > 1e-3
  np.testing.assert_array_equal(changed.sum(axis=-1) <= (max_refined or 8), [True, True])
  assert changed.any()


@pytest.mark.slow
@pytest.mark.parametrize("features", FEATURES)
def test_inference_compiles_whole(features):
  override = {
    "backbone": {"type": "small_basic_resnet"},
    "auxiliary": {"features": features, "shared_map": {"reduce_depth": 6}},
    "refinement": {"max_proposals": 5},
  }
  fpn_detector_test.check_compiled_inference(small_fpn.config(CASCADE, override))


@pytest.mark.parametrize("crop_method", ["native", "matmul"])
def test_images_do_not_depend_on_their_batch(crop_method):
  model = build(crop_method=crop_method)
  images = small.noise_images(2, 96, 128)
  both = model(images, SIZES)
  for i in range(2):
    alone = model(images[i : i + 1], SIZES[i : i + 1])
    for name in ("proposals_px", "refined_logits", "detection_boxes_px"):
      np.testing.assert_allclose(alone[name][0], both[name][i], atol=1e-2, err_msg=name)


def test_auxiliary_second_stages_start_like_the_first_one():
  model = build()
  later = model.main_heads[1].stage2.get_weights()
  main = model.main_heads[0].stage2.get_weights()
  model.start_auxiliary_heads_like_main()
  for head in (model.multi_object_head, model.closeness_head):
    for value, expected in zip(head.stage2.get_weights(), main, strict=True):
      np.testing.assert_array_equal(value, expected)
  for value, expected in zip(model.main_heads[1].stage2.get_weights(), later, strict=True):
    np.testing.assert_array_equal(value, expected)


def test_a_detector_without_cascade_starts_all_but_the_main_heads(tmp_path):
  path = tf.train.Checkpoint(model=small_fpn.build()).write(str(tmp_path / "model"))
  model = build()
  before = [head.classifier.kernel.numpy() for head in model.main_heads]
  report = pretrained.load(model, path, "--init")
  missing = {name.split("/")[0] for name in report.missing}
  heads = ("SecondStageFeatureExtractor", "SecondStageBoxPredictor")
  assert missing == {f"{name}{suffix}" for name in heads for suffix in ("", "_1", "_2")}
  for head, kernel in zip(model.main_heads, before, strict=True):
    np.testing.assert_array_equal(head.classifier.kernel, kernel)
