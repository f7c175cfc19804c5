"""The table of short trainings; train.py itself is another test's."""

import json
import time

from benchmarks import auxiliary_features
from mtl_ssl_tf.configs import validation
from mtl_ssl_tf.training import driver


def test_every_run_is_configured_as_it_says():
  for data, (_, steps, _) in auxiliary_features.DATA.items():
    name = {"scenes": "demo", "bccd": "bccd"}[data]
    for variant in auxiliary_features.VARIANTS:
      params = driver.load_experiment(
        "mtl_frcnn",
        [str(auxiliary_features.ROOT / f"configs/experiments/{name}_frcnn_mobilenet_mtl.yaml")],
        auxiliary_features.overrides(data, variant, 2),
      )
      validation.check_task(params.task)
      assert params.task.seed == params.task.train_data.seed == 2
      assert params.trainer.train_steps == params.trainer.validation_interval == steps
      features = {"shared_map": "shared_map", "main_head": "main_head"}
      assert params.task.auxiliary.features == features.get(variant, "own_stage2")
      assert params.task.refinement.enabled == (variant != "baseline")
      assert (params.task.auxiliary.closeness.loss_weight > 0) == (
        variant not in ("task1", "baseline")
      )
  assert params.task.validation_data.input_size == [240, 320]


def test_a_run_counts_once_it_is_finished(tmp_path):
  assert auxiliary_features.result(tmp_path, "scenes") is None
  (tmp_path / "evaluation-600.json").write_text(json.dumps({auxiliary_features.METRIC: 0.5}))
  assert auxiliary_features.result(tmp_path, "scenes") == 50.0


def test_trainings_have_a_processor_each(tmp_path, monkeypatch, capsys):
  busy, most = set(), []

  def train(folder, data, variant, seed, processor):
    assert processor not in busy
    busy.add(processor)
    most.append(len(busy))
    time.sleep(0.1)
    busy.remove(processor)
    return 3 if variant == "task1" else 0

  monkeypatch.setattr(auxiliary_features, "train", train)
  runs = {tmp_path / name: ("scenes", name, 0) for name in ("own_stage2", "shared_map", "baseline")}
  assert auxiliary_features.train_all(runs, [4, 7])
  assert max(most) == 2
  assert len(capsys.readouterr().out.splitlines()) == 3
  assert not auxiliary_features.train_all({tmp_path / "task1": ("scenes", "task1", 0)}, [4])
  assert "[1/1] task1: failed with 3: " in capsys.readouterr().out


def test_table():
  lines = auxiliary_features.table(
    {
      ("scenes", "own_stage2"): [70.0, 72.0, 74.0],
      ("scenes", "shared_map"): [75.0, 78.0, 81.0],
      ("bccd", "shared_map"): [60.0],
    }
  ).splitlines()
  assert lines[2] == "| scenes | own_stage2 | 3 | 72.0 ± 2.0 |  |  |"
  # Deviations 2 and 3 make one of 3.6.
  assert lines[3] == "| scenes | shared_map | 3 | 78.0 ± 3.0 | +6.0 | +1.7 |"
  assert lines[4] == "| bccd | shared_map | 1 | 60.0 |  |  |"
