"""Tests of what becomes of Datumaro's items, with some of the same form."""

import json
import sys
import types

import pytest

from mtl_ssl_tf.data.sources import datumaro_to_coco


def _annotation(kind: str, label: int | None, box=(1, 2, 3, 4), **attributes):
  made = type(kind, (), {"get_bbox": lambda self: box})()
  made.label, made.attributes = label, attributes
  return made


def _item(root, name: str, *annotations, subset: str = "train", size=(20, 40)):
  media = types.SimpleNamespace(
    path=str(root / f"{name}.jpg"), has_size=size is not None, size=size
  )
  return types.SimpleNamespace(id=name, subset=subset, media=media, annotations=annotations)


def _convert(root, *items):
  return datumaro_to_coco.convert(items, ["cat", "dog", "event"], root)


def test_images_and_boxes_by_split(tmp_path):
  contents, report = _convert(
    tmp_path,
    _item(tmp_path, "x/a", _annotation("Bbox", 1), size=None),
    _item(tmp_path, "b", _annotation("Bbox", 0, (5, 6, 7, 8)), _annotation("Bbox", 1)),
    _item(tmp_path, "c", subset="val"),
  )
  categories = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}, {"id": 3, "name": "event"}]
  box = {"id": 1, "image_id": 1, "category_id": 2, "bbox": [1.0, 2.0, 3.0, 4.0], "iscrowd": 0}
  assert contents == {
    "train": {
      "images": [
        {"id": 1, "file_name": "x/a.jpg"},
        {"id": 2, "file_name": "b.jpg", "height": 20, "width": 40},
      ],
      "annotations": [
        box,
        box | {"id": 2, "image_id": 2, "category_id": 1, "bbox": [5.0, 6.0, 7.0, 8.0]},
        box | {"id": 3, "image_id": 2},
      ],
      "categories": categories,
    },
    "val": {
      "images": [{"id": 1, "file_name": "c.jpg", "height": 20, "width": 40}],
      "annotations": [],
      "categories": categories,
    },
  }
  assert report == {"splits": {"train": 2, "val": 1}, "lost": [], "faults": []}


def test_what_is_lost_is_counted(tmp_path):
  for name in ("a.jpg", "z.PNG", "notes.txt"):
    (tmp_path / name).touch()
  item = _item(
    tmp_path,
    "a",
    _annotation("Bbox", 0, occluded=True, truncated="0", pose="left", score=1.0),
    _annotation("Polygon", 0, occluded=True),
    _annotation("Label", 2),
    _annotation("Points", 1),
    _annotation("Bbox", 0, is_group_of=True),
  )
  contents, report = _convert(tmp_path, item)
  assert [box["iscrowd"] for box in contents["train"]["annotations"]] == [0, 0, 1]
  assert contents["train"]["categories"] == [{"id": 1, "name": "cat"}]
  assert report["lost"] == [
    "annotations without a box, Label: 1",
    "annotations without a box, Points: 1",
    "attribute occluded: 2",
    "attribute pose: 1",
    "outlines, of which the box is kept, Polygon: 1",
    "classes without a box: dog, event",
    "images that the annotations do not list: 1, z.PNG",
  ]


def test_every_shape_that_has_a_box(tmp_path):
  kinds = ("Polygon", "Mask", "ExtractedMask", "RotatedBbox", "Ellipse", "Cuboid2D")
  item = _item(tmp_path, "a", *(_annotation(kind, 0) for kind in kinds))
  contents, report = _convert(tmp_path, item)
  assert len(contents["train"]["annotations"]) == len(kinds)
  lines = [f"outlines, of which the box is kept, {kind}: 1" for kind in sorted(kinds)]
  assert report["lost"] == lines


def test_flags_of_crowds_and_words_that_set_none(tmp_path):
  not_set = [None, False, 0, "", "0", "false", "False"]
  boxes = [_annotation("Bbox", 0, occluded=value, is_crowd=value) for value in not_set]
  boxes += [_annotation("Bbox", 0, **{name: True}) for name in ("is_crowd", "is_group_of")]
  contents, report = _convert(tmp_path, _item(tmp_path, "a", *boxes))
  assert [box["iscrowd"] for box in contents["train"]["annotations"]] == [0] * len(not_set) + [1, 1]
  assert report["lost"] == []


def test_the_first_images_without_an_annotation_are_named(tmp_path):
  for name in "abcdef":
    (tmp_path / f"{name}.jpg").touch()
  lost = "images that the annotations do not list: "
  for listed, names in (("", "6, a.jpg, b.jpg, c.jpg, d.jpg, e.jpg …"), ("f", "5, a.jpg, b.jpg,")):
    report = _convert(tmp_path, *(_item(tmp_path, name) for name in listed))[1]
    assert report["lost"][0].startswith(lost + names)
    assert report["lost"][0].endswith(" …") == (not listed)


def test_a_box_without_a_class_is_a_fault_and_its_image_left_out(tmp_path):
  contents, report = _convert(
    tmp_path, _item(tmp_path, "a", _annotation("Bbox", None)), _item(tmp_path, "b")
  )
  assert [image["file_name"] for image in contents["train"]["images"]] == ["b.jpg"]
  assert report["faults"] == ["a.jpg: a box without a class; accepted: one of cat, dog, event"]


