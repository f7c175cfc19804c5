"""Images of a folder or of records, made ready once: checked, upright, RGB, not too large.

Pretraining decodes three images for each pair of composites, millions of times, and a broken one
may not end it. So the images go through the converters' own reading (`sources/image_files.py`)
before the first step: those that cannot be used are named and left out, large ones are shrunk, and
the others are stored in record files, which detection can read, too. The next start with the same
images and settings finds the files and reads nothing else.
"""

import concurrent.futures
import dataclasses
import functools
import hashlib
import io
import itertools
import json
import logging
import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import tensorflow as tf
from PIL import Image

from mtl_ssl_tf import files, texts
from mtl_ssl_tf.data import faults, progress_lines, schema
from mtl_ssl_tf.data.composites import image_sources
from mtl_ssl_tf.data.records import paths as record_paths
from mtl_ssl_tf.data.records import writer as record_writer
from mtl_ssl_tf.data.sources import image_files
from mtl_ssl_tf.reading import json_text

_LOGGER = logging.getLogger(__name__)
# Raised when the same images give other records.
_VERSION = 2
_SPLIT = "images"
_SUMMARY = "summary.json"
_IMAGES_PER_FILE = 1024
_JPEG_QUALITY = 95
_IMAGES_IN_FLIGHT = 64
_CONTENT = {
  "num_images": int,
  "faults": [
    {
      **dict.fromkeys(("file", "field", "value", "accepted"), str),
      "object_number": (int, None),
      "object_name": (str, None),
    }
  ],
}
_FAULT_FIELDS = tuple(field.name for field in dataclasses.fields(faults.Fault))


def ready_files(
  *,
  image_dir: str,
  input_path: str | Sequence[str],
  store_dir: str,
  short_side: int,
) -> list[str]:
  """The record files that hold all sound images, which are written where they are not there.

  Args:
    image_dir: folder of images; empty takes the records.
    input_path: record files, as `record_paths.match_files` takes them.
    store_dir: folder for the files that are written; empty is one of the user's cache folder.
    short_side: pixels; images whose shorter side is longer are shrunk to it. 0 shrinks none, and
      takes records as they are.

  Raises:
    ValueError: there is no folder, no file, or no sound image; or files that are there are damaged.
    OSError: the files cannot be written.
  """
  if not image_dir and not short_side:
    return record_paths.match_files(input_path)
  source = (
    image_sources.FolderImages(image_dir) if image_dir else image_sources.RecordImages(input_path)
  )
  content = [_VERSION, short_side, source.location, source.signature()]
  key = hashlib.sha256(json.dumps(content).encode(errors="surrogateescape")).hexdigest()[:16]
  folder = pathlib.Path(store_dir or default_dir()) / f"{source.name}-{key}"
  if not (folder / _SUMMARY).exists():
    _write(source, short_side, folder)
  else:
    _check_records(folder)
    _warn_of_faults(source.location, folder)
  return record_paths.match_files(str(folder))


def default_dir() -> pathlib.Path:
  """Folder of the user's cache that takes images that are kept ready."""
  cache = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
  return pathlib.Path(cache) / "mtl_ssl_tf" / "images"


def read_faults(folder: str | os.PathLike[str]) -> list[faults.Fault]:
  """The faults of the images that were left out, from a folder of images that are kept ready.

  Raises:
    ValueError: its summary cannot be read.
  """
  found = _read_summary(pathlib.Path(folder))["faults"]
  return [faults.Fault(**{name: fault[name] for name in _FAULT_FIELDS}) for fault in found]


def _read_summary(folder: pathlib.Path) -> dict[str, Any]:
  path = folder / _SUMMARY
  try:
    summary = json_text.read(path, json_text.MAX_DATA_BYTES)
    json_text.check(summary, _CONTENT, path)
  except OSError as error:
    raise ValueError(f"{path}: cannot be read ({error.strerror}); {_advice(folder)}") from error
  except ValueError as error:
    raise ValueError(f"{error}; {_advice(folder)}") from error
  return summary


def _check_records(folder: pathlib.Path) -> None:
  """Refuses a folder whose records are not as many as it was left with.

  Raises:
    ValueError: they are not, or a file is cut short or none.
  """
  expected = _read_summary(folder)["num_images"]
  try:
    number = record_paths.count_examples(str(folder))
  except ValueError as error:
    raise ValueError(f"{error}; {_advice(folder)}") from error
  if number != expected:
    raise ValueError(f"{folder} holds {number} images; accepted: {expected}; {_advice(folder)}")


def _advice(folder: pathlib.Path) -> str:
  return f"delete {folder}, and the images are made ready again"


