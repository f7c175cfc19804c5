"""Measures what a run's figures do not show: recall of its proposals, CPU seconds of its input.

`python -m benchmarks.accuracy.inspection FOLDER` prints it as JSON, for a folder of
`benchmarks.time_to_accuracy` with the arm's files in `inspection.json`.
"""

import json
import pathlib
import sys
import time
from typing import Any

import numpy as np

from benchmarks.accuracy import data as data_lib
from benchmarks.accuracy import runs
from mtl_ssl_tf.comparison import processes

_WARM_UP, _BATCHES = 5, 30
_FILE = "inspection.json"


def inspect(run: runs.Run, processor: int) -> dict[str, Any]:
  """Returns `proposal_recall_50`, `proposal_recall_70` and `input_s` of one of our runs.

  Raises:
    RunError: it failed.
  """
  files = [*run.arm.config_files, str(run.folder / "overlay.yaml")]
  request = {"config_files": files, "overrides": run.arm.overrides, "init": run.arm.init}
  runs.write_json(run.folder / _FILE, request)
  log = run.folder / "inspection.log"
  command = [sys.executable, "-m", "benchmarks.accuracy.inspection", str(run.folder)]
  usage = processes.run(command, log, processor, cwd=data_lib.ROOT)
  if usage.status:
    raise processes.RunError(f"inspection failed with {usage.status}: {log}")
  return json.loads(log.read_text().strip().splitlines()[-1])


def measure(folder: pathlib.Path) -> dict[str, float]:
  """Returns the figures of `inspect`, computed in this process."""
  import tensorflow as tf

  from mtl_ssl_tf import registry_imports  # noqa: F401
  from mtl_ssl_tf.checkpoints import model_checkpoint, run_checkpoints
  from mtl_ssl_tf.configs import experiments, loading
  from mtl_ssl_tf.tasks import mtl_detection

  request = runs.read_json(folder / _FILE)
  params = loading.load_experiment(
    experiments.DEFAULT, request["config_files"], request["overrides"] or None
  )
  if request["init"]:
    # Start weights may set fields of the backbone, as in training.
    mtl_detection.MtlDetectionTask.start_from(params.task, request["init"])
  task = mtl_detection.MtlDetectionTask.for_run(params.task, params.runtime)
  model = task.build_model()
  checkpoint = run_checkpoints.newest_usable(str(folder / "model"))
  model_checkpoint.load_model(model, checkpoint, "inspection:")
  predict = tf.function(lambda images, sizes: model(images, sizes), autograph=False)
  best = []
  for images, labels in task.build_inputs(params.task.validation_data):
    outputs = predict(images, labels["image_size_px"])
    for i in np.flatnonzero(labels["example_valid"].numpy()):
      best.append(
        best_overlaps(
          labels["gt_boxes_px"][i].numpy()[labels["gt_classes"][i].numpy() > 0],
          outputs["proposals_px"][i].numpy()[outputs["proposals_valid"][i].numpy()],
        )
      )
  overlaps = np.concatenate(best)
  return {
    "proposal_recall_50": 100.0 * float((overlaps >= 0.5).mean()),
    "proposal_recall_70": 100.0 * float((overlaps >= 0.7).mean()),
    "input_s": _input_seconds(task.build_inputs(params.task.train_data)),
  }


def best_overlaps(gt_boxes: np.ndarray, proposals: np.ndarray) -> np.ndarray:
  """Returns float [N], the highest IoU of each of N objects with any proposal; 0 without any."""
  from mtl_ssl_tf.evaluation import voc_metrics

  if not len(proposals) or not len(gt_boxes):
    return np.zeros(len(gt_boxes))
  return voc_metrics.pairwise_iou(gt_boxes, proposals).max(axis=1)


def _input_seconds(dataset) -> float:
  """CPU seconds of a training batch, made by the input alone."""
  batches = iter(dataset)
  for _ in range(_WARM_UP):
    next(batches)
  start = time.process_time()
  for _ in range(_BATCHES):
    next(batches)
  return (time.process_time() - start) / _BATCHES


if __name__ == "__main__":
  print(json.dumps(measure(pathlib.Path(sys.argv[1]))))
