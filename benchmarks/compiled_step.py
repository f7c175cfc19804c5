"""The training step and inference of published rows, compiled whole, next to uncompiled ones.

    python -m benchmarks.compiled_step
    python -m benchmarks.compiled_step --rows 'voc07_frcnn_*' --batches 50 --batch_size 2

For each row, at its full depth and width: how long XLA compiles; how far the losses of the first
step are from the uncompiled ones, with the same new weights and the same batch; the traces and the
XLA programs that the training step took for all batches; and the time of a step, uncompiled over
compiled. Inference is compiled too, and its detections are compared.

The data are the records of BCCD (README.md says how to get them), flipped and scaled at random, so
that the content of the input differs from batch to batch. So that this fits a desktop, images are
small and the heads process few regions; `--full` takes as many as the row does. `--small` leaves
one unit of each kind of ResNet and Inception, and compiles in a minute. Normalisation is by the
batch, because new weights with stored statistics mean nothing; inference then goes by the
statistics, and the weights, of the last uncompiled step.
"""

import argparse
import fnmatch
import os
import pathlib
import sys
import tempfile
import time
from typing import Any

import numpy as np
import tensorflow as tf

from mtl_ssl_tf.tasks import mtl_detection
from mtl_ssl_tf.training import driver
from tests.modeling import small_backbones

EXPERIMENTS = pathlib.Path(__file__).parents[1] / "configs" / "experiments"
ROWS = (
  "voc07_frcnn_mobilenet_mtl",
  "voc07_frcnn_resnet101_mtl",
  "voc07_rfcn_resnet101_mtl",
  "voc07_frcnn_incresv2_mtl",
)
FEW_REGIONS = {
  "rpn": {"num_proposals": 64},
  "roi_head": {"batch_size": 16},
  "auxiliary": {"multi_object": {"num_windows": 8}},
  "refinement": {"train_rois": 4},
}
SMALL = {"resnet_101": "small_resnet", "inception_resnet_v2": "small_inception"}
UNCOMPILED_STEPS = 4
# Of inference.
COMPARED = ("proposals_scores", "class_logits", "refined_logits", "detection_scores")
# Written once for each program that XLA compiles.
PROGRAM_FILES = "*train_step*.before_optimizations.txt"


def configuration(row: str, options: argparse.Namespace) -> Any:
  """Returns the row's configuration on the records of `options`."""
  params = driver.load_experiment("mtl_frcnn", [str(EXPERIMENTS / f"{row}.yaml")])
  data = {
    "input_path": os.path.join(options.records, "trainval-*.tfrecord"),
    "global_batch_size": options.batch_size,
    "input_size": options.image_size,
    "short_side": min(options.image_size),
    "long_side": max(options.image_size),
    "scale_min": 0.75,
    "scale_max": 1.33,
    "max_num_boxes": 40,
  }
  task = {
    "label_map": os.path.join(options.records, "label_map.txt"),
    "backbone": {"norm": {"type": "batch", "momentum": 0.0}},
    "train_data": data,
  }
  params.override({"task": task}, is_strict=True)
  if options.small:
    backbone = params.task.backbone
    backbone.type = SMALL.get(backbone.type, backbone.type)
  if not options.full:
    params.override({"task": FEW_REGIONS}, is_strict=True)
  return params


class Run:
  """A task with a model, an optimizer and its step."""

  def __init__(self, params: Any, compiled: bool):
    method = "matmul" if compiled else "native"
    self.task = mtl_detection.MtlDetectionTask(params.task, crop_method=method)
    self.model = self.task.build_model()
    self.optimizer = self.task.create_optimizer(params.trainer.optimizer_config, params.runtime)
    self.times = []

    def train_step(images, labels):
      return self.task.train_step((images, labels), self.model, self.optimizer)

    def detect(images, labels):
      return self.model(images, labels["image_size_px"])

    jit_compile = compiled or None
    self.step = tf.function(train_step, jit_compile=jit_compile, autograph=False)
    self.detect = tf.function(detect, jit_compile=jit_compile, autograph=False)

  def train(self, batch: tuple) -> dict[str, float]:
    """Takes a step and its time; returns the losses."""
    start = time.perf_counter()
    logs = {name: float(value) for name, value in self.step(*batch).items()}
    self.times.append(time.perf_counter() - start)
    return logs

  def timed_detect(self, batch: tuple) -> tuple[dict[str, np.ndarray], float]:
    start = time.perf_counter()
    outputs = {name: value.numpy() for name, value in self.detect(*batch).items()}
    return outputs, time.perf_counter() - start