def test_label_files_that_were_not_read(tmp_path):
  files = {"a": "0 1 2 3 4", "b": "0 1 1 2 2 3 3", "c": " \n"}
  for name, content in files.items():
    path = tmp_path / f"train/labels/{name}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
  (tmp_path / "train/README.txt").write_text("text")
  assert datumaro_to_coco.unread_labels(tmp_path, ["x/a"]) == [
    "train/labels/b.txt: not read by Datumaro; accepted: lines of a class and four numbers"
  ]


def test_names_of_classes_in_another_order(tmp_path):
  assert datumaro_to_coco.unordered_names(tmp_path) == []
  for names, line in {
    "[cat, dog]": None,
    "{0: cat, 1: dog}": None,
    "{1: cat, 0: dog}": "data.yaml: names: 1, 0; accepted: 0, 1, 2 … in this order",
    "{1: cat, 2: dog}": "data.yaml: names: 1, 2; accepted: 0, 1, 2 … in this order",
  }.items():
    (tmp_path / "data.yaml").write_text(f"path: .\nnames: {names}\n")
    assert datumaro_to_coco.unordered_names(tmp_path) == ([line] if line else [])


def test_images_with_an_empty_label_file(tmp_path):
  for file in ("valid/images/a.jpg", "valid/images/b.jpg", "train/images/c.jpg", "a.jpg"):
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).touch()
  for file, content in {"valid/labels/a.txt": "\n", "valid/labels/b.txt": "0 1 1 1 1"}.items():
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text(content)
  (item,) = datumaro_to_coco.empty_items(tmp_path)
  contents, _ = _convert(tmp_path, item)
  assert contents["valid"]["images"] == [{"id": 1, "file_name": "valid/images/a.jpg"}]
  assert contents["valid"]["annotations"] == []


class TestProgram:
  """The program with something in Datumaro's place."""

  @pytest.fixture(name="items")
  def _items(self):
    return []

  @pytest.fixture(name="asked")
  def _asked(self, monkeypatch, items):
    """The folder and the format that Datumaro is asked to read."""
    asked = []

    class Dataset(list):
      @classmethod
      def import_from(cls, *args):
        asked.append(args)
        return cls(items)

      def categories(self):
        labels = [types.SimpleNamespace(name=name) for name in ("cat", "dog")]
        return {"label": types.SimpleNamespace(items=labels)}

    kinds = types.SimpleNamespace(label="label")
    module = types.SimpleNamespace(Dataset=Dataset, AnnotationType=kinds)
    monkeypatch.setitem(sys.modules, "datumaro", module)
    return asked

  def _run(self, tmp_path, data_format: str) -> dict:
    """The files that it writes, by name."""
    (tmp_path / "data").mkdir(exist_ok=True)
    (tmp_path / "out").mkdir(exist_ok=True)
    flags = [f"--format={data_format}", f"--input={tmp_path / 'data'}"]
    assert datumaro_to_coco.main([*flags, f"--output_dir={tmp_path / 'out'}"]) == 0
    return {path.name: json.loads(path.read_text()) for path in (tmp_path / "out").iterdir()}

  def test_formats_by_datumaros_names(self, tmp_path, asked):
    for data_format, name in {
      "cvat": "cvat",
      "kitti": "kitti",
      "labelme": "label_me",
      "open_images": "open_images",
      "wider": "wider_face",
      "yolo": "yolo",
    }.items():
      report = self._run(tmp_path, data_format)["import.json"]
      assert report == {"splits": {}, "lost": [], "faults": []}
      assert asked.pop() == (str(tmp_path / "data"), name)

  def test_a_file_for_each_split_with_images_by_name(self, tmp_path, items, asked):
    root = tmp_path / "data"
    items += [
      _item(root, "b", _annotation("Bbox", 1)),
      _item(root, "c", subset="val"),
      _item(root, "a"),
    ]
    files = self._run(tmp_path, "kitti")
    assert sorted(files) == ["import.json", "train.json", "val.json"]
    assert [image["file_name"] for image in files["train.json"]["images"]] == ["a.jpg", "b.jpg"]
    assert files["train.json"]["annotations"][0]["category_id"] == 2
    assert [entry["name"] for entry in files["val.json"]["categories"]] == ["cat", "dog"]
    assert files["import.json"]["splits"] == {"train": 2, "val": 1}

  @pytest.mark.parametrize("data_format", ["yolo", "kitti"])
  @pytest.mark.parametrize("outer", ["labels", "train/labels"])
  def test_what_datumaro_passes_over_in_yolo(self, tmp_path, items, asked, data_format, outer):
    root = tmp_path / "data"
    files = {"a": "0 1 1 1 1", "b": "0 1 1 2 2 3 3", "c": ""}
    images = outer.replace("labels", "images")
    for name, content in files.items():
      for file, text in ((f"{outer}/{name}.txt", content), (f"{images}/{name}.jpg", "")):
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_text(text)
    (root / "data.yaml").write_text("names: {1: cat, 0: dog}\n")
    items.append(_item(root, f"{images}/a", _annotation("Bbox", 0)))
    found = self._run(tmp_path, data_format)
    is_roboflow = data_format == "yolo" and outer == "train/labels"
    assert asked[0][1] == ("roboflow_yolo" if is_roboflow else data_format)
    names = [image["file_name"] for image in found["train.json"]["images"]]
    assert names == [f"{images}/{name}.jpg" for name in ("ca" if is_roboflow else "a")]
    faults = [line.split(": ")[0] for line in found["import.json"]["faults"]]
    assert faults == ([f"{outer}/b.txt", "data.yaml"] if data_format == "yolo" else [])
