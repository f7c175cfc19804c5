"""One data set of four images in the layouts of labelling tools, and its records to compare."""

import dataclasses
import json
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from mtl_ssl_tf.data import coco_json, schema
from tests.data import voc_files

# Image -> its objects: class and xmin, ymin, xmax, ymax. The second has none.
OBJECTS = {
  "a1": [("cat", (4, 4, 12, 16)), ("dog", (20, 2, 36, 18))],
  "a2": [],
  "b1": [("dog", (0, 0, 40, 20))],
  "b2": [("cat", (10, 5, 30, 15))],
}
CLASSES = ("cat", "dog")
# Ids and names of the tools' own; all else in a record is to be the same.
IDS = {schema.IMAGE_SOURCE_ID, schema.IMAGE_FILENAME, schema.OBJECT_ID}


def picture(name: str) -> bytes:
  """A JPEG of 20 x 40, another for each image."""
  shift = list(OBJECTS).index(name)
  image = voc_files.picture(20, 40).point(lambda value: value + shift)
  return voc_files.image_bytes(image)


@dataclasses.dataclass(frozen=True)
class DataSet:
  """Images and boxes to be written in any layout.

  Attributes:
    objects: name of each image -> class and xmin, ymin, xmax, ymax of its objects.
    classes: names.
    size: height and width of all images.
    picture: gives the JPEG of an image.
  """

  objects: Mapping[str, Sequence[tuple[str, tuple[float, ...]]]]
  classes: Sequence[str]
  size: tuple[int, int]
  picture: Callable[[str], bytes]


SMALL = DataSet(OBJECTS, CLASSES, (20, 40), picture)


def xml(name: str, filename: str) -> bytes:
  """The VOC annotation of an image."""
  objects = [
    voc_files.object_xml(kind, dict(zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)))
    for kind, box in OBJECTS[name]
  ]
  return voc_files.annotation_xml(objects, filename=filename)


def write(path: pathlib.Path, content: bytes | str) -> None:
  """Writes a file and the folders that it lies in."""
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_bytes(content.encode() if isinstance(content, str) else content)


def write_voc(root, annotations="Annotations", images="JPEGImages", folder="", line=None):
  """The data set in VOC's layout; `line` is that of the list, which is left out without one."""
  for name in OBJECTS:
    write(root / annotations / f"{folder}{name}.xml", xml(name, f"{folder}{name}.jpg"))
    write(root / images / f"{folder}{name}.jpg", picture(name))
  if line is not None:
    lines = "".join(f"{line.format(folder + name)}\n" for name in OBJECTS)
    write(root / "ImageSets/Main/train.txt", lines)


def vott(root):
  """The lists of single classes, with flags."""
  write_voc(root)
  for kind in CLASSES:
    lines = [
      f"{name}.jpg {1 if kind in [other for other, _ in objects] else -1}\n"
      for name, objects in OBJECTS.items()
    ]
    write(root / f"ImageSets/Main/{kind}_train.txt", "".join(lines))


def label_img(root):
  """Images and XML files in one folder, with none for an image without objects."""
  write_voc(root, "", "")
  for name, objects in OBJECTS.items():
    if not objects:
      (root / f"{name}.xml").unlink()


def coco(root):
  """The file `train.json` and the folder `images`."""
  images = [
    {"id": 7 + number, "file_name": f"{name}.jpg", "height": 20, "width": 40}
    for number, name in enumerate(OBJECTS)
  ]
  annotations = [
    {
      "id": 100 * number + place,
      "image_id": 7 + number,
      "category_id": 3 + CLASSES.index(kind),
      "bbox": [box[0], box[1], box[2] - box[0], box[3] - box[1]],
    }
    for number, objects in enumerate(OBJECTS.values())
    for place, (kind, box) in enumerate(objects, start=1)
  ]
  categories = [{"id": 3 + number, "name": name} for number, name in enumerate(CLASSES)]
  content = {"images": images, "annotations": annotations, "categories": categories}
  write(root / "train.json", json.dumps(content))
  for name in OBJECTS:
    write(root / f"images/{name}.jpg", picture(name))


def _lines(data: DataSet, name: str, form: str) -> str:
  height, width = data.size
  return "".join(
    form.format(
      *box,
      kind=kind,
      number=data.classes.index(kind),
      x=(box[0] + box[2]) / (2 * width),
      y=(box[1] + box[3]) / (2 * height),
      width=(box[2] - box[0]) / width,
      height=(box[3] - box[1]) / height,
    )
    for kind, box in data.objects[name]
  )


def write_images(
  root: pathlib.Path, image: str, label: str = "", form: str = "", data: DataSet = SMALL
) -> None:
  """Writes the images, and a text file with a line for each object to each of them."""
  for name in data.objects:
    write(root / image.format(name), data.picture(name))
    if label:
      write(root / label.format(name), _lines(data, name, form))


_YOLO_LINE = "{number} {x} {y} {width} {height}\n"


def yolo(root: pathlib.Path, data: DataSet = SMALL) -> None:
  """The layout of ultralytics."""
  write_images(root, "images/train/{}.jpg", "labels/train/{}.txt", _YOLO_LINE, data)
  names = "".join(f"  {number}: {name}\n" for number, name in enumerate(data.classes))
  write(root / "data.yaml", f"path: .\ntrain: images/train\nnames:\n{names}")


