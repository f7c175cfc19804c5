"""Tests of one image with its annotation becoming a record."""

import hashlib
import pathlib

import numpy as np
import pytest
import tensorflow as tf
from official.vision.dataloaders import tf_example_decoder
from PIL import Image

from mtl_ssl_tf.data import schema
from mtl_ssl_tf.data.records import examples, summaries
from mtl_ssl_tf.data.sources import annotated, split_source, voc_folder, voc_source
from tests.data import voc_files

_CLASS_IDS = {"cat": 1, "dog": 2}


def _convert(root: pathlib.Path, files: dict[str, bytes], stem: str = "a") -> summaries.Converted:
  """What becomes of the image `stem` of these files."""
  folder = voc_folder.VocFolder(voc_files.write(root, files))
  source = voc_source.read_image(folder, stem)
  return examples.convert_example(folder.read, source, _CLASS_IDS, "of classes.txt")


def _faults(converted: summaries.Converted) -> list[str]:
  return [str(fault) for fault in converted.faults]


def _decode(converted: summaries.Converted) -> dict[str, np.ndarray]:
  decoded = tf_example_decoder.TfExampleDecoder().decode(converted.example.SerializeToString())
  return {name: value.numpy() for name, value in decoded.items()}


def _boxes(converted: summaries.Converted) -> np.ndarray:
  """In pixels of the stored image."""
  decoded = _decode(converted)
  height, width = decoded["height"], decoded["width"]
  return decoded["groundtruth_boxes"] * [height, width, height, width]


