"""Tests of counting, of lists of bounded length, and of which images are the worst."""

import collections
import json
import re

import numpy as np
import pytest

from mtl_ssl_tf.data.inspection import checks, validation_report
from tests.data import voc_files
from tests.data.inspection import limits

_IMAGE = voc_files.image_bytes(voc_files.picture(100, 200))


def _finding(kind="label", level=checks.FAULT, **others) -> checks.Finding:
  return checks.Finding(kind, level, "a.xml", "field", "v", "accepted", **others)


def _facts(names=("cat",)) -> checks.ImageFacts:
  n = len(names)
  boxes = np.tile([[10.0, 20.0, 30.0, 40.0]], [n, 1])
  return checks.ImageFacts(
    "a.xml", "a", 100, 200, boxes, names, range(1, n + 1), [False] * n, [False] * n
  )


def _inspected(name, *findings, facts=None, encoded=None) -> validation_report.Inspected:
  return validation_report.Inspected(name, facts, findings, encoded, {1: (10.0, 20.0, 30.0, 40.0)})


def _report(*images, classes=("cat", "dog"), **options) -> validation_report.ValidationReport:
  report = validation_report.ValidationReport(limits.make(), classes, **options)
  for inspected in images:
    report.add_image(inspected)
  return report


def _names(report) -> list[str]:
  return [name for name, _, _ in report.worst()]


class TestCounts:
  def test_kinds_faults_first_then_the_most_frequent(self):
    warning, note = _finding("slots", checks.WARNING), _finding("size_missing", checks.NOTE)
    report = _report(
      _inspected("a", warning, warning, warning, note),
      _inspected("b", _finding(), warning),
      _inspected("c", _finding("box"), _finding("box")),
    )
    assert report.kinds() == {
      "box": {"level": "fault", "num_findings": 2, "num_images": 1},
      "label": {"level": "fault", "num_findings": 1, "num_images": 1},
      "slots": {"level": "warning", "num_findings": 4, "num_images": 2},
      "size_missing": {"level": "note", "num_findings": 1, "num_images": 1},
    }
    assert list(report.kinds()) == ["box", "label", "slots", "size_missing"]
    assert [report.num_of(level) for level in checks.LEVELS] == [3, 4, 1]
    assert report.findings(checks.FAULT) == [_finding("box")] * 2 + [_finding()]
    assert report.findings(checks.WARNING) == [warning] * 4

  def test_what_concerns_no_image(self):
    report = _report()
    report.add_general([_finding("shard_missing")])
    assert report.kinds()["shard_missing"]["num_images"] == 0
    assert report.num_of(checks.FAULT) == 1
    assert b"a.xml: field: v" in report.html("t")
    assert report.worst() == []


class TestSample:
  def _shown(self, report) -> list[str]:
    texts = report.html("t").decode()
    return re.findall(r'class="card"><div class="figure".*?<b>(\w+)</b>', texts)

  def _sound(self, number) -> list[validation_report.Inspected]:
    return [_inspected(f"n{i}", facts=_facts(), encoded=_IMAGE) for i in range(number)]

  def test_none_unless_asked_for(self):
    assert self._shown(_report(*self._sound(5))) == []

  @pytest.mark.parametrize(("number", "shown"), [(0, 0), (2, 2), (5, 3), (60, 3)])
  def test_so_many_in_their_order(self, number, shown):
    names = self._shown(_report(*self._sound(number), num_sampled=3))
    assert len(names) == shown
    assert names == sorted(names, key=lambda name: int(name[1:]))
    assert len(set(names)) == shown

  def test_each_image_as_likely_as_another(self):
    counts = collections.Counter()
    for seed in range(300):
      report = _report(num_sampled=3)
      report._random.seed(seed)
      for inspected in self._sound(6):
        report.add_image(inspected)
      counts.update(name for name in self._shown(report))
    # Of 300, half: 150, with a standard deviation of 9.
    assert all(110 < counts[f"n{i}"] < 190 for i in range(6))

  def test_those_that_cannot_be_trained_on_or_shown_are_left_out(self):
    unusable = _inspected("unusable", _finding(), encoded=_IMAGE)
    blank = _inspected("blank", facts=_facts(), encoded=b"")
    assert self._shown(_report(unusable, blank, *self._sound(1), num_sampled=3)) == ["n0"]


