"""One data set of four images in the layouts of labelling tools, and its records to compare."""

import json
import pathlib

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
