"""A task that shares nothing with detection: a linear model on records of numbers.

python -m tests.training.toy_task FOLDER [OVERRIDE]      a run in FOLDER/run
"""

import dataclasses
import pathlib
import sys

import numpy as np
import tensorflow as tf
import tf_keras
import yaml
from official.core import config_definitions as cfg
from official.core import task_factory

from mtl_ssl_tf.configs import optimization, training
from mtl_ssl_tf.training import driver, nonfinite
from mtl_ssl_tf.training import task as task_lib

NUM_FEATURES = 3


@dataclasses.dataclass
class Toy(cfg.TaskConfig):
  train_data: cfg.DataConfig = dataclasses.field(default_factory=cfg.DataConfig)
  validation_data: cfg.DataConfig = dataclasses.field(default_factory=cfg.DataConfig)


@task_factory.register_task_cls(Toy)
class ToyTask(task_lib.TrainableTask):
  main_metric = "error"

  def build_model(self):
    tf_keras.utils.set_random_seed(1)
    return tf_keras.Sequential([tf_keras.layers.Dense(1, input_shape=[NUM_FEATURES])])

  def build_inputs(self, params, input_context=None, first_batch=0, skipped_batches=()):
    records = tf.data.TFRecordDataset(params.input_path)
    rows = tf.stack([tf.io.parse_tensor(record, tf.float32) for record in records])
    if not params.is_training:
      return tf.data.Dataset.from_tensor_slices(rows).batch(params.global_batch_size)
    numbers = tf.data.Dataset.counter(first_batch).filter(
      lambda number: tf.reduce_all(number != tf.constant([*skipped_batches], tf.int64))
    )
    return numbers.map(
      lambda number: tf.random.experimental.stateless_shuffle(rows, [3, number])[
        : params.global_batch_size
      ]
    )

  def train_step(self, inputs, model, optimizer, metrics=None):
    with tf.GradientTape() as tape:
      loss = tf.reduce_mean((model(inputs[:, :-1])[:, 0] - inputs[:, -1]) ** 2)
    variables = model.trainable_variables
    pairs = list(zip(tape.gradient(loss, variables), variables, strict=True))
    nonfinite.apply_gradients(self.guard, optimizer, pairs, loss)
    return {self.loss: loss}

  def validation_step(self, inputs, model, metrics=None):
    return {"errors": (model(inputs[:, :-1])[:, 0] - inputs[:, -1]) ** 2}

  def aggregate_logs(self, state, step_logs):
    return [*(state or []), *np.concatenate(step_logs["errors"])]

  def reduce_aggregated_logs(self, aggregated_logs, global_step=None):
    return {"error": float(np.mean(aggregated_logs))}


def write_records(folder: pathlib.Path) -> None:
  """Sixteen rows of numbers, the last of each twice the sum of the others."""
  rows = np.random.default_rng(1).normal(size=[16, NUM_FEATURES]).astype(np.float32)
  with tf.io.TFRecordWriter(str(folder / "rows.tfrecord")) as writer:
    for row in rows:
      writer.write(tf.io.serialize_tensor(tf.constant([*row, 2 * row.sum()])).numpy())


def experiment(folder: pathlib.Path, override: dict | None = None) -> cfg.ExperimentConfig:
  """A run on the records of the folder."""
  path = str(folder / "rows.tfrecord")
  optimizer = {
    "optimizer": {"type": "adam"},
    "learning_rate": {"type": "constant", "constant": {"learning_rate": 0.01}},
  }
  params = cfg.ExperimentConfig(
    task=Toy(
      train_data=cfg.DataConfig(input_path=path, global_batch_size=4, is_training=True),
      validation_data=cfg.DataConfig(input_path=path, global_batch_size=8, is_training=False),
    ),
    trainer=training.Trainer(
      optimizer_config=optimization.DetectorOptimization(optimizer),
      train_steps=600,
      steps_per_loop=20,
      validation_interval=200,
      checkpoint_interval=50,
      best_checkpoint_metric_comp="lower",
    ),
    runtime=training.Runtime(),
  )
  params.override(override or {}, is_strict=True)
  return params


def run(folder: pathlib.Path, name: str, override: dict | None = None) -> np.ndarray | None:
  """Trains in FOLDER/NAME; returns the weights, [4], or None of a run that was stopped."""
  params = experiment(folder, override)
  model, _ = driver.run(params, "train_and_eval", str(folder / name))
  if model is None:
    return None
  return np.concatenate([variable.numpy().ravel() for variable in model.variables])


if __name__ == "__main__":
  run(pathlib.Path(sys.argv[1]), "run", yaml.safe_load("".join(sys.argv[2:])))