class TestJson:
  def test_whole(self):
    report = _report(
      _inspected("a\udcff", _finding(record=3, object_number=1), facts=None),
      _inspected("b", facts=_facts(("cat", "cat"))),
    )
    parsed = json.loads(report.as_json(source={"records": "x"}))
    assert next(iter(parsed)) == "source"
    assert parsed["num_images"] == 2
    assert parsed["num_unusable_images"] == 1
    assert (parsed["num_faults"], parsed["num_warnings"], parsed["num_notes"]) == (1, 0, 0)
    assert parsed["limits"]["max_num_boxes"] == 100
    assert parsed["kinds"]["label"]["num_findings"] == 1
    assert parsed["findings"] == [
      {
        "kind": "label",
        "level": "fault",
        "file": "a.xml",
        "field": "field",
        "value": "v",
        "accepted": "accepted",
        "record": 3,
        "source_id": None,
        "object_number": 1,
        "object_name": None,
      }
    ]
    assert parsed["statistics"]["classes"]["cat"]["num_boxes"] == 2
    assert parsed["worst"] == [
      {
        "image": "a\udcff",
        "reasons": ["a.xml, record 3: object 1 field: v; accepted: accepted"],
      }
    ]

  def test_lists_are_bounded_and_counts_are_not(self):
    report = _report(
      *[_inspected(str(i), _finding(), _finding("box")) for i in range(5)], max_listed=3
    )
    report.add_general([_finding("shard")] * 5)
    parsed = json.loads(report.as_json())
    assert parsed["kinds"]["label"]["num_findings"] == 5
    assert len(parsed["findings"]) == 9
    assert report.html("t").count(b"<li") < 5 + 2 * 5 + 1


class TestWorst:
  def test_some_of_each_kind(self):
    images = [_inspected(f"label {i}", _finding()) for i in range(9)]
    images += [_inspected("box", _finding("box", checks.WARNING))]
    assert _names(_report(*images, worst_per_kind=2)) == ["label 0", "label 1", "box"]

  def test_those_with_the_most_of_a_kind(self):
    images = [_inspected(str(n), *[_finding()] * n) for n in (1, 4, 2, 3, 1)]
    assert _names(_report(*images, worst_per_kind=2)) == ["4", "3"]

  def test_faults_before_warnings(self):
    warnings = [_finding("slots", checks.WARNING)] * 5
    report = _report(_inspected("w", *warnings), _inspected("f", _finding()))
    assert _names(report) == ["f", "w"]

  def test_an_image_with_two_kinds_is_shown_once(self):
    assert _names(_report(_inspected("a", _finding(), _finding("box")))) == ["a"]

  def test_neither_sound_images_nor_notes(self):
    report = _report(_inspected("a", facts=_facts()), _inspected("b", _finding("n", checks.NOTE)))
    assert _names(report) == []

  def test_pictures_are_small_and_show_the_boxes_by_their_worse_level(self, monkeypatch):
    seen = []
    monkeypatch.setattr(
      validation_report.contact_sheet,
      "thumbnail",
      lambda encoded, boxes, levels: seen.append((encoded, boxes, levels)) or b"small",
    )
    about_1 = {"object_number": 1}
    report = _report(
      _inspected(
        "a",
        _finding("slots", checks.WARNING, **about_1),
        _finding(**about_1),
        _finding("slots", checks.WARNING, **about_1),
        _finding("slots", checks.WARNING, object_number=2),
        _finding(),
        encoded=_IMAGE,
      )
    )
    levels = {1: checks.FAULT, 2: checks.WARNING}
    assert seen == [(_IMAGE, {1: (10.0, 20.0, 30.0, 40.0)}, levels)]
    assert report.worst()[0][1] == b"small"

  def test_only_what_is_kept_is_drawn(self, monkeypatch):
    drawn = []
    monkeypatch.setattr(
      validation_report.contact_sheet, "thumbnail", lambda *_: drawn.append(1) and None
    )
    _report(*[_inspected(str(i), _finding()) for i in range(50)], worst_per_kind=3)
    assert len(drawn) == 3

  def test_reasons_are_bounded(self):
    report = _report(_inspected("a", *[_finding()] * 500))
    assert len(report.worst()[0][2]) == 100


def test_lines():
  images = [_inspected(str(i), _finding()) for i in range(4)]
  images += [_inspected("s", _finding("slots", checks.WARNING), facts=_facts())]
  assert _report(*images).lines() == [
    "        1 cat",
    "        0 dog",
    "images 5, unusable 4, without boxes 0; boxes 1",
    "most boxes in an image 1, max_num_boxes 100; boxes smaller than the smallest anchor 0 (0.0 %)",
    *["fault: a.xml: field: v; accepted: accepted"] * 3,
    "fault: label: 4 in all, in images: 4",
    "warning: a.xml: field: v; accepted: accepted",
  ]


@pytest.mark.parametrize("classes", [None, ("cat",)])
def test_sheet(classes):
  report = _report(_inspected("<a>", _finding(object_number=1), encoded=_IMAGE), classes=classes)
  page = report.html("records & more").decode()
  assert "records &amp; more" in page
  assert "&lt;a&gt;" in page
  assert page.count("data:image/jpeg;base64,") == 1
