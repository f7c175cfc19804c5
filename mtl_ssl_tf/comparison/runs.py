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
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from mtl_ssl_tf import files
from mtl_ssl_tf.comparison import arms as arms_lib
from mtl_ssl_tf.comparison import processes
from mtl_ssl_tf.data.ground_truth import detection_files
from mtl_ssl_tf.reading import json_text, quoting

RUN_FILE, ARM_FILE = "run.json", "arm.json"
# What refinement is given at evaluation, with the weights of a run that has it.
ABLATIONS = {
  "refinement_off": "task.refinement.enabled=false",
  "without_main_head": "task.refinement.zeroed_input=main_head",
  "without_multi_object": "task.refinement.zeroed_input=multi_object",
  "without_closeness": "task.refinement.zeroed_input=closeness",
}
# Figures are fractions, losses or counts; what is larger is none, and may be infinite in per cent.
_MAX_FIGURE = 1e12
_RECORD = {
  "arm": str,
  "seed": int,
  "is_resumed": bool,
  "cpu_minutes": float,
  "figures": {str: {str: float}},
}
_AGAIN = "delete the file, and the same command makes it again"


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
    """Returns the content of its `run.json`.

    Raises:
      ValueError: it cannot be read, or is not one of this run.
    """
    path = self.folder / RUN_FILE
    content = _read(path, _RECORD, _AGAIN)
    for name, expected in (("arm", self.arm.name), ("seed", self.seed)):
      if content[name] != expected:
        shown = quoting.shown(content[name])
        raise ValueError(f"{path}: {name} is {shown}; accepted: {expected!r}; {_AGAIN}")
    if not content["figures"]:
      raise ValueError(f"{path}: figures is {{}}; accepted: figures by step; {_AGAIN}")
    for step, found in content["figures"].items():
      if not re.fullmatch(r"[0-9]{1,18}", step):
        shown = quoting.shown(step)
        raise ValueError(f"{path}: figures: step is {shown}; accepted: a whole number; {_AGAIN}")
      _check_sizes(found, f"{path}: figures")
    # JSON has no keys but texts.
    content["figures"] = {int(step): found for step, found in content["figures"].items()}
    return content

  def ablations(self) -> dict[str, dict[str, float]]:
    """Returns the figures of each of `ABLATIONS` that is there.

    Raises:
      ValueError: a file of them cannot be read.
    """
    paths = {setting: self.folder / f"ablation_{setting}.json" for setting in ABLATIONS}
    return {setting: _read_ablation(path) for setting, path in paths.items() if path.exists()}

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
    ValueError: it holds runs of other settings, or what is no comparison's, or cannot be read.
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
    return
  others = "another name, or another --output_dir"
  try:
    found = _read(path, dict, others)
  except ValueError as error:
    raise ValueError(f"arm {name!r}: {error}") from error
  if found != content:
    raise ValueError(
      f"arm {name!r}: {path.parent} holds runs of other settings; accepted: those of {path},"
      f" {others}"
    )


def carry_out(run: Run, schedule: Schedule, processor: int) -> dict[str, Any]:
  """Trains and evaluates on one processor, and leaves `run.json`; resumes a run that was stopped.

  Returns:
    The content of `run.json`: `seed`, figures by step, CPU and wall minutes of this call, times.

  Raises:
    processes.RunError: the training failed, or left what cannot be read.
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
  try:
    found = figures(run.model_dir)
  except ValueError as error:
    raise processes.RunError(str(error)) from error
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


def ablations_of(fields: Mapping[str, Any]) -> list[str]:
  """Returns those of `ABLATIONS` that say something of an arm.

  Args:
    fields: all fields of the arm by their path with dots. One without refinement has none, and an
      input that the arm lacks, as its task has no weight, cannot be left out.
  """
  if not fields.get("task.refinement.enabled"):
    return []
  lacking = {
    f"without_{task}"
    for task in ("multi_object", "closeness")
    if not fields.get(f"task.auxiliary.{task}.loss_weight")
  }
  return [setting for setting in ABLATIONS if setting not in lacking]


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
    processes.RunError: the evaluation failed, or left what cannot be read.
    ValueError: what is there cannot be read.
  """
  path = run.folder / f"ablation_{setting}.json"
  if path.exists():
    return _read_ablation(path)
  log = run.folder / f"ablation_{setting}.log"
  overrides = with_fields(run.arm.overrides, [ABLATIONS[setting], "task.evaluation.results_dir=''"])
  arguments = [
    flag
    for flag in command(run, schedule)
    if not flag.startswith(("--params_override=", "--mode="))
  ]
  arguments += ["--mode=eval", f"--params_override={overrides}"]
  usage = processes.run(arguments, log, processor, cwd=pathlib.Path(os.getcwd()))
  try:
    figures_file = None
    if not usage.status:
      figures_file = _evaluation_with(run.model_dir, schedule.steps, ABLATIONS[setting])
    if figures_file is None:
      raise processes.RunError(f"failed with {usage.status}: {log}: {processes.last_line(log)}")
    found = _read_evaluation(figures_file)[1]
  except ValueError as error:
    raise processes.RunError(str(error)) from error
  files.write_text(path, json.dumps(found, indent=1) + "\n")
  figures_file.unlink()
  return found


