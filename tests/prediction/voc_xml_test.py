"""Tests of voc_xml.py: the converter of this project reads what it writes."""

from xml.etree import ElementTree

import numpy as np
import pytest
import tensorflow as tf

from mtl_ssl_tf.data import pascal_voc, schema
from mtl_ssl_tf.data.sources import annotated, voc_annotation
from mtl_ssl_tf.prediction import image_detections, voc_xml
from tests.data import voc_files


def _detections(*boxes):
  count = len(boxes)
  return image_detections.Detections(
    np.reshape(np.float32(boxes), [-1, 4]),
    np.float32([0.75] * count),
    np.int32([1 + i % 2 for i in range(count)]),
  )


def _parse(content):
  annotation = voc_annotation.parse_annotation(content, "a.xml")
  assert annotation.faults == ()
  return annotation


def test_elements():
  content = voc_xml.annotation("b/a.jpg", 30, 40, _detections([1, 2, 10, 20]), ["cat", "dog"])
  root = ElementTree.fromstring(content)
  assert [(element.tag, (element.text or "").strip()) for element in root.iter()] == [
    ("annotation", ""),
    ("folder", "b"),
    ("filename", "a.jpg"),
    ("size", ""),
    ("width", "40"),
    ("height", "30"),
    ("depth", "3"),
    ("segmented", "0"),
    ("object", ""),
    ("name", "cat"),
    ("pose", "Unspecified"),
    ("truncated", "0"),
    ("difficult", "0"),
    ("bndbox", ""),
    ("xmin", "2"),
    ("ymin", "1"),
    ("xmax", "20"),
    ("ymax", "10"),
    ("score", "0.750000"),
  ]


@pytest.mark.parametrize(
  ("box", "written"),
  [
    ([0.4, 1.6, 9.6, 20.4], [0, 2, 10, 20]),
    ([3.1, 4.2, 3.3, 4.4], [3, 4, 4, 5]),  # Less than a pixel.
    ([29.9, 39.9, 30.0, 40.0], [29, 39, 30, 40]),  # The same in the last corner.
    ([0.0, 0.0, 0.0, 0.0], [0, 0, 1, 1]),
    ([-0.6, -0.6, 31.0, 41.0], [0, 0, 30, 40]),
  ],
)
def test_whole_pixels_inside_the_image(box, written):
  content = voc_xml.annotation("a.jpg", 30, 40, _detections(box), ["cat"])
  annotation = _parse(content)
  assert list(annotation.objects[0].box) == written
  annotated.clip_box(annotation.objects[0], 30, 40, "a.xml")  # Accepts it.


def test_an_image_of_one_pixel():
  content = voc_xml.annotation("a.jpg", 1, 1, _detections([0.2, 0.2, 0.7, 0.9]), ["cat"])
  assert _parse(content).objects[0].box == (0.0, 0.0, 1.0, 1.0)


def test_no_objects():
  annotation = _parse(voc_xml.annotation("a.jpg", 30, 40, _detections(), ["cat"]))
  assert (annotation.filename, annotation.size, annotation.objects) == ("a.jpg", (30, 40), ())


def test_names_with_special_characters():
  names, file_name = ['<größe> & "co"', "犬 🐕"], "b/größe & <1> 犬.jpg"
  assert voc_xml.name_problem(file_name) is None
  content = voc_xml.annotation(file_name, 30, 40, _detections([1, 2, 3, 4], [1, 2, 3, 4]), names)
  annotation = _parse(content)
  assert annotation.filename == "größe & <1> 犬.jpg"
  assert [voc_object.name for voc_object in annotation.objects] == names


@pytest.mark.parametrize("name", ["a\x01.jpg", "a\udcff.jpg", "a\n.jpg", "a\uffff.jpg"])
def test_names_that_xml_cannot_hold(name):
  assert voc_xml.name_problem(name) == f"its name {name!r} cannot be written in XML"


def test_the_converter_takes_it(tmp_path):
  # A picture that is turned: stored 20 high and 40 wide, upright 40 high and 20 wide.
  turned = voc_files.image_bytes(voc_files.picture(20, 40), exif=voc_files.exif(6))
  found = _detections([0.0, 0.0, 40.0, 20.0], [5.2, 2.0, 11.0, 7.7])
  content = voc_xml.annotation("a.jpg", 40, 20, found, ["cat", "dog"])
  voc_files.write(tmp_path / "data", {"a.xml": content, "a.jpg": turned})
  pascal_voc.convert_split(tmp_path / "data", "train", tmp_path / "records", num_shards=1)
  records = [str(path) for path in (tmp_path / "records").glob("*.tfrecord")]
  (record,) = tf.data.TFRecordDataset(records).as_numpy_iterator()
  feature = tf.train.Example.FromString(record).features.feature
  edges = (schema.OBJECT_YMIN, schema.OBJECT_XMIN, schema.OBJECT_YMAX, schema.OBJECT_XMAX)
  boxes = np.stack([feature[edge].float_list.value for edge in edges], axis=-1)
  np.testing.assert_allclose(boxes * [40, 20, 40, 20], [[0, 0, 40, 20], [5, 2, 11, 8]], atol=1e-5)
  assert (tmp_path / "records" / "label_map.txt").read_text() == "cat\ndog\n"
