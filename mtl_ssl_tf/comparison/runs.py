"""Carries out the trainings of a comparison; what is finished is not done again.

In the folder of the comparison:

  ARM/arm.json        the digest of its settings, so that others are not taken for them
  ARM/seed_N/         a run: overlay.yaml, train.log, model, results; run.json when it is complete
"""

import dataclasses
import datetime
import json
import os
import pathlib
import sys
from collections.abc import Mapping
from typing import Any

import yaml

from mtl_ssl_tf import files
from mtl_ssl_tf.comparison import arms as arms_lib
from mtl_ssl_tf.comparison import processes
from mtl_ssl_tf.data.ground_truth import detection_files

RUN_FILE, ARM_FILE = "run.json", "arm.json"
# What refinement is given at evaluation, with the weights of a run that has it.
ABLATIONS = {
  "refinement_off": "task.refinement.enabled=false",
  "without_main_head": "task.refinement.zeroed_input=main_head",
  "without_multi_object": "task.refinement.zeroed_input=multi_object",
  "without_closeness": "task.refinement.zeroed_input=closeness",
}


@dataclasses.dataclass(frozen=True)
class Schedule:
  """Equal for all runs of a comparison.

  Attributes:
    steps: of the training.
    interval: steps between two evaluations; the last one is after the last step.
    init: start weights, as `--init` takes them; empty is that of the configurations.
    experiment: name, as `--experiment` takes it.
  """

  steps: int
  interval: int
  init: str = ""
  experiment: str = "mtl_frcnn"


@dataclasses.dataclass(frozen=True)
class Run:
  """A training of one arm with one seed."""

  arm: arms_lib.Arm
  seed: int
  output_dir: pathlib.Path

  @property
  def folder(self) -> pathlib.Path:
    """Folder of the run."""
    return self.output_dir / self.arm.name / f"seed_{self.seed}"

  @property
  def model_dir(self) -> pathlib.Path:
    """Folder of its checkpoints."""
    return self.folder / "model"

  @property
  def name(self) -> str:
    """Name of the run in messages."""
    return f"{self.arm.name} seed {self.seed}"

  @property
  def is_complete(self) -> bool:
    """Whether the run need not be carried out again."""
    return (self.folder / RUN_FILE).exists()

  def record(self) -> dict[str, Any]:
    """Returns the content of its `run.json`."""
    content = json.loads((self.folder / RUN_FILE).read_text())
    # JSON has no keys but texts.
    content["figures"] = {int(step): found for step, found in content["figures"].items()}
    return content

  def ablations(self) -> dict[str, dict[str, float]]:
    """Returns the figures of each of `ABLATIONS` that is there."""
    paths = {setting: self.folder / f"ablation_{setting}.json" for setting in ABLATIONS}
    return {
      setting: json.loads(path.read_text()) for setting, path in paths.items() if path.exists()
    }

  def results(self, step: int) -> tuple[pathlib.Path, pathlib.Path]:
    """Returns the files of detections and of ground truth of an evaluation."""
    folder = self.folder / "results" / f"step_{step}"
    return (
      folder / detection_files.COCO_RESULTS_FILE,
      folder / detection_files.COCO_GROUND_TRUTH_FILE,
    )


def overlay(run: Run, schedule: Schedule) -> dict[str, Any]:
  """Returns the fields that a run sets over its arm: seeds, schedule, evaluation."""
  return {
    "task": {
      "seed": run.seed,
      "train_data": {"seed": run.seed},
      "pictures": {"interval": 0},
      "evaluation": {"results_dir": str(run.folder / "results")},
    },
    "trainer": {
      "train_steps": schedule.steps,
      "validation_interval": schedule.interval,
      "checkpoint_interval": schedule.interval,
    },
  }


def command(run: Run, schedule: Schedule) -> list[str]:
  """Returns the command that trains and evaluates."""
  result = [
    sys.executable,
    "-m",
    "mtl_ssl_tf.train",
    f"--experiment={schedule.experiment}",
    "--mode=train_and_eval",
    f"--model_dir={run.model_dir}",
  ]
  result += [f"--config_file={path}" for path in run.arm.config_files]
  result.append(f"--config_file={run.folder / 'overlay.yaml'}")
  if run.arm.overrides:
    result.append(f"--params_override={run.arm.overrides}")
  if schedule.init:
    result.append(f"--init={schedule.init}")
  return result


