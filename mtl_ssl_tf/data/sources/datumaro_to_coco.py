"""Reads a data set with Datumaro and writes a COCO file for each of its splits.

`mtl_ssl_tf.data.import_any` runs this file in an interpreter that has Datumaro, which may be one of
an environment of its own: nothing else is imported that Python does not have. Images stay where
they are. What a COCO file cannot hold is counted in `REPORT`.
"""

import argparse
import collections
import json
import os
import pathlib
import sys
import types
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

REPORT = "import.json"
# Our name of a format -> Datumaro's.
FORMATS = {
  "cvat": "cvat",
  "kitti": "kitti",
  "labelme": "label_me",
  "open_images": "open_images",
  "wider": "wider_face",
  "yolo": "yolo",
}
_IMAGE_EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
# Shapes that have a box; points and lines do not enclose an object.
_BOX = "Bbox"
_SHAPES = ("Polygon", "Mask", "ExtractedMask", "RotatedBbox", "Ellipse", "Cuboid2D")
# Attributes of a box that encloses several objects, which COCO has a flag for.
_CROWD = ("is_crowd", "is_group_of")
# Open Images' certainty of an annotation, 1 for those drawn by people.
_ALWAYS_SET = ("score",)
_MAX_LISTED = 5


def main(argv: Sequence[str] | None = None) -> int:
  """Writes `<split>.json` for each split, and the report; returns the exit status."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--format", choices=FORMATS, required=True)
  parser.add_argument("--input", required=True)
  parser.add_argument("--output_dir", required=True)
  flags = parser.parse_args(argv)
  import datumaro  # Here, as tests import this module without it.

  root, output = pathlib.Path(flags.input).resolve(), pathlib.Path(flags.output_dir)
  is_roboflow = flags.format == "yolo" and _is_roboflow(root)
  name = "roboflow_yolo" if is_roboflow else FORMATS[flags.format]
  dataset = datumaro.Dataset.import_from(str(root), name)
  labels = dataset.categories()[datumaro.AnnotationType.label].items
  items = [*dataset, *(empty_items(root) if is_roboflow else ())]
  items.sort(key=lambda item: (item.subset, item.id))
  contents, report = convert(items, [label.name for label in labels], root)
  if flags.format == "yolo":
    report["faults"] += unread_labels(root, [item.id for item in items]) + unordered_names(root)
  write(contents, report, output)
  return 0


def write(
  contents: dict[str, dict[str, Any]], report: dict[str, Any], folder: pathlib.Path
) -> None:
  """Writes the COCO files, by split, and the report."""
  for split, content in contents.items():
    (folder / f"{split}.json").write_text(json.dumps(content), encoding="ascii")
  (folder / REPORT).write_text(json.dumps(report), encoding="ascii")


def convert(
  items: Iterable[Any], names: Sequence[str], root: pathlib.Path
) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
  """The content of COCO files, by split, and the report.

  Args:
    items: Datumaro's, of all splits.
    names: of the classes, in Datumaro's order.
    root: folder of the images, links followed; their file names start there.

  Returns:
    COCO's dictionaries; `splits`, `lost` and `faults` of the report, as lines of text.
  """
  contents, faults, files = {}, [], set()
  counts = collections.Counter()
  in_boxes, elsewhere = set(), set()
  for item in items:
    file = os.path.relpath(getattr(item.media, "path", None) or root / item.id, root)
    files.add(file)
    boxes = []
    for annotation in item.annotations:
      kind, label = type(annotation).__name__, getattr(annotation, "label", None)
      if kind != _BOX and kind not in _SHAPES:
        counts[f"annotations without a box, {kind}"] += 1
        elsewhere.add(label)
        continue
      boxes.append(annotation)
      in_boxes.add(label)
      if kind != _BOX:
        counts[f"outlines, of which the box is kept, {kind}"] += 1
      counts.update(f"attribute {name}" for name in _attributes(annotation))
    if None in [box.label for box in boxes]:  # The image goes too, or it would be background.
      faults.append(f"{file}: a box without a class; accepted: one of {', '.join(names)}")
      continue
    content = contents.setdefault(item.subset, {"images": [], "annotations": []})
    content["images"].append(_image(item, file, len(content["images"]) + 1))
    for box in boxes:
      content["annotations"].append(_annotation(box, content))
  # Classes of whole images, such as WIDER's events, are none of objects.
  dropped = elsewhere - in_boxes - {None}
  categories = [
    {"id": number + 1, "name": name} for number, name in enumerate(names) if number not in dropped
  ]
  for content in contents.values():
    content["categories"] = categories
  lost = [f"{what}: {count}" for what, count in sorted(counts.items())]
  if dropped:
    lost.append("classes without a box: " + ", ".join(names[number] for number in sorted(dropped)))
  unlisted = sorted(set(_images(root)) - files)
  if unlisted:
    lost.append(f"images that the annotations do not list: {len(unlisted)}, {_first(unlisted)}")
  splits = {split: len(content["images"]) for split, content in contents.items()}
  return contents, {"splits": splits, "lost": lost, "faults": faults}


def unread_labels(root: pathlib.Path, names: Iterable[str]) -> list[str]:
  """Lines for YOLO's label files that hold something and of which no image was made.

  Datumaro passes over a file whose first line is not five plain numbers, such as a polygon's.
  """
  known = {os.path.basename(name) for name in names}
  return [
    f"{path.relative_to(root)}: not read by Datumaro; accepted: lines of a class and four numbers"
    for path in sorted(root.rglob("*.txt"))
    if "labels" in [part.lower() for part in path.relative_to(root).parts[:-1]]
    and path.stem not in known
    and path.read_bytes().strip()
  ]


def unordered_names(root: pathlib.Path) -> list[str]:
  """A line where `data.yaml` numbers its classes otherwise than from 0 in order.

  Datumaro takes the names as they come and would give boxes other classes.
  """
  import yaml  # Datumaro has it.

  path = root / "data.yaml"
  content = yaml.safe_load(path.read_text(encoding="utf-8")) if path.exists() else None
  names = content.get("names") if isinstance(content, dict) else None
  if not isinstance(names, dict) or list(names) == list(range(len(names))):
    return []
  return [f"data.yaml: names: {', '.join(map(str, names))}; accepted: 0, 1, 2 … in this order"]


def empty_items(root: pathlib.Path) -> Iterator[types.SimpleNamespace]:
  """Items of images with empty label files, which Datumaro leaves out of Roboflow's layout."""
  labels = {
    (path.parts[-3], path.stem)
    for path in root.glob("*/labels/*.txt")
    if not path.read_bytes().strip()
  }
  for file in sorted(_images(root)):
    path = root / file
    if path.parent == root / path.parts[-3] / "images" and (path.parts[-3], path.stem) in labels:
      media = types.SimpleNamespace(path=str(path), has_size=False)
      yield types.SimpleNamespace(id=path.stem, subset=path.parts[-3], media=media, annotations=())


