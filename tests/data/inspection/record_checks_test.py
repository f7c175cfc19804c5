"""Tests of the check of one record: each fault is told, and what it leaves can still be used."""

import io
import zlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from mtl_ssl_tf.data import schema
from mtl_ssl_tf.data.inspection import checks, record_checks
from mtl_ssl_tf.data.records import writer as record_writer
from tests.data import costly_images, jpeg_damage, voc_files

_CLASSES = ("cat", "dog")


def _example(encoded: bytes | None = None, image_format: str = "png") -> tf.train.Example:
  """A sound record: 20 x 40, a cat and a dog, which is difficult."""
  return record_writer.make_example(
    encoded=encoded or voc_files.image_bytes(voc_files.picture(20, 40), "PNG"),
    image_format=image_format,
    height=20,
    width=40,
    filename="a.png",
    source_id="a",
    boxes_orig=[(2, 4, 10, 20), (0, 0, 20, 40)],
    class_ids=[1, 2],
    class_names=["cat", "dog"],
    difficult=[0, 1],
    truncated=[0, 0],
  )


def _check(example: tf.train.Example | bytes, classes=_CLASSES):
  """Facts and findings as text, checked to name file and record."""
  content = example if isinstance(example, bytes) else example.SerializeToString()
  checked = record_checks.check_record(content, "t.tfrecord", 5, classes)
  messages = []
  for finding in checked.findings:
    assert (finding.file, finding.record) == ("t.tfrecord", 5)
    prefix = "" if finding.level == checks.FAULT else "(warning) "
    text = str(finding).removeprefix("t.tfrecord, record 5: ")
    messages.append(f"{prefix}{finding.kind}: {text}")
  return checked.facts, messages


def _change(key: str, kind: str, values) -> tf.train.Example:
  """The sound record with other values of a key; None takes the key away."""
  example = _example()
  del example.features.feature[key]
  if values is not None:
    getattr(example.features.feature[key], kind).value.extend(values)
  return example


def test_sound_record():
  encoded = _example().features.feature[schema.IMAGE_ENCODED].bytes_list.value[0]
  content = _example().SerializeToString()
  checked = record_checks.check_record(content, "t.tfrecord", 5, _CLASSES)
  facts = checked.facts
  assert checked.findings == ()
  assert checked.encoded == encoded
  assert checked.source_id == "a"
  assert checked.boxes_orig[1] == pytest.approx([2, 4, 10, 20])
  assert (facts.file, facts.record, facts.source_id) == ("t.tfrecord", 5, "a")
  assert (facts.height, facts.width) == (20, 40)
  np.testing.assert_allclose(facts.boxes_orig, [[2, 4, 10, 20], [0, 0, 20, 40]], 1e-6)
  assert facts.class_names == ["cat", "dog"]
  assert facts.object_numbers == [1, 2]
  assert facts.difficult == [False, True]
  assert facts.is_crowd == [False, False]


def test_record_without_objects():
  example = _example()
  for key in list(example.features.feature):
    if "object" in key:
      del example.features.feature[key]
  facts, found = _check(example)
  assert found == []
  assert facts.boxes_orig.shape == (0, 4)


def test_crowd():
  facts, _ = _check(_change(schema.OBJECT_IS_CROWD, "int64_list", [1, 0]))
  assert facts.is_crowd == [True, False]


class TestClassNames:
  def test_without_a_label_map_the_records_own(self):
    assert _check(_example(), None)[0].class_names == ["cat", "dog"]

  def test_without_any_names(self):
    facts, found = _check(_change(schema.OBJECT_TEXT, "bytes_list", None), None)
    assert (facts.class_names, found) == (["class 1", "class 2"], [])

  def test_of_the_label_map(self):
    facts, found = _check(_change(schema.OBJECT_TEXT, "bytes_list", None))
    assert (facts.class_names, found) == (["cat", "dog"], [])


@pytest.mark.parametrize(
  ("content", "message"),
  [
    (b"", "not_an_example: tf.Example: an empty record; accepted: a serialized tf.Example of"),
    (b"<html></html>", "not_an_example: tf.Example: 13 bytes that are none; accepted: a"),
    (tf.train.Example().SerializeToString(), "not_an_example: tf.Example: an empty record;"),
  ],
)
def test_no_example(content, message):
  facts, found = _check(content)
  assert facts is None
  assert [text.startswith(message) for text in found] == [True]


