"""Tests of the preflight command, on a detector without auxiliary tasks."""

import functools
import json
import re

import pytest
import yaml

from mtl_ssl_tf import preflight
from mtl_ssl_tf.compilation import step_program
from tests.tasks import tiny

_SMALL = {
  "auxiliary": {
    "multi_object": {"loss_weight": 0.0},
    "closeness": {"loss_weight": 0.0},
    "foreground": {"loss_weight": 0.0},
  },
  "refinement": {"enabled": False},
}


@pytest.fixture(name="config_file", scope="module")
def _config_file(tmp_path_factory):
  folder = tmp_path_factory.mktemp("tiny")
  tiny.write_records(folder)
  settings = tiny.settings(folder)
  for name, value in _SMALL.items():
    settings["task"][name] = value
  path = folder / "small.yaml"
  path.write_text(yaml.safe_dump(settings))
  return path


@pytest.fixture(name="_built_once", autouse=True, scope="module")
def _fixture_built_once():
  """Builds, traces and compiles each step once in this file, as that takes most of its time.

  Runs of the command differ in their records, batch sizes and machines, not in their detector.
  """
  build, built, compiled = step_program.StepProgram, {}, {}

  def build_once(params, crop_method):
    key = crop_method, params.task.label_map
    if key not in built:
      built[key] = build(params, crop_method)
      built[key].compile = functools.partial(compile_once, key, built[key].compile)
    return built[key]

  def compile_once(key, compile_, batch):
    size = batch[0].shape[0]
    if (key, size) not in compiled:
      compiled[key, size] = compile_(batch)
    return compiled[key, size]

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(step_program, "StepProgram", build_once)
    yield


def _run(config_file, accelerator, *flags):
  return preflight.main([f"--config_file={config_file}", f"--accelerator={accelerator}", *flags])


def _report(path):
  return json.loads(path.read_text())


def test_go(config_file, tmp_path, capsys):
  file = tmp_path / "report.json"
  override = "--params_override=runtime.enable_xla=true"
  flags = [override, "--num_batches=6", "--no-largest_batch", f"--json={file}"]
  assert _run(config_file, "gpu:0.005GiB", *flags) == 0
  output = capsys.readouterr()
  assert output.out.splitlines()[-1] == "GO"
  assert "tracing the step for 2 images of 64 × 96" in output.err
  report = _report(file)
  assert report["go"]
  assert report["findings"] == []
  assert (report["num_batches"], report["num_signatures"], report["num_traces"]) == (6, 1, 1)

  memory = report["memory"]
  parts = ("parameters", "optimizer", "batch", "gradients", "activations", "results")
  assert memory["total"] == sum(memory[part] for part in parts) <= report["room_bytes"]
  # Two images of 64 x 96 and three channels, and a little ground truth.
  assert 2 * 64 * 96 * 3 * 4 <= memory["batch"] < 2 * 64 * 96 * 3 * 4 + 2000
  # An accumulator for each trained weight; moving means and variances have none.
  assert 0.9 * memory["parameters"] < memory["optimizer"] < memory["parameters"]
  assert memory["activations"] > memory["batch"]
  assert re.search(rf"total +{memory['total'] / 2**20:.2f} MiB\n", output.out)


