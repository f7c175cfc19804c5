"""Times the start of a run, up to its second step: imports, building, tracing, the first step.

    python -m benchmarks.start_up [--rows voc07_frcnn_resnet101_mtl ...] [--repeats 3]
    python -m benchmarks.start_up --saved_model exported/NAME

Every line is the median over fresh processes, in seconds. The columns:

* TensorFlow: its own import; package: what `train.py` imports on top;
* build: the model with its variables; trace: the training step's graph;
* first step and second step: the first also optimises the graph and compiles the labels.

With `--saved_model`: loading it, the first image and the second, as a program that calls
`mtl_ssl_tf.load` does. Images are small and regions few, which building and tracing do not depend
on, so that steps do not hide the rest. Ten minutes for the three rows; see `uptime` before.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time

import numpy as np

ROWS = (
  "voc07_frcnn_mobilenet_mtl",
  "voc07_frcnn_resnet101_baseline",
  "voc07_frcnn_resnet101_mtl",
)
IMAGE_SIZE = (480, 640)


class Clock:
  """Seconds since the last mark, by name."""

  def __init__(self):
    self.seconds = {}
    self._last = time.perf_counter()

  def stop(self, name: str) -> None:
    now = time.perf_counter()
    self.seconds[name] = now - self._last
    self._last = now


def training(row: str) -> dict[str, float]:
  """Seconds of each part of a training run's start, in this process."""
  clock = Clock()
  import tensorflow as tf

  clock.stop("TensorFlow")
  from mtl_ssl_tf import registry_imports  # noqa: F401
  from mtl_ssl_tf.tasks import mtl_detection
  from mtl_ssl_tf.training import driver, trainer

  clock.stop("package")
  from benchmarks import first_steps

  num_object_classes = first_steps.NUM_OBJECT_CLASSES[row.split("_")[0]]
  params = driver.load_experiment("mtl_frcnn", [str(first_steps.EXPERIMENTS / f"{row}.yaml")])
  with tempfile.NamedTemporaryFile("w", suffix=".txt") as label_map:
    label_map.write("".join(f"class{i}\n" for i in range(num_object_classes)))
    label_map.flush()
    params.override({"task": {"label_map": label_map.name, **first_steps.FEW_REGIONS}})
    task = mtl_detection.MtlDetectionTask(params.task)
  batch = first_steps.make_batch(num_object_classes)
  clock.stop("other")
  model = task.build_model()
  optimizer = task.create_optimizer(params.trainer.optimizer_config, params.runtime)
  trainer.create_slots(optimizer, model.trainable_variables)
  clock.stop("build")

  @tf.function(autograph=False)
  def step(images, labels):
    return task.train_step((images, labels), model, optimizer)

  step.get_concrete_function(*batch)
  clock.stop("trace")
  for name in ("first step", "second step"):
    float(step(*batch)[task.loss])
    clock.stop(name)
  del clock.seconds["other"]
  return clock.seconds


def prediction(saved_model: str) -> dict[str, float]:
  """Seconds of each part of a program's start that loads an export, in this process."""
  clock = Clock()
  import tensorflow  # noqa: F401

  clock.stop("TensorFlow")
  import mtl_ssl_tf
  from mtl_ssl_tf.serving import numpy_detector  # noqa: F401

  clock.stop("package")
  detector = mtl_ssl_tf.load(saved_model)
  clock.stop("load")
  image = np.random.default_rng(0).integers(0, 256, [*IMAGE_SIZE, 3]).astype(np.uint8)
  for name in ("first image", "second image"):
    list(detector([image]))
    clock.stop(name)
  return clock.seconds


def in_fresh_processes(kind: str, name: str, repeats: int) -> dict[str, float]:
  """Returns medians of what `kind` measures, each time in a process of its own."""
  command = [sys.executable, "-m", "benchmarks.start_up", f"--{kind}", name]
  found = []
  for _ in range(repeats):
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found.append(json.loads(done.stdout.splitlines()[-1]))
  return {part: float(np.median([seconds[part] for seconds in found])) for part in found[0]}


def main() -> None:
  """Runs the command line."""
  parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
  parser.add_argument("--rows", nargs="+", default=ROWS, help="files of configs/experiments")
  parser.add_argument("--saved_model", help="an export to load; no training is started then")
  parser.add_argument("--repeats", type=int, default=3, help="processes for each line")
  parser.add_argument("--training", help=argparse.SUPPRESS)  # One process of the first kind,
  parser.add_argument("--prediction", help=argparse.SUPPRESS)  # and of the second.
  options = parser.parse_args()
  os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
  if options.training:
    print(json.dumps(training(options.training)))
    return
  if options.prediction:
    print(json.dumps(prediction(options.prediction)))
    return
  kind, names = "training", options.rows
  if options.saved_model:
    kind, names = "prediction", [options.saved_model]
  width = max(len(name) for name in names)
  for number, name in enumerate(names):
    found = in_fresh_processes(kind, name, options.repeats)
    if not number:
      print(" " * width + "".join(f"{part:>14}" for part in found))
    print(f"{name:<{width}}" + "".join(f"{s:14.2f}" for s in found.values()), flush=True)


if __name__ == "__main__":
  main()
