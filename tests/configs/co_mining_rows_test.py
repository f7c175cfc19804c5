"""The rows of Co-mining: what each says of itself, and what it resolves to."""

import pathlib
from typing import Any, NamedTuple

import pytest
import tensorflow as tf
import yaml

from mtl_ssl_tf import registry_imports  # noqa: F401
from mtl_ssl_tf.configs import experiments, validation
from mtl_ssl_tf.data.sparse import protocols
from mtl_ssl_tf.modeling import factory
from mtl_ssl_tf.training import driver
from tests.configs import rows_test

REPOSITORY = pathlib.Path(__file__).parents[2]
CONFIGS = REPOSITORY / "configs"
FILES = sorted(CONFIGS.glob("experiments/co_mining/*.yaml"))
README = (CONFIGS / "README.md").read_text()
DETECTORS = {"frcnn": "Faster R-CNN", "rfcn": "R-FCN"}
TASKS = {"baseline": False, "mtl": True}


class Set(NamedTuple):
  """A training set: its protocol, and the paper's AP of RetinaNet and FCOS by arm.

  Attributes:
    protocol: that makes it.
    paper: each detector's figures of Co-mining, joint and plain training.
  """

  protocol: protocols.Protocol
  paper: dict[str, tuple[float, ...]]


# Tables 1 and 5 of the paper, and table 6 for 50miss, whose RetinaNet has ResNet-101.
SETS = {
  "easy": Set(
    protocols.Protocol("easy"), {"RetinaNet": (35.4, 33.8, 33.4), "FCOS": (37.6, 36.8, 36.3)}
  ),
  "hard": Set(
    protocols.Protocol("hard"), {"RetinaNet": (31.8, 30.6, 30.4), "FCOS": (34.4, 33.5, 33.2)}
  ),
  "extreme": Set(
    protocols.Protocol("extreme"), {"RetinaNet": (23.0, 21.2, 20.9), "FCOS": (23.1, 22.8, 22.1)}
  ),
  "50miss": Set(protocols.Protocol("miss", "0.5"), {"RetinaNet": (33.9, 23.7)}),
}
# On the hard set: the fields that differ from its row, and the paper's AP of RetinaNet with
# ResNet-50, tables 2 to 4; None diverged.
NO_COLORS = {"augmentation.probability": 0.0}
ABLATIONS = {
  "tau40": ({"score_threshold": 0.4}, None),
  "tau50": ({"score_threshold": 0.5}, 30.6),
  "tau60": ({"score_threshold": 0.6}, 31.8),
  "tau70": ({"score_threshold": 0.7}, 30.7),
  "no_augmentation": (NO_COLORS, 30.6),
  "blur": ({**NO_COLORS, "augmentation.blur_probability": 0.8}, 31.2),
  "self_mining": ({"mode": "self_mining", "views": 1}, 30.9),
  "joint": ({"mode": "joint"}, 30.6),
}
PLAIN = "plain"
ROWS = [f"{s}_{detector}_{tasks}" for s in SETS for detector in DETECTORS for tasks in TASKS]
ABLATED = {
  f"hard_{detector}_{tasks}_{name}": (f"hard_{detector}_{tasks}", name)
  for detector in DETECTORS
  for tasks in TASKS
  for name in (*ABLATIONS, PLAIN)
}
# Row -> the row that it shares all but its training records with.
SMALL = {
  "bccd_hard": "bccd_frcnn_mobilenet_mtl",
  "bccd_extreme": "bccd_frcnn_mobilenet_mtl",
  "scenes_50miss": "demo_frcnn_mobilenet_mtl",
}


def flags(name: str) -> dict[str, str]:
  return rows_test.flags_of(CONFIGS / "flags" / "co_mining" / f"{name}.flags")


def load(name: str):
  """The experiment as its flagfile starts it."""
  given = flags(name)
  return driver.load_experiment(given["experiment"], [str(REPOSITORY / given["config_file"])])


def card(name: str) -> str:
  return rows_test.card(f"co_mining/{name}")


def fields(params) -> dict[str, Any]:
  return rows_test.flatten(params.as_dict())


def test_every_row_is_there():
  assert {path.stem for path in FILES} == {*ROWS, *ABLATED, *SMALL}
  assert len(ROWS) == 16
  assert len(ABLATED) == 36
  assert {path.stem for path in CONFIGS.glob("flags/co_mining/*.flags")} == {
    path.stem for path in FILES
  }


@pytest.mark.parametrize("name", [path.stem for path in FILES])
def test_flagfile_and_command(name):
  expected = "mtl_rfcn_co_mining" if "_rfcn_" in name else "mtl_frcnn_co_mining"
  if name.endswith(f"_{PLAIN}"):
    expected = "mtl_frcnn"
  assert flags(name) == {
    "experiment": expected,
    "config_file": f"configs/experiments/co_mining/{name}.yaml",
    "mode": "train_and_eval",
  }
  text = card(name)
  assert f" python train.py --flagfile=configs/flags/co_mining/{name}.flags " in text
  assert text.endswith(f" --model_dir=runs/co_mining_{name}")
  assert "ot measured yet" in text
  assert f"flags/co_mining/{name}.flags" in README
  params = load(name)
  validation.check_task(params.task)
  validation.check_trainer(params.trainer)


