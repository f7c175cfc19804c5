"""Losses and a training step on one replica and on two: prints what came of both, as JSON.

A program of its own, as two logical devices must be set up before TensorFlow begins.
"""

import functools
import json
import pathlib
import sys
import tempfile
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras

from mtl_ssl_tf.configs import experiments, optimization
from mtl_ssl_tf.losses import auxiliary_losses
from mtl_ssl_tf.training import averaged_weights, determinism, nonfinite
from mtl_ssl_tf.training import task as task_lib
from tests import fixtures
from tests.modeling import small, small_backbones
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
# Losses and refinement look at the whole batch. Statistics of a batch (`sync`) would too, but blow
# up rounding errors by a thousand in so small a network, on one replica as well.
OVERRIDE = {
  "task": {
    "backbone": {"norm": {"type": "group"}},
    "roi_head": {"positive_fraction": 0.75},
    "auxiliary": {"foreground": {"weighting": "inverse_area"}},
    "refinement": {"closeness_mean": "all_rows"},
    "train_data": {"global_batch_size": BATCH_SIZE, "flip_probability": 0.0, "max_num_boxes": 3},
  },
  # Some gradients are longer than that, some are not.
  "trainer": {"optimizer_config": {"optimizer": {"momentum": {"clipnorm": 0.1}}}},
}


# The closeness loss looks at the whole batch.
CO_MINING_OVERRIDE = {
  **OVERRIDE,
  "task": {
    **OVERRIDE["task"],
    "backbone": {"type": "blocks"},
    "auxiliary": {"multi_object": {"loss_weight": 0.0}},
    "mining": {"score_threshold": 0.2, "num_slots": 3},
  },
}

