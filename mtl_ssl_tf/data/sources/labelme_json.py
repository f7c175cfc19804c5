"""The JSON files of the program labelme as COCO files; Datumaro reads only the XML of LabelMe.

Each file has the outlines of the objects in one image. An outline gives the box around it; those of
one class and group are one object, as in labelme's own conversion to COCO. What is lost is counted.
"""

import collections
import math
import os
import pathlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from mtl_ssl_tf.data import faults
from mtl_ssl_tf.data.sources import coco_annotation, voc_layout
from mtl_ssl_tf.reading import json_text, regular_files

# Outlines -> the least number of points.
_OUTLINES = {"polygon": 3, "oriented_rectangle": 3, "rectangle": 2, "circle": 2, "mask": 2}
# These do not enclose an object.
_LINES = ("point", "points", "line", "linestrip")
# Of files that were written before there were others.
_OLD_SHAPE = "polygon"
# Flags of an object, in small letters -> fields of COCO files.
_FLAGS = {
  "difficult": "difficult",
  "truncated": "truncated",
  **dict.fromkeys(("crowd", "iscrowd", "is_crowd"), "iscrowd"),
}
# Folders that are splits where all files lie in such.
_SPLITS = {"train", "val", "valid", "validation", "test"}
_ONE_SPLIT = "default"
_MAX_NAMED = 5


def is_there(root: pathlib.Path) -> bool:
  """Whether a folder holds JSON files.

  Raises:
    ValueError: it holds XML files, too.
  """
  json_file, xml_file = (next(_files(root, (ending,)), None) for ending in (".json", ".xml"))
  if json_file and xml_file:
    raise ValueError(
      f"--input {root}: holds {json_file} and {xml_file}; accepted: either JSON files of labelme or"
      " XML files of LabelMe"
    )
  return json_file is not None


def convert(root: pathlib.Path) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
  """Returns the content of COCO files, by split, and the report, as `datumaro_to_coco.convert`.

  Args:
    root: folder of the files and images; file names start there.
  """
  reader = _Reader(root)
  images = {}
  for file in sorted(_files(root, (".json",))):
    image = reader.read(file)
    if image is not None:
      images[file] = image
  names = sorted({item["name"] for image in images.values() for item in image["objects"]})
  categories = [{"id": number, "name": name} for number, name in enumerate(names, start=1)]
  tops = {file.split("/", 1)[0] for file in images}
  contents: dict[str, dict[str, Any]] = {}
  for file, image in images.items():
    split = file.split("/", 1)[0] if tops <= _SPLITS else _ONE_SPLIT
    content = contents.setdefault(
      split, {"images": [], "annotations": [], "categories": categories}
    )
    _add(content, image, names)
  splits = {split: len(content["images"]) for split, content in contents.items()}
  return contents, {"splits": splits, "lost": reader.lost(), "faults": reader.faults}


def _add(content: dict[str, Any], image: Mapping[str, Any], names: Sequence[str]) -> None:
  """Adds an image and its objects to the content of a COCO file."""
  image_id = len(content["images"]) + 1
  content["images"].append(image["entry"] | {"id": image_id})
  for item in image["objects"]:
    left, top, right, bottom = item["extent"]
    annotation = {
      "id": len(content["annotations"]) + 1,
      "image_id": image_id,
      "category_id": names.index(item["name"]) + 1,
      "bbox": [left, top, right - left, bottom - top],
    }
    content["annotations"].append(annotation | dict.fromkeys(item["flags"], 1))


