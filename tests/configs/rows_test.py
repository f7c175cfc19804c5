"""The published rows: each file says what the paper and the authors' configurations say of it."""

import json
import pathlib
from typing import Any, NamedTuple

import pytest
import tensorflow as tf
import yaml

from mtl_ssl_tf import registry_imports  # noqa: F401
from mtl_ssl_tf.configs import experiments, validation
from mtl_ssl_tf.modeling import factory
from mtl_ssl_tf.training import driver

REPOSITORY = pathlib.Path(__file__).parents[2]
CONFIGS = REPOSITORY / "configs"
EXPERIMENTS = sorted(CONFIGS.glob("experiments/*.yaml"))
PARTS = sorted(CONFIGS.glob("parts/*/*.yaml"))
README = (CONFIGS / "README.md").read_text()
# The flagfile of an experiment has its name, with this exception.
FLAGFILE = {"demo_frcnn_mobilenet_mtl": "demo"}
# What the names of files abbreviate: in the configuration, and in the table of the rows.
DETECTORS = {"frcnn": ("faster_rcnn", "Faster R-CNN"), "rfcn": ("rfcn", "R-FCN")}
BACKBONES = {
  "resnet101": ("resnet_101", "ResNet-101"),
  "mobilenet": ("mobilenet_v1", "MobileNet v1"),
  "incresv2": ("inception_resnet_v2", "Inception-ResNet v2"),
}


class DataSet(NamedTuple):
  """Records, and values that the published configurations have by data set."""

  label_map: str
  train: str | list[str]
  validation: str
  trained_on: str
  tested_on: str
  metric: str
  batch: int
  crop_size: int
  max_pool: int
  initializer: str
  nms_iou: float


_VOC = ("VOC07 test", "mAP", 1, 7, 1, "truncated_normal", 0.4)
_COCO = ("COCO17 val", "AP@[.5:.95]", 3, 14, 2, "glorot_uniform", 0.6)
DATA_SETS = {
  "voc07": DataSet(
    "data/voc07/label_map.txt",
    "data/voc07/trainval-*.tfrecord",
    "data/voc07/test-*.tfrecord",
    "VOC07 trainval",
    *_VOC,
  ),
  "voc0712": DataSet(
    "data/voc07/label_map.txt",
    ["data/voc07/trainval-*.tfrecord", "data/voc12/trainval-*.tfrecord"],
    "data/voc07/test-*.tfrecord",
    "VOC07+12 trainval",
    *_VOC,
  ),
  "coco17": DataSet(
    "data/coco17/label_map.txt",
    "data/coco17/train-*.tfrecord",
    "data/coco17/val-*.tfrecord",
    "COCO17 train",
    *_COCO,
  ),
}


class Schedule(NamedTuple):
  """Steps at which the learning rate, 1e-3 at first, drops to a tenth, and the last step."""

  boundaries: list[int]
  train_steps: int


class Setting(NamedTuple):
  """A pair of published models.

  Attributes:
    pair: first digit of the models' numbers.
    schedule: of the baseline, and so of all its rows.
    paper: figures of the baseline, +T1, +T2, +T3, +T1,2 and +T1,2,3.
  """

  pair: int
  schedule: Schedule
  paper: tuple[float, float, float, float, float, float]


