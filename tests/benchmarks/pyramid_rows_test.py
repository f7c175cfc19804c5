"""Rows on a pyramid, and the programs that time other projects' detectors beside them."""

import json

import numpy as np
import pytest
import yaml

from benchmarks.cost import experiment, jobs, rows
from benchmarks.peers import cost
from mtl_ssl_tf.configs import loading

ROWS = {name: row for name, row in rows.ROWS.items() if name.startswith("fpn_")}


def loaded(name):
  setup = rows.row_setup(name, "float32")
  path = experiment.config_file(setup.config)
  return setup, loading.load_experiment("mtl_frcnn", [str(path)], yaml.safe_dump(setup.override))


def test_a_configuration_is_found_in_either_folder():
  for name in {row.config for row in rows.ROWS.values()}:
    assert experiment.config_file(name).name == f"{name}.yaml"
  with pytest.raises(ValueError):
    experiment.config_file("nothing")


def test_rows_differ_in_what_they_are_named_for():
  found = {name: loaded(name)[1].task for name in ROWS}
  assert {name: task.roi_head.cascade.enabled for name, task in found.items()} == {
    name: name == "fpn_resnet50_cascade" for name in found
  }
  assert {name: task.refinement.enabled for name, task in found.items()} == {
    name: "mtl" in name for name in found
  }
  for name, task in found.items():
    weights = [getattr(task.auxiliary, part).loss_weight for part in task_names(task)]
    assert weights == ([1.0, 0.3, 1.0] if "mtl" in name else [0.0] * 3)
  assert found["fpn_resnet50_mtl"].auxiliary.features == "own_stage2"
  assert found["fpn_resnet50_mtl_shared_map"].auxiliary.features == "shared_map"


def task_names(task):
  return ("multi_object", "closeness", "foreground")


def test_peers_have_the_same_work():
  for name in ROWS:
    setup, params = loaded(name)
    assert rows.ROWS[name].baseline == "fpn_resnet50_baseline"
    assert (setup.height, setup.width) == (cost.HEIGHT, cost.WIDTH)
    assert (setup.num_classes, setup.num_boxes) == (cost.NUM_CLASSES, cost.NUM_BOXES)
    task = params.task
    assert task.roi_head.type == "fpn" and task.backbone.type == "resnet_50"
    assert task.rpn.num_proposals == cost.NUM_PROPOSALS
    assert task.roi_head.batch_size == cost.NUM_SAMPLED
    assert task.detections.score_threshold == cost.SCORE_THRESHOLD
    # As torchvision's are for fine-tuning.
    assert task.backbone.norm.type == "frozen" and task.backbone.freeze is None
  assert cost.BRANCH_SCALE == experiment._BRANCH_SCALE
  boxes = cost.random_boxes(np.random.default_rng(0), 640, 1024)
  assert boxes.shape == (cost.NUM_BOXES, 4) and boxes.dtype == np.float32
  assert (boxes[:, 2:] > boxes[:, :2]).all() and (boxes >= 0).all()
  assert (boxes[:, [2, 3]] <= [640, 1024]).all() and (boxes[:, 3] > 640).any()


def test_the_line_of_a_peer(capsys):
  calls = []

  def infer():
    calls.append("infer")
    return 300

  def train():
    calls.append("train")
    return 2.5

  cost.report(cost.measure(infer, train, repeats=3))
  # Two that do not count, before the three that do.
  assert calls == ["infer"] * 5 + ["train"] * 5
  line = json.loads(capsys.readouterr().out)
  assert jobs._peer_result(line) == line and line["proposals"] == 300
  assert {"infer_other_cores", "train_other_cores", "infer_peak_mib", "train_peak_mib"} < set(line)


def test_a_peer_that_does_not_train():
  with pytest.raises(FloatingPointError, match="the loss of a training step is nan"):
    cost.measure(lambda: 1, lambda: float("nan"), repeats=1)
