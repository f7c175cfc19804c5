"""Time of non-maximum suppression outside and inside compiled code, by method.

    python -m benchmarks.nms

Milliseconds of a call for one image, the median of repeated calls of one run; `loop compiled` is
what a compiled step runs. Proposals are of crowded boxes, as the anchors around objects become,
and of boxes anywhere; detections have a box for each class.
"""

import functools
import time

import numpy as np
import tensorflow as tf

from mtl_ssl_tf.ops import nms_ops

SIZE = np.array([600.0, 1024.0])
REPEATS = 15
NUM_OBJECTS = 10
WAYS = {
  "loop": {"method": "loop"},
  "native": {"method": "native"},
  "loop compiled": {"method": "loop", "jit_compile": True},
}


def random_boxes(rng: np.random.Generator, shape: list[int]) -> np.ndarray:
  """Boxes of 30 to 400 pixels anywhere, float32 [*shape, 4]."""
  centers = rng.uniform(0.0, SIZE, [*shape, 2])
  sides = np.exp(rng.uniform(np.log(30.0), np.log(400.0), [*shape, 2]))
  corners = [centers - sides / 2, centers + sides / 2]
  return np.concatenate(corners, axis=-1).clip(0.0, np.tile(SIZE, 2)).astype(np.float32)


def proposals(num_anchors: int, crowded: bool) -> tuple:
  """Function of (method), with the arguments of `batched_nms`."""
  rng = np.random.default_rng(0)
  boxes = random_boxes(rng, [1, num_anchors])
  scores = rng.uniform(size=[1, num_anchors])
  if crowded:
    objects = random_boxes(rng, [NUM_OBJECTS])[rng.integers(0, NUM_OBJECTS, [1, num_anchors])]
    near = rng.uniform(size=[1, num_anchors]) < 0.3
    boxes = np.where(near[..., np.newaxis], objects + rng.normal(0.0, 4.0, boxes.shape), boxes)
    scores = np.where(near, 0.9 + 0.1 * scores, 0.1 * scores)
  settings = {"iou_threshold": 0.7, "max_outputs": 300}
  return nms_ops.batched_nms, settings, boxes, scores, np.ones_like(scores, bool)


def detections(num_classes: int) -> tuple:
  """Function of (method), with the arguments of `multiclass_nms`, for 300 proposals."""
  rng = np.random.default_rng(0)
  boxes = random_boxes(rng, [1, 300, num_classes])
  scores = rng.dirichlet(np.full(num_classes + 1, 0.3), [1, 300])[..., 1:]
  return nms_ops.multiclass_nms, {"iou_threshold": 0.4}, boxes, scores, np.ones([1, 300], bool)


def median_ms(function, arguments) -> float:
  function(*arguments)
  times = []
  for _ in range(REPEATS):
    start = time.perf_counter()
    tf.nest.flatten(function(*arguments))[0].numpy()
    times.append(1000.0 * (time.perf_counter() - start))
  return float(np.median(times))


def main() -> None:
  cases = {
    "proposals, 4,800 anchors, crowded": proposals(4_800, True),
    "proposals, 29,184 anchors, crowded": proposals(29_184, True),
    "proposals, 29,184 anchors, anywhere": proposals(29_184, False),
    "detections, 20 classes": detections(20),
    "detections, 90 classes": detections(90),
    "detections, 1,200 classes": detections(1_200),
  }
  heads = "".join(f"{way:>15}" for way in WAYS)
  print(f"{'':<36}{heads}{'loop / native':>15}")
  for name, (function, settings, boxes, scores, valid) in cases.items():
    tensors = (tf.constant(boxes, tf.float32), tf.constant(scores, tf.float32), tf.constant(valid))
    times = []
    for way in WAYS.values():
      way = dict(way)
      jit_compile = way.pop("jit_compile", False)
      traced = tf.function(functools.partial(function, **settings, **way), jit_compile=jit_compile)
      times.append(median_ms(traced, tensors))
    columns = "".join(f"{ms:15.1f}" for ms in times)
    print(f"{name:<36}{columns}{times[0] / times[1]:14.1f}x", flush=True)


if __name__ == "__main__":
  main()
