"""Tiny COCO data sets for tests, each made from what the test states."""

import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any
from xml.etree import ElementTree

from tests.data import voc_files

CATEGORIES = ({"id": 3, "name": "cat"}, {"id": 1, "name": "dog"}, {"id": 90, "name": "cow"})


def image_entry(image_id: Any = 7, **changes: Any) -> dict[str, Any]:
  """An entry of `images`, of 20 x 40, height by width; a change to None removes a field."""
  entry = {"id": image_id, "file_name": f"{image_id}.jpg", "width": 40, "height": 20}
  return {key: value for key, value in (entry | changes).items() if value is not None}


def annotation_entry(annotation_id: Any = 100, **changes: Any) -> dict[str, Any]:
  """An entry of `annotations`: a cat in image 7; a change to None removes a field."""
  entry = {
    "id": annotation_id,
    "image_id": 7,
    "category_id": 3,
    "bbox": [2, 4, 10, 10],
    "area": 60.5,
    "iscrowd": 0,
    "segmentation": [[2, 4, 12, 4, 12, 14.5]],
  } | changes
  return {key: value for key, value in entry.items() if value is not None}


def text(
  annotations: Sequence[Any] | None = (),
  images: Sequence[Any] = (image_entry(),),
  categories: Sequence[Any] | None = CATEGORIES,
) -> bytes:
  """The content of a COCO file."""
  lists = {"images": images, "annotations": annotations, "categories": categories}
  lists = {name: list(entries) for name, entries in lists.items() if entries is not None}
  return json.dumps({"info": {"year": 2017, "images": [1]}, "licenses": [], **lists}).encode()


def write(
  root: pathlib.Path,
  content: bytes,
  images: Mapping[str, bytes] | Sequence[str] = ("7.jpg",),
) -> pathlib.Path:
  """The file `train.json` and a folder `images`; images without content are of 20 x 40."""
  (root / "images").mkdir(parents=True, exist_ok=True)
  (root / "train.json").write_bytes(content)
  default = voc_files.image_bytes(voc_files.picture(20, 40))
  for name in images:
    path = root / "images" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(images[name] if isinstance(images, Mapping) else default)
  return root


def from_voc(voc: pathlib.Path, split: str, classes: Sequence[str]) -> dict[str, Any]:
  """The sound boxes of a VOC folder in COCO's form, read without the package's own parser."""
  images, annotations = [], []
  for image_id, stem in enumerate((voc / f"ImageSets/Main/{split}.txt").read_text().split()):
    root = ElementTree.parse(voc / f"Annotations/{stem}.xml").getroot()
    size = {field: int(root.findtext(f"size/{field}")) for field in ("width", "height")}
    images.append({"id": image_id, "file_name": f"{stem}.jpg", **size})
    for place, element in enumerate(root.findall("object")):
      xmin, ymin, xmax, ymax = (
        float(element.findtext(f"bndbox/{field}")) for field in ("xmin", "ymin", "xmax", "ymax")
      )
      if xmax > xmin and ymax > ymin:
        annotations.append(
          {
            "id": place,
            "image_id": image_id,
            "category_id": 10 * classes.index(element.findtext("name")) + 5,
            "bbox": [xmin, ymin, xmax - xmin, ymax - ymin],
            **{field: int(element.findtext(field, "0")) for field in ("difficult", "truncated")},
          }
        )
  # Ids are given out over the whole file; those that count within an image come back in the test.
  for number, annotation in enumerate(annotations):
    annotation["id"] += 1000 * number
  categories = [{"id": 10 * i + 5, "name": name} for i, name in enumerate(classes)]
  return {"images": images, "annotations": annotations, "categories": categories}
