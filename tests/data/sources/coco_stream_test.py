"""Tests of reading COCO files entry by entry."""

import gzip
import json

import pytest

from mtl_ssl_tf.data.sources import coco_stream
from tests.data import coco_files


def _read(tmp_path, content: bytes, **options):
  (tmp_path / "train.json").write_bytes(content)
  return list(coco_stream.read_entries(tmp_path / "train.json", **options))


def test_entries_with_what_is_needed_of_them(tmp_path):
  segmentation = {"counts": [1, [2, {"a": 3}]], "size": [20, 40]}
  annotation = coco_files.annotation_entry(
    segmentation=segmentation, attributes={"bbox": 1}, caption="bbox"
  )
  read = _read(tmp_path, coco_files.text([annotation, 5], categories=[{"id": 1, "name": "ä"}]))
  expected = coco_files.annotation_entry(segmentation=True)
  assert read == [
    ("images", 1, coco_files.image_entry()),
    ("annotations", 1, expected),
    ("annotations", 2, 5),
    ("categories", 1, {"id": 1, "name": "ä"}),
  ]
  assert isinstance(read[1][2]["area"], float)


@pytest.mark.parametrize("polygons", [False, True])
@pytest.mark.parametrize("last", [b"{}", b"0", b"null", b"[]"])
def test_of_a_key_that_is_there_twice_the_last_counts(tmp_path, polygons, last):
  content = b'{"annotations": [{"segmentation": [[2, 4, 12, 4, 12, 14]], "segmentation": '
  content += last + b"}], "
  content += b'"images": [{"id": 1, "id": 2}]}'
  read = _read(tmp_path, content, polygons=polygons)
  assert read == [("annotations", 1, {}), ("images", 1, {"id": 2})]


@pytest.mark.parametrize("polygons", [False, True])
@pytest.mark.parametrize("value", [b'["background"]', b"[5]", b'"x"', b"-9", b"true"])
def test_a_segmentation_that_is_none_is_told(tmp_path, polygons, value):
  content = b'{"annotations": [{"segmentation": %b}], "images": []}' % value
  assert _read(tmp_path, content, polygons=polygons) == [("annotations", 1, {"segmentation": True})]


def test_a_long_name_of_a_list_is_cut(tmp_path):
  with pytest.raises(ValueError, match=r"train\.json: xxx") as error:
    _read(tmp_path, b'{"' + b"x" * 9999 + b'": [{"bbox": 1}], "images": []}')
  assert len(str(error.value)) < 500


@pytest.mark.parametrize(
  ("entry", "field"),
  [
    ({"xmin": 5}, "xmin"),
    ({"XMin": 5.5}, "XMin"),
    ({"Objects": [5]}, "Objects"),
    ({"more": {"BBox": 5}}, "more"),
    ({"xmin": "5", "objects": [], "number": 5, "more": {"number": 5}}, None),
  ],
)
def test_boxes_inside_of_an_image_are_told(tmp_path, entry, field):
  (read,) = _read(tmp_path, json.dumps({"images": [{"id": 1} | entry]}).encode())
  assert read[2] == {"id": 1} | ({} if field is None else {"boxes_inside": field})


def test_any_order_and_a_byte_order_mark(tmp_path):
  content = b'\xef\xbb\xbf{"categories": [{"name": "a", "id": 1}], "images": [{"id": 2}]}'
  assert [entry[0] for entry in _read(tmp_path, content)] == ["categories", "images"]


def test_progress_is_told_in_bytes(tmp_path):
  counts = []
  content = coco_files.text([coco_files.annotation_entry(i) for i in range(3000)])
  _read(tmp_path, content, read_bytes=counts.append)
  assert sum(counts) == len(content)
  assert len(counts) > 2


