"""Tests of the figures about a data set, worked by hand."""

import json

import numpy as np
import pytest

from mtl_ssl_tf.data.inspection import checks, statistics
from tests.data.inspection import limits as limits_lib

# An input twice as large as images of 100 x 200.
_LIMITS = limits_lib.make(
  input_size=(200, 400),
  short_side=200,
  long_side=400,
  max_num_boxes=2,
  anchor_base_size_px=40.0,
  anchor_scales=(0.5, 1.0),
  anchor_aspect_ratios=(1.0,),
  min_boxes_per_class=2,
)


def _facts(boxes=(), names=None, crowd=None, difficult=None, size=(100, 200)):
  n = len(boxes)
  return checks.ImageFacts(
    file="a.xml",
    source_id="a",
    height=size[0],
    width=size[1],
    boxes_orig=np.reshape(np.asarray(boxes, np.float64), [-1, 4]),
    class_names=names or ["cat"] * n,
    object_numbers=range(1, n + 1),
    difficult=difficult or [False] * n,
    is_crowd=crowd or [False] * n,
  )


def _box(height: float, width: float):
  return (1.0, 2.0, 1.0 + height, 2.0 + width)


def _summary(*images, classes=("cat", "dog", "cow")) -> dict:
  gathered = statistics.DataStatistics(_LIMITS, classes)
  for facts in images:
    gathered.add(facts)
  summary = gathered.summary()
  json.dumps(summary, allow_nan=False)
  return summary


def test_classes():
  summary = _summary(
    _facts([_box(9, 9)] * 3, ["cat", "dog", "cat"]), _facts([_box(9, 9)], ["cat"]), _facts()
  )
  assert summary["classes"] == {
    "cat": {"num_boxes": 3, "num_images": 2, "share": 0.75},
    "dog": {"num_boxes": 1, "num_images": 1, "share": 0.25},
    "cow": {"num_boxes": 0, "num_images": 0, "share": 0.0},
  }
  assert summary["most_to_fewest_boxes"] == 3.0
  assert (summary["num_images"], summary["num_images_without_boxes"]) == (3, 1)


def test_classes_as_they_are_found():
  summary = _summary(_facts([_box(9, 9)], ["emu"]), classes=None)
  assert list(summary["classes"]) == ["emu"]


def test_boxes_per_image_against_max_num_boxes():
  images = [_facts([_box(9, 9)] * n) for n in (0, 2, 5, 2, 3)]
  assert _summary(*images)["boxes_per_image"] == {
    "most": 5,
    "max_num_boxes": 2,
    "num_boxes_left_out": 3 + 1,
    "histogram": {"0": 1, "2": 2, "3": 1, "5": 1},
  }


def test_sizes_of_images():
  summary = _summary(_facts(size=(10, 300)), _facts(size=(20, 50)), _facts(size=(15, 60)))
  assert summary["image_sizes"] == {
    "min_height": 10,
    "max_height": 20,
    "min_width": 50,
    "max_width": 300,
  }


def test_sizes_of_boxes():
  # Sides of squares: 8, 32 (not small), 96 (not medium), 7.9; a flat 4 x 64 is as large as 16 x 16.
  boxes = [_box(8, 8), _box(32, 32), _box(96, 96), _box(7.9, 7.9), _box(4, 64)]
  sizes = _summary(_facts(boxes))["box_sizes"]
  assert sizes["coco"] == {"small": 3, "medium": 1, "large": 1}
  assert sizes["side_in_file_log2"] == {"4": 1, "8": 1, "16": 1, "32": 1, "64": 1}
  assert sizes["side_in_network_input_log2"] == {"8": 1, "16": 1, "32": 1, "64": 1, "128": 1}


def test_boxes_of_less_than_a_pixel():
  sizes = _summary(_facts([_box(0.5, 0.5), _box(2, 2)]))["box_sizes"]
  assert sizes["side_in_file_log2"] == {"0.5": 1, "1": 0, "2": 1}


def test_aspect_ratios():
  # Width by height: 1, 2, 1.9 (below 2), 0.5, 1.41 (below the root of 2).
  boxes = [_box(10, 10), _box(10, 20), _box(10, 19), _box(20, 10), _box(100, 141)]
  assert _summary(_facts(boxes))["aspect_ratios_half_log2"] == {
    "0.5": 1,
    "0.707": 0,
    "1": 2,
    "1.41": 1,
    "2": 1,
  }


def test_anchors():
  # In the network input: 20 x 20 is an anchor; 19 x 20 has IoU 0.95; 10 x 20 0.5; 60 x 60 4 / 9.
  boxes = [_box(10, 10), _box(9.5, 10), _box(5, 10), _box(30, 30)]
  anchors = _summary(_facts(boxes))["anchors"]
  assert anchors["smallest"] == 20.0
  assert anchors["num_boxes_smaller"] == 2
  assert anchors["share_smaller"] == 0.5
  assert anchors["best_shape_iou"] == {"0.4": 1, "0.5": 1, "0.6": 0, "0.7": 0, "0.8": 0, "0.9": 2}


