"""Tests of reading annotations, sound, faulty and hostile."""

import time

import pytest

from mtl_ssl_tf.data import faults
from mtl_ssl_tf.data.sources import annotated, voc_annotation
from tests.data import voc_files

_FILE = "Annotations/a.xml"


def _parse(content: bytes) -> voc_annotation.Annotation:
  return voc_annotation.parse_annotation(content, _FILE)


def _error(content: bytes) -> str:
  with pytest.raises(faults.FaultError) as caught:
    _parse(content)
  return str(caught.value)


def _only_fault(*objects: str) -> str:
  """The fault of an annotation in which just one object is faulty; it is left out."""
  annotation = _parse(voc_files.annotation_xml(objects))
  (fault,) = annotation.faults
  assert fault.object_number == len(objects)
  assert len(annotation.objects) == len(objects) - 1
  return str(fault)


class TestSound:
  def test_all_fields(self):
    content = voc_files.annotation_xml(
      [
        voc_files.object_xml("cat", difficult=1),
        voc_files.object_xml(" traffic light ", {"xmin": "12.5", "xmax": " 2e1 "}, truncated=1),
      ],
      size=(20, 40),
      filename="a.jpg",
    )
    assert _parse(content) == voc_annotation.Annotation(
      filename="a.jpg",
      size=(20, 40),
      objects=(
        voc_annotation.VocObject(1, "cat", (4, 2, 14, 12), 1, 0),
        voc_annotation.VocObject(2, "traffic light", (4, 12.5, 14, 20), 0, 1),
      ),
      faults=(),
    )

  def test_of_a_repeated_field_the_first_counts(self):
    text = voc_files.object_xml("cat").replace("</name>", "</name><name>dog</name>")
    text = text.replace("</xmin>", "</xmin><xmin>5</xmin>")
    (found,) = _parse(voc_files.annotation_xml([text])).objects
    assert found == voc_annotation.VocObject(1, "cat", (4, 2, 14, 12), 0, 0)

  def test_no_objects(self):
    assert _parse(b"<annotation/>") == voc_annotation.Annotation(None, None, (), ())

  @pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "latin-1"])
  def test_encodings(self, encoding):
    declared = "utf-8" if encoding == "utf-8-sig" else encoding
    text = f'<?xml version="1.0" encoding="{declared}"?>'
    text += voc_files.annotation_xml([voc_files.object_xml("Kuh")]).decode().replace("Kuh", "Möwe")
    assert _parse(text.encode(encoding)).objects[0].name == "Möwe"

  def test_a_size_of_zero_says_nothing(self):
    assert _parse(voc_files.annotation_xml(size=(0, 0))).size is None
    assert _parse(voc_files.annotation_xml(size=(0, 40))).size is None
    assert _parse(voc_files.annotation_xml(size=(0, 40))).notes == ()

  def test_boxes_of_parts_are_none_of_the_object(self):
    # VOC2012 describes head and hands of a person in `part` elements.
    part = "<part><name>head</name><bndbox><xmin>1</xmin></bndbox></part></object>"
    content = voc_files.annotation_xml([voc_files.object_xml().replace("</object>", part)])
    assert _parse(content).objects[0].box == (4, 2, 14, 12)


