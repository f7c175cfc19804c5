"""Slow NumPy label makers for one image, and the scenes on which to compare them with ours.

They follow the rules of the paper word by word, object by object and in float64, and know nothing
of batches or padding. Objects of class 0 are regions to be ignored.
"""

import dataclasses

import numpy as np
from hypothesis import strategies as st

BOX_KINDS = ("free", "on_grid", "copy", "nested", "touching", "covering", "no_area")


@dataclasses.dataclass(frozen=True)
class Scene:
  """An image's size [height, width] and its objects: boxes [n, 4] in pixels, classes [n]."""

  size: np.ndarray
  boxes: np.ndarray
  classes: np.ndarray

  def padded(self, num_rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Boxes [num_rows, 4] and classes [num_rows], -1 in the rows behind the objects."""
    missing = num_rows - len(self.boxes)
    boxes = np.pad(self.boxes, [[0, missing], [0, 0]], constant_values=-1.0)
    return boxes, np.pad(self.classes, [0, missing], constant_values=-1)


@st.composite
def scenes(draw, num_classes: int = 81, max_boxes: int = 100, regions: bool = False) -> Scene:
  """Scenes with boxes of some of `BOX_KINDS`, many of them with few boxes or few classes.

  With `regions`, some or all of the boxes are regions to be ignored; they come last.
  """
  count = draw(st.integers(0, 8) | st.integers(0, max_boxes))
  kinds = sorted(draw(st.sets(st.sampled_from(BOX_KINDS), min_size=1)))
  last_class = draw(st.sampled_from([1, 2, num_classes - 1]))
  height, width = draw(st.integers(40, 700)), draw(st.integers(40, 700))
  rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
  size = np.array([height, width], np.float32)
  boxes = np.zeros([0, 4], np.float32)
  for _ in range(count):
    boxes = np.concatenate([boxes, [random_box(rng, rng.choice(kinds), size, boxes)]])
  classes = rng.integers(1, last_class + 1, count).astype(np.int32)
  if regions and count:
    classes[draw(st.integers(0, count - 1)) :] = 0
  return Scene(size, boxes.astype(np.float32), classes)


def random_box(
  rng: np.random.Generator, kind: str, size: np.ndarray, earlier: np.ndarray
) -> np.ndarray:
  """A box of one of `BOX_KINDS` inside the image; some kinds go by one of the earlier boxes."""
  corners = np.sort(rng.uniform(0.0, 1.0, [2, 2]), axis=0)
  if kind in ("copy", "nested", "touching") and len(earlier) == 0:
    kind = "free"
  if kind == "free":
    box = corners * size
  elif kind == "on_grid":
    box = np.round(corners * 8) / 8 * size
  elif kind == "covering":
    box = np.array([[0.0, 0.0], size])
  elif kind == "no_area":
    box = corners * size
    axis = rng.integers(2)
    box[1, axis] = box[0, axis]
  else:
    box = earlier[rng.integers(len(earlier))].reshape(2, 2).copy()
    if kind == "nested":
      box = box[0] + corners * (box[1] - box[0])
    elif kind == "touching":  # The next box begins where this one ends.
      axis = rng.integers(2)
      box[:, axis] = box[1, axis], rng.uniform(box[1, axis], size[axis])
  return box.astype(np.float32).reshape(4)


def random_windows(rng: np.random.Generator, scene: Scene, count: int) -> np.ndarray:
  """Windows [count, 4] of at least 32 px, some with edges in common with boxes."""
  starts = rng.uniform(0.0, scene.size - 32.0, [count, 2])
  ends = rng.uniform(starts + 32.0, scene.size)
  windows = np.concatenate([starts, ends], axis=1).astype(np.float32)
  large = [box for box in scene.boxes if np.min(box[2:] - box[:2]) >= 32.0]
  for row, box in zip(range(0, count, 3), large, strict=False):
    windows[row] = box
  return windows


def covered_area(window: np.ndarray, boxes: np.ndarray) -> tuple[float, float]:
  """Areas of a window that at least one of the boxes covers, and that none does.

  Every edge of a box is drawn through the window from border to border; the boxes are then painted
  onto the cells between the lines.
  """
  window, boxes = window.astype(np.float64), boxes.astype(np.float64).reshape(-1, 4)
  boxes = np.concatenate(
    [np.clip(boxes[:, :2], window[:2], window[2:]), np.clip(boxes[:, 2:], window[:2], window[2:])],
    axis=1,
  )
  lines_y = np.unique(np.concatenate([window[[0, 2]], boxes[:, 0], boxes[:, 2]]))
  lines_x = np.unique(np.concatenate([window[[1, 3]], boxes[:, 1], boxes[:, 3]]))
  painted = np.zeros([len(lines_y) - 1, len(lines_x) - 1], bool)
  for ymin, xmin, ymax, xmax in boxes:
    rows = slice(*np.searchsorted(lines_y, [ymin, ymax]))
    columns = slice(*np.searchsorted(lines_x, [xmin, xmax]))
    painted[rows, columns] = True
  areas = np.outer(np.diff(lines_y), np.diff(lines_x))
  return areas[painted].sum(), areas[~painted].sum()


def multi_object_labels(
  windows: np.ndarray, boxes: np.ndarray, classes: np.ndarray, num_classes: int
) -> np.ndarray:
  labels = np.zeros([len(windows), num_classes])
  for label, window in zip(labels, windows, strict=True):
    on_objects = covered_area(window, boxes[classes > 0])[0]
    label[0] = covered_area(window, boxes)[1]
    for c in set(classes[classes > 0].tolist()):
      label[c] = covered_area(window, boxes[classes == c])[0]
    rest = on_objects + label[0]  # The window without what only regions cover.
    if rest > 0.0:
      label[:] = np.sqrt(label / rest)
      label /= label.sum()
  return labels


def closeness_labels(
  boxes: np.ndarray,
  classes: np.ndarray,
  size: np.ndarray,
  num_classes: int,
  include_same_class: bool = True,
) -> np.ndarray:
  boxes, size = boxes.astype(np.float64), size.astype(np.float64)
  centers = (boxes[:, :2] + boxes[:, 2:]) / 2.0
  labels = np.zeros([len(boxes), num_classes])
  for i in np.flatnonzero(classes > 0):
    for j in np.flatnonzero(classes > 0):
      if i == j or (classes[i] == classes[j] and not include_same_class):
        continue
      nearness = 1.0 - np.hypot(*(centers[i] - centers[j])) / np.hypot(*size)
      labels[i, classes[j]] = max(labels[i, classes[j]], nearness)
    if labels[i].sum() > 0.0:
      labels[i] /= labels[i].sum()
    elif (classes > 0).all():
      labels[i, 0] = 1.0
  return labels


def cells_of_box(box: np.ndarray, height: int, width: int) -> tuple[slice, slice]:
  ymin, xmin, ymax, xmax = box.astype(np.float64)
  row, column = min(int(height * ymin), height - 1), min(int(width * xmin), width - 1)
  last_row = max(row, min(int(height * ymax + 0.99), height - 1))
  last_column = max(column, min(int(width * xmax + 0.99), width - 1))
  return slice(row, last_row + 1), slice(column, last_column + 1)


def foreground_labels(
  boxes_norm: np.ndarray, classes: np.ndarray, height: int, width: int
) -> np.ndarray:
  mask = np.zeros([height, width])
  for box in boxes_norm[classes > 0]:
    mask[cells_of_box(box, height, width)] = 1.0
  return mask


def foreground_weights(
  boxes_norm: np.ndarray, classes: np.ndarray, height: int, width: int, weighting: str
) -> np.ndarray:
  weights = np.full([height, width], 1.0 / (height * width))
  for box in boxes_norm[classes > 0] if weighting == "inverse_area" else ():
    inside = weights[cells_of_box(box, height, width)]
    inside[:] = np.maximum(inside, 1.0 / inside.size)
  mask = foreground_labels(boxes_norm, classes, height, width)
  for box in boxes_norm[classes == 0]:
    cells = cells_of_box(box, height, width)
    weights[cells] = np.where(mask[cells] > 0.0, weights[cells], 0.0)
  return weights / weights.mean() if weights.any() else weights


def in_ignored_region(
  boxes: np.ndarray, gt_boxes: np.ndarray, gt_classes: np.ndarray, min_iou: float
) -> np.ndarray:
  inside = np.zeros([len(boxes)], bool)
  for i, box in enumerate(boxes.astype(np.float64)):
    for region in gt_boxes[gt_classes == 0].astype(np.float64):
      sides = np.minimum(box[2:], region[2:]) - np.maximum(box[:2], region[:2])
      shared = np.prod(np.maximum(sides, 0.0))
      area, region_area = (np.prod(b[2:] - b[:2]) for b in (box, region))
      near = shared > 0.0 and shared / (area + region_area - shared) >= min_iou
      inside[i] |= near or (shared > 0.0 and shared / area >= 0.5)
  return inside


def plain_windows(
  rng: np.random.Generator, size: np.ndarray, count: int, sampling: str, min_size: float = 32.0
) -> np.ndarray:
  """Windows [count, 4] by the plain law, whether they meet an object or not."""
  least = np.minimum(min_size, size)
  if sampling == "top_left":
    starts = rng.uniform(0.0, size - least, [count, 2])
    ends = starts + rng.uniform(least, size - starts)
  else:
    sides = rng.uniform(0.0, 1.0, [count, 2]) * (size - least) + least
    centers = rng.uniform(0.0, size, [count, 2])
    starts = np.maximum(centers - sides / 2.0, 0.0)
    ends = np.minimum(centers + sides / 2.0, size)
    too_short = ends - starts < least
    ends = np.where(too_short & (starts == 0.0), least, ends)
    starts = np.where(too_short & (ends == size), size - least, starts)
  return np.concatenate([starts, ends], axis=1)


def num_met(windows: np.ndarray, boxes: np.ndarray) -> np.ndarray:
  """Number of boxes with which each window shares some area; [S]."""
  starts = np.maximum(windows[:, np.newaxis, :2], boxes[:, :2])
  ends = np.minimum(windows[:, np.newaxis, 2:], boxes[:, 2:])
  return np.all(ends > starts, axis=-1).sum(axis=1)


def rejection_windows(
  rng: np.random.Generator,
  size: np.ndarray,
  boxes: np.ndarray,
  count: int,
  sampling: str,
) -> np.ndarray:
  """Windows [count, 4]: plain draws, of which those that meet no box are thrown away."""
  kept = np.zeros([0, 4])
  while len(kept) < count:
    drawn = plain_windows(rng, size, count, sampling)
    kept = np.concatenate([kept, drawn[num_met(drawn, boxes) > 0]])
  return kept[:count]
