"""Every file below `configs/` does what it says; the released overlay switches every choice."""

import dataclasses
import pathlib

import pytest
from official.modeling import hyperparams

from mtl_ssl_tf import registry_imports  # noqa: F401
from mtl_ssl_tf.configs import detector, experiments, validation
from mtl_ssl_tf.modeling import factory
from mtl_ssl_tf.training import driver

CONFIGS = pathlib.Path(__file__).parents[2] / "configs"
EXPERIMENTS = sorted(CONFIGS.glob("experiments/*.yaml"))
# The others are of published size: tests/configs/rows_test.py.
SMALL_EXPERIMENTS = [
  CONFIGS / "own_data.yaml",
  *(CONFIGS / "experiments" / f"{name}_frcnn_mobilenet_mtl.yaml" for name in ("bccd", "demo")),
]
PRESETS = sorted(CONFIGS.glob("presets/*.yaml"))
OVERLAYS = sorted(CONFIGS.glob("overlays/*.yaml"))
FLAGS = sorted(CONFIGS.glob("flags/*.flags"))
RELEASED = CONFIGS / "overlays" / "released.yaml"

# Where the paper and the released code differ: field -> the paper's value, the released code's.
PAPER_AND_RELEASED = {
  "auxiliary.closeness.include_same_class": (True, False),
  "auxiliary.closeness.drop_background": (False, True),
  "auxiliary.closeness.normalizer": ("batch_positives", "per_image_sum"),
  "auxiliary.foreground.weighting": ("uniform", "inverse_area"),
  "auxiliary.foreground.logit_activation": ("linear", "tanh"),
  "auxiliary.foreground.resize": ("half_pixel", "legacy"),
  "auxiliary.multi_object.sampling": ("top_left", "center_clip"),
  "auxiliary.multi_object.resample": ("online", "offline_fixed"),
  "auxiliary.multi_object.empty_image": ("no_loss", "background"),
  "auxiliary.round_decimals": (None, 3),
  "auxiliary.flip_labels": (True, False),
  "auxiliary.stop_gradient_includes_foreground": (True, False),
  "refinement.stop_gradient_residual": (True, False),
  "refinement.use_bias": (False, True),
  "roi_head.keep_border": (True, False),
  "refinement.closeness_mean": ("per_image_valid", "all_rows"),
  # Not the paper's: all proposals have theirs refined there too.
  "refinement.train_rois": (64, 0),
  "refinement.min_object_score": (0.01, 0.0),
  "regularization.auxiliary_l2": (1e-4, 1e-3),
  "train_data.crowd": ("ignore", "keep"),
}
# Where they agree, or only some of the released configurations differ: field -> the value of both.
SAME = {
  "auxiliary.foreground.head": "conv1x1",
  "auxiliary.multi_object.loss_weight": 1.0,
  "auxiliary.multi_object.num_windows": 64,
  "auxiliary.multi_object.min_size_px": 32.0,
  "auxiliary.closeness.loss_weight": 0.3,
  "auxiliary.foreground.loss_weight": 1.0,
  "auxiliary.init_from": "main_stage2",
  "auxiliary.stop_gradient_shared": False,
  "refinement.loss_weight": 1.0,
  "refinement.num_windows": 5,
  "refinement.input": "logits",
  "evaluation.voc_ap": "area",
  "train_data.difficult": "keep",
  "train_data.short_side": 600,
}


def leaves(config: hyperparams.Config, path: str = "") -> dict:
  """Every field of a configuration by its whole name."""
  found = {}
  for field in dataclasses.fields(config):
    value = getattr(config, field.name)
    if isinstance(value, hyperparams.Config):
      found |= leaves(value, f"{path}{field.name}.")
    else:
      found[path + field.name] = value
  return found


def test_there_are_files():
  assert EXPERIMENTS
  assert FLAGS
  assert RELEASED in OVERLAYS


