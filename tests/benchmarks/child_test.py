"""One measurement in a process of its own."""

import dataclasses
import json
import sys

import pytest

from benchmarks.cost import child, jobs, peak, rows


def _printed(job, monkeypatch, capsys):
  monkeypatch.setattr(sys, "argv", ["child", json.dumps(job)])
  status = child.main()
  return status, json.loads(capsys.readouterr().out)


def test_process_of_its_own_measures_the_peak():
  (job,) = jobs.plan(["peak"], "*", ["bfloat16"], small=True)
  result = jobs.carry_out(job)
  assert len(result["seconds"]) == job["repeats"]
  # A multiply-add of each of 8 images' 64 × 64 cells of 32 channels with 3 × 3 × 32 others.
  flops = 2 * 8 * 64 * 64 * 32 * 9 * 32
  seconds = sorted(result["seconds"])[job["repeats"] // 2]
  assert result["gflops"] == pytest.approx(flops / seconds / 1e9)


def test_peak_of_the_full_size_is_the_large_convolution():
  assert (peak.BATCH, peak.SIDE, peak.KERNEL, peak.DEPTH) == (8, 64, 3, 512)


def test_failure_is_one_line(monkeypatch, capsys):
  setup = rows.Setup("voc07_frcnn_mobilenet_mtl", {"task": {"nonsense": 1}})
  job = {
    "section": "steps",
    "setup": dataclasses.asdict(setup),
    "repeats": 1,
    "inference": True,
  }
  status, printed = _printed(job, monkeypatch, capsys)
  assert status == 1
  assert list(printed) == ["error"]
  assert printed["error"].startswith("ValueError: --params_override: unknown field")
  assert "\n" not in printed["error"]


def test_parts_come_with_the_peak_before_and_after(monkeypatch, capsys):
  rates = iter([{"gflops": 90.0}, {"gflops": 110.0}])
  monkeypatch.setattr(child.peak, "measure", lambda *_: next(rates))
  monkeypatch.setattr(child.experiment, "Experiment", lambda setup: setup)
  monkeypatch.setattr(child.parts, "measure", lambda *_: {"inference": {}})
  job = jobs.plan(["parts"], "frcnn_resnet101_baseline", ["float32"])[0]
  status, printed = _printed(job, monkeypatch, capsys)
  assert status == 0
  assert printed == {"inference": {}, "peak_gflops": [90.0, 110.0]}
