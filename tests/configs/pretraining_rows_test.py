"""The rows of pretraining: cards, flagfiles, and what they say of the published settings."""

import pathlib

import pytest
import yaml

from mtl_ssl_tf import registry_imports  # noqa: F401
from mtl_ssl_tf.configs import insloc as insloc_config
from mtl_ssl_tf.configs import loading, validation
from tests.configs import rows_test

FOLDER = rows_test.CONFIGS / "pretraining"
ROWS = sorted(FOLDER.glob("*.yaml"))
# Name -> backbone, epochs of ImageNet, whether boxes are augmented.
PUBLISHED = {
  "insloc_resnet50_200": ("resnet_50", 200, True),
  "insloc_resnet50_200_exact_boxes": ("resnet_50", 200, False),
  "insloc_resnet50_400": ("resnet_50", 400, True),
  "insloc_resnet50_400_exact_boxes": ("resnet_50", 400, False),
  "insloc_resnet101_200": ("resnet_101", 200, True),
  "insloc_mobilenet_200": ("mobilenet_v1", 200, True),
  "insloc_incresv2_200": ("inception_resnet_v2", 200, True),
  "insloc_resnet50_fpn_200": ("resnet_50", 200, True),
  "insloc_resnet50_fpn_400": ("resnet_50", 400, True),
}
STEPS_OF_AN_EPOCH = 5005


def load(path: pathlib.Path):
  return loading.load_experiment("insloc", [str(path)])


@pytest.mark.parametrize("path", ROWS, ids=lambda path: path.stem)
def test_a_row_is_accepted_and_has_its_card_and_flagfile(path):
  params = load(path)
  insloc_config.check(params.task, params.trainer)
  validation.check_trainer(params.trainer)
  validation.check_runtime(params.runtime)
  flags = rows_test.flags_of(path.with_suffix(".flags"))
  assert rows_test.REPOSITORY / flags.pop("config_file") == path
  assert flags == {"experiment": "insloc", "mode": "train"}
  text = path.read_text()
  assert f"--flagfile=configs/pretraining/{path.stem}.flags " in text
  assert "not measured" in text.split("\ntask:")[0]
  assert f"[`{path.stem}.flags`](pretraining/{path.stem}.flags)" in rows_test.README
  rate = params.trainer.optimizer_config.learning_rate.cosine
  assert rate.decay_steps == params.trainer.train_steps


def test_every_row_is_known():
  small = {"insloc_mobilenet_small", "insloc_mobilenet_fpn_small"}
  assert {path.stem for path in ROWS} == {*PUBLISHED, *small}
  assert {path.stem for path in FOLDER.glob("*.flags")} == {path.stem for path in ROWS}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_settings(name):
  backbone, epochs, augments = PUBLISHED[name]
  params = load(FOLDER / f"{name}.yaml")
  task, trainer = params.task, params.trainer
  assert task.backbone.type == backbone
  assert task.backbone.norm.type == "batch"
  assert task.box_augmentation.enabled == augments
  assert trainer.train_steps == epochs * STEPS_OF_AN_EPOCH
  assert task.train_data.global_batch_size == 256
  assert (task.queue_size, task.temperature, task.momentum) == (65_536, 0.2, 0.999)
  on_pyramid = "_fpn_" in name
  assert task.head_type == ("fpn" if on_pyramid else "faster_rcnn")
  assert (task.projection_hidden, task.projection_depth) == (1024 if on_pyramid else 2048, 128)
  if on_pyramid:
    assert insloc_config.levels(task) == (2, 3, 4, 5)
    assert (task.fpn.depth, task.fpn.norm, task.crop_size) == (256, "batch", 7)
    head = task.fpn_head
    assert (head.layers, head.conv_depth, head.dense_depth) == ("4conv1fc", 256, 1024)
    assert (head.norm, task.box_augmentation.levels) == ("batch", [5])
  assert (task.weight_decay, task.group_size, task.shuffle) == (1e-4, 32, "batch")
  config = trainer.optimizer_config
  assert config.learning_rate.cosine.initial_learning_rate == 0.03
  assert config.warmup.type is None
  sgd = config.optimizer.get()
  assert (config.optimizer.type, sgd.momentum, sgd.nesterov) == ("sgd", 0.9, True)
  assert sgd.clipnorm is None


@pytest.mark.parametrize("name", ["insloc_mobilenet_small", "insloc_mobilenet_fpn_small"])
def test_the_small_rows_have_their_rate_by_their_batch(name):
  params = load(FOLDER / f"{name}.yaml")
  trainer = params.trainer
  batch_size = params.task.train_data.global_batch_size
  assert trainer.learning_rate_scaling == "linear"
  rate = trainer.optimizer_config.learning_rate.cosine.initial_learning_rate
  assert rate * batch_size / trainer.base_batch_size == 0.0075
  assert params.task.queue_size == 4096


def test_the_probe_has_two_names(tmp_path):
  path = tmp_path / "own.yaml"
  probe = {"input_path": "a.tfrecord", "short_side": 128}
  path.write_text(yaml.safe_dump({"task": {"probe_data": probe}}))
  found = load(path).task.validation_data
  assert (found.input_path, found.short_side, found.is_training) == ("a.tfrecord", 128, False)
  path.write_text(yaml.safe_dump({"task": {"probe_data": {"short_sides": 3}}}))
  with pytest.raises(ValueError, match=r"unknown field 'task.validation_data.short_sides'"):
    load(path)


def test_the_small_row_on_a_pyramid_fits_its_preset():
  theirs = load(FOLDER / "insloc_mobilenet_fpn_small.yaml").task
  preset = rows_test.CONFIGS / "presets" / "from_scratch_fpn.yaml"
  ours = loading.load_experiment("mtl_frcnn", [str(preset)]).task
  assert ours.backbone.type == theirs.backbone.type
  assert ours.backbone.depth_multiplier == theirs.backbone.depth_multiplier
  assert (ours.fpn.depth, ours.fpn.min_level) == (theirs.fpn.depth, theirs.fpn.min_level)
  assert ours.fpn.norm == theirs.fpn.norm == "batch"
  assert ours.roi_head.crop_size == theirs.crop_size
  head, their_head = ours.roi_head.fpn, theirs.fpn_head
  for field in ("layers", "dense_depth", "canonical_size_px", "samples"):
    assert getattr(head, field) == getattr(their_head, field), field
