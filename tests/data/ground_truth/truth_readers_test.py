"""The same objects from records, a VOC folder and a COCO file; and what is no ground truth."""

import json

import numpy as np
import pytest
import tensorflow as tf

from mtl_ssl_tf.data import faults, schema
from mtl_ssl_tf.data.ground_truth import coco_truth, truth_readers
from tests import fixtures

BOXES = [[4, 8, 24, 40], [0, 0, 48, 64], [10, 10, 11, 11]]


@pytest.fixture(name="records")
def _records(tmp_path):
  """Two shards: an image with a difficult object and a crowd, and one without objects."""
  image = fixtures.noise_image(48, 64)
  examples = [
    fixtures.serialized_example(
      image, BOXES, [2, 1, 2], [0, 1, 0], is_crowd=[1, 0, 0], source_id="7"
    ),
    fixtures.serialized_example(image, source_id="12"),
  ]
  for number, example in enumerate(examples):
    fixtures.write_records(tmp_path / schema.shard_file("val", number, 2), [example])
  (tmp_path / "label_map.txt").write_text("cat\ndog\n")
  return tmp_path


class TestRecords:
  def test_objects(self, records):
    truth = truth_readers.read(str(records / "val-*.tfrecord"))
    assert truth.source == str(records / "val-*.tfrecord")
    assert truth.class_names == ("cat", "dog")
    assert truth.category_ids == (1, 2)
    first, second = truth.images
    assert (first.image_id, first.file_name, first.size) == ("7", "7.png", (48, 64))
    np.testing.assert_allclose(first.boxes.corners, BOXES)
    np.testing.assert_allclose(first.boxes.xywh[0], [8, 4, 32, 20])
    np.testing.assert_array_equal(first.classes, [2, 1, 2])
    np.testing.assert_array_equal(first.difficult, [False, True, False])
    np.testing.assert_array_equal(first.is_crowd, [True, False, False])
    np.testing.assert_allclose(first.areas, [640, 3072, 1])
    assert second.image_id == "12" and len(second.classes) == 0
    assert truth.coco_image_ids == (7, 12)

  def test_numbers_are_those_of_the_input_pipeline(self, tmp_path):
    # Boxes whose fractions float32 cannot hold.
    rng = np.random.default_rng(0)
    corner = rng.uniform(0, 20, [30, 2])
    boxes = np.concatenate([corner, corner + rng.uniform(1, 20, [30, 2])], axis=1)
    boxes[0, 3] = 99.0  # Cut at the image's border.
    boxes[3, 2] = boxes[3, 0]  # No area, and left out.
    example = fixtures.serialized_example(fixtures.noise_image(37, 53), boxes, [1] * 30)
    path = fixtures.write_records(tmp_path / "a.tfrecord", [example])
    (tmp_path / "label_map.txt").write_text("cat\n")
    dataset = fixtures.make_dataset(
      path,
      global_batch_size=1,
      is_training=False,
      input_size=(60, 60),
      short_side=30,
      long_side=60,
    )
    _, labels = next(iter(dataset))
    truth = truth_readers.read(path)
    corners = truth.images[0].boxes.corners
    np.testing.assert_array_equal(corners, labels["gt_boxes_orig"][0, :29])
    assert labels["gt_classes"][0, 29] == -1

  def test_area_of_the_record(self, tmp_path):
    # The first box is none, and left out with its number.
    boxes = [[4, 8, 4, 40], BOXES[0]]
    example = tf.train.Example.FromString(
      fixtures.serialized_example(fixtures.noise_image(48, 64), boxes, [1, 1])
    )
    example.features.feature[schema.OBJECT_AREA].float_list.value.extend([7.0, 321.0])
    path = fixtures.write_records(tmp_path / "a.tfrecord", [example.SerializeToString()])
    (tmp_path / "label_map.txt").write_text("cat\n")
    np.testing.assert_array_equal(truth_readers.read(path).images[0].areas, [321.0])

  def test_category_ids_of_the_manifest(self, records):
    manifest = {
      "category_ids": {"cat": 17, "dog": 18},
      "shards": [{"file": "val-00000-of-00002.tfrecord"}],
    }
    (records / "manifest_val.json").write_text(json.dumps(manifest))
    other = {"category_ids": {"cat": 3, "dog": 4}, "shards": [{"file": "train.tfrecord"}]}
    (records / "manifest_train.json").write_text(json.dumps(other))
    truth = truth_readers.read(str(records / "val-*.tfrecord"))
    assert truth.category_ids == (17, 18)

  def test_a_manifest_without_one_of_the_classes(self, records):
    manifest = {"category_ids": {"cat": 17}, "shards": [{"file": "val-00000-of-00002.tfrecord"}]}
    (records / "manifest_val.json").write_text(json.dumps(manifest))
    assert truth_readers.read(str(records / "val-*.tfrecord")).category_ids == (1, 2)

  def test_label_map_elsewhere(self, records):
    (records / "label_map.txt").rename(records / "classes.txt")
    pattern = str(records / "val-*.tfrecord")
    truth = truth_readers.read(pattern, label_map_file=str(records / "classes.txt"))
    assert truth.class_names == ("cat", "dog")
    with pytest.raises(ValueError, match=r"no label map .*label_map.txt; accepted: --label_map"):
      truth_readers.read(pattern)