class TestSound:
  def test_model_garden_reads_the_record(self, tmp_path):
    content = voc_files.image_bytes(voc_files.picture(20, 40))
    objects = [
      voc_files.object_xml("dog", {"xmin": 4, "ymin": 5, "xmax": 40, "ymax": 20}, difficult=1),
      voc_files.object_xml("cat", {"xmin": 0, "ymin": 0, "xmax": 12.5, "ymax": 10}, truncated=1),
    ]
    files = {"a.xml": voc_files.annotation_xml(objects), "a.jpg": content}
    converted = _convert(tmp_path, files)
    assert converted.faults == ()
    assert converted.notes == ()
    assert converted.hashes == {
      "Annotations/a.xml": hashlib.sha256(files["a.xml"]).hexdigest(),
      "JPEGImages/a.jpg": hashlib.sha256(content).hexdigest(),
    }
    decoded = _decode(converted)
    assert decoded["source_id"] == b"a"
    assert (decoded["height"], decoded["width"]) == (20, 40)
    np.testing.assert_array_equal(decoded["image"], tf.io.decode_jpeg(content))
    np.testing.assert_allclose(
      decoded["groundtruth_boxes"], [[0.25, 0.1, 1, 1], [0, 0, 0.5, 0.3125]]
    )
    assert decoded["groundtruth_classes"].tolist() == [2, 1]
    assert decoded["groundtruth_area"].tolist() == [36 * 15, 125]
    feature = converted.example.features.feature
    assert feature[schema.IMAGE_FILENAME].bytes_list.value == [b"a.jpg"]
    assert feature[schema.OBJECT_DIFFICULT].int64_list.value == [1, 0]
    assert feature[schema.OBJECT_TRUNCATED].int64_list.value == [0, 1]
    assert feature[schema.OBJECT_ID].int64_list.value == [0, 1]

  def test_an_image_without_objects_is_kept(self, tmp_path):
    converted = _convert(tmp_path, {"a.xml": voc_files.annotation_xml()})
    assert converted.faults == ()
    assert _decode(converted)["groundtruth_boxes"].shape == (0, 4)

  def test_no_size(self, tmp_path):
    for size in (None, (0, 0)):
      files = {"a.xml": voc_files.annotation_xml([voc_files.object_xml()], size)}
      converted = _convert(tmp_path, files)
      assert converted.notes == ("size_missing",)
      np.testing.assert_allclose(_boxes(converted), [[4, 2, 14, 12]], atol=1e-5)

  def test_a_size_that_is_no_number(self, tmp_path):
    annotation = voc_files.annotation_xml([voc_files.object_xml()])
    annotation = annotation.replace(b"<width>40</width>", b"<width>40 px</width>")
    converted = _convert(tmp_path, {"a.xml": annotation})
    assert (converted.faults, converted.notes) == ((), ("size_unreadable",))

  def test_a_box_a_little_outside_is_cut(self, tmp_path):
    box = {"xmin": -3, "ymin": 0, "xmax": 43, "ymax": 22}
    objects = [voc_files.object_xml(box=box), voc_files.object_xml()]
    converted = _convert(tmp_path, {"a.xml": voc_files.annotation_xml(objects)})
    assert converted.faults == ()
    assert converted.notes == ("boxes_clipped",)
    assert _decode(converted)["groundtruth_boxes"][0].tolist() == [0, 0, 1, 1]

  @pytest.mark.parametrize("filename", ["a.jpg", "a.JPG", "a", None])
  def test_file_name_that_agrees(self, tmp_path, filename):
    converted = _convert(tmp_path, {"a.xml": voc_files.annotation_xml(filename=filename)})
    assert converted.notes == ()

  def test_file_name_that_differs_is_noted(self, tmp_path):
    files = {"a.xml": voc_files.annotation_xml(filename="b.jpg")}
    converted = _convert(
      tmp_path, files | {"a.png": voc_files.image_bytes(Image.new("RGB", (40, 20)))}
    )
    assert converted.faults == ()
    assert converted.notes == ("filename_differs",)
    assert "JPEGImages/a.png" in converted.hashes

  def test_file_name_of_another_picture_is_a_fault(self, tmp_path):
    files = {"a.xml": voc_files.annotation_xml(filename="b.jpg"), "b.jpg": b"not read"}
    converted = _convert(
      tmp_path, files | {"a.png": voc_files.image_bytes(Image.new("RGB", (40, 20)))}
    )
    assert _faults(converted) == [
      "Annotations/a.xml: filename: 'b.jpg' is another picture, which exists;"
      " accepted: the name of JPEGImages/a.png"
    ]
    assert converted.example is None

  def test_image_that_only_the_annotation_names(self, tmp_path):
    files = {"a.xml": voc_files.annotation_xml(filename="b.jpg"), "b.xml": b""}
    voc_files.write(tmp_path, files)
    (tmp_path / "JPEGImages/a.jpg").unlink()
    folder = voc_folder.VocFolder(tmp_path)
    source = voc_source.read_image(folder, "a")
    converted = examples.convert_example(folder.read, source, _CLASS_IDS, "")
    assert converted.notes == ("image_named_by_annotation",)
    feature = converted.example.features.feature
    assert feature[schema.IMAGE_FILENAME].bytes_list.value == [b"b.jpg"]
    assert feature[schema.IMAGE_SOURCE_ID].bytes_list.value == [b"a"]

  def test_converted_image(self, tmp_path):
    gray = voc_files.image_bytes(voc_files.picture(20, 40).convert("L"), "PNG")
    files = {"a.xml": voc_files.annotation_xml([voc_files.object_xml()]), "a.jpg": gray}
    converted = _convert(tmp_path, files)
    assert converted.notes == ("image_reencoded",)
    feature = converted.example.features.feature
    assert feature[schema.IMAGE_FORMAT].bytes_list.value == [b"png"]
    stored = feature[schema.IMAGE_ENCODED].bytes_list.value[0]
    digest = hashlib.sha256(stored).hexdigest().encode()
    assert feature[schema.IMAGE_SHA256].bytes_list.value == [digest]


