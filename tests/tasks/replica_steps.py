"""One training step on one replica and on two: prints what came of both, as JSON.

A program of its own, as two logical devices must be set up before TensorFlow begins.
"""

import json
import pathlib
import sys
import tempfile

import numpy as np
import tensorflow as tf

from mtl_ssl_tf.tasks import mtl_detection
from tests import fixtures
from tests.tasks import tiny

BATCH_SIZE = 4
# Objects of four images: the first replica has all but one of them.
BOXES = (
  [[0, 0, 48, 28], [12, 8, 36, 24], [10, 30, 40, 60], [4, 20, 20, 44]],
  [[2, 2, 30, 30], [20, 20, 46, 62], [0, 30, 20, 60]],
  [],
  [[12, 8, 36, 24]],
)
CLASSES = ([1, 2, 1, 2], [1, 2, 2], [], [2])
# Whatever looks at the whole batch: losses, refinement, normalisation.
OVERRIDE = {
  "task": {
    "backbone": {"norm": {"type": "sync"}},
    "roi_head": {"positive_fraction": 0.75},
    "auxiliary": {"foreground": {"weighting": "inverse_area"}},
    "refinement": {"closeness_mean": "all_rows"},
    "train_data": {"global_batch_size": BATCH_SIZE, "flip_probability": 0.0, "max_num_boxes": 3},
  },
  # Some gradients are longer than that, some are not.
  "trainer": {"optimizer_config": {"optimizer": {"momentum": {"clipnorm": 0.1}}}},
}


def write_records(folder: pathlib.Path) -> None:
  """Writes the four images as `train.tfrecord` and, with one more, as `val.tfrecord`."""
  examples = [
    fixtures.serialized_example(
      fixtures.noise_image(48, 64, seed=i), boxes, classes, source_id=str(i)
    )
    for i, (boxes, classes) in enumerate(zip(BOXES, CLASSES, strict=True))
  ]
  fixtures.write_records(folder / "train.tfrecord", examples)
  last = fixtures.serialized_example(
    fixtures.noise_image(48, 64, seed=4), [[8, 8, 40, 40]], [1], source_id="4"
  )
  fixtures.write_records(folder / "val.tfrecord", [*examples, last])
  (folder / "label_map.txt").write_text("".join(f"{name}\n" for name in tiny.CLASS_NAMES))


def step(experiment, strategy: tf.distribute.Strategy) -> tuple[dict[str, float], list[np.ndarray]]:
  """The means of all metrics, and the weights that changed, after a step on the four images."""
  with strategy.scope():
    task = mtl_detection.MtlDetectionTask(experiment.task)
    model = task.build_model()
    optimizer = task.create_optimizer(experiment.trainer.optimizer_config, experiment.runtime)
    optimizer._create_all_weights(model.trainable_variables)
    metrics = task.build_metrics()
  batch = next(iter(task.build_inputs(experiment.task.train_data)))
  share = BATCH_SIZE // strategy.num_replicas_in_sync

  def own_part(context):
    first = context.replica_id_in_sync_group * share
    return tf.nest.map_structure(lambda values: values[first : first + share], batch)

  inputs = strategy.experimental_distribute_values_from_function(own_part)
  run = tf.function(
    lambda inputs: strategy.run(
      lambda inputs: task.train_step(inputs, model, optimizer, metrics), (inputs,)
    ),
    autograph=False,
  )
  logs = run(inputs)
  total = strategy.reduce(tf.distribute.ReduceOp.MEAN, logs[task.loss], axis=None)
  values = {metric.name: float(metric.result()) for metric in metrics}
  return {"total": float(total), **values}, [value.numpy() for value in model.variables]


def main() -> None:
  cpu = tf.config.list_physical_devices("CPU")[0]
  tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
  with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    write_records(folder)
    experiment = tiny.experiment(folder, OVERRIDE)
    one, weights = step(experiment, tf.distribute.OneDeviceStrategy("CPU:0"))
    two, others = step(experiment, tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]))
  errors = [np.abs(a - b).max() for a, b in zip(weights, others, strict=True)]
  json.dump({"one": one, "two": two, "largest_error": float(max(errors))}, sys.stdout)


if __name__ == "__main__":
  main()
