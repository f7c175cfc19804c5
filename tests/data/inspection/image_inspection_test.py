"""Tests of walking records and splits: nothing is missed, and order depends on no thread."""

import os
import pathlib
import time

import numpy as np
import pytest

from mtl_ssl_tf.data import faults, pascal_voc
from mtl_ssl_tf.data.inspection import checks, image_inspection
from mtl_ssl_tf.data.records import examples
from mtl_ssl_tf.data.sources import annotated, coco_source, voc_source
from tests import fixtures
from tests.data import coco_files, voc_files
from tests.data.inspection import limits

_LIMITS = limits.make(anchor_base_size_px=1.0)


def _record(source_id: str, seed: int | None = None, size=(20, 40), boxes=((2, 4, 12, 14),)):
  image = fixtures.noise_image(*size, seed=int(source_id, 36) if seed is None else seed)
  return fixtures.serialized_example(image, boxes, [1] * len(boxes), source_id=source_id)


def _records(folder, *records, name="train-00000-of-00001.tfrecord") -> str:
  return fixtures.write_records(folder / name, records)


def _inspect(*files, classes=("cat",), **options):
  return list(image_inspection.inspect_records(files, classes, _LIMITS, **options))


def _kinds(images) -> list[list[str]]:
  return [[finding.kind for finding in inspected.findings] for inspected in images]


def _split(folder, files, classes=("cat", "dog")):
  voc_files.write(folder / "voc", files)
  source = voc_source.open_split(folder / "voc", "train", index_file=folder / "index")
  return source.with_classes(classes, "given")


