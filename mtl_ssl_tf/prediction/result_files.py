"""Writes the final files from the journal's records, one record at a time.

predictions.json, a COCO data set:
  images: id, file_name (inside the input folder), height, width (of the upright image).
  categories: id, name; the classes in the order of the label map.
  annotations: the detections: id, image_id, category_id, bbox [x, y, width, height] in pixels,
    score, area, iscrowd. They can be handed to `pycocotools`' `loadRes` as they are.
coco_results.json, what COCO calls results: a list of image_id, category_id, bbox, score.
coco_results_ids.json, beside it: images and categories as in predictions.json, without which nobody
  knows what the ids stand for; `evaluate` joins by the names in it.
failures.json, a list of file_name and reason; there only if a file was left out, ended early, or a
  file of its results could not be written.
"""

import dataclasses
import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, BinaryIO

from mtl_ssl_tf import written_files
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
    num_complete: of images and videos, those whose results are all written.
    failures: name and reason of each file that was left out or is not complete.
    unwritten: name and reason of each of the final files that cannot be written.
  """

  num_images: int
  num_videos: int
  num_detections: int
  num_complete: int
  failures: tuple[tuple[str, str], ...]
  unwritten: tuple[tuple[str, str], ...] = ()


def final_files(outputs: Collection[str]) -> list[str]:
  """The names of the files that `write_results` writes, `FAILURES_FILE` aside."""
  names = [PREDICTIONS_FILE] if DATASET in outputs else []
  return names + ([RESULTS_FILE, IDS_FILE] if RESULTS in outputs else [])


def write_results(
  written: written_files.WrittenFiles,
  records: Callable[[], Iterator[dict[str, Any]]],
  class_names: Sequence[str],
  ids: coco_ids.CocoIds,
  outputs: Collection[str],
  unreadable: Mapping[str, str] | None = None,
) -> Summary:
  """Writes the files; each is replaced as a whole, and one that cannot be stops no other.

  Args:
    written: the folder that they go to.
    records: begins to read the journal; called more than once.
    class_names: class 1 first.
    ids: of images and classes.
    outputs: `DATASET`, `RESULTS` or both; others are not for this module.
    unreadable: folders that could not be searched, and the reasons, which are failures too.

  Raises:
    OSError: no file can be written, say as the disk is full.
  """
  names = categories(class_names, ids)
  num_images = num_videos = num_detections = num_complete = 0
  failures = list((unreadable or {}).items())
  for record in records():
    num_images += "detections" in record
    num_videos += "num_frames" in record
    num_detections += len(record.get("detections", ()))
    is_read = "detections" in record or "num_frames" in record
    num_complete += is_read and not record.get("is_unwritten")
    if record.get("failure"):
      failures.append((record["file"], record["failure"]))
  contents: dict[str, Callable[[BinaryIO], None]] = {
    PREDICTIONS_FILE: lambda file: _write_lists(
      file,
      images=_images(records(), ids),
      categories=names,
      annotations=_annotations(records(), ids),
    ),
    RESULTS_FILE: lambda file: _write_list(file, _results(records(), ids)),
    IDS_FILE: lambda file: _write_lists(file, images=_images(records(), ids), categories=names),
    FAILURES_FILE: lambda file: _write_list(
      file, ({"file_name": name, "reason": reason} for name, reason in failures)
    ),
  }
  unwritten = []
  for name in [*final_files(outputs), *([FAILURES_FILE] if failures else [])]:
    try:
      with written.writing(name) as file:
        contents[name](file)
    except OSError as error:
      unwritten.append((name, written_files.reason(error)))
  if not failures:
    written.remove(FAILURES_FILE)
  return Summary(
    num_images, num_videos, num_detections, num_complete, tuple(failures), tuple(unwritten)
  )


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


def _write_lists(file: BinaryIO, **lists: Iterable[dict[str, Any]]) -> None:
  """Writes a JSON object of lists."""
  separator = b"{"
  for name, entries in lists.items():
    file.write(separator + f'"{name}": '.encode())
    _write_list(file, entries)
    separator = b",\n"
  file.write(b"}\n")


def _write_list(file: BinaryIO, entries: Iterable[dict[str, Any]]) -> None:
  """Writes a JSON list with an entry a line."""
  separator = b"[\n"
  for entry in entries:
    file.write(separator + json.dumps(entry).encode())
    separator = b",\n"
  file.write(b"[]" if separator == b"[\n" else b"\n]")
