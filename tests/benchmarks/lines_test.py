"""Points that leave the straight line through their lower half."""

import pytest

from benchmarks.cost import lines


def test_straight_points_stay_on_their_line():
  line = lines.fit([1, 2, 3, 4, 5], [12, 14, 16, 18, 20])
  assert line.fixed == pytest.approx(10.0)
  assert line.slope == pytest.approx(2.0)
  assert line.leaves_at is None
  assert line.ratio is None


def test_first_point_too_far_above():
  # The line through 1, 2, 3 is 2x; 9 at 4 is 1.125 times it, 13 at 5 is 1.3 times.
  line = lines.fit([1, 2, 3, 4, 5], [2, 4, 6, 9, 13])
  assert line.slope == pytest.approx(2.0)
  assert line.leaves_at == 5.0
  assert line.ratio == pytest.approx(1.3)


def test_below_counts_too():
  assert lines.fit([1, 2, 3, 4], [2, 4, 4.5, 6]).leaves_at == 3.0


def test_a_single_point_that_is_off_is_an_accident():
  assert lines.fit([1, 2, 3, 4, 5], [2, 4, 6, 11, 10]).leaves_at is None


def test_only_the_lower_half_makes_the_line():
  # Of four points, two.
  line = lines.fit([1, 2, 3, 4], [2, 4, 60, 80])
  assert line.slope == pytest.approx(2.0)
  assert line.leaves_at == 3.0
  assert line.ratio == pytest.approx(10.0)


def test_line_that_falls_below_zero_is_left():
  line = lines.fit([1, 2, 3, 4], [4, 1, 1, 1])
  assert line.leaves_at == 3.0
  assert line.ratio == float("inf")


def test_two_points_say_nothing():
  assert lines.fit([1, 2], [1, 2]) is None
