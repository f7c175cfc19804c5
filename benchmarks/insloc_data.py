"""Speed of the input of pretraining, stage by stage and whole.

    python -m benchmarks.insloc_data [--records=data/bccd/trainval-*.tfrecord]

The images: records of BCCD, 640 x 480 (README.md says how to get them), and JPEGs of 1600 x 1200,
drawn into a temporary folder. The tables:

* making the images ready, once: images a second;
* each stage of a composite by itself, milliseconds, one call after the other;
* the whole dataset: pairs of composites a second on all processors, and milliseconds of processor
  time a pair, as published (256 pixels) and half as large; with images as they come, made ready,
  and kept in memory; and without changes of colours;
* the training step of the small row, MobileNet at half width, 128 pixels, batches of 64: with the
  same batch again and again, then fed by the input. It is among the smallest steps there are.

Times of stages are medians of one run. `taskset -c 0` measures a single core.
"""

import argparse
import pathlib
import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from benchmarks import input_pipeline
from mtl_ssl_tf.configs import insloc_data as insloc_config
from mtl_ssl_tf.data.composites import colors, images, pasting, reader
from mtl_ssl_tf.ops import color_ops
from mtl_ssl_tf.tasks import insloc
from mtl_ssl_tf.training import driver, trainer

BATCH = 16
DATASET_BATCHES = 20
REPEATS = 30
STEPS = 10
ROW = pathlib.Path(__file__).parents[1] / "configs/pretraining/insloc_mobilenet_small.yaml"
OFF = {"jitter_probability": 0.0, "grey_probability": 0.0, "blur_probability": 0.0}
DATASETS: dict[str, dict[str, Any]] = {
  "as they come": {"store_side": 0.0},
  "made ready": {},
  "made ready, in memory": {"cache": True},
  "made ready, no colours": {"colors": OFF},
  "made ready, 128 pixels": {"composite": {"size": 128}},
  "in memory, 128 pixels": {"composite": {"size": 128}, "cache": True},
}


def settings(path: str, store_dir: str, **fields: Any) -> insloc_config.InsLocData:
  data = insloc_config.InsLocData(
    input_path=path, store_dir=store_dir, global_batch_size=BATCH, is_training=True
  )
  data.override(fields, is_strict=True)
  return data


def median_ms(function: Callable, *args: Any) -> float:
  """Returns the median milliseconds of calls, after two."""
  times = []
  for _ in range(REPEATS + 2):
    start = time.perf_counter()
    tf.nest.flatten(function(*args))[0].numpy()
    times.append(1000.0 * (time.perf_counter() - start))
  return float(np.median(times[2:]))


def stages(data: insloc_config.InsLocData) -> dict[str, float]:
  """Milliseconds of each stage of one composite by itself."""
  content = next(iter(tf.data.TFRecordDataset(reader.record_files(data)).take(1)))
  image = images.decode_image(content)
  size, seed = data.composite.size, tf.constant([0, 1], tf.int64)
  composite = tf.cast(tf.image.resize(image, [size, size]), tf.float32)
  strengths = data.colors.jitter.as_dict()
  functions: dict[str, tuple[Callable, Any]] = {
    "decode": (images.decode_image, content),
    "paste": (lambda image: pasting.composite(image, image, seed, data.composite), image),
    "jitter": (lambda image: color_ops.random_color_jitter(image, seed, **strengths), composite),
    "greyscale": (colors.greyscale, composite),
    "blur": (lambda image: colors.blur(image, tf.constant(1.0), 2.0), composite),
  }
  return {name: median_ms(tf.function(f), argument) for name, (f, argument) in functions.items()}


def dataset_rate(data: insloc_config.InsLocData) -> tuple[float, float]:
  """Pairs a second and milliseconds of processors a pair, over many batches."""
  batches = iter(reader.make_dataset(data))
  for _ in range(3):
    next(batches)
  used, start = time.process_time(), time.perf_counter()
  for _ in range(DATASET_BATCHES):
    next(batches)
  num_pairs = BATCH * DATASET_BATCHES
  rate = num_pairs / (time.perf_counter() - start)
  return rate, 1000.0 * (time.process_time() - used) / num_pairs


