"""Tests of images whose objects are annotated for some classes alone: converters to readers."""

import json
import pathlib

import numpy as np
import pytest
import tensorflow as tf

from mtl_ssl_tf.data import coco_json, pascal_voc, schema, sparse_annotations, validate
from mtl_ssl_tf.data.ground_truth import coco_truth, truth_readers
from mtl_ssl_tf.data.records import contents
from mtl_ssl_tf.data.records import writer as record_writer
from mtl_ssl_tf.data.sources import annotated, coco_annotation
from mtl_ssl_tf.data.sparse import protocols
from tests.data import coco_files, voc_files

_NAMES = ["cat", "dog", "cow"]


@pytest.fixture(name="label_map")
def _label_map(tmp_path) -> str:
  path = tmp_path / "classes.txt"
  path.write_text("".join(f"{name}\n" for name in _NAMES))
  return str(path)


def _voc(tmp_path: pathlib.Path, **names: list[str]) -> str:
  """A VOC folder with these images, each with objects of these classes."""
  files = {
    f"{image}.xml": voc_files.annotation_xml([voc_files.object_xml(name) for name in objects])
    for image, objects in names.items()
  }
  return str(voc_files.write(tmp_path / "voc", files))


def _convert_voc(data_dir, label_map, output_dir, *flags) -> int:
  return pascal_voc.main(
    [
      *("--data_dir", data_dir, "--split", "train", "--output_dir", str(output_dir)),
      *("--label_map", label_map, "--num_shards", "1", *flags),
    ]
  )


def _convert_coco(root, label_map, output_dir, *flags) -> int:
  return coco_json.main(
    [
      *("--annotations", str(root / "train.json"), "--image_dir", str(root / "images")),
      *("--split", "train", "--output_dir", str(output_dir), "--label_map", label_map),
      *("--num_shards", "1", *flags),
    ]
  )


def _features(output_dir) -> list[dict[str, tf.train.Feature]]:
  files = sorted(map(str, pathlib.Path(output_dir).glob("train*.tfrecord")))
  records = tf.data.TFRecordDataset(files).as_numpy_iterator()
  return [tf.train.Example.FromString(record).features.feature for record in records]


def _stated(features) -> tuple[list[int], list[bytes]] | None:
  if schema.ANNOTATED_CLASSES not in features:
    assert schema.ANNOTATED_CLASSES_TEXT not in features
    return None
  return (
    list(features[schema.ANNOTATED_CLASSES].int64_list.value),
    list(features[schema.ANNOTATED_CLASSES_TEXT].bytes_list.value),
  )


def _manifest(output_dir) -> dict:
  return json.loads((pathlib.Path(output_dir) / schema.manifest_file("train")).read_text())


def test_the_flag_goes_to_every_record_of_the_source(tmp_path, label_map):
  data_dir = _voc(tmp_path, a=["cow"], b=[])
  assert _convert_voc(data_dir, label_map, tmp_path / "out", "--annotated_classes", "cow, cat") == 0
  # Ascending, whatever the order of the flag; the ids are lines of the label map.
  assert list(map(_stated, _features(tmp_path / "out"))) == [([1, 3], [b"cat", b"cow"])] * 2
  manifest = _manifest(tmp_path / "out")
  assert manifest["num_images_with_annotated_classes"] == 2
  assert manifest["options"]["annotated_classes"] == ["cow", "cat"]


def test_without_the_flag_nothing_is_another(tmp_path, label_map):
  data_dir = _voc(tmp_path, a=["cow"])
  assert _convert_voc(data_dir, label_map, tmp_path / "out") == 0
  (features,) = _features(tmp_path / "out")
  assert _stated(features) is None
  manifest = _manifest(tmp_path / "out")
  assert "annotated_classes" not in manifest["options"]
  assert "num_images_with_annotated_classes" not in manifest


@pytest.mark.parametrize(
  ("flag", "line"),
  [
    (
      "cat,bird",
      "--annotated_classes: 'bird' is no known class; accepted: the classes of {label_map}: cat,"
      " dog, cow",
    ),
    ("cat,", "--annotated_classes is 'cat,', which holds an empty name; accepted: class names"),
    ("", "--annotated_classes is '', which holds an empty name; accepted: class names"),
    ("cat,cat", "--annotated_classes is 'cat,cat', which repeats 'cat'; accepted: class names"),
  ],
)
def test_a_name_that_is_no_class_is_one_line(tmp_path, label_map, flag, line, capfd):
  status = _convert_voc(
    _voc(tmp_path, a=["cat"]), label_map, tmp_path / "out", "--annotated_classes", flag
  )
  errors = capfd.readouterr().err.splitlines()
  assert status == 1
  assert [text for text in errors if line.format(label_map=label_map) in text] == errors[-1:]
  assert not list((tmp_path / "out").glob("*.tfrecord"))


