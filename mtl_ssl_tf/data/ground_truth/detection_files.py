"""Detections as files: COCO results, VOC's comp4 files, and reading either back.

  COCO results     a JSON list of {image_id, category_id, bbox, score}; bbox is left, top, width and
                   height in pixels. `category_id` is the data set's own number, gaps and all. Image
                   ids are numbers where all ids of the data set are, else names. Numbers are read
                   with a file that says which images they stand for, see module `result_ids`.
  COCO data set    what `predict` writes: images, annotations with a score, categories; images are
                   known by their file names and classes by their names.
  VOC              a text file for each class, `comp4_det_<split>_<class>.txt`, with a line for each
                   detection: image name, score, xmin, ymin, xmax, ymax. Coordinates are as in the
                   annotation files, which for PASCAL VOC count from 1 and include the last pixel.
                   The converter takes those as they stand, so that nothing has to be added here
                   or taken away, and the development kit reads the files as its own.

Numbers are written with all their digits: what is read back gives the very same figures.
"""

import glob
import json
import math
import os
import pathlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from mtl_ssl_tf.data import faults
from mtl_ssl_tf.data.ground_truth import coco_truth, result_ids
from mtl_ssl_tf.data.ground_truth import objects as ground_truth
from mtl_ssl_tf.data.sources import coco_annotation
from mtl_ssl_tf.reading import json_text, quoting, regular_files

COCO_RESULTS_FILE = "coco_results.json"
COCO_GROUND_TRUTH_FILE = result_ids.COCO_GROUND_TRUTH_FILE
_COMP4 = "comp4_det_"


class Detections(NamedTuple):
  """The detections in one image.

  Attributes:
    boxes: D of them, in pixels of the file.
    scores: float64 [D].
    classes: int64 [D], from 1.
  """

  boxes: ground_truth.Boxes
  scores: np.ndarray
  classes: np.ndarray


def no_detections() -> Detections:
  """An image in which nothing was found."""
  boxes = ground_truth.Boxes.from_corners(np.zeros([0, 4]))
  return Detections(boxes, np.zeros(0), np.zeros(0, np.int64))


def counted(
  image: ground_truth.ImageTruth, found: Detections
) -> tuple[ground_truth.ImageTruth, Detections]:
  """The objects and detections of the classes that an image is annotated for.

  What is detected of another class may well be there, and counts neither for nor against. All
  metrics match by class, and limit detections by class, so that leaving out these rows measures
  each class on the images that are annotated for it.

  Reference: Gupta et al., "LVIS: A Dataset for Large Vocabulary Instance Segmentation", CVPR 2019,
  section 3; Open Images evaluates likewise.
  """
  if image.annotated_classes is None:
    return image, found
  rows = np.isin(found.classes, image.annotated_classes)
  kept = Detections(found.boxes.take(rows), found.scores[rows], found.classes[rows])
  return image.of_annotated_classes(), kept


def metric_arguments(image: ground_truth.ImageTruth, found: Detections) -> dict[str, np.ndarray]:
  """An image's objects and detections by the names that `DetectionMetrics.update` has for them.

  Those of classes that the image is not annotated for are left out, see `counted`.
  """
  image, found = counted(image, found)
  return {
    "gt_boxes": image.boxes.corners,
    "gt_boxes_xywh": image.boxes.xywh,
    "gt_classes": image.classes,
    "gt_difficult": image.difficult,
    "gt_is_crowd": image.is_crowd,
    "gt_areas": image.areas,
    "detection_boxes": found.boxes.corners,
    "detection_boxes_xywh": found.boxes.xywh,
    "detection_scores": found.scores,
    "detection_classes": found.classes,
  }


def write_coco_results(
  path: str | os.PathLike[str],
  detections: Iterable[tuple[int | str, Detections]],
  category_ids: Sequence[int],
) -> None:
  """Writes a COCO results file.

  Args:
    path: of the file.
    detections: id of each image as `ground_truth.coco_image_ids` gives it, and what was found.
    category_ids: number of each class, class 1 first.
  """
  rows = [
    {"image_id": image_id, "category_id": category_ids[class_id - 1], "bbox": box, "score": score}
    for image_id, found in detections
    for box, score, class_id in zip(
      found.boxes.xywh.tolist(), found.scores.tolist(), found.classes.tolist(), strict=True
    )
  ]
  pathlib.Path(path).write_text(json.dumps(rows), encoding="utf-8")


def write_comp4(
  folder: str | os.PathLike[str],
  split: str,
  detections: Iterable[tuple[str, Detections]],
  class_names: Sequence[str],
) -> None:
  """Writes a comp4 file for each class, also where nothing was found of it.

  Args:
    folder: where the files go.
    split: goes into their names.
    detections: name of each image, and what was found.
    class_names: class 1 first.
  """
  lines: list[list[str]] = [[] for _ in class_names]
  for name, found in detections:
    for (ymin, xmin, ymax, xmax), score, class_id in zip(
      found.boxes.corners.tolist(), found.scores.tolist(), found.classes.tolist(), strict=True
    ):
      # The shortest text that reads back as the same number.
      lines[class_id - 1].append(f"{name} {score!r} {xmin!r} {ymin!r} {xmax!r} {ymax!r}\n")
  for class_name, class_lines in zip(class_names, lines, strict=True):
    path = pathlib.Path(folder) / comp4_file(split, class_name)
    path.write_text("".join(class_lines), encoding="utf-8", errors="surrogateescape")