# Of a number that no message of a tf.Example has. Protocol buffers pass over both.
_GROUP, _NUMBER = b"\x7b\x7c", b"\x78\x01"


def _with_length(number, content):
  assert len(content) < 2**14
  low, high = len(content) & 0x7F, len(content) >> 7
  return bytes([number << 3 | 2, low | 0x80, high]) + content


@pytest.mark.parametrize("odd", [_GROUP, _NUMBER])
@pytest.mark.parametrize(
  "place", ["before", "behind", "in features", "in an entry", "behind a value", "in a feature"]
)
def test_fields_that_are_not_of_a_tf_example(place, odd):
  example = _example()
  feature = example.features.feature.pop(schema.OBJECT_TEXT).SerializeToString()
  if place == "in a feature":
    feature += odd
  key = _with_length(1, schema.OBJECT_TEXT.encode())
  parts = [key, _with_length(2, feature)]
  if place == "in an entry":
    parts.insert(1, odd)
  if place == "behind a value":
    parts.append(odd)
  entries = example.features.SerializeToString() + _with_length(1, b"".join(parts))
  if place == "in features":
    entries += odd
  content = _with_length(1, entries)
  content = odd + content if place == "before" else content
  content = content + odd if place == "behind" else content
  assert schema.IMAGE_ENCODED in tf.train.Example.FromString(content).features.feature
  size = len(content)
  assert _check(content)[1] == [
    f"not_an_example: tf.Example: {size} bytes that are none; accepted: a serialized tf.Example of"
    " an image"
  ]


def test_entries_in_another_writing_of_lengths():
  feature = _example().features.feature
  entries = [
    _with_length(1, _with_length(1, key.encode()) + _with_length(2, one.SerializeToString()))
    for key, one in feature.items()
  ]
  content = _with_length(1, b"".join(entries))
  assert tf.train.Example.FromString(content) == _example()
  assert _check(content)[1] == []


def test_fields_in_a_list():
  example = _example()
  example.features.feature[schema.OBJECT_LABEL].int64_list.MergeFromString(_GROUP)
  message = f"wrong_type: {schema.OBJECT_LABEL}: fields that are no values; accepted: a list of"
  assert _check(example)[1][0].startswith(message)


class TestFields:
  @pytest.mark.parametrize("values", [None, [], [b""]])
  def test_no_image(self, values):
    facts, found = _check(_change(schema.IMAGE_ENCODED, "bytes_list", values))
    assert facts is None
    assert found == ["missing_field: image/encoded: missing or empty; accepted: one value"]

  @pytest.mark.parametrize(
    ("key", "kind", "level"),
    [
      (schema.IMAGE_SOURCE_ID, "bytes_list", ""),
      (schema.IMAGE_HEIGHT, "int64_list", "(warning) "),
      (schema.IMAGE_WIDTH, "int64_list", "(warning) "),
    ],
  )
  def test_missing_field(self, key, kind, level):
    facts, found = _check(_change(key, kind, None))
    assert found == [f"{level}missing_field: {key}: missing or empty; accepted: one value"]
    assert facts.height == 20

  def test_several_images(self):
    facts, found = _check(_change(schema.IMAGE_ENCODED, "bytes_list", [b"a", b"b"]))
    assert facts is None
    assert "several_values: image/encoded: 2 values; accepted: one value" in found

  @pytest.mark.parametrize(
    ("key", "kind", "values", "words"),
    [
      (schema.OBJECT_LABEL, "float_list", [1.0, 2.0], "numbers; accepted: a list of whole numbers"),
      (schema.OBJECT_YMIN, "int64_list", [0, 0], "whole numbers; accepted: a list of numbers"),
      (schema.OBJECT_TEXT, "int64_list", [0, 0], "whole numbers; accepted: a list of bytes"),
    ],
  )
  def test_wrong_type(self, key, kind, values, words):
    facts, found = _check(_change(key, kind, values))
    assert facts is None
    assert found == [f"wrong_type: {key}: a list of {words}"]

  @pytest.mark.parametrize(
    "key", [schema.OBJECT_YMIN, schema.OBJECT_XMIN, schema.OBJECT_YMAX, schema.OBJECT_XMAX]
  )
  def test_fewer_coordinates_than_labels(self, key):
    facts, found = _check(_change(key, "float_list", [0.5]))
    assert facts is None
    assert found == [
      f"lengths_differ: {key}: 1 values; accepted: 2, as many as image/object/class/label"
    ]

  @pytest.mark.parametrize(
    ("key", "kind", "value"),
    [
      (schema.OBJECT_TEXT, "bytes_list", b"cat"),
      (schema.OBJECT_DIFFICULT, "int64_list", 0),
      (schema.OBJECT_TRUNCATED, "int64_list", 0),
      (schema.OBJECT_IS_CROWD, "int64_list", 0),
      (schema.OBJECT_AREA, "float_list", 1.0),
      (schema.OBJECT_ID, "int64_list", 7),
    ],
  )
  def test_what_may_be_left_out_is_there_for_all_objects_or_none(self, key, kind, value):
    assert _check(_change(key, kind, []))[1] == []
    facts, found = _check(_change(key, kind, [value] * 3))
    assert facts is None
    assert found == [
      f"lengths_differ: {key}: 3 values; accepted: 2, as many as image/object/class/label, or none"
    ]


