"""Time of a training step and of inference on a feature pyramid, beside the single map.

    python -m benchmarks.fpn
    python -m benchmarks.fpn --presets small_data from_scratch --xla --steps 5

For each preset NAME, its twin NAME_fpn and that with a cascade: seconds of a training step and of
inference, each the median of `--steps` after two that are not counted, in turns. So that another
program's work falls on all, every round takes one step of each. Images are noise with boxes drawn
at random, of the preset's own input size and batch. `--parts` adds where the time of inference
goes. `--cpu_seconds` counts the time that cores work for this program, where others keep them busy.
"""

import argparse
import itertools
import pathlib
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from mtl_ssl_tf import registry_imports  # noqa: F401
from mtl_ssl_tf.tasks import mtl_detection
from mtl_ssl_tf.training import driver

PRESETS = pathlib.Path(__file__).parents[1] / "configs" / "presets"
WARM_UP = 2
NUM_BOXES = 12
CASCADE = {"task": {"roi_head": {"cascade": {"enabled": True}}}}


def experiment(name: str, folder: pathlib.Path, overrides: dict[str, Any]) -> Any:
  """Returns a preset's configuration, without start weights, with a label map of three classes."""
  label_map = folder / "label_map.txt"
  label_map.write_text("a\nb\nc\n")
  params = driver.load_experiment("mtl_frcnn", [str(PRESETS / f"{name}.yaml")])
  task = {"label_map": str(label_map), "init_checkpoint": ""}
  params.override({"task": task}, is_strict=True)
  params.override(overrides, is_strict=True)
  return params


def batch(params: Any, seed: int) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
  """Returns noise and boxes as the input pipeline has them."""
  data, rng = params.task.train_data, np.random.default_rng(seed)
  size, height, width = data.global_batch_size, *data.input_size
  first = rng.uniform(0.0, 0.8, [size, NUM_BOXES, 2]) * [height, width]
  sides = rng.uniform(0.05, 0.3, [size, NUM_BOXES, 2]) * [height, width]
  last = np.minimum(first + sides, [height, width])
  boxes = np.concatenate([first, last], axis=-1)
  labels = {
    "gt_boxes_px": tf.constant(boxes, tf.float32),
    "gt_classes": tf.constant(rng.integers(1, 4, [size, NUM_BOXES]), tf.int32),
    "image_size_px": tf.constant([[height, width]] * size, tf.float32),
    "flipped": tf.zeros([size], tf.bool),
    "image_key": tf.constant(rng.integers(0, 1000, [size]), tf.int32),
    "num_dropped_boxes": tf.zeros([size], tf.int32),
  }
  images = rng.uniform(0.0, 255.0, [size, height, width, 3])
  return tf.constant(images, tf.float32), labels


class Detector:
  """A preset's detector with its training step and inference."""

  def __init__(self, params: Any, xla: bool, clock: Callable[[], float] = time.perf_counter):
    self.xla, self.clock = xla, clock
    method = "matmul" if xla else "native"
    self.task = mtl_detection.MtlDetectionTask(params.task, crop_method=method)
    self.model = self.task.build_model()
    self.batch = batch(params, seed=0)
    optimizer = self.task.create_optimizer(params.trainer.optimizer_config, params.runtime)
    options = {"jit_compile": xla or None, "autograph": False}

    def step(images, labels):
      return self.task.train_step((images, labels), self.model, optimizer)["loss"]

    def detect(images, labels):
      return self.model(images, labels["image_size_px"])["detection_scores"]

    self.calls = {
      "step": tf.function(step, **options),
      "inference": tf.function(detect, **options),
    }

  def time(self, name: str) -> float:
    """Returns the seconds of a call."""
    start = self.clock()
    self.calls[name](*self.batch).numpy()
    return self.clock() - start


def measure(detectors: dict[str, Detector], num_steps: int) -> dict[str, dict[str, float]]:
  """Returns the median seconds of each detector's calls, taken in turns."""
  found = {name: {"step": [], "inference": []} for name in detectors}
  for i in range(WARM_UP + num_steps):
    for name, detector in detectors.items():
      for call, seconds in found[name].items():
        taken = detector.time(call)
        if i >= WARM_UP:
          seconds.append(taken)
  return {
    name: {call: statistics.median(seconds) for call, seconds in calls.items()}
    for name, calls in found.items()
  }


def part_seconds(detector: Detector, num_steps: int) -> dict[str, float]:
  """Returns the median seconds of inference up to each part, from the first on."""
  model = detector.model

  def up_to(last: str) -> Callable[..., tf.Tensor]:
    def run(images, labels):
      sizes = labels["image_size_px"]
      maps = model.stage1(model.backbone.preprocess(images), training=False)
      if last == "network":
        return tf.add_n([tf.reduce_mean(m) for m in tf.nest.flatten(maps)])
      if last == "pyramid":
        maps = model.pyramid(maps) if model.pyramid is not None else maps
        return tf.add_n([tf.reduce_mean(m) for m in tf.nest.flatten(maps)])
      first = model.first_stage(images, sizes)
      if last == "RPN":
        return tf.reduce_mean(first.rpn.deltas) + tf.reduce_mean(first.rpn.logits)
      if last == "proposals":
        return tf.reduce_mean(first.proposals.boxes_px)
      second = model.box_stage(first.features, first.proposals.boxes_px, sizes)
      return tf.reduce_mean(second.class_logits) + tf.reduce_mean(second.box_deltas)

    return tf.function(run, jit_compile=detector.xla or None, autograph=False)

  found = {}
  for last in ("network", "pyramid", "RPN", "proposals", "heads"):
    call, seconds = up_to(last), []
    for i in range(WARM_UP + num_steps):
      start = detector.clock()
      call(*detector.batch).numpy()
      if i >= WARM_UP:
        seconds.append(detector.clock() - start)
    found[last] = statistics.median(seconds)
  return found


def main(argv: Sequence[str]) -> None:
  """Prints a table of Markdown for each preset."""
  parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
  parser.add_argument("--presets", nargs="+", default=["small_data", "from_scratch"])
  parser.add_argument("--steps", type=int, default=5)
  parser.add_argument("--xla", action="store_true", help="compile both")
  parser.add_argument("--parts", action="store_true", help="where the time of inference goes")
  parser.add_argument("--cpu_seconds", action="store_true", help="of this program, on all cores")
  options = parser.parse_args(argv)
  clock = time.process_time if options.cpu_seconds else time.perf_counter
  with tempfile.TemporaryDirectory() as folder:
    for preset in options.presets:
      twin = f"{preset}_fpn"
      settings = {preset: (preset, {}), twin: (twin, {}), f"{twin}, cascade": (twin, CASCADE)}
      detectors = {
        row: Detector(experiment(name, pathlib.Path(folder), overrides), options.xla, clock)
        for row, (name, overrides) in settings.items()
      }
      result = measure(detectors, options.steps)
      print(f"\n| {preset} | step, s | inference, s |\n|---|---|---|")
      for name, calls in result.items():
        print(f"| {name} | {calls['step']:.3f} | {calls['inference']:.3f} |")
      for under, over in itertools.pairwise(result):
        ratios = [result[over][call] / result[under][call] for call in ("step", "inference")]
        print(f"| {over} / {under} | {ratios[0]:.2f} | {ratios[1]:.2f} |", flush=True)
      if options.parts:
        for name, detector in detectors.items():
          parts = part_seconds(detector, options.steps)
          print(f"{name}: " + ", ".join(f"{part} {s:.3f}" for part, s in parts.items()), flush=True)


if __name__ == "__main__":
  main(sys.argv[1:])
