"""Losses of a run in float32, bfloat16 and float16, next to the noise between seeds of float32.

    python -m benchmarks.mixed_precision
    python -m benchmarks.mixed_precision --runs float32:0 float32:1 bfloat16:0 --steps 50
    python -m benchmarks.mixed_precision --runs float16:0 --enable_xla --output losses.json

Trains the BCCD row from scratch and averages each loss over the second half of the
steps, those of the shortest run. A run is a precision and a seed, of the weights and of everything
drawn. The noise is the distance between the largest and the smallest float32 mean, so that two
float32 runs are the least; a precision lies within it if its mean is no further than that from the
mean of the float32 runs.

Images are half as large as the row's and the heads process fewer regions, because desktop CPUs
have no kernels of note for half precisions; those of float16 take minutes a step, and compiled
ones (`--enable_xla`) seconds. Runs that are in the file of `--output` already are not
taken again.
"""

import argparse
import json
import pathlib
import re
import sys
import time

import numpy as np
import tensorflow as tf
import tf_keras

from mtl_ssl_tf import files
from mtl_ssl_tf.data import progress_lines
from mtl_ssl_tf.tasks import mtl_detection
from mtl_ssl_tf.training import driver

ROW = pathlib.Path(__file__).parents[1] / "configs/experiments/bccd_frcnn_mobilenet_mtl.yaml"
BASELINE = "float32"
RUNS = ("float32:0", "float32:1", "float32:2", "bfloat16:0", "float16:0")
SMALLER = {
  "anchors": {"base_size_px": 80.0},
  "rpn": {"num_proposals": 100},
  "roi_head": {"batch_size": 24},
  "train_data": {"input_size": [240, 320], "short_side": 240, "long_side": 320},
}


def train(precision: str, seed: int, steps: int, enable_xla: bool) -> dict[str, list[float]]:
  """Takes the steps of one run; returns each loss, step by step."""
  params = driver.load_experiment("mtl_frcnn", [str(ROW)])
  params.override(
    {"task": {**SMALLER, "seed": seed}, "runtime": {"mixed_precision_dtype": precision}},
    is_strict=True,
  )
  params.override({"task": {"train_data": {"seed": seed}}}, is_strict=True)
  params.runtime.enable_xla = enable_xla
  task = mtl_detection.MtlDetectionTask(
    params.task, crop_method=params.runtime.compiled_crop_method, precision=precision
  )
  model = task.build_model()
  optimizer = task.create_optimizer(params.trainer.optimizer_config, params.runtime)

  @tf.function(autograph=False, jit_compile=enable_xla or None)
  def step(images, labels):
    return task.train_step((images, labels), model, optimizer)

  losses = {}
  shown = progress_lines.Progress(
    f"{precision}, seed {seed}", steps, lambda line: print(line, file=sys.stderr)
  )
  for batch in task.build_inputs(params.task.train_data).take(steps):
    for name, value in step(*batch).items():
      losses.setdefault(name, []).append(float(value))
    shown.step()
  return losses


def table(runs: dict[str, dict]) -> list[str]:
  """Returns the lines of the table of mean losses."""
  steps = min(len(values) for losses in runs.values() for values in losses.values())
  half = slice(steps // 2, steps)
  means = {
    run: {name: float(np.mean(values[half])) for name, values in losses.items()}
    for run, losses in runs.items()
  }
  baselines = [run for run in means if run.startswith(f"{BASELINE}:")]
  others = [run for run in means if run not in baselines]
  lines = [f"Means of steps {half.start} to {half.stop}:", ""]
  lines += [f"| loss | {' | '.join(baselines)} | noise | {' | '.join(others)} | within |"]
  lines.append("|---" * (len(means) + 3) + "|")
  for name in means[baselines[0]]:
    values = [means[run][name] for run in baselines]
    noise = max(values) - min(values)
    distances = [abs(means[run][name] - np.mean(values)) for run in others]
    cells = [f"{value:.4f}" for value in (*values, noise, *(means[run][name] for run in others))]
    within = ", ".join("yes" if distance <= noise else "no" for distance in distances)
    lines.append(f"| {name} | {' | '.join(cells)} | {within} |")
  return lines


def main() -> None:
  """Runs the command line."""
  parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
  parser.add_argument("--runs", nargs="+", default=RUNS, help="precision:seed")
  parser.add_argument("--steps", type=int, default=200)
  parser.add_argument("--enable_xla", action="store_true", help="compile the step")
  parser.add_argument("--output", type=pathlib.Path, help="JSON file of the losses of every run")
  options = parser.parse_args()
  for run in options.runs:
    if not re.fullmatch(r"(float32|bfloat16|float16):\d+", run):
      parser.error(f"--runs holds {run!r}; accepted: float32, bfloat16 or float16, a colon, a seed")
  runs = {}
  if options.output and options.output.exists():
    runs = json.loads(options.output.read_text())
  for run in options.runs:
    if run in runs:
      continue
    precision, seed = run.split(":")
    start = time.monotonic()
    runs[run] = train(precision, int(seed), options.steps, options.enable_xla)
    print(f"{run}: {options.steps} steps in {time.monotonic() - start:.0f} s", flush=True)
    tf_keras.backend.clear_session()
    if options.output:
      files.write_text(options.output, json.dumps(runs))
  if sum(run.startswith(f"{BASELINE}:") for run in runs) < 2:
    sys.exit("error: no table: --runs needs two runs of float32 to estimate the noise from")
  print("\n".join(table(runs)))


if __name__ == "__main__":
  main()