def roboflow_yolo(root: pathlib.Path, data: DataSet = SMALL) -> None:
  """Roboflow's YOLOv8."""
  write_images(root, "train/images/{}.jpg", "train/labels/{}.txt", _YOLO_LINE, data)
  names = f"nc: {len(data.classes)}\nnames: {list(data.classes)}\n"
  write(root / "data.yaml", f"train: ../train/images\n{names}")


def cvat_yolo(root: pathlib.Path, data: DataSet = SMALL) -> None:
  """CVAT's YOLO 1.1."""
  write_images(root, "obj_train_data/{}.jpg", "obj_train_data/{}.txt", _YOLO_LINE, data)
  write(root / "obj.names", "".join(f"{name}\n" for name in data.classes))
  write(root / "train.txt", "".join(f"data/obj_train_data/{name}.jpg\n" for name in data.objects))
  names = "train = data/train.txt\nnames = data/obj.names\nbackup = backup/\n"
  write(root / "obj.data", f"classes = {len(data.classes)}\n{names}")


def cvat_ultralytics(root: pathlib.Path, data: DataSet = SMALL) -> None:
  """CVAT's Ultralytics YOLO Detection 1.0."""
  yolo(root, data)
  content = (root / "data.yaml").read_text().replace("train: images/train", "train: train.txt")
  write(root / "data.yaml", content)
  write(root / "train.txt", "".join(f"data/images/train/{name}.jpg\n" for name in data.objects))


def cvat(root: pathlib.Path, data: DataSet = SMALL) -> None:
  """CVAT for images 1.1."""
  write_images(root, "images/{}.jpg", data=data)
  labels = "".join(f"<label><name>{kind}</name></label>" for kind in data.classes)
  box = (
    '<box label="{kind}" source="manual" occluded="0" xtl="{0}" ytl="{1}" xbr="{2}" ybr="{3}"'
    ' z_order="0"></box>'
  )
  height, width = data.size
  images = "".join(
    f'<image id="{number}" name="{name}.jpg" width="{width}" height="{height}">'
    f"{_lines(data, name, box)}</image>"
    for number, name in enumerate(data.objects)
  )
  write(
    root / "annotations.xml",
    f"<annotations><version>1.1</version><meta><task><size>{len(data.objects)}</size>"
    f"<mode>annotation</mode><labels>{labels}</labels></task></meta>{images}</annotations>",
  )


def labelme(root: pathlib.Path, data: DataSet = SMALL) -> None:
  """The JSON files of labelme."""
  height, width = data.size
  write_images(root, "{}.jpg", data=data)
  for name, objects in data.objects.items():
    shapes = [
      {"label": kind, "shape_type": "rectangle", "points": [box[2:], box[:2]], "flags": {}}
      for kind, box in objects
    ]
    content = {"shapes": shapes, "imagePath": f"{name}.jpg"}
    content |= {"imageHeight": height, "imageWidth": width}
    write(root / f"{name}.json", json.dumps(content))


def records(folder: pathlib.Path, split: str = "train") -> list[dict]:
  """The features of all records without ids, sorted by image."""
  found = []
  for path in sorted(folder.glob(f"{split}-*.tfrecord")):
    for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
      features = tf.train.Example.FromString(record).features.feature
      found.append({key: str(features[key]) for key in sorted(features) if key not in IDS})
  return sorted(found, key=lambda features: features[schema.IMAGE_ENCODED])


def expected(folder: pathlib.Path) -> list[dict]:
  """The records that each layout is to give."""
  coco(folder)
  flags = [f"--annotations={folder / 'train.json'}", f"--image_dir={folder / 'images'}"]
  assert coco_json.main([*flags, "--split=train", f"--output_dir={folder / 'records'}"]) == 0
  return records(folder / "records")


def features(folder: pathlib.Path, split: str = "train") -> list[dict[str, list[Any]]]:
  """The features of all records without ids, sorted by image, and objects by their boxes."""
  found = []
  for path in sorted(folder.glob(f"{split}-*.tfrecord")):
    for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
      values = {}
      for key, feature in tf.train.Example.FromString(record).features.feature.items():
        kind = feature.WhichOneof("kind")
        values[key] = list(getattr(feature, kind).value) if kind else []
      sides = (schema.OBJECT_YMIN, schema.OBJECT_XMIN, schema.OBJECT_YMAX, schema.OBJECT_XMAX)
      boxes = zip(*(np.round(values[key], 5) for key in (*sides, schema.OBJECT_LABEL)), strict=True)
      order = [number for _, number in sorted((box, n) for n, box in enumerate(boxes))]
      for key in values:
        if key.startswith(schema.OBJECT_PREFIX):
          values[key] = [values[key][number] for number in order]
      found.append({key: values[key] for key in values if key not in IDS})
  return sorted(found, key=lambda values: values[schema.IMAGE_ENCODED])


def assert_same(
  found: Sequence[Mapping[str, list[Any]]],
  expected: Sequence[Mapping[str, list[Any]]],
  without: Sequence[str] = (),
) -> None:
  """Compares `features`, numbers to about their last digit, but for those that a format lacks."""
  assert len(found) == len(expected)
  for values, wanted in zip(found, expected, strict=True):
    assert values.keys() == wanted.keys()
    for key in wanted.keys() - set(without):
      if wanted[key] and isinstance(wanted[key][0], float):
        np.testing.assert_allclose(values[key], wanted[key], rtol=2e-6, atol=2e-6, err_msg=key)
      else:
        assert values[key] == wanted[key], key
