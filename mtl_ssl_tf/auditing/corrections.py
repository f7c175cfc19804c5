"""Corrected annotations: those given, changed as accepted candidates say, with their images.

  voc     Annotations/, JPEGImages/ and ImageSets/Main/corrected.txt, for `pascal_voc`
  coco    annotations.json and images/, for `coco_json`

Images are those of the records, so that boxes are in their pixels: upright ones.
"""

import dataclasses
import os
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from xml.etree import ElementTree  # For writing; nothing is parsed here.

import numpy as np

from mtl_ssl_tf.auditing import candidates, listing
from mtl_ssl_tf.data import faults
from mtl_ssl_tf.data.ground_truth import coco_truth
from mtl_ssl_tf.data.ground_truth import objects as ground_truth
from mtl_ssl_tf.prediction import voc_xml
from mtl_ssl_tf.reading import json_text, quoting

SPLIT = "corrected"
COCO_FILE = "annotations.json"
_JPEG = b"\xff\xd8"


def apply(
  truth: ground_truth.GroundTruth, accepted: Sequence[listing.Row], source: str
) -> ground_truth.GroundTruth:
  """Returns the annotations with the changes that were accepted.

  A missing object is added, a box of a wrong class gets the other one, a badly placed one the
  proposed place, and one around nothing is left out.

  Args:
    truth: the annotations as given.
    accepted: rows of the audit.
    source: file of the audit, for messages.

  Raises:
    ValueError: a row does not fit the annotations.
  """
  numbers = {name: number for number, name in enumerate(truth.class_names, start=1)}
  places = {image.image_id: place for place, image in enumerate(truth.images)}
  by_image: dict[int, list[listing.Row]] = {}
  for row in accepted:
    if row["image_id"] not in places:
      raise _error(source, row, "image_id", "an image of --data")
    if row["kind"] not in candidates.KINDS:
      raise _error(source, row, "kind", ", ".join(candidates.KINDS))
    by_image.setdefault(places[row["image_id"]], []).append(row)
  images = list(truth.images)
  for place, rows in by_image.items():
    images[place] = _changed(images[place], rows, numbers, source)
  return dataclasses.replace(truth, images=tuple(images))


def _error(source: str, row: listing.Row, field: str, accepted: str) -> ValueError:
  return ValueError(
    f"{source}: candidate {quoting.one_line(row['id'])}: {field} is {quoting.shown(row[field])};"
    f" accepted: {accepted}"
  )


def _changed(
  image: ground_truth.ImageTruth,
  rows: Sequence[listing.Row],
  numbers: Mapping[str, int],
  source: str,
) -> ground_truth.ImageTruth:
  xywh, classes = image.boxes.xywh.copy(), image.classes.copy()
  areas, is_kept = image.areas.copy(), np.ones(len(classes), bool)
  new_boxes, new_classes = [], []
  for row in rows:
    kind, place = row["kind"], row["given_object"]
    if kind != candidates.NOTHING and row["class"] not in numbers:
      raise _error(source, row, "class", f"one of {faults.listing(list(numbers))}")
    if kind in (candidates.MISSING, candidates.BADLY_PLACED) and not _is_box(row["bbox"]):
      raise _error(source, row, "bbox", "four numbers: left, top, width and height above 0")
    if kind != candidates.MISSING and (place is None or not 0 <= place < len(classes)):
      raise _error(source, row, "given_object", f"0 to {len(classes) - 1}")
    if kind == candidates.MISSING:
      new_boxes.append(row["bbox"])
      new_classes.append(numbers[row["class"]])
    elif kind == candidates.WRONG_CLASS:
      classes[place] = numbers[row["class"]]
    elif kind == candidates.BADLY_PLACED:
      xywh[place] = row["bbox"]
      areas[place] = row["bbox"][2] * row["bbox"][3]
    else:
      is_kept[place] = False
  added = np.reshape(np.array(new_boxes, np.float64), [-1, 4])
  flags = np.zeros(len(added), bool)
  boxes = ground_truth.Boxes.from_xywh(np.concatenate([xywh[is_kept], added]))
  return dataclasses.replace(
    image,
    boxes=ground_truth.Boxes.from_corners(_clipped(boxes.corners, image.size)),
    classes=np.concatenate([classes[is_kept], np.array(new_classes, np.int64)]),
    difficult=np.concatenate([image.difficult[is_kept], flags]),
    is_crowd=np.concatenate([image.is_crowd[is_kept], flags]),
    areas=np.concatenate([areas[is_kept], added[:, 2] * added[:, 3]]),
  )


def _is_box(value: object) -> bool:
  return (
    isinstance(value, list)
    and len(value) == 4
    and all(map(json_text.is_number, value))
    and min(value[2:]) > 0
  )


