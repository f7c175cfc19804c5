"""Time of making the auxiliary labels in compiled code, next to the tests' slow NumPy oracles.

    python -m benchmarks.labels

Every line is the median over repeated calls of one run, in milliseconds per image, for images of
600 × 800 with random boxes of 16 px and more. The `all` line draws the windows and makes all
labels in one compiled function, as the training step does.
"""

import time

import numpy as np
import tensorflow as tf

from mtl_ssl_tf.labels import closeness, foreground, multi_object, windows
from mtl_ssl_tf.ops import box_ops
from tests.labels import oracles

NUM_WINDOWS = 64
MASK_SIZE = 64
SIZE = np.array([600.0, 800.0], np.float32)
CASES = ((20, 21), (100, 91))
BATCH_SIZES = (1, 8)
REPEATS = 15


def random_objects(num_boxes: int, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
  """Boxes [N, 4] in pixels, side by side and one over the other, and classes [N]."""
  rng = np.random.default_rng(0)
  starts = rng.uniform(0.0, SIZE - 16.0, [num_boxes, 2])
  ends = rng.uniform(starts + 16.0, SIZE)
  boxes = np.concatenate([starts, ends], axis=1).astype(np.float32)
  return boxes, rng.integers(1, num_classes, num_boxes).astype(np.int32)


def median_ms(fn, repeats: int = REPEATS) -> float:
  fn()
  times = []
  for _ in range(repeats):
    start = time.perf_counter()
    fn()
    times.append(1000.0 * (time.perf_counter() - start))
  return float(np.median(times))


def label_functions(num_classes: int) -> dict:
  """Functions of (seed, windows, boxes, classes, sizes), one for each line of the table."""

  def sample(seed, sampled, boxes, classes, sizes):
    del sampled
    return windows.sample_windows(seed, boxes, classes, sizes, NUM_WINDOWS, 32.0, "top_left")

  def multi(seed, sampled, boxes, classes, sizes):
    del seed, sizes
    labels = multi_object.multi_object_labels(
      sampled, boxes, classes, num_classes, round_decimals=None
    )
    return labels, multi_object.window_weights(sampled, boxes, classes)

  def close(seed, sampled, boxes, classes, sizes):
    del seed, sampled
    return closeness.closeness_labels(
      boxes, classes, sizes, num_classes, include_same_class=True, round_decimals=None
    )

  def fore(seed, sampled, boxes, classes, sizes):
    del seed, sampled
    boxes_norm = box_ops.normalize(boxes, sizes)
    labels = foreground.foreground_labels(boxes_norm, classes, MASK_SIZE)
    weights = foreground.foreground_weights(boxes_norm, classes, MASK_SIZE, "inverse_area")
    return labels, weights

  def everything(seed, sampled, boxes, classes, sizes):
    sampled = sample(seed, sampled, boxes, classes, sizes)
    arguments = (seed, sampled, boxes, classes, sizes)
    return sampled, multi(*arguments), close(*arguments), fore(*arguments)

  return {
    "windows": sample,
    "multi_object": multi,
    "closeness": close,
    "foreground": fore,
    "all": everything,
  }


def oracle_functions(sampled, boxes, classes, num_classes: int) -> dict:
  boxes_norm = boxes / np.tile(SIZE, 2)

  def sample():
    rng = np.random.default_rng(0)
    return oracles.rejection_windows(rng, SIZE, boxes, NUM_WINDOWS, "top_left")

  def multi():
    return oracles.multi_object_labels(sampled, boxes, classes, num_classes)

  def close():
    return oracles.closeness_labels(boxes, classes, SIZE, num_classes)

  def fore():
    oracles.foreground_labels(boxes_norm, classes, MASK_SIZE, MASK_SIZE)
    return oracles.foreground_weights(boxes_norm, classes, MASK_SIZE, MASK_SIZE, "inverse_area")

  def everything():
    return sample(), multi(), close(), fore()

  return {
    "windows": sample,
    "multi_object": multi,
    "closeness": close,
    "foreground": fore,
    "all": everything,
  }


def main() -> None:
  heads = "".join(f"{f'batch {size}':>10}" for size in BATCH_SIZES)
  print(f"{'boxes':>5} {'classes':>7}  {'labels':<12}{heads}{'oracle':>10}{'oracle / ours':>15}")
  for num_boxes, num_classes in CASES:
    boxes, classes = random_objects(num_boxes, num_classes)
    rng = np.random.default_rng(1)
    sampled = oracles.rejection_windows(rng, SIZE, boxes, NUM_WINDOWS, "top_left")
    sampled = sampled.astype(np.float32)
    slow = oracle_functions(sampled, boxes, classes, num_classes)
    for name, label_fn in label_functions(num_classes).items():
      compiled = tf.function(label_fn, jit_compile=True)
      ours = []
      for batch_size in BATCH_SIZES:
        arrays = (sampled, boxes, classes, SIZE)
        batch = [tf.constant(np.stack([array] * batch_size)) for array in arrays]

        def call(compiled=compiled, batch=batch):
          outputs = compiled(tf.constant([0, 0]), *batch)
          return [tensor.numpy() for tensor in tf.nest.flatten(outputs)]

        ours.append(median_ms(call) / batch_size)
      oracle_ms = median_ms(slow[name], repeats=3)
      columns = "".join(f"{ms:10.2f}" for ms in (*ours, oracle_ms))
      print(f"{num_boxes:5} {num_classes:7}  {name:<12}{columns}{oracle_ms / ours[0]:14.1f}x")


if __name__ == "__main__":
  main()
