"""Tests of the warnings about one image, on boxes worked by hand."""

import re

import numpy as np
import pytest

from mtl_ssl_tf.configs import detector
from mtl_ssl_tf.data.inspection import checks
from tests.data.inspection import limits as limits_lib


def _facts(boxes, names=None, height=100, width=200, crowd=None, **others) -> checks.ImageFacts:
  n = len(boxes)
  return checks.ImageFacts(
    file="a.xml",
    source_id="a",
    height=height,
    width=width,
    boxes_orig=np.reshape(np.asarray(boxes, np.float64), [-1, 4]),
    class_names=names or ["cat"] * n,
    object_numbers=range(1, n + 1),
    difficult=[False] * n,
    is_crowd=crowd or [False] * n,
    **others,
  )


# An input of 100 x 200 leaves an image of that size as it is.
_LIMITS = limits_lib.make(
  input_size=(100, 200),
  short_side=100,
  long_side=200,
  max_num_boxes=3,
  anchor_base_size_px=20.0,
  anchor_scales=(1.0, 0.5),
)
_BOX = (10.0, 20.0, 30.0, 40.0)


def _messages(found) -> list[str]:
  assert all(finding.level == checks.WARNING for finding in found)
  return [f"{finding.kind}: {finding}" for finding in found]


class TestFinding:
  def test_reads_like_a_fault_of_the_converters(self):
    finding = checks.Finding(
      "k", checks.FAULT, "a.xml", "name", "'cow'", "a cat", None, "a", 3, "x"
    )
    assert str(finding) == "a.xml: object 3 (x) name: 'cow'; accepted: a cat"

  def test_names_the_record(self):
    finding = checks.Finding("k", checks.FAULT, "t.tfrecord", "f", "v", "a", record=0)
    assert str(finding) == "t.tfrecord, record 0: f: v; accepted: a"


class TestSizes:
  # Height x width of the image and of the input, short and long side, and the factor by hand.
  @pytest.mark.parametrize(
    ("size", "input_size", "short_side", "long_side", "factor"),
    [
      ((100, 200), (1024, 1024), 600, 1024, 5.12),  # The long side limits.
      ((400, 500), (1024, 1024), 600, 1024, 1.5),  # The short side.
      ((400, 500), (300, 1024), 600, 1024, 0.75),  # The input size.
      ((500, 400), (1024, 1024), 600, 1024, 1.5),
      ((1, 1), (64, 64), 32, 64, 32.0),
    ],
  )
  def test_pixels_of_the_network_input(self, size, input_size, short_side, long_side, factor):
    limits = limits_lib.make(input_size=input_size, short_side=short_side, long_side=long_side)
    facts = _facts([(0, 0, 1, 1), (0.25, 0.5, 0.5, 1.0)], height=size[0], width=size[1])
    np.testing.assert_allclose(
      checks.box_sizes_px(facts, limits), [[factor, factor], [0.25 * factor, 0.5 * factor]], 1e-6
    )

  def test_no_boxes(self):
    assert checks.box_sizes_px(_facts([]), _LIMITS).shape == (0, 2)


class TestDuplicates:
  def test_the_later_of_two(self):
    facts = _facts([_BOX, (50, 50, 60, 60), _BOX])
    assert _messages(checks.check_duplicates(facts, 0.95)) == [
      "duplicate_box: a.xml: object 3 ('cat') box: repeats object 1 (IoU 1.00); accepted: each"
      " object once"
    ]

  def test_each_of_three_refers_to_the_first(self):
    found = checks.check_duplicates(_facts([_BOX] * 3), 0.95)
    assert [(finding.object_number, finding.value) for finding in found] == [
      (2, "repeats object 1 (IoU 1.00)"),
      (3, "repeats object 1 (IoU 1.00)"),
    ]

  def test_two_classes(self):
    found = checks.check_duplicates(_facts([_BOX, _BOX], ["dog", "cat"]), 0.95)
    assert _messages(found) == [
      "box_of_two_classes: a.xml: object 2 ('cat') box: is the box of object 1 ('dog') (IoU 1.00);"
      " accepted: one class for each box"
    ]

  # 20 x 20 against the same less two columns: IoU 0.9.
  @pytest.mark.parametrize(("threshold", "num_found"), [(0.89, 1), (0.91, 0)])
  def test_threshold(self, threshold, num_found):
    found = checks.check_duplicates(_facts([_BOX, (10, 20, 30, 38)]), threshold)
    assert len(found) == num_found

  def test_apart_or_inside_is_no_duplicate(self):
    facts = _facts([_BOX, (10, 40, 30, 60), (30, 20, 50, 40), (15, 25, 25, 35), (60, 90, 80, 99)])
    assert checks.check_duplicates(facts, 0.95) == []

  @pytest.mark.parametrize("crowd", [[True, False], [False, True]])
  def test_a_crowd_is_compared_with_nothing(self, crowd):
    assert checks.check_duplicates(_facts([_BOX, _BOX], crowd=crowd), 0.95) == []

  @pytest.mark.parametrize("boxes", [[], [_BOX]])
  def test_nothing_to_compare(self, boxes):
    assert checks.check_duplicates(_facts(boxes), 0.95) == []


class TestVanishing:
  def test_less_than_a_pixel_a_side(self):
    # Halved, 1.9 pixels are less than one and 2 are not.
    facts = _facts([(0, 0, 2, 2), (0, 0, 1.9, 8), (0, 0, 8, 1)])
    found = checks.check_vanishing(facts, 0.5 * (facts.boxes_orig[:, 2:] - facts.boxes_orig[:, :2]))
    assert _messages(found) == [
      "vanishing_box: a.xml: object 2 ('cat') box: 4 x 0.95 pixels (width x height) once the image"
      " is resized, which is less than one; accepted: at least 1 pixel a side",
      "vanishing_box: a.xml: object 3 ('cat') box: 0.5 x 4 pixels (width x height) once the image"
      " is resized, which is less than one; accepted: at least 1 pixel a side",
    ]


