"""Times the first batch of a training that begins far ahead, and the rate of records.

    python -m benchmarks.input_position [--num_records=20000] [--records='data/bccd/trainval-*']

Without `--records`, files of `--num_records` noise images (JPEG, 375 × 500) are written, used, and
removed. The lines:

* making the index of the records, and reading the images' sizes, which two input sizes need;
* the first batch of 4 at step 0 and at step 100,000, the median of five: building the pipeline,
  reading and parsing; the index is there;
* what skipping by reading would add on average: half an epoch's records;
* raw records a second, in the epoch's order and in that of the files, both from the page cache.
"""

import argparse
import pathlib
import tempfile
import time

import numpy as np
import tensorflow as tf

from mtl_ssl_tf.configs import data as data_config
from mtl_ssl_tf.data import schema
from mtl_ssl_tf.data.pipeline import batch_order, reader, record_streams
from mtl_ssl_tf.data.records import index as record_index
from mtl_ssl_tf.data.records import paths as record_paths
from mtl_ssl_tf.data.records import sizes as record_sizes

STEP = 100_000
BATCH = 4
NUM_SHARDS = 10
NUM_IMAGES = 64


def write_records(folder: pathlib.Path, num_records: int) -> str:
  """Writes records of a few different images, one in four in portrait; returns their pattern."""
  rng = np.random.default_rng(0)
  contents = []
  for number in range(NUM_IMAGES):
    height, width = (500, 375) if number % 4 == 0 else (375, 500)
    coarse = rng.integers(0, 256, [height // 5, width // 5, 3]).repeat(5, 0).repeat(5, 1)
    noise = rng.integers(-20, 20, coarse.shape)
    image = np.clip(coarse + noise, 0, 255).astype(np.uint8)
    features = {
      schema.IMAGE_ENCODED: [tf.io.encode_jpeg(image, quality=90).numpy()],
      schema.IMAGE_SOURCE_ID: [str(number).encode()],
    }
    feature = {
      name: tf.train.Feature(bytes_list=tf.train.BytesList(value=value))
      for name, value in features.items()
    }
    for name, value in ((schema.IMAGE_HEIGHT, height), (schema.IMAGE_WIDTH, width)):
      feature[name] = tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))
    example = tf.train.Example(features=tf.train.Features(feature=feature))
    contents.append(example.SerializeToString())
  for shard in range(NUM_SHARDS):
    path = str(folder / schema.shard_file("train", shard, NUM_SHARDS))
    with tf.io.TFRecordWriter(path) as writer:
      for number in range(shard, num_records, NUM_SHARDS):
        writer.write(contents[number % NUM_IMAGES])
  return str(folder / "train-*.tfrecord")


def first_batch_seconds(path: str, step: int, repeats: int = 5, **settings) -> np.ndarray:
  """Median time from nothing to the batch of a step: on the clock, and of all processors."""
  times = []
  for _ in range(repeats):
    start = np.array([time.perf_counter(), time.process_time()])
    dataset = reader.make_dataset(
      data_config.Data(input_path=path, global_batch_size=BATCH, is_training=True, **settings),
      first_batch=step,
    )
    next(iter(dataset))
    times.append(np.array([time.perf_counter(), time.process_time()]) - start)
  return np.median(times, axis=0)


def records_per_second(records: tf.data.Dataset) -> tuple[int, float]:
  """Returns the number of records of a dataset, and records per second."""
  start = time.perf_counter()
  count = int(records.reduce(0, lambda count, _: count + 1))
  return count, count / (time.perf_counter() - start)


def main() -> None:
  parser = argparse.ArgumentParser()
  parser.add_argument("--records", default="")
  parser.add_argument("--num_records", type=int, default=20_000)
  flags = parser.parse_args()
  with tempfile.TemporaryDirectory() as folder:
    path = flags.records or write_records(pathlib.Path(folder), flags.num_records)
    measure(path)


def measure(path: str) -> None:
  two = {"input_layout": "by_orientation", "input_size": (600, 1024)}
  files = record_paths.match_files(path)
  start = time.perf_counter()
  index = record_index.scan(files)
  indexed = time.perf_counter()
  record_sizes.image_sizes(index)
  print(
    f"{len(index)} records in {len(files)} files: index {indexed - start:.2f} s, image sizes"
    f" {time.perf_counter() - indexed:.2f} s, once in a process"
  )
  first_batch_seconds(path, 0, 1)  # TensorFlow's own start shall not count.
  for layout, settings in (("one input size", {}), ("two input sizes", two)):
    at_start, ahead = (first_batch_seconds(path, step, **settings) for step in (0, STEP))
    print(
      f"first batch, {layout}: step 0 {at_start[0]:.2f} s ({at_start[1]:.2f} s of processors), step"
      f" {STEP:,} {ahead[0]:.2f} s ({ahead[1]:.2f} s), ratio {ahead[1] / at_start[1]:.2f}"
    )
  context = tf.distribute.InputContext()
  order = batch_order.BatchOrder([np.arange(len(index))], 1, seed=0)
  drawn = record_streams.training(index.read, order, 0, (), context).take(len(index))
  in_files = tf.data.TFRecordDataset(files)
  records_per_second(in_files)  # Into the page cache.
  count, sequential = records_per_second(in_files)
  _, shuffled = records_per_second(drawn)
  print(f"skipping by reading would add {0.5 * count / sequential:.2f} s, for half an epoch")
  print(
    f"raw records a second: {shuffled:.0f} in an epoch's order, {sequential:.0f} in that of the"
    f" files (ratio {shuffled / sequential:.2f})"
  )


if __name__ == "__main__":
  main()
