"""Time of a training step: of the plain detector, of two views, and of two views that are mined.

    python -m benchmarks.co_mining
    python -m benchmarks.co_mining --config_file configs/experiments/bccd_frcnn_mobilenet_mtl.yaml
    python -m benchmarks.co_mining --params_override task.roi_head.type=rfcn --enable_xla
    python -m benchmarks.co_mining --checkpoint runs/demo/model/ckpt-1200

`joint` has two views of each image, `co_mining` also mines boxes in them. The steps of all three
take turns in one process, so that what else the machine does falls on all alike. The learning rate
is 0: all steps have the same weights, those of --checkpoint if it is given. On a machine that does
other things besides, go by the CPU times.

Batches are those of the configuration's records. Where these are missing, a batch is made up, and
where the label map is missing, one of 20 classes.
"""

import argparse
import os
import pathlib
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf
import yaml

from mtl_ssl_tf import registry_imports  # noqa: F401
from mtl_ssl_tf.compilation import step_inputs, step_program
from mtl_ssl_tf.configs import experiments, loading
from mtl_ssl_tf.tasks import mining_measures

ROW = "configs/experiments/demo_frcnn_mobilenet_mtl.yaml"
PLAIN, JOINT, CO_MINING = "plain", "joint", "co_mining"
WANTED = 1.15
NUM_CLASSES = 20
_STAND_STILL = {
  "trainer": {
    "optimizer_config": {
      "learning_rate": {"type": "constant", "constant": {"learning_rate": 0.0}},
      "warmup": {"type": None},
    }
  }
}


def configuration(variant: str, options: argparse.Namespace) -> Any:
  """Returns the row's configuration as one of the three trains it."""
  experiment = experiments.DEFAULT if variant == PLAIN else experiments.CO_MINING
  params = loading.load_experiment(experiment, options.config_file, options.params_override)
  if variant != PLAIN:
    params.override({"task": {"mining": options.mining}}, is_strict=True)
  params.override(_STAND_STILL, is_strict=True)
  if variant == JOINT:
    params.task.mining.mode = "joint"
  if options.batch_size:
    params.task.train_data.global_batch_size = options.batch_size
  if not os.path.exists(params.task.label_map):
    params.task.label_map = options.made_up_label_map
  return params


class Variant:
  """A step of one of the three, with a model of its own and its times."""

  def __init__(self, variant: str, options: argparse.Namespace):
    params = configuration(variant, options)
    step_program.check(params)
    crop_method = "matmul" if options.enable_xla else "native"
    self._program = step_program.StepProgram(params, crop_method)
    self._program.load(options.checkpoint)
    self._take: Callable | None = None
    self._jit_compile = options.enable_xla or None
    self.params, self.task = params, self._program.task
    self.times: list[float] = []
    self.cpu_times: list[float] = []
    self.logs: dict[str, float] = {}

  def step(self, batch: tuple) -> None:
    """Takes a step, and its time."""
    if self._take is None:
      self._take = tf.function(
        lambda images, labels: self.task.train_step(
          (images, labels), self._program.model, self._program.optimizer
        ),
        jit_compile=self._jit_compile,
        autograph=False,
      )
    start, cpu_start = time.perf_counter(), time.process_time()
    logs = self._take(*batch)
    self.logs = {name: float(value) for name, value in logs.items()}
    self.times.append(time.perf_counter() - start)
    self.cpu_times.append(time.process_time() - cpu_start)


def batches(variant: Variant, number: int) -> list[tuple]:
  """Returns batches of the variant's records, or one that is made up."""
  data = variant.params.task.train_data
  if step_inputs.is_there(data):
    return list(step_inputs.batches(variant.task, data, data.global_batch_size).take(number))
  print(f"no records match {data.input_path!r}: the batch is made up", file=sys.stderr)
  return [step_inputs.made_up_batch(variant.task, data, data.global_batch_size)]


def table(times: dict[str, Sequence[float]]) -> list[str]:
  """Returns the lines of the table: medians, and medians of the ratios of each turn.

  Args:
    times: seconds of each variant's steps, turn by turn.
  """

  def ratio(variant: str, other: str) -> str:
    pairs = zip(times[variant], times[other], strict=True)
    return f"{statistics.median(a / b for a, b in pairs):.2f}"

  lines = ["| step | median s | to plain | to joint |", "|---|---|---|---|"]
  for variant, seconds in times.items():
    cells = (variant, f"{statistics.median(seconds):.3f}", ratio(variant, PLAIN))
    lines.append("| " + " | ".join((*cells, ratio(variant, JOINT))) + " |")
  return lines


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
  """Returns the flags."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--config_file", action="append", help=f"row; default: {ROW}")
  parser.add_argument("--params_override", help="fields over those of the row")
  parser.add_argument(
    "--mining",
    type=yaml.safe_load,
    default={},
    help="fields of task.mining, e.g. {num_proposals: 64}",
  )
  parser.add_argument("--checkpoint", help="of a run; default: the weights that a run starts from")
  parser.add_argument("--batch_size", type=int, help="images; default: the row's")
  parser.add_argument("--steps", type=int, default=10, help="timed steps of each")
  parser.add_argument("--enable_xla", action="store_true", help="compile the steps")
  options = parser.parse_args(argv)
  options.config_file = options.config_file or [ROW]
  if options.steps < 1:
    parser.error(f"--steps is {options.steps}; accepted: at least 1")
  return options


def main(argv: Sequence[str] | None = None) -> None:
  """Runs the command line."""
  options = parse(argv)
  with tempfile.TemporaryDirectory() as folder:
    options.made_up_label_map = os.path.join(folder, "label_map.txt")
    pathlib.Path(options.made_up_label_map).write_text(
      "".join(f"class{number}\n" for number in range(NUM_CLASSES))
    )
    variants = {name: Variant(name, options) for name in (PLAIN, JOINT, CO_MINING)}
  drawn = batches(variants[PLAIN], options.steps)
  for variant in variants.values():  # The first step traces, the second still warms up.
    variant.step(drawn[0])
    variant.step(drawn[0])
    variant.times.clear()
    variant.cpu_times.clear()
  for number in range(options.steps):
    for variant in variants.values():
      variant.step(drawn[number % len(drawn)])
  for kind in ("times", "cpu_times"):
    print(f"{kind.replace('_', ' ')}\n")
    print("\n".join(table({name: vars(variant)[kind] for name, variant in variants.items()})))
    print()
  mined = variants[CO_MINING].logs
  print(
    f"mined boxes a view {mined[mining_measures.BOXES]:.1f}, of"
    f" {mined[mining_measures.CANDIDATES]:.1f} candidates; wanted of co_mining to joint: at most"
    f" {WANTED}"
  )


if __name__ == "__main__":
  main()
