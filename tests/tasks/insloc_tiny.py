"""A pretraining small enough to run in a test, on random pixels in the place of composites.

python -m tests.tasks.insloc_tiny FOLDER [OVERRIDE]      a run in FOLDER/run
"""

import dataclasses
import pathlib
import sys
from typing import Any

import tensorflow as tf
import yaml
from official.core import task_factory

from mtl_ssl_tf.configs import experiments
from mtl_ssl_tf.configs import insloc as insloc_config
from mtl_ssl_tf.tasks import insloc
from mtl_ssl_tf.training import driver
from tests.modeling.pretraining import small
from tests.tasks import tiny

SIDE = 64
BATCH_SIZE = 4


@dataclasses.dataclass
class RandomInsLoc(insloc_config.InsLoc):
  """The settings of a task with data of its own."""


def random_batch(number: tf.Tensor, rows: tuple[int, int]) -> dict[str, tf.Tensor]:
  """Rows of a batch by its number: noise on a colour, of which query and key have the same."""
  seed = tf.stack([tf.constant(7, tf.int64), number])
  seeds = tf.random.split(seed, 3)
  shape = [BATCH_SIZE, SIDE, SIDE, 3]
  images = tf.random.stateless_uniform([BATCH_SIZE, 1, 1, 3], seeds[0], 0, 200, tf.int32)
  made = {"source_index": number * BATCH_SIZE + tf.range(BATCH_SIZE, dtype=tf.int64)}
  for role, role_seed in (("query", seeds[1]), ("key", seeds[2])):
    corners = tf.random.stateless_uniform([BATCH_SIZE, 2, 2], role_seed, 0.0, SIDE / 2)
    noise = tf.random.stateless_uniform(shape, role_seed, 0, 50, tf.int32)
    made[f"{role}_images"] = tf.cast(images + noise, tf.uint8)
    made[f"{role}_boxes"] = tf.concat([corners[:, 0], SIDE - corners[:, 1] / 2], axis=1)
  first, end = rows
  return {name: values[first:end] for name, values in made.items()}


@task_factory.register_task_cls(RandomInsLoc)
class RandomInsLocTask(insloc.InsLocTask):
  """The task on `random_batch`; the probe reads records."""

  def build_inputs(self, params, input_context=None, first_batch=0, skipped_batches=()):
    if not params.is_training:
      return super().build_inputs(params, input_context)
    numbers = tf.data.Dataset.counter(first_batch).filter(
      lambda number: tf.reduce_all(number != tf.constant([*skipped_batches], tf.int64))
    )
    return numbers.map(lambda number: random_batch(number, (0, BATCH_SIZE)))

  @classmethod
  def check_data(cls, config, name):
    if name != "train_data":
      super().check_data(config, name)

  def image_ids(self, params, batch):
    return [f"noise {batch}"]


def experiment(override: dict[str, Any] | None = None, folder: pathlib.Path | None = None):
  """A run of some steps; the probe is on the records of `tiny.write_records` in the folder."""
  params = experiments.insloc_c4()
  params.task = RandomInsLoc()
  params.override(
    {
      "task": {
        **small.CONFIG,
        "weight_decay": 1e-3,
        "momentum": 0.9,
        "probe_neighbours": 1,
        "picture_interval": 0,
        "train_data": {"image_dir": "unused", "global_batch_size": BATCH_SIZE},
        "validation_data": {
          **tiny.DATA,
          "input_path": str((folder or pathlib.Path("unused")) / "val.tfrecord"),
        },
      },
      "trainer": {
        "train_steps": 8,
        "steps_per_loop": 2,
        "summary_interval": 2,
        "checkpoint_interval": 2,
        "validation_interval": 4,
        "base_batch_size": BATCH_SIZE,
        "optimizer_config": {"learning_rate": {"cosine": {"decay_steps": 8}}},
      },
    },
    is_strict=True,
  )
  params.override(override or {}, is_strict=True)
  return params


def run(folder: pathlib.Path, name: str, override: dict[str, Any] | None = None, mode="train"):
  """Runs in FOLDER/NAME; returns what the driver does."""
  return driver.run(experiment(override, folder), mode, str(folder / name))


if __name__ == "__main__":
  run(pathlib.Path(sys.argv[1]), "run", yaml.safe_load("".join(sys.argv[2:])))