def test_aspect_ratios_of_anchors():
  # The anchor of ratio 4 is 10 x 40; without it the best is 20 x 20 with IoU 200 / 600.
  limits = checks.Limits((200, 400), 200, 400, 2, 20.0, (1.0,), (1.0, 4.0))
  gathered = statistics.DataStatistics(limits, None)
  gathered.add(_facts([_box(5, 20), _box(20, 5)]))
  assert gathered.summary()["anchors"]["best_shape_iou"] == {
    "0.3": 1,
    **{f"0.{i}": 0 for i in range(4, 9)},
    "0.9": 1,
  }


def test_crowds_are_counted_apart():
  summary = _summary(_facts([_box(8, 8), _box(40, 40)], crowd=[False, True]))
  assert (summary["num_boxes"], summary["num_crowd_boxes"]) == (1, 1)
  assert summary["box_sizes"]["coco"] == {"small": 1, "medium": 0, "large": 0}
  assert summary["anchors"]["num_boxes_smaller"] == 1
  assert summary["boxes_per_image"]["most"] == 2
  only_crowd = _summary(_facts([_box(8, 8)], crowd=[True]))
  assert (only_crowd["num_boxes"], only_crowd["box_sizes"]["side_in_file_log2"]) == (0, {})


def test_difficult():
  assert _summary(_facts([_box(8, 8)] * 2, difficult=[True, False]))["num_difficult_boxes"] == 1


def test_nothing():
  summary = _summary()
  assert summary["image_sizes"] is None
  assert summary["most_to_fewest_boxes"] is None
  assert summary["anchors"]["share_smaller"] == 0.0
  assert summary["boxes_per_image"]["histogram"] == {}


class TestFindings:
  def _messages(self, *images) -> list[str]:
    gathered = statistics.DataStatistics(_LIMITS, ["cat", "dog", "cow"])
    for facts in images:
      gathered.add(facts)
    found = gathered.findings("train")
    assert {finding.level for finding in found} <= {checks.WARNING}
    return [f"{finding.kind}: {finding}" for finding in found]

  def test_classes_with_few_boxes(self):
    facts = _facts([_box(9, 9)] * 3, ["cat", "dog", "cat"])
    assert self._messages(facts) == [
      "few_boxes: train: class 'dog': 1 boxes in 1 images; accepted: at least 2 boxes"
      " (--min_boxes_per_class)",
      "class_without_boxes: train: class 'cow': 0 boxes in 0 images; accepted: at least 2 boxes"
      " (--min_boxes_per_class)",
    ]

  def test_no_boxes_at_all(self):
    assert self._messages(_facts())[-1] == (
      "no_boxes: train: boxes: none in 1 images; accepted: boxes to train on"
    )
    assert [text.split(":")[0] for text in self._messages()] == ["class_without_boxes"] * 3


class TestAnchorFindings:
  """Anchors are squares of 20 and 40 pixels, in an input twice as large as the images."""

  def _messages(self, *boxes) -> list[str]:
    gathered = statistics.DataStatistics(_LIMITS, None)
    gathered.add(_facts(boxes, crowd=[False] * (len(boxes) - 1) + [True]))
    return [f"{finding.kind}: {finding}" for finding in gathered.anchor_findings("x", "try y")]

  def test_how_boxes_are_missed(self):
    # 8 x 8, 80 x 80, and 10 x 80, as large as a square of 28; the crowd does not count.
    boxes = [_box(10, 10), _box(4, 4), _box(40, 40), _box(5, 40), _box(4, 4), _box(1, 1)]
    assert self._messages(*boxes) == [
      "anchors_miss_boxes: x: boxes: 4 of 5 (80.0 %) overlap no anchor by an IoU of 0.5: 2 smaller"
      " than all anchors, 1 larger than all anchors, 1 of another size or shape; accepted: at most"
      " 5 %; try y"
    ]

  @pytest.mark.parametrize(("num_fitting", "is_found"), [(19, False), (18, True)])
  def test_one_in_twenty_is_accepted(self, num_fitting, is_found):
    boxes = [_box(10, 10)] * num_fitting + [_box(4, 4), _box(4, 4)]
    assert bool(self._messages(*boxes)) == is_found

  def test_a_half_is_enough(self):
    assert self._messages(_box(5, 10), _box(1, 1)) == []

  def test_nothing(self):
    assert statistics.DataStatistics(_LIMITS, None).anchor_findings("x", "y") == []
