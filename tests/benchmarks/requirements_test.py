"""Requirements on made-up measurements."""

from benchmarks.cost import requirements, tables
from tests.benchmarks import made_up


def _parts(fraction):
  stage = made_up.part(1.0, int(fraction * 100) * 10**9)
  return {
    "peak_gflops": [100.0],
    "inference": {"stage 1": stage, "second stage": stage, "all": made_up.part(2.0)},
    "training": {"labels": made_up.part(0.1), "all": made_up.part(4.0)},
  }


def _found():
  parts_job = {"section": "parts", "name": requirements.BASELINE, "precision": "float32"}
  labels_job = {"section": "labels", "name": "20 boxes, 21 classes"}
  return made_up.collected(
    (made_up.peer_job(), {"infer_s": 4.0, "train_s": 10.0}),
    (made_up.step_job(requirements.BASELINE), made_up.step_result([3.8], [9.01])),
    (made_up.step_job(requirements.BASELINE, "bfloat16"), made_up.step_result([2.0], [7.0])),
    (made_up.step_job(requirements.MTL), made_up.step_result([13.0], [18.02])),
    (made_up.step_job(requirements.FAST), made_up.step_result([5.0], [9.01])),
    (parts_job, _parts(0.75)),
    (labels_job, made_up.timing(0.0019)),
  )


def test_each_line_is_compared_with_its_bound():
  met = {line.what: line.met for line in requirements.lines(_found())}
  baseline, mtl, fast = requirements.BASELINE, requirements.MTL, requirements.FAST
  assert met == {
    # 0.95 of at most 0.95, 0.901 of 0.9, 0.5 of 0.6, 0.7 of 0.65.
    f"{baseline}, float32, inference over peer": True,
    f"{baseline}, float32, training step over peer": False,
    f"{baseline}, bfloat16, inference over peer": True,
    f"{baseline}, bfloat16, training step over peer": False,
    # 3.42 of 3.5, 2 of 2.2, 1.32 of 1.15, 1 of 1.4.
    f"{mtl}, float32, inference over baseline": True,
    f"{mtl}, float32, training step over baseline": True,
    f"{fast}, float32, inference over baseline": False,
    f"{fast}, float32, training step over baseline": True,
    "labels, 20 boxes, 21 classes, an image": True,
    f"{baseline}, float32, inference: stage 1, fraction of peak": True,
    f"{baseline}, float32, inference: second stage, fraction of peak": True,
    # 0.1 of 4 s are 2.5 %.
    f"{baseline}, float32, training: labels, share of the step": False,
  }


def test_a_fraction_below_its_least_is_not_met():
  job = {"section": "parts", "name": requirements.BASELINE, "precision": "float32"}
  lines = requirements.lines(made_up.collected((job, _parts(0.69))))
  assert [line.met for line in lines] == [False, False, False]


def test_what_was_not_measured_is_not_in_the_table():
  found = made_up.collected((made_up.step_job(requirements.MTL), made_up.step_result([1], [1])))
  assert requirements.lines(found) == []
  assert tables.required(found) == ["None was measured."]


def test_table_of_requirements():
  text = tables.required(_found())
  assert (
    "| frcnn_resnet101_baseline, float32, inference over peer | 0.95x | <= 0.95x | met |" in text
  )
  assert (
    "| frcnn_resnet101_baseline, bfloat16, training step over peer | 0.7x | <= 0.65x | NOT MET |"
    in text
  )
