"""Writes the final files from the journal's records, one record at a time.

predictions.json, a COCO data set:
  images: id, file_name (inside the input folder), height, width (of the upright image).
  categories: id, name; the classes in the order of the label map.
  annotations: the detections: id, image_id, category_id, bbox [x, y, width, height] in pixels,
    score, area, iscrowd. They can be handed to `pycocotools`' `loadRes` as they are.
coco_results.json, what COCO calls results: a list of image_id, category_id, bbox, score.
coco_results_ids.json, beside it: images and categories as in predictions.json, without which nobody
  knows what the ids stand for; `evaluate` joins by the names in it.
failures.json, a list of file_name and reason; there only if a file was left out or ended early.
"""

import dataclasses
import json
import pathlib
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Any, BinaryIO

from mtl_ssl_tf import files
from mtl_ssl_tf.data.ground_truth import result_ids
from mtl_ssl_tf.prediction import coco_ids

PREDICTIONS_FILE = "predictions.json"
RESULTS_FILE = "coco_results.json"
IDS_FILE = result_ids.ids_file(RESULTS_FILE).name
FAILURES_FILE = "failures.json"
DATASET, RESULTS = "dataset", "results"


@dataclasses.dataclass(frozen=True, slots=True)
class Summary:
  """The numbers of images, videos and detections in the files.

  Attributes:
    num_images, num_videos: that could be read.
    num_detections: in the images.
    failures: name and reason of each file that was left out or ended early.
  """

  num_images: int
  num_videos: int
  num_detections: int
  failures: tuple[tuple[str, str], ...]


def write_results(
  output_dir: pathlib.Path,
  records: Callable[[], Iterator[dict[str, Any]]],
  class_names: Sequence[str],
  ids: coco_ids.CocoIds,
  outputs: Collection[str],
) -> Summary:
  """Writes the files; each is replaced as a whole.

  Args:
    output_dir: where they go.
    records: begins to read the journal; called more than once.
    class_names: class 1 first.
    ids: of images and classes.
    outputs: `DATASET`, `RESULTS` or both; others are not for this module.

  Raises:
    OSError: a file cannot be written.
  """
  if DATASET in outputs:
    with files.writing(output_dir / PREDICTIONS_FILE, only_writer=True) as file:
      file.write(b'{"images": ')
      _write_list(file, _images(records(), ids))
      file.write(b',\n"categories": ')
      _write_list(file, categories(class_names, ids))
      file.write(b',\n"annotations": ')
      _write_list(file, _annotations(records(), ids))
      file.write(b"}\n")
  if RESULTS in outputs:
    with files.writing(output_dir / RESULTS_FILE, only_writer=True) as file:
      _write_list(file, _results(records(), ids))
    with files.writing(output_dir / IDS_FILE, only_writer=True) as file:
      file.write(b'{"images": ')
      _write_list(file, _images(records(), ids))
      file.write(b',\n"categories": ')
      _write_list(file, categories(class_names, ids))
      file.write(b"}\n")
  num_images = num_videos = num_detections = 0
  failures = []
  for record in records():
    num_images += "detections" in record
    num_videos += "num_frames" in record
    num_detections += len(record.get("detections", ()))
    if record.get("failure"):
      failures.append((record["file"], record["failure"]))
  if failures:
    with files.writing(output_dir / FAILURES_FILE, only_writer=True) as file:
      _write_list(file, ({"file_name": name, "reason": reason} for name, reason in failures))
  else:
    (output_dir / FAILURES_FILE).unlink(missing_ok=True)
  return Summary(num_images, num_videos, num_detections, tuple(failures))


def categories(class_names: Sequence[str], ids: coco_ids.CocoIds) -> list[dict[str, Any]]:
  """Returns COCO's `categories`."""
  return [
    {"id": category_id, "name": name}
    for category_id, name in zip(ids.category_ids, class_names, strict=True)
  ]


def _images(records: Iterable[dict[str, Any]], ids: coco_ids.CocoIds) -> Iterator[dict[str, Any]]:
  for image_id, record in _with_ids(records, ids):
    size = {"height": record["height"], "width": record["width"]}
    yield {"id": image_id, "file_name": record["file"], **size}


def _results(records: Iterable[dict[str, Any]], ids: coco_ids.CocoIds) -> Iterator[dict[str, Any]]:
  for image_id, record in _with_ids(records, ids):
    for row in record["detections"]:
      category_id = ids.category_ids[row["category_id"] - 1]
      yield {"image_id": image_id, **row, "category_id": category_id}


def _annotations(
  records: Iterable[dict[str, Any]], ids: coco_ids.CocoIds
) -> Iterator[dict[str, Any]]:
  for annotation_id, row in enumerate(_results(records, ids), start=1):
    area = round(row["bbox"][2] * row["bbox"][3], 3)
    yield {"id": annotation_id, **row, "area": area, "iscrowd": 0}


def _with_ids(
  records: Iterable[dict[str, Any]], ids: coco_ids.CocoIds
) -> Iterator[tuple[int, dict[str, Any]]]:
  """Yields the images that could be read, each with its id."""
  number = 0
  for record in records:
    if "detections" in record:
      number += 1
      yield number if ids.image_ids is None else ids.image_ids[record["file"]], record


def _write_list(file: BinaryIO, entries: Iterable[dict[str, Any]]) -> None:
  """Writes a JSON list with an entry a line."""
  separator = b"[\n"
  for entry in entries:
    file.write(separator + json.dumps(entry).encode())
    separator = b",\n"
  file.write(b"[]" if separator == b"[\n" else b"\n]")