@pytest.mark.parametrize(
  ("content", "message"),
  [
    (b"", "train.json: the file is empty; accepted: a COCO file"),
    (b" \n", "malformed or cut short at its beginning"),
    (gzip.compress(coco_files.text()), "compressed with gzip; accepted: plain UTF-8 text"),
    (b"PK\x03\x04abc", "a zip archive; accepted: plain UTF-8 text"),
    (coco_files.text().decode().encode("utf-16"), "UTF-16 text; accepted: plain UTF-8 text"),
    (b"\xfe\xff\0{\0}", "UTF-16 text; accepted: plain UTF-8 text"),
    (b'{"images": [{"id": 1, "file_name": "\xff"}]}', "malformed or cut short at its beginning"),
    (b"[]", "the outermost value is no object but a list; accepted: a COCO file: a JSON object"),
    (b'"images"', "the outermost value is no object but a string"),
    (b"{}", "no list of images; accepted: a COCO file"),
    (b'{"images": {"1": {}}}', "images: no list but an object; accepted: one list"),
    (b'{"images": [], "images": []}', "images: there are two; accepted: one list"),
    (b'{"images": [{"id": 1}, {"id": 2}], "annot', "malformed or cut short after images entry 2"),
    (coco_files.text([1, 2])[:-30], "malformed or cut short after"),
    (b'{"images": [{"id": 1}]} {}', "malformed or cut short after images entry 1"),
    (b'{"images": [{"id": 1}]}}', "malformed or cut short after images entry 1"),
    (b'{"images": [{"id": 1,}]}', "malformed or cut short at its beginning"),
    (b"\xff\xd8\xff\xe0 a picture", "malformed or cut short at its beginning"),
    (b'{"images": [{"id": ' + b"[" * 50_000, "train.json: "),
  ],
)
def test_what_is_no_coco_file(tmp_path, content, message):
  with pytest.raises(ValueError, match="accepted: ") as caught:
    _read(tmp_path, content)
  assert message in str(caught.value)
  assert str(caught.value).startswith("train.json: ")
  assert "\n" not in str(caught.value)


class TestNonFinite:
  _BOXES = ([1, float("nan"), 3, 4], [float("-inf"), 2, 3, float("inf")])

  def test_is_malformed_unless_quoted(self, tmp_path):
    content = coco_files.text([coco_files.annotation_entry(bbox=box) for box in self._BOXES])
    with pytest.raises(ValueError, match="malformed"):
      _read(tmp_path, content)
    read = _read(tmp_path, content, quote_odd_numbers=True)
    boxes = [entry["bbox"] for section, _, entry in read if section == "annotations"]
    assert boxes == [[1, "NaN", 3, 4], ["-Infinity", 2, 3, "Infinity"]]

  @pytest.mark.parametrize("chunk", [1, 2, 3, 7, 64, 1000])
  def test_wherever_a_piece_of_the_file_ends(self, tmp_path, monkeypatch, chunk):
    monkeypatch.setattr(coco_stream, "_CHUNK_BYTES", chunk)
    entries = [coco_files.annotation_entry(i, bbox=self._BOXES[i % 2]) for i in range(9)]
    read = _read(tmp_path, coco_files.text(entries), quote_odd_numbers=True)
    expected = json.loads(
      coco_files.text(entries),
      parse_constant=str,
    )["annotations"]
    assert [e["bbox"] for s, _, e in read if s == "annotations"] == [e["bbox"] for e in expected]


class TestBounds:
  @pytest.mark.parametrize("quoted", [False, True])
  @pytest.mark.parametrize("opening", ["[", '{"a":'])
  @pytest.mark.parametrize(
    "start", ['{"x":', '{"images":[{"x":', '{"images":[{"id":', '{"images":[],"annotations":[']
  )
  def test_depth(self, tmp_path, start, opening, quoted):
    content = (start + opening * 100_000).encode()
    message = "objects and lists in each other at its beginning; accepted: at most 32 levels"
    with pytest.raises(ValueError, match=message):
      _read(tmp_path, content, quote_odd_numbers=quoted)

  def test_depth_up_to_the_bound(self, tmp_path):
    content = b'{"images": [{"id": ' + b"[" * 32 + b"]" * 32 + b"}]}"
    assert len(_read(tmp_path, content)) == 1

  @pytest.mark.parametrize("quoted", [False, True])
  def test_length_of_a_value(self, tmp_path, monkeypatch, quoted):
    monkeypatch.setattr(coco_stream, "_MAX_ENTRY_BYTES", 10_000)
    monkeypatch.setattr(coco_stream, "_CHUNK_BYTES", 1000)
    for content in (
      b'{"images": [{"id": 1, "file_name": "' + b"a" * 20_000 + b'"}]}',
      b'{"images": [{"id": 1, "x": [' + b"1, " * 10_000 + b"1]}]}",
      b'{"x": "' + b"a" * 20_000 + b'", "images": []}',
      b'{"images": ' + b" " * 20_000 + b"[]}",
    ):
      with pytest.raises(ValueError, match="a value of more than 10000 bytes"):
        _read(tmp_path, content, quote_odd_numbers=quoted)
    long_lists = b'{"x": [' + b"1, " * 10_000 + b'1], "images": [{"id": 1}' + b', {"id": 2}' * 2000
    assert len(_read(tmp_path, long_lists + b"]}", quote_odd_numbers=quoted)) == 2001
