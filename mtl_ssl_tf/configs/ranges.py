"""Ranges that numbers of a configuration must lie in: all are finite, and none is without an end.

A field declares one (`fields.setting`), or a table does for fields of Model Garden's
(`model_garden`). The check, its message and docs/configuration.md are made from that.
"""

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True)
class Range:
  """Numbers from `low` to `high`; whole ones if `low` is an int.

  Attributes:
    low, high: the smallest and the largest accepted number.
    above: `low` itself is not accepted.
    below: `high` itself is not accepted.
    others: values that are accepted besides.
  """

  low: float
  high: float
  above: bool = False
  below: bool = False
  others: tuple = ()

  @property
  def or_null(self) -> "Range":
    """The same range for a field that may be null."""
    return dataclasses.replace(self, others=(*self.others, None))

  @property
  def text(self) -> str:
    """The accepted values, in words."""
    low, high = f"{self.low:,}", f"{self.high:,}"
    if self.above or self.below:
      start = f"above {low}" if self.above else f"at least {low}"
      text = f"{start} and {f'below {high}' if self.below else f'at most {high}'}"
    else:
      text = low if low == high else f"{low} to {high}"
    return ", or ".join([text, *("null" if other is None else str(other) for other in self.others)])

  def refusal(self, value: Any) -> str | None:
    """Returns what is accepted in the place of a value, or None where it is."""
    if any(value is other or (value == other and not _is_bool(value)) for other in self.others):
      return None
    if _is_bool(value) or not isinstance(value, int | float):
      return f"a {self._kind}, {self.text}"
    if self._kind != "number" and not isinstance(value, int):
      return f"a {self._kind}, {self.text}"
    # Written so that NaN is refused too.
    is_above = value > self.low if self.above else value >= self.low
    is_below = value < self.high if self.below else value <= self.high
    return None if is_above and is_below else self.text

  @property
  def _kind(self) -> str:
    return "whole number" if isinstance(self.low, int) else "number"


@dataclasses.dataclass(frozen=True)
class ListOf:
  """Lists of numbers.

  Attributes:
    each: range of the numbers.
    shortest, longest: how many there may be.
    or_null: null is accepted besides.
  """

  each: Range
  shortest: int = 1
  longest: int = 20
  or_null: bool = False

  @property
  def text(self) -> str:
    """The accepted values, in words."""
    length = f"{self.shortest}"
    if self.shortest != self.longest:
      length += f" to {self.longest:,}"
    kind = "whole numbers" if isinstance(self.each.low, int) else "numbers"
    text = f"a list of {length} {kind}, each {self.each.text}"
    return f"{text}, or null" if self.or_null else text

  def refusal(self, value: Any) -> str | None:
    """Returns what is accepted in the place of a value, or None where it is."""
    if value is None and self.or_null:
      return None
    is_accepted = (
      isinstance(value, list | tuple)
      and self.shortest <= len(value) <= self.longest
      and all(self.each.refusal(entry) is None for entry in value)
    )
    return None if is_accepted else self.text


def _is_bool(value: Any) -> bool:
  return isinstance(value, bool)


# Ranges of many fields. Upper ends are far beyond any use: they tell a slip from a setting.
SHARE = Range(0.0, 1.0)
WEIGHT = Range(0.0, 1e6)
CHANNELS = Range(1, 65_536)
PIXELS = Range(1, 65_536)
LENGTH_PX = Range(1.0, 65_536.0)
SAMPLES = Range(1, 1000)  # Along a side of a region.
BOXES = Range(1, 100_000)  # Of an image: proposals, objects, detections.
BOXES_OR_NONE = Range(0, 100_000)
IMAGES = Range(1, 1_000_000)  # Of a batch.
STEPS = Range(1, 1_000_000_000)
STEPS_OR_NONE = Range(0, 1_000_000_000)
FACTOR = Range(0.001, 1000.0)
SIGMA = Range(0.1, 1000.0)  # Of the smooth L1 loss.
SEED = Range(0, 2**31 - 1)
DECAY = Range(0.0, 1.0, below=True)  # Of a moving average, which at 1 would never move.
EPSILON = Range(0.0, 1000.0, above=True)
CLIPPING = Range(0.0, 1e9, above=True)
LEARNING_RATE = Range(0.0, 1e6)