# On a feature pyramid; what a stage learns depends on the boxes of the one before it.
CASCADE_OVERRIDE = {
  **OVERRIDE,
  "task": {
    **OVERRIDE["task"],
    "fpn": {"depth": 8, "min_level": 3, "max_level": 6},
    "anchors": {"cells": 4.0},
    "roi_head": {
      **OVERRIDE["task"]["roi_head"],
      "type": "fpn",
      "crop_size": 3,
      "fpn": {"dense_depth": 16, "canonical_size_px": 32.0},
      "cascade": {"enabled": True},
    },
  },
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


def split(strategy: tf.distribute.Strategy, batch: Any) -> Any:
  """The batch's images, the first ones for the first replica."""
  share = BATCH_SIZE // strategy.num_replicas_in_sync

  def own_part(context):
    first = context.replica_id_in_sync_group * share
    return tf.nest.map_structure(lambda values: values[first : first + share], batch)

  return strategy.experimental_distribute_values_from_function(own_part)


def losses(strategy: tf.distribute.Strategy) -> dict[str, list[float]]:
  """Of each loss over the whole batch: its value, then its gradients by all logits."""
  random = np.random.default_rng(0)
  logits = random.normal(size=[BATCH_SIZE, 6, 3]).astype(np.float32)
  labels = random.dirichlet([1.0, 1.0, 1.0], size=[BATCH_SIZE, 6]).astype(np.float32)
  # Seven boxes on the first replica, one on the second.
  counted = np.arange(6) < np.array([[6], [1], [0], [1]])

  def multi_object(logits, labels, counted):
    return auxiliary_losses.multi_object_loss(logits, labels, tf.cast(counted, tf.float32) / 2.0)

  def closeness(normalizer, logits, labels, counted):
    return auxiliary_losses.closeness_loss(logits, labels, counted, False, normalizer)

  functions = {"multi_object": multi_object} | {
    name: functools.partial(closeness, name) for name in ("batch_positives", "per_image_sum")
  }

  @tf.function(autograph=False)
  def run(function, inputs):
    def on_replica(logits, labels, counted):
      with tf.GradientTape() as tape:
        tape.watch(logits)
        loss = function(logits, labels, counted).weighted(0.3).replica_loss()
        # As the task does: gradients of replicas are added up.
        own_share = loss / strategy.num_replicas_in_sync
      return loss, tape.gradient(own_share, logits)

    return strategy.run(on_replica, inputs)

  found = {}
  for name, function in functions.items():
    values, gradients = run(function, split(strategy, (logits, labels, counted)))
    value = strategy.reduce(tf.distribute.ReduceOp.MEAN, values, axis=None)
    gradient = tf.concat(strategy.experimental_local_results(gradients), axis=0)
    found[name] = [float(value), *gradient.numpy().ravel().tolist()]
  return found


def step(experiment, strategy: tf.distribute.Strategy) -> tuple[dict[str, float], list[np.ndarray]]:
  """The means of all metrics, then gradients and all weights, after a step on the four images."""
  with strategy.scope():
    task = task_lib.class_of(experiment.task)(experiment.task)
    model = task.build_model()
    if experiment.task.backbone.type == "blocks":
      small.randomize(model)
      # All places are objects to it.
      model.box_head.classifier.bias.assign([-9.0, 1.0, 0.0])
      model.refiner.linear.kernel.assign(0.01 * model.refiner.linear.kernel)
    optimizer = task.create_optimizer(experiment.trainer.optimizer_config, experiment.runtime)
    optimizer._create_all_weights(model.trainable_variables)
    metrics = task.build_metrics()
  batch = next(iter(task.build_inputs(experiment.task.train_data)))
  run = tf.function(
    lambda inputs: strategy.run(
      lambda inputs: task.train_step(inputs, model, optimizer, metrics), (inputs,)
    ),
    autograph=False,
  )
  logs = run(split(strategy, batch))
  total = strategy.reduce(tf.distribute.ReduceOp.MEAN, logs[task.loss], axis=None)
  values = {metric.name: float(metric.result()) for metric in metrics}
  # After the first step, the momentum is the clipped sum of the replicas' gradients.
  gradients = [optimizer.get_slot(value, "momentum") for value in model.trainable_variables]
  return {"total": float(total), **values}, [value.numpy() for value in model.variables + gradients]


def largest_error(values: list[np.ndarray], others: list[np.ndarray]) -> float:
  """The largest difference of any entry."""
  return float(max(np.abs(a - b).max() for a, b in zip(values, others, strict=True)))


def guarded(strategy: tf.distribute.Strategy) -> list[float]:
  """A weight from the start, after a sound step, and after one with a fault on the last replica."""
  with strategy.scope():
    weight, global_step = tf.Variable(1.0), tf.Variable(0, dtype=tf.int64)
    optimizer = tf_keras.optimizers.legacy.SGD(1.0)
    optimizer._create_all_weights([weight])
    guard = nonfinite.Guard(global_step, loss_upper_bound=1e6)

  @tf.function(autograph=False)
  def run(values):
    strategy.run(
      lambda value: guard.apply_gradients(optimizer, [(value, weight)], value), (values,)
    )

  def distribute(values):
    return strategy.experimental_distribute_values_from_function(
      lambda context: tf.constant(values[context.replica_id_in_sync_group])
    )

  seen = [float(weight.numpy())]
  for values in ([0.25, 0.5], [0.25, float("nan")]):
    run(distribute(values))
    seen.append(float(weight.numpy()))
  try:
    guard.check()
  except nonfinite.NonFiniteError:
    return seen
  return []


def averaged(strategy: tf.distribute.Strategy, folder: pathlib.Path) -> list[list[float]]:
  """Weight and average on each replica, of the steps of `guarded` and of what may follow.

  After the sound step, after the faulty one, with the average in place, without it again, and read
  back from a checkpoint.
  """
  with strategy.scope():
    weight, global_step = tf.Variable(1.0), tf.Variable(0, dtype=tf.int64)
    optimizer = tf_keras.optimizers.legacy.SGD(1.0)
    optimizer._create_all_weights([weight])
    guard = nonfinite.Guard(global_step, loss_upper_bound=1e6)
    config = optimization.AveragesConfig(average_decay=0.5, dynamic_decay=False)
    model = tf.Module()
    model.weight = weight
    averages = averaged_weights.AveragedWeights(config, model)
  (average,) = averages.variables.values()

  def step(value):
    guard.apply_gradients(optimizer, [(value, weight)], value)
    averages.update(global_step + 1, guard.is_bad())

  run = tf.function(lambda values: strategy.run(step, (values,)), autograph=False)
  seen = []

  def note() -> None:
    values = [*strategy.experimental_local_results(weight)]
    seen.append(
      [float(value) for value in (*values, *strategy.experimental_local_results(average))]
    )

  for values in ([0.25, 0.5], [0.25, float("nan")]):
    run(
      strategy.experimental_distribute_values_from_function(
        lambda context, values=values: tf.constant(values[context.replica_id_in_sync_group])
      )
    )
    note()
  with averages.in_place():
    note()
  note()
  checkpoint = averaged_weights.Checkpoint(averages, model=model)
  path = checkpoint.write(str(folder / "averaged"))
  weight.assign(7.0)
  averages.restart()
  checkpoint.read(path)
  note()
  return seen


def main() -> None:
  cpu = tf.config.list_physical_devices("CPU")[0]
  tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
  with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    write_records(folder)
    experiment = tiny.experiment(folder, OVERRIDE)
    one = tf.distribute.OneDeviceStrategy("CPU:0")
    # One for all: a second one would confuse its collectives with those of the first.
    two = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    # As training does: several threads that add up the gradient of a crop may lose a part of it.
    with determinism.deterministic(True):
      logs, values = step(experiment, one)
      other_logs, other_values = step(experiment, two)
      experiment = tiny.experiment(folder, CASCADE_OVERRIDE)
      cascade, cascade_values = step(experiment, one)
      other_cascade, other_cascade_values = step(experiment, two)
      with small_backbones.registered():
        experiment = tiny.experiment(folder, CO_MINING_OVERRIDE, experiments.CO_MINING)
        mined, mined_values = step(experiment, one)
        other_mined, other_mined_values = step(experiment, two)
    both = averaged(two, folder)
  found = {
    "losses": [losses(one), losses(two)],
    "logs": [logs, other_logs],
    "guarded": guarded(two),
    "averaged": both,
    "largest_error": largest_error(values, other_values),
    "cascade": [cascade, other_cascade],
    "cascade_error": largest_error(cascade_values, other_cascade_values),
    "co_mining": [mined, other_mined],
    "co_mining_error": largest_error(mined_values, other_mined_values),
  }
  json.dump(found, sys.stdout)


if __name__ == "__main__":
  main()
