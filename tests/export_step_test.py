"""Tests of the exported step: JAX, without TensorFlow, gets what TensorFlow gets."""

import importlib.util
import json
import os
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest
import yaml

from mtl_ssl_tf import export_step
from tests.tasks import tiny

_REPOSITORY = pathlib.Path(__file__).parents[1]
_NEEDS_JAX = pytest.mark.skipif(
  importlib.util.find_spec("jax") is None, reason="JAX is not installed (requirements.txt has it)"
)
_RATE = 0.01


@pytest.fixture(name="folder", scope="module")
def _folder(tmp_path_factory):
  folder = tmp_path_factory.mktemp("tiny")
  tiny.write_records(folder)
  (folder / "tiny.yaml").write_text(yaml.safe_dump(tiny.settings(folder)))
  return folder


def _export(folder, output_dir, *flags):
  flags = [f"--config_file={folder / 'tiny.yaml'}", f"--output_dir={output_dir}", *flags]
  return export_step.main(flags)


def _run_with_jax(folder):
  """The runner's output and the program's results, from a process without TensorFlow."""
  script = f"""
import runpy, sys
sys.modules["tensorflow"] = None  # Importing it fails.
sys.argv = ["run_step", {str(folder)!r}, "--warmup=0", "--runs=0", "--outputs={folder}/out.npz"]
runpy.run_path("benchmarks/run_step.py", run_name="__main__")
"""
  done = subprocess.run(
    [sys.executable, "-c", script],
    cwd=_REPOSITORY,
    env={**os.environ, "JAX_PLATFORMS": "cpu"},
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 0, done.stderr
  return json.loads(done.stdout), np.load(folder / "out.npz")


@_NEEDS_JAX
@pytest.mark.parametrize(
  ("task", "losses"),
  [
    ({}, tiny.LOSSES),
    # With fewer heads, as compiling them takes most of the time.
    (
      {
        "roi_head": {"type": "rfcn"},
        "auxiliary": {"multi_object": {"loss_weight": 0.0}, "closeness": {"loss_weight": 0.0}},
        "refinement": {"enabled": False},
      },
      [name for name in tiny.LOSSES if name not in ("multi_object", "closeness", "refinement")],
    ),
  ],
  ids=["faster_rcnn", "rfcn"],
)
def test_jax_takes_the_same_training_step(folder, tmp_path, task, losses):
  step = tmp_path / "step"
  override = f"--params_override={json.dumps({'task': task})}"
  assert _export(folder, step, override, "--expected") == 0
  names = json.loads((step / "names.json").read_text())
  assert {*losses, "loss", "dropped_boxes"} == set(names["expected"])
  assert (names["batch"], names["batch_size"], names["step"]) == ("records", 2, "training")

  report, results = _run_with_jax(step)
  for name, value in names["expected"].items():
    np.testing.assert_allclose(report["first"][name], value, rtol=1e-4, atol=1e-4, err_msg=name)
  assert report["first"]["loss"] > 1.0
  assert report["difference"] <= 1e-4

  # The rest of the step, too: each weight moves by the rate times its accumulator.
  inputs = np.load(step / "inputs.npz")
  numbers = {argument["name"]: n for n, argument in enumerate(names["arguments"])}
  trained = [argument for argument in names["arguments"] if argument["kind"] == "trained"]
  moved = 0.0
  for argument in trained:
    name = argument["name"]
    slot = names["arguments"][numbers[re.sub(r":0$", "/momentum:0", name)]]
    before = inputs[f"arg{numbers[name]}"]
    accumulator = results[f"out{slot['new_value']}"]
    after = results[f"out{argument['new_value']}"]
    np.testing.assert_allclose(after, before - _RATE * accumulator, atol=1e-6, err_msg=name)
    moved = max(moved, float(np.max(np.abs(after - before))))
  assert len(trained) > 50
  assert moved > 1e-4
  assert results[f"out{names['arguments'][numbers['iter:0']]['new_value']}"] == 1


@_NEEDS_JAX
def test_jax_gets_the_same_detections(folder, tmp_path):
  step = tmp_path / "step"
  assert _export(folder, step, "--step=inference", "--expected", "--batch_size=3") == 0
  names = json.loads((step / "names.json").read_text())
  assert names["batch_size"] == 3
  report, results = _run_with_jax(step)
  assert report["difference"] <= 1e-4
  by_name = {result["name"]: number for number, result in enumerate(names["results"])}
  boxes = results[f"out{by_name['detection_boxes_px']}"]
  assert boxes.shape == (3, 10, 4)
  np.testing.assert_allclose(boxes, names["expected"]["detection_boxes_px"], rtol=1e-4, atol=1e-2)
  # Inference changes nothing.
  assert all(argument["new_value"] is None for argument in names["arguments"])


@pytest.mark.parametrize(
  ("flags", "message"),
  [
    (["--batch_size=0"], "--batch_size is 0; accepted: at least 1"),
    (
      ["--params_override=runtime.crop_method=native"],
      "runtime.crop_method is 'native'; accepted: auto or matmul",
    ),
    (["--params_override=task.label_map=nowhere.txt"], "task.label_map: nowhere.txt"),
    (["--params_override=task.rpn.depth=0"], "task.rpn.depth is 0; accepted: 1 to 65,536"),
    (["--config_file=nowhere.yaml"], "nowhere.yaml: cannot be read"),
    (["--checkpoint=nowhere/ckpt-1"], "--checkpoint 'nowhere/ckpt-1' does not exist"),
  ],
)
def test_bad_input_is_reported_in_one_line(folder, tmp_path, capsys, flags, message):
  assert _export(folder, tmp_path / "step", *flags) == 2
  printed = capsys.readouterr().err.strip().splitlines()
  assert printed[-1].startswith(f"error: {message}")
  assert not (tmp_path / "step").exists()


def test_an_output_folder_in_use_is_refused(folder, tmp_path, capsys):
  (tmp_path / "precious.txt").write_text("mine")
  assert _export(folder, tmp_path) == 2
  assert "is not empty; accepted: a folder that is new or empty" in capsys.readouterr().err
  assert [path.name for path in tmp_path.iterdir()] == ["precious.txt"]


def test_an_unknown_format_is_refused(folder, tmp_path, capsys):
  with pytest.raises(SystemExit) as caught:
    _export(folder, tmp_path / "step", "--format=onnx")
  assert caught.value.code == 2
  assert "stablehlo" in capsys.readouterr().err


def test_without_records_the_batch_is_made_up(folder, tmp_path, capsys):
  step = tmp_path / "step"
  override = "--params_override=task.train_data.input_path=nowhere-*"
  assert _export(folder, step, override, "--step=inference", "--no-inputs") == 0
  printed = capsys.readouterr().err
  assert "task.train_data.input_path: no records match 'nowhere-*'; the batch is made up" in printed
  assert sorted(path.name for path in step.iterdir()) == ["names.json", "step.mlir"]
  assert json.loads((step / "names.json").read_text())["batch"] == "made up"
