import numpy as np
import pytest
import tensorflow as tf

from mtl_ssl_tf.ops import interval_ops
from tests.labels import oracles

LAWS = {
  "top_left": (interval_ops.top_left_chance, interval_ops.top_left_draw),
  "center_clip": (interval_ops.center_clip_chance, interval_ops.center_clip_draw),
}
# Side of 132 px, intervals of at least 32 px. Targets in the middle, long, short; at either border
# and within 32 px of it; the whole side.
TARGETS = [(60, 70), (40, 110), (66, 66.5), (0, 5), (10, 12), (127, 132), (120, 121), (0, 132)]


def _floats(*values):
  return [tf.constant(value, tf.float32) for value in values]


def test_chance_top_left_by_hand():
  # Slack 100, target [82, 132]. Starts after 82 - 32 = 50 always reach it: 0.5 of all. A start
  # s < 50 has an end uniform in [s + 32, 132], behind 82 with probability 50 / (100 - s); the mean
  # over s is 0.5 · log(100 / 50).
  chance = interval_ops.top_left_chance(*_floats(82, 132, 132, 32))
  np.testing.assert_allclose(chance, 0.5 + 0.5 * np.log(2.0), rtol=1e-6)


def test_chance_center_clip_by_hand():
  # Side 100, sizes 20 to 100, target [40, 50]. With size z, centres from 40 - z/2 to 50 + z/2 meet
  # it: a range of 10 + z, until z = 80 puts its low end at 0; then 50 + z/2. The integrals are
  # 3600 over 20 … 80 and 1900 over 80 … 100, of 80 · 100 in all.
  chance = interval_ops.center_clip_chance(*_floats(40, 50, 100, 20))
  np.testing.assert_allclose(chance, 5500.0 / 8000.0, rtol=1e-6)


def test_chance_center_clip_near_a_border_by_hand():
  # Side 100, sizes 20 to 100, target [5, 10]. Intervals with their centre at the left border are
  # pushed back to [0, 20] and meet it; so centres from 0 to 10 + z/2 do: 40 on average.
  chance = interval_ops.center_clip_chance(*_floats(5, 10, 100, 20))
  np.testing.assert_allclose(chance, 0.4, rtol=1e-6)


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("target", TARGETS)
def test_law_equals_plain_draws_that_meet_the_target(law, target):
  chance_fn, draw_fn = LAWS[law]
  rng = np.random.default_rng(1)
  plain = oracles.plain_windows(rng, np.array([132.0, 132.0]), 200_000, law)[:, [0, 2]]
  meets = (plain[:, 0] < target[1]) & (plain[:, 1] > target[0])
  chance = chance_fn(*_floats(*target, 132, 32)).numpy()
  assert abs(chance - meets.mean()) < 0.005

  first, second = tf.constant(rng.uniform(size=[2, 40_000]), tf.float32)
  start, end = draw_fn(first, second, *_floats(*target, 132, 32))
  kept = plain[meets]
  for ours, theirs in (
    (start, kept[:, 0]),
    (end, kept[:, 1]),
    (end - start, kept[:, 1] - kept[:, 0]),
  ):
    # 200 000 draws of which one in 40 is kept still leave a standard error below 0.007.
    levels = np.quantile(theirs, np.linspace(0.05, 0.95, 19))
    below_ours = np.mean(ours.numpy()[:, np.newaxis] < levels + 1e-3, axis=0)
    below_theirs = np.mean(theirs[:, np.newaxis] < levels + 1e-3, axis=0)
    np.testing.assert_allclose(below_ours, below_theirs, atol=0.025)


@pytest.mark.parametrize("law", LAWS)
def test_a_side_without_slack_is_the_interval(law):
  chance_fn, draw_fn = LAWS[law]
  low, high, length, shortest = _floats([0.0, 7.0, 19.0], [20.0, 8.0, 20.0], 20, 20)
  np.testing.assert_allclose(chance_fn(low, high, length, shortest), [1.0, 1.0, 1.0])
  start, end = draw_fn(*_floats(0.3, 0.9), low, high, length, shortest)
  np.testing.assert_array_equal(start, [0.0, 0.0, 0.0])
  np.testing.assert_array_equal(end, [20.0, 20.0, 20.0])


@pytest.mark.parametrize("law", LAWS)
def test_extreme_numbers_stay_inside(law):
  _, draw_fn = LAWS[law]
  low, high = (tf.constant(ends, tf.float32)[:, tf.newaxis] for ends in zip(*TARGETS, strict=True))
  almost_one = np.nextafter(np.float32(1.0), np.float32(0.0))
  first, second = _floats([0.0, 0.0, almost_one, almost_one], [0.0, almost_one, 0.0, almost_one])
  draw = tf.function(draw_fn, jit_compile=True)
  start, end = (ends.numpy() for ends in draw(first, second, low, high, *_floats(132, 32)))
  assert start.min() >= 0.0 and end.max() <= 132.0 + 1e-4
  assert (end - start).min() >= 32.0 - 1e-4
  assert (start <= high.numpy() + 1e-4).all() and (end >= low.numpy() - 1e-4).all()