@pytest.mark.parametrize("name", ROWS)
def test_row(name):
  set_name, detector, tasks = name.split("_")
  params, like = load(name), fields(rows_test.load(f"coco17_frcnn_resnet101_{tasks}"))
  task = params.task
  assert task.train_data.input_path == f"data/coco17/train_{set_name}-*.tfrecord"
  # The name that `sparse_annotations` gives the split.
  assert SETS[set_name].protocol.title == set_name
  assert task.mining == experiments.mtl_frcnn_co_mining().task.mining
  # All else is the row of COCO that sees all annotations, but for what R-FCN has of its own.
  own = {"task.train_data.input_path"}
  if detector == "rfcn":
    own |= {f"task.roi_head.{name}" for name in ("type", "crop_size", "max_pool", "initializer")}
    assert task.roi_head.type == "rfcn"
  found = {field: value for field, value in fields(params).items() if ".mining." not in field}
  assert {field for field in like if found[field] != like[field]} == own
  assert found.keys() == like.keys()


@pytest.mark.parametrize("name", ROWS)
def test_card_says_that_the_paper_has_no_two_stage_detector(name):
  set_name, detector, tasks = name.split("_")
  text = card(name)
  assert text.startswith(f"Co-mining, {DETECTORS[detector]}, ResNet-101, COCO17 train with ")
  assert ("no auxiliary task" in text) != TASKS[tasks]
  assert "Paper, AP@[.5:.95] on COCO17 val, of no two-stage detector: RetinaNet " in text
  for paper_detector, figures in SETS[set_name].paper.items():
    after = text.split(f" {paper_detector} ", 1)[1]
    found = [after.index(f"{figure}") for figure in figures]
    assert found == sorted(found), text
  assert ("both with ResNet-50." in text) == (set_name != "50miss")


@pytest.mark.parametrize("name", ABLATED)
def test_ablation(name):
  row, ablation = ABLATED[name]
  before, after = fields(load(row)), fields(load(name))
  changed = {field: value for field, value in after.items() if value != before.get(field)}
  if ablation == PLAIN:
    mining = {field for field in before if field.startswith("task.mining.")}
    assert before.keys() - after.keys() == mining
    assert changed == {}
    return
  assert changed == {f"task.mining.{field}": v for field, v in ABLATIONS[ablation][0].items()}
  assert before.keys() == after.keys()
  figure = ABLATIONS[ablation][1]
  assert ("diverges" if figure is None else f"RetinaNet with ResNet-50 {figure}") in card(name)


@pytest.mark.parametrize("name", SMALL)
def test_small_row_differs_in_its_records_alone(name):
  before, after = fields(rows_test.load(SMALL[name])), fields(load(name))
  assert {field for field in before if after[field] != before[field]} == {
    "task.train_data.input_path"
  }
  assert load(name).task.mining == experiments.mtl_frcnn_co_mining().task.mining
  set_name = name.split("_")[1]
  protocol = SETS[set_name].protocol
  command = f"--protocol {protocol.name}"
  if protocol.share:
    command += f" --share {protocol.share}"
  assert "python -m mtl_ssl_tf.data.sparse_annotations --input_dir " in card(name)
  assert f"{command} python train.py" in card(name)
  assert f"_{protocol.title}-" in after["task.train_data.input_path"]


def test_files_are_cards_and_parts():
  for path in FILES:
    values = yaml.safe_load(path.read_text())
    if path.stem not in SMALL:
      assert set(values) == {"base"}
    for base in values["base"]:
      assert (path.parent / base).is_file()


def test_readme_says_whose_figures_they_are():
  section = README.split("## Co-mining", 1)[1].split("\n## ", 1)[0]
  assert "RetinaNet and FCOS" in section
  for name, (_, paper) in SETS.items():
    (line,) = [line for line in section.splitlines() if line.startswith(f"| `{name}` |")]
    assert f"{name}_frcnn_baseline.flags" in line
    for figures in paper.values():
      assert all(f"{figure}" in line for figure in figures)
  for name, (_, figure) in ABLATIONS.items():
    (line,) = [line for line in section.splitlines() if f"hard_frcnn_mtl_{name}.flags" in line]
    assert ("diverges" if figure is None else f"| {figure} |") in line


@pytest.mark.parametrize("name", ["hard_rfcn_mtl", "hard_rfcn_baseline"])
def test_model_of_rfcn_on_coco_is_built(name):
  task = load(name).task
  task.override({"auxiliary": {"init_from": "random"}}, is_strict=True)
  with tf.Graph().as_default():
    model = factory.build_detector(task, num_classes=81)
  assert (model.refiner is not None) == task.refinement.enabled
