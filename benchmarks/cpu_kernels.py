"""The parts of a step on a CPU: oneDNN on or off, uncompiled or by XLA, float32 or bfloat16.

    python -m benchmarks.cpu_kernels [--ways oneDNN plain XLA] [--precisions float32 bfloat16]
    python -m benchmarks.cpu_kernels --size 256 320 --repeats 3

Milliseconds a call, the median, each way in a process of its own: TensorFlow reads what it is to
use when it starts. The parts are those of ResNet-101 at 600 x 1024 with 300 proposals and 20
classes, one image:

* stage 1: image to shared map;
* second stage: 300 boxes to logits, with their crops; the 3 x 3 convolutions by Fourier transform
  where that is the default (`roi_head.convolution`), and directly;
* crops: 300 of 7 x 7 x 1024, by TensorFlow's kernel, or by `matmul` under XLA;
* proposals: 29,184 anchors to 300, by TensorFlow's kernel, or by `loop` under XLA;
* labels: of 64 windows and 20 boxes, uncompiled or compiled; a step compiles them in any case;
* update: momentum with clipped gradients for all weights of the baseline.

The last four compute in float32 whatever the precision. The default is marked with *: oneDNN, not
compiled. Half a minute for a way in float32; without oneDNN bfloat16 takes minutes.
"""

import argparse
import dataclasses
import json
import os
import pathlib
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np

CONFIGURATION = "voc07_frcnn_resnet101_baseline"
NUM_CLASSES = 21
NUM_PROPOSALS = 300
# Name -> whether oneDNN is on, and whether XLA compiles.
WAYS = {"oneDNN": (True, False), "plain": (False, False), "XLA": (True, True)}
DEFAULT = "oneDNN"
PARTS = (
  "stage 1",
  "second stage",
  "second stage, direct",
  "crops",
  "proposals",
  "labels",
  "update",
)
# A call that takes longer is not repeated as often.
LONG_S = 5.0


def median_ms(call: Callable, repeats: int) -> float:
  call()
  times = []
  while len(times) < repeats and sum(times) < repeats * LONG_S:
    start = time.perf_counter()
    call()
    times.append(time.perf_counter() - start)
  return 1000.0 * float(np.median(times))


def network_calls(model, images, boxes_px, precision: str) -> dict[str, tuple[Callable, list]]:
  """Functions and arguments of the parts that compute in any precision."""
  import tensorflow as tf

  from mtl_ssl_tf.ops import box_ops

  image_size = tf.constant([images.shape[1:3]], tf.float32)
  features = tf.random.stateless_normal(model.stage1(images).shape, [0, 0])

  def stage1(images):
    return tf.cast(model.stage1(images)[0, 0, 0], tf.float32)

  def second_stage(features, boxes_px):
    return model.box_stage(features, boxes_px, image_size)[:2]

  def direct(features, boxes_px):
    direct = dataclasses.replace(model.box_head.crop_features, fourier_side=None)
    boxes_norm = box_ops.normalize(boxes_px, image_size)
    pooled = direct(direct.prepare(features), boxes_norm, image_size, False)
    return model.box_head.classifier(pooled), model.box_head.box(pooled)

  on_crops = [tf.cast(features, precision), boxes_px]
  calls = {"stage 1": (stage1, [images]), "second stage": (second_stage, on_crops)}
  if getattr(model.box_head.crop_features, "fourier_side", None) is not None:
    calls["second stage, direct"] = (direct, on_crops)
  return calls


def region_calls(model, config, features, boxes_px, image_size, compiled: bool) -> dict:
  """Functions and arguments of crops and proposals."""
  import tensorflow as tf

  from mtl_ssl_tf.modeling import proposals
  from mtl_ssl_tf.modeling.heads import rpn_head
  from mtl_ssl_tf.ops import box_ops, crop_ops

  crop_method, nms_method = ("matmul", "loop") if compiled else ("native", "native")
  stride = model.backbone.stride

  def crops(features, boxes):
    cut = crop_ops.crop_and_resize(features, boxes, image_size, stride, (7, 7), crop_method, True)
    return tf.reduce_max(cut)

  shapes = tuple(config.anchors.scales), tuple(config.anchors.aspect_ratios)
  grid = proposals.AnchorGrid(stride, config.anchors.base_size_px, *shapes)
  anchors = grid(features, image_size, training=False)
  num_anchors = anchors.is_candidate.shape[1]
  generator = proposals.ProposalGenerator(0.7, NUM_PROPOSALS, None, nms_method)

  def propose(deltas, logits):
    return generator(rpn_head.RpnOutputs(deltas, logits, features), anchors, image_size)

  deltas = tf.random.stateless_normal([1, num_anchors, 4], [0, 1])
  logits = tf.random.stateless_normal([1, num_anchors, 2], [0, 2])
  return {
    "crops": (crops, [features, box_ops.normalize(boxes_px, image_size)]),
    "proposals": (propose, [deltas, logits]),
  }


