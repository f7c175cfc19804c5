"""Carries out the runs of a comparison: calibration, training, evaluation, all resumable.

In the folder of an arm:

  arm.json         the digest of its settings, so that others are not taken for them
  calibration/     the short training that the first rate comes from
  steps.json       training steps by budget in CPU minutes, the same for all seeds
  MINmin_seedN/    a run: settings, logs, model, result files; run.json when it is complete
"""

import dataclasses
import datetime
import json
import os
import pathlib
import shutil
import subprocess
import sys
import threading
from typing import Any

import yaml

from benchmarks.accuracy import arms as arms_lib
from benchmarks.accuracy import budget, processes
from benchmarks.accuracy import data as data_lib

RUN_FILE = "run.json"
METRICS = {"mAP50": "voc/mAP50_area", "AP": "coco/AP"}
_FALLING_RATES = ("cosine", "polynomial")
# A calibration ends long before; this keeps it from evaluating or saving.
_ENDLESS = 10_000_000
_CALIBRATION_S = 40.0
_CONFUSED_PAIRS = 3


@dataclasses.dataclass(frozen=True)
class Run:
  """A training of one arm on one data set."""

  data: data_lib.DataSet
  arm: arms_lib.Ours | arms_lib.Peer
  minutes: float
  seed: int

  @property
  def arm_dir(self) -> pathlib.Path:
    """Folder of the arm on this data set."""
    return self.data.folder / self.arm.name

  @property
  def folder(self) -> pathlib.Path:
    """Folder of the run."""
    return self.arm_dir / f"{self.minutes:g}min_seed{self.seed}"

  @property
  def name(self) -> str:
    """Returns what the run is called in messages."""
    return f"{self.data.name} {self.arm.name} {self.minutes:g} min seed {self.seed}"

  @property
  def is_complete(self) -> bool:
    """Whether the run need not be carried out again."""
    return (self.folder / RUN_FILE).exists()


class ArmState:
  """The rate and the chosen steps of one of our arms on a data set, on disk."""

  def __init__(self, data: data_lib.DataSet, arm: arms_lib.Ours):
    self._data, self._arm = data, arm
    self._folder = data.folder / arm.name
    self._lock = threading.Lock()

  def calibrate(self, processor: int, cpu_s: float) -> None:
    """Trains until `cpu_s` CPU seconds after the first steps, unless that was done.

    Raises:
      RunError: the training failed or ended too early.
    """
    if self._rate_file.exists():
      return
    folder = self._rate_file.parent
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    overlay, model_dir = folder / "overlay.yaml", folder / "model"
    fields = arms_lib.overlay(self._data, 0, _ENDLESS, folder / "results")
    arms_lib.write_overlay(overlay, fields)
    log = folder / "train.log"
    usage = processes.run(
      self._arm.command("train", model_dir, overlay),
      log,
      processor,
      cwd=data_lib.ROOT,
      is_enough=lambda points: budget.is_enough(points, cpu_s),
    )
    rate = budget.rate(usage.points)
    if usage.status or rate is None:
      cause = processes.last_line(log)
      raise processes.RunError(f"calibration failed with {usage.status}: {log}: {cause}")
    settings = yaml.safe_load((model_dir / "params.yaml").read_text())
    learning_rate = settings["trainer"]["optimizer_config"]["learning_rate"]["type"]
    shutil.rmtree(model_dir)
    content = {**dataclasses.asdict(rate), "points": usage.points, "learning_rate": learning_rate}
    write_json(self._rate_file, content)

  def steps(self, minutes: float) -> int:
    """Returns the steps that fill a budget; the first call decides, for all seeds."""
    path = self._folder / "steps.json"
    with self._lock:
      chosen = read_json(path) if path.exists() else {}
      key = f"{minutes:g}"
      if key not in chosen:
        chosen[key] = self._rate().steps(60.0 * minutes)
        write_json(path, chosen)
      return chosen[key]

  @property
  def falling_rate(self) -> str:
    """The type of a learning rate that falls until the last step; empty for any other."""
    found = read_json(self._rate_file)["learning_rate"]
    return found if found in _FALLING_RATES else ""

  @property
  def _rate_file(self) -> pathlib.Path:
    return self._folder / "calibration" / "rate.json"

  def _rate(self) -> budget.Rate:
    """The rate of the longest complete run, else that of the calibration."""
    found = [read_json(path) for path in self._folder.glob(f"*/{RUN_FILE}")]
    source = max(found, key=lambda run: run["cpu_minutes"], default=read_json(self._rate_file))
    return budget.Rate(source["start_up_s"], source["step_s"])


def claim(data: data_lib.DataSet, arm: arms_lib.Ours | arms_lib.Peer) -> None:
  """Makes the folder of an arm.

  Raises:
    ValueError: it holds runs of other settings.
  """
  path = data.folder / arm.name / "arm.json"
  content = {"signature": arm.signature(), **dataclasses.asdict(arm)}
  if path.exists():
    if read_json(path)["signature"] != content["signature"]:
      raise ValueError(
        f"arm {arm.name!r}: {path.parent} holds runs of other settings; accepted: those of"
        f" {path}, or another name"
      )
    return
  path.parent.mkdir(parents=True, exist_ok=True)
  write_json(path, content)


def carry_out(run: Run, processor: int, state: ArmState | None) -> dict[str, Any]:
  """Trains, evaluates and leaves `run.json`; what is finished is not done again.

  Args:
    run: what to do.
    processor: the only one that is used.
    state: of the arm; None for a peer.

  Returns:
    The content of `run.json`.

  Raises:
    RunError: a command failed.
  """
  started = _now()
  if state is not None:
    training, results = _run_ours(run, processor, state)
  else:
    training, results = _run_peer(run, processor)
  record = {
    "data": run.data.name,
    "arm": run.arm.name,
    "minutes": run.minutes,
    "seed": run.seed,
    "started": started,
    "commit": commit(),
    **training,
    **_judge(run, results, processor),
  }
  write_json(run.folder / RUN_FILE, record)
  return record