class TestRegions:
  """Regions to be ignored, which training reads, and erased objects, which measurements read."""

  def _with(self, keys, columns) -> tf.train.Example:
    example = _example()
    for key, values in zip(keys, columns, strict=True):
      example.features.feature[key].float_list.value.extend(values)
    return example

  def test_sound(self):
    facts, found = _check(self._with(schema.IGNORED_BOX, [[0.0], [0.1], [0.5], [1.0]]))
    assert (len(facts.boxes_orig), found) == (2, [])

  def test_wrong_type(self):
    example = self._with(schema.IGNORED_BOX[:3], [[0.0], [0.1], [0.5]])
    example.features.feature[schema.IGNORED_XMAX].int64_list.value.append(1)
    facts, found = _check(example)
    assert facts is None
    assert found == [
      "wrong_type: image/ignored/bbox/xmax: a list of whole numbers; accepted: a list of numbers"
    ]

  def test_lists_of_two_lengths(self):
    facts, found = _check(self._with(schema.IGNORED_BOX, [[0.0], [0.1], [0.5], []]))
    assert facts is None
    assert found == [
      "lengths_differ: image/ignored/bbox/xmax: 0 values; accepted: 1, as many as"
      " image/ignored/bbox/ymin"
    ]

  def test_no_region(self):
    _, found = _check(self._with(schema.IGNORED_BOX, [[np.nan, 0.5], [0, 0], [0.5, 0.5], [1, 1]]))
    assert found == [
      "box_outside: image/ignored/bbox/ymin: nan; accepted: 0 … 1, a fraction of the image",
      "empty_box: image/ignored/bbox/ymax: 0.5; accepted: more than ymin 0.5",
    ]

  def test_erased_objects_without_labels(self):
    _, found = _check(self._with(schema.ERASED_BOX[:1], [[0.5]]))
    assert found == [
      "lengths_differ: image/object_erased/bbox/ymin: 1 values; accepted: 0, as many as"
      " image/object_erased/class/label"
    ]


