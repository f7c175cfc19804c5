"""Shared by the programs that time a peer's step for `benchmarks.run`: flags, boxes, the line."""

import argparse
import json
import statistics
from collections.abc import Callable

import numpy as np

from benchmarks.cost import measuring

HEIGHT, WIDTH = 640, 1024
NUM_CLASSES, NUM_BOXES = 20, 5
NUM_PROPOSALS, NUM_SAMPLED = 300, 256
SCORE_THRESHOLD = 0.05
# As `experiment` has it for ours, so that proposals of random weights are ordinary boxes.
BRANCH_SCALE = 0.2
LEARNING_RATE, MOMENTUM = 1e-4, 0.9


def parser(description: str) -> argparse.ArgumentParser:
  """Returns the flags that every program of this kind takes."""
  result = argparse.ArgumentParser(description=description, allow_abbrev=False)
  result.add_argument("--height", type=int, default=HEIGHT)
  result.add_argument("--width", type=int, default=WIDTH)
  result.add_argument("--repeats", type=int, default=3, help="timed calls of each kind")
  result.add_argument("--threads", type=int, default=2)
  return result


def random_boxes(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
  """Returns boxes [NUM_BOXES, 4], [ymin, xmin, ymax, xmax] in pixels, as those of our images."""
  size = np.array([height, width])
  sides = rng.uniform(0.1, 0.5, [NUM_BOXES, 2]) * size
  starts = rng.uniform(0.0, 1.0, [NUM_BOXES, 2]) * (size - sides)
  return np.concatenate([starts, starts + sides], axis=1).astype(np.float32)


def measure(
  infer: Callable[[], int], train: Callable[[], float], repeats: int
) -> dict[str, float | int]:
  """Times inference and the training step, in this order, each after two calls that do not count.

  Args:
    infer: returns the number of proposals that it classified.
    train: returns the loss.
    repeats: timed calls.

  Returns:
    The content of the line that `benchmarks.run` reads, with the process's peak of memory.

  Raises:
    FloatingPointError: the loss is not finite, so that the step did not do its usual work.
  """
  found, proposals = {}, []

  def checked_step() -> None:
    loss = train()
    if not np.isfinite(loss):
      raise FloatingPointError(f"the loss of a training step is {loss}")

  for name, call in (("infer", lambda: proposals.append(infer())), ("train", checked_step)):
    measuring.restart_peak()
    times = measuring.timed(call, repeats)
    found[f"{name}_s"] = statistics.median(times["seconds"])
    found[f"{name}_other_cores"] = times["other_cores"]
    found[f"{name}_peak_mib"] = measuring.peak_mib()
  return {**found, "proposals": proposals[-1]}


def report(found: dict[str, float | int]) -> None:
  """Prints the line."""
  print(json.dumps(found), flush=True)
