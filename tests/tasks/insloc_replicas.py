"""Pretraining steps on one replica and on two: prints what came of both, as JSON.

A program of its own, as two logical devices must be set up before TensorFlow begins.
"""

import json
import sys

import numpy as np
import tensorflow as tf

from mtl_ssl_tf.ops import replica_ops
from mtl_ssl_tf.training import determinism
from tests.modeling.pretraining import small
from tests.tasks import insloc_tiny

NUM_STEPS = 3


def distributed(strategy: tf.distribute.Strategy, number: int):
  """A batch, the first rows for the first replica."""
  share = insloc_tiny.BATCH_SIZE // strategy.num_replicas_in_sync

  def own_part(context):
    first = context.replica_id_in_sync_group * share
    return insloc_tiny.random_batch(tf.constant(number, tf.int64), (first, first + share))

  return strategy.experimental_distribute_values_from_function(own_part)


def steps(strategy: tf.distribute.Strategy, override: dict, compile_losses: bool = False):
  """Logs of the steps and all variables after them, of every replica."""
  params = insloc_tiny.experiment({"task": override})
  with strategy.scope():
    task = insloc_tiny.RandomInsLocTask(
      params.task,
      crop_method="matmul" if compile_losses else "native",
      compile_losses=compile_losses,
    )
    model = task.build_model()
    optimizer = task.create_optimizer(params.trainer.optimizer_config, params.runtime)
    optimizer._create_all_weights(model.trainable_variables)
  run = tf.function(
    lambda batch: strategy.run(lambda batch: task.train_step(batch, model, optimizer), (batch,)),
    autograph=False,
  )
  logs = []
  for number in range(NUM_STEPS):
    found = run(distributed(strategy, number))
    mean = tf.distribute.ReduceOp.MEAN
    logs.append(
      {name: float(strategy.reduce(mean, value, axis=None)) for name, value in found.items()}
    )
  on_replicas = [
    [part.numpy() for part in strategy.experimental_local_results(variable)]
    for variable in (*model.key_encoder.averages, model.queue.keys, model.queue.num_enqueued)
  ]
  return logs, [variable.numpy() for variable in model.variables], on_replicas


def compare(one, two, override: dict, compile_losses: bool = False) -> dict:
  """Logs of both, the largest difference of weights, and of the replicas from each other."""
  logs, values, _ = steps(one, override)
  other_logs, other_values, on_replicas = steps(two, override, compile_losses)
  errors = [np.abs(a - b).max() for a, b in zip(values, other_values, strict=True)]
  return {
    "logs": [logs, other_logs],
    "largest_error": float(max(errors)),
    "between_replicas": float(max(np.abs(a - b).max() for a, b in on_replicas)),
  }


def bytes_gathered(two: tf.distribute.Strategy) -> list:
  """Rows of bytes of both replicas, whose number a collective's numbers divide, or do not."""

  def gather(context_values):
    return [replica_ops.gather_rows(values) for values in context_values]

  def values(context):
    first = 10 * context.replica_id_in_sync_group
    even = tf.cast(tf.reshape(tf.range(first, first + 8), [2, 2, 2]), tf.uint8)
    return [even, even[..., 0, :1]]

  distributed_values = two.experimental_distribute_values_from_function(values)
  run = tf.function(lambda inputs: two.run(gather, (inputs,)), autograph=False)
  return [
    [part.numpy().ravel().tolist() for part in two.experimental_local_results(gathered)]
    for gathered in run(distributed_values)
  ]


def main() -> None:
  cpu = tf.config.list_physical_devices("CPU")[0]
  tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
  one = tf.distribute.OneDeviceStrategy("CPU:0")
  two = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
  with determinism.deterministic(True):
    found = {
      # Two groups on one replica, one on each of two.
      "batch": compare(one, two, {}),
      "none": compare(one, two, {"shuffle": "none"}),
      "compiled": compare(one, two, {}, compile_losses=True),
      "pyramid": compare(one, two, small.PYRAMID_CONFIG),
    }
  found["bytes"] = bytes_gathered(two)
  json.dump(found, sys.stdout)


if __name__ == "__main__":
  main()