class TestObjects:
  """Faults of the second object leave the first."""

  def _check_second(self, key, kind, values, classes=_CLASSES) -> list[str]:
    facts, found = _check(_change(key, kind, values), classes)
    assert facts.object_numbers == [1]
    assert facts.class_names == ["cat"]
    assert facts.boxes_orig.shape == (1, 4)
    assert facts.difficult == [False]
    return [text.replace("object 2 ('dog') ", "") for text in found if "object 2 " in text]

  @pytest.mark.parametrize("label", [0, -1, 3, 2**40])
  def test_label_outside_the_label_map(self, label):
    assert self._check_second(schema.OBJECT_LABEL, "int64_list", [1, label]) == [
      f"label: image/object/class/label: {label}; accepted: 1 … 2, the lines of the label map"
    ]

  @pytest.mark.parametrize("area", [np.nan, np.inf, -1.0])
  def test_area_that_is_none(self, area):
    assert self._check_second(schema.OBJECT_AREA, "float_list", [4.0, area]) == [
      f"area: image/object/area: {area:g}; accepted: a finite number from 0 on"
    ]

  def test_label_below_one_without_a_label_map(self):
    assert self._check_second(schema.OBJECT_LABEL, "int64_list", [1, 0], None) == [
      "label: image/object/class/label: 0; accepted: classes count from 1"
    ]

  def test_text_that_contradicts_the_label(self):
    facts, found = _check(_change(schema.OBJECT_TEXT, "bytes_list", [b"cat", b"\xffcow\n"]))
    assert facts.object_numbers == [1]
    assert found == [
      r"text_contradicts_label: object 2 ('\udcffcow\n') image/object/class/text: '\udcffcow\n',"
      " but the label is 2; accepted: 'dog', line 2 of the label map"
    ]

  @pytest.mark.parametrize(
    ("key", "value", "words"),
    [
      (schema.OBJECT_YMIN, -0.1, "-0.1"),
      (schema.OBJECT_XMIN, float("nan"), "nan"),
      (schema.OBJECT_YMAX, 1.25, "1.25"),
      (schema.OBJECT_XMAX, float("inf"), "inf"),
    ],
  )
  def test_coordinate_outside_the_image(self, key, value, words):
    assert self._check_second(key, "float_list", [0.0 if "min" in key else 1.0, value]) == [
      f"box_outside: {key}: {words}; accepted: 0 … 1, a fraction of the image"
    ]

  def test_rounding_is_no_fault(self):
    assert _check(_change(schema.OBJECT_YMAX, "float_list", [0.5, 1.0000001]))[1] == []

  @pytest.mark.parametrize("side", ["y", "x"])
  @pytest.mark.parametrize("value", [0.5, 0.25])
  def test_empty_box(self, side, value):
    # The second box begins at 0; let it begin at a half.
    key, low = f"image/object/bbox/{side}max", f"image/object/bbox/{side}min"
    example = _change(key, "float_list", [1.0, value])
    example.features.feature[low].float_list.value[:] = [0.0, 0.5]
    facts, found = _check(example)
    assert facts.object_numbers == [1]
    assert found == [
      f"empty_box: object 2 ('dog') {key}: {value:g}; accepted: more than {side}min 0.5"
    ]

  @pytest.mark.parametrize(
    "key", [schema.OBJECT_DIFFICULT, schema.OBJECT_TRUNCATED, schema.OBJECT_IS_CROWD]
  )
  def test_flag(self, key):
    assert self._check_second(key, "int64_list", [0, 2]) == [f"flag: {key}: 2; accepted: 0 or 1"]

  def test_no_fault_of_an_object_hides_behind_one_of_the_image(self):
    example = _change(schema.OBJECT_LABEL, "int64_list", [1, 3])
    example.features.feature[schema.IMAGE_ENCODED].bytes_list.value[:] = [b"none"]
    facts, found = _check(example)
    assert facts is None
    assert [text.split(":")[0] for text in found] == ["digest_differs", "image", "label"]


