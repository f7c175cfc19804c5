"""Time and memory of a pretraining step beside a detection step, and where the time goes.

    python -m benchmarks.insloc_step
    python -m benchmarks.insloc_step --batch_sizes 16 32 64 --size 128 --depth_multiplier 0.5
    python -m benchmarks.insloc_step --backbone resnet_50 --batch_sizes 16 --jit_compile

Both networks have the same backbone, with norm `batch`, and new weights. The pretraining's images
are noise of `--size` pixels with random boxes, so that nothing waits for data. The detector's are
one image a step of `--image_size` pixels, with the three auxiliary tasks and refinement. Everything
runs in one process, one after the other. The table has, of each step,

* the median milliseconds, and images a second; of pretraining an image is a pair of composites;
* the most MiB that the process held during the steps beyond what it held before, on Linux and
  without an accelerator;
* mean number of cores that other processes kept busy meanwhile.

Below it are the parts of a pretraining step, each as a program of its own: both encoders forward,
the query's backward pass, the loss against the queue, and the queue's update.
"""

import argparse
import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras

from benchmarks.cost import measuring
from mtl_ssl_tf.configs import detector as detector_config
from mtl_ssl_tf.configs import experiments
from mtl_ssl_tf.losses import contrastive_losses
from mtl_ssl_tf.modeling import factory
from mtl_ssl_tf.tasks import insloc, training_losses
from mtl_ssl_tf.training import momentum

NUM_CLASSES = 4
NUM_BOXES = 8


@dataclasses.dataclass(frozen=True)
class Measured:
  """Milliseconds of a call, images of a call, MiB beyond the start, load by others."""

  name: str
  images: int
  milliseconds: float
  mib: float
  other_cores: float

  def cells(self) -> list[str]:
    rate = 1000.0 * self.images / self.milliseconds
    return [
      self.name,
      f"{self.milliseconds:.0f}",
      f"{rate:.1f}",
      f"{self.mib:.0f}",
      f"{self.other_cores:.1f}",
    ]


def measure(name: str, images: int, call: Callable[[], Any], repeats: int) -> Measured:
  """Times a call, whose results are read, after two that are not counted."""

  def wait() -> None:
    for value in tf.nest.flatten(call()):
      value.numpy()

  before = measuring.resident_mib()
  measuring.restart_peak()
  times = measuring.timed(wait, repeats)
  return Measured(
    name,
    images,
    1000.0 * float(np.median(times["seconds"])),
    measuring.peak_mib() - before,
    times["other_cores"],
  )


def backbone_fields(options: argparse.Namespace) -> dict[str, Any]:
  """The fields of both networks' backbone."""
  layout = "torchvision" if options.backbone.startswith("resnet") else "slim"
  return {
    "type": options.backbone,
    "depth_multiplier": options.depth_multiplier,
    "layout": layout,
    "norm": {"type": "batch"},
  }


