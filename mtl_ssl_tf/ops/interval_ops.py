"""Random intervals given that they meet a target: the sides of random windows, one axis at a time.

An interval [start, end] lies in [0, length], is at least `shortest` long, and meets a target
[low, high] if start < high and end > low. For each law of drawing intervals there is a function
`…_chance`, the probability that one meets the target, and a function `…_draw`, which turns two
uniform numbers into an interval given that it does.

Arguments are float32 tensors of any shapes that broadcast, with 0 <= low < high <= length and
0 < shortest <= length. The interval of a side no longer than `shortest` is the whole side.
"""

import tensorflow as tf

# Divides where the length leaves no choice, and everything it divides is 0 or clipped.
_TINY = 1e-30


def top_left_chance(
  low: tf.Tensor, high: tf.Tensor, length: tf.Tensor, shortest: tf.Tensor
) -> tf.Tensor:
  """Probability that an interval of the `top_left_draw` law meets the target."""
  _, early, late = _top_left_parts(low, high, length, shortest)
  return early + late


def top_left_draw(
  first: tf.Tensor,
  second: tf.Tensor,
  low: tf.Tensor,
  high: tf.Tensor,
  length: tf.Tensor,
  shortest: tf.Tensor,
) -> tuple[tf.Tensor, tf.Tensor]:
  """Draws a start uniform in [0, length - shortest], then a length uniform in what is left.

  Args:
    first: uniform numbers in [0, 1).
    second: uniform numbers in [0, 1), independent of `first`.
    low: start of the target.
    high: end of the target.
    length: length of the side.
    shortest: least length of an interval.

  Returns:
    The starts and the ends.
  """
  room, early, late = _top_left_parts(low, high, length, shortest)
  mass = first * (early + late)
  early_start = -tf.math.expm1(-tf.math.divide_no_nan(mass, room))
  late_start = 1.0 - room + (mass - early)
  start = tf.where(mass < early, early_start, late_start)
  first_end = tf.maximum(start, 1.0 - room)
  end = first_end + second * (1.0 - first_end)
  slack = length - shortest
  return slack * start, shortest + slack * end


def _top_left_parts(
  low: tf.Tensor, high: tf.Tensor, length: tf.Tensor, shortest: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
  """Chances of the starts from which some, and from which all, intervals reach the target.

  In units of the slack, length - shortest, the start s is uniform in [0, 1] and the end, counted
  from `shortest`, in [s, 1]. With room = 1 - (low - shortest), intervals that start after 1 - room
  always end behind low; those that start earlier do so with probability room / (1 - s), whose
  integral up to s is -room · log(1 - s).

  Returns:
    room, in 0 … 1; the chance of the early starts; the chance of the late ones.
  """
  slack = tf.maximum(length - shortest, _TINY)
  room = tf.clip_by_value((length - low) / slack, 0.0, 1.0)
  early = -tf.math.xlogy(room, room)
  late = tf.minimum(high / slack, 1.0) - (1.0 - room)
  return room, early, late


def center_clip_chance(
  low: tf.Tensor, high: tf.Tensor, length: tf.Tensor, shortest: tf.Tensor
) -> tf.Tensor:
  """Probability that an interval of the `center_clip_draw` law meets the target."""
  low, high = _reached_by_pushing(low, high, length, shortest)
  _, _, masses = _center_clip_pieces(low, high, length, shortest)
  return tf.add_n(masses) / length


def center_clip_draw(
  first: tf.Tensor,
  second: tf.Tensor,
  low: tf.Tensor,
  high: tf.Tensor,
  length: tf.Tensor,
  shortest: tf.Tensor,
) -> tuple[tf.Tensor, tf.Tensor]:
  """Draws a size uniform in [shortest, length] and a centre uniform in [0, length], then clips.

  An interval left shorter than `shortest` by clipping is made that long again from the border.

  Args:
    first: uniform numbers in [0, 1).
    second: uniform numbers in [0, 1), independent of `first`.
    low: start of the target.
    high: end of the target.
    length: length of the side.
    shortest: least length of an interval.

  Returns:
    The starts and the ends.
  """
  low, high = _reached_by_pushing(low, high, length, shortest)
  knots, ranges, masses = _center_clip_pieces(low, high, length, shortest)
  slack = length - shortest
  mass = first * tf.add_n(masses)
  growth = tf.where(
    mass < masses[0],
    _invert_growing(mass, ranges[0], slack),
    tf.where(
      mass < masses[0] + masses[1],
      knots[0] + _invert_growing(mass - masses[0], ranges[1], 0.5 * slack),
      knots[1] + (mass - masses[0] - masses[1]) / ranges[2],
    ),
  )
  half_size = 0.5 * (shortest + slack * growth)
  first_center = tf.maximum(low - half_size, 0.0)
  last_center = tf.minimum(high + half_size, length)
  center = first_center + second * (last_center - first_center)
  start = tf.clip_by_value(center - half_size, 0.0, slack)
  end = tf.clip_by_value(center + half_size, shortest, length)
  return start, end


def _reached_by_pushing(
  low: tf.Tensor, high: tf.Tensor, length: tf.Tensor, shortest: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
  """Extends targets without end to a border from which every interval reaches them anyway."""
  inf = float("inf")
  return tf.where(low < shortest, -inf, low), tf.where(high > length - shortest, inf, high)


def _center_clip_pieces(
  low: tf.Tensor, high: tf.Tensor, length: tf.Tensor, shortest: tf.Tensor
) -> tuple[list[tf.Tensor], list[tf.Tensor], list[tf.Tensor]]:
  """Describes the range of centres that meet the target as a function of the interval's size.

  Let the size be shortest + g · (length - shortest), g uniform in [0, 1]. Centres within half a
  size of the target meet it, so the range grows with g at both ends, then at one, when the other
  has come to a border, then no more.

  Returns:
    the two values of g between the three pieces; the ranges at g = 0 and at these two; the
    integrals of the range over g in the three pieces.
  """
  slack = tf.maximum(length - shortest, _TINY)
  half = 0.5 * shortest
  low_stop = tf.clip_by_value(2.0 * (low - half) / slack, 0.0, 1.0)
  high_stop = tf.clip_by_value(2.0 * (length - high - half) / slack, 0.0, 1.0)
  stop1, stop2 = tf.minimum(low_stop, high_stop), tf.maximum(low_stop, high_stop)
  range0 = tf.minimum(high + half, length) - tf.maximum(low - half, 0.0)
  range1 = range0 + slack * stop1
  range2 = range1 + 0.5 * slack * (stop2 - stop1)
  masses = [
    0.5 * (range0 + range1) * stop1,
    0.5 * (range1 + range2) * (stop2 - stop1),
    range2 * (1.0 - stop2),
  ]
  return [stop1, stop2], [range0, range1, range2], masses


def _invert_growing(mass: tf.Tensor, start_range: tf.Tensor, slope: tf.Tensor) -> tf.Tensor:
  """The x up to which the integral of start_range + slope · x is `mass`."""
  return 2.0 * mass / (start_range + tf.sqrt(start_range**2 + 2.0 * slope * mass))