def training_calls(model) -> dict[str, tuple[Callable, list]]:
  """Functions and arguments of labels and update."""
  import tensorflow as tf

  from benchmarks import labels
  from mtl_ssl_tf.training import momentum, trainer

  boxes, classes = labels.random_objects(20, NUM_CLASSES)
  batch = [tf.constant(array[np.newaxis]) for array in (boxes, classes, labels.SIZE)]
  make_all = labels.label_functions(NUM_CLASSES)["all"]
  variables = model.trainable_variables
  optimizer = momentum.Momentum(1e-6, momentum=0.9, clipnorm=10.0)
  trainer.create_slots(optimizer, variables)

  def update(*gradients):
    optimizer.apply_gradients(zip(gradients, variables, strict=True))
    return tf.identity(optimizer.iterations)

  return {
    "labels": (lambda *batch: make_all(tf.constant([0, 0]), None, *batch), batch),
    "update": (update, [tf.fill(variable.shape, 0.01) for variable in variables]),
  }


def measure(compiled: bool, precision: str, size: list[int], repeats: int) -> dict[str, float]:
  """Milliseconds of each part in this process."""
  import tensorflow as tf

  from mtl_ssl_tf import registry_imports  # noqa: F401
  from mtl_ssl_tf.modeling import factory
  from mtl_ssl_tf.training import driver

  path = pathlib.Path(__file__).parents[1] / "configs" / "experiments" / f"{CONFIGURATION}.yaml"
  config = driver.load_experiment("mtl_frcnn", [str(path)]).task
  crop_method = "matmul" if compiled else "native"
  model = factory.build_detector(config, NUM_CLASSES, crop_method, precision)
  rng = np.random.default_rng(0)
  images = tf.constant(rng.uniform(0.0, 255.0, [1, *size, 3]), tf.float32)
  starts = rng.uniform(0.0, 0.7, [1, NUM_PROPOSALS, 2])
  boxes = np.concatenate([starts, starts + rng.uniform(0.05, 0.3, starts.shape)], axis=-1)
  boxes_px = tf.constant(boxes * np.tile(size, 2), tf.float32)
  calls = network_calls(model, images, boxes_px, precision)
  if precision == "float32":
    features, image_size = calls["second stage"][1][0], tf.constant([size], tf.float32)
    calls |= region_calls(model, config, features, boxes_px, image_size, compiled)
    calls |= training_calls(model)
  times = {}
  for name, (function, arguments) in calls.items():
    traced = tf.function(function, jit_compile=compiled, autograph=False)

    def call(traced=traced, arguments=arguments):
      for tensor in tf.nest.flatten(traced(*arguments)):
        tensor.numpy()

    times[name] = median_ms(call, repeats)
  return times


def in_own_process(way: str, options: argparse.Namespace, precision: str) -> dict[str, float]:
  onednn, _ = WAYS[way]
  size = [str(side) for side in options.size]
  command = [sys.executable, "-m", "benchmarks.cpu_kernels", "--inside", way]
  command += ["--precisions", precision, "--size", *size, "--repeats", str(options.repeats)]
  environment = {**os.environ, "TF_ENABLE_ONEDNN_OPTS": str(int(onednn))}
  print(f"measuring: {way}, {precision}", file=sys.stderr, flush=True)
  done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
  return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
  """Runs the command line."""
  parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
  parser.add_argument("--ways", nargs="+", choices=list(WAYS), default=list(WAYS))
  parser.add_argument("--precisions", nargs="+", default=["float32", "bfloat16"])
  parser.add_argument("--size", type=int, nargs=2, default=[600, 1024], help="height and width")
  parser.add_argument("--repeats", type=int, default=5)
  parser.add_argument("--inside", help=argparse.SUPPRESS)  # The way of this process.
  options = parser.parse_args()
  os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
  if options.inside:
    _, compiled = WAYS[options.inside]
    precision = options.precisions[0]
    print(json.dumps(measure(compiled, precision, options.size, options.repeats)))
    return
  found = {
    (way, precision): in_own_process(way, options, precision)
    for precision in options.precisions
    for way in options.ways
  }
  print(
    "| part | " + " | ".join(f"{way}, {precision}" for way, precision in found) + " | fastest |"
  )
  print("|---" * (len(found) + 2) + "|")
  for part in PARTS:
    times = {key: result[part] for key, result in found.items() if part in result}
    if not times:
      continue
    cells = [
      f"{times[key]:.1f}{'*' if key == (DEFAULT, 'float32') else ''}" if key in times else ""
      for key in found
    ]
    print(f"| {part} | " + " | ".join(cells) + f" | {', '.join(min(times, key=times.get))} |")


if __name__ == "__main__":
  main()