# Models 11, 41 and 51 are published with their number of steps. The others have no end, and here
# the last rate lasts as long as the one before it.
SETTINGS = {
  "voc07_frcnn_resnet101": Setting(
    1, Schedule([100_000, 130_000], 300_000), (77.0, 78.9, 77.3, 77.0, 78.5, 78.7)
  ),
  "coco17_frcnn_resnet101": Setting(
    2, Schedule([820_000, 900_000], 980_000), (32.7, 34.1, 33.3, 32.9, 34.5, 34.6)
  ),
  "voc0712_frcnn_resnet101": Setting(
    3, Schedule([170_000, 280_000, 310_000], 340_000), (81.7, 83.8, 83.0, 82.0, 83.7, 83.7)
  ),
  "voc07_rfcn_resnet101": Setting(
    4, Schedule([100_000, 120_000, 130_000], 400_000), (73.4, 74.3, 73.5, 73.3, 75.0, 74.7)
  ),
  "voc07_frcnn_mobilenet": Setting(
    5, Schedule([250_000, 300_000], 600_000), (61.2, 63.4, 62.5, 61.3, 63.9, 63.8)
  ),
  "voc07_frcnn_incresv2": Setting(
    6, Schedule([120_000, 135_000], 150_000), (80.7, 81.7, 81.0, 80.6, 81.8, 81.8)
  ),
  "voc0712_rfcn_resnet101": Setting(
    7, Schedule([160_000, 280_000, 350_000], 420_000), (78.6, 80.1, 78.7, 78.4, 80.4, 80.6)
  ),
  "voc0712_frcnn_mobilenet": Setting(
    8, Schedule([500_000, 550_000], 600_000), (68.6, 71.3, 69.3, 68.8, 70.9, 70.8)
  ),
  "voc0712_frcnn_incresv2": Setting(
    9, Schedule([150_000, 190_000, 280_000], 370_000), (84.3, 85.9, 84.8, 84.2, 86.1, 86.0)
  ),
}
# Table 6 of the paper: the tasks alone, refinement alone.
TABLE_6 = {
  "voc07_frcnn_resnet101": (78.0, 78.3),
  "voc0712_frcnn_resnet101": (83.0, 82.7),
}


class Tasks(NamedTuple):
  """Weights of the three auxiliary losses, and what else makes a row of a setting."""

  multi_object: float = 0.0
  closeness: float = 0.0
  foreground: float = 0.0
  refinement: bool = False
  stop_gradient_shared: bool = False


ROWS = {
  "baseline": Tasks(),
  "task1": Tasks(multi_object=1.0, refinement=True),
  "task2": Tasks(closeness=0.3, refinement=True),
  "task3": Tasks(foreground=1.0),
  "task12": Tasks(multi_object=1.0, closeness=0.3, refinement=True),
  "mtl": Tasks(1.0, 0.3, 1.0, refinement=True),
}
TABLE_6_ROWS = {
  "mtl_only": Tasks(1.0, 0.3, 1.0),
  "refinement_only": Tasks(1.0, 0.3, refinement=True, stop_gradient_shared=True),
}
# Name -> setting, row, figure of the paper.
PUBLISHED = {
  f"{setting}_{row}": (setting, row, figure)
  for settings, rows in (
    ({name: setting.paper for name, setting in SETTINGS.items()}, ROWS),
    (TABLE_6, TABLE_6_ROWS),
  )
  for setting, figures in settings.items()
  for row, figure in zip(rows, figures, strict=True)
}
FAST = (
  "voc07_frcnn_resnet101",
  "voc0712_frcnn_resnet101",
  "coco17_frcnn_resnet101",
  "voc07_frcnn_mobilenet",
  "voc07_rfcn_resnet101",
)

# What the released configurations have to themselves, by model: drops and rates, number of steps,
# and fields of the task.
RELEASED = {
  12: ([90_000, 120_000], [1e-3, 1e-4, 1e-5], 150_000, {}),
  22: (
    [820_000, 950_000],
    [1e-5, 1e-5, 1e-5],
    1_080_000,
    {
      "auxiliary.stop_gradient_shared": True,
      "regularization.backbone_l2": 0.0,
      "regularization.rpn_l2": 0.0,
      "regularization.head_l2": 0.0,
      "regularization.auxiliary_l2": 0.0,
    },
  ),
  32: ([165_000, 275_000, 305_000], [1e-3, 1e-4, 1e-5, 1e-5], 335_000, {}),
  42: (
    [125_000, 160_000, 177_720],
    [1e-3, 1e-4, 1e-5, 1e-6],
    195_440,
    {"auxiliary.foreground.loss_weight": 0.2},
  ),
  52: ([260_000, 280_000], [1e-3, 1e-4, 1e-5], 300_000, {}),
  62: ([115_000, 135_000], [1e-3, 1e-4, 1e-5], 155_000, {}),
  72: ([170_000, 280_000, 320_000], [1e-3, 1e-4, 1e-5, 1e-6], 360_000, {}),
  82: ([420_000, 560_000, 700_000], [1e-3, 1e-4, 1e-5, 1e-6], 840_000, {}),
  92: (
    [160_000, 205_000],
    [1e-5, 1e-5, 1e-5],
    250_000,
    {"auxiliary.foreground.loss_weight": 0.3},
  ),
}
RELEASED_FILES = sorted(CONFIGS.glob("overlays/released_schedules/*.yaml"))