class TestRecords:
  @pytest.mark.parametrize("num_threads", [1, 3])
  def test_all_in_order(self, tmp_path, num_threads):
    first = _records(tmp_path, *map(_record, "abcdefghijklmnopqrst"), name="a.tfrecord")
    second = _records(tmp_path, _record("z"), name="b.tfrecord")
    num_records, passed = {}, []
    images = _inspect(
      first, second, num_threads=num_threads, num_records=num_records, step=passed.append
    )
    assert [inspected.facts.source_id for inspected in images] == [*"abcdefghijklmnopqrst", "z"]
    assert images[0].name == "a (a.tfrecord, record 0)"
    assert images[20].name == "z (b.tfrecord, record 0)"
    assert num_records == {first: 20, second: 1}
    assert sum(passed) == sum(map(os.path.getsize, (first, second)))
    assert _kinds(images) == [[]] * 21
    assert images[0].boxes_orig[1] == pytest.approx([2, 4, 12, 14])
    assert images[0].encoded[:4] == b"\x89PNG"

  def test_a_damaged_record_hides_no_other(self, tmp_path):
    path = _records(tmp_path, *map(_record, "abc"))
    content = bytearray(pathlib.Path(path).read_bytes())
    content[len(content) // 2] ^= 1
    pathlib.Path(path).write_bytes(content)
    images = _inspect(path)
    assert _kinds(images) == [[], ["damaged_content"], []]
    assert images[1].name == "train-00000-of-00001.tfrecord, record 1"

  def test_warnings_about_sound_records(self, tmp_path):
    boxes = ((2, 4, 12, 14), (2, 4, 12, 14), (0, 0, 0.01, 9))
    images = _inspect(_records(tmp_path, _record("a", boxes=boxes)))
    assert _kinds(images) == [["duplicate_box", "vanishing_box"]]

  def test_unreadable_file(self, tmp_path):
    path = _records(tmp_path, _record("a"))
    missing = str(tmp_path / "x.tfrecord")
    for num_sampled in (0, 5):
      num_records = {}
      images = _inspect(missing, path, num_sampled=num_sampled, num_records=num_records)
      assert _kinds(images) == [["unreadable_file"], []]
      assert str(images[0].findings[0]) == (
        "x.tfrecord: file: cannot be read (NotFoundError); accepted: a readable file"
      )
      assert num_records[path] == 1


class TestSample:
  @pytest.mark.parametrize(
    ("number", "num_sampled", "chosen"),
    [(10, 2, [2, 7]), (10, 1, [5]), (3, 5, [0, 1, 2]), (0, 3, []), (7, 3, [1, 3, 5])],
  )
  def test_evenly_spread(self, number, num_sampled, chosen):
    assert image_inspection.evenly_spread(number, num_sampled) == chosen

  def test_and_the_last_of_each_file(self, tmp_path):
    files = [
      _records(tmp_path, *map(_record, "abcdef"), name="a.tfrecord"),
      _records(tmp_path, *map(_record, "ghij"), name="b.tfrecord"),
    ]
    num_records = {}
    images = _inspect(*files, num_sampled=2, num_records=num_records)
    assert [inspected.facts.source_id for inspected in images] == ["c", "f", "h", "j"]
    assert list(num_records.values()) == [6, 4]

  def test_the_first_of_each_remote_file(self, tmp_path, monkeypatch):
    files = [_records(tmp_path, *map(_record, ids), name=f"{ids}.tfrecord") for ids in ("abc", "d")]
    monkeypatch.setattr(image_inspection.record_index, "is_remote", lambda path: True)
    num_records = {}
    images = _inspect(*files, num_sampled=4, num_records=num_records)
    assert [inspected.facts.source_id for inspected in images] == ["a", "b", "d"]
    assert num_records == {}

  def test_a_file_cut_short_is_found(self, tmp_path):
    path = _records(tmp_path, *map(_record, "abcdef"))
    os.truncate(path, os.path.getsize(path) - 1)
    assert _kinds(_inspect(path, num_sampled=1)) == [[], ["cut_short"]]

  def test_of_a_split(self, tmp_path):
    source = _split(tmp_path, {f"{name}.xml": voc_files.annotation_xml() for name in "abcdef"})
    images = list(image_inspection.inspect_split(source, _LIMITS, num_sampled=2))
    assert [inspected.name for inspected in images] == ["b", "e"]


def test_repetitions_in_records_and_splits(tmp_path):
  names = [f"train-0000{number}-of-00002.tfrecord" for number in range(2)]
  files = [_records(tmp_path, _record("a"), name=name) for name in names]
  assert _kinds(_inspect(*files)) == [[], ["duplicate_source_id", "duplicate_image"]]
  source = _split(tmp_path, {f"{name}.xml": voc_files.annotation_xml() for name in "ab"})
  images = list(image_inspection.inspect_split(source, _LIMITS))
  assert _kinds(images) == [[], ["duplicate_image"]]
  assert images[1].findings[0].file == "Annotations/b.xml"


class TestSplit:
  @pytest.mark.parametrize("num_threads", [1, 3])
  def test_all_in_order_with_the_converters_faults(self, tmp_path, num_threads):
    objects = [
      voc_files.object_xml("cat"),
      voc_files.object_xml("cow"),
      voc_files.object_xml("dog", {"xmax": 2}),
      voc_files.object_xml("dog", {"xmin": 20, "xmax": 30}, difficult=1),
    ]
    source = _split(
      tmp_path,
      {
        "a.xml": voc_files.annotation_xml(objects),
        "b.xml": b"",
        "c.xml": voc_files.annotation_xml(objects[:1]),
        "c.jpg": b"",
        "d.xml": voc_files.annotation_xml(objects[:1], None),
      },
    )
    images = list(image_inspection.inspect_split(source, _LIMITS, num_threads=num_threads))
    assert [inspected.name for inspected in images] == ["a", "b", "c", "d"]
    found = [[str(finding) for finding in inspected.findings] for inspected in images]
    converted = [examples.convert(source, position) for position in range(4)]
    assert found[0].pop().startswith("Annotations/a.xml: regions_ignored: ")
    assert found[:3] == [[str(fault) for fault in image.faults] for image in converted[:3]]
    assert _kinds(images)[:3] == [["bndbox", "name", "regions_ignored"], ["xml"], ["image"]]
    facts = images[0].facts
    assert facts.object_numbers == [1, 4]
    assert facts.class_names == ["cat", "dog"]
    assert facts.difficult == [False, True]
    np.testing.assert_allclose(facts.boxes_orig, [[4, 2, 14, 12], [4, 20, 14, 30]], 1e-5)
    assert (facts.height, facts.width, facts.file) == (20, 40, "Annotations/a.xml")
    assert [inspected.facts is None for inspected in images] == [False, True, True, False]

  def test_rules_for_boxes_are_those_given(self, tmp_path):
    # The first box reaches 5 pixels out of the image, the second one 60.
    files = {
      f"{name}.xml": voc_files.annotation_xml([voc_files.object_xml("cat", {"xmax": xmax})])
      for name, xmax in (("a", 45), ("b", 100))
    }
    source = _split(tmp_path, files)
    clipped, ignored = ["boxes_clipped"], ["bndbox", "regions_ignored"]
    for rules, kinds, usable in (
      (annotated.DEFAULT_RULES, [ignored, ignored], [True, True]),
      (annotated.BoxRules(clip_px=5), [clipped, ignored], [True, True]),
      (annotated.BoxRules(5, False), [clipped, ["bndbox", "faulty_without_place"]], [True, False]),
    ):
      images = list(image_inspection.inspect_split(source, _LIMITS, rules=rules))
      found = [[kind for kind in of if kind != "duplicate_image"] for of in _kinds(images)]
      assert found == kinds
      assert [inspected.facts is not None for inspected in images] == usable

  def test_faulty_boxes_are_there_to_be_drawn(self, tmp_path):
    objects = [voc_files.object_xml("cat"), voc_files.object_xml("cat", {"xmax": 1})]
    objects.append(voc_files.object_xml("cat", {"xmax": "x"}))
    source = _split(tmp_path, {"a.xml": voc_files.annotation_xml(objects)})
    (inspected,) = image_inspection.inspect_split(source, _LIMITS)
    assert inspected.boxes_orig[1] == pytest.approx([4, 2, 14, 12])
    assert inspected.boxes_orig[2] == (4, 2, 14, 1)
    assert len(inspected.boxes_orig) == 2

  def test_the_image_of_a_faulty_annotation_is_there_to_be_shown(self, tmp_path):
    source = _split(tmp_path, {"a.xml": voc_files.annotation_xml([], (1, 2)), "b.xml": b"<x>"})
    images = list(image_inspection.inspect_split(source, _LIMITS))
    assert _kinds(images) == [["size"], ["xml"]]
    content = (tmp_path / "voc/JPEGImages/a.jpg").read_bytes()
    assert [inspected.encoded for inspected in images] == [content, content]

  def test_notes(self, tmp_path):
    source = _split(tmp_path, {"a.xml": voc_files.annotation_xml([], None)})
    (inspected,) = image_inspection.inspect_split(source, _LIMITS)
    assert [(finding.kind, finding.level) for finding in inspected.findings] == [
      ("size_missing", checks.NOTE)
    ]
    assert str(inspected.findings[0]) == (
      "Annotations/a.xml: size_missing: the annotation does not say how large the image is;"
      " accepted: as it is"
    )

  def test_the_same_facts_as_of_its_records(self, tmp_path):
    source = _split(
      tmp_path,
      {
        "a.xml": voc_files.annotation_xml([voc_files.object_xml("dog")]),
        "b.xml": voc_files.annotation_xml([voc_files.object_xml("cat")] * 2, (30, 50)),
        "b.png": voc_files.image_bytes(voc_files.picture(30, 50), "PNG"),
      },
    )
    flags = [f"--data_dir={tmp_path / 'voc'}", "--split=train", f"--output_dir={tmp_path / 'out'}"]
    assert pascal_voc.main([*flags, "--num_shards=1"]) == 0
    records = _inspect(str(tmp_path / "out/train-00000-of-00001.tfrecord"), classes=["cat", "dog"])
    for before, after in zip(image_inspection.inspect_split(source, _LIMITS), records, strict=True):
      for name in ("source_id", "height", "width", "class_names", "object_numbers", "is_crowd"):
        assert getattr(before.facts, name) == getattr(after.facts, name)
      np.testing.assert_allclose(before.facts.boxes_orig, after.facts.boxes_orig)


class TestCoco:
  def _inspect(self, folder, *annotations, entry=None, **options):
    images = [entry or coco_files.image_entry()]
    coco_files.write(folder, coco_files.text(annotations, images))
    source = coco_source.open_split(
      folder / "train.json", folder / "images", "train", index_file=folder / "index"
    )
    return list(image_inspection.inspect_split(source, _LIMITS, **options))

  @pytest.mark.parametrize("num_threads", [1, 3])
  def test_objects_by_their_place_in_the_file(self, tmp_path, num_threads):
    entries = [
      coco_files.annotation_entry(100),
      coco_files.annotation_entry(101, bbox=[30, 2, 30, 4]),
      coco_files.annotation_entry(102, bbox=[9, 2, 3, 0]),
      coco_files.annotation_entry(103, bbox=None),
      coco_files.annotation_entry(104, bbox=[20, 1, 5, 6], iscrowd=1, category_id=1),
      coco_files.annotation_entry(105),
    ]
    (inspected,) = self._inspect(tmp_path, *entries, num_threads=num_threads)
    assert inspected.name == "7"
    facts = inspected.facts
    assert (facts.file, facts.source_id) == ("train.json, image 7", "7")
    assert facts.object_numbers == [1, 4, 5, 6]
    assert facts.class_names == ["cat", "cat", "dog", "cat"]
    assert facts.is_crowd == [False, False, True, False]
    expected = [[4, 2, 14, 12], [4, 2, 14.5, 12], [1, 20, 7, 25]]
    np.testing.assert_allclose(facts.boxes_orig[:3], expected, 1e-5)
    # What is drawn: the faulty ones too, as far as they say where.
    assert sorted(inspected.boxes_orig) == [1, 2, 3, 4, 5, 6]
    assert inspected.boxes_orig[2] == (2, 30, 6, 60)
    assert inspected.boxes_orig[3] == (2, 9, 2, 12)
    assert [str(finding).split("; ")[0] for finding in inspected.findings] == [
      "train.json: object 3 ('cat', id 102) bbox/height: 0",
      "train.json: object 2 ('cat', id 101) bbox/x + width: 60 lies outside the image of 40 x 20"
      " (width x height)",
      "train.json, image 7: box_of_polygon: box made from a polygon",
      "train.json, image 7: regions_ignored: place of a faulty object kept as a region to be"
      " ignored",
      "train.json, image 7: object 4 ('cat', id 103) box: repeats object 1 (IoU 0.95)",
      "train.json, image 7: object 6 ('cat', id 105) box: repeats object 1 (IoU 1.00)",
    ]

  def test_an_image_without_an_id_is_called_by_its_file(self, tmp_path):
    entry = coco_files.image_entry(1.5, file_name="7.jpg")
    (inspected,) = self._inspect(tmp_path, entry=entry)
    assert (inspected.name, inspected.facts) == ("7.jpg", None)
    assert _kinds([inspected]) == [["image_id"]]
    assert inspected.encoded == (tmp_path / "images/7.jpg").read_bytes()

  def test_a_missing_image(self, tmp_path):
    (inspected,) = self._inspect(tmp_path, entry=coco_files.image_entry(8))
    assert (inspected.encoded, _kinds([inspected])) == (None, [["file"]])


@pytest.mark.parametrize(
  ("field", "kind"),
  [
    ("bndbox/xmax, bndbox/ymax", "bndbox"),
    ("line 7", "line"),
    ("image", "image"),
    ("image 7 width, height", "image_width"),
    ("", ""),
  ],
)
def test_kind_of_a_converters_fault(field, kind):
  fault = faults.Fault("a", field, "v", "accepted", 3, "'cat'")
  finding = image_inspection.finding_of_fault(fault, "a")
  assert (finding.kind, finding.level, finding.source_id) == (kind, checks.FAULT, "a")
  assert str(finding) == str(fault)


def test_order_is_that_of_the_items_and_few_are_under_way():
  taken = []

  def items():
    for i in range(100):
      taken.append(i)
      yield i

  def slow(i):
    time.sleep(0.002 * (i % 3))
    return i

  results = image_inspection._map_in_order(slow, items(), 4)
  assert [next(results) for _ in range(10)] == list(range(10))
  assert len(taken) < 40
  assert list(results) == list(range(10, 100))
