"""Trains Model Garden's Faster R-CNN, ResNet-18 with FPN, from scratch, for a CPU budget.

    --peer 'model_garden=python -m benchmarks.peers.model_garden --train {train} --test {test}
        --images {images} --work_dir {work_dir} --arm_dir {arm_dir} --minutes {minutes}
        --seed {seed}'

in one line. Batch of 4, input of 256 x 256, momentum with a cosine rate that falls until the last
step; levels 3 to 5 of the pyramid. Evaluates nothing during training; writes `results.json` and
`report.json`, see `benchmarks.time_to_accuracy`.
"""

import json
import pathlib
import sys
import time
from typing import Any

import tensorflow as tf
import tf_keras
from official.core import config_definitions as cfg
from official.core import exp_factory, task_factory, train_lib
from official.vision import registry_imports  # noqa: F401

from benchmarks.accuracy import budget
from benchmarks.peers import common

BATCH = 4
MAX_OBJECTS = 50
STEPS_PER_LOOP = 50
CALIBRATION_STEPS, CALIBRATION_LOOP = 40, 10


def write_records(split: common.Split, path: pathlib.Path) -> None:
  """Writes TFRecords with Model Garden's names; the id of an image is its place in the split."""
  with tf.io.TFRecordWriter(str(path)) as writer:
    for number, image in enumerate(split.images):
      height, width = image.size
      columns = list(zip(*image.boxes, strict=True)) or [()] * 4
      xmin, ymin, xmax, ymax = columns
      areas = [(x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in image.boxes]
      feature = {
        "image/encoded": _bytes(image.path.read_bytes()),
        "image/source_id": _bytes(str(number).encode()),
        "image/height": _ints([height]),
        "image/width": _ints([width]),
        "image/object/bbox/ymin": _floats([value / height for value in ymin]),
        "image/object/bbox/xmin": _floats([value / width for value in xmin]),
        "image/object/bbox/ymax": _floats([value / height for value in ymax]),
        "image/object/bbox/xmax": _floats([value / width for value in xmax]),
        "image/object/class/label": _ints([number + 1 for number in image.classes]),
        "image/object/area": _floats(areas),
        "image/object/is_crowd": _ints([0] * len(areas)),
      }
      example = tf.train.Example(features=tf.train.Features(feature=feature))
      writer.write(example.SerializeToString())


def _bytes(value: bytes) -> tf.train.Feature:
  return tf.train.Feature(bytes_list={"value": [value]})


def _floats(values: list[float]) -> tf.train.Feature:
  return tf.train.Feature(float_list={"value": values})


def _ints(values: list[int]) -> tf.train.Feature:
  return tf.train.Feature(int64_list={"value": values})


def experiment(
  folder: pathlib.Path, num_classes: int, size: int, steps: int, steps_per_loop: int, seed: int
) -> cfg.ExperimentConfig:
  """Returns the experiment; `num_classes` includes background."""
  config = exp_factory.get_exp_config("fasterrcnn_resnetfpn_coco")
  parser = {"max_num_instances": MAX_OBJECTS}
  augmentation = {"aug_scale_min": 0.8, "aug_scale_max": 1.25, "aug_rand_hflip": True}
  model = {
    "num_classes": num_classes,
    "input_size": [size, size, 3],
    "min_level": 3,
    "max_level": 5,
    "backbone": {"type": "resnet", "resnet": {"model_id": 18}},
    "decoder": {"type": "fpn", "fpn": {"num_filters": 128}},
    "rpn_head": {"num_filters": 128},
    "anchor": {"anchor_size": 4, "num_scales": 1, "aspect_ratios": [0.5, 1.0, 2.0]},
    "roi_generator": {"num_proposals": 256, "test_num_proposals": 256},
    "roi_sampler": {"num_sampled_rois": 128},
    "detection_head": {"fc_dims": 256, "num_convs": 1, "num_filters": 128},
    "norm_activation": {"use_sync_bn": False},
  }
  train_data = {
    "input_path": str(folder / "train.tfrecord"),
    "global_batch_size": BATCH,
    "dtype": "float32",
    "shuffle_buffer_size": 300,
    "seed": seed,
    "parser": parser | augmentation,
  }
  validation_data = {
    "input_path": str(folder / "test.tfrecord"),
    "global_batch_size": 8,
    "dtype": "float32",
    "drop_remainder": False,
    "parser": parser,
  }
  cosine = {"initial_learning_rate": 0.02, "decay_steps": steps}
  warmup = {"warmup_steps": 100, "warmup_learning_rate": 0.001}
  fields = {
    "runtime": {
      "distribution_strategy": "one_device",
      "num_gpus": 0,
      "mixed_precision_dtype": "float32",
    },
    "task": {
      "init_checkpoint": None,
      "annotation_file": None,
      "model": model,
      "losses": {"l2_weight_decay": 1e-4},
      "train_data": train_data,
      "validation_data": validation_data,
    },
    "trainer": {
      "train_steps": steps,
      "validation_interval": steps,
      "steps_per_loop": steps_per_loop,
      "summary_interval": 10 * steps_per_loop,
      "checkpoint_interval": steps,
      "optimizer_config": {
        "learning_rate": {"type": "cosine", "cosine": cosine},
        "warmup": {"type": "linear", "linear": warmup},
      },
    },
  }
  config.override(fields, is_strict=False)
  return config


class Points:
  """Orbit train action that notes (step, CPU seconds) at the end of each loop."""

  def __init__(self, steps: int, steps_per_loop: int):
    self._steps, self._steps_per_loop = steps, steps_per_loop
    self.points: list[tuple[int, float]] = []

  def __call__(self, output: Any) -> None:
    step = min(self._steps, (len(self.points) + 1) * self._steps_per_loop)
    self.points.append((step, common.cpu_seconds()))


def train(
  options: Any, num_classes: int, steps: int, steps_per_loop: int
) -> tuple[Any, tf_keras.Model, list[tuple[int, float]]]:
  """Trains; returns the task, the model and the points."""
  tf_keras.utils.set_random_seed(options.seed)
  config = experiment(
    options.work_dir, num_classes, options.size, steps, steps_per_loop, options.seed
  )
  model_dir = str(options.work_dir / "model")
  noted = Points(steps, steps_per_loop)
  strategy = tf.distribute.OneDeviceStrategy("CPU:0")
  with strategy.scope():
    task = task_factory.get_task(config.task, logging_dir=model_dir)
  model, _ = train_lib.run_experiment(
    strategy, task, "train", config, model_dir, train_actions=[noted]
  )
  return task, model, noted.points


def detect(task: Any, model: tf_keras.Model, test: common.Split) -> list[dict[str, Any]]:
  """Returns the rows of the result file of all test images."""

  @tf.function(autograph=False)
  def predict(images, labels):
    info = labels["image_info"]
    outputs = model(
      images, anchor_boxes=labels["anchor_boxes"], image_shape=info[:, 1], training=False
    )
    scale = tf.tile(info[:, 2], [1, 2])[:, tf.newaxis]  # [B, 1, 4]
    boxes = outputs["detection_boxes"] / scale  # [B, D, 4]
    return boxes, outputs["detection_scores"], outputs["detection_classes"]

  rows = []
  for images, labels in task.build_inputs(task.task_config.validation_data):
    found = [values.numpy() for values in predict(images, labels)]
    numbers = labels["groundtruths"]["source_id"].numpy().ravel()
    for number, boxes, scores, classes in zip(numbers, *found, strict=True):
      valid = classes > 0
      corners = boxes[valid][:, [1, 0, 3, 2]]
      rows += common.result_rows(
        test, test.images[int(number)], corners, scores[valid], (classes[valid] - 1).astype(int)
      )
  return rows


def main() -> None:
  options = common.parser(__doc__, image_size=256).parse_args()
  train_split, test_split = (
    common.read_coco(path, options.images) for path in (options.train, options.test)
  )
  if not options.calibrate:
    rate = common.measured_rate("benchmarks.peers.model_garden", options.arm_dir, sys.argv[1:])
  for name, split in (("train", train_split), ("test", test_split)):
    write_records(split, options.work_dir / f"{name}.tfrecord")
  num_classes = len(train_split.names) + 1
  if options.calibrate:
    _, _, points = train(options, num_classes, CALIBRATION_STEPS, CALIBRATION_LOOP)
    print(json.dumps(points))
    return
  steps, start = rate.steps(60.0 * options.minutes), time.monotonic()
  task, model, points = train(options, num_classes, steps, STEPS_PER_LOOP)
  train_cpu_s, train_wall_s = common.cpu_seconds(), time.monotonic() - start
  rows = detect(task, model, test_split)
  found = budget.rate(points) or rate
  report = {
    "steps": steps,
    "train_cpu_s": train_cpu_s,
    "train_wall_s": train_wall_s,
    "step_s": found.step_s,
    "start_up_s": max(0.0, train_cpu_s - steps * found.step_s),
    "evaluation_cpu_s": common.cpu_seconds() - train_cpu_s,
  }
  common.write_results(options.work_dir, rows, report)


if __name__ == "__main__":
  main()
