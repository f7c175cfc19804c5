"""Speed of the input, stage by stage and whole, next to what a training step consumes.

    python -m benchmarks.input_pipeline [--records=data/bccd/trainval-*.tfrecord] [--no_step]

Three data sets: the records of BCCD (README.md says how to get them), read, flipped and zoomed as
its row does; JPEGs of 640 x 480 and of 1600 x 1200, drawn into a temporary folder, padded to
600 x 1024 as in the published rows. The tables:

* each stage of an image by itself, milliseconds, one call after the other;
* the whole dataset in batches of 4, images a second on all processors, and milliseconds of
  processor time an image; then with the records kept in memory (`cache`);
* the same of BCCD at 320 x 426 with each augmentation in every image (docs/recipe.md);
* the training step of the BCCD row, MobileNet at half width, 480 x 640, in batches of 4, once
  with the same batch again and again and once fed by the input, turn about. It is among the
  smallest steps there are, so others leave the input more time; and what the labels take of it.
  `--no_step` leaves it out; it takes half of the two minutes.

Times of stages and steps are medians of one run.
"""

import argparse
import itertools
import pathlib
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from mtl_ssl_tf.configs import data as data_config
from mtl_ssl_tf.data import schema
from mtl_ssl_tf.data.pipeline import augmentations, decoder, detection_parser, fitting, reader
from mtl_ssl_tf.data.records import paths as record_paths
from mtl_ssl_tf.tasks import mtl_detection
from mtl_ssl_tf.training import driver, trainer

ROW = pathlib.Path(__file__).parents[1] / "configs/experiments/bccd_frcnn_mobilenet_mtl.yaml"
BATCH = 4
REPEATS = 15
DATASET_BATCHES = 100
STEPS = 8
PUBLISHED = {"input_size": (600, 1024), "short_side": 600, "long_side": 1024}
# A small input, where augmentations weigh more.
SMALL = {"input_size": (320, 426), "short_side": 320, "long_side": 426}
JITTER = {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1}
AUGMENTATIONS = {
  "none": {},
  "zoom 0.5 to 2": {"scale_min": 0.5, "scale_max": 2.0},
  "large-scale jitter 0.5 to 2": {"scale_min": 0.5, "scale_max": 2.0, "scale_crop": "input"},
  "large-scale jitter 0.1 to 2": {"scale_min": 0.1, "scale_max": 2.0, "scale_crop": "input"},
  "colour jitter": {"augmentation": {"color_jitter": JITTER}},
  "colour jitter without hue": {"augmentation": {"color_jitter": {**JITTER, "hue": 0.0}}},
  "right angles": {"augmentation": {"rotate_90": 1.0}},
  "pasted objects": {"augmentation": {"copy_paste": 1.0}},
  "mosaic": {"augmentation": {"mosaic": 1.0}},
}
NUM_DRAWN = 32
NUM_BOXES = 8