def comp4_file(split: str, class_name: str) -> str:
  """Name of the file with a class's detections."""
  return f"{_COMP4}{split}_{class_name.replace('/', '%2F')}.txt"


def read_predictions(
  path: str, truth: ground_truth.GroundTruth, ids_of: str | None = None
) -> list[Detections]:
  """The detections in each image of `truth`, in its order.

  Args:
    path: a JSON file, a comp4 file, or a folder or pattern of comp4 files.
    truth: knows the images and classes.
    ids_of: of a COCO results file, see module `result_ids`.

  Raises:
    faults.FaultError: a file is at fault; the first twenty faults are listed.
    ValueError: there is no such file, or its images are those of another data set.
  """
  if path.lower().endswith(".json"):
    found = _read_json(path, truth, ids_of)
  else:
    if os.path.isdir(path):
      files = sorted(glob.glob(os.path.join(glob.escape(path), f"{_COMP4}*.txt")))
    else:
      files = [path] if os.path.exists(path) else sorted(glob.glob(path))
    if not files:
      raise ValueError(
        f"--predictions {path}: no files; accepted: a COCO results file (*.json), or a file, folder"
        f" or pattern of {_COMP4}<split>_<class>.txt"
      )
    found = _read_comp4(files, truth)
  return [found.get(place, no_detections()) for place in range(len(truth.images))]


class _Collector:
  """Checked detections by place of the image.

  Args:
    file: that they are in.
    truth: knows the images.
    names: of images by their places, as they were called first; shared by files that belong
      together.
  """

  def __init__(self, file: str, truth: ground_truth.GroundTruth, names: dict[int, Any]):
    self.faults = coco_truth.FaultList(file)
    self._names = names
    self._file, self._truth = file, truth
    self._rows: dict[int, tuple[list, list, list]] = {}
    # Held back: where no image is known, one message says so instead of many.
    self._unknown: list[tuple[str, Any]] = []

  def add(self, where: str, field: str, image: Any, class_id: int, box: Any, score: float) -> None:
    """Notes a detection of which all but the image has been checked."""
    is_id = isinstance(image, int | str) and not isinstance(image, bool)
    place = self._truth.index.get(str(image)) if is_id else None
    if place is not None:
      first = self._names.setdefault(place, image)
      if str(first) != str(image):
        value = f"{image!r} is the image that is called {first!r} too"
        self.faults.describe(f"{where}: {field}", value, "one name for each image")
        return
    self.add_at(place, where, field, image, class_id, box, score)

  def add_at(
    self,
    place: int | None,
    where: str,
    field: str,
    image: Any,
    class_id: int,
    box: Any,
    score: float,
  ) -> None:
    """Notes a detection in the image at a place, None of one that is not of this data set."""
    if place is None:
      self._unknown.append((f"{where}: {field}", image))
      return
    boxes, scores, classes = self._rows.setdefault(place, ([], [], []))
    boxes.append(box)
    scores.append(score)
    classes.append(class_id)

  def rows(self) -> dict[int, tuple[list, list, list]]:
    """Boxes, scores and classes by place.

    Raises:
      faults.FaultError: there are faults.
      ValueError: no image is of this data set.
    """
    if self._unknown and not self._rows:
      first = self._truth.images[0].image_id if self._truth.images else "no image"
      raise ValueError(
        f"{self._file}: no image in common with {self._truth.source}:"
        f" {len(self._unknown)} detections, the first in {quoting.shown(self._unknown[0][1])};"
        f" accepted: images of the ground truth, such as {quoting.shown(first)}"
      )
    for field, image in self._unknown:
      self.faults.add(field, image, f"an image of {self._truth.source}")
    self.faults.check()
    return self._rows