def largest_difference(first: dict, second: dict) -> tuple[float, str]:
  """Returns the largest absolute difference of two dicts of values, and whose it is."""
  return max((float(np.max(np.abs(first[name] - second[name]))), name) for name in first)


def measure(row: str, options: argparse.Namespace, dump: pathlib.Path) -> str:
  """Returns the line of one row."""
  params = configuration(row, options)
  plain = Run(params, compiled=False)
  data = plain.task.build_inputs(params.task.train_data)
  batches = list(data.take(UNCOMPILED_STEPS))
  expected = [plain.train(batch) for batch in batches]
  plain_s = float(np.median(plain.times[1:]))
  weights = plain.model.get_weights()
  expected_outputs, _ = plain.timed_detect(batches[0])
  _, detect_s = plain.timed_detect(batches[0])
  del plain

  compiled = Run(params, compiled=True)
  before = len(list(dump.glob(PROGRAM_FILES)))
  differences = [largest_difference(compiled.train(batches[0]), expected[0])]
  traces = compiled.step.experimental_get_tracing_count()
  for batch in data.skip(1).take(options.batches - 1):
    logs = compiled.train(batch)
    if len(compiled.times) == len(expected):
      differences.append(largest_difference(logs, expected[-1]))
  traces = compiled.step.experimental_get_tracing_count() - traces
  programs = len(list(dump.glob(PROGRAM_FILES))) - before
  step_s = float(np.median(compiled.times[1:]))
  compiled.model.set_weights(weights)
  outputs, _ = compiled.timed_detect(batches[0])
  _, compiled_detect_s = compiled.timed_detect(batches[0])
  detections = largest_difference({name: outputs[name] for name in COMPARED}, expected_outputs)
  first, later = differences[0], differences[-1]
  return (
    f"| {row} | {compiled.times[0] - step_s:.0f} | {first[0]:.1e} ({first[1]}) |"
    f" {later[0]:.1e} ({later[1]}) | {detections[0]:.1e} ({detections[1]}) |"
    f" {traces} | {programs} |"
    f" {step_s:.2f} | {plain_s / step_s:.2f}x | {detect_s / compiled_detect_s:.2f}x |"
  )


def main() -> None:
  """Runs the command line."""
  parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
  parser.add_argument("--rows", default="*", help=f"pattern among {', '.join(ROWS)}")
  parser.add_argument("--records", default="data/bccd", help="folder of the records")
  parser.add_argument("--batches", type=int, default=50, help="steps of the compiled run")
  parser.add_argument("--batch_size", type=int, default=1)
  parser.add_argument("--image_size", type=int, nargs=2, default=[256, 320])
  parser.add_argument("--small", action="store_true", help="backbones of few units")
  parser.add_argument("--full", action="store_true", help="as many regions as the rows have")
  options = parser.parse_args()
  rows = [row for row in ROWS if fnmatch.fnmatch(row, options.rows)]
  if not rows:
    sys.exit(f"error: --rows is {options.rows!r}; accepted: a pattern among {', '.join(ROWS)}")
  print(
    f"| row | compile s | loss difference, step 1 | step {UNCOMPILED_STEPS} | inference |"
    " retraces | programs | step s | uncompiled / compiled | inference |"
  )
  print("|---" * 10 + "|", flush=True)
  with tempfile.TemporaryDirectory() as folder, small_backbones.registered():
    # XLA reads its flags when it compiles for the first time.
    os.environ["XLA_FLAGS"] = f"--xla_dump_to={folder} --xla_dump_hlo_as_text"
    for row in rows:
      print(measure(row, options, pathlib.Path(folder)), flush=True)


if __name__ == "__main__":
  main()