class TestImage:
  @pytest.mark.parametrize(("key", "actual"), [("height", 20), ("width", 40)])
  def test_size_in_the_record(self, key, actual):
    facts, found = _check(_change(f"image/{key}", "int64_list", [actual + 1]))
    assert (facts.height, facts.width) == (20, 40)
    assert found == [
      f"size_differs: image/{key}: {actual + 1}; accepted: {actual}, as the image has it"
    ]

  def test_other_image_than_was_written(self):
    example = _example()
    other = voc_files.image_bytes(Image.new("RGB", (40, 20)), "PNG")
    example.features.feature[schema.IMAGE_ENCODED].bytes_list.value[:] = [other]
    assert _check(example)[1] == [
      "digest_differs: image/key/sha256: is not the SHA-256 of the image; accepted: the image that"
      " was written"
    ]

  @pytest.mark.parametrize(
    ("encoded", "message"),
    [
      (b"<html>", "damaged, or no image at all (UnidentifiedImageError)"),
      (voc_files.image_bytes(voc_files.picture(20, 40))[:-20], "damaged or truncated (a JPEG that"),
      (voc_files.image_bytes(voc_files.picture(20, 40))[:-2], "damaged or truncated (a JPEG that"),
      (jpeg_damage.zeroed(jpeg_damage.photo()), "damaged or truncated (a JPEG whose data are"),
      (voc_files.image_bytes(voc_files.picture(20, 40), "PNG")[:-20], "damaged or truncated (Tens"),
      (voc_files.image_bytes(voc_files.picture(20, 40), "GIF"), "a GIF image"),
      (voc_files.image_bytes(voc_files.picture(20, 40), "BMP"), "a BMP image"),
    ],
  )
  def test_unusable(self, encoded, message):
    facts, found = _check(_example(encoded))
    assert facts is None
    assert [text.startswith(f"image: image/encoded: {message}") for text in found] == [True]

  @pytest.mark.parametrize("side", [11_000, 60_000])
  def test_too_many_pixels(self, side):
    png = bytearray(voc_files.image_bytes(voc_files.picture(20, 40), "PNG"))
    png[16:24] = side.to_bytes(4, "big") * 2
    # Readers check the checksum of the header.
    png[29:33] = zlib.crc32(png[12:29]).to_bytes(4, "big")
    facts, found = _check(_example(bytes(png)))
    assert facts is None
    assert found == [
      "image: image/encoded: more than 100000000 pixels; accepted: at most 100000000 pixels"
    ]

  @pytest.mark.parametrize(
    ("mode", "image_format", "what"),
    [
      ("L", "JPEG", "JPEG with pixels of mode L, 8 bits a channel"),
      ("CMYK", "JPEG", "JPEG with pixels of mode CMYK, 8 bits a channel"),
      ("L", "PNG", "PNG with pixels of mode L, 8 bits a channel"),
      ("I;16", "PNG", "PNG with pixels of mode I;16, 16 bits a channel"),
      ("P", "PNG", "PNG with pixels of mode P, 8 bits a channel"),
    ],
  )
  def test_not_rgb_of_8_bits(self, mode, image_format, what):
    image = Image.new("I;16", (40, 20)) if mode == "I;16" else voc_files.picture(20, 40)
    encoded = voc_files.image_bytes(image if mode == "I;16" else image.convert(mode), image_format)
    facts, found = _check(_example(encoded, image_format.lower()))
    assert facts.height == 20
    assert found == [
      f"(warning) image_not_rgb: image/encoded: {what}; accepted: RGB of 8 bits, as the converters"
      " store it"
    ]

  def test_not_upright(self):
    encoded = voc_files.image_bytes(voc_files.picture(20, 40), "JPEG", exif=voc_files.exif(6))
    facts, found = _check(_example(encoded, "jpeg"))
    assert (facts.height, facts.width) == (20, 40)
    assert found == [
      "(warning) image_not_upright: image/encoded: EXIF orientation 6, which training does not"
      " follow; accepted: an upright image"
    ]

  def test_upright_or_nonsense_orientation(self):
    for orientation in (0, 1):
      exif = voc_files.exif(orientation)
      encoded = voc_files.image_bytes(voc_files.picture(20, 40), "JPEG", exif=exif)
      assert _check(_example(encoded, "jpg"))[1] == []

  def test_other_format_than_stated(self):
    assert _check(_example(image_format="jpeg"))[1] == [
      "(warning) format_differs: image/format: 'jpeg', but the image is PNG; accepted: the image's"
      " format"
    ]

  def test_several_pictures_of_a_camera(self):
    content = io.BytesIO()
    picture = voc_files.picture(20, 40)
    picture.save(content, "MPO", save_all=True, append_images=[picture])
    assert _check(_example(content.getvalue(), "jpeg"))[1] == []


@pytest.mark.parametrize("name", costly_images.REFUSED)
def test_an_image_that_costs_too_much_is_not_decoded(name, monkeypatch):
  content, message = costly_images.REFUSED[name]
  monkeypatch.setattr(Image, "open", None)
  _, messages = _check(_example(content))
  assert messages[0] == f"image: {schema.IMAGE_ENCODED}: {message}"