class TestAnchors:
  def test_one_finding_an_image(self):
    # The smallest anchor is 10 x 10. 5 x 20 is as large, 9 x 11 is not.
    sizes = np.array([[5.0, 20.0], [9.0, 11.0], [3.0, 4.0], [50.0, 50.0]])
    found = checks.check_anchors(_facts([_BOX] * 4), sizes, 10.0)
    assert _messages(found) == [
      "smaller_than_anchors: a.xml: object 3 ('cat') box: 4 x 3 pixels (width x height) once the"
      " image is resized, the smallest of 2 here that are smaller than any anchor; accepted: the"
      " area of 10 x 10 pixels, or more"
    ]

  def test_one_box(self):
    (found,) = checks.check_anchors(_facts([_BOX]), np.array([[9.0, 11.0]]), 10.0)
    assert found.value == "11 x 9 pixels (width x height) once the image is resized"

  def test_crowds_do_not_count(self):
    facts = _facts([_BOX, _BOX], crowd=[True, False])
    assert checks.check_anchors(facts, np.array([[1.0, 1.0], [20.0, 20.0]]), 10.0) == []

  def test_no_boxes(self):
    assert checks.check_anchors(_facts([]), np.zeros([0, 2]), 10.0) == []

  def test_smallest_anchor(self):
    assert _LIMITS.smallest_anchor_px == 10.0


class TestSlots:
  @pytest.mark.parametrize(("num_boxes", "num_found"), [(0, 0), (3, 0), (4, 1)])
  def test_num_boxes(self, num_boxes, num_found):
    found = checks.check_num_boxes(_facts([_BOX] * num_boxes), 3)
    assert len(found) == num_found

  def test_message(self):
    assert _messages(checks.check_num_boxes(_facts([_BOX] * 4, record=7), 3)) == [
      "too_many_boxes: a.xml, record 7: boxes: 4 boxes, of which the last would be left out;"
      " accepted: at most 3 (max_num_boxes)"
    ]


def test_all_checks_of_an_image():
  facts = _facts([_BOX, _BOX, (0, 0, 0.5, 9), (50, 50, 90, 90)])
  found = checks.check_image(facts, _LIMITS)
  assert [(finding.kind, finding.object_number) for finding in found] == [
    ("duplicate_box", 2),
    ("vanishing_box", 3),
    ("smaller_than_anchors", 3),
    ("too_many_boxes", None),
  ]
  assert {(finding.file, finding.source_id) for finding in found} == {("a.xml", "a")}


def test_an_image_without_boxes_has_no_findings():
  assert checks.check_image(_facts([]), _LIMITS) == []


@pytest.mark.parametrize("size", [(), (5,), (5, 5, 5), (0, 5), (5, -1)])
def test_impossible_input_size(size):
  message = rf"input_size is {re.escape(str(list(size)))}; accepted: height and width, at least 1"
  with pytest.raises(ValueError, match=message):
    limits_lib.make(input_size=size)


def test_limits_of_a_configuration():
  task = detector.MtlDetection()
  assert checks.Limits.of_config(task, task.train_data) == checks.Limits(
    (1024, 1024), 600, 1024, 100, 256.0, (0.25, 0.5, 1.0, 2.0), (0.5, 1.0, 2.0)
  )
  task.anchors.scales = [0.125]
  task.anchors.base_size_px = 128.0
  task.validation_data.short_side = 300
  task.validation_data.long_side = 500
  task.validation_data.input_size = [512, 640]
  task.validation_data.max_num_boxes = 7
  limits = checks.Limits.of_config(task, task.validation_data, min_boxes_per_class=3)
  assert limits == checks.Limits(
    (512, 640), 300, 500, 7, 128.0, (0.125,), (0.5, 1.0, 2.0), min_boxes_per_class=3
  )
  assert limits.smallest_anchor_px == 16.0


def test_anchors_of_a_feature_pyramid_are_those_of_all_levels():
  task = detector.MtlDetection()
  task.override(
    {
      "roi_head": {"type": "fpn"},
      "fpn": {"min_level": 3, "max_level": 5},
      "anchors": {"cells": 4.0, "level_scales": [1.0, 1.5], "aspect_ratios": [1.0]},
    }
  )
  limits = checks.Limits.of_config(task, task.train_data)
  sides = [limits.anchor_base_size_px * scale for scale in limits.anchor_scales]
  assert sides == [32.0, 48.0, 64.0, 96.0, 128.0, 192.0]
  assert (limits.smallest_anchor_px, limits.largest_anchor_px) == (32.0, 192.0)


def test_limits_in_words():
  assert str(_LIMITS) == (
    "images with a short side of 100 pixels and a long one of at most 200, in an input of 100 x"
    " 200; anchors with sides of 10 to 20 pixels, width by height 0.5, 1, 2; at most 3 boxes"
  )


def test_boxes_are_measured_in_the_input_of_their_orientation():
  task = detector.MtlDetection()
  data = task.train_data.replace(
    input_layout="by_orientation", input_size=[300, 400], long_side=800
  )
  limits = checks.Limits.of_config(task, data)
  for height, width in ((60, 80), (80, 60)):
    # Five times as large, as in an input of 300 × 400 or of 400 × 300.
    sizes_px = checks.box_sizes_px(_facts([[0, 0, 10, 20]], height=height, width=width), limits)
    np.testing.assert_allclose(sizes_px, [[50.0, 100.0]])