def _clipped(corners: np.ndarray, size: tuple[int, int]) -> np.ndarray:
  return np.clip(corners, 0.0, np.array(size * 2, np.float64))


def names(truth: ground_truth.GroundTruth) -> list[str]:
  """Returns the name of each image without its ending, for files.

  It is the image's id or, where that is a mere number, the name of its file.

  Raises:
    ValueError: two images would have one name, or a name leads out of the folder.
  """
  result, first = [], {}
  for image in truth.images:
    stem = pathlib.PurePosixPath(image.file_name).stem
    name = stem if image.image_id.isdigit() and stem else image.image_id
    path = pathlib.PurePosixPath(name)
    is_safe = name and not path.is_absolute() and ".." not in path.parts and "\0" not in name
    if not is_safe or path.name in ("", "."):
      raise ValueError(
        f"--data: image {quoting.shown(name)} cannot be written; accepted: names of files inside a"
        " folder"
      )
    if name in first:
      raise ValueError(
        f"--data: two images are called {quoting.shown(name)}, of the ids"
        f" {quoting.shown(first[name])} and {quoting.shown(image.image_id)}; accepted: a name each"
      )
    first[name] = image.image_id
    result.append(name)
  return result


def write_voc(
  folder: pathlib.Path,
  truth: ground_truth.GroundTruth,
  encoded: Iterator[tuple[int, bytes]],
  step: Callable[[], object] = lambda: None,
) -> None:
  """Writes a VOC folder.

  Args:
    folder: empty or missing.
    truth: corrected annotations.
    encoded: place and file of each image.
    step: called after each image.

  Raises:
    ValueError: an image's name is not acceptable.
    OSError: a file cannot be written.
  """
  stems = names(truth)
  for stem in stems:
    problem = voc_xml.name_problem(f"{stem}.jpg")
    if problem:
      raise ValueError(f"--data: {problem}; accepted: --format coco")
  for place, content in encoded:
    image, stem = truth.images[place], stems[place]
    name = f"{stem}{_suffix(content)}"
    _write(folder / "JPEGImages" / name, content)
    _write(folder / "Annotations" / f"{stem}.xml", _annotation(image, name, truth.class_names))
    step()
  listed = folder / "ImageSets" / "Main" / f"{SPLIT}.txt"
  _write(listed, os.fsencode("".join(f"{stem}\n" for stem in stems)))


def _annotation(image: ground_truth.ImageTruth, name: str, class_names: Sequence[str]) -> bytes:
  root = ElementTree.Element("annotation")
  height, width = image.size
  path = pathlib.PurePosixPath(name)
  parent = str(path.parent)
  _add(root, folder="" if parent == "." else parent, filename=path.name)
  _add(ElementTree.SubElement(root, "size"), width=width, height=height, depth=3)
  rows = zip(image.boxes.corners.tolist(), image.classes, image.difficult, strict=True)
  for (ymin, xmin, ymax, xmax), class_id, difficult in rows:
    element = ElementTree.SubElement(root, "object")
    _add(element, name=class_names[class_id - 1], difficult=int(difficult))
    box = ElementTree.SubElement(element, "bndbox")
    _add(
      box,
      **{
        side: f"{value:.6g}"
        for side, value in zip(
          ("xmin", "ymin", "xmax", "ymax"), (xmin, ymin, xmax, ymax), strict=True
        )
      },
    )
  ElementTree.indent(root)
  return ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)


def _add(parent: ElementTree.Element, **fields: object) -> None:
  for tag, text in fields.items():
    ElementTree.SubElement(parent, tag).text = str(text)


def write_coco(
  folder: pathlib.Path,
  truth: ground_truth.GroundTruth,
  encoded: Iterator[tuple[int, bytes]],
  step: Callable[[], object] = lambda: None,
) -> None:
  """Writes a COCO file and its images; for the arguments see `write_voc`.

  Crowds, areas and difficult objects, these as `ignore`, are kept.
  """
  stems, written = names(truth), {}
  for place, content in encoded:
    written[place] = f"{stems[place]}{_suffix(content)}"
    _write(folder / "images" / written[place], content)
    step()
  named = [
    dataclasses.replace(image, file_name=written[place]) for place, image in enumerate(truth.images)
  ]
  path = folder / COCO_FILE
  path.parent.mkdir(parents=True, exist_ok=True)
  coco_truth.write_coco(dataclasses.replace(truth, images=tuple(named)), path)


def _suffix(content: bytes) -> str:
  return ".jpg" if content.startswith(_JPEG) else ".png"


def _write(path: pathlib.Path, content: bytes) -> None:
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_bytes(content)
