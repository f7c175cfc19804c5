"""The measurements of a run: which ones, in which order, and how one is run."""

import dataclasses
import fnmatch
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence

from benchmarks.cost import rows

SECTIONS = ("steps", "parts", "growth", "labels", "peak")
# Of each row's time, half is taken on the way up the list and half on the way down, so that a
# machine that grows slower favours no row.
ROUNDS, REPEATS_A_ROUND = 2, 3
REPEATS, LABEL_REPEATS = 5, 15
# Of inference, and of the training step, at one point of a curve.
GROWTH_BUDGET_S = 6.0
LABEL_CASES = ((20, 21), (100, 91))
_TIMEOUT_S = 3600
Job = dict


def plan(
  sections: Sequence[str],
  pattern: str,
  precisions: Sequence[str],
  peers: Sequence[tuple[str, str]] = (),
  small: bool = False,
) -> list[Job]:
  """Returns the jobs of a run, in order.

  Args:
    sections: of `SECTIONS`.
    pattern: of names of rows and curves, as in a shell.
    precisions: of `rows.PRECISIONS`.
    peers: name and command of other detectors; each runs before and after our rows.
    small: sizes whose figures mean nothing, quickly.
  """
  found = []
  if "labels" in sections:
    found += [_labels_job(*case) for case in LABEL_CASES]
  if "peak" in sections:
    found += [_peak_job(precision, small) for precision in precisions]
  if "steps" in sections:
    found += [_peer_job(name, command, 1) for name, command in peers]
    names = [name for name in rows.ROWS if fnmatch.fnmatch(name, pattern)]
    lines = [(name, precision) for name in names for precision in precisions]
    for number in range(1, ROUNDS + 1):
      found += [_steps_job(*line, number, small) for line in lines]
      lines.reverse()
    found += [_peer_job(name, command, 2) for name, command in peers]
  if "parts" in sections:
    found += [
      _parts_job(name, precision, small)
      for name in rows.PARTS_ROWS
      if fnmatch.fnmatch(name, pattern)
      for precision in precisions
    ]
  if "growth" in sections:
    found += [
      _growth_job(curve, value, small)
      for curve in rows.CURVES
      if fnmatch.fnmatch(curve, pattern)
      for value in rows.CURVES[curve].values
    ]
  return found


def key(job: Job) -> str:
  """Returns the job's name, one for each job of a plan."""
  words = (job["section"], job["name"], job.get("precision"), job.get("value"), job.get("round"))
  return "/".join(str(word) for word in words if word is not None)


def _steps_job(name: str, precision: str, number: int, small: bool) -> Job:
  return {
    "section": "steps",
    "name": name,
    "precision": precision,
    "round": number,
    "repeats": REPEATS_A_ROUND,
    "inference": True,
    "setup": dataclasses.asdict(rows.row_setup(name, precision, small)),
  }


def _parts_job(name: str, precision: str, small: bool) -> Job:
  return {
    "section": "parts",
    "name": name,
    "precision": precision,
    "repeats": REPEATS,
    "small": small,
    "setup": dataclasses.asdict(rows.row_setup(name, precision, small, rows.PARTS_OVERRIDE)),
  }


def _growth_job(curve: str, value: int, small: bool) -> Job:
  return {
    "section": "growth",
    "name": curve,
    "value": value,
    "repeats": REPEATS,
    "budget_s": GROWTH_BUDGET_S,
    "inference": rows.CURVES[curve].inference,
    "setup": dataclasses.asdict(rows.growth_setup(curve, value, small)),
  }


def _labels_job(num_boxes: int, num_classes: int) -> Job:
  return {
    "section": "labels",
    "name": f"{num_boxes} boxes, {num_classes} classes",
    "num_boxes": num_boxes,
    "num_classes": num_classes,
    "repeats": LABEL_REPEATS,
  }


def _peak_job(precision: str, small: bool) -> Job:
  return {
    "section": "peak",
    "name": "convolution",
    "precision": precision,
    "repeats": REPEATS,
    "small": small,
  }


def _peer_job(name: str, command: str, number: int) -> Job:
  return {"section": "peer", "name": name, "command": command, "round": number}


def carry_out(job: Job) -> dict:
  """Runs a job in a process of its own; returns its result, or `{"error": cause}`."""
  if job["section"] == "peer":
    command = ["bash", "-c", job["command"]]
  else:
    command = [sys.executable, "-m", "benchmarks.cost.child", json.dumps(job)]
  environment = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1", **os.environ}
  try:
    status, stdout, stderr = _run(command, environment)
  except subprocess.TimeoutExpired:
    return {"error": f"took more than {_TIMEOUT_S} s"}
  result = _last_json(stdout)
  if status < 0:
    name = signal.Signals(-status).name
    hint = "; is there too little memory?" if name == "SIGKILL" else ""
    return {"error": f"ended by {name}{hint}"}
  if result is None:
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    last = lines[-1][:300] if lines else "nothing on stderr"
    return {"error": f"no line of JSON on stdout, exit status {status}: {last}"}
  if job["section"] == "peer" and "error" not in result:
    return _peer_result(result)
  return result


def _run(command: Sequence[str], environment: dict[str, str]) -> tuple[int, str, str]:
  """Returns exit status, stdout and stderr of a command, which does not outlive this call."""
  # A group of its own, so that what a shell has started ends with it.
  process = subprocess.Popen(
    command,
    env=environment,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
    start_new_session=True,
  )
  try:
    stdout, stderr = process.communicate(timeout=_TIMEOUT_S)
  except BaseException:  # The time limit, Ctrl-C, or a signal that ends this process.
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    raise
  return process.returncode, stdout, stderr


def _peer_result(result: dict) -> dict:
  for name in ("infer_s", "train_s"):
    if not isinstance(result.get(name), int | float):
      reason = result.get(name.replace("_s", "_error"), f"{name} is {result.get(name)!r}")
      return {"error": f"{reason}; accepted: a JSON line with seconds `infer_s` and `train_s`"}
  return result


def _last_json(text: str) -> dict | None:
  """Returns the last line that is a JSON object."""
  for line in reversed(text.splitlines()):
    if line.startswith("{"):
      try:
        return json.loads(line)
      except json.JSONDecodeError:
        continue
  return None