def write_records(folder: pathlib.Path, height: int, width: int) -> str:
  """Writes records of drawn images, as detailed as photographs; returns their path."""
  rng = np.random.default_rng(0)
  path = folder / f"{width}x{height}.tfrecord"
  with tf.io.TFRecordWriter(str(path)) as writer:
    for number in range(NUM_DRAWN):
      coarse = rng.uniform(0.0, 255.0, [height // 16, width // 16, 3])
      image = tf.image.resize(coarse, [height, width], "bicubic").numpy()
      image += rng.normal(0.0, 4.0, image.shape)
      encoded = tf.io.encode_jpeg(np.clip(image, 0, 255).astype(np.uint8), quality=92).numpy()
      starts = rng.uniform(0.0, 0.6, [2, NUM_BOXES])
      ends = starts + rng.uniform(0.1, 0.4, [2, NUM_BOXES])
      floats = {
        schema.OBJECT_YMIN: starts[0],
        schema.OBJECT_XMIN: starts[1],
        schema.OBJECT_YMAX: ends[0],
        schema.OBJECT_XMAX: ends[1],
      }
      ints = {
        schema.IMAGE_HEIGHT: [height],
        schema.IMAGE_WIDTH: [width],
        schema.OBJECT_LABEL: rng.integers(1, 21, NUM_BOXES),
      }
      strings = {schema.IMAGE_ENCODED: [encoded], schema.IMAGE_SOURCE_ID: [str(number).encode()]}
      feature = {
        **{key: tf.train.Feature(float_list={"value": value}) for key, value in floats.items()},
        **{key: tf.train.Feature(int64_list={"value": value}) for key, value in ints.items()},
        **{key: tf.train.Feature(bytes_list={"value": value}) for key, value in strings.items()},
      }
      example = tf.train.Example(features=tf.train.Features(feature=feature))
      writer.write(example.SerializeToString())
  return str(path)


def median_ms(function: Callable, arguments: Iterator) -> float:
  """Returns the median milliseconds of calls with one tuple of arguments each, after two."""
  times = []
  for args in itertools.islice(arguments, REPEATS + 2):
    start = time.perf_counter()
    tf.nest.flatten(function(*args))[0].numpy()
    times.append(1000.0 * (time.perf_counter() - start))
  return float(np.median(times[2:]))


def stages(path: str, settings: dict[str, Any]) -> dict[str, float]:
  """Milliseconds of each stage by itself; `parse` is all but reading and batching."""
  records = list(tf.data.TFRecordDataset(record_paths.match_files(path)).take(16))
  decode = tf.function(decoder.DetectionDecoder().decode)
  images = [decode(record)["image"] for record in records]
  spec = {schema.IMAGE_ENCODED: tf.io.FixedLenFeature([], tf.string)}
  encoded = [tf.io.parse_single_example(record, spec)[schema.IMAGE_ENCODED] for record in records]
  parser = detection_parser.DetectionParser(data_config.Data(**settings), is_training=True)
  limits = [settings[name] for name in ("input_size", "short_side", "long_side")]
  zooms = settings.get("scale_min", 1.0), settings.get("scale_max", 1.0)

  @tf.function
  def resize(image, seed):
    fitted = fitting.fitted_size(tf.cast(tf.shape(image)[:2], tf.float32), *limits)
    scaled, offset = augmentations.random_zoom_window(fitted, fitted, seed, *zooms)
    kept = tf.minimum(fitted, scaled)
    return fitting.pad_to_input(image, scaled, offset, kept, settings["input_size"])

  def seeded(values):
    seeds = (tf.constant([0, number], tf.int64) for number in itertools.count())
    return zip(itertools.cycle(values), seeds, strict=False)

  padded = [tf.fill([*settings["input_size"], 3], float(i)) for i in range(BATCH)]
  mirror = tf.function(lambda image: tf.reverse(image, [1]))
  jpeg = tf.function(lambda content: tf.io.decode_jpeg(content, channels=3))
  stack = tf.function(lambda: tf.stack(padded))
  raw = iter(tf.data.TFRecordDataset(record_paths.match_files(path)).repeat())
  return {
    "read": median_ms(lambda: next(raw), itertools.repeat(())),
    "JPEG": median_ms(jpeg, ((content,) for content in itertools.cycle(encoded))),
    "decode": median_ms(decode, ((record,) for record in itertools.cycle(records))),
    "flip": median_ms(mirror, ((image,) for image in itertools.cycle(images))),
    "resize, pad": median_ms(resize, seeded(images)),
    "parse": median_ms(tf.function(parser), seeded(records)),
    "batch": median_ms(stack, itertools.repeat(())) / BATCH,
  }


def dataset_rate(path: str, settings: dict[str, Any], cache: bool = False) -> tuple[float, float]:
  """Images a second and milliseconds of processors an image, over many batches."""
  data = data_config.Data(input_path=path, global_batch_size=BATCH, is_training=True, cache=cache)
  data.override(settings)
  batches = iter(reader.make_dataset(data))
  for _ in range(5):
    next(batches)
  num_images = BATCH * DATASET_BATCHES
  used, start = time.process_time(), time.perf_counter()
  for _ in range(DATASET_BATCHES):
    next(batches)
  rate = num_images / (time.perf_counter() - start)
  return rate, 1000.0 * (time.process_time() - used) / num_images


def measure_augmentations(path: str) -> None:
  """Prints what each augmentation costs where it changes every image."""
  print("\naugmentations at 320 x 426: images a second, milliseconds of processors an image")
  for name, settings in AUGMENTATIONS.items():
    rate, processor_ms = dataset_rate(path, {**SMALL, **settings})
    print(f"{name:<30}{rate:10.0f}{processor_ms:10.2f}", flush=True)


def bccd_experiment(records: str) -> Any:
  params = driver.load_experiment("mtl_frcnn", [str(ROW)])
  folder = pathlib.Path(records).parent
  data = {"label_map": str(folder / "label_map.txt"), "train_data": {"input_path": records}}
  params.override({"task": data}, is_strict=True)
  return params


def step_seconds(params: Any) -> tuple[float, float, float]:
  """Median time of a training step with one batch again and again, fed by the input, and of the
  labels of the auxiliary tasks alone, which the step makes."""
  task = mtl_detection.MtlDetectionTask(params.task)
  model = task.build_model()
  optimizer = task.create_optimizer(params.trainer.optimizer_config, params.runtime)
  trainer.create_slots(optimizer, model.trainable_variables)

  @tf.function(autograph=False)
  def step(images, labels):
    return task.train_step((images, labels), model, optimizer)

  batches = iter(task.build_inputs(params.task.train_data))
  held = next(batches)
  step(*held)
  times = {"held": [], "fed": []}
  for _ in range(STEPS):
    for kind, seconds in times.items():
      start = time.perf_counter()
      float(step(*(held if kind == "held" else next(batches)))[task.loss])
      seconds.append(time.perf_counter() - start)
  labels = tf.function(lambda labels: task.auxiliary_targets(labels, optimizer.iterations))
  labels_ms = median_ms(labels, itertools.repeat((held[1],)))
  return *(float(np.median(seconds[1:])) for seconds in times.values()), labels_ms / 1000.0


def measure(data: dict[str, tuple[str, dict[str, Any]]]) -> dict[str, tuple[float, float]]:
  """Prints the tables of the input; returns rate and milliseconds of processors by data set."""
  print("milliseconds of an image in each stage by itself")
  for number, (name, (path, settings)) in enumerate(data.items()):
    found = stages(path, settings)
    if not number:
      print(f"{'':<22}" + "".join(f"{stage:>13}" for stage in found))
    print(f"{name:<22}" + "".join(f"{ms:13.2f}" for ms in found.values()), flush=True)
  print("\nthe whole dataset: images a second, milliseconds of processors an image, with cache")
  found = {}
  for name, (path, settings) in data.items():
    plain, cached = (dataset_rate(path, settings, cache) for cache in (False, True))
    found[name] = plain
    print(
      f"{name:<22}{plain[0]:10.0f}{plain[1]:10.2f}{cached[0]:10.0f} ({cached[0] / plain[0]:.2f}x)",
      flush=True,
    )
  return found


def main() -> None:
  arguments = argparse.ArgumentParser(description=__doc__.split("\n")[0])
  arguments.add_argument("--records", default="data/bccd/trainval-*.tfrecord")
  arguments.add_argument("--no_step", action="store_true", help="measure the input alone")
  options = arguments.parse_args()
  params = bccd_experiment(options.records)
  own = params.task.train_data
  of_bccd = {
    name: getattr(own, name)
    for name in (
      "input_size",
      "short_side",
      "long_side",
      "max_num_boxes",
      "vertical_flip_probability",
      "scale_min",
      "scale_max",
    )
  }
  with tempfile.TemporaryDirectory() as folder:
    rates = measure(
      {
        "BCCD, 640 x 480": (options.records, of_bccd),
        "JPEG of 640 x 480": (write_records(pathlib.Path(folder), 480, 640), PUBLISHED),
        "JPEG of 1600 x 1200": (write_records(pathlib.Path(folder), 1200, 1600), PUBLISHED),
      }
    )
  measure_augmentations(options.records)
  if options.no_step:
    return
  held, fed, labels = step_seconds(params)
  images = own.global_batch_size / held
  rate = next(iter(rates.values()))[0]
  print(
    f"\ntraining step of the BCCD row, batch {own.global_batch_size}: {held:.2f} s with a held"
    f" batch, {fed:.2f} s fed by the input (ratio {fed / held:.2f});\nit consumes {images:.1f}"
    f" images a second, the input makes {rate:.0f} ({rate / images:.0f} times as many);\nits"
    f" labels take {1000.0 * labels:.1f} ms ({labels / held:.2%})"
  )


if __name__ == "__main__":
  main()