class _Reader:
  """Reads file by file, and keeps what is lost and what is at fault.

  Attributes:
    faults: a line each; their images are left out, so that no object becomes background.
  """

  def __init__(self, root: pathlib.Path):
    self.faults: list[str] = []
    self._root = root
    self._counts: collections.Counter[str] = collections.Counter()
    self._others: list[str] = []
    self._used: set[str] = set()
    self._images = set(_files(root, voc_layout.IMAGE_EXTENSIONS))
    self._by_stem: dict[str, list[str]] = {}
    for file in self._images:
      self._by_stem.setdefault(os.path.splitext(file)[0], []).append(file)

  def read(self, file: str) -> dict[str, Any] | None:
    """COCO's entry of the image, and its objects; None where there is a fault."""
    try:
      content = json_text.loads(
        regular_files.read_bytes(self._root / file, json_text.MAX_DATA_BYTES)
      )
      if not isinstance(content, dict) or not content.keys() & {"shapes", "imagePath"}:
        self._others.append(file)
        return None
      image = {
        "entry": {
          "file_name": self._image_file(file, content),
          "height": content.get("imageHeight"),
          "width": content.get("imageWidth"),
        },
        "objects": self._objects(content),
      }
    except OSError as error:
      self.faults.append(f"{file}: cannot be read ({error.strerror})")
      return None
    except ValueError as error:
      self.faults.append(f"{file}: {error}")
      return None
    self._used.add(image["entry"]["file_name"])
    return image

  def lost(self) -> list[str]:
    """Returns lines on what the COCO files do not have."""
    lines = [f"{what}: {count}" for what, count in sorted(self._counts.items()) if count]
    unlisted = sorted(self._images - self._used)
    for what, files in (
      ("JSON files that are not labelme's", self._others),
      ("images that the annotations do not list", unlisted),
    ):
      if files:
        more = " …" if len(files) > _MAX_NAMED else ""
        lines.append(f"{what}: {len(files)}, {', '.join(files[:_MAX_NAMED])}{more}")
    return lines

  def _image_file(self, file: str, content: Mapping[str, Any]) -> str:
    """The path of the image: the one of the file's name, or else what the file says.

    Raises:
      ValueError: the file means another picture, which exists, or there is no name.
    """
    stated = coco_annotation.image_name({"file_name": content.get("imagePath")})
    if stated is None:
      raise ValueError(f"imagePath: {coco_annotation.show(content, 'imagePath')}; accepted: a path")
    folder, last_name = os.path.dirname(file), os.path.basename(stated)
    own = self._by_stem.get(os.path.splitext(file)[0], [])
    path = os.path.normpath(os.path.join(folder, stated))
    if len(own) != 1:
      # Outside of the data set the converter searches for the last name.
      return stated if path.startswith("../") else path
    beside = os.path.join(folder, last_name)
    if own[0] != beside and beside in self._images:
      raise ValueError(
        f"imagePath: {faults.quote(last_name)} is another picture, which exists; accepted: the name"
        f" of {own[0]}"
      )
    return own[0]

  def _objects(self, content: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Class, extent and flags of each object.

    Raises:
      ValueError: naming a shape that is at fault.
    """
    shapes = content.get("shapes")
    if not isinstance(shapes, list):
      raise ValueError(f"shapes: {coco_annotation.show(content, 'shapes')}; accepted: a list")
    self._counts["flags of images"] += len(list(_set(content.get("flags"))))
    found, groups = [], {}
    for number, shape in enumerate(shapes, start=1):
      item = self._object(shape, f"shape {number}")
      if item is None:
        continue
      kind, group = shape.get("shape_type") or _OLD_SHAPE, shape.get("group_id")
      self._counts[f"outlines, of which the box is kept, {kind}"] += kind != "rectangle"
      first = groups.setdefault((item["name"], str(group)), item)
      if group is None or kind == "rectangle" or first is item:
        found.append(item)
        continue
      self._counts["outlines of one class and group, taken for one object"] += 1
      first["extent"] = _around([first["extent"], item["extent"]])
      first["flags"] |= item["flags"]
    return found

  def _object(self, shape: Any, where: str) -> dict[str, Any] | None:
    """Class, extent and flags of a shape; None where it encloses nothing.

    Raises:
      ValueError: it is at fault.
    """
    if not isinstance(shape, dict):
      raise ValueError(f"{where}: {coco_annotation.show_value(shape)}; accepted: an object")
    name, kind = shape.get("label"), shape.get("shape_type") or _OLD_SHAPE
    if not isinstance(name, str) or not name.strip():
      raise ValueError(f"{where}: label: {coco_annotation.show(shape, 'label')}; accepted: a name")
    if kind in _LINES:
      self._counts[f"annotations without a box, {kind}"] += 1
      return None
    if kind not in _OUTLINES:
      accepted = ", ".join((*_OUTLINES, *_LINES))
      value = coco_annotation.show(shape, "shape_type")
      raise ValueError(f"{where}: shape_type: {value}; accepted: {accepted}")
    points = shape.get("points")
    if not _are_points(points) or len(points) < _OUTLINES[kind]:
      value = coco_annotation.show(shape, "points")
      accepted = f"a list of {_OUTLINES[kind]} or more points, two finite numbers each"
      raise ValueError(f"{where} ({faults.quote(name)}): points: {value}; accepted: {accepted}")
    flags = {_FLAGS.get(flag.lower(), flag) for flag in _set(shape.get("flags"))}
    self._counts.update(f"attribute {flag}" for flag in flags - {*_FLAGS.values()})
    return {
      "name": name.strip(),
      "extent": _extent(kind, points),
      "flags": flags & {*_FLAGS.values()},
    }


def _extent(kind: str, points: Sequence[Sequence[float]]) -> tuple[float, ...]:
  """Left, top, right and bottom of an outline."""
  if kind == "circle":  # Its centre and a point of it.
    (x, y), other = points[0], points[1]
    radius = math.dist((x, y), other)
    return x - radius, y - radius, x + radius, y + radius
  return _around([(x, y, x, y) for x, y in points])


def _around(extents: Iterable[Sequence[float]]) -> tuple[float, ...]:
  """The extent of several."""
  lefts, tops, rights, bottoms = zip(*extents, strict=True)
  return min(lefts), min(tops), max(rights), max(bottoms)


def _are_points(value: Any) -> bool:
  return isinstance(value, list) and all(
    isinstance(point, list) and len(point) == 2 and all(map(json_text.is_number, point))
    for point in value
  )


def _set(flags: Any) -> Iterator[str]:
  """Yields the names of the flags that are set."""
  if isinstance(flags, dict):
    yield from (name for name, value in flags.items() if value)


def _files(root: pathlib.Path, endings: Sequence[str]) -> Iterator[str]:
  """Yields the files with these endings, in any case, as paths with `/` from the folder."""
  for parent, folders, names in os.walk(root):
    folders.sort()
    for name in names:
      if os.path.splitext(name)[1].lower() in endings and not name.startswith("."):
        yield pathlib.Path(parent, name).relative_to(root).as_posix()