def test_a_name_with_a_comma_is_quoted():
  assert annotated.class_list('cat, "dog, wild"') == ("cat", "dog, wild")


def test_a_box_of_another_class_is_at_fault(tmp_path, label_map, capfd):
  data_dir = _voc(tmp_path, a=["cat", "dog"], b=["cat"])
  flags = ("--annotated_classes", "cat,cow")
  assert _convert_voc(data_dir, label_map, tmp_path / "out", *flags) == 1
  assert (
    "Annotations/a.xml: object 2 ('dog') name: 'dog' is no annotated class of the image; accepted:"
    " its annotated classes: cat, cow" in capfd.readouterr().err
  )
  assert _convert_voc(data_dir, label_map, tmp_path / "out", *flags, "--on_error=skip") == 0
  first, _ = _features(tmp_path / "out")
  assert list(first[schema.OBJECT_TEXT].bytes_list.value) == [b"cat"]
  # Its place is kept as that of any object at fault.
  assert len(first[schema.IGNORED_YMIN].float_list.value) == 1
  assert _manifest(tmp_path / "out")["skipped"]["num_objects"] == 1


def test_coco_images_state_their_own(tmp_path, label_map):
  # Ids as numbers and text, names; 90 is the cow. The last image takes the flag's.
  images = [
    coco_files.image_entry(1, annotated_classes=[90, "3"]),
    coco_files.image_entry(2, annotated_classes=["dog", "dog", 1]),
    coco_files.image_entry(3),
  ]
  root = coco_files.write(
    tmp_path / "coco",
    coco_files.text([coco_files.annotation_entry(image_id=1)], images),
    ["1.jpg", "2.jpg", "3.jpg"],
  )
  assert _convert_coco(root, label_map, tmp_path / "own") == 0
  stated = [([1, 3], [b"cat", b"cow"]), ([2], [b"dog"]), None]
  assert list(map(_stated, _features(tmp_path / "own"))) == stated
  assert _manifest(tmp_path / "own")["num_images_with_annotated_classes"] == 2
  assert _convert_coco(root, label_map, tmp_path / "both", "--annotated_classes", "cow") == 0
  stated[2] = ([3], [b"cow"])
  assert list(map(_stated, _features(tmp_path / "both"))) == stated


def test_a_name_goes_before_an_id():
  categories = {"1": "2", "2": "cat"}
  names, found = coco_annotation.annotated_classes(
    {"annotated_classes": ["2"]}, 1, categories, "train.json"
  )
  assert (names, found) == (("2",), [])
  names, _ = coco_annotation.annotated_classes({"annotated_classes": [2]}, 1, categories, "f")
  assert names == ("cat",)


@pytest.mark.parametrize(
  ("value", "line"),
  [
    ("cat", "'cat'; accepted: a list of ids or names of categories: 1 (dog), 3 (cat), 90 (cow)"),
    ([], "[]; accepted: a list of ids or names"),
    ([3, "bird"], "'bird' is no category; accepted: ids or names of categories: 1 (dog), 3 (cat)"),
    ([True], "True is no category; accepted: ids or names"),
    ([{}], "{} is no category; accepted: ids or names"),
  ],
)
def test_a_bad_field_of_a_coco_image_is_one_line(tmp_path, label_map, value, line, capfd):
  images = [
    coco_files.image_entry(1),
    coco_files.image_entry(2, annotated_classes=value),
  ]
  text = coco_files.text([coco_files.annotation_entry(image_id=1)], images)
  root = coco_files.write(tmp_path / "coco", text, ["1.jpg", "2.jpg"])
  assert _convert_coco(root, label_map, tmp_path / "out") == 1
  told = [text for text in capfd.readouterr().err.splitlines() if "annotated_classes" in text]
  assert len(told) == 1 and told[0].startswith(f"train.json: image 2 annotated_classes: {line}")
  assert _convert_coco(root, label_map, tmp_path / "out", "--on_error=skip") == 0
  assert len(_features(tmp_path / "out")) == 1  # The image is left out whole.
  with pytest.raises(ValueError, match="image 2 annotated_classes"):
    coco_truth.read_coco(root / "train.json")


