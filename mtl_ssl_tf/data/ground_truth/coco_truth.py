"""Ground truth from and to COCO annotation files: `images`, `annotations` and `categories`."""

import json
import logging
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mtl_ssl_tf.data import faults
from mtl_ssl_tf.data.ground_truth import objects as ground_truth
from mtl_ssl_tf.data.sources import coco_annotation, coco_index
from mtl_ssl_tf.reading import json_text, quoting, regular_files

_LOGGER = logging.getLogger(__name__)
# So many faults are listed before reading stops.
_MAX_FAULTS = 20


class FaultList:
  """Collects the faults of a file and ends the reading when there are enough."""

  def __init__(self, file: str):
    self.file = file
    self._found: list[faults.Fault] = []

  def add(self, field: str, value: Any, accepted: str) -> None:
    """Notes a value of the file that is none of the accepted ones.

    Raises:
      faults.FaultError: these are enough.
    """
    self.describe(field, quoting.shown(value), accepted)

  def describe(self, field: str, description: str, accepted: str) -> None:
    """Notes a fault that is described in words of our own; raises as `add`."""
    self._found.append(faults.Fault(self.file, field, description, accepted))
    if len(self._found) == _MAX_FAULTS:
      self.check()

  def check(self) -> None:
    """Raises a FaultError if there are any."""
    if self._found:
      raise faults.FaultError(self._found)


def read_json(path: str | os.PathLike[str]) -> Any:
  """The content of a JSON file.

  Raises:
    faults.FaultError: it cannot be read or is no JSON.
  """

  def fault(value: str, accepted: str) -> faults.FaultError:
    return faults.FaultError([faults.Fault(str(path), "file", value, accepted)])

  try:
    return json_text.loads(regular_files.read_bytes(path, json_text.MAX_DATA_BYTES))
  except OSError as error:
    raise fault(f"cannot be read ({error.strerror})", "a readable file") from error
  except ValueError as error:
    raise fault(f"no JSON ({error})", "a JSON file in UTF-8") from error


def check_bbox(value: Any) -> str | None:
  """Returns the accepted values if `value` is not a valid `bbox`, else None."""
  if not (isinstance(value, list) and len(value) == 4 and all(map(json_text.is_number, value))):
    return "four finite numbers: left, top, width, height"
  return "a width and height of at least 0" if value[2] < 0 or value[3] < 0 else None


def read_coco(path: str | os.PathLike[str], on_error: str = "fail") -> ground_truth.GroundTruth:
  """The ground truth of a COCO annotation file, by the reader and the rules of the converter.

  Classes are in the order of the ids of their categories. Boxes without width or height are kept,
  as pycocotools keeps them.

  Args:
    path: of the file.
    on_error: `skip` leaves faulty objects and images out and logs them.

  Raises:
    faults.FaultError: entries are at fault.
    ValueError: it is no COCO file, or has no category.
  """
  try:
    index = coco_index.open_index(path, None)
  except OSError as error:
    fault = faults.Fault(str(path), "file", f"cannot be read ({error.strerror})", "a readable file")
    raise faults.FaultError([fault]) from error
  found, images = list(index.faults), []
  class_ids = {name: number for number, name in enumerate(index.categories.values(), start=1)}
  if not class_ids and not found:
    raise ValueError(f"{index.file}: no sound category; accepted: a list of categories")
  for position in range(len(index)):
    images.append(_image_truth(index, position, class_ids, found))
  if found and (on_error == "fail" or not class_ids):
    raise faults.FaultError(found)
  for line in faults.digest(found):
    _LOGGER.info(f"left out: {line}")
  for remark in index.remarks:
    _LOGGER.log(logging.WARNING if remark.is_warning else logging.INFO, str(remark.fault))
  ids = [coco_annotation.whole_number(category_id) for category_id in index.categories]
  if None in ids:  # Names in the place of numbers.
    ids = list(class_ids.values())
  images = tuple(image for image in images if image is not None)
  return ground_truth.GroundTruth(str(path), tuple(class_ids), tuple(ids), images)


def check_lists(content: Any, names: Sequence[str], found: FaultList) -> None:
  """Notes the lists that a COCO file lacks, and their entries that are no objects.

  Raises:
    faults.FaultError: there are such.
  """
  for name in names:
    rows = content.get(name) if isinstance(content, dict) else None
    if not isinstance(rows, list):
      found.describe(name, "missing", "a list of objects with id and name")
      continue
    for number, row in enumerate(rows, start=1):
      if not isinstance(row, dict):
        found.add(f"{name}: entry {number}", row, "an object with id and name")
  found.check()


