"""Makes batches for a step: the run's own, or made up where its records are missing."""

import contextlib
import logging
import os
import tempfile
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from mtl_ssl_tf.configs import data as data_config
from mtl_ssl_tf.data import progress_lines
from mtl_ssl_tf.data.records import paths as record_paths
from mtl_ssl_tf.data.records import writer as record_writer
from mtl_ssl_tf.tasks import mtl_detection

_LOGGER = logging.getLogger(__name__)
# A landscape and a portrait, so that each input size gets its images.
_MADE_UP_SIZES = ((60, 80), (80, 60))
_NUM_BOXES = 8
Signature = tuple[tuple[str, tuple[int, ...], str], ...]


def batches(
  task: mtl_detection.MtlDetectionTask,
  data: data_config.Data,
  batch_size: int,
  input_path: Any = None,
) -> tf.data.Dataset:
  """Returns the batches that a core of the run gets.

  Args:
    task: of the run.
    data: of the run's training.
    batch_size: images of a core.
    input_path: other records than the run's.

  Raises:
    ValueError: naming the field; the records are missing or not acceptable.
  """
  changed = {"global_batch_size": batch_size}
  if input_path is not None:
    changed["input_path"] = input_path
  try:
    return task.build_inputs(data.replace(**changed))
  except ValueError as error:
    # Faults of a file begin with its path, others with the field.
    begins_with_field = str(error).split(" ")[0].rstrip(":") in vars(data)
    field = "task.train_data." if begins_with_field else "task.train_data.input_path: "
    raise ValueError(f"{field}{error}") from error


def signature(batch: Any) -> Signature:
  """Name, shape and type of each tensor of a batch; a new one makes XLA compile again."""
  images, labels = batch
  named = {"images": images, **labels}
  return tuple(
    (name, tuple(named[name].shape), tf.as_dtype(named[name].dtype).name) for name in sorted(named)
  )


def specs(batch: Any) -> Any:
  """The batch's structure with a `TensorSpec` for each tensor."""
  return tf.nest.map_structure(lambda leaf: tf.TensorSpec(leaf.shape, leaf.dtype), batch)


def count_signatures(
  dataset: tf.data.Dataset, num_batches: int
) -> tuple[dict[Signature, int], dict[Signature, Any]]:
  """Counts each signature among so many batches; returns the counts, and the specs of each.

  Raises:
    ValueError: a record cannot be read.
  """
  counts, first = {}, {}
  line = progress_lines.Progress("batches", num_batches, _LOGGER.info)
  try:
    for batch in dataset.take(num_batches):
      key = signature(batch)
      counts[key] = counts.get(key, 0) + 1
      first.setdefault(key, specs(batch))
      line.step()
  except tf.errors.OpError as error:
    reason = error.message.split("\n")[0]
    raise ValueError(f"task.train_data.input_path: {reason}") from error
  return counts, first


@contextlib.contextmanager
def made_up_records(class_names: list[str]) -> Iterator[str]:
  """Path of records of noise with boxes of all classes, there until the end of the `with` block."""
  rng = np.random.default_rng(0)
  with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, "made_up.tfrecord")
    with tf.io.TFRecordWriter(path) as writer:
      for number, size in enumerate(_MADE_UP_SIZES):
        writer.write(_made_up_example(rng, f"made_up_{number}", size, class_names))
    yield path


def _made_up_example(
  rng: np.random.Generator, name: str, size: tuple[int, int], class_names: list[str]
) -> bytes:
  height, width = size
  image = rng.integers(0, 256, [height, width, 3], np.uint8)
  starts = rng.uniform(0.0, 0.6, [_NUM_BOXES, 2]) * size
  sides = rng.uniform(0.2, 0.4, [_NUM_BOXES, 2]) * size
  classes = [1 + number % len(class_names) for number in range(_NUM_BOXES)]
  example = record_writer.make_example(
    encoded=tf.io.encode_png(image).numpy(),
    image_format="png",
    height=height,
    width=width,
    filename=f"{name}.png",
    source_id=name,
    boxes_orig=np.concatenate([starts, starts + sides], axis=1),
    class_ids=classes,
    class_names=[class_names[index - 1] for index in classes],
    difficult=[0] * _NUM_BOXES,
    truncated=[0] * _NUM_BOXES,
  )
  return record_writer.serialize(example)


def made_up_batch(
  task: mtl_detection.MtlDetectionTask, data: data_config.Data, batch_size: int
) -> Any:
  """A batch as the run's records would give it, of `made_up_records`."""
  with made_up_records(task.class_names) as path:
    return next(iter(batches(task, data, batch_size, path)))


def is_there(data: data_config.Data) -> bool:
  """Whether files match the run's `input_path`."""
  try:
    return bool(record_paths.match_files(data.input_path))
  except ValueError:
    return False