def load(name: str, *overlays: pathlib.Path):
  """The experiment of a row, with overlays on top."""
  files = [CONFIGS / "experiments" / f"{name}.yaml", *overlays]
  return driver.load_experiment("mtl_frcnn", [str(file) for file in files])


def flatten(values: dict, path: str = "") -> dict[str, Any]:
  """Every value of a nested mapping by its whole name."""
  found = {}
  for name, value in values.items():
    found |= flatten(value, f"{path}{name}.") if isinstance(value, dict) else {path + name: value}
  return found


def changes(before, after) -> dict[str, Any]:
  """The fields in which the second configuration differs, with its values."""
  old, new = flatten(before.as_dict()), flatten(after.as_dict())
  assert old.keys() == new.keys()
  return {name: value for name, value in new.items() if value != old[name]}


def card(name: str) -> str:
  """The comment that opens a file, as one line."""
  lines = (CONFIGS / "experiments" / f"{name}.yaml").read_text().splitlines()
  first = next(number for number, line in enumerate(lines) if not line.startswith("#"))
  return " ".join(line.lstrip("# ") for line in lines[:first])


def flags_of(path: pathlib.Path) -> dict[str, str]:
  """The flags of a flagfile by name; lines that begin with # are comments."""
  lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
  return dict(line.removeprefix("--").split("=", 1) for line in lines if line)


def table_row(flagfile: str) -> list[str]:
  """The cells of the one line in the table of rows that links to a flagfile with its whole name."""
  link = f"[`{flagfile}.flags`](flags/{flagfile}.flags)"
  (line,) = [line for line in README.splitlines() if link in line]
  return [cell.strip() for cell in line.strip("|").split("|")]


def test_every_published_row_is_there():
  assert set(PUBLISHED) <= {path.stem for path in EXPERIMENTS}
  assert len(PUBLISHED) == 9 * 6 + 2 * 2


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_flagfile_of_its_name(path):
  name = FLAGFILE.get(path.stem, path.stem)
  flags = flags_of(CONFIGS / "flags" / f"{name}.flags")
  assert REPOSITORY / flags.pop("config_file") == path
  assert flags == {"mode": "train_and_eval"}
  assert f"python train.py --flagfile=configs/flags/{name}.flags " in card(path.stem)
  assert f"{name}.flags" in README


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("flags/*.flags")), ids=lambda path: path.stem)
def test_flagfile_is_known(path):
  assert path.name in README
  assert (REPOSITORY / flags_of(path)["config_file"]).is_file()


@pytest.mark.parametrize("name", PUBLISHED)
def test_card(name):
  setting, _, figure = PUBLISHED[name]
  data_set = DATA_SETS[setting.split("_")[0]]
  text = card(name)
  assert f" Paper: {figure} {data_set.metric} on {data_set.tested_on}" in text
  baseline, *_, ours = SETTINGS[setting].paper
  assert str(baseline) in text
  assert str(ours) in text
  assert "not measured yet" in text
  assert text.endswith(f" --init=PATH_OR_imagenet --model_dir=runs/{name}")


