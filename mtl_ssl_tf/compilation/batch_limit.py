"""Finds the largest batch whose step fits into memory, by few compilations."""

import dataclasses
import math
from collections.abc import Callable, Mapping

_LARGEST = 4096
_MAX_COMPILATIONS = 5


@dataclasses.dataclass(frozen=True)
class BatchLimit:
  """The largest batch that fits, and the memory of the batches that were compiled.

  Attributes:
    largest: images whose step was compiled and found to fit; 0 if one image does not.
    next_bytes: estimated for one image more.
    fixed: bytes that no image adds, by the line through the two sizes that enclose the answer.
    per_image: bytes that each image adds, likewise.
    compiled: bytes of each size that was compiled.
    is_largest: whether one image more is known or estimated not to fit; False where the number of
      compilations was not enough, or `largest` is the most that is searched for.
  """

  largest: int
  next_bytes: float
  fixed: float
  per_image: float
  compiled: Mapping[int, int]
  is_largest: bool


def find(
  measure: Callable[[int], int], available_bytes: float, known: Mapping[int, int]
) -> BatchLimit:
  """Finds the largest batch that fits.

  Memory grows by nearly the same amount with each image, so a line through two sizes gives the
  next guess; the answer itself is always compiled, and one that turns out not to fit is corrected.

  Args:
    measure: bytes of the step for a batch size; compiles it.
    available_bytes: that it may take.
    known: bytes of at least one size.
  """
  compiled = dict(known)
  if len(compiled) == 1:
    size = next(iter(compiled))
    other = size // 2 if size > 1 and compiled[size] > available_bytes else 2 * size
    compiled[other] = measure(other)
  for _ in range(_MAX_COMPILATIONS - 1):
    size = _candidate(compiled, available_bytes)
    if size in compiled:
      break
    compiled[size] = measure(size)
  largest, _ = _bounds(compiled, available_bytes)
  fixed, per_image = _line(compiled, available_bytes)
  after = compiled.get(largest + 1, fixed + per_image * (largest + 1))
  is_largest = after > available_bytes and (largest > 0 or 1 in compiled)
  return BatchLimit(largest, after, fixed, per_image, compiled, is_largest)


def _bounds(compiled: Mapping[int, int], available_bytes: float) -> tuple[int, int]:
  """The largest compiled size that fits, and the smallest that does not."""
  fitting = [size for size, num_bytes in compiled.items() if num_bytes <= available_bytes]
  too_large = [size for size, num_bytes in compiled.items() if num_bytes > available_bytes]
  return max(fitting, default=0), min(too_large, default=_LARGEST + 1)


def _candidate(compiled: Mapping[int, int], available_bytes: float) -> int:
  """Returns the size to compile next; one of `compiled` if there is nothing left to find out."""
  low, high = _bounds(compiled, available_bytes)
  fixed, per_image = _line(compiled, available_bytes)
  guess = math.floor((available_bytes - fixed) / per_image) if per_image > 0 else _LARGEST
  return max(low, 1, min(guess, high - 1))


def _line(compiled: Mapping[int, int], available_bytes: float) -> tuple[float, float]:
  """Returns the bytes at no image and the bytes for each image.

  The line goes through the sizes on both sides of the answer, or else the two nearest to it.
  """
  low, high = _bounds(compiled, available_bytes)
  sizes = sorted(compiled)
  if low and high in compiled:
    first, second = low, high
  elif low:
    first, second = sizes[-2:]
  else:
    first, second = sizes[:2]
  slope = (compiled[second] - compiled[first]) / (second - first)
  return compiled[first] - slope * first, slope
