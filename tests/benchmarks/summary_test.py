"""Ratios and medians of made-up measurements."""

import pytest

from benchmarks.cost import summary
from tests.benchmarks import made_up

BASELINE, MTL = "frcnn_resnet101_baseline", "frcnn_resnet101_mtl"


def test_ratios_are_of_medians_over_both_rounds():
  found = made_up.collected(
    (made_up.peer_job(1), {"infer_s": 3.0, "train_s": 9.0}),
    (made_up.step_job(BASELINE), made_up.step_result([1, 2, 9], [4, 4, 4])),
    (made_up.step_job(MTL), made_up.step_result([6, 6, 6], [8, 8, 8])),
    (made_up.step_job(MTL, number=2), made_up.step_result([6, 6, 6], [10, 10, 10], 700.0)),
    (made_up.step_job(BASELINE, number=2), made_up.step_result([2, 2, 3], [4, 4, 4])),
    (made_up.peer_job(2), {"infer_s": 5.0, "train_s": 11.0}),
  )
  steps = summary.steps(found)
  baseline, mtl = steps[BASELINE, "float32"], steps[MTL, "float32"]
  # 1, 2, 2, 2, 3, 9 and three times 8, three times 10.
  assert baseline.seconds == {"infer": 2.0, "train": 4.0}
  assert mtl.seconds == {"infer": 6.0, "train": 9.0}
  assert mtl.to_baseline == {"infer": 3.0, "train": 2.25}
  # The peer's mean is 4 and 10 s.
  assert baseline.to_peer == {"infer": 0.5, "train": 0.4}
  assert mtl.memory["train_peak_mib"] == 700.0
  assert mtl.memory["train_alone_mib"] == 500.0


def test_each_precision_has_a_baseline_of_its_own():
  found = made_up.collected(
    (made_up.step_job(BASELINE), made_up.step_result([4], [4])),
    (made_up.step_job(BASELINE, "bfloat16"), made_up.step_result([2], [2])),
    (made_up.step_job(MTL, "bfloat16"), made_up.step_result([6], [3])),
  )
  assert summary.steps(found)[MTL, "bfloat16"].to_baseline == {"infer": 3.0, "train": 1.5}


def test_without_baseline_and_peer_there_are_no_ratios():
  figures = summary.steps(made_up.collected((made_up.step_job(MTL), made_up.step_result([6], [8]))))
  assert figures[MTL, "float32"].to_baseline == {}
  assert figures[MTL, "float32"].to_peer == {}


def test_failed_rows_and_peers_keep_their_cause():
  found = made_up.collected(
    (made_up.peer_job(), {"error": "gone"}),
    (made_up.step_job(BASELINE), made_up.step_result([2], [4])),
    (made_up.step_job(MTL), {"error": "ValueError: no"}),
    (made_up.step_job(MTL, number=2), made_up.step_result([6], [8])),
  )
  assert summary.steps(found)[MTL, "float32"].error == "ValueError: no"
  assert summary.steps(found)[BASELINE, "float32"].to_peer == {}
  assert summary.failures(found) == {
    "peer/theirs/1": "gone",
    f"steps/{MTL}/float32/1": "ValueError: no",
  }


def test_other_cores_are_the_worst_of_all_rounds():
  found = made_up.collected(
    (made_up.step_job(MTL), made_up.step_result([6], [8], other_cores=0.5)),
    (made_up.step_job(MTL, number=2), made_up.step_result([6], [8])),
  )
  assert summary.steps(found)[MTL, "float32"].other_cores == 0.5


def test_parts_as_shares_of_time_and_of_the_peak():
  result = {
    "peak_gflops": [90.0, 110.0],
    "inference": {"stage 1": made_up.part(0.5, 40 * 10**9), "all": made_up.part(2.0)},
    "training": {"labels": made_up.part(0.02), "all": made_up.part(4.0)},
  }
  figures = summary.parts(result)
  stage1 = figures["inference"]["stage 1"]
  assert stage1.share == 0.25
  # 80 GFLOP/s of 100.
  assert stage1.of_peak == pytest.approx(0.8)
  assert figures["training"]["labels"].share == 0.005
  assert figures["training"]["labels"].of_peak is None


def test_growth_is_in_the_order_of_the_values():
  result = made_up.step_result([2], [4])
  without = {name: value for name, value in result.items() if not name.startswith("infer")}

  def job(curve, value):
    return {"section": "growth", "name": curve, "value": value}

  found = made_up.collected(
    (job("batch", 4), made_up.step_result([7, 8, 30], [9])),
    (job("batch", 1), result),
    (job("batch", 2), {"error": "gone"}),
    (job("windows", 16), without),
  )
  curves = summary.growth(found)
  assert curves["batch", "infer_s"] == [(1, 2.0), (4, 8.0)]
  assert curves["batch", "train_mib"] == [(1, 300.0), (4, 300.0)]
  assert ("windows", "infer_s") not in curves
  assert curves["windows", "train_s"] == [(16, 4.0)]
