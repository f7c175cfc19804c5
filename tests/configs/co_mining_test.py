"""Settings of Co-mining: defaults, contradictions, and the experiments that have them."""

import pytest
import yaml

from mtl_ssl_tf.configs import co_mining, experiments, fields, loading, validation


def config(**mining):
  task = co_mining.CoMining(label_map="label_map.txt")
  task.override({"mining": mining}, is_strict=True)
  return task


def test_published_values():
  mining = co_mining.Mining()
  assert (mining.mode, mining.views) == ("co_mining", 2)
  assert (mining.nms_iou, mining.same_class_iou) == (0.5, 0.4)
  assert (mining.start_step, mining.warmup_steps, mining.ignore_band) == (0, 0, 0.0)
  augmentation = mining.augmentation
  assert (augmentation.probability, augmentation.blur_probability) == (0.8, 0.0)
  assert augmentation.color_jitter.as_dict() == {
    "brightness": 0.8,
    "contrast": 0.8,
    "saturation": 0.8,
    "hue": 0.2,
  }


def test_values_of_two_stages():
  mining = co_mining.Mining()
  assert (mining.score_threshold, mining.any_class_iou) == (0.8, 0.7)
  assert (mining.num_slots, mining.num_proposals, mining.min_size_px) == (50, 128, 2.0)
  assert mining.max_refined == 16


@pytest.mark.parametrize(
  ("mining", "message"),
  [
    (
      {"views": 1},
      "task.mining.views is 1; accepted: 2 where task.mining.mode is 'co_mining', or the mode "
      "self_mining",
    ),
    (
      {"warmup_steps": 5, "warmup_score_threshold": 0.7},
      "task.mining.warmup_score_threshold is 0.7; accepted: at least task.mining.score_threshold "
      "(0.8)",
    ),
    (
      {"ignore_band": 0.9},
      "task.mining.ignore_band is 0.9; accepted: at most task.mining.score_threshold (0.8)",
    ),
    (
      {"augmentation": {"blur_sigma_max": 0.05}},
      "task.mining.augmentation.blur_sigma_max is 0.05; accepted: at least "
      "task.mining.augmentation.blur_sigma_min (0.1)",
    ),
    (
      {"mode": "joint", "views": 1, "unlabelled": {"shared_proposals": True}},
      "task.mining.unlabelled.shared_proposals is true; accepted: false where task.mining.views "
      "is 1",
    ),
    (
      {"mode": "joint", "views": 1, "unlabelled": {"consistency_loss_weight": 1.0}},
      "task.mining.unlabelled.consistency_loss_weight is 1.0; accepted: 0 where task.mining.views "
      "is 1",
    ),
    ({"mode": "teacher"}, "task.mining.mode is 'teacher'; accepted: co_mining, self_mining, joint"),
    ({"nms_iou": 1.5}, "task.mining.nms_iou is 1.5; accepted: 0.0 to 1.0"),
  ],
)
def test_refused(mining, message):
  with pytest.raises(ValueError) as error:
    validation.check_task(config(**mining))
  assert str(error.value) == message


@pytest.mark.parametrize(
  "mining",
  [
    {},
    {"mode": "self_mining", "views": 1},
    {"mode": "joint", "views": 1},
    {"warmup_score_threshold": 0.7},  # Without a warm-up it means nothing.
    {"ignore_band": 0.8},
    {"mode": "joint", "views": 1, "unlabelled": {"mask_proposals": True, "mask_anchors": True}},
    {"unlabelled": {"consistency_loss_weight": 1.0, "shared_proposals": True}},
  ],
)
def test_accepted(mining):
  validation.check_task(config(**mining))


@pytest.mark.parametrize(
  ("name", "detector"),
  [(experiments.CO_MINING, "faster_rcnn"), (experiments.RFCN_CO_MINING, "rfcn")],
)
def test_experiments(name, detector):
  params = loading.load_experiment(name)
  assert isinstance(params.task, co_mining.CoMining)
  for part in ("task", "trainer", "runtime"):
    fields.check(getattr(params, part), part)
  # But for the head and mining, it is the paper's main row.
  expected = experiments.mtl_frcnn().as_dict()
  expected["task"]["roi_head"]["type"] = detector
  expected["task"]["mining"] = co_mining.Mining().as_dict()
  assert params.as_dict() == expected


@pytest.mark.parametrize("name", [experiments.DEFAULT, experiments.RFCN_CO_MINING])
def test_a_run_is_read_whatever_its_experiment(name, tmp_path):
  params = loading.load_experiment(name, None, "task: {seed: 7}")
  path = tmp_path / "params.yaml"
  path.write_text(yaml.safe_dump(params.as_dict()))
  found = loading.load_run(str(path))
  assert type(found.task) is type(params.task)
  assert found.as_dict() == params.as_dict()


@pytest.mark.parametrize(
  ("roi_head", "reason"),
  [
    ({"type": "rfcn"}, "task.roi_head.type is 'rfcn'"),
    ({"type": "fpn", "cascade": {"enabled": True}}, "task.roi_head.cascade.enabled is true"),
  ],
)
def test_consistency_needs_a_feature_vector_for_each_box(roi_head, reason):
  task = config(unlabelled={"consistency_loss_weight": 0.5})
  task.override({"roi_head": roi_head, "anchors": {"cells": 8.0}})
  with pytest.raises(ValueError, match=r"consistency_loss_weight is 0\.5") as error:
    co_mining.check(task)
  assert str(error.value).endswith(f"accepted: 0 where {reason}")
  task.override(
    {"mining": {"unlabelled": {"consistency_loss_weight": 0.0, "mask_proposals": True}}}
  )
  co_mining.check(task)