@pytest.mark.parametrize("path", SMALL_EXPERIMENTS, ids=lambda path: path.stem)
@pytest.mark.parametrize("overlay", [None, *OVERLAYS], ids=lambda path: path and path.stem)
def test_experiment_builds(path, overlay, tmp_path):
  label_map = tmp_path / "label_map.txt"
  label_map.write_text("cat\ndog\n")
  files = [str(file) for file in (path, overlay) if file]
  # Thin layers build faster, and have the same parts.
  thin = (
    f"task: {{label_map: {label_map}, backbone: {{depth_multiplier: 0.125}}, rpn: {{depth: 8}}}}"
  )
  params = driver.load_experiment("mtl_frcnn", files, thin)
  validation.check_task(params.task)
  validation.check_trainer(params.trainer)
  for data in (params.task.train_data, params.task.validation_data):
    assert data.input_path
  model = factory.build_detector(params.task, num_classes=3)
  assert (model.multi_object_head is None) == (params.task.auxiliary.multi_object.loss_weight == 0)
  assert (model.refiner is None) == (not params.task.refinement.enabled)


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_a_short_file_on_a_preset_builds(path, tmp_path):
  (tmp_path / "label_map.txt").write_text("cat\ndog\n")
  own = tmp_path / "own.yaml"
  text = (CONFIGS / "own_data.yaml").read_text()
  assert len(text.splitlines()) <= 12
  text = text.replace("presets/small_data_fpn.yaml", str(path)).replace("data/mine", str(tmp_path))
  own.write_text(text)
  params = driver.load_experiment("mtl_frcnn", [str(own)])
  validation.check_task(params.task)
  validation.check_trainer(params.trainer)
  assert params.task.train_data.input_path.startswith(str(tmp_path))
  assert params.trainer.optimizer_config.learning_rate.cosine.decay_steps == 1200
  assert factory.build_detector(params.task, num_classes=3).rpn is not None


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_schedule_ends_with_the_run(path):
  trainer = driver.load_experiment("mtl_frcnn", [str(path)]).trainer
  schedule = trainer.optimizer_config.learning_rate.get()
  assert getattr(schedule, "decay_steps", trainer.train_steps) == trainer.train_steps
  assert all(step < trainer.train_steps for step in getattr(schedule, "boundaries", ()))


@pytest.mark.parametrize("path", FLAGS, ids=lambda path: path.stem)
def test_flagfile_names_existing_files(path):
  lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
  values = dict(line.removeprefix("--").split("=", 1) for line in lines)
  assert set(values) == {"config_file", "mode"}
  assert (CONFIGS.parent / values["config_file"]).is_file()
  assert values["mode"] in driver.MODES
  driver.load_experiment("mtl_frcnn", [str(CONFIGS.parent / values["config_file"])])


def test_released_overlay_changes_every_choice_and_nothing_else():
  paper = leaves(detector.MtlDetection())
  released = leaves(driver.load_experiment("mtl_frcnn", [str(RELEASED)]).task)
  changed = {name: (paper[name], value) for name, value in released.items() if value != paper[name]}
  assert changed == PAPER_AND_RELEASED


@pytest.mark.parametrize(("name", "value"), SAME.items())
def test_defaults_are_the_papers(name, value):
  assert leaves(detector.MtlDetection())[name] == value


def test_published_schedule():
  # Faster R-CNN on VOC07: 1e-3, after 260 000 steps 1e-4, after 280 000 steps 1e-5.
  trainer = experiments.mtl_frcnn().trainer
  schedule = trainer.optimizer_config.learning_rate.get()
  assert schedule.boundaries == [260_000, 280_000]
  assert schedule.values == [1e-3, 1e-4, 1e-5]
  optimizer = trainer.optimizer_config.optimizer.get()
  assert (optimizer.momentum, optimizer.clipnorm) == (0.9, 10.0)


def test_instances_share_nothing():
  first, second = experiments.mtl_frcnn(), experiments.mtl_frcnn()
  first.task.rpn.depth = 7
  first.task.anchors.scales.append(9.0)
  assert second.task.rpn.depth == 512
  assert 9.0 not in second.task.anchors.scales