def read_fault(*args, **options) -> str:
  with pytest.raises(faults.FaultError) as error:
    truth_readers.read(*args, **options)
  return str(error.value)


class TestFaultyRecords:
  def write(self, tmp_path, *examples, label_map="cat\n"):
    (tmp_path / "label_map.txt").write_text(label_map)
    return fixtures.write_records(tmp_path / "a.tfrecord", examples)

  def example(self, **features):
    example = tf.train.Example.FromString(
      fixtures.serialized_example(fixtures.noise_image(8, 8), [[0, 0, 4, 4]], [1])
    )
    for name in features.get("without", ()):
      del example.features.feature[name]
    return example.SerializeToString()

  def test_no_example(self, tmp_path):
    path = self.write(tmp_path, self.example(), b"\xff\xff")
    assert read_fault(path) == (
      f"{path}: record 1: tf.Example: 2 bytes that are none; accepted: a serialized tf.Example of"
      " an image"
    )

  def test_missing_features(self, tmp_path):
    path = self.write(tmp_path, self.example(without=[schema.IMAGE_SOURCE_ID]))
    assert read_fault(path).startswith(f"{path}: record 0: image/source_id: missing or empty;")
    path = self.write(tmp_path, self.example(without=[schema.OBJECT_XMAX]))
    assert read_fault(path) == (
      f"{path}: record 0: image/object/bbox/xmax: 0 values; accepted: 1, as many as"
      " image/object/class/label"
    )

  def test_class_beyond_the_label_map(self, tmp_path):
    image = fixtures.noise_image(8, 8)
    path = self.write(tmp_path, fixtures.serialized_example(image, [[0, 0, 4, 4]], [2]))
    assert read_fault(path) == (
      f"{path}: record 0: object 1 image/object/class/label: 2; accepted: 1 … 1, the lines of the"
      " label map"
    )

  def test_image_twice(self, tmp_path):
    path = self.write(tmp_path, self.example(), self.example())
    assert read_fault(path) == (
      f"{path}: image/source_id: 'a' comes twice; accepted: each image once, not for 'a.png' and"
      " for 'a.png'"
    )

  @pytest.mark.parametrize(
    ("name", "kind", "values", "problem"),
    [
      (schema.IMAGE_ENCODED, "bytes_list", [], "missing or empty"),
      (schema.IMAGE_SOURCE_ID, "bytes_list", [b""], "missing or empty"),
      (schema.IMAGE_SOURCE_ID, "bytes_list", [b"a", b"b"], "2 values"),
      (schema.IMAGE_HEIGHT, "int64_list", [8, 8], "2 values"),
      (schema.OBJECT_LABEL, "float_list", [1.0], "a list of numbers"),
      (schema.OBJECT_LABEL, "int64_list", [0], "0"),
      (schema.OBJECT_YMIN, "int64_list", [0], "a list of whole numbers"),
      (schema.OBJECT_YMIN, "float_list", [0.0, 0.0], "2 values"),
      (schema.OBJECT_XMAX, "float_list", [float("nan")], "nan"),
      (schema.OBJECT_XMAX, "float_list", [float("inf")], "inf"),
      (schema.OBJECT_DIFFICULT, "int64_list", [0, 1], "2 values"),
      (schema.OBJECT_IS_CROWD, "int64_list", [0, 1], "2 values"),
      (schema.OBJECT_IS_CROWD, "bytes_list", [b"0"], "a list of bytes"),
      (schema.OBJECT_AREA, "float_list", [1.0, 2.0], "2 values"),
      (schema.OBJECT_AREA, "float_list", [float("inf")], "inf"),
      (schema.IGNORED_XMIN, "float_list", [0.5], "1 values"),
    ],
  )
  def test_what_training_refuses(self, tmp_path, name, kind, values, problem):
    example = tf.train.Example.FromString(self.example())
    example.features.feature[name].Clear()
    getattr(example.features.feature[name], kind).value.extend(values)
    path = self.write(tmp_path, example.SerializeToString())
    message = read_fault(path).split("\n")[0]
    assert f"{name}: {problem}; accepted: " in message
    with pytest.raises(ValueError, match="record 0: ") as error:
      fixtures.make_dataset(path, global_batch_size=1, is_training=True)
    assert str(error.value).startswith(message.split("; accepted")[0])

  @pytest.mark.parametrize("name", [schema.OBJECT_TEXT, schema.OBJECT_ID, schema.OBJECT_TRUNCATED])
  def test_what_neither_uses(self, tmp_path, name):
    example = tf.train.Example.FromString(self.example())
    example.features.feature[name].float_list.value.extend([1.0, 2.0])
    path = self.write(tmp_path, example.SerializeToString())
    assert len(truth_readers.read(path).images[0].classes) == 1
    fixtures.make_dataset(path, global_batch_size=1, is_training=True)

  def test_a_size_that_is_not_the_image_s(self, tmp_path):
    example = tf.train.Example.FromString(self.example())
    height = example.features.feature[schema.IMAGE_HEIGHT].int64_list
    height.value[:] = [9]
    path = self.write(tmp_path, example.SerializeToString())
    assert read_fault(path) == (
      f"{path}: record 0: image/height: 9; accepted: 8, as the image has it"
    )
    del height.value[:]  # As in training, the image's own counts then.
    path = self.write(tmp_path, example.SerializeToString())
    assert truth_readers.read(path).images[0].size == (8, 8)

  def test_no_image_to_read(self, tmp_path):
    example = tf.train.Example.FromString(self.example())
    example.features.feature[schema.IMAGE_ENCODED].bytes_list.value[:] = [b"<html></html>"]
    path = self.write(tmp_path, example.SerializeToString())
    assert read_fault(path) == (
      f"{path}: record 0: image/encoded: damaged, or no image; accepted: a whole JPEG or PNG image"
    )

  def test_no_records(self, tmp_path):
    path = self.write(tmp_path)
    with pytest.raises(ValueError, match=f"^--ground_truth {path}: no records in {path}; accepted"):
      truth_readers.read(path)

  def test_damaged(self, tmp_path):
    path = self.write(tmp_path, self.example(), self.example())
    content = bytearray((tmp_path / "a.tfrecord").read_bytes())
    content[-20] ^= 1
    (tmp_path / "a.tfrecord").write_bytes(content)
    assert read_fault(path) == f"{path}: record 1: damaged; accepted: a whole TFRecord file"

  def test_what_is_wrong_in_a_second_file(self, tmp_path):
    one, two = self.example(), tf.train.Example.FromString(self.example())
    two.features.feature[schema.IMAGE_FILENAME].bytes_list.value[:] = [b"b.png"]
    first = self.write(tmp_path, one)
    second = fixtures.write_records(tmp_path / "b.tfrecord", [two.SerializeToString()])
    with pytest.raises(faults.FaultError) as error:
      truth_readers.read_records([first, second])
    assert str(error.value) == (
      f"{first}, {second}: image/source_id: 'a' comes twice; accepted: each image once, not for"
      " 'a.png' and for 'b.png'"
    )
    content = bytearray((tmp_path / "b.tfrecord").read_bytes())
    content[-20] ^= 1
    (tmp_path / "b.tfrecord").write_bytes(content)
    with pytest.raises(faults.FaultError) as error:
      truth_readers.read_records([first, second])
    assert str(error.value) == f"{second}: record 0: damaged; accepted: a whole TFRecord file"

  @pytest.mark.parametrize("number", [1, 11])
  def test_bytes_behind_the_last_record(self, tmp_path, number):
    path = self.write(tmp_path, self.example())
    with (tmp_path / "a.tfrecord").open("ab") as file:
      file.write(b"\x01" * number)
    with pytest.raises(ValueError, match=r"a\.tfrecord: is cut short in record 1; its length is"):
      truth_readers.read(path)

  def test_nothing_there(self, tmp_path):
    with pytest.raises(ValueError) as error:
      truth_readers.read(str(tmp_path / "none-*"))
    assert str(error.value) == (
      f"--ground_truth {tmp_path}/none-*: no record files match '{tmp_path}/none-*'; accepted: a"
      " COCO annotation file (*.json), a VOC folder together with --split, or record files"
      " (*.tfrecord, a folder or a pattern of them)"
    )