class Pretraining:
  """The pretraining step of a batch size on noise, and its parts."""

  def __init__(self, options: argparse.Namespace, batch_size: int):
    params = experiments.insloc_c4()
    params.override(
      {
        "task": {
          "backbone": backbone_fields(options),
          "group_size": min(32, batch_size // 2),
          "queue_size": options.queue_size,
          "train_data": {"global_batch_size": batch_size},
        },
        "trainer": {"optimizer_config": {"learning_rate": {"cosine": {"decay_steps": 1000}}}},
      },
      is_strict=True,
    )
    method = "matmul" if options.jit_compile else "native"
    self.task = insloc.InsLocTask(params.task, crop_method=method)
    self.model = self.task.build_model()
    optimizer = self.task.create_optimizer(params.trainer.optimizer_config)
    rng = np.random.default_rng(0)
    shape = [batch_size, options.size, options.size, 3]
    corner, size = rng.uniform(0.0, 0.4, [2, batch_size, 2]) * options.size
    boxes = tf.constant(np.concatenate([corner, corner + size + 0.2 * options.size], 1), tf.float32)
    images = [tf.constant(rng.integers(0, 256, shape, np.uint8)) for _ in range(2)]
    self.batch = {
      "query_images": images[0],
      "query_boxes": boxes,
      "key_images": images[1],
      "key_boxes": boxes,
    }
    self._jit_compile = options.jit_compile
    self.step = self._program(lambda: self.task.train_step(self.batch, self.model, optimizer))

  def _program(self, function: Callable[[], Any]) -> Callable[[], Any]:
    return tf.function(function, jit_compile=self._jit_compile, autograph=False)

  def parts(self) -> dict[str, Callable[[], Any]]:
    """Each part by name."""
    model, batch, config = self.model, self.batch, self.task.task_config
    boxes = batch["query_boxes"][:, tf.newaxis]  # Query and key have the same.
    vectors = tf.math.l2_normalize(tf.random.normal([len(batch["query_boxes"]), 128]), axis=-1)

    def query() -> tf.Tensor:
      return model.query_encoder(batch["query_images"], boxes, training=True)

    def backward() -> list[tf.Tensor]:
      with tf.GradientTape() as tape:
        loss = tf.reduce_sum(query()[..., 0])
      gradients = tape.gradient(loss, model.trainable_variables)
      return [tf.add_n([tf.reduce_sum(gradient) for gradient in gradients])]

    def key() -> tf.Tensor:
      model.key_encoder.follow(model.query_encoder, config.momentum)
      return model.key_encoder(batch["key_images"], boxes, training=True)

    def loss() -> tf.Tensor:
      return contrastive_losses.info_nce(vectors, vectors, model.queue.keys, 0.2).loss

    def enqueue() -> tf.Tensor:
      model.queue.enqueue(vectors)
      return model.queue.keys[0, 0]

    parts = {
      "query encoder, forward": query,
      "query encoder, forward and back": backward,
      "key encoder follows, forward": key,
      "loss against the queue": loss,
      "queue takes the keys": enqueue,
    }
    return {name: self._program(function) for name, function in parts.items()}


def detection_step(options: argparse.Namespace) -> Callable[[], Any]:
  """A training step of a detector with all tasks on one image of noise."""
  config = detector_config.MtlDetection()
  config.override({"backbone": backbone_fields(options)}, is_strict=True)
  model = factory.build_detector(config, NUM_CLASSES, "matmul" if options.jit_compile else "native")
  optimizer = momentum.Momentum(1e-4, momentum=0.9)
  rng = np.random.default_rng(0)
  height, width = options.image_size
  corners = rng.uniform(0.0, 0.5, [1, NUM_BOXES, 2]) * [height, width]
  boxes = np.concatenate([corners, corners + 0.3 * np.array([height, width])], axis=-1)
  labels = {
    "gt_boxes_px": tf.constant(boxes, tf.float32),
    "gt_classes": tf.constant(rng.integers(1, NUM_CLASSES, [1, NUM_BOXES]), tf.int32),
    "image_size_px": tf.constant([[height, width]], tf.float32),
    "flipped": tf.constant([False]),
    "image_key": tf.constant([1]),
  }
  images = tf.constant(rng.uniform(0.0, 255.0, [1, height, width, 3]), tf.float32)

  def step() -> tf.Tensor:
    number = tf.constant(0)
    with tf.GradientTape() as tape:
      targets = training_losses.make_auxiliary_targets(config, labels, number, NUM_CLASSES)
      first = model.first_stage(images, labels["image_size_px"], training=True)
      parts = training_losses.replica_losses(model, config, first, labels, targets, number)
      losses = training_losses.reduce_over_replicas(parts)
      total = tf.add_n(list(losses.values()))
      total += training_losses.weight_decay(model, config.regularization)
    variables = model.trainable_variables
    gradients = tape.gradient(total, variables)
    pairs = [pair for pair in zip(gradients, variables, strict=True) if pair[0] is not None]
    optimizer.apply_gradients(pairs)
    return total

  return tf.function(step, jit_compile=options.jit_compile, autograph=False)


def table(rows: list[Measured], head: str) -> list[str]:
  """Returns the lines of a table."""
  lines = [f"| {head} | ms | images/s | MiB | other cores |", "|---|---|---|---|---|"]
  return lines + [f"| {' | '.join(row.cells())} |" for row in rows]


def main() -> None:
  """Runs the command line."""
  parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
  parser.add_argument("--backbone", default="mobilenet_v1")
  parser.add_argument("--depth_multiplier", type=float, default=0.5)
  parser.add_argument("--size", type=int, default=128, help="side of a composite")
  parser.add_argument("--batch_sizes", type=int, nargs="+", default=[64])
  parser.add_argument("--queue_size", type=int, default=4096)
  parser.add_argument("--image_size", type=int, nargs=2, default=[480, 640], help="of the detector")
  parser.add_argument("--repeats", type=int, default=8)
  parser.add_argument("--jit_compile", action="store_true", help="compile both steps whole")
  options = parser.parse_args()
  rows, parts = [], []
  for batch_size in options.batch_sizes:
    pretraining = Pretraining(options, batch_size)
    name = f"pretraining, batch {batch_size}, {options.size} x {options.size}"
    rows.append(measure(name, batch_size, pretraining.step, options.repeats))
    if batch_size == options.batch_sizes[-1]:
      parts = [
        measure(part, batch_size, function, options.repeats)
        for part, function in pretraining.parts().items()
      ]
    del pretraining
    tf_keras.backend.clear_session()
  height, width = options.image_size
  name = f"detection with all tasks, batch 1, {height} x {width}"
  rows.append(measure(name, 1, detection_step(options), options.repeats))
  print("\n".join([*table(rows, "step"), "", *table(parts, "part of the last pretraining step")]))


if __name__ == "__main__":
  main()
