"""BCCD in the layout of each labelling tool: the records are those of VOC, feature by feature.

  python -m pytest tests/data/bccd_layouts_test.py

Needs the data set (`BCCD_DIR` names another place), and for the layouts that Datumaro reads an
interpreter with it (`make datumaro`, or `DATUMARO_PYTHON`).
"""

import json
import os
import pathlib
from collections.abc import Callable

import pytest
from defusedxml import ElementTree

from mtl_ssl_tf.data import coco_json, import_any, pascal_voc, schema
from tests.data import layout_files

_REPOSITORY = pathlib.Path(__file__).parents[2]
_BCCD = pathlib.Path(os.environ.get("BCCD_DIR", _REPOSITORY / "../shared/data/bccd"))
_PYTHON = os.environ.get("DATUMARO_PYTHON", str(_REPOSITORY / ".venv-datumaro/bin/python"))
_SPLIT = "trainval"
_NEEDS_DATUMARO = pytest.mark.skipif(
  not os.path.exists(_PYTHON), reason=f"no Datumaro at {_PYTHON}: make datumaro"
)
pytestmark = [
  pytest.mark.slow,
  pytest.mark.skipif(not _BCCD.is_dir(), reason=f"no BCCD data set at {_BCCD}; set BCCD_DIR"),
]


def _data_set() -> layout_files.DataSet:
  """All that is annotated, two boxes without a width or height included."""
  objects = {}
  for name in (_BCCD / f"ImageSets/Main/{_SPLIT}.txt").read_text().split():
    root = ElementTree.parse(_BCCD / f"Annotations/{name}.xml").getroot()
    objects[name] = [
      (
        element.findtext("name"),
        tuple(int(element.findtext(f"bndbox/{side}")) for side in ("xmin", "ymin", "xmax", "ymax")),
      )
      for element in root.findall("object")
    ]
  return layout_files.DataSet(
    objects,
    ["Platelets", "RBC", "WBC"],
    (480, 640),
    lambda name: (_BCCD / f"JPEGImages/{name}.jpg").read_bytes(),
  )


def _content(data: layout_files.DataSet, path: str = "{}.jpg", first_id: int = 1) -> dict:
  """The content of a COCO file."""
  numbers = {name: first_id + number for number, name in enumerate(data.classes)}
  content = {
    "images": [
      {"id": number, "file_name": path.format(name), "height": data.size[0], "width": data.size[1]}
      for number, name in enumerate(data.objects)
    ],
    "categories": [{"id": number, "name": name} for name, number in numbers.items()],
    "annotations": [],
  }
  for image_id, objects in enumerate(data.objects.values()):
    for kind, (xmin, ymin, xmax, ymax) in objects:
      entry = {"id": len(content["annotations"]), "image_id": image_id, "iscrowd": 0}
      entry |= {"category_id": numbers[kind], "bbox": [xmin, ymin, xmax - xmin, ymax - ymin]}
      content["annotations"].append(entry)
  return content


def _coco(root: pathlib.Path, data: layout_files.DataSet) -> tuple[str, str]:
  layout_files.write_images(root, "images/{}.jpg", data=data)
  layout_files.write(root / "instances.json", json.dumps(_content(data)))
  return "instances.json", "images"


def _roboflow(root: pathlib.Path, data: layout_files.DataSet) -> tuple[str, str]:
  """A root category, and the file among the images."""
  layout_files.write_images(root, "train/{}.jpg", data=data)
  content = _content(data)
  for entry in content["categories"]:
    entry["supercategory"] = "cells"
  content["categories"].insert(0, {"id": 0, "name": "cells", "supercategory": "none"})
  layout_files.write(root / "train/_annotations.coco.json", json.dumps(content))
  return "train/_annotations.coco.json", "train"


def _label_studio(root: pathlib.Path, data: layout_files.DataSet) -> tuple[str, str]:
  """Ids from 0, and paths of the server, whose folders differ."""
  layout_files.write_images(root, "images/{}.jpg", data=data)
  content = _content(data, "..\\..\\label-studio\\data\\media\\upload\\4\\{}.jpg", first_id=0)
  layout_files.write(root / "result.json", json.dumps(content))
  return "result.json", "."


def _voc(root: pathlib.Path, annotations: str, images: str, list_line: str | None) -> None:
  names = (_BCCD / f"ImageSets/Main/{_SPLIT}.txt").read_text().split()
  for name in names:
    for folder, file in (
      (annotations, f"Annotations/{name}.xml"),
      (images, f"JPEGImages/{name}.jpg"),
    ):
      layout_files.write(root / folder / os.path.basename(file), (_BCCD / file).read_bytes())
  if list_line is not None:
    lines = "".join(f"{list_line.format(name)}\n" for name in names)
    layout_files.write(root / "ImageSets/Main/train.txt", lines)


@pytest.fixture(name="data", scope="module")
def _data():
  return _data_set()


@pytest.fixture(name="expected", scope="module")
def _expected(tmp_path_factory):
  folder = tmp_path_factory.mktemp("bccd")
  pascal_voc.convert_split(_BCCD, _SPLIT, folder, on_error="skip")  # It has two empty boxes.
  expected = layout_files.features(folder, _SPLIT)
  assert len(expected) == 292
  assert sum(len(values[schema.OBJECT_LABEL]) for values in expected) > 3000
  return expected


@pytest.mark.parametrize(
  ("annotations", "images", "line"),
  [
    ("Annotations", "JPEGImages", None),
    ("Annotations", "images", None),
    ("train", "train", None),
    ("Annotations/cam1", "JPEGImages/cam1", "cam1/{}"),
    ("Annotations", "JPEGImages", "/home/me/VOC/JPEGImages/{}.jpg"),
  ],
  ids=["labelme2voc", "Label Studio", "Roboflow", "CVAT", "list of paths"],
)
def test_voc(tmp_path, expected, annotations, images, line):
  _voc(tmp_path / "data", annotations, images, line)
  pascal_voc.convert_split(tmp_path / "data", "train", tmp_path / "records", on_error="skip")
  layout_files.assert_same(layout_files.features(tmp_path / "records"), expected)


@pytest.mark.parametrize("write", [_coco, _roboflow, _label_studio])
def test_coco(tmp_path, data, expected, write):
  annotations, images = write(tmp_path / "data", data)
  coco_json.convert_split(
    tmp_path / "data" / annotations,
    tmp_path / "data" / images,
    "train",
    tmp_path / "records",
    on_error="skip",
  )
  found = layout_files.features(tmp_path / "records")
  layout_files.assert_same(found, expected, without=[schema.OBJECT_TRUNCATED])


@pytest.mark.parametrize(
  ("data_format", "write"),
  [
    pytest.param("yolo", layout_files.yolo, marks=_NEEDS_DATUMARO, id="YOLO"),
    pytest.param("yolo", layout_files.roboflow_yolo, marks=_NEEDS_DATUMARO, id="Roboflow's YOLO"),
    pytest.param("cvat", layout_files.cvat, marks=_NEEDS_DATUMARO, id="CVAT"),
    pytest.param("labelme", layout_files.labelme, id="labelme"),
  ],
)
def test_other_formats(
  tmp_path, data, expected, data_format: str, write: Callable[[pathlib.Path, object], None]
):
  write(tmp_path / "data", data)
  import_any.import_dataset(
    data_format,
    tmp_path / "data",
    tmp_path / "records",
    split="train",
    datumaro_python=_PYTHON,
    on_error="skip",
  )
  found = layout_files.features(tmp_path / "records")
  layout_files.assert_same(found, expected, without=[schema.OBJECT_TRUNCATED])