class TestTurnedImages:
  def _convert(self, root, orientation, size, box, stored_shape=(20, 40)):
    content = voc_files.image_bytes(
      voc_files.picture(*stored_shape), exif=voc_files.exif(orientation)
    )
    annotation = voc_files.annotation_xml([voc_files.object_xml(box=box)], size)
    return _convert(root, {"a.xml": annotation, "a.jpg": content})

  def test_boxes_of_the_stored_raster_turn_with_it(self, tmp_path):
    # Stored 20 high, 40 wide; displayed a quarter turn to the right: 40 high, 20 wide. What was
    # 12 … 14 from the top is then 6 … 8 from the left; 30 … 39 from the left stays, from the top.
    box = {"xmin": 30, "ymin": 12, "xmax": 39, "ymax": 14}
    converted = self._convert(tmp_path, 6, (20, 40), box)
    np.testing.assert_allclose(_boxes(converted), [[30, 6, 39, 8]], atol=1e-5)
    assert converted.notes == ("image_reencoded", "boxes_turned_upright")

  @pytest.mark.parametrize(
    ("orientation", "expected"),
    [(5, [30, 12, 39, 14]), (6, [30, 6, 39, 8]), (7, [1, 6, 10, 8]), (8, [1, 12, 10, 14])],
  )
  def test_every_quarter_turn(self, tmp_path, orientation, expected):
    box = {"xmin": 30, "ymin": 12, "xmax": 39, "ymax": 14}
    converted = self._convert(tmp_path, orientation, (20, 40), box)
    np.testing.assert_allclose(_boxes(converted), [expected], atol=1e-5)
    assert converted.notes == ("image_reencoded", "boxes_turned_upright")

  def test_boxes_of_the_upright_image_stay(self, tmp_path):
    box = {"xmin": 6, "ymin": 30, "xmax": 8, "ymax": 39}
    for size in ((40, 20), None):
      converted = self._convert(tmp_path, 6, size, box)
      np.testing.assert_allclose(_boxes(converted), [[30, 6, 39, 8]], atol=1e-5)
      assert converted.notes[-1] == "boxes_taken_as_upright"

  @pytest.mark.parametrize(
    ("orientation", "shape"), [(2, (20, 40)), (3, (20, 40)), (4, (20, 40)), (6, (30, 30))]
  )
  def test_where_the_size_does_not_tell_boxes_are_upright(self, tmp_path, orientation, shape):
    converted = self._convert(tmp_path, orientation, shape, {}, shape)
    np.testing.assert_allclose(_boxes(converted), [[4, 2, 14, 12]], atol=1e-5)
    assert converted.notes == ("image_reencoded", "boxes_taken_as_upright")

  def test_limits_are_those_of_the_annotated_raster(self, tmp_path):
    converted = self._convert(tmp_path, 8, (20, 40), {"xmax": 45})
    assert "bndbox/xmax: 45 lies outside the image of 40 x 20" in _faults(converted)[0]

  def test_another_size_is_a_fault(self, tmp_path):
    assert "size: 41 x 20 (width x height)" in _faults(self._convert(tmp_path, 6, (20, 41), {}))[0]


class TestRegions:
  def _convert(self, root, *objects, **options):
    voc_files.write(root, {"a.xml": voc_files.annotation_xml(objects, **options)})
    return voc_source.open_split(root, "train").with_classes(["cat", "dog"], "given")

  def _regions(self, source, **rules):
    converted = examples.convert(source, 0, annotated.BoxRules(**rules))
    assert converted.faults
    if converted.example is None:
      assert "faulty_without_place" in converted.notes
      return None
    sides = [converted.example.features.feature[key] for key in schema.IGNORED_BOX]
    boxes = np.array([side.float_list.value for side in sides]).T
    assert ("regions_ignored" in converted.notes) == bool(len(boxes))
    return (boxes * [20, 40, 20, 40]).round(3).tolist()

  @pytest.mark.parametrize(
    ("name", "changes", "region"),
    [
      ("cow", {}, [4, 2, 14, 12]),
      ("cat", {"xmax": 99}, [4, 2, 14, 40]),
      ("cat", {"xmin": 99, "xmax": 2}, [4, 2, 14, 40]),
      ("cow", {"xmin": 99, "xmax": 200}, None),
      ("cow", {"xmin": "x"}, None),
      ("cat", {"xmin": 50, "xmax": 50}, None),
      ("cat", {"ymin": -9, "ymax": -9}, None),
      ("cow", {"xmin": 0.1, "ymin": 0.2, "xmax": 0.8, "ymax": 0.5}, None),
      ("cow", {"ymax": "nan"}, None),
    ],
  )
  def test_the_place_of_a_faulty_object_is_no_background(self, tmp_path, name, changes, region):
    source = self._convert(tmp_path, voc_files.object_xml(), voc_files.object_xml(name, changes))
    assert self._regions(source) == (None if region is None else [region])
    assert self._regions(source, ignore_faulty=False) is None

  @pytest.mark.parametrize("changes", [{"xmax": 2}, {"ymax": 4}])
  def test_a_box_that_encloses_nothing_marks_no_region(self, tmp_path, changes):
    objects = [voc_files.object_xml(), voc_files.object_xml("cat", changes)]
    assert self._regions(self._convert(tmp_path, *objects)) == []

  def test_records_without_faults_are_as_before(self, tmp_path):
    converted = examples.convert(self._convert(tmp_path, voc_files.object_xml()), 0)
    assert not set(schema.IGNORED_BOX) & set(converted.example.features.feature)

  def test_regions_turn_with_the_image(self, tmp_path):
    content = voc_files.image_bytes(voc_files.picture(20, 40), exif=voc_files.exif(6))
    objects = [voc_files.object_xml("cow", {"xmin": 30, "ymin": 12, "xmax": 39, "ymax": 14})]
    annotation = voc_files.annotation_xml(objects, (20, 40))
    voc_files.write(tmp_path, {"a.xml": annotation, "a.jpg": content})
    source = voc_source.open_split(tmp_path, "train").with_classes(["cat"], "given")
    feature = examples.convert(source, 0).example.features.feature
    box = [feature[key].float_list.value[0] for key in schema.IGNORED_BOX]
    np.testing.assert_allclose(box, [30 / 40, 6 / 20, 39 / 40, 8 / 20], atol=1e-6)