def check_categories(rows: list[dict[str, Any]], found: FaultList) -> dict[str, int]:
  """Category ids by name, in file order; faults are noted."""
  category_ids: dict[str, int] = {}
  known = set()
  for number, row in enumerate(rows, start=1):
    category, name = row.get("id"), row.get("name")
    if isinstance(category, bool) or not isinstance(category, int):
      found.add(f"categories: entry {number}: id", category, "a whole number")
    elif category in known:
      found.add(f"categories: entry {number}: id", category, "each category once")
    elif not isinstance(name, str) or not name:
      found.add(f"categories: entry {number}: name", name, "a name")
    elif name in category_ids:
      found.add(f"categories: entry {number}: name", name, "each name once")
    else:
      category_ids[name] = category
      known.add(category)
  return category_ids


def write_coco(
  truth: ground_truth.GroundTruth,
  path: str | os.PathLike[str],
  image_ids: Sequence[int | str] | None = None,
) -> None:
  """Writes a COCO annotation file on which pycocotools gives the figures of our evaluator.

  Annotation ids count from 1, because pycocotools takes a match with annotation 0 for none.
  Difficult objects carry `ignore: 1`, which pycocotools itself passes over: with such objects its
  figures are lower.

  Args:
    truth: images and objects.
    path: of the file.
    image_ids: of the images; None is `truth.coco_image_ids`.
  """
  image_ids = truth.coco_image_ids if image_ids is None else image_ids
  annotations = []
  for image, image_id in zip(truth.images, image_ids, strict=True):
    for box, class_id, difficult, crowd, area in zip(
      image.boxes.xywh.tolist(),
      image.classes.tolist(),
      image.difficult.tolist(),
      image.is_crowd.tolist(),
      image.areas.tolist(),
      strict=True,
    ):
      annotations.append(
        {
          "id": len(annotations) + 1,
          "image_id": image_id,
          "category_id": truth.category_ids[class_id - 1],
          "bbox": box,
          "area": area,
          "iscrowd": int(crowd),
          "ignore": int(difficult or crowd),
        }
      )
  content = {
    "info": {},
    "images": [
      {
        "id": image_id,
        "file_name": image.file_name,
        **({} if image.size is None else {"height": image.size[0], "width": image.size[1]}),
        **_annotated_classes(image, truth.category_ids),
      }
      for image, image_id in zip(truth.images, image_ids, strict=True)
    ],
    "annotations": annotations,
    "categories": [
      {"id": category, "name": name}
      for name, category in zip(truth.class_names, truth.category_ids, strict=True)
    ],
  }
  pathlib.Path(path).write_text(json.dumps(content), encoding="utf-8")


def _annotated_classes(
  image: ground_truth.ImageTruth, category_ids: Sequence[int]
) -> dict[str, list[int]]:
  """The field of an entry of `images`; none where all classes are annotated."""
  if image.annotated_classes is None:
    return {}
  ids = [category_ids[class_id - 1] for class_id in image.annotated_classes]
  return {coco_annotation.ANNOTATED_CLASSES: ids}


def _image_truth(
  index: coco_index.CocoIndex,
  position: int,
  class_ids: Mapping[str, int],
  found: list[faults.Fault],
) -> ground_truth.ImageTruth | None:
  """One image with its objects; None where the image is at fault; faults are added to `found`."""
  image_id, entry, of_image = index.image(position)
  image = coco_annotation.parse_image(entry, position + 1, index.file)
  # Images are known by their ids, so that a name may be missing.
  of_image += tuple(fault for fault in image.faults if not fault.field.endswith("file_name"))
  annotated, of_field = coco_annotation.annotated_classes(
    entry, position + 1, index.categories, index.file
  )
  of_image += tuple(of_field)
  found.extend(of_image)
  if of_image:
    return None
  objects, boxes = [], []
  for number, row in index.annotations(image_id):
    parsed, of_object = coco_annotation.parse_object(
      row, number, index.categories, index.file, may_be_empty=True
    )
    found.extend(of_object)
    if parsed is not None:
      objects.append(parsed)
      boxes.append(coco_annotation.xywh(row))
  xywh = ground_truth.Boxes.from_xywh(np.array(boxes, np.float64))
  areas = [
    width * height if item.area is None else item.area
    for item, (_, _, width, height) in zip(objects, boxes, strict=True)
  ]
  return ground_truth.ImageTruth(
    image_id,
    image.file_name or "",
    image.size,
    xywh,
    np.array([class_ids[item.name] for item in objects], np.int64),
    np.array([item.difficult for item in objects], bool),
    np.array([item.is_crowd for item in objects], bool),
    np.array(areas, np.float64),
    None if annotated is None else np.sort([class_ids[name] for name in annotated]),
  )