@pytest.mark.parametrize("name", PUBLISHED)
def test_row_is_as_published(name):
  setting, row, _ = PUBLISHED[name]
  data, detector, backbone = setting.split("_")
  data_set, schedule = DATA_SETS[data], SETTINGS[setting].schedule
  params = load(name)
  validation.check_task(params.task)
  validation.check_trainer(params.trainer)
  task, trainer = params.task, params.trainer

  assert task.backbone.type == BACKBONES[backbone][0]
  assert task.backbone.freeze is None
  assert task.backbone.norm.type == "frozen"
  assert task.roi_head.type == DETECTORS[detector][0]
  assert (task.roi_head.crop_size, task.roi_head.max_pool, task.roi_head.initializer) == (
    data_set.crop_size,
    data_set.max_pool,
    data_set.initializer,
  )
  if detector == "rfcn":
    rfcn = task.roi_head.rfcn
    assert (rfcn.reduce_depth, rfcn.num_bins, rfcn.crop_size) == (1024, 3, 18)
  assert task.detections.nms_iou == data_set.nms_iou
  assert not task.init_checkpoint

  assert task.label_map == data_set.label_map
  assert task.train_data.input_path == data_set.train
  assert task.train_data.global_batch_size == data_set.batch
  assert task.validation_data.input_path == data_set.validation
  assert task.evaluation.metrics == (["coco"] if data == "coco17" else ["voc"])

  assert trainer.optimizer_config.learning_rate.type == "stepwise"
  rate = trainer.optimizer_config.learning_rate.stepwise
  assert rate.boundaries == schedule.boundaries
  assert rate.values == [1e-3, 1e-4, 1e-5, 1e-6][: len(schedule.boundaries) + 1]
  assert trainer.train_steps == schedule.train_steps
  assert trainer.optimizer_config.warmup.type is None

  tasks, auxiliary = ROWS.get(row) or TABLE_6_ROWS[row], task.auxiliary
  assert tasks == Tasks(
    auxiliary.multi_object.loss_weight,
    auxiliary.closeness.loss_weight,
    auxiliary.foreground.loss_weight,
    task.refinement.enabled,
    auxiliary.stop_gradient_shared,
  )


@pytest.mark.parametrize("name", PUBLISHED)
def test_rows_of_a_setting_differ_in_tasks_and_refinement_alone(name):
  changed = changes(load(f"{PUBLISHED[name][0]}_baseline"), load(name))
  assert all(field.startswith(("task.auxiliary.", "task.refinement.")) for field in changed)
  assert bool(changed) != name.endswith("_baseline")


@pytest.mark.parametrize("name", PUBLISHED)
def test_file_is_a_card_and_its_parts(name):
  setting, row, _ = PUBLISHED[name]
  data, detector, backbone = setting.split("_")
  parts = [
    f"data/{data}",
    f"models/{detector}_{backbone}{'_coco' if data == 'coco17' else ''}",
    f"schedules/model{SETTINGS[setting].pair}1",
  ]
  if row != "mtl":  # Which has what the defaults have.
    parts.append(f"ablations/{row}")
  values = yaml.safe_load((CONFIGS / "experiments" / f"{name}.yaml").read_text())
  assert values == {"base": [f"../parts/{part}.yaml" for part in parts]}


