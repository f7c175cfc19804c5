"""Ground truth from and to COCO annotation files: `images`, `annotations` and `categories`."""

import json
import math
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mtl_ssl_tf.data import faults
from mtl_ssl_tf.data.ground_truth import objects as ground_truth
from mtl_ssl_tf.data.sources import coco_annotation

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
    shown = faults.quote(value) if isinstance(value, str) else faults.quote(repr(value))[1:-1]
    self.describe(field, shown, accepted)

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
    return json.loads(pathlib.Path(path).read_bytes())
  except OSError as error:
    raise fault(f"cannot be read ({error.strerror})", "a readable file") from error
  except (ValueError, RecursionError) as error:
    raise fault(f"no JSON ({error})", "a JSON file in UTF-8") from error


def is_number(value: Any) -> bool:
  """Whether a JSON value is a finite number; `true` is none."""
  return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def check_bbox(value: Any) -> str | None:
  """Returns the accepted values if `value` is not a valid `bbox`, else None."""
  if not (isinstance(value, list) and len(value) == 4 and all(map(is_number, value))):
    return "four finite numbers: left, top, width, height"
  return "a width and height of at least 0" if value[2] < 0 or value[3] < 0 else None


def read_coco(path: str | os.PathLike[str]) -> ground_truth.GroundTruth:
  """The ground truth of a COCO annotation file; class ids count the categories in file order.

  Raises:
    faults.FaultError: the file is at fault; the first twenty faults are listed.
  """
  content = read_json(path)
  found = FaultList(str(path))
  if not isinstance(content, dict):
    accepted = "an object with images, annotations and categories"
    found.describe("file", type(content).__name__, accepted)
    found.check()
  for name in ("images", "annotations", "categories"):
    value = content.get(name)
    if not isinstance(value, list):
      kind = "missing" if value is None else type(value).__name__
      found.describe(name, kind, "a list of objects")
    elif name == "categories" and not value:
      found.describe(name, "empty", "a list of objects")
    elif not all(isinstance(row, dict) for row in value):
      found.describe(name, "an entry that is no object", "a list of objects")
  found.check()
  category_ids = check_categories(content["categories"], found)
  # By the id as text: some tools write it so in one place and as a number in another.
  objects: dict[str, list[Mapping[str, Any]]] = {}
  for number, row in enumerate(content["images"], start=1):
    image_id = row.get("id")
    if isinstance(image_id, bool) or not isinstance(image_id, int | str):
      found.add(f"images: entry {number}: id", image_id, "a number or a name")
    elif str(image_id) in objects:
      found.add(f"images: entry {number}: id", image_id, "each image once")
    else:
      objects[str(image_id)] = []
  found.check()
  class_ids = {category: place for place, category in enumerate(category_ids.values(), start=1)}
  for number, row in enumerate(content["annotations"], start=1):
    if _check_annotation(row, f"annotations: entry {number}", class_ids, objects, found):
      objects[str(row["image_id"])].append(row)
  found.check()
  images = [_image_truth(row, objects[str(row["id"])], class_ids) for row in content["images"]]
  return ground_truth.GroundTruth(
    str(path), tuple(category_ids), tuple(category_ids.values()), tuple(images)
  )


def check_categories(rows: list[dict[str, Any]], found: FaultList) -> dict[str, int]:
  """Category ids by name, in file order; faults are noted."""
  category_ids: dict[str, int] = {}
  for number, row in enumerate(rows, start=1):
    category, name = row.get("id"), row.get("name")
    if isinstance(category, bool) or not isinstance(category, int):
      found.add(f"categories: entry {number}: id", category, "a whole number")
    elif category in category_ids.values():
      found.add(f"categories: entry {number}: id", category, "each category once")
    elif not isinstance(name, str) or not name:
      found.add(f"categories: entry {number}: name", name, "a name")
    elif name in category_ids:
      found.add(f"categories: entry {number}: name", name, "each name once")
    else:
      category_ids[name] = category
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


def _check_annotation(
  row: Mapping[str, Any],
  where: str,
  class_ids: Mapping[int, int],
  images: Mapping[str, Any],
  found: FaultList,
) -> bool:
  """Whether an annotation is sound; its first fault is noted."""
  image_id, category = row.get("image_id"), row.get("category_id")
  if (
    isinstance(image_id, bool) or not isinstance(image_id, int | str) or str(image_id) not in images
  ):
    found.add(f"{where}: image_id", image_id, "the id of one of the images")
  elif isinstance(category, bool) or not isinstance(category, int) or category not in class_ids:
    found.add(f"{where}: category_id", category, "the id of one of the categories")
  elif accepted := check_bbox(row.get("bbox")):
    found.add(f"{where}: bbox", row.get("bbox"), accepted)
  elif wrong := [flag for flag in coco_annotation.FLAGS if row.get(flag, 0) not in (0, 1)]:
    found.add(f"{where}: {wrong[0]}", row[wrong[0]], "0 or 1")
  elif "area" in row and not (is_number(row["area"]) and row["area"] >= 0):
    found.add(f"{where}: area", row["area"], "a number of at least 0")
  else:
    return True
  return False


def _image_truth(
  image: Mapping[str, Any], rows: list[Mapping[str, Any]], class_ids: Mapping[int, int]
) -> ground_truth.ImageTruth:
  """The objects of one image from its annotations."""
  boxes = ground_truth.Boxes.from_xywh(np.array([row["bbox"] for row in rows], np.float64))
  size = image.get("height"), image.get("width")
  file_name = image.get("file_name")
  return ground_truth.ImageTruth(
    str(image["id"]),
    file_name if isinstance(file_name, str) else "",
    size if all(isinstance(side, int) for side in size) else None,
    boxes,
    np.array([class_ids[row["category_id"]] for row in rows], np.int64),
    np.array([coco_annotation.is_difficult(row) for row in rows], bool),
    np.array([row.get("iscrowd", 0) for row in rows], bool),
    np.array([row.get("area", row["bbox"][2] * row["bbox"][3]) for row in rows], np.float64),
  )