def test_categories_without_a_class_are_passed_over(tmp_path, capfd):
  label_map = tmp_path / "cats.txt"
  label_map.write_text("cat\n")
  images = [coco_files.image_entry(7, annotated_classes=["dog", "cat"])]
  text = coco_files.text([coco_files.annotation_entry()], images)
  root = coco_files.write(tmp_path / "coco", text)
  assert _convert_coco(root, str(label_map), tmp_path / "out") == 0
  assert _stated(_features(tmp_path / "out")[0]) == ([1], [b"cat"])
  images = [coco_files.image_entry(7), coco_files.image_entry(8, annotated_classes=["dog"])]
  text = coco_files.text([coco_files.annotation_entry()], images)
  root = coco_files.write(tmp_path / "coco", text, ["7.jpg", "8.jpg"])
  assert _convert_coco(root, str(label_map), tmp_path / "out") == 1
  assert (
    "train.json: image 2 annotated_classes: dog, of which none is a known class; accepted: some of"
    f" the classes of {label_map}: cat" in capfd.readouterr().err
  )


def test_another_flag_is_another_conversion(tmp_path, label_map):
  # Shards of one that was stopped are not taken for those of the other.
  data_dir = _voc(tmp_path, a=["cat"])
  out = tmp_path / "out"
  assert _convert_voc(data_dir, label_map, out, "--annotated_classes", "cat") == 0
  assert _convert_voc(data_dir, label_map, out, "--annotated_classes", "cat,dog") == 0
  assert _stated(_features(out)[0]) == ([1, 2], [b"cat", b"dog"])
  assert _convert_voc(data_dir, label_map, out) == 0
  assert _stated(_features(out)[0]) is None


def test_ground_truth_of_records_and_coco_files(tmp_path, label_map):
  images = [coco_files.image_entry(7, annotated_classes=["cow", "cat"]), coco_files.image_entry(8)]
  text = coco_files.text([coco_files.annotation_entry()], images)
  root = coco_files.write(tmp_path / "coco", text, ["7.jpg", "8.jpg"])
  _convert_coco(root, label_map, tmp_path / "out")
  truth = truth_readers.read(str(tmp_path / "out"))
  assert truth.images[0].annotated_classes.tolist() == [1, 3]
  assert truth.images[1].annotated_classes is None
  # The file's own order of classes is that of the category ids: dog, cat, cow.
  truth = truth_readers.read(str(root / "train.json"))
  assert truth.class_names == ("dog", "cat", "cow")
  assert truth.images[0].annotated_classes.tolist() == [2, 3]
  assert truth.images[1].annotated_classes is None
  coco_truth.write_coco(truth, tmp_path / "again.json")
  written = json.loads((tmp_path / "again.json").read_text())["images"]
  assert written[0]["annotated_classes"] == [3, 90]
  assert "annotated_classes" not in written[1]
  again = coco_truth.read_coco(tmp_path / "again.json")
  np.testing.assert_array_equal(again.images[0].annotated_classes, [2, 3])


def test_erasing_keeps_the_field(tmp_path, label_map):
  data_dir = _voc(tmp_path, a=["cat", "cat"])
  _convert_voc(data_dir, label_map, tmp_path / "out", "--annotated_classes", "cat")
  manifest = sparse_annotations.make_split(
    tmp_path / "out", "train", protocols.Protocol("easy"), output_split="train_easy"
  )
  assert manifest["num_images_with_annotated_classes"] == 1
  (record,) = tf.data.TFRecordDataset(
    sorted(map(str, (tmp_path / "out").glob("train_easy-*")))
  ).as_numpy_iterator()
  features = tf.train.Example.FromString(record).features.feature
  assert _stated(features) == ([1], [b"cat"])
  assert len(features[schema.OBJECT_LABEL].int64_list.value) == 1