def measure(name: str, path: str, folder: str) -> None:
  """Prints the tables of some images."""
  data = settings(path, folder)
  start = time.perf_counter()
  num_images = reader.num_images(data)
  seconds = time.perf_counter() - start
  print(f"\n{name}: {num_images} images made ready, {num_images / seconds:.0f} a second")
  for kind, fields in (("as they come", {"store_side": 0.0}), ("made ready", {})):
    found = stages(settings(path, folder, **fields))
    print(f"{kind:<14}" + "".join(f"{stage:>10} {ms:5.2f}" for stage, ms in found.items()))
  print("pairs a second, milliseconds of processors a pair")
  for kind, fields in DATASETS.items():
    rate, processor_ms = dataset_rate(settings(path, folder, **fields))
    print(f"{kind:<26}{rate:8.0f}{processor_ms:8.2f}", flush=True)


def step_seconds(records: str, store: str, cache: bool) -> dict[str, float]:
  """Median seconds of a training step with one batch again and again, of one that is fed by the
  input, and of the wait for a batch in between."""
  params = driver.load_experiment("insloc", [str(ROW)])
  data = params.task.train_data
  data.override({"image_dir": "", "input_path": records, "store_dir": store, "cache": cache})
  task = insloc.InsLocTask(params.task)
  model = task.build_model()
  optimizer = task.create_optimizer(params.trainer.optimizer_config, params.runtime)
  trainer.create_slots(optimizer, model.trainable_variables)

  @tf.function(autograph=False)
  def step(batch):
    return task.train_step(batch, model, optimizer)

  batches = iter(task.build_inputs(data))
  held = next(batches)
  step(held)
  times = {"held": [], "fed": [], "wait": []}
  for kind in [kind for kind in ("held", "fed") for _ in range(STEPS)]:
    start = time.perf_counter()
    batch = held if kind == "held" else next(batches)
    waited = time.perf_counter() - start
    float(step(batch)[task.loss])
    times[kind].append(time.perf_counter() - start)
    if kind == "fed":
      times["wait"].append(waited)
  # The first ones with the input take batches that were made while the held one was used.
  return {kind: float(np.median(seconds[STEPS // 2 :])) for kind, seconds in times.items()}


def measure_step(options: argparse.Namespace, store: str) -> None:
  """Prints what the input costs a training step of the row."""
  for cache in (False, True):
    found = step_seconds(options.records, store, cache)
    held, fed, wait = (found[kind] for kind in ("held", "fed", "wait"))
    print(
      f"\nstep of {ROW.name}, images in memory: {cache}; {held:.2f} s with a held batch,"
      f" {fed:.2f} s fed by the input (ratio {fed / held:.2f}), of which it waits"
      f" {1000 * wait:.0f} ms ({wait / fed:.1%})",
      flush=True,
    )


def main() -> None:
  arguments = argparse.ArgumentParser(description=__doc__.split("\n")[0])
  arguments.add_argument("--records", default="data/bccd/trainval-*.tfrecord")
  arguments.add_argument("--no_step", action="store_true", help="measure the input alone")
  arguments.add_argument("--only_step", action="store_true", help="measure the step alone")
  options = arguments.parse_args()
  with tempfile.TemporaryDirectory() as folder:
    store = str(pathlib.Path(folder) / "store")
    if not options.only_step:
      measure("BCCD, 640 x 480", options.records, store)
      drawn = input_pipeline.write_records(pathlib.Path(folder), 1200, 1600)
      measure("JPEG of 1600 x 1200", drawn, store)
    if not options.no_step:
      measure_step(options, store)


if __name__ == "__main__":
  main()
