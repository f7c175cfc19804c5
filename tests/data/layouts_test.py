"""One data set in the layout of each labelling tool: the records are the same, ids aside."""

import json
import pathlib

import pytest
import tensorflow as tf

from mtl_ssl_tf.data import coco_json, pascal_voc, schema, validate
from tests.data import voc_files

# Image -> its objects: class and xmin, ymin, xmax, ymax. The second has none.
_OBJECTS = {
  "a1": [("cat", (4, 4, 12, 16)), ("dog", (20, 2, 36, 18))],
  "a2": [],
  "b1": [("dog", (0, 0, 40, 20))],
  "b2": [("cat", (10, 5, 30, 15))],
}
_CLASSES = ("cat", "dog")
# Ids and names of the tools' own; all else in a record is to be the same.
_IDS = {schema.IMAGE_SOURCE_ID, schema.IMAGE_FILENAME, schema.OBJECT_ID}


def _picture(name: str) -> bytes:
  shift = list(_OBJECTS).index(name)
  image = voc_files.picture(20, 40).point(lambda value: value + shift)
  return voc_files.image_bytes(image)


def _xml(name: str, filename: str) -> bytes:
  objects = [
    voc_files.object_xml(kind, dict(zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)))
    for kind, box in _OBJECTS[name]
  ]
  return voc_files.annotation_xml(objects, filename=filename)


def _write(path: pathlib.Path, content: bytes | str) -> None:
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_bytes(content.encode() if isinstance(content, str) else content)


def _write_voc(root, annotations="Annotations", images="JPEGImages", folder="", line=None):
  for name in _OBJECTS:
    _write(root / annotations / f"{folder}{name}.xml", _xml(name, f"{folder}{name}.jpg"))
    _write(root / images / f"{folder}{name}.jpg", _picture(name))
  if line is not None:
    lines = "".join(f"{line.format(folder + name)}\n" for name in _OBJECTS)
    _write(root / "ImageSets/Main/train.txt", lines)


def _vott(root):
  _write_voc(root)
  for kind in _CLASSES:
    lines = [
      f"{name}.jpg {1 if kind in [other for other, _ in objects] else -1}\n"
      for name, objects in _OBJECTS.items()
    ]
    _write(root / f"ImageSets/Main/{kind}_train.txt", "".join(lines))


def _label_img(root):
  """Images and XML files in one folder, with none for an image without objects."""
  _write_voc(root, "", "")
  for name, objects in _OBJECTS.items():
    if not objects:
      (root / f"{name}.xml").unlink()


def _coco(root):
  images = [
    {"id": 7 + number, "file_name": f"{name}.jpg", "height": 20, "width": 40}
    for number, name in enumerate(_OBJECTS)
  ]
  annotations = [
    {
      "id": 100 * number + place,
      "image_id": 7 + number,
      "category_id": 3 + _CLASSES.index(kind),
      "bbox": [box[0], box[1], box[2] - box[0], box[3] - box[1]],
    }
    for number, objects in enumerate(_OBJECTS.values())
    for place, (kind, box) in enumerate(objects, start=1)
  ]
  categories = [{"id": 3 + number, "name": name} for number, name in enumerate(_CLASSES)]
  content = {"images": images, "annotations": annotations, "categories": categories}
  _write(root / "train.json", json.dumps(content))
  for name in _OBJECTS:
    _write(root / f"images/{name}.jpg", _picture(name))


# Layout -> what writes it, and flags of converter and validator beyond --data_dir.
_VOC_LAYOUTS = {
  "VOC": (lambda root: _write_voc(root, line="{}"), []),
  "split lines with endings": (lambda root: _write_voc(root, line="{}.jpg"), []),
  "VoTT": (_vott, []),
  "labelme2voc": (_write_voc, []),
  "Label Studio": (lambda root: _write_voc(root, images="images"), []),
  "Roboflow": (lambda root: _write_voc(root, "train", "train"), []),
  "CVAT": (lambda root: _write_voc(root, folder="cam1/day1/", line="{}"), []),
  "predict --outputs voc": (lambda root: _write_voc(root, folder="cam1/"), []),
  "LabelImg": (_label_img, ["--missing_annotation=background"]),
}


def _records(folder: pathlib.Path) -> list[dict]:
  """The features of all records without ids, sorted by image."""
  found = []
  for path in sorted(folder.glob("train-*.tfrecord")):
    for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
      features = tf.train.Example.FromString(record).features.feature
      found.append({key: str(features[key]) for key in sorted(features) if key not in _IDS})
  return sorted(found, key=lambda features: features[schema.IMAGE_ENCODED])


@pytest.fixture(name="expected", scope="module")
def _expected(tmp_path_factory):
  folder = tmp_path_factory.mktemp("expected")
  _coco(folder)
  flags = [f"--annotations={folder / 'train.json'}", f"--image_dir={folder / 'images'}"]
  assert coco_json.main([*flags, "--split=train", f"--output_dir={folder / 'records'}"]) == 0
  records = _records(folder / "records")
  assert [record[schema.OBJECT_TEXT].count("value") for record in records].count(0) == 1
  assert len(records) == 4
  return records


@pytest.mark.parametrize("layout", _VOC_LAYOUTS)
def test_voc_layouts(layout, tmp_path, expected):
  write, more = _VOC_LAYOUTS[layout]
  write(tmp_path / "data")
  flags = [f"--data_dir={tmp_path / 'data'}", "--split=train", *more]
  assert pascal_voc.main([*flags, f"--output_dir={tmp_path / 'records'}"]) == 0
  assert _records(tmp_path / "records") == expected
  assert validate.main([*flags, "--min_boxes_per_class=0"]) == 0


def test_missing_annotation_is_a_fault_by_default(tmp_path, capsys):
  _label_img(tmp_path / "data")
  flags = [f"--data_dir={tmp_path / 'data'}", "--split=train"]
  assert pascal_voc.main([*flags, f"--output_dir={tmp_path / 'records'}"]) == 1
  message = "a2.xml: file: missing; accepted: one annotation for each image"
  assert message in capsys.readouterr().err
  assert validate.main(flags) == 1
  assert message in capsys.readouterr().err


def test_drawn_splits_have_all_images_once(tmp_path, expected):
  _write_voc(tmp_path / "data")
  (tmp_path / "classes.txt").write_text("cat\ndog\n")
  flags = [f"--data_dir={tmp_path / 'data'}", "--split_share=train=0.5,val=0.5", "--seed=1"]
  flags.append(f"--label_map={tmp_path / 'classes.txt'}")
  manifests = []
  for split in ("train", "val"):
    output = f"--output_dir={tmp_path / 'records'}"
    assert pascal_voc.main([*flags, f"--split={split}", output]) == 0
    manifests.append(json.loads((tmp_path / f"records/manifest_{split}.json").read_text()))
  assert sum(manifest["num_images"] for manifest in manifests) == len(expected)
  assert manifests[1]["options"]["split_share"] == {"train": 0.5, "val": 0.5}
  assert manifests[1]["options"]["seed"] == 1
