"""Shapes of anchors, and how well boxes fit them where both have the same centre."""

from collections.abc import Sequence

import numpy as np


def grid_shapes(
  base_size_px: float, scales: Sequence[float], aspect_ratios: Sequence[float]
) -> np.ndarray:
  """Returns float64 [A, 2], heights and widths of all scales in all ratios; see `anchor_ops`."""
  sides = base_size_px * np.asarray(scales, np.float64)[:, np.newaxis]  # [scales, 1]
  roots = np.sqrt(np.asarray(aspect_ratios, np.float64))  # [ratios]
  return np.stack([sides / roots, sides * roots], axis=-1).reshape(-1, 2)


def shape_ious(boxes: np.ndarray, shapes: np.ndarray) -> np.ndarray:
  """Returns float64 [N, A], IoU of boxes [N, 2] and shapes [A, 2] around the same centre."""
  intersection = np.prod(np.minimum(boxes[:, np.newaxis], shapes), axis=-1)  # [N, A]
  union = np.prod(boxes, axis=-1)[:, np.newaxis] + np.prod(shapes, axis=-1) - intersection
  return intersection / union
