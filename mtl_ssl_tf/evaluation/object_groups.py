"""Numbers of objects found, by their size and by the number of objects around them."""

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

# Bounds of the side of an object, the root of its area in pixels of the file.
SIDES_PX = (16, 32, 64, 128, 256)
# Fewest neighbours of each group after the first.
NEIGHBOURS = (1, 2, 3, 5)


class Group(NamedTuple):
  """Objects that are alike in size, or in the number of their neighbours.

  Attributes:
    name: says which they are.
    num_objects: of them.
    num_found: those that a detection of a score that passes matches.
    num_found_at_any_score: those that any detection matches.
  """

  name: str
  num_objects: int
  num_found: int
  num_found_at_any_score: int


def count_neighbours(boxes: np.ndarray) -> np.ndarray:
  """Returns int [N]: other boxes that meet each box when it is enlarged to twice its sides.

  Args:
    boxes: float [N, 4], ymin, xmin, ymax, xmax.
  """
  half = (boxes[:, 2:] - boxes[:, :2]) / 2.0
  low, high = boxes[:, :2] - half, boxes[:, 2:] + half  # [N, 2]
  meets = (boxes[:, :2] < high[:, np.newaxis]) & (boxes[:, 2:] > low[:, np.newaxis])  # [N, N, 2]
  others = ~np.eye(len(boxes), dtype=bool)
  return (meets.all(axis=2) & others).sum(axis=1)


def by_size(areas: np.ndarray, passes: np.ndarray, found: np.ndarray) -> list[Group]:
  """Returns a group for each range of `SIDES_PX`, smallest objects first.

  Args:
    areas: float [N], square pixels of the file.
    passes: bool [N], whether a detection of a score that passes matches the object.
    found: bool [N], whether any detection does.
  """
  names = _names(SIDES_PX, "below {} px", "{} … {} px", "{} px and more")
  return _groups(np.sqrt(areas), SIDES_PX, names, passes, found)


def by_neighbours(neighbours: np.ndarray, passes: np.ndarray, found: np.ndarray) -> list[Group]:
  """Returns a group for each range of `NEIGHBOURS`; `neighbours` is int [N], see `by_size`."""
  names = ["none", *(_span(*pair) for pair in itertools.pairwise(NEIGHBOURS))]
  names.append(f"{NEIGHBOURS[-1]} and more")
  return _groups(neighbours, NEIGHBOURS, names, passes, found)


def _span(low: int, high: int) -> str:
  return str(low) if high == low + 1 else f"{low} … {high - 1}"


def _names(bounds: Sequence[int], first: str, between: str, last: str) -> list[str]:
  middle = [between.format(*pair) for pair in itertools.pairwise(bounds)]
  return [first.format(bounds[0]), *middle, last.format(bounds[-1])]


def _groups(
  values: np.ndarray,
  bounds: Sequence[float],
  names: Sequence[str],
  passes: np.ndarray,
  found: np.ndarray,
) -> list[Group]:
  """Returns a group for each range [low, high)."""
  edges = (-math.inf, *bounds, math.inf)
  groups = []
  for name, low, high in zip(names, edges, edges[1:], strict=False):
    inside = (values >= low) & (values < high)
    counts = (inside.sum(), (inside & passes).sum(), (inside & found).sum())
    groups.append(Group(name, *map(int, counts)))
  return groups
