"""What a range accepts, and its words."""

import math

import pytest

from mtl_ssl_tf.configs.ranges import ListOf, Range

SHARE, COUNT = Range(0.0, 1.0), Range(1, 20_000)
OPEN = Range(0.0, 1.0, above=True, below=True)
LOSS_SCALE = Range(1.0, 8.0, others=("dynamic", None))


@pytest.mark.parametrize(
  ("bounds", "text"),
  [
    (SHARE, "0.0 to 1.0"),
    (COUNT, "1 to 20,000"),
    (OPEN, "above 0.0 and below 1.0"),
    (Range(0.0, 5.0, above=True), "above 0.0 and at most 5.0"),
    (Range(0.0, 5.0, below=True), "at least 0.0 and below 5.0"),
    (Range(0.0, 0.0), "0.0"),
    (COUNT.or_null, "1 to 20,000, or null"),
    (LOSS_SCALE, "1.0 to 8.0, or dynamic, or null"),
    (ListOf(SHARE, 1, 3), "a list of 1 to 3 numbers, each 0.0 to 1.0"),
    (ListOf(COUNT, 2, 2, or_null=True), "a list of 2 whole numbers, each 1 to 20,000, or null"),
  ],
)
def test_words(bounds, text):
  assert bounds.text == text


@pytest.mark.parametrize(
  ("bounds", "values"),
  [
    (SHARE, (0, 0.0, 0.5, 1)),
    (COUNT, (1, 20_000)),
    (OPEN, (1e-300, 0.999)),
    (COUNT.or_null, (1, None)),
    (LOSS_SCALE, (1, 8.0, "dynamic", None)),
    (Range(1, 5, others=(-1,)), (-1, 1)),
    (ListOf(SHARE, 0, 2), ([], [0.0], (0, 1.0))),
    (ListOf(SHARE, or_null=True), (None, [0.5])),
  ],
)
def test_accepted(bounds, values):
  assert [value for value in values if bounds.refusal(value) is not None] == []


@pytest.mark.parametrize(
  ("bounds", "values"),
  [
    (SHARE, (-0.1, 1.1, math.nan, math.inf, -math.inf, 10**400)),
    (COUNT, (0, 20_001, -(10**400))),
    (OPEN, (0.0, 1.0, 0, 1, math.nan)),
    (LOSS_SCALE, (0.5, math.nan, 9)),
  ],
)
def test_out_of_range(bounds, values):
  assert {bounds.refusal(value) for value in values} == {bounds.text}


@pytest.mark.parametrize("value", [None, "1", True, [1], 1.0, math.nan])
def test_no_whole_number(value):
  assert COUNT.refusal(value) == "a whole number, 1 to 20,000"


@pytest.mark.parametrize("value", [None, "0.5", True, [0.5]])
def test_no_number(value):
  assert SHARE.refusal(value) == "a number, 0.0 to 1.0"


@pytest.mark.parametrize("value", [None, 0.5, "0.5", [], [0.5] * 3, [0.5, math.nan], [True]])
def test_no_such_list(value):
  assert ListOf(SHARE, 1, 2).refusal(value) == "a list of 1 to 2 numbers, each 0.0 to 1.0"


def test_true_is_no_one():
  assert Range(0, 5, others=(1,)).refusal(True) is not None
