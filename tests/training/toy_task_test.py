"""The run knows a task by its protocol alone: one that shares nothing with detection is run too."""

import json
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from mtl_ssl_tf.training import driver, pictures, strategies
from tests.training import toy_task

_ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(name="folder")
def _folder(tmp_path):
  toy_task.write_records(tmp_path)
  return tmp_path


def test_a_killed_run_ends_like_one_that_was_not(folder):
  many = {"trainer": {"train_steps": 20_000, "validation_interval": 20_000}}
  process = subprocess.Popen(
    [sys.executable, "-m", "tests.training.toy_task", str(folder), json.dumps(many)],
    cwd=_ROOT,
    stdout=subprocess.DEVNULL,
  )
  deadline = time.monotonic() + 120.0
  while not list((folder / "run").glob("ckpt-*.index")) and time.monotonic() < deadline:
    time.sleep(0.01)
  process.kill()
  assert process.wait() == -signal.SIGKILL
  steps = [int(path.stem.split("-")[1]) for path in (folder / "run").glob("ckpt-*.index")]
  last = 50 * (max(steps) // 50 + 2)

  # To an end that lies beyond, evaluating on the way; the killed run had none.
  override = {"trainer": {"train_steps": last, "validation_interval": 50}}
  resumed = toy_task.run(folder, "run", override)
  assert toy_task.run(folder, "whole", override).tobytes() == resumed.tobytes()
  # It has learnt something on the way.
  first = toy_task.run(folder, "first", {"trainer": {"train_steps": 50}})
  target = [2.0, 2.0, 2.0, 0.0]
  assert np.linalg.norm(resumed - target) < np.linalg.norm(first - target)


def test_the_best_checkpoints_are_kept(folder, capsys):
  toy_task.run(folder, "run")
  names = {path.name for path in (folder / "run" / "best").glob("*.index")}
  assert names == {f"best_ckpt-{step}.index" for step in (200, 400, 600)}
  figures = [
    json.loads((folder / "run" / f"evaluation-{step}.json").read_text())["error"]
    for step in (200, 400, 600)
  ]
  assert figures == sorted(figures, reverse=True)
  assert f"error {figures[-1]:.4f} (best {figures[-1]:.4f})" in capsys.readouterr().out


def test_a_run_that_no_longer_gets_better_ends(folder, capsys):
  no_rate = {"constant": {"learning_rate": 0.0}}
  trainer = {"early_stopping_patience": 2, "optimizer_config": {"learning_rate": no_rate}}
  toy_task.run(folder, "run", {"trainer": {**trainer, "train_steps": 5_000}})
  assert "the run ends early, at step 600" in capsys.readouterr().out


def test_the_progress_line_tells_what_the_task_warns_of(folder, monkeypatch, capsys):
  monkeypatch.setattr(toy_task.ToyTask, "count_warning", lambda self, values: "too many rows")
  toy_task.run(folder, "run", {"trainer": {"train_steps": 40}})
  assert capsys.readouterr().err == "warning: too many rows\n"


@pytest.mark.parametrize("is_chief", [True, False])
def test_the_chief_alone_writes_what_an_evaluation_leaves(folder, monkeypatch, is_chief):
  asked = []
  monkeypatch.setattr(
    toy_task.ToyTask, "prepare_evaluation", lambda self, writes: asked.append(writes)
  )
  monkeypatch.setattr(strategies, "is_chief", lambda strategy: is_chief)
  toy_task.run(folder, "run", {"trainer": {"train_steps": 20}})
  assert asked == [is_chief]


def test_a_run_ends_with_the_lines_of_its_task(folder, monkeypatch, capsys):
  asked, drawn, written = [], [], []
  monkeypatch.setattr(
    toy_task.ToyTask, "closing_lines", lambda self, folder: asked.append(folder) or ["last words"]
  )
  monkeypatch.setattr(
    pictures.ValidationPictures, "__call__", lambda self, step: drawn.append(step)
  )
  monkeypatch.setattr(pictures, "write_configuration", lambda *args: written.append(args))
  toy_task.run(folder, "run")
  assert capsys.readouterr().out.splitlines()[-1] == "last words"
  # Drawn after each evaluation.
  assert drawn == [200, 400, 600]
  ((text, model_dir, step),) = written
  assert "train_steps: 600" in text
  assert (model_dir, step) == (str(folder / "run"), 0)
  # Evaluation alone leaves the files of the training as they are.
  driver.run(toy_task.experiment(folder), "eval", str(folder / "run"))
  assert asked == [str(folder / "run"), None]
  assert len(written) == 1
  monkeypatch.setattr(strategies, "is_chief", lambda strategy: False)
  driver.run(toy_task.experiment(folder), "eval", str(folder / "run"))
  assert len(asked) == 2
