"""The tables of made-up measurements, and their picture."""

import numpy as np
import pytest
from PIL import Image

from benchmarks.cost import picture, tables
from tests.benchmarks import made_up

BASELINE, MTL = "frcnn_mobilenet_baseline", "frcnn_mobilenet_mtl"


def test_rows_next_to_their_baseline_and_the_peer():
  found = made_up.collected(
    (made_up.peer_job(), {"infer_s": 4.0, "train_s": 10.0}),
    (made_up.step_job(BASELINE), made_up.step_result([2], [5])),
    (made_up.step_job(MTL), made_up.step_result([3], [10], 650.0, other_cores=0.2)),
  )
  text = tables.steps(found)
  assert text[2] == "| peer theirs |  | 4.00 |  |  | 10.00 |  |  |  |  |  | 0.00 |"
  # 650 MiB are 500 without 100 of weights and 50 of the optimizer.
  assert text[4] == (
    f"| {MTL} | float32 | 3.00 | 1.50x | 0.75x | 10.00 | 2.00x | 1.00x | 650 | 500 | 300 | 0.20 † |"
  )
  assert text[-1].startswith("† other processes used more than 0.1 cores")


def test_failed_row_and_its_cause_are_reported():
  found = made_up.collected(
    (made_up.step_job(BASELINE), made_up.step_result([2], [5])),
    (made_up.step_job(MTL), {"error": "ValueError: unknown field"}),
  )
  report = tables.report(found)
  assert f"| {MTL} | float32 | failed |" in report
  assert f"* steps/{MTL}/float32/1: ValueError: unknown field" in report


def test_parts():
  result = {
    "peak_gflops": [100.0],
    "inference": {"stage 1": made_up.part(0.5, 40 * 10**9), "all": made_up.part(2.0)},
    "training": {"labels": made_up.part(0.02), "all": made_up.part(4.0)},
  }
  job = {"section": "parts", "name": BASELINE, "precision": "float32"}
  text = tables.parts(made_up.collected((job, result)))
  assert text[0] == f"{BASELINE}, float32, inference; peak 100 GFLOP/s"
  assert "| stage 1 | 500.0 | 25.0% | 40.0 | 1 | 80 | 80% | 0.00 |" in text
  assert "| labels | 20.0 | 0.5% |  |  |  |  | 0.00 |" in text


def _grown(values=(1, 2, 4, 8, 16)):
  def job(value):
    return {"section": "growth", "name": "batch", "value": value}

  def seconds(value):
    return 48 if value == 16 else 2 * value

  return made_up.collected(
    *(
      (job(value), made_up.step_result([seconds(value)], [9], other_cores=0.3 if value == 2 else 0))
      for value in values
    )
  )


def test_growth():
  text = tables.growth(_grown())
  assert text[2] == (
    "| batch | inference, s | 1: 2, 2: 4, 4: 8, 8: 16, 16: 48 | "
    + text[2].split(" | ")[3]
    + " | at 16, 1.50x of it | 0.30 † |"
  )
  assert text[2].split(" | ")[3].endswith("+ 2 each")
  assert text[3].endswith("| no (within 20%) | 0.30 † |")


def _colored(found, path):
  """Pixels of a picture that have the colours of inference and of the training step."""
  picture.draw(found, path)
  with Image.open(path) as image:
    pixels = np.asarray(image.convert("RGB"))
  return [(pixels == color).all(axis=-1).sum() for color in ((31, 119, 180), (255, 127, 14))]


def test_picture_of_growth(tmp_path):
  # Two discs, of about 20 pixels, for each of time and memory, and too few for a line.
  two = _colored(_grown((1, 2)), tmp_path / "two.png")
  assert min(two) > 60
  # Three more, and the line.
  assert min(np.subtract(_colored(_grown(), tmp_path / "five.png"), two)) > 150


def test_no_curves_no_picture(tmp_path):
  with pytest.raises(ValueError, match="no curves of growth"):
    picture.draw(made_up.collected(), tmp_path / "growth.png")


def test_nothing_measured_is_a_report_too():
  assert "None was measured." in tables.report(made_up.collected())