class TestValidate:
  def _run(self, capfd, *flags) -> list[str]:
    validate.main(list(flags))
    return capfd.readouterr().err.splitlines()

  def test_it_shows_the_images_of_each_class(self, tmp_path, label_map, capfd):
    images = [
      coco_files.image_entry(7, annotated_classes=["cow", "cat"]),
      coco_files.image_entry(8),
    ]
    text = coco_files.text([coco_files.annotation_entry()], images)
    root = coco_files.write(tmp_path / "coco", text, ["7.jpg", "8.jpg"])
    _convert_coco(root, label_map, tmp_path / "out")
    line = "images annotated for some classes only 1; images annotated for cat 2, dog 1, cow 2"
    capfd.readouterr()
    report, sheet = tmp_path / "report.json", tmp_path / "sheet.html"
    told = self._run(
      capfd,
      *("--records", str(tmp_path / "out"), "--report", str(report)),
      *("--contact_sheet", str(sheet)),
    )
    assert any(line in text for text in told)
    assert json.loads(report.read_text())["statistics"]["annotated_classes"] == {
      "num_images": 1,
      "images_per_class": {"cat": 2, "dog": 1, "cow": 2},
    }
    assert "images annotated for each class" in sheet.read_text()
    told = self._run(
      capfd,
      *("--annotations", str(root / "train.json"), "--image_dir", str(root / "images")),
      *("--label_map", label_map),
    )
    assert any(line in text for text in told)

  def test_it_takes_the_flag_before_a_conversion(self, tmp_path, label_map, capfd):
    data_dir = _voc(tmp_path, a=["cat", "dog"])
    flags = ("--data_dir", data_dir, "--split", "train", "--label_map", label_map)
    told = self._run(capfd, *flags, "--annotated_classes", "cat")
    assert any("'dog' is no annotated class of the image" in text for text in told)
    assert any("images annotated for cat 1, dog 0, cow 0" in text for text in told)
    told = self._run(capfd, *flags, "--annotated_classes", "bird")
    assert any("--annotated_classes: 'bird' is no known class" in text for text in told)
    told = self._run(capfd, *flags)
    assert not any("annotated for" in text for text in told)

  @pytest.mark.parametrize(
    ("ids", "texts", "line"),
    [
      ([1, 4], ["cat", "elk"], "annotated_classes: 4; accepted: 1 … 3, the lines of the label map"),
      ([0], ["x"], "annotated_classes: 0; accepted: 1 … 3"),
      ([1, 3], ["cat", "dog"], "text: 'dog', but the label is 3; accepted: 'cow', line 3"),
      ([1, 3], ["cat"], "text: 1 values; accepted: 2, as many as image/annotated_classes, or none"),
      ([3], ["cow"], "has boxes of class 1, which is not among them; accepted: the classes of all"),
    ],
  )
  def test_it_reports_what_is_wrong(self, tmp_path, label_map, ids, texts, line, capfd):
    _convert_voc(_voc(tmp_path, a=["cat"]), label_map, tmp_path / "out")
    (path,) = (tmp_path / "out").glob("train*.tfrecord")
    (record,) = tf.data.TFRecordDataset([str(path)]).as_numpy_iterator()
    example = tf.train.Example.FromString(record)
    example.features.feature[schema.ANNOTATED_CLASSES].int64_list.value.extend(ids)
    example.features.feature[schema.ANNOTATED_CLASSES_TEXT].bytes_list.value.extend(
      text.encode() for text in texts
    )
    with tf.io.TFRecordWriter(str(path)) as writer:
      writer.write(record_writer.serialize(example))
    capfd.readouterr()
    told = self._run(capfd, "--records", str(tmp_path / "out"))
    assert any(f"image/{part}" in text for text in told for part in _places(line))
    if not line.startswith(("text:", "has boxes")):  # Those train as they are.
      values, found = contents.read(record_writer.serialize(example))
      assert list(contents.problems(values, found, 3))


def _places(line: str) -> list[str]:
  """A line as it stands behind the name of either feature."""
  return [line, f"annotated_classes/{line}", f"annotated_classes: {line}"]


def test_ids_and_names_are_written_together():
  example = record_writer.make_example(
    encoded=b"x",
    image_format="png",
    height=1,
    width=1,
    filename="a",
    source_id="a",
    boxes_orig=[],
    class_ids=[],
    class_names=[],
    difficult=[],
    truncated=[],
    annotated_classes={7: "cow", 2: "dog"},
  )
  assert _stated(example.features.feature) == ([2, 7], [b"dog", b"cow"])


def test_no_class_at_all_is_refused():
  # A record cannot say so: a list without an entry is one that is not there.
  with pytest.raises(ValueError, match=r"^--annotated_classes is empty; accepted: at least one"):
    annotated.BoxRules(annotated_classes=())