@pytest.mark.parametrize("path", PARTS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_part_holds_only_what_makes_it_different(path):
  assert path.read_text().startswith("# ")
  values = yaml.safe_load(path.read_text())
  defaults = flatten(experiments.mtl_frcnn_co_mining().task.as_dict())
  task = flatten(values.get("task", {}))
  # Every model says its backbone.
  assert task.pop("backbone.type", None) in {backbone for backbone, _ in BACKBONES.values()} | {
    None
  }
  assert [field for field, value in task.items() if value == defaults[field]] == []
  if path.stem.startswith("model"):
    assert set(values) == {"trainer"}
    # The schedule is given whole, so that nothing of another one is left in it.
    assert set(flatten(values["trainer"])) == {
      "train_steps",
      "optimizer_config.learning_rate.stepwise.boundaries",
      "optimizer_config.learning_rate.stepwise.values",
    }


def test_every_part_is_used():
  used = {
    (path.parent / base).resolve()
    for path in CONFIGS.glob("experiments/**/*.yaml")
    for base in yaml.safe_load(path.read_text())["base"]
  }
  assert {path for path in used if path.is_relative_to(CONFIGS / "parts")} == {
    path.resolve() for path in PARTS
  }


@pytest.mark.parametrize("setting", SETTINGS)
def test_readme_has_the_pair(setting):
  data, detector, backbone = setting.split("_")
  data_set, published = DATA_SETS[data], SETTINGS[setting]
  names = [DETECTORS[detector][1], BACKBONES[backbone][1], data_set.trained_on, data_set.tested_on]
  for digit, kind, row, figure in (
    (1, "baseline", "baseline", published.paper[0]),
    (2, "ours", "mtl", published.paper[-1]),
  ):
    model, *cells = table_row(f"{setting}_{row}")
    assert model == f"{published.pair}{digit}"
    assert cells[:6] == [*names, kind, str(figure)]


@pytest.mark.parametrize("name", PUBLISHED)
def test_readme_has_the_ablations(name):
  assert f"[{PUBLISHED[name][2]}](flags/{name}.flags)" in README


@pytest.mark.parametrize("setting", FAST)
def test_fast_preset_is_the_row_with_the_first_task(setting):
  path = CONFIGS / "flags" / f"{setting}_fast.flags"
  assert flags_of(path) == flags_of(CONFIGS / "flags" / f"{setting}_task1.flags")
  assert path.read_text().startswith("# ")
  _, with_first, *_, with_all = SETTINGS[setting].paper
  assert table_row(path.stem)[1:3] == [str(with_first), str(with_all)]


def test_presets_are_known():
  assert {path.stem for path in CONFIGS.glob("flags/*_fast.flags")} == {f"{s}_fast" for s in FAST}


def test_every_model_with_tasks_has_its_released_schedule():
  assert [path.stem for path in RELEASED_FILES] == [f"model{model}" for model in RELEASED]


@pytest.mark.parametrize("model", RELEASED)
def test_released_schedule(model):
  path = CONFIGS / "overlays" / "released_schedules" / f"model{model}.yaml"
  (setting,) = [name for name, setting in SETTINGS.items() if setting.pair == model // 10]
  first_line = path.read_text().splitlines()[0]
  assert first_line.startswith(f"# Model {model} ")
  assert f"{setting}_mtl" in first_line
  boundaries, rates, train_steps, fields = RELEASED[model]
  released = CONFIGS / "overlays" / "released.yaml"
  params = load(f"{setting}_mtl", released, path)
  validation.check_task(params.task)
  validation.check_trainer(params.trainer)
  rate = "trainer.optimizer_config.learning_rate.stepwise"
  expected = {
    f"{rate}.boundaries": boundaries,
    f"{rate}.values": rates,
    "trainer.train_steps": train_steps,
  } | {f"task.{field}": value for field, value in fields.items()}
  # A value may happen to be the row's own, such as the rates of model 12.
  before = load(f"{setting}_mtl", released)
  after = flatten(params.as_dict())
  assert {field: after[field] for field in expected} == expected
  assert changes(before, params).keys() <= expected.keys()


def _model_of(name: str) -> str:
  """What the built model depends on, as text: rows that differ in data or schedule share it."""
  task = load(name).task.as_dict()
  for part in ("label_map", "train_data", "validation_data"):
    del task[part]
  return json.dumps(task, sort_keys=True)


# One row for each model that there is.
MODELS = sorted({_model_of(name): name for name in PUBLISHED}.values())


@pytest.mark.parametrize("name", MODELS)
def test_model_is_built(name):
  task = load(name).task
  # Shapes alone: in a graph that is never run no weight takes memory, nor can one be copied.
  task.override({"auxiliary": {"init_from": "random"}}, is_strict=True)
  with tf.Graph().as_default():
    model = factory.build_detector(task, num_classes=21)
  auxiliary = task.auxiliary
  assert (model.multi_object_head is None) == (auxiliary.multi_object.loss_weight == 0.0)
  assert (model.closeness_head is None) == (auxiliary.closeness.loss_weight == 0.0)
  assert (model.foreground_head is None) == (auxiliary.foreground.loss_weight == 0.0)
  assert (model.refiner is None) == (not task.refinement.enabled)
  if model.refiner is not None:
    # Main logits, five windows and the mean closeness, of the tasks that are there.
    parts = 1 + 5 * (model.multi_object_head is not None) + (model.closeness_head is not None)
    assert model.refiner.linear.kernel.shape == [21 * parts, 21]
  frozen = {v.ref() for v in model.stage1.variables} - {
    v.ref() for v in model.stage1.trainable_variables
  }
  assert bool(frozen)
  if task.backbone.type == "resnet_101":
    stem = model.stage1.named_layers()["conv1"].conv.kernel
    assert stem.ref() in frozen