def _is_roboflow(root: pathlib.Path) -> bool:
  """Whether the folders are train/images and train/labels, not images/train and labels/train."""
  return any(root.glob("*/labels")) and not (root / "labels").is_dir()


def _image(item: Any, file: str, number: int) -> dict[str, Any]:
  entry = {"id": number, "file_name": pathlib.PurePath(file).as_posix()}
  if item.media is not None and item.media.has_size:
    entry["height"], entry["width"] = item.media.size
  return entry


def _annotation(annotation: Any, content: dict[str, Any]) -> dict[str, Any]:
  return {
    "id": len(content["annotations"]) + 1,
    "image_id": content["images"][-1]["id"],
    "category_id": annotation.label + 1,
    "bbox": [float(number) for number in annotation.get_bbox()],
    "iscrowd": int(any(_is_set(annotation.attributes.get(name)) for name in _CROWD)),
  }


def _attributes(annotation: Any) -> Iterator[str]:
  """Yields the names of the attributes that say something and are lost."""
  for name, value in annotation.attributes.items():
    if name not in (*_CROWD, *_ALWAYS_SET) and _is_set(value):
      yield name


def _is_set(value: Any) -> bool:
  return value not in (None, False, 0, "", "0", "false", "False")


def _images(root: pathlib.Path) -> Iterator[str]:
  """Yields the image files in the data set, as paths from there."""
  for folder, _, names in os.walk(root):
    for name in names:
      if os.path.splitext(name)[1].lower() in _IMAGE_EXTENSIONS:
        yield os.path.relpath(os.path.join(folder, name), root)


def _first(names: Sequence[str]) -> str:
  return ", ".join(names[:_MAX_LISTED]) + (" …" if len(names) > _MAX_LISTED else "")


if __name__ == "__main__":
  sys.exit(main())
