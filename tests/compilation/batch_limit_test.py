"""Tests of the search for the largest batch, on made-up costs."""

import pytest

from mtl_ssl_tf.compilation import batch_limit


class _Step:
  """Takes `fixed` bytes and `cost(size)`; remembers what was asked for."""

  def __init__(self, fixed, cost):
    self._fixed, self._cost = fixed, cost
    self.asked = []

  def __call__(self, size):
    self.asked.append(size)
    return self._fixed + self._cost(size)


def _linear(size):
  return 10 * size


def test_a_line_is_followed_to_the_answer():
  step = _Step(100, _linear)
  found = batch_limit.find(step, 255.0, {4: 140})
  # 100 + 10 x 15 = 250 fits, 260 does not: 8 for the line, 15 to make sure.
  assert step.asked == [8, 15]
  assert (found.largest, found.next_bytes, found.is_largest) == (15, 260.0, True)
  assert (found.fixed, found.per_image) == (100.0, 10.0)
  assert found.compiled == {4: 140, 8: 180, 15: 250}


def test_exactly_full_fits():
  assert batch_limit.find(_Step(100, _linear), 250.0, {4: 140}).largest == 15


def test_an_answer_that_does_not_fit_is_corrected():
  # Dearer by 30 from 10 images on, which the line through 2 and 4 does not know.
  step = _Step(100, lambda size: 10 * size + 30 * (size >= 10))
  found = batch_limit.find(step, 205.0, {2: 120})
  assert step.asked[:2] == [4, 10]
  assert found.largest == 9
  assert found.next_bytes == 230
  assert found.is_largest
  assert all(num_bytes <= 205 for size, num_bytes in found.compiled.items() if size <= 9)


def test_too_large_a_start_is_halved():
  step = _Step(100, _linear)
  found = batch_limit.find(step, 150.0, {64: 740})
  assert step.asked == [32, 5]
  assert found.largest == 5


def test_not_even_one_image():
  found = batch_limit.find(_Step(100, _linear), 105.0, {8: 180})
  assert (found.largest, found.next_bytes, found.is_largest) == (0, 110, True)
  assert 1 in found.compiled


def test_the_number_of_compilations_is_bounded():
  # The square is far from any line.
  step = _Step(0, lambda size: size * size)
  found = batch_limit.find(step, 1e6, {1: 1})
  assert len(step.asked) <= 5
  assert found.largest in found.compiled
  assert found.compiled[found.largest] <= 1e6


@pytest.mark.parametrize("room", [130.0, 137.0, 164.0, 999.0, 1234.0])
def test_as_trying_every_size_says(room):
  step = _Step(37, lambda size: 7 * size + size // 3)
  found = batch_limit.find(step, room, {1: 44})
  tried = [size for size in range(1, 300) if 37 + 7 * size + size // 3 <= room]
  assert found.largest == max(tried)


def test_memory_that_does_not_grow_is_not_followed_for_ever():
  found = batch_limit.find(_Step(100, lambda size: 0), 1000.0, {1: 100})
  assert found.largest == 4096
  assert not found.is_largest