def _run_ours(run: Run, processor: int, state: ArmState) -> tuple[dict[str, Any], pathlib.Path]:
  training_file, model_dir = run.folder / "training.json", run.folder / "model"
  overlay, results_dir = run.folder / "overlay.yaml", run.folder / "results"
  if not training_file.exists():
    # Begun again, because the CPU seconds of a part are not known.
    shutil.rmtree(run.folder, ignore_errors=True)
    run.folder.mkdir(parents=True)
    steps = state.steps(run.minutes)
    fields = arms_lib.overlay(run.data, run.seed, steps, results_dir, state.falling_rate)
    arms_lib.write_overlay(overlay, fields)
    usage = _checked(run.arm.command("train", model_dir, overlay), run, "train.log", processor)
    rate = budget.rate(usage.points)
    step_s = rate.step_s if rate else usage.cpu_s / steps
    write_json(
      training_file,
      {
        "steps": steps,
        "cpu_minutes": usage.cpu_s / 60.0,
        "wall_minutes": usage.wall_s / 60.0,
        "step_s": step_s,
        "start_up_s": max(0.0, usage.cpu_s - steps * step_s),
      },
    )
  training = read_json(training_file)
  shutil.rmtree(results_dir, ignore_errors=True)
  usage = _checked(run.arm.command("eval", model_dir, overlay), run, "eval.log", processor)
  (results,) = results_dir.glob("step_*/coco_results.json")
  return {**training, "evaluation_cpu_s": usage.cpu_s}, results


def _run_peer(run: Run, processor: int) -> tuple[dict[str, Any], pathlib.Path]:
  report_file, training_file = run.folder / arms_lib.REPORT_FILE, run.folder / "training.json"
  results = run.folder / arms_lib.RESULTS_FILE
  if not training_file.exists():
    shutil.rmtree(run.folder, ignore_errors=True)
    run.folder.mkdir(parents=True)
    values = {
      "work_dir": run.folder,
      "arm_dir": run.arm_dir,
      "minutes": f"{run.minutes:g}",
      "seed": run.seed,
      "train": run.data.coco("train"),
      "test": run.data.coco("test"),
      "images": run.data.images,
    }
    usage = _checked(run.arm.command(values), run, "train.log", processor)
    if not results.exists():
      raise processes.RunError(f"{results} is missing; the command of --peer is to write it")
    report = read_json(report_file) if report_file.exists() else {}
    train_cpu_s = report.get("train_cpu_s", usage.cpu_s)
    write_json(
      training_file,
      {
        "steps": report.get("steps"),
        "cpu_minutes": train_cpu_s / 60.0,
        "wall_minutes": report.get("train_wall_s", usage.wall_s) / 60.0,
        "step_s": report.get("step_s"),
        "start_up_s": report.get("start_up_s"),
        "evaluation_cpu_s": report.get("evaluation_cpu_s"),
      },
    )
  return read_json(training_file), results


def _judge(run: Run, results: pathlib.Path, processor: int) -> dict[str, Any]:
  """Evaluates the result file by our evaluation; returns figures, costs and confusions."""
  folder = run.folder / "figures"
  command = [sys.executable, "-m", "mtl_ssl_tf.evaluate", f"--predictions={results}"]
  command += [f"--ground_truth={run.data.coco('test')}", "--metric", "voc", "coco"]
  command += [f"--ids_of={run.data.coco('test')}", "--errors", f"--output_dir={folder}"]
  _checked(command, run, "judge.log", processor)
  figures = read_json(folder / "figures.json")
  confusion = read_json(folder / "confusion_matrix.json")
  return {
    **{name: 100.0 * figures[key] for name, key in METRICS.items()},
    "costs": {
      kind: 100.0 * (cost or 0.0)
      for kind, cost in read_json(folder / "errors.json")["costs"].items()
    },
    "confused": confused_pairs(confusion["rows_true_columns_detected"], confusion["counts"]),
  }


def confused_pairs(names: list[str], counts: list[list[int]]) -> list[tuple[str, str, int]]:
  """Returns (true class, detected class, number) of the classes most often confused.

  Args:
    names: of rows and columns, background first.
    counts: objects by true class (row) and detected class (column).
  """
  pairs = [
    (names[row], names[column], counts[row][column])
    for row in range(1, len(names))
    for column in range(1, len(names))
    if row != column and counts[row][column]
  ]
  return sorted(pairs, key=lambda pair: -pair[2])[:_CONFUSED_PAIRS]


def _checked(command: list[str], run: Run, log_name: str, processor: int) -> processes.Usage:
  return processes.check(command, run.folder / log_name, processor, data_lib.ROOT)


def commit() -> str:
  """Returns the commit of this checkout."""
  found = subprocess.run(
    ["git", "rev-parse", "--short", "HEAD"], cwd=data_lib.ROOT, capture_output=True, text=True
  )
  return found.stdout.strip() or "unknown"


def _now() -> str:
  return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def calibration_seconds(budgets: list[float]) -> float:
  """Returns the CPU seconds that a calibration trains for: less where budgets are tiny."""
  return min(_CALIBRATION_S, 15.0 * min(budgets))


def read_json(path: pathlib.Path) -> Any:
  """Returns the content of a JSON file."""
  return json.loads(path.read_text())


def write_json(path: pathlib.Path, content: Any) -> None:
  """Writes a JSON file, atomically."""
  part = path.with_name(path.name + ".part")
  part.write_text(json.dumps(content, indent=1) + "\n")
  os.replace(part, path)