def _evaluation_with(model_dir: pathlib.Path, step: int, override: str) -> pathlib.Path | None:
  """The file of a step's evaluation that differs from the run in one setting; None without one.

  Others of the run may be evaluated at the same time, so that a new file is not enough to know.
  """
  field, _, value = override.partition("=")
  changed = {field: yaml.safe_load(value)}
  for path in sorted(model_dir.glob("evaluation-*.json")):
    content = _read(path, {}, "accepted: as an evaluation wrote it, or another --output_dir")
    if (content.get("step"), content.get("changed_settings")) == (step, changed):
      return path
  return None


def with_fields(overrides: str, fields: Sequence[str]) -> str:
  """Returns overrides with further ones, which replace those of the same field.

  Args:
    overrides: `FIELD=VALUE[,FIELD=VALUE]`, or empty.
    fields: `FIELD=VALUE` each, of fields whose values hold no comma.
  """
  for field in fields:
    name = re.escape(field.partition("=")[0])
    overrides = re.sub(rf"(^|,){name}=[^,]*", "", overrides).removeprefix(",")
  return ",".join(filter(None, (overrides, *fields)))


def _read_ablation(path: pathlib.Path) -> dict[str, float]:
  """Returns the figures of one of `ABLATIONS`."""
  found = _read(path, {str: float}, _AGAIN)
  _check_sizes(found, path)
  return found


def _read_evaluation(path: pathlib.Path) -> tuple[int, dict[str, float]]:
  """Returns the step and the figures in an evaluation's file."""
  content = _read(
    path, {"step": int}, "accepted: as the training wrote it, or another --output_dir"
  )
  return content["step"], _numbers(content)


def _read(path: pathlib.Path, pattern: Any, advice: str) -> Any:
  """Returns the content of a JSON file that an earlier call, or a training, left.

  Args:
    path: of the file.
    pattern: of its content, see `json_text.check`.
    advice: tells what to do where it is another one.

  Raises:
    ValueError: it cannot be read, or is another one.
  """
  try:
    content = json_text.read(path)
    json_text.check(content, pattern, path)
  except OSError as error:
    raise ValueError(f"{path}: cannot be read ({error.strerror}); {advice}") from error
  except ValueError as error:
    raise ValueError(f"{error}; {advice}") from error
  return content


def _check_sizes(found: Mapping[str, float], where: str | pathlib.Path) -> None:
  for name, value in found.items():
    if abs(value) > _MAX_FIGURE:
      raise ValueError(
        f"{where}: {quoting.one_line(name)} is {quoting.shown(value)}; accepted: at most"
        f" {_MAX_FIGURE:g}; {_AGAIN}"
      )


def _numbers(content: Mapping[str, Any]) -> dict[str, float]:
  """Returns the figures of an evaluation's file, those without a value left out."""
  return {
    name: value
    for name, value in content.items()
    if name != "step" and json_text.is_number(value) and abs(value) <= _MAX_FIGURE
  }


def figures(model_dir: pathlib.Path) -> dict[int, dict[str, float]]:
  """Returns the figures of each evaluation of a run by step, those without a value left out.

  Raises:
    ValueError: a file of them cannot be read.
  """
  paths = model_dir.glob("evaluation-*.json")
  found = dict(_read_evaluation(path) for path in paths if path.stem.split("-", 1)[1].isdigit())
  return dict(sorted(found.items()))


def _now() -> str:
  return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