class TestFaults:
  def test_unknown_class_leaves_the_object_out(self, tmp_path):
    objects = [voc_files.object_xml("Cat"), voc_files.object_xml("dog")]
    converted = _convert(tmp_path, {"a.xml": voc_files.annotation_xml(objects)})
    assert _faults(converted) == [
      "Annotations/a.xml: object 1 ('Cat') name: 'Cat' is no known class;"
      " accepted: the classes of classes.txt: cat, dog"
    ]
    assert converted.example is None  # Its place is not handed over here.
    assert converted.notes == ("faulty_without_place",)

  def test_box_outside_leaves_the_object_out(self, tmp_path):
    objects = [voc_files.object_xml("cat", {"xmax": 44}), voc_files.object_xml("dog")]
    converted = _convert(tmp_path, {"a.xml": voc_files.annotation_xml(objects)})
    assert _faults(converted) == [
      "Annotations/a.xml: object 1 ('cat') bndbox/xmax: 44 lies outside the image of 40 x 20"
      " (width x height); accepted: -3 … 43"
    ]
    assert converted.example is None

  @pytest.mark.parametrize("size", [(40, 20), (20, 41)])
  def test_size_that_contradicts_the_image(self, tmp_path, size):
    converted = _convert(tmp_path, {"a.xml": voc_files.annotation_xml(size=size)})
    assert _faults(converted) == [
      f"Annotations/a.xml: size: {size[1]} x {size[0]} (width x height);"
      " accepted: 40 x 20, the size of JPEGImages/a.jpg"
    ]
    assert converted.example is None

  @pytest.mark.parametrize("filename", ["../a.jpg", "images/a.jpg", r"C:\data\a.jpg"])
  def test_folders_in_the_file_name_do_not_matter(self, tmp_path, filename):
    converted = _convert(tmp_path, {"a.xml": voc_files.annotation_xml(filename=filename)})
    assert not converted.faults
    assert not converted.notes

  def test_damaged_image(self, tmp_path):
    content = voc_files.image_bytes(voc_files.picture(20, 40))[:-9]
    converted = _convert(tmp_path, {"a.xml": voc_files.annotation_xml(), "a.jpg": content})
    assert len(converted.faults) == 1
    assert _faults(converted)[0].startswith("JPEGImages/a.jpg: image: damaged or truncated")
    assert converted.example is None

  def test_missing_files(self, tmp_path):
    converted = _convert(tmp_path, {"b.xml": b""})
    assert [str(fault).split("; ")[0] for fault in converted.faults] == [
      "Annotations/a.xml: file: missing",
      "JPEGImages/a.*: file: missing",
    ]
    assert converted.example is None

  def test_no_fault_hides_behind_another(self, tmp_path):
    objects = [voc_files.object_xml("cow"), voc_files.object_xml(box={"xmin": "x"})]
    files = {"a.xml": voc_files.annotation_xml(objects), "a.jpg": b""}
    assert [fault.field for fault in _convert(tmp_path, files).faults] == [
      "bndbox/xmin",
      "name",
      "image",
    ]
    files = {"a.xml": b"<annotation>", "a.jpg": b""}
    assert [fault.field for fault in _convert(tmp_path, files).faults] == ["xml", "image"]

  def test_every_note_is_explained(self):
    assert all(text and not text.endswith(".") for text in split_source.NOTES.values())
