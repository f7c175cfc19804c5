"""Runs of the tiny detector that are stopped, resumed, and led astray."""

import json
import math
import os
import re
import shutil
import signal

import pytest
import tensorflow as tf
from tensorflow.python.framework import config as tf_config

from mtl_ssl_tf.checkpoints import run_checkpoints
from mtl_ssl_tf.tasks import replay
from mtl_ssl_tf.training import driver, progress, stopping
from tests.tasks import tiny
from tests.training import kill_training

LAST_STEP = 7
# Windows are drawn at random; the other heads, which draw nothing, would be traced for nothing.
FEW_HEADS = {
  "auxiliary": {"closeness": {"loss_weight": 0.0}, "foreground": {"loss_weight": 0.0}},
  "refinement": {"enabled": False},
}


def train(folder, model_dir, trainer=None, mode="train_and_eval"):
  override = {
    "task": {"pictures": {"interval": 0}, **FEW_HEADS},
    "trainer": {
      "train_steps": LAST_STEP,
      "validation_interval": 3,
      "checkpoint_interval": 2,
      "optimizer_config": {"optimizer": {"type": "adam"}},
      **(trainer or {}),
    },
  }
  return driver.run(tiny.experiment(folder, override), mode, str(model_dir))


def steps(model_dir):
  return sorted(run_checkpoints.numbered(str(model_dir)))


@pytest.fixture(name="straight", scope="module")
def _straight(folder, tmp_path_factory):
  model_dir = tmp_path_factory.mktemp("straight")
  train(folder, model_dir)
  return model_dir


def test_a_straight_run_says_what_it_keeps(folder, straight):
  del folder
  assert steps(straight) == [4, 6, 7]
  info = json.loads((straight / "best" / "info.json").read_text())
  assert {kept["step"] for kept in info["kept"]} == {3, 6, 7}


def test_sigterm_then_the_same_end_bit_for_bit(folder, straight, tmp_path, monkeypatch, capsys):
  real = progress.ProgressLine.__call__

  def call(self, output):
    assert tf_config.is_op_determinism_enabled()
    real(self, output)
    if int(self._global_step.numpy()) == 3:
      os.kill(os.getpid(), signal.SIGTERM)

  monkeypatch.setattr(progress.ProgressLine, "__call__", call)
  # The signal comes after step 3, is heard in the evaluation that follows, and step 3 is saved.
  assert train(folder, tmp_path) == (None, {})
  out = capsys.readouterr().out
  assert out.splitlines()[-1] == (
    f"stopped by SIGTERM; the same command resumes from {tmp_path}/ckpt-3"
  )
  assert "early stopping: after 10 evaluations without improvement" in out
  assert steps(tmp_path) == [2, 3]
  monkeypatch.setattr(progress.ProgressLine, "__call__", real)
  train(folder, tmp_path)
  out = capsys.readouterr().out
  assert re.findall(r"^evaluation at step (\d+),", out, re.M) == ["3", "6", "7"]
  assert "changed since" not in out
  assert kill_training.differences(straight, tmp_path) == []
  # Step 4 and later: nothing that the first process trained is trained again.
  assert steps(tmp_path) == [4, 6, 7]


