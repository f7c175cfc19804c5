"""A run of Co-mining that is stopped and resumed ends bit for bit like one that is not."""

import os
import signal

import pytest

from mtl_ssl_tf.configs import experiments
from mtl_ssl_tf.tasks import co_mining
from mtl_ssl_tf.training import driver, progress
from tests.modeling import small, small_backbones
from tests.tasks import tiny
from tests.training import kill_training


@pytest.fixture(name="backbones", autouse=True, scope="module")
def _backbones():
  with small_backbones.registered():
    yield


def train(folder, model_dir):
  override = {
    "task": {
      "backbone": {"type": "blocks"},
      "pictures": {"interval": 0},
      # The others draw nothing, and are traced for nothing.
      "auxiliary": {"closeness": {"loss_weight": 0.0}, "foreground": {"loss_weight": 0.0}},
      "refinement": {"enabled": False},
      # The threshold falls over the stop.
      "mining": {"score_threshold": 0.4, "warmup_steps": 4, "warmup_score_threshold": 0.6},
    },
    "trainer": {
      "train_steps": 4,
      "steps_per_loop": 1,
      "summary_interval": 1,
      "checkpoint_interval": 2,
      "optimizer_config": {"optimizer": {"type": "adam"}},
    },
  }
  params = tiny.experiment(folder, override, experiments.CO_MINING)
  return driver.run(params, "train", str(model_dir))


@pytest.mark.slow
def test_the_same_end(folder, tmp_path, monkeypatch, capsys):
  build = co_mining.CoMiningTask.build_model

  def build_random(task):
    model = build(task)
    small.randomize(model)  # So that some places are objects to it.
    return model

  monkeypatch.setattr(co_mining.CoMiningTask, "build_model", build_random)
  straight, stopped = tmp_path / "straight", tmp_path / "stopped"
  train(folder, straight)
  real = progress.ProgressLine.__call__
  seen = []

  def call(self, output):
    real(self, output)
    seen.append(float(output["mining/boxes"]))
    if int(self._global_step.numpy()) == 2:
      os.kill(os.getpid(), signal.SIGTERM)

  monkeypatch.setattr(progress.ProgressLine, "__call__", call)
  assert train(folder, stopped) == (None, {})
  assert "the same command resumes from" in capsys.readouterr().out
  train(folder, stopped)
  assert max(seen) > 0.0
  assert kill_training.differences(straight, stopped) == []
