"""Measures how long training takes on this machine, by a few steps of it."""

import dataclasses
import pathlib
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence

import yaml

# A line of progress, as in "step 40/1200 | loss 2.1".
_STEP = re.compile(r"^step (\d+)/\d+ \|")
_STEPS_PER_LINE = 5
_LINES = 6
_MANY_STEPS = 10_000_000


@dataclasses.dataclass(frozen=True)
class Pace:
  """The duration of a training: `start_up_s + steps * step_s`.

  Attributes:
    start_up_s: seconds of building and compiling.
    step_s: seconds of a step.
  """

  start_up_s: float
  step_s: float

  def steps(self, seconds: float) -> int:
    """Returns how many steps fit, at least one."""
    return max(1, int((seconds - self.start_up_s) / self.step_s))


def measure(config_file: str) -> Pace:
  """Returns the pace of a configuration: trains for some steps in a temporary folder.

  Args:
    config_file: YAML file, whose records exist.

  Raises:
    ValueError: the training failed; holds its last line.
  """
  with tempfile.TemporaryDirectory() as folder:
    overlay = pathlib.Path(folder, "overlay.yaml")
    trainer = {
      "train_steps": _MANY_STEPS,
      "steps_per_loop": _STEPS_PER_LINE,
      "summary_interval": _STEPS_PER_LINE,
      "checkpoint_interval": _MANY_STEPS,
      "validation_interval": _MANY_STEPS,
    }
    fields = {"trainer": trainer, "task": {"pictures": {"interval": 0}}}
    overlay.write_text(yaml.safe_dump(fields))
    command = [sys.executable, "-m", "mtl_ssl_tf.train", "--mode=train"]
    command += [f"--config_file={config_file}", f"--config_file={overlay}"]
    return pace(*_watch([*command, f"--model_dir={folder}/model"]))


def _watch(command: Sequence[str]) -> tuple[list[tuple[int, float]], str]:
  """Runs a training until it has shown `_LINES` lines of progress.

  Returns:
    (step, seconds since the start) at each of them, and the last line of what it wrote.
  """
  start, points, last = time.monotonic(), [], "no output"
  process = subprocess.Popen(
    command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
  )
  try:
    for line in process.stdout:
      last = line.strip() or last
      found = _STEP.match(line)
      if found:
        points.append((int(found[1]), time.monotonic() - start))
        if len(points) == _LINES:
          break
  finally:
    process.kill()
    process.wait()
    process.stdout.close()
  return points, last


def pace(points: Sequence[tuple[int, float]], last: str) -> Pace:
  """Returns the pace of (step, seconds) points; the first one comes after compilation.

  Args:
    points: in order.
    last: line of the training's output, for the message.

  Raises:
    ValueError: there are fewer than two.
  """
  if len(points) < 2:
    raise ValueError(f"the training to measure ended early: {last[:300]}")
  (first_step, first_s), (step, seconds) = points[0], points[-1]
  step_s = (seconds - first_s) / (step - first_step)
  return Pace(max(0.0, first_s - first_step * step_s), step_s)