def _read_json(
  path: str, truth: ground_truth.GroundTruth, ids_of: str | None
) -> dict[int, Detections]:
  content = coco_truth.read_json(path)
  collector = _Collector(path, truth, {})
  names = {name: number for number, name in enumerate(truth.class_names, start=1)}
  ids = {str(category): number for number, category in enumerate(truth.category_ids, start=1)}
  images: Mapping[str, tuple[int | None, Any]] | None = None
  known = None
  if isinstance(content, dict) and all(
    isinstance(content.get(name), list) for name in ("images", "annotations", "categories")
  ):
    coco_truth.check_lists(content, result_ids.NAMED, collector.faults)
    known, content = content, content["annotations"]
  elif isinstance(content, list) and content:
    known = result_ids.read(path, truth, ids_of)
  if not isinstance(content, list):
    accepted = "a list of {image_id, category_id, bbox, score}"
    collector.faults.describe("file", type(content).__name__, accepted)
    collector.faults.check()
  used = {coco_annotation.id_text(row.get("category_id")) for row in content if _is_entry(row)}
  if known is not None:
    ids = {}
    for name, category in coco_truth.check_categories(
      known["categories"], collector.faults
    ).items():
      if name in names:
        ids[str(category)] = names[name]
      elif str(category) in used:
        accepted = f"the classes of {truth.source}: {faults.listing(truth.class_names)}"
        collector.faults.add("categories: name", name, accepted)
    images = result_ids.places(known["images"], truth, collector.faults)
  collector.faults.check()
  for number, row in enumerate(content, start=1):
    where = f"entry {number}"
    if not isinstance(row, dict):
      collector.faults.add(where, row, "an object with image_id, category_id, bbox and score")
      continue
    image, category, score = row.get("image_id"), row.get("category_id"), row.get("score")
    category_id = coco_annotation.id_text(category)
    if category_id not in ids:
      accepted = f"a category of {truth.source}: {faults.listing(list(map(str, ids)))}"
      collector.faults.add(f"{where}: category_id", category, accepted)
    elif accepted := coco_truth.check_bbox(row.get("bbox")):
      collector.faults.add(f"{where}: bbox", row.get("bbox"), accepted)
    elif not json_text.is_number(score):
      collector.faults.add(f"{where}: score", score, "a finite number")
    elif images is None:
      collector.add(where, "image_id", image, ids[category_id], row["bbox"], score)
    else:
      place, name = images.get(coco_annotation.id_text(image), (None, None))
      collector.add_at(place, where, "file_name", name, ids[category_id], row["bbox"], score)
  return {
    place: Detections(
      ground_truth.Boxes.from_xywh(np.array(boxes, np.float64)),
      np.array(scores, np.float64),
      np.array(classes, np.int64),
    )
    for place, (boxes, scores, classes) in collector.rows().items()
  }


def _is_entry(row: Any) -> bool:
  return isinstance(row, dict)


def _read_comp4(files: Sequence[str], truth: ground_truth.GroundTruth) -> dict[int, Detections]:
  collectors, names = [], {}
  class_of_file: dict[int, str] = {}
  for file in files:
    collector = _Collector(file, truth, names)
    class_id = _comp4_class(file, truth, collector.faults)
    if class_id in class_of_file:
      value = f"of class {truth.class_names[class_id - 1]}, as is {class_of_file[class_id]}"
      accepted = "one file for each class; name one split's files"
      collector.faults.describe("file", value, accepted)
      collector.faults.check()
    class_of_file[class_id] = file
    try:
      text = regular_files.read_text(file, json_text.MAX_DATA_BYTES, errors="surrogateescape")
    except OSError as error:
      raise ValueError(f"{file}: cannot be read ({error.strerror})") from error
    for number, line in enumerate(text.split("\n"), start=1):
      if line.strip():
        _parse_comp4_line(line, f"line {number}", class_id, collector)
    collectors.append(collector)
  # Where not one image is known, the files of all classes are another data set's.
  rows: dict[int, tuple[list, list, list]] = {}
  for collector in collectors:
    for place, columns in collector.rows().items():
      for column, more in zip(rows.setdefault(place, ([], [], [])), columns, strict=True):
        column.extend(more)
  return {
    place: Detections(
      ground_truth.Boxes.from_corners(np.array(boxes, np.float64)),
      np.array(scores, np.float64),
      np.array(classes, np.int64),
    )
    for place, (boxes, scores, classes) in rows.items()
  }


def _comp4_class(file: str, truth: ground_truth.GroundTruth, found: coco_truth.FaultList) -> int:
  """The class in a file's name; the longest, as one name may end like another."""
  name = os.path.basename(file)
  if re.fullmatch(rf"{_COMP4}.+_.+\.txt", name):
    known = [
      (len(class_name), number)
      for number, class_name in enumerate(truth.class_names, start=1)
      if name.endswith(f"_{class_name.replace('/', '%2F')}.txt")
    ]
    if known:
      return max(known)[1]
  found.add(
    "file name",
    name,
    f"{_COMP4}<split>_<class>.txt with one of the classes {faults.listing(truth.class_names)}",
  )
  found.check()
  raise AssertionError("a fault was noted")


def _parse_comp4_line(line: str, where: str, class_id: int, collector: _Collector) -> None:
  """Notes the detection on one line, or its fault."""
  columns = line.rsplit(maxsplit=5)  # An image's name may have blanks in it.
  if len(columns) != 6:
    collector.faults.add(where, line, "image name, score, xmin, ymin, xmax, ymax")
    return
  image, *texts = columns
  values = []
  for field, text in zip(("score", "xmin", "ymin", "xmax", "ymax"), texts, strict=True):
    try:
      value = float(text)
    except ValueError:
      value = math.nan
    if not math.isfinite(value):
      collector.faults.add(f"{where}: {field}", text, "a finite number")
      return
    values.append(value)
  score, xmin, ymin, xmax, ymax = values
  for field, low, high in (("xmax", xmin, xmax), ("ymax", ymin, ymax)):
    if high < low:
      accepted = f"at least {field[0]}min {low:g}"
      collector.faults.add(f"{where}: {field}", high, accepted)
      return
  collector.add(where, "image name", image.strip(), class_id, [ymin, xmin, ymax, xmax], score)