def ready_image(content: bytes, name: str, short_side: int) -> image_files.StoredImage:
  """An image file's content checked, converted and shrunk.

  Args:
    content: the bytes of the file.
    name: of the image, for messages.
    short_side: pixels that its shorter side may have; 0 is any number.

  Raises:
    faults.FaultError: it is broken, or of a kind that has no RGB picture.
  """
  image = image_files.prepare_image(content, name)
  shorter = min(image.height, image.width)
  if not short_side or shorter <= short_side:
    return image
  height, width = (
    max(round(side * short_side / shorter), 1) for side in (image.height, image.width)
  )
  shrunk = io.BytesIO()
  with Image.open(io.BytesIO(image.encoded), formats=("JPEG", "PNG")) as picture:
    # A JPEG is decoded at the next larger size that costs less.
    picture.draft("RGB", (width, height))
    resized = picture.resize((width, height), Image.Resampling.BICUBIC, reducing_gap=3.0)
  resized.info.clear()
  if image.format == "jpeg":
    resized.save(shrunk, "JPEG", quality=_JPEG_QUALITY, subsampling=0)
  else:
    resized.save(shrunk, "PNG")
  return dataclasses.replace(
    image, encoded=shrunk.getvalue(), height=height, width=width, reencoded=True
  )


@functools.cache  # A run reads the same images for training and for pictures.
def _warn_of_faults(location: str, folder: pathlib.Path) -> None:
  """Tells how many images are left out, once in the life of the process."""
  if num_left_out := len(read_faults(folder)):
    _LOGGER.warning(f"{location}: images left out: {num_left_out}, listed in {folder}")


def _write(source: image_sources.ImageSource, short_side: int, folder: pathlib.Path) -> None:
  """Writes the record files and the summary, which appear together."""
  try:
    with files.new_folder(folder) as new:
      new.mkdir()
      num_images, left_out = _write_records(source, short_side, new)
      _log(source, num_images, left_out)
      summary = {
        "source": source.location,
        "short_side": short_side,
        "num_images": num_images,
        "faults": [dataclasses.asdict(fault) for fault in left_out],
      }
      files.write_bytes(new / _SUMMARY, json.dumps(summary, indent=2).encode() + b"\n")
  except OSError:
    if not (folder / _SUMMARY).exists():
      raise
    # Another process has written the same in the meantime.
  _LOGGER.info(f"{source.location}: images are kept ready in {folder}")


def _write_records(
  source: image_sources.ImageSource, short_side: int, folder: pathlib.Path
) -> tuple[int, list[faults.Fault]]:
  """Writes the record files; returns the number of images, and the faults of the others."""
  num_files = max(-(-len(source) // _IMAGES_PER_FILE), 1)
  left_out: list[faults.Fault] = []
  made = _examples(source, short_side, left_out)
  num_images = 0
  for number in range(num_files):
    path = folder / schema.shard_file(_SPLIT, number, num_files)
    with tf.io.TFRecordWriter(str(path)) as writer:
      for example in itertools.islice(made, _IMAGES_PER_FILE):
        writer.write(example)
        num_images += 1
  if not num_images:
    raise texts.LinesError(
      f"{source.location}: no image is left to read; accepted: at least one sound image",
      *faults.digest(left_out),
    )
  return num_images, left_out


def _examples(
  source: image_sources.ImageSource, short_side: int, left_out: list[faults.Fault]
) -> Iterator[bytes]:
  """Yields the records in the order of the source; adds faults of the others to `left_out`."""

  def make(number: int) -> bytes | faults.FaultError:
    try:
      name, content = source.read(number)
      return _example(ready_image(content, name, short_side), name)
    except faults.FaultError as error:
      return error

  progress = progress_lines.Progress("reading images", len(source), _LOGGER.info)
  # Decoders leave the interpreter's lock to others.
  with concurrent.futures.ThreadPoolExecutor(len(os.sched_getaffinity(0))) as threads:
    for start in range(0, len(source), _IMAGES_IN_FLIGHT):
      numbers = range(start, min(start + _IMAGES_IN_FLIGHT, len(source)))
      for made in threads.map(make, numbers):
        progress.step()
        if isinstance(made, faults.FaultError):
          left_out.extend(made.faults)
        else:
          yield made


def _example(image: image_files.StoredImage, name: str) -> bytes:
  example = record_writer.make_example(
    encoded=image.encoded,
    image_format=image.format,
    height=image.height,
    width=image.width,
    filename=os.path.basename(name),
    source_id=name,
    boxes_orig=(),
    class_ids=(),
    class_names=(),
    difficult=(),
    truncated=(),
  )
  return record_writer.serialize(example)


def _log(
  source: image_sources.ImageSource, num_images: int, left_out: Sequence[faults.Fault]
) -> None:
  """Names the images that were left out, and counts."""
  for line in faults.digest(left_out):
    _LOGGER.warning(f"left out: {line}")
  for what, count in source.passed_over.items():
    _LOGGER.info(f"{source.location}: files passed over: {count} {what}")
  _LOGGER.info(f"{source.location}: images read: {num_images}, left out: {len(left_out)}")