class TestFaultsOfFiles:
  @pytest.mark.parametrize("content", [b"", b" \n"])
  def test_empty(self, content):
    assert _error(content) == (
      "Annotations/a.xml: xml: the file is empty; accepted: an XML file of PASCAL VOC"
    )

  @pytest.mark.parametrize(
    "content",
    [
      b"<annotation><size>",
      b"\xff\xd8\xff\xe0",
      b'<?xml version="1.0" encoding="gb2312"?><annotation/>',
      b'<?xml version="1.0" encoding="no-such"?><annotation/>',
      b"<annotation>&undefined;</annotation>",
    ],
  )
  def test_malformed(self, content):
    assert "Annotations/a.xml: xml: malformed (" in _error(content)

  def test_the_place_of_an_error_is_told(self):
    assert "mismatched tag: line 2, column 2" in _error(b"<annotation>\n</object>")

  def test_another_kind_of_xml(self):
    assert _error(b"<html/>") == (
      "Annotations/a.xml: xml: the outermost element is 'html'; accepted: 'annotation'"
    )

  def test_billion_laughs(self):
    entities = '<!ENTITY a "ha">' + "".join(
      f'<!ENTITY {new} "{f"&{old};" * 10}">'
      for old, new in zip("abcdefghi", "bcdefghij", strict=True)
    )
    content = f"<!DOCTYPE annotation [{entities}]><annotation>&j;</annotation>".encode()
    start = time.monotonic()
    assert _error(content) == (
      "Annotations/a.xml: xml: it defines the entity 'a'; accepted: XML without entity definitions"
    )
    assert time.monotonic() - start < 1

  def test_an_external_entity_is_not_read(self, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("cat")
    content = voc_files.annotation_xml([voc_files.object_xml("&s;")]).decode()
    content = f'<!DOCTYPE annotation [<!ENTITY s SYSTEM "file://{secret}">]>{content}'
    assert "xml: it defines the entity 's'; accepted: XML without" in _error(content.encode())

  def test_an_external_definition_is_not_read(self):
    content = b'<!DOCTYPE annotation SYSTEM "http://localhost:9/x.dtd"><annotation>&x;</annotation>'
    assert "Annotations/a.xml: xml: malformed (undefined entity" in _error(content)

  def test_deep_nesting(self):
    content = b"<annotation>" + b"<object>" * 100_000 + b"</object>" * 100_000 + b"</annotation>"
    assert [str(fault) for fault in _parse(content).faults] == [
      "Annotations/a.xml: object 1 name: missing; accepted: a class name without blanks around it",
      "Annotations/a.xml: object 1 bndbox: there are 0; accepted: one box",
    ]

  @pytest.mark.parametrize(
    ("path", "name"),
    [
      ("../a.jpg", "a.jpg"),
      ("/data/a.jpg", "a.jpg"),
      ("JPEGImages/ a.jpg", "a.jpg"),
      (r"C:\images\a.jpg", "a.jpg"),
      ("..", None),
      ("a/.", None),
      ("/", None),
    ],
  )
  def test_folders_in_the_file_name_do_not_count(self, path, name):
    annotation = _parse(voc_files.annotation_xml(filename=path))
    assert annotation.filename == name
    assert not annotation.faults

  @pytest.mark.parametrize(
    ("content", "place"),
    [
      ("<objects><object><name>cat</name></object></objects>", "objects/object"),
      ("<Object><name>cat</name></Object>", "Object"),
      ("<item><name>cat</name><bndbox><xmin>1</xmin></bndbox></item>", "item/bndbox"),
      ("<label><xmin>1</xmin><ymax>2</ymax></label>", "label"),
      ('<shapes><a><shape x1="1" y1="2"/></a></shapes>', "shapes/a/shape"),
    ],
  )
  def test_what_may_be_an_object_and_is_not_read(self, content, place):
    annotation = _parse(voc_files.annotation_xml([voc_files.object_xml(), content]))
    assert [str(fault) for fault in annotation.faults] == [
      f"Annotations/a.xml: {place}: looks like an object and is not read;"
      " accepted: each object in an element 'object' of the outermost element"
    ]

  def test_what_is_no_object(self):
    owner = "<source><database>x</database></source><owner><name>y</name></owner><segmented/>"
    assert _parse(voc_files.annotation_xml([owner])).faults == ()

  def test_deep_nesting_of_what_is_none(self):
    content = b"<annotation>" + b"<a>" * 100_000 + b"</a>" * 100_000 + b"</annotation>"
    assert _parse(content).faults == ()

  @pytest.mark.parametrize("value", ["wide", "-40", "40.5", "1e999"])
  def test_size_that_is_none(self, value):
    annotation = _parse(voc_files.annotation_xml(size=(20, value)))
    assert (annotation.size, annotation.faults) == (None, ())
    assert annotation.notes == ("size_unreadable",)

  @pytest.mark.parametrize("value", ["", "-1", "Unspecified", "null"])
  def test_size_that_is_not_told(self, value):
    annotation = _parse(voc_files.annotation_xml(size=(20, value)))
    assert (annotation.size, annotation.faults, annotation.notes) == (None, (), ())

  def test_half_a_size(self):
    annotation = _parse(b"<annotation><size><width>40</width></size></annotation>")
    assert (annotation.size, annotation.faults) == (None, ())


class TestFaultsOfObjects:
  def test_the_number_counts_all_objects(self):
    message = _only_fault(voc_files.object_xml("dog"), voc_files.object_xml("cat", {"xmin": "x"}))
    assert message == (
      "Annotations/a.xml: object 2 ('cat') bndbox/xmin: 'x'; accepted: a finite number"
    )

  @pytest.mark.parametrize(
    "value", ["nan", "NaN", "inf", "-inf", "1e999", "ten", "", "1_0", "0x10", "1,5", "١"]
  )
  @pytest.mark.parametrize("coordinate", ["xmin", "ymin", "xmax", "ymax"])
  def test_coordinate_that_is_no_number(self, coordinate, value):
    assert _only_fault(voc_files.object_xml(box={coordinate: value})) == (
      f"Annotations/a.xml: object 1 ('cat') bndbox/{coordinate}: '{value}';"
      " accepted: a finite number"
    )

  def test_coordinate_missing(self):
    assert "object 1 ('cat') bndbox/ymax: missing;" in _only_fault(
      voc_files.object_xml(box={"ymax": None})
    )

  def test_box_without_width(self):
    assert _only_fault(voc_files.object_xml(box={"xmax": 2})) == (
      "Annotations/a.xml: object 1 ('cat') bndbox/xmax: 2; accepted: more than xmin 2"
    )

  def test_corners_from_the_other_side(self):
    content = voc_files.object_xml(box={"xmin": 12, "xmax": 2, "ymin": 14, "ymax": 4})
    annotation = _parse(voc_files.annotation_xml([content]))
    assert annotation.objects[0].box == (4, 2, 14, 12)
    assert annotation.notes == ("corners_swapped",)

  def test_box_without_height(self):
    assert _only_fault(voc_files.object_xml(box={"ymin": 14})) == (
      "Annotations/a.xml: object 1 ('cat') bndbox/ymax: 14; accepted: more than ymin 14"
    )

  def test_box_of_one_point_is_one_fault(self):
    assert _only_fault(voc_files.object_xml(box={"xmin": 12, "ymin": 14})) == (
      "Annotations/a.xml: object 1 ('cat') bndbox/xmax, bndbox/ymax: 12, 14;"
      " accepted: more than xmin 12, more than ymin 14"
    )

  @pytest.mark.parametrize("value", ["2", "0.5", "perhaps"])
  def test_flag_that_is_none(self, value):
    assert _only_fault(voc_files.object_xml(difficult=value)) == (
      f"Annotations/a.xml: object 1 ('cat') difficult: '{value}'; accepted: 0 or 1"
    )

  @pytest.mark.parametrize(
    ("value", "flag"), [("", 0), ("Unspecified", 0), ("-1", 0), ("True", 1), ("false", 0)]
  )
  def test_flags_that_are_words_or_not_told(self, value, flag):
    content = voc_files.object_xml(difficult=value, truncated=value)
    (found,) = _parse(voc_files.annotation_xml([content])).objects
    assert (found.difficult, found.truncated) == (flag, flag)

  @pytest.mark.parametrize(("value", "flag"), [("0.0597", 1), ("0.0", 0), ("3", 1), ("much", 0)])
  def test_truncated_may_be_a_share(self, value, flag):
    (found,) = _parse(voc_files.annotation_xml([voc_files.object_xml(truncated=value)])).objects
    assert found.truncated == flag

  @pytest.mark.parametrize(("name", "value"), [(None, "missing"), (" ", "''")])
  def test_no_name(self, name, value):
    assert f"object 1 name: {value}; accepted: a class name" in _only_fault(
      voc_files.object_xml(name)
    )

  @pytest.mark.parametrize("name", ["two\nlines", "background", "#cat"])
  def test_name_that_no_label_map_can_hold(self, name):
    assert f"object 1 ({name!r}) name: {name!r}; accepted: " in _only_fault(
      voc_files.object_xml(name)
    )

  @pytest.mark.parametrize(
    ("field", "found"),
    [
      ("name", voc_files.object_xml("cat<b>s</b>")),
      ("difficult", voc_files.object_xml(difficult="0<b/>1")),
      ("bndbox/xmax", voc_files.object_xml(box={"xmax": "12<b>3</b>4"})),
    ],
  )
  def test_text_that_goes_on_after_an_element(self, field, found):
    # It was read up to there: cat, 0 and 12.
    assert _only_fault(found).startswith(
      f"Annotations/a.xml: object 1 ('cat') {field}: holds the element 'b'; accepted: text alone"
    )

  def test_two_boxes(self):
    twice = voc_files.object_xml().replace("</object>", "<bndbox/></object>")
    assert "object 1 ('cat') bndbox: there are 2; accepted: one box" in _only_fault(twice)

  def test_all_faults_of_an_object_are_found(self):
    annotation = _parse(
      voc_files.annotation_xml([voc_files.object_xml(None, {"xmin": "x", "ymin": 14}, difficult=2)])
    )
    assert [fault.field for fault in annotation.faults] == [
      "name",
      "difficult",
      "bndbox/xmin",
      "bndbox/ymax",
    ]


class TestClipBox:
  def _clip(self, ymin, xmin, ymax, xmax, clip_px=1.0, height=20, width=40):
    voc_object = voc_annotation.VocObject(3, "cat", (ymin, xmin, ymax, xmax), 0, 0)
    rules = annotated.BoxRules(clip_px)
    return annotated.clip_box(voc_object, height, width, _FILE, rules)

  def test_by_default_three_pixels_or_a_hundredth_of_the_side(self):
    assert self._clip(-3.0, 0.0, 20.0, 43.0, clip_px=None) == (0, 0, 20, 40)
    # 1 % of 1000 is 10; the height of 20 still has 3.
    box = (0.0, -10.0, 23.0, 1010.0)
    assert self._clip(*box, clip_px=None, width=1000) == (0, 0, 20, 1000)
    with pytest.raises(faults.FaultError, match=r"bndbox/xmax: 1010\.5 lies"):
      self._clip(0.0, 0.0, 20.0, 1010.5, clip_px=None, width=1000)
    with pytest.raises(faults.FaultError, match="bndbox/ymax: 24 lies"):
      self._clip(0.0, 0.0, 24.0, 40.0, clip_px=None, width=1000)

  @pytest.mark.parametrize("clip_px", [-1.0, float("nan"), float("inf")])
  def test_wrong_allowance(self, clip_px):
    with pytest.raises(ValueError, match=r"--clip_px is .*; accepted: 0 or more pixels"):
      annotated.BoxRules(clip_px)

  def _error(self, *box):
    with pytest.raises(faults.FaultError) as caught:
      self._clip(*box)
    return str(caught.value)

  def test_a_box_may_fill_the_image(self):
    assert self._clip(0.0, 0.0, 20.0, 40.0) == (0, 0, 20, 40)

  def test_a_pixel_outside_is_cut_off(self):
    assert self._clip(-1.0, -0.5, 21.0, 41.0) == (0, 0, 20, 40)

  def test_more_is_a_fault(self):
    assert self._error(5.0, 5.0, 10.0, 41.5) == (
      "Annotations/a.xml: object 3 ('cat') bndbox/xmax: 41.5 lies outside the image of 40 x 20"
      " (width x height); accepted: -1 … 41"
    )
    assert "bndbox/ymin: -1.5 lies outside" in self._error(-1.5, 5.0, 10.0, 40.0)

  def test_each_coordinate_outside_is_named(self):
    message = self._error(-5.0, -5.0, 25.0, 45.0)
    assert [line.split(": ")[1].split("/")[1] for line in message.splitlines()] == [
      "ymin",
      "xmin",
      "ymax",
      "xmax",
    ]

  def test_nothing_left(self):
    assert self._error(5.0, -1.0, 10.0, 0.0) == (
      "Annotations/a.xml: object 3 ('cat') bndbox: nothing of it is left inside the image of"
      " 40 x 20 (width x height); accepted: a box inside the image"
    )

  def test_too_thin_for_a_record(self):
    assert "nothing of it is left" in self._error(5.0, 5.0, 10.0, 5.00000001)


class TestStatedBoxes:
  def test_right_or_wrong_by_number(self):
    objects = [
      voc_files.object_xml("cat", {"xmin": 9, "xmax": 3}),
      voc_files.object_xml("cat", {"xmin": "x"}),
      voc_files.object_xml(None, difficult=7),
      "<object/>",
      voc_files.object_xml("cat", {"xmin": "9<b/>9"}),
    ]
    boxes = voc_annotation.stated_boxes(voc_files.annotation_xml(objects), "a.xml")
    assert boxes == {1: (4, 9, 14, 3), 3: (4, 2, 14, 12)}

  def test_no_annotation(self):
    with pytest.raises(faults.FaultError, match="the file is empty"):
      voc_annotation.stated_boxes(b"", "a.xml")