ANNOTATION = """<annotation><filename>{name}.jpg</filename>
<size><height>48</height><width>64</width></size>{objects}</annotation>"""
OBJECT = """<object><name>{name}</name><difficult>{difficult}</difficult><bndbox><xmin>{xmin}</xmin>
<ymin>{ymin}</ymin><xmax>{xmax}</xmax><ymax>{ymax}</ymax></bndbox></object>"""


@pytest.fixture(name="voc")
def _voc(tmp_path):
  for folder in ("Annotations", "JPEGImages", "ImageSets/Main"):
    (tmp_path / folder).mkdir(parents=True)
  (tmp_path / "ImageSets/Main/val.txt").write_text("000012\nempty\n")
  write_annotation(tmp_path, "000012", ("dog", 0, 8, 4, 40, 24), ("cat", 1, 0, 0, 65, 48))
  write_annotation(tmp_path, "empty")
  return tmp_path


def write_annotation(folder, name, *objects):
  keys = ("name", "difficult", "xmin", "ymin", "xmax", "ymax")
  text = "".join(OBJECT.format(**dict(zip(keys, entry, strict=True))) for entry in objects)
  path = folder / "Annotations" / f"{name}.xml"
  path.write_text(ANNOTATION.format(name=name, objects=text))


class TestVoc:
  def test_objects(self, voc):
    truth = truth_readers.read(str(voc), split="val")
    assert truth.class_names == ("cat", "dog")
    first, second = truth.images
    assert (first.image_id, first.file_name, first.size) == ("000012", "000012.jpg", (48, 64))
    assert (truth.source, truth.category_ids) == (f"{voc} val", (1, 2))
    # As they stand, though one reaches out of the image.
    np.testing.assert_array_equal(first.boxes.corners, [[4, 8, 24, 40], [0, 0, 48, 65]])
    np.testing.assert_array_equal(first.classes, [2, 1])
    np.testing.assert_array_equal(first.difficult, [False, True])
    assert not first.is_crowd.any()
    np.testing.assert_array_equal(first.areas, [640, 3120])
    assert len(second.classes) == 0
    assert truth.coco_image_ids == ("000012", "empty")

  def test_label_map(self, voc, tmp_path):
    (tmp_path / "classes.txt").write_text("dog\ncat\nowl\n")
    options = {"split": "val", "label_map_file": str(tmp_path / "classes.txt")}
    truth = truth_readers.read(str(voc), **options)
    np.testing.assert_array_equal(truth.images[0].classes, [1, 2])
    (tmp_path / "classes.txt").write_text("dog\n")
    message = read_fault(str(voc), **options)
    assert message.startswith("Annotations/000012.xml: object 2 ('cat') name: 'cat' is unknown;")

  def test_faults_stop_or_are_left_out(self, voc, capsys):
    write_annotation(voc, "000012", ("dog", 0, 8, 4, 8, 24), ("cat", 1, 0, 0, 64, 48))
    (voc / "Annotations/empty.xml").write_text("no xml")
    message = read_fault(str(voc), split="val")
    assert "object 1 ('dog') bndbox/xmax: 8; accepted: more than xmin 8" in message
    assert "Annotations/empty.xml: xml: malformed" in message
    truth = truth_readers.read(str(voc), split="val", on_error="skip")
    assert [image.image_id for image in truth.images] == ["000012"]
    assert truth.class_names == ("cat",)
    logged = capsys.readouterr().err.splitlines()
    assert len(logged) == 2 and all(line.startswith("left out: Annotations/") for line in logged)

  def test_objects_of_unknown_classes_can_be_left_out(self, voc, tmp_path, capsys):
    (tmp_path / "classes.txt").write_text("dog\n")
    options = {"label_map_file": str(tmp_path / "classes.txt"), "on_error": "skip"}
    truth = truth_readers.read(str(voc), split="val", **options)
    assert [image.classes.tolist() for image in truth.images] == [[1], []]
    np.testing.assert_array_equal(truth.images[0].boxes.corners, [[4, 8, 24, 40]])
    (logged,) = capsys.readouterr().err.splitlines()
    assert logged.startswith("left out: Annotations/000012.xml: object 2 ('cat') name: 'cat' is un")

  def test_an_annotation_at_fault_as_a_whole_is_left_out_with_its_image(self, voc):
    path = voc / "Annotations/000012.xml"
    path.write_text(path.read_text().replace("<size>", "<polygon><x>1</x></polygon><size>"))
    truth = truth_readers.read(str(voc), split="val", on_error="skip")
    assert [image.image_id for image in truth.images] == ["empty"]

  def test_a_list_at_fault(self, voc):
    (voc / "ImageSets/Main/val.txt").write_text("000012\nempty\n000012\n")
    assert "val.txt: line 3: '000012' repeats line 1" in read_fault(str(voc), split="val")
    truth = truth_readers.read(str(voc), split="val", on_error="skip")
    assert [image.image_id for image in truth.images] == ["000012", "empty"]

  def test_split_is_needed(self, voc):
    with pytest.raises(ValueError, match=r"is a VOC folder; accepted: together with --split"):
      truth_readers.read(str(voc))
    with pytest.raises(ValueError, match=r"--split test: no file ImageSets/Main/test.txt"):
      truth_readers.read(str(voc), split="test")

  def test_no_whole_folder(self, tmp_path):
    (tmp_path / "Annotations").mkdir()
    with pytest.raises(ValueError, match=r"^--ground_truth .*: no folder JPEGImages"):
      truth_readers.read(str(tmp_path), split="val")

  def test_no_class(self, voc):
    (voc / "ImageSets/Main/val.txt").write_text("empty\n")
    with pytest.raises(ValueError, match="val: no object to collect classes from"):
      truth_readers.read(str(voc), split="val")


def test_arguments_without_use(voc, records):
  with pytest.raises(ValueError, match="--split val: has no use here; accepted: with a VOC"):
    truth_readers.read(str(records / "val-*.tfrecord"), split="val")
  for flag in ({"split": "val"}, {"label_map_file": "a.txt"}):
    with pytest.raises(ValueError, match=r"has no use here"):
      truth_readers.read("a.json", **flag)


@pytest.mark.parametrize("name", ["truth.json", "truth.JSON"])
def test_coco_file_of_the_records_holds_the_same(records, tmp_path, name):
  truth = truth_readers.read(str(records / "val-*.tfrecord"))
  coco_truth.write_coco(truth, tmp_path / name)
  again = truth_readers.read(str(tmp_path / name))
  assert again.class_names == truth.class_names
  for one, other in zip(truth.images, again.images, strict=True):
    assert (one.image_id, one.file_name, one.size) == (other.image_id, other.file_name, other.size)
    for name in ("classes", "difficult", "is_crowd", "areas"):
      np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    np.testing.assert_array_equal(one.boxes.xywh, other.boxes.xywh)