def test_too_much_for_the_memory(config_file, tmp_path, capsys):
  file = tmp_path / "report.json"
  override = "--params_override=task.train_data.global_batch_size=4"
  assert _run(config_file, "gpu:0.004GiBx2", override, "--num_batches=1", f"--json={file}") == 1
  output = capsys.readouterr()
  assert output.out.splitlines()[-1] == "NO-GO"
  assert "compiling for a batch of 1 a core; the last time took" in output.err
  report = _report(file)
  # Two images have no room, one has: each takes about a mebibyte, the rest two.
  limit = report["limit"]
  assert (limit["largest"], limit["is_largest"]) == (1, True)
  assert limit["compiled"] == {"1": limit["compiled"]["1"], "2": report["memory"]["total"]}
  assert limit["compiled"]["1"] <= report["room_bytes"] < limit["next_bytes"]
  (finding,) = [one for one in report["findings"] if one["level"] == "no-go"]
  assert (finding["kind"], finding["field"]) == ("memory", "task.train_data.global_batch_size")
  assert finding["value"].startswith("2 images a core take ")
  assert finding["accepted"] == "at most 2"  # One for each core.
  assert {one["field"] for one in report["findings"] if one["level"] == "warning"} >= {
    "runtime.enable_xla",
    "runtime.distribution_strategy",
  }
  # Each of the two cores holds a gradient of every trained weight, an accumulator's size.
  assert report["memory"]["gradients"] >= 0.99 * report["memory"]["optimizer"]


def test_host_ops_and_a_batch_that_cannot_be_divided(config_file, tmp_path, capsys):
  file = tmp_path / "report.json"
  override = "--params_override=runtime.crop_method=native"
  assert _run(config_file, "v5e-8", override, f"--json={file}", "--num_batches=1") == 1
  report = _report(file)
  found = {(one["kind"], one["field"]) for one in report["findings"] if one["level"] == "no-go"}
  assert found == {
    ("host_op", "runtime.crop_method"),
    ("batch_size", "task.train_data.global_batch_size"),
  }
  ops = {one["value"].split(" at ")[0] for one in report["findings"] if one["kind"] == "host_op"}
  assert ops == {"CropAndResize", "CropAndResizeGradImage", "CropAndResizeGradBoxes"}
  assert report["memory"] is None
  text = capsys.readouterr().out
  assert "2 images are no whole number for each of 8 cores; accepted: a multiple of 8" in text
  assert "warning runtime: runtime.distribution_strategy: 'one_device'; accepted: 'tpu'" in text


def test_absent_and_damaged_records_are_findings(config_file, tmp_path):
  damaged = tmp_path / "damaged.tfrecord"
  damaged.write_bytes(b"no records at all")
  levels = {}
  for path in (tmp_path / "nowhere-*", damaged):
    file = tmp_path / "report.json"
    override = yaml.safe_dump(
      {
        "task": {"train_data": {"input_path": str(path)}},
        "runtime": {"crop_method": "native"},  # Nothing is compiled.
      }
    )
    flags = [f"--params_override={override}", f"--json={file}"]
    assert _run(config_file, "v6e-1", *flags) == 1
    (finding,) = [one for one in _report(file)["findings"] if one["kind"] == "records"]
    assert finding["field"] == "task.train_data.input_path"
    assert str(path) in finding["value"]
    levels[path.name] = finding["level"]
  assert levels == {"nowhere-*": "warning", "damaged.tfrecord": "no-go"}


@pytest.mark.parametrize(
  ("flags", "message"),
  [
    (["--accelerator=v5e-7"], "--accelerator is 'v5e-7' (nearest: v5e-"),
    (["--margin=1"], "--margin is 1.0; accepted: 0 or more, less than 1"),
    (["--num_batches=-1"], "--num_batches is -1; accepted: 0 or more"),
    (["--experiment=other"], "--experiment is 'other'; accepted: mtl_frcnn"),
    (["--config_file=nowhere.yaml"], "nowhere.yaml: cannot be read"),
    (["--params_override=task.rpn.dept=3"], "--params_override: unknown field 'task.rpn.dept'"),
    (["--params_override=task.label_map=nowhere.txt"], "task.label_map: nowhere.txt"),
    (["--json=/nowhere/report.json"], "--json '/nowhere/report.json' cannot be written"),
  ],
)
def test_bad_usage_is_reported_in_one_line(config_file, capsys, flags, message):
  assert _run(config_file, "v5e-1", *flags) == 2
  printed = capsys.readouterr()
  assert printed.out == ""
  assert printed.err.strip().splitlines()[-1].startswith(f"error: {message}")
