"""The whole path on a data set of a few scenes, with a process that is killed on the way.

Scenes are drawn and converted here; `train.py` runs twice, as a user would run it: the first time
it is killed with SIGKILL, the second time it resumes. The tests check what that left behind.
"""

import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import pytest
import tensorflow as tf
import yaml

from mtl_ssl_tf.data import pascal_voc, synthetic
from mtl_ssl_tf.training import driver
from tests import terminal_lines
from tests.tasks import tiny

REPOSITORY = pathlib.Path(__file__).parents[1]
SCENES = synthetic.DatasetArguments(num_train=12, num_val=4, height=96, width=128)
NUM_CLASSES = 8
AUXILIARY = [
  "multi_object_ranking_ap",
  "multi_object_kl",
  "closeness_accuracy",
  "foreground_pixel_accuracy",
  "foreground_iou",
  "foreground_ap",
]
CHECKPOINT_INTERVAL = 4
SECONDS_TO_START = 300


class Run:
  """One training run and how it came about.

  Attributes:
    model_dir: what it left behind.
    records: folder of the data.
    killed_at: step of the last checkpoint before it was killed.
    last_step: of the run that went on.
    first, second: standard output and error of the two processes.
  """

  def __init__(self, folder: pathlib.Path):
    self.model_dir, self.records = folder / "model", folder / "records"
    synthetic.write_dataset(folder / "scenes", SCENES)
    for split in synthetic.SPLITS:
      pascal_voc.convert_split(folder / "scenes", split, self.records, num_shards=2)
    self._config = folder / "tiny.yaml"
    self._config.write_text(yaml.safe_dump(self._settings()))
    self._logs = folder
    self.first = self._train_until_killed()
    self.killed_at = checkpoint_step(self.model_dir)
    # No multiple of an interval, so the last evaluation and checkpoint are the end's own.
    self.last_step = self.killed_at + CHECKPOINT_INTERVAL + 1
    self.second = self._train_to(self.last_step)

  def _settings(self):
    settings = tiny.settings(self.records)
    task = settings["task"]
    size = {"input_size": [96, 128], "short_side": 96, "long_side": 128, "max_num_boxes": 12}
    for data, split in (("train_data", "train"), ("validation_data", "val")):
      task[data] |= {**size, "input_path": str(self.records / f"{split}-*.tfrecord")}
    task["pictures"] = {"num_images": 2, "interval": 1000}
    settings["trainer"] |= {
      "train_steps": 1_000_000,
      "checkpoint_interval": CHECKPOINT_INTERVAL,
      "validation_interval": 1_000_000,
    }
    return settings

  def _command(self, *arguments: str) -> list[str]:
    return [
      sys.executable,
      "train.py",
      "--experiment=mtl_frcnn",
      f"--config_file={self._config}",
      "--mode=train_and_eval",
      f"--model_dir={self.model_dir}",
      *arguments,
    ]

  def _train_until_killed(self) -> tuple[str, str]:
    paths = [self._logs / "out", self._logs / "err"]
    with paths[0].open("w") as out, paths[1].open("w") as err:
      process = subprocess.Popen(
        self._command(),
        stdout=out,
        stderr=err,
        cwd=REPOSITORY,
        env=terminal_lines.users_environment(),
      )
      deadline = time.monotonic() + SECONDS_TO_START
      try:
        # Beyond the first checkpoint, and at work.
        while checkpoint_step(self.model_dir) <= CHECKPOINT_INTERVAL:
          assert process.poll() is None, paths[1].read_text()[-2000:]
          assert time.monotonic() < deadline, paths[1].read_text()[-2000:]
          time.sleep(0.05)
      finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    return paths[0].read_text(), paths[1].read_text()

  def _train_to(self, last_step: int) -> tuple[str, str]:
    # The first process has drawn its pictures; no need to do so again.
    override = f"trainer.train_steps={last_step},task.pictures.interval=0"
    done = subprocess.run(
      self._command(f"--params_override={override}"),
      capture_output=True,
      text=True,
      check=False,
      cwd=REPOSITORY,
      env=terminal_lines.users_environment(),
      timeout=SECONDS_TO_START,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout, done.stderr


def checkpoint_step(model_dir: pathlib.Path) -> int:
  path = tf.train.latest_checkpoint(str(model_dir))
  return int(path.rpartition("-")[2]) if path else 0


def progress_steps(text: str) -> list[int]:
  return [int(step) for step in re.findall(r"^step (\d+)/\d+ \| loss ", text, re.MULTILINE)]


@pytest.fixture(name="run", scope="module")
def _run(tmp_path_factory):
  return Run(tmp_path_factory.mktemp("smoke"))


def read_events(folder: pathlib.Path) -> dict[str, list[int]]:
  """Names of what the event files in a folder hold, scalars and pictures, and their steps."""
  found = {}
  for path in sorted(folder.glob("*.tfevents.*")):
    for event in tf.compat.v1.train.summary_iterator(str(path)):
      for value in event.summary.value:
        found.setdefault(f"{value.metadata.plugin_data.plugin_name}:{value.tag}", [])
        found[f"{value.metadata.plugin_data.plugin_name}:{value.tag}"].append(event.step)
  return found


@pytest.mark.slow
def test_killed_run_resumes(run):
  assert progress_steps(run.first[0])[0] == 2
  assert run.killed_at > CHECKPOINT_INTERVAL
  assert f"restored from checkpoint: {run.model_dir}/ckpt-{run.killed_at}\n" in run.second[0]
  steps = progress_steps(run.second[0])
  assert steps[0] == run.killed_at + 2
  assert steps[-1] == run.last_step == checkpoint_step(run.model_dir)


@pytest.mark.slow
def test_no_lines_but_ours(run):
  lines = run.second[0].splitlines()
  line = next(line for line in lines if line.startswith(f"step {run.last_step}/"))
  for name in (*tiny.LOSSES, "loss", "rate"):
    assert re.search(rf"\b{name} \d", line), name
  assert re.search(r" \| [\d.]+ images/s \| 0:00 left$", line)
  for out, err in (run.first, run.second):
    assert terminal_lines.foreign(out, *terminal_lines.TRAINING) == []
    assert terminal_lines.foreign(err, *terminal_lines.WARNINGS) == []


@pytest.mark.slow
def test_evaluation_is_printed(run):
  out = run.second[0]
  assert f"evaluation at step {run.last_step}, " in out
  assert "VOC average precision at IoU 0.5, percent" in out
  # The few scenes for validation happen to show no cup.
  for name in ("orange", "ball", "cup", f"mean of {NUM_CLASSES - 1}", *AUXILIARY):
    assert re.search(rf"^{name} ", out, re.MULTILINE), name
  assert re.search(r"^voc/mAP50_area [\d.]+ \(best [\d.]+\)$", out, re.MULTILINE)


@pytest.mark.slow
def test_files(run):
  folder = run.model_dir
  assert (folder / "label_map.txt").read_bytes() == (run.records / "label_map.txt").read_bytes()
  params = driver.load_experiment("mtl_frcnn", [str(folder / "params.yaml")])
  assert params.trainer.train_steps == run.last_step
  assert params.task.train_data.input_size == [96, 128]
  figures = json.loads((folder / f"evaluation-{run.last_step}.json").read_text())
  assert figures["step"] == run.last_step
  assert {f"auxiliary/{name}" for name in AUXILIARY} < set(figures)
  best = json.loads((folder / "best" / "info.json").read_text())
  assert best["best_ckpt_global_step"] == run.last_step
  assert best["voc/mAP50_area"] == figures["voc/mAP50_area"]
  best_path = tf.train.latest_checkpoint(str(folder / "best"))
  assert tf.train.load_variable(best_path, "global_step/.ATTRIBUTES/VARIABLE_VALUE") == (
    run.last_step
  )


@pytest.mark.slow
def test_tensorboard(run):
  scalars = read_events(run.model_dir / "train")
  for name in (*tiny.LOSSES, "training_loss", "learning_rate", "dropped_boxes"):
    steps = scalars[f"scalars:{name}"]
    # Both processes wrote: steps up to the kill, and those after the restored checkpoint.
    assert min(steps) == 2
    assert run.killed_at + 2 in steps
    assert max(steps) == run.last_step
  evaluated = read_events(run.model_dir / "validation")
  names = ["voc/mAP50_area", "voc/AP50_11point/cup", *(f"auxiliary/{name}" for name in AUXILIARY)]
  for name in names:
    assert evaluated[f"scalars:{name}"] == [run.last_step]
  pictures = read_events(run.model_dir / "pictures")
  assert pictures == {f"images:training/{i}": [2] for i in range(2)}


@pytest.mark.slow
def test_evaluation_alone(run, capsys):
  override = "task: {evaluation: {auxiliary_metrics: false}}"
  params = driver.load_experiment("mtl_frcnn", [str(run.model_dir / "params.yaml")], override)
  report = run.model_dir / f"evaluation-{run.last_step}.json"
  before = json.loads(report.read_text())
  best_before = sorted(os.listdir(run.model_dir / "best"))
  driver.run(params, "eval", str(run.model_dir))
  assert json.loads(report.read_text()) == before
  # Its settings are not the run's, so that its figures have a file of their own.
  (other,) = run.model_dir.glob(f"evaluation-{run.last_step}-*.json")
  names = {name for name in before if not name.startswith(("auxiliary/", "best_"))}
  changed = {"task.evaluation.auxiliary_metrics": False}
  assert json.loads(other.read_text()) == {
    **{name: before[name] for name in names},
    "changed_settings": changed,
  }
  assert f"evaluation at step {run.last_step}, " in capsys.readouterr().out
  # It does not take part in the choice of the best checkpoint.
  assert sorted(os.listdir(run.model_dir / "best")) == best_before