def test_a_rate_that_is_too_high(folder, tmp_path, capsys, monkeypatch):
  # No rate that is accepted makes weights so large at once.
  monkeypatch.setattr(driver.validation, "check_trainer", lambda config: None)
  trainer = {
    "nonfinite": "recover",
    "recovery_max_trials": 1,
    "optimizer_config": {
      "optimizer": {"type": "momentum", "momentum": {"clipnorm": None}},
      "learning_rate": {"constant": {"learning_rate": 1e30}},
    },
  }
  with pytest.raises(stopping.RunError) as error:
    train(folder, tmp_path, trainer, mode="train")
  warnings = capsys.readouterr().err
  # The first step makes the weights large, the second one sees what comes of it.
  assert "warning: step 2 (batch 1) has a loss that is not finite: " in warnings
  assert re.search(r"^images: '[^']+', '[^']+'$", warnings, re.M)
  assert (
    f"batch 1 is left out, the run resumes from {tmp_path}/ckpt-0 (recovery 1 of 1)" in warnings
  )
  lines = str(error.value).splitlines()
  assert lines[0].startswith("step 2 (batch 2) has a loss that is not finite: ")
  assert lines[-2:] == [
    f"to examine it: python -m mtl_ssl_tf.tasks.replay {tmp_path}/nonfinite-2-2",
    "recoveries of the run before: 1, trainer.recovery_max_trials is 1",
  ]
  assert steps(tmp_path) == [0]
  # The weights are those from before the step, and they do it again.
  weights = str(tmp_path / "nonfinite-2" / "weights")
  assert tf.train.load_variable(weights, "global_step/.ATTRIBUTES/VARIABLE_VALUE") == 1
  assert replay.main([str(tmp_path / "nonfinite-2")]) == 0
  out = capsys.readouterr().out
  assert re.search(r"^loss +(nan|inf)$", out, re.M)
  _check_damage(tmp_path / "nonfinite-2", tmp_path / "damaged", capsys)
  # Weights that are in order do not.
  start = tf.train.load_checkpoint(str(tmp_path / "ckpt-0"))
  assert start.has_tensor("global_step/.ATTRIBUTES/VARIABLE_VALUE")


def _check_damage(whole, damaged, capsys):
  """Whatever is damaged in the folder, the command tells in one line which file."""
  as_left = "accepted: the folder as the run left it"
  for name, content, problem in (
    ("params.yaml", b"base: /etc/hostname\n", "params.yaml: field 'base' is '/etc/hostname'; acc"),
    ("params.yaml", b"task: [", "params.yaml: not YAML ("),
    ("params.yaml", b"task: {rpn: {depth: -1}}", "task.rpn.depth is -1; accepted: "),
    ("params.yaml", None, "params.yaml: cannot be read (a pipe and no regular file)"),
    ("label_map.txt", None, "label_map.txt: cannot be read (a pipe and no regular file); "),
    ("label_map.txt", b"cat\n", f"weights does not fit params.yaml (.*; {as_left}"),
    ("weights.index", None, f"weights cannot be read (.*/weights.index is a pipe .*; {as_left}"),
    ("weights.data-00000-of-00001", b"", f"weights cannot be read (.*; {as_left}"),
    ("batch.npz", b"", f"batch.npz cannot be read (File is not a zip file); {as_left}"),
  ):
    shutil.copytree(whole, damaged)
    (damaged / name).unlink()
    if content is None:
      os.mkfifo(damaged / name)
    else:
      (damaged / name).write_bytes(content)
    assert replay.main([str(damaged)]) == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "warning: " not in line]
    pattern = re.escape(problem).replace(r"\.\*", ".*")
    assert re.match(rf"error: ({re.escape(str(damaged))}/)?{pattern}", line), (line, problem)
    shutil.rmtree(damaged)


@pytest.mark.parametrize(
  ("loss", "gradients", "status"),
  [(math.nan, {}, 0), (1.5, {"conv": 3}, 0), (math.inf, {"conv": 3}, 0), (1.5, {}, 1)],
)
def test_what_came_out_as_in_the_run(monkeypatch, capsys, loss, gradients, status):
  monkeypatch.setattr(replay, "replay", lambda folder: ({"loss": loss}, gradients))
  assert replay.main(["folder"]) == status
  assert ("all is finite" in capsys.readouterr().out) == (status == 1)


def test_replay_of_something_else(tmp_path, capsys):
  assert replay.main([str(tmp_path)]) == 1
  assert capsys.readouterr().err == (
    f"error: {tmp_path}/params.yaml: cannot be read (No such file or directory)\n"
  )
