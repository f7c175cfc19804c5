"""Builds every published row and takes one training step on two images; prints a table.

    python -m benchmarks.first_steps [--rows='voc07_*'] [--full]

A row's detector, tasks, losses and optimizer are its own. Images are small and regions few, so that
all rows pass in minutes; `--full` keeps the row's own numbers of regions. Random weights, with
normalisation that learns (frozen statistics would need pretrained ones). The last columns are the
step's losses; a loss or weight that is not finite ends in FAILED and exit status 1.
"""

import argparse
import fnmatch
import gc
import pathlib
import sys
import tempfile
import time

import numpy as np
import tensorflow as tf
import tf_keras

from mtl_ssl_tf import registry_imports  # noqa: F401
from mtl_ssl_tf.tasks import mtl_detection
from mtl_ssl_tf.training import driver

EXPERIMENTS = pathlib.Path(__file__).parents[1] / "configs" / "experiments"
# Rows that are not the paper's.
OTHERS = ("bccd_*", "demo_*")
NUM_OBJECT_CLASSES = {"voc07": 20, "voc0712": 20, "coco17": 90}
HEIGHT, WIDTH = 128, 160
FEW_REGIONS = {
  "rpn": {"num_proposals": 32},
  "roi_head": {"batch_size": 16},
  "auxiliary": {"multi_object": {"num_windows": 8}},
  "refinement": {"train_rois": 4},
}
BATCH = 2


def make_batch(num_object_classes: int) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
  """Two images of noise with three boxes each, as the input pipeline gives them."""
  rng = np.random.default_rng(0)
  size = np.array([HEIGHT, WIDTH], np.float32)
  low = rng.uniform(0.0, 0.5, [BATCH, 3, 2])
  boxes = np.concatenate([low, low + rng.uniform(0.2, 0.5, [BATCH, 3, 2])], axis=-1)
  boxes_px = (boxes * np.tile(size, 2)).astype(np.float32)
  labels = {
    "gt_boxes_px": tf.constant(boxes_px),
    "gt_classes": tf.constant(rng.integers(1, num_object_classes + 1, [BATCH, 3]), tf.int32),
    "image_size_px": tf.constant([size] * BATCH),
    "image_key": tf.range(BATCH),
    "flipped": tf.zeros([BATCH], tf.bool),
    "num_dropped_boxes": tf.zeros([BATCH], tf.int32),
  }
  images = rng.uniform(0.0, 255.0, [BATCH, HEIGHT, WIDTH, 3])
  return tf.constant(images, tf.float32), labels


def first_step(path: pathlib.Path, folder: pathlib.Path, full: bool) -> dict:
  """Takes the first step of a row; returns its figures by name."""
  num_object_classes = NUM_OBJECT_CLASSES[path.stem.split("_")[0]]
  label_map = folder / "label_map.txt"
  label_map.write_text("".join(f"class{i}\n" for i in range(1, num_object_classes + 1)))
  params = driver.load_experiment("mtl_frcnn", [str(path)])
  override = {"label_map": str(label_map), "backbone": {"norm": {"type": "batch"}}}
  params.override({"task": override}, is_strict=True)
  if not full:
    params.override({"task": FEW_REGIONS}, is_strict=True)

  begin = time.perf_counter()
  task = mtl_detection.MtlDetectionTask(params.task)
  model = task.build_model()
  built = time.perf_counter()
  optimizer = task.create_optimizer(params.trainer.optimizer_config, params.runtime)
  before = [variable.numpy() for variable in model.trainable_variables]
  logs = task.train_step(make_batch(num_object_classes), model, optimizer)
  total = float(logs.pop(task.loss))
  losses = {name: float(value) for name, value in logs.items() if name != "dropped_boxes"}
  after = [variable.numpy() for variable in model.trainable_variables]
  return {
    "parameters": sum(variable.shape.num_elements() for variable in model.variables),
    "build_s": built - begin,
    "step_s": time.perf_counter() - built,
    "finite": all(np.isfinite(value).all() for value in [total, *losses.values(), *after]),
    "moved": sum(not np.array_equal(a, b) for a, b in zip(after, before, strict=True)) / len(after),
    "total": total,
    "losses": losses,
  }


def main() -> int:
  """Runs the command line; returns the exit status."""
  parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
  parser.add_argument("--rows", default="*", help="pattern of names in configs/experiments")
  parser.add_argument("--full", action="store_true", help="as many regions as the rows have")
  options = parser.parse_args()
  paths = [
    path
    for path in sorted(EXPERIMENTS.glob("*.yaml"))
    if fnmatch.fnmatch(path.stem, options.rows)
    and not any(fnmatch.fnmatch(path.stem, other) for other in OTHERS)
  ]
  failed = 0
  print("| row | million parameters | weights moved | build s | step s | loss | of which |")
  print("|---|---|---|---|---|---|---|", flush=True)
  with tempfile.TemporaryDirectory() as folder:
    for path in paths:
      result = first_step(path, pathlib.Path(folder), options.full)
      tf_keras.backend.clear_session()
      gc.collect()
      failed += not result["finite"]
      parts = ", ".join(f"{name} {value:.3g}" for name, value in result["losses"].items())
      print(
        f"| {path.stem} | {result['parameters'] / 1e6:.1f} | {result['moved']:.0%} |"
        f" {result['build_s']:.1f} | {result['step_s']:.1f} |"
        f" {result['total']:.3f}{'' if result['finite'] else ' FAILED'} | {parts} |",
        flush=True,
      )
  print(f"{len(paths)} rows, {failed} failed")
  return int(failed > 0 or not paths)


if __name__ == "__main__":
  sys.exit(main())
