"""Pictures of the pairs of composites that pretraining by instance localisation compares.

  python -m mtl_ssl_tf.visualization.composites --image_dir IMAGES --output composites.png

draws a sheet of them. Solid boxes are the pasted crops, which both show parts of one image; the
dashed one is a box that may take the place of the query's.
"""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf
from PIL import Image

from mtl_ssl_tf import files, terminal
from mtl_ssl_tf.command_line import composites as composites_flags
from mtl_ssl_tf.configs import experiments, loading
from mtl_ssl_tf.configs import insloc as insloc_config
from mtl_ssl_tf.data.composites import reader
from mtl_ssl_tf.labels import box_augmentation
from mtl_ssl_tf.visualization import canvas as canvas_lib
from mtl_ssl_tf.visualization import sheets

_EXACT_COLOR: canvas_lib.Color = (255, 225, 0)
_AUGMENTED_COLOR: canvas_lib.Color = (0, 220, 220)
_COLUMNS = 4
_FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}


def draw_pairs(
  batch: Mapping[str, np.ndarray | tf.Tensor], augmented_boxes_px: np.ndarray | None = None
) -> list[np.ndarray]:
  """Query and key of each image side by side, with the boxes of the pasted crops.

  Args:
    batch: `query_images` and `key_images`, uint8 [B, S, S, 3]; `query_boxes` and `key_boxes`,
      float [B, 4], pixels.
    augmented_boxes_px: float [B, 4], boxes that take the place of the query's, dashed; None draws
      none.

  Returns:
    B pictures, uint8 [S, 2 S and a gap, 3].
  """
  batch = {name: np.asarray(values) for name, values in batch.items()}
  pictures = []
  for row in range(len(batch["query_images"])):
    query = canvas_lib.Canvas(batch["query_images"][row])
    if augmented_boxes_px is not None:
      query.dashed_outline(augmented_boxes_px[row], _AUGMENTED_COLOR)
    query.outline(batch["query_boxes"][row], _EXACT_COLOR, shadow=True)
    key = canvas_lib.Canvas(batch["key_images"][row])
    key.outline(batch["key_boxes"][row], _EXACT_COLOR, shadow=True)
    pictures.append(sheets.in_a_row([query.pixels(), key.pixels()]))
  return pictures


def sheet(config: insloc_config.InsLoc, num_images: int) -> np.ndarray:
  """A sheet with the pairs that a pretraining begins with, uint8 [H, W, 3].

  Args:
    config: the images, how composites are made, and which dashed boxes there are.
    num_images: pairs on the sheet.

  Raises:
    ValueError: as `reader.make_dataset`.
  """
  data = config.train_data.replace(global_batch_size=num_images, seed=config.train_data.seed or 0)
  batch = next(iter(reader.make_dataset(data)))
  boxes, augmented_px = config.box_augmentation, None
  if boxes.enabled:
    seeds = tf.stack([tf.zeros([num_images], tf.int32), tf.range(num_images)], axis=-1)  # [B, 2]
    augmented_px = box_augmentation.augment_boxes(
      batch["query_boxes"],
      seeds,
      data.composite.size,
      min_iou=boxes.min_iou,
      cells=boxes.cells,
      scales=boxes.scales,
      aspect_ratios=boxes.aspect_ratios,
    ).numpy()
  return sheets.contact_sheet(draw_pairs(batch, augmented_px), reader.image_ids(data, 0), _COLUMNS)


def _config(flags: argparse.Namespace) -> insloc_config.InsLoc:
  """The pretraining that the flags ask for; images named there take the place of its own."""
  config = loading.load_experiment(
    experiments.INSLOC, flags.config_file, flags.params_override
  ).task
  if flags.image_dir or flags.records:
    images = {"image_dir": flags.image_dir or "", "input_path": flags.records or ""}
    config.override({"train_data": images})
  return config


def _image_format(output: str) -> str:
  """Pillow's name of the format that the ending of a file asks for."""
  suffix = os.path.splitext(output)[1].lower()
  if suffix not in _FORMATS:
    raise ValueError(f"--output is {output!r}; accepted: a file that ends in {', '.join(_FORMATS)}")
  return _FORMATS[suffix]


def _check_output(output: str, config: insloc_config.InsLoc) -> None:
  """Raises ValueError where the picture would take the place of an image of the data."""
  folder = config.train_data.image_dir
  inside = os.path.realpath(folder or os.devnull) + os.sep
  if os.path.lexists(output) and os.path.realpath(output).startswith(inside):
    raise ValueError(
      f"--output {output!r} is one of the images in {folder!r}; accepted: a file elsewhere"
    )


def main(argv: Sequence[str] | None = None) -> int:
  """Runs the command; returns its exit status."""
  flags = composites_flags.parser().parse_args(argv)
  terminal.set_up()
  try:
    image_format = _image_format(flags.output)
    config = _config(flags)
    _check_output(flags.output, config)
    picture = sheet(config, flags.num_images)
    with files.writing(flags.output) as file:
      Image.fromarray(picture).save(file, image_format)
  except (ValueError, OSError, tf.errors.OpError) as error:
    terminal.show_error(error)
    return 1
  terminal.show(f"{flags.num_images} pairs of composites drawn to {flags.output}")
  return 0


if __name__ == "__main__":
  sys.exit(main())
