"""A detector on a feature pyramid through everything that a run does."""

import numpy as np
import pytest
import tensorflow as tf

import mtl_ssl_tf
from mtl_ssl_tf.checkpoints import pretrained
from mtl_ssl_tf.configs import experiments
from mtl_ssl_tf.serving import export_lib
from mtl_ssl_tf.tasks import co_mining, detection_settings, mining_measures, mtl_detection
from mtl_ssl_tf.training import driver
from tests.modeling import small_fpn
from tests.tasks import compiled_step_test, tiny
from tests.training import kill_training

FPN = {
  "backbone": {"norm": {"type": "group"}},
  "fpn": {"depth": 8, "min_level": 3, "max_level": 6},
  "anchors": {"cells": 4.0, "level_scales": [1.0, 1.5]},
  "roi_head": {
    "type": "fpn",
    "crop_size": 3,
    "fpn": {"dense_depth": 16, "canonical_size_px": 32.0},
  },
}
# Whole runs have few heads, which are traced sooner.
FEW_HEADS = {
  "auxiliary": {
    "features": "main_head",
    "closeness": {"loss_weight": 0.0},
    "foreground": {"loss_weight": 0.0},
  },
  "refinement": {"enabled": False},
}


def with_fpn(**fields):
  return {**FPN, **fields}


@pytest.fixture(name="run", scope="module")
def _run(folder):
  """A task with all heads, a model and a step."""
  return compiled_step_test.Run(folder, False, **FPN)


def test_a_step_trains_every_part(folder, run):
  del folder
  losses = run.losses()
  assert set(losses) == {"loss", "dropped_boxes", *tiny.LOSSES}
  assert all(np.isfinite(value) for value in losses.values())
  changed = [
    variable.name
    for variable, before in zip(run.model.variables, run.before, strict=True)
    if np.any(variable.numpy() != before)
  ]
  for part in (
    "stage1/conv",
    "block",
    "lateral_3",
    "lateral_5",
    "output_4",
    "rpn/conv",
    "fc6",
    "fc7",
  ):
    names = [variable.name for variable in run.model.trainable_variables if part in variable.name]
    if names:
      assert set(names) & set(changed), part
  trained = {variable.name for variable in run.model.trainable_variables}
  # Where every box is cropped from one level, the others' last convolutions still have anchors.
  assert len(trained & set(changed)) > 0.9 * len(trained)


def test_validation_has_figures_and_losses(folder):
  fields = with_fpn(evaluation={"losses": True})
  task = mtl_detection.MtlDetectionTask(tiny.experiment(folder, {"task": fields}).task)
  model = task.build_model()
  batch = next(iter(task.build_inputs(task.task_config.validation_data)))
  logs = task.validation_step(batch, model)
  assert logs["detection_boxes_orig"].shape == (2, 10, 4)
  assert logs["auxiliary/foreground_probabilities"].shape == (2, 16, 16)
  for name in tiny.LOSSES:
    assert np.all(np.isfinite(logs[f"validation/{name}_loss"])), name


@pytest.mark.slow
def test_the_step_compiles_whole(folder):
  plain = compiled_step_test.Run(folder, False, **FPN)
  compiled = compiled_step_test.Run(folder, True, **FPN)
  compiled_step_test.assert_same_losses(compiled.losses(), plain.losses())
  compiled_step_test.assert_same_update(compiled.update(), plain.update())


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_mixed_precision(folder, precision):
  experiment = tiny.experiment(folder, {"task": FPN})
  task = mtl_detection.MtlDetectionTask(experiment.task, crop_method="matmul", precision=precision)
  model = task.build_model()
  optimizer = task.create_optimizer(experiment.trainer.optimizer_config, experiment.runtime)
  images, labels = next(iter(task.build_inputs(task.task_config.train_data)))
  losses = task.train_step((images, labels), model, optimizer)
  assert {value.dtype for value in losses.values()} == {tf.float32}
  assert all(np.isfinite(value) for value in losses.values())
  first = model.first_stage(images, labels["image_size_px"], training=True)
  maps = tf.nest.flatten((first.features, first.rpn.features))
  assert {m.dtype.name for m in maps} == {precision}
  assert {first.rpn.logits.dtype, first.rpn.deltas.dtype} == {tf.float32}
  second = model.box_stage(first.features, first.proposals.boxes_px, labels["image_size_px"])
  assert {value.dtype for value in tf.nest.flatten(second)} == {tf.float32}
  assert {variable.dtype for variable in model.variables} == {tf.float32}


