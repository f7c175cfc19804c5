"""A detector with a cascade through everything that a run does."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from mtl_ssl_tf.checkpoints import pretrained
from mtl_ssl_tf.configs import experiments
from mtl_ssl_tf.labels import annotated_classes
from mtl_ssl_tf.tasks import (
  auxiliary_costs,
  co_mining,
  mining_measures,
  mtl_detection,
  training_losses,
)
from tests.tasks import compiled_step_test, fpn_task_test, tiny
from tests.training import kill_training

CASCADE = {
  **fpn_task_test.FPN,
  "roi_head": {**fpn_task_test.FPN["roi_head"], "cascade": {"enabled": True}},
}
LATER = ["roi_class_2", "roi_box_2", "roi_class_3", "roi_box_3"]
LOSSES = [*tiny.LOSSES, *LATER]


@pytest.fixture(name="run", scope="module")
def _run(folder):
  """A task with all heads, a model and a step."""
  return compiled_step_test.Run(folder, False, **CASCADE)


def test_a_step_trains_every_stage(folder, run):
  del folder
  losses = run.losses()
  assert set(losses) == {"loss", "dropped_boxes", *LOSSES}
  assert all(np.isfinite(value) for value in losses.values())
  assert all(losses[name] > 0.0 for name in LATER if "class" in name)
  total = sum(losses[name] for name in LOSSES)
  assert losses["loss"] == pytest.approx(total, rel=1e-5)
  changed = {
    variable.name
    for variable, before in zip(run.model.variables, run.before, strict=True)
    if np.any(variable.numpy() != before)
  }
  for i in (1, 2, 3):
    for layer in ("stage2/fc6/dense", "stage2/fc7/dense", "class"):
      assert f"box_head/stage_{i}/{layer}/kernel:0" in changed
  names = {metric.name for metric in run.task.build_metrics()}
  assert names == {*LOSSES, "dropped_boxes"}


def test_weight_decay_counts_each_stage(run):
  model, regularization = run.model, run.task.task_config.regularization
  regularization = type(regularization)(backbone_l2=0.0, rpn_l2=0.0, head_l2=2.0, auxiliary_l2=0.0)
  found = mtl_detection.training_losses.weight_decay(model, regularization)
  kernels = [
    kernel for head in model.main_heads for kernel in (head.classifier.kernel, head.box.kernel)
  ]
  assert float(found) == pytest.approx(sum(np.sum(k.numpy() ** 2) for k in kernels), rel=1e-4)


def test_validation_has_figures_and_losses(folder):
  fields = {**CASCADE, "evaluation": {"losses": True}}
  task = mtl_detection.MtlDetectionTask(tiny.experiment(folder, {"task": fields}).task)
  model = task.build_model()
  batch = next(iter(task.build_inputs(task.task_config.validation_data)))
  logs = task.validation_step(batch, model)
  assert logs["detection_boxes_orig"].shape == (2, 10, 4)
  for name in LOSSES:
    assert np.all(np.isfinite(logs[f"validation/{name}_loss"])), name
  # Detections by unrefined scores lie on the same boxes.
  outputs = model(batch[0], batch[1]["image_size_px"])
  scale = batch[1]["image_info"][:, 2].numpy()
  expected = outputs["detection_boxes_px"].numpy() / np.tile(scale, [1, 2])[:, None]
  np.testing.assert_allclose(logs["detection_boxes_orig"], expected, atol=1e-3)
  first = model.first_stage(batch[0], batch[1]["image_size_px"])
  _, _, deltas = model.score_proposals(first, batch[1]["image_size_px"])
  unrefined = model.detect(
    outputs["class_logits"],
    deltas,
    outputs["proposals_px"],
    outputs["proposals_valid"],
    batch[1]["image_size_px"],
  )
  expected = unrefined["detection_boxes_px"].numpy() / np.tile(scale, [1, 2])[:, None]
  np.testing.assert_allclose(logs["unrefined/detection_boxes_orig"], expected, atol=1e-3)


def test_refinement_learns_of_the_classes_that_its_own_boxes_are_annotated_for(folder, monkeypatch):
  experiment = tiny.experiment(folder, {"task": CASCADE})
  task = mtl_detection.MtlDetectionTask(experiment.task)
  model = task.build_model()
  refinement_loss, asked, refined = training_losses._refinement_loss, [], []

  def refine(*args):
    refined.append((asked[-1], args[4].boxes_px))
    return refinement_loss(*args)

  monkeypatch.setattr(annotated_classes, "of_boxes", lambda labels, boxes: asked.append(boxes))
  monkeypatch.setattr(training_losses, "_refinement_loss", refine)
  batch = next(iter(task.build_inputs(task.task_config.train_data)))
  task.train_step(batch, model, tf_keras.optimizers.SGD(0.0))
  ((masked, boxes_px),) = refined
  np.testing.assert_array_equal(masked, boxes_px)
  assert np.abs(asked[0] - boxes_px).max() > 0.01  # The cascade moved them.


def test_costs_are_of_auxiliary_parts_on_the_last_boxes(folder, run):
  del folder
  images, labels = next(run.batches)
  found = auxiliary_costs.measure_milliseconds(run.model, images, labels["image_size_px"])
  assert set(found) == {"multi_object", "closeness", "foreground", "refinement"}


@pytest.mark.slow
def test_the_step_compiles_whole(folder):
  plain = compiled_step_test.Run(folder, False, **CASCADE)
  compiled = compiled_step_test.Run(folder, True, **CASCADE)
  compiled_step_test.assert_same_losses(compiled.losses(), plain.losses(), LOSSES)
  compiled_step_test.assert_same_update(compiled.update(), plain.update())


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_mixed_precision(folder, precision):
  experiment = tiny.experiment(folder, {"task": CASCADE})
  task = mtl_detection.MtlDetectionTask(experiment.task, crop_method="matmul", precision=precision)
  model = task.build_model()
  optimizer = task.create_optimizer(experiment.trainer.optimizer_config, experiment.runtime)
  images, labels = next(iter(task.build_inputs(task.task_config.train_data)))
  losses = task.train_step((images, labels), model, optimizer)
  assert {value.dtype for value in losses.values()} == {tf.float32}
  assert all(np.isfinite(value) for value in losses.values())
  first = model.first_stage(images, labels["image_size_px"], training=True)
  boxes_px = first.proposals.boxes_px
  second = model.box_stage(first.features, boxes_px, labels["image_size_px"])
  assert {value.dtype for value in tf.nest.flatten(second)} == {tf.float32}
  assert {variable.dtype for variable in model.variables} == {tf.float32}
  assert {head.stage2.compute_dtype for head in model.main_heads} == {precision}
  # Boxes keep their bits on their way through the stages.
  np.testing.assert_allclose(second.cascade[0].boxes_px, boxes_px, atol=1e-4)


@pytest.fixture(name="trained", scope="module")
def _trained(folder, tmp_path_factory):
  """The folder of a run of four steps."""
  model_dir = tmp_path_factory.mktemp("cascade") / "run"
  fpn_task_test.train(folder, model_dir, 4, CASCADE)
  return model_dir


@pytest.mark.slow
def test_a_run_resumes_bit_for_bit(folder, trained, tmp_path):
  fpn_task_test.train(folder, tmp_path, 2, CASCADE)
  fpn_task_test.train(folder, tmp_path, 4, CASCADE)
  assert kill_training.differences(trained, tmp_path) == []


@pytest.mark.slow
def test_a_run_is_exported_and_served(trained, tmp_path):
  fpn_task_test.check_export(trained, tmp_path / "exported")


@pytest.mark.slow
def test_a_checkpoint_initialises_another_detector(folder, trained):
  fields = {**CASCADE, **fpn_task_test.FEW_HEADS}
  task = mtl_detection.MtlDetectionTask(tiny.experiment(folder, {"task": fields}).task)
  model = task.build_model()
  report = pretrained.load(model, str(trained), "--init")
  assert report.missing == report.unused == []
  names = {name.split("/")[0] for name in report.loaded}
  stages = {f"SecondStageFeatureExtractor{suffix}" for suffix in ("", "_1", "_2")}
  assert {*stages, "SecondStageBoxPredictor_2", "FeaturePyramid"} <= names
  report = pretrained.load(model, str(trained), "--init", modules="backbone")
  names = {name.split("/")[0] for name in report.loaded}
  assert names == {"FirstStageFeatureExtractor", "FeaturePyramid", *stages}


def test_boxes_are_mined_on_it(folder):
  mining = {"score_threshold": 0.4, "num_slots": 3, "same_class_iou": 1.0, "any_class_iou": 1.0}
  params = tiny.experiment(folder, {"task": {**CASCADE, "mining": mining}}, experiments.CO_MINING)
  task = co_mining.CoMiningTask(params.task)
  model = task.build_model()
  for head in model.main_heads:
    head.classifier.bias.assign([0.0, 0.0, 9.0])  # Every place is a dog.
  optimizer = task.create_optimizer(params.trainer.optimizer_config, params.runtime)
  batch = next(iter(task.build_inputs(task.task_config.train_data)))
  logs = task.train_step(batch, model, optimizer)
  assert np.isfinite(float(logs["loss"]))
  assert float(logs[mining_measures.BOXES]) > 0.0
