"""Closeness labels as lines between objects, to be drawn."""

from typing import NamedTuple

import numpy as np


class ClosenessLink(NamedTuple):
  """Half of the way from an object to the nearest other object of a class in its label.

  Attributes:
    value: of the label.
    is_largest: whether no other class of the object's label has a larger one.
    class_id: the neighbour's.
    start: [y, x], the object's centre.
    end: [y, x], the middle of the way to the neighbour's centre.
  """

  value: float
  is_largest: bool
  class_id: int
  start: np.ndarray
  end: np.ndarray


def closeness_links(
  gt_boxes_px: np.ndarray, gt_classes: np.ndarray, closeness_labels: np.ndarray
) -> list[ClosenessLink]:
  """The links of all objects, those of small values first.

  Where two objects point at each other, their halves make a whole line.

  Args:
    gt_boxes_px: float [N, 4].
    gt_classes: int [N]; rows of 0 or less are no objects.
    closeness_labels: float [N, C].
  """
  objects = np.flatnonzero(gt_classes > 0)
  centers = 0.5 * (gt_boxes_px[:, :2] + gt_boxes_px[:, 2:])  # [N, 2]
  links = []
  for row in objects:
    label = closeness_labels[row]
    for class_id in np.flatnonzero(label > 0.0):
      others = objects[(gt_classes[objects] == class_id) & (objects != row)]
      if len(others):
        distances = np.linalg.norm(centers[others] - centers[row], axis=1)  # [n]
        middle = 0.5 * (centers[row] + centers[others[distances.argmin()]])
        largest = bool(class_id == label.argmax())
        links.append(
          ClosenessLink(float(label[class_id]), largest, int(class_id), centers[row], middle)
        )
  return sorted(links, key=lambda link: link.value)
