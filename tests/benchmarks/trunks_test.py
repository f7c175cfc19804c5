"""The table of short trainings; train.py itself is another test's."""

import json

from benchmarks import trunks
from mtl_ssl_tf.configs import validation
from mtl_ssl_tf.tasks import driver


def test_every_run_is_configured_as_it_says():
  for data, (_, steps, _) in trunks.DATA.items():
    name = {"scenes": "demo", "bccd": "bccd"}[data]
    for variant in trunks.VARIANTS:
      params = driver.load_experiment(
        "mtl_frcnn",
        [str(trunks.ROOT / f"configs/experiments/{name}_frcnn_mobilenet_mtl.yaml")],
        trunks.overrides(data, variant, 2),
      )
      validation.check_task(params.task)
      assert params.task.seed == params.task.train_data.seed == 2
      assert params.trainer.train_steps == params.trainer.validation_interval == steps
      trunk = {"shared_map": "shared_map", "classifier_features": "classifier_features"}
      assert params.task.auxiliary.trunk == trunk.get(variant, "own")
      assert params.task.refinement.enabled == (variant != "baseline")
      assert (params.task.auxiliary.closeness.loss_weight > 0) == (
        variant not in ("task1", "baseline")
      )
  assert params.task.validation_data.canvas_size == [240, 320]


def test_a_run_counts_once_it_is_finished(tmp_path):
  folder = tmp_path / "scenes_own_0"
  folder.mkdir()
  assert trunks.result(folder, "scenes") is None
  (folder / "evaluation-600.json").write_text(json.dumps({trunks.METRIC: 0.5}))
  assert trunks.result(folder, "scenes") is None
  folder.with_suffix(".json").write_text(json.dumps({"cpu_seconds": 7}))
  assert trunks.result(folder, "scenes") == (50.0, 7)


def test_table():
  lines = trunks.table(
    {
      ("scenes", "own"): [(70.0, 100), (72.0, 120), (74.0, 110)],
      ("scenes", "shared_map"): [(75.0, 55), (78.0, 55), (81.0, 55)],
      ("bccd", "shared_map"): [(60.0, 10)],
    }
  ).splitlines()
  assert lines[2] == "| scenes | own | 3 | 72.0 ± 2.0 | +0.0 |  | 1.00 |"
  # Deviations 2 and 3 make one of 3.6.
  assert lines[3] == "| scenes | shared_map | 3 | 78.0 ± 3.0 | +6.0 | +1.7 | 0.50 |"
  assert lines[4] == "| bccd | shared_map | 1 | 60.0 |  |  |  |"
