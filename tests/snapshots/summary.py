"""What is kept of a tensor: enough to notice that any of its values changed, or changed places."""

from collections.abc import Mapping
from typing import Any

import numpy as np

# Share of a tensor's magnitude: other processors round otherwise.
_TOLERANCE = 1e-3
_MAX_VALUES = 8


def of(tensors: Mapping[str, Any]) -> dict[str, Any]:
  """The summary of each tensor, and texts themselves; by name, sorted.

  Of an array are kept its shape and its values, or of many the mean magnitude, and the mean of all
  times factors that depend on their places.
  """
  return {name: _of_one(tensors[name]) for name in sorted(tensors)}


def differences(found: Mapping[str, Any], kept: Mapping[str, Any]) -> list[str]:
  """A line for each name whose summary is another one."""
  lines = [f"{name}: is gone" for name in sorted(set(kept) - set(found))]
  lines += [f"{name}: is new" for name in sorted(set(found) - set(kept))]
  lines += [
    f"{name}: {found[name]}, kept {kept[name]}"
    for name in sorted(set(found) & set(kept))
    if not _is_same(found[name], kept[name])
  ]
  return lines


def _of_one(value: Any) -> Any:
  if isinstance(value, str):
    return value
  array = np.asarray(value)
  shape = " x ".join(map(str, array.shape)) or "one"
  if array.dtype.kind in "OSU":
    texts = (item.decode() if isinstance(item, bytes) else str(item) for item in array.ravel())
    return [shape, *texts]
  flat = array.astype(np.float64).ravel()
  if flat.size <= _MAX_VALUES:
    return [shape, *map(_rounded, flat)]
  factors = np.random.default_rng(0).normal(size=flat.size)
  mixed = (flat * factors).sum() / np.sqrt(flat.size)
  return [shape, _rounded(np.abs(flat).mean()), _rounded(mixed)]


def _rounded(value: float) -> float:
  return float(f"{value:.7g}")


def _is_same(found: Any, kept: Any) -> bool:
  if not isinstance(found, list) or not all(isinstance(item, float) for item in found[1:]):
    return found == kept
  if found[0] != kept[0] or len(found) != len(kept):
    return False
  expected = np.array(kept[1:], np.float64)
  tolerance = _TOLERANCE * np.abs(expected).max(initial=0.0)
  return bool(np.allclose(found[1:], expected, rtol=0.0, atol=tolerance, equal_nan=True))
