"""Measures images validated per second, by threads: python -m benchmarks.validation.

Makes its own records of noise, JPEG of 640 x 480 pixels with 13 boxes each, as in BCCD. Prints one
line for each number of threads, the ratio to one thread, and the ratio of decoding alone.
"""

import argparse
import os
import pathlib
import tempfile
import time
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from mtl_ssl_tf.configs import detector
from mtl_ssl_tf.data import validate
from mtl_ssl_tf.data.inspection import checks
from mtl_ssl_tf.data.records import writer as record_writer

_SIZE = 480, 640
_BOXES = [(20 + 30 * i, 10 + 40 * i, 90 + 30 * i, 90 + 40 * i) for i in range(13)]


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
  parser.add_argument("--num_images", type=int, default=500)
  parser.add_argument("--repeats", type=int, default=3, help="the best of so many counts")
  flags = parser.parse_args()
  task = detector.MtlDetection()
  limits = checks.Limits.of_config(task, task.train_data)
  with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, "x.tfrecord")
    images = _write(path, flags.num_images)
    alone = _seconds(lambda: [tf.io.decode_image(image) for image in images], flags.repeats)
    print(f"decoding alone: {len(images) / alone:.0f} images/s")
    one = None
    for num_threads in sorted({1, 2, len(os.sched_getaffinity(0))}):

      def run(num_threads: int = num_threads) -> None:
        report = validate.validate_records(path, limits, num_threads=num_threads)
        assert not report.num_of(checks.FAULT)

      seconds = _seconds(run, flags.repeats)
      one = one or seconds
      print(
        f"threads {num_threads}: {len(images) / seconds:.0f} images/s, {one / seconds:.2f} times"
        f" one thread, {alone / seconds:.2f} times decoding alone"
      )


def _write(path: str, num_images: int) -> list[bytes]:
  """Writes the records and returns their images."""
  # Noise of an eighth of the size, made larger, compresses about as photographs do.
  rng = np.random.default_rng(0)
  small = rng.integers(0, 256, [num_images, _SIZE[0] // 8, _SIZE[1] // 8, 3], np.uint8)
  images = []
  with tf.io.TFRecordWriter(path) as writer:
    for i, image in enumerate(small):
      image = tf.cast(tf.image.resize(image, _SIZE), tf.uint8)
      images.append(tf.io.encode_jpeg(image, quality=90).numpy())
      example = record_writer.make_example(
        encoded=images[-1],
        image_format="jpeg",
        height=_SIZE[0],
        width=_SIZE[1],
        filename=f"{i}.jpg",
        source_id=str(i),
        boxes_orig=_BOXES,
        class_ids=[1] * len(_BOXES),
        class_names=["cell"] * len(_BOXES),
        difficult=[0] * len(_BOXES),
        truncated=[0] * len(_BOXES),
      )
      writer.write(example.SerializeToString())
  megabytes = pathlib.Path(path).stat().st_size / 1e6
  print(f"{num_images} images of {_SIZE[1]} x {_SIZE[0]}, {megabytes:.0f} MB")
  return images


def _seconds(function: Callable[[], object], repeats: int) -> float:
  """Returns the least time of several."""
  times = []
  for _ in range(repeats):
    start = time.perf_counter()
    function()
    times.append(time.perf_counter() - start)
  return min(times)


if __name__ == "__main__":
  main()
