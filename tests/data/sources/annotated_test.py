"""Tests of what annotations of any format say: values that state nothing, flags, boxes."""

import pytest

from mtl_ssl_tf.data import faults
from mtl_ssl_tf.data.sources import annotated


@pytest.mark.parametrize(
  "value",
  [
    *(None, -1, -1.0, [], {}, "", " ", "-", "--", "?", "-1", " -1.0 ", "N/A", "na", "NaN", "nil"),
    *("none", "NULL", "Not specified", "undefined", "unknown", "unset", "Unspecified"),
  ],
)
def test_values_that_state_nothing(value):
  assert not annotated.is_stated(value)
  assert annotated.flag(value) == 0
  assert annotated.share_flag(value) == 0


@pytest.mark.parametrize("value", [0, 1, False, True, "0", "no", "x", "-2", [0], {"a": 1}, 0.0])
def test_values_that_state_something(value):
  assert annotated.is_stated(value)


@pytest.mark.parametrize(
  ("value", "flag", "share"),
  [
    *((value, 1, 1) for value in (1, 1.0, True, "1", " 1.0 ", "true", "Yes")),
    *((value, 0, 0) for value in (0, 0.0, False, "0", "false", "NO")),
    *((value, None, 1) for value in (2, 0.05, "0.3", "2")),
    *((value, None, 0) for value in (-2, "-0.5", "much", [1], {"a": 1}, "nan1")),
  ],
)
def test_flags(value, flag, share):
  assert annotated.flag(value) == flag
  assert annotated.share_flag(value) == share


class _Object(annotated.AnnotatedObject):
  coordinate_fields = ("box/ymin", "box/xmin", "box/ymax", "box/xmax")


def _clip(box, height, width, **rules) -> tuple[float, ...]:
  item = _Object(1, "cat", box)
  return annotated.clip_box(item, height, width, "a", annotated.BoxRules(**rules))


class TestAllowance:
  """A box may reach out by 3 pixels, or a hundredth of the side where that is more."""

  @pytest.mark.parametrize(("side", "allowance"), [(40, 3.0), (300, 3.0), (500, 5.0)])
  def test_by_default(self, side, allowance):
    for rules, expected in (({}, allowance), ({"clip_px": 0.0}, 0.0), ({"clip_px": 9.0}, 9.0)):
      assert annotated.BoxRules(**rules).allowance_px(side) == expected

  def test_of_each_side_by_its_own_length(self):
    assert _clip((-3, -5, 103, 505), 100, 500) == (0, 0, 100, 500)
    for place, outside in enumerate((-3.5, -5.5, 103.5, 505.5)):
      box = [10, 10, 90, 400]
      box[place] = outside
      with pytest.raises(faults.FaultError, match="lies outside the image of 500 x 100"):
        _clip(tuple(box), 100, 500)

  @pytest.mark.parametrize("clip_px", [-1.0, float("nan"), float("inf")])
  def test_other_values(self, clip_px):
    with pytest.raises(ValueError, match=r"--clip_px is .*; accepted: 0 or more pixels"):
      annotated.BoxRules(clip_px)


class TestFractions:
  @pytest.mark.parametrize(
    ("box", "size", "expected"),
    [
      ((0.1, 0.2, 0.8, 0.5), (20, 40), True),
      ((0.0, 0.0, 1.0, 0.5), (20, 40), True),
      ((0.0, 0.0, 0.5, 1.0), (20, 40), True),
      # The first pixel, or a part of the only one.
      ((0.0, 0.0, 1.0, 1.0), (20, 40), False),
      ((0.0, 0.2, 1.0, 0.5), (1, 40), False),
      ((0.0, 0.2, 1.0, 0.5), (40, 1), False),
      ((0.0, 0.0, 1.5, 0.5), (20, 40), False),
      ((0.0, 0.0, 0.5, 1.5), (20, 40), False),
      ((-0.5, 0.0, 0.5, 0.5), (20, 40), False),
      ((0.0, -0.5, 0.5, 0.5), (20, 40), False),
    ],
  )
  def test_boxes_within_the_first_pixel(self, box, size, expected):
    assert annotated.are_fractions(box, *size) == expected


def test_what_float32_makes_empty_is_nothing():
  # In records, both sides are the same number.
  assert annotated.cut_to_image((0.0, 9000.0, 10.0, 9000.0001), 10_000, 10_000) is None
  assert annotated.cut_to_image((9000.0, 0.0, 9000.0001, 10.0), 10_000, 10_000) is None
  assert annotated.cut_to_image((0.0, 9000.0, 10.0, 9000.1), 10_000, 10_000) is not None