def claim(output_dir: pathlib.Path, name: str, digest: str, schedule: Schedule) -> None:
  """Makes the folder of an arm.

  Raises:
    ValueError: it holds runs of other settings, or what is no comparison's.
  """
  path = output_dir / name / ARM_FILE
  content = {"settings": digest, **dataclasses.asdict(schedule)}
  if not path.exists():
    if path.parent.is_dir() and any(path.parent.iterdir()):
      raise ValueError(
        f"arm {name!r}: {path.parent} is not empty and holds no {ARM_FILE}; accepted: another name,"
        " or another --output_dir"
      )
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_text(path, json.dumps(content, indent=2) + "\n")
  elif json.loads(path.read_text()) != content:
    raise ValueError(
      f"arm {name!r}: {path.parent} holds runs of other settings; accepted: those of {path},"
      " another name, or another --output_dir"
    )


def carry_out(run: Run, schedule: Schedule, processor: int) -> dict[str, Any]:
  """Trains and evaluates on one processor, and leaves `run.json`; resumes a run that was stopped.

  Returns:
    The content of `run.json`: `seed`, figures by step, CPU and wall minutes of this call, times.

  Raises:
    processes.RunError: the training failed.
  """
  run.folder.mkdir(parents=True, exist_ok=True)
  files.write_text(
    run.folder / "overlay.yaml", yaml.safe_dump(overlay(run, schedule), sort_keys=False)
  )
  started, log = _now(), run.folder / "train.log"
  has_begun = run.model_dir.exists()
  usage = processes.run(command(run, schedule), log, processor, cwd=pathlib.Path(os.getcwd()))
  if usage.status:
    raise processes.RunError(f"failed with {usage.status}: {log}: {processes.last_line(log)}")
  found = figures(run.model_dir)
  if schedule.steps not in found:
    raise processes.RunError(f"no figures of step {schedule.steps}: {log}: accepted: a whole run")
  record = {
    "arm": run.arm.name,
    "seed": run.seed,
    "started": started,
    "ended": _now(),
    # Of a run that was resumed, those of its last part.
    "is_resumed": has_begun,
    "cpu_minutes": usage.cpu_s / 60.0,
    "wall_minutes": usage.wall_s / 60.0,
    "figures": found,
  }
  files.write_text(run.folder / RUN_FILE, json.dumps(record, indent=1) + "\n")
  return run.record()


def ablate(run: Run, schedule: Schedule, setting: str, processor: int) -> dict[str, float]:
  """Evaluates the last weights of a run with another refinement; what is there is not done again.

  Args:
    run: a complete one.
    schedule: of the comparison.
    setting: one of `ABLATIONS`.
    processor: the only one that is used.

  Returns:
    The figures; those of the run itself stay as they are.

  Raises:
    processes.RunError: the evaluation failed.
  """
  path = run.folder / f"ablation_{setting}.json"
  if path.exists():
    return json.loads(path.read_text())
  before = set(run.model_dir.glob("evaluation-*.json"))
  log = run.folder / f"ablation_{setting}.log"
  overrides = ",".join(
    filter(None, (run.arm.overrides, ABLATIONS[setting], "task.evaluation.results_dir=''"))
  )
  arguments = [
    flag
    for flag in command(run, schedule)
    if not flag.startswith(("--params_override=", "--mode="))
  ]
  arguments += ["--mode=eval", f"--params_override={overrides}"]
  usage = processes.run(arguments, log, processor, cwd=pathlib.Path(os.getcwd()))
  written = set(run.model_dir.glob("evaluation-*.json")) - before
  if usage.status or len(written) != 1:
    raise processes.RunError(f"failed with {usage.status}: {log}: {processes.last_line(log)}")
  (figures_file,) = written
  content = json.loads(figures_file.read_text())
  files.write_text(path, json.dumps(_numbers(content), indent=1) + "\n")
  figures_file.unlink()
  return json.loads(path.read_text())


def _numbers(content: Mapping[str, Any]) -> dict[str, float]:
  """Returns the figures of an evaluation's file, those without a value left out."""
  return {
    name: value
    for name, value in content.items()
    if name != "step" and isinstance(value, int | float)
  }


def figures(model_dir: pathlib.Path) -> dict[int, dict[str, float]]:
  """Returns the figures of each evaluation of a run by step, those without a value left out."""
  found = {}
  for path in model_dir.glob("evaluation-*.json"):
    if path.stem.split("-", 1)[1].isdigit():
      content: Mapping[str, Any] = json.loads(path.read_text())
      step = int(content["step"])
      found[step] = _numbers(content)
  return dict(sorted(found.items()))


def _now() -> str:
  return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