def train(folder, model_dir, train_steps, fields=None):
  """Trains with these fields of the task, or those of a pyramid, and few heads."""
  override = {
    "task": {**(fields or FPN), "pictures": {"interval": 0}, **FEW_HEADS},
    "trainer": {"train_steps": train_steps, "validation_interval": 4, "checkpoint_interval": 2},
  }
  return driver.run(tiny.experiment(folder, override), "train", str(model_dir))


@pytest.fixture(name="trained", scope="module")
def _trained(folder, tmp_path_factory):
  """The folder of a run of four steps."""
  model_dir = tmp_path_factory.mktemp("fpn") / "run"
  train(folder, model_dir, 4)
  return model_dir


@pytest.mark.slow
def test_a_run_resumes_bit_for_bit(folder, trained, tmp_path):
  train(folder, tmp_path, 2)
  train(folder, tmp_path, 4)
  assert kill_training.differences(trained, tmp_path) == []


def check_export(trained, export_dir):
  """Exports a run, with the comparison that comes before the export appears, and serves it."""
  export_lib.export_run(str(trained), str(export_dir), options=export_lib.Options(raw_outputs=True))
  detector = mtl_ssl_tf.load(str(export_dir))
  found = detector(np.full([48, 64, 3], 90, np.uint8))
  assert found["boxes_px"].shape == (len(found["scores"]), 4)


@pytest.mark.slow
def test_a_run_is_exported_and_served(trained, tmp_path):
  check_export(trained, tmp_path / "exported")


@pytest.mark.slow
def test_a_checkpoint_initialises_another_detector(folder, trained):
  fields = with_fpn(**FEW_HEADS)
  task = mtl_detection.MtlDetectionTask(tiny.experiment(folder, {"task": fields}).task)
  model = task.build_model()
  report = pretrained.load(model, str(trained), "--init")
  assert report.missing == report.unused == []
  names = {name.split("/")[0] for name in report.loaded}
  assert {"FeaturePyramid", "SecondStageFeatureExtractor", "FirstStageBoxPredictor"} <= names
  report = pretrained.load(model, str(trained), "--init", modules="backbone")
  names = {name.split("/")[0] for name in report.loaded}
  assert names == {"FirstStageFeatureExtractor", "FeaturePyramid", "SecondStageFeatureExtractor"}


def test_normalisation_over_replicas_is_refused_before_the_losses():
  config = small_fpn.config({"fpn": {"norm": "sync"}})
  with pytest.raises(
    ValueError, match=r"task\.fpn\.norm is 'sync'; accepted: frozen, group, batch x"
  ):
    detection_settings.check_split(config, "x")
  detection_settings.check_split(small_fpn.config(), "x")


def test_boxes_are_mined_on_it(folder):
  mining = {"score_threshold": 0.4, "num_slots": 3, "same_class_iou": 1.0, "any_class_iou": 1.0}
  params = tiny.experiment(folder, {"task": with_fpn(mining=mining)}, experiments.CO_MINING)
  task = co_mining.CoMiningTask(params.task)
  model = task.build_model()
  (bias,) = [v for v in model.box_head.trainable_variables if v.name.endswith("class/bias:0")]
  bias.assign([0.0, 0.0, 9.0])  # Every place is a dog.
  optimizer = task.create_optimizer(params.trainer.optimizer_config, params.runtime)
  batch = next(iter(task.build_inputs(task.task_config.train_data)))
  logs = task.train_step(batch, model, optimizer)
  assert np.isfinite(float(logs["loss"]))
  assert float(logs[mining_measures.BOXES]) > 0.0
