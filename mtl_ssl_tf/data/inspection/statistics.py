"""Statistics of a data set: balance of classes, sizes, shapes and crowding of its boxes.

Histograms count in bins that depend on no data, so that memory does not grow with the images.
"""

import collections
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mtl_ssl_tf.data import faults
from mtl_ssl_tf.data.inspection import anchor_shapes, checks

# COCO's bounds: square pixels of the file.
_COCO_SIZES = {"small": 32.0**2, "medium": 96.0**2, "large": math.inf}

# Least IoU of an anchor that fits a box, in tenths, and the largest share of boxes without such an
# anchor that passes without a warning.
_MATCHED_TENTHS = 5
_MOST_MISSED = 0.05


class DataStatistics:
  """Sums up images one by one. Boxes around crowds are counted, and otherwise left out."""

  def __init__(self, limits: checks.Limits, classes: Sequence[str] | None):
    """Starts with no images.

    Args:
      limits: what the boxes are compared with.
      classes: names, class 1 first, listed even where they have no box; None lists those found.
    """
    self._limits = limits
    self._num_images = self._num_crowd = self._num_difficult = self._num_left_out = 0
    self._boxes_per_class = collections.Counter(dict.fromkeys(classes or (), 0))
    self._images_per_class = collections.Counter()
    self._num_partly, self._partly_per_class = 0, collections.Counter()
    self._boxes_per_image = collections.Counter()
    self._coco_sizes = collections.Counter(dict.fromkeys(_COCO_SIZES, 0))
    self._sides_orig, self._sides_px = collections.Counter(), collections.Counter()
    self._aspect_ratios = collections.Counter()
    self._anchor_ious = collections.Counter()
    self._num_smaller = 0
    self._missed = collections.Counter()
    self._heights, self._widths = [math.inf, 0], [math.inf, 0]
    self._anchors = anchor_shapes.grid_shapes(
      limits.anchor_base_size_px, limits.anchor_scales, limits.anchor_aspect_ratios
    )  # [A, 2]

  def add(self, facts: checks.ImageFacts) -> None:
    """Counts an image and its boxes."""
    self._num_images += 1
    for extremes, length in ((self._heights, facts.height), (self._widths, facts.width)):
      extremes[:] = min(extremes[0], length), max(extremes[1], length)
    self._boxes_per_image[len(facts.boxes_orig)] += 1
    self._num_partly += facts.annotated_classes is not None
    self._partly_per_class.update(facts.annotated_classes or ())
    self._num_left_out += max(len(facts.boxes_orig) - self._limits.max_num_boxes, 0)
    kept = ~np.asarray(facts.is_crowd, bool)
    self._num_crowd += int(np.sum(~kept))
    self._num_difficult += sum(facts.difficult)
    names = [name for name, keep in zip(facts.class_names, kept, strict=True) if keep]
    self._boxes_per_class.update(names)
    self._images_per_class.update(set(names))
    boxes_orig = facts.boxes_orig[kept]
    if not len(boxes_orig):
      return
    sizes_orig = boxes_orig[:, 2:] - boxes_orig[:, :2]  # [N, 2]
    sizes_px = checks.box_sizes_px(facts, self._limits)[kept]  # [N, 2]
    areas, areas_px = np.prod(sizes_orig, axis=-1), np.prod(sizes_px, axis=-1)
    places = np.searchsorted(list(_COCO_SIZES.values()), areas, side="right")
    self._coco_sizes.update(np.asarray(list(_COCO_SIZES))[places].tolist())
    self._sides_orig.update(np.floor(0.5 * np.log2(areas)).tolist())
    self._sides_px.update(np.floor(0.5 * np.log2(areas_px)).tolist())
    ratios = sizes_orig[:, 1] / sizes_orig[:, 0]
    self._aspect_ratios.update(np.floor(2.0 * np.log2(ratios)).tolist())
    self._num_smaller += int(np.sum(areas_px < self._limits.smallest_anchor_px**2))
    ious = anchor_shapes.shape_ious(sizes_px, self._anchors)  # [N, A]
    tenths = np.floor(10.0 * ious.max(axis=1))  # [N]
    self._missed.update(self._how_missed(areas_px[tenths < _MATCHED_TENTHS]))
    self._anchor_ious.update(np.minimum(tenths, 9.0).tolist())

  def summary(self) -> dict[str, Any]:
    """All figures, ready for JSON; `docs/validation.md` says what each means."""
    num_boxes = sum(self._boxes_per_class.values())
    most = max(self._boxes_per_image, default=0)
    counts = [count for count in self._boxes_per_class.values() if count]
    return {
      "num_images": self._num_images,
      "num_images_without_boxes": self._boxes_per_image[0],
      "num_boxes": num_boxes,
      "num_crowd_boxes": self._num_crowd,
      "num_difficult_boxes": self._num_difficult,
      "classes": {
        name: {
          "num_boxes": count,
          "num_images": self._images_per_class[name],
          "share": count / num_boxes if num_boxes else 0.0,
        }
        for name, count in self._boxes_per_class.items()
      },
      **self._annotated_classes(),
      "most_to_fewest_boxes": max(counts) / min(counts) if counts else None,
      "boxes_per_image": {
        "most": most,
        "max_num_boxes": self._limits.max_num_boxes,
        "num_boxes_left_out": self._num_left_out,
        "histogram": {str(n): self._boxes_per_image[n] for n in sorted(self._boxes_per_image)},
      },
      "image_sizes": {
        "min_height": self._heights[0],
        "max_height": self._heights[1],
        "min_width": self._widths[0],
        "max_width": self._widths[1],
      }
      if self._num_images
      else None,
      "box_sizes": {
        "coco": dict(self._coco_sizes),
        "side_in_file_log2": _bins(self._sides_orig, lambda k: 2.0**k),
        "side_in_network_input_log2": _bins(self._sides_px, lambda k: 2.0**k),
      },
      "aspect_ratios_half_log2": _bins(self._aspect_ratios, lambda k: 2.0 ** (k / 2)),
      "anchors": {
        "smallest": self._limits.smallest_anchor_px,
        "num_boxes_smaller": self._num_smaller,
        "share_smaller": self._num_smaller / num_boxes if num_boxes else 0.0,
        "best_shape_iou": _bins(self._anchor_ious, lambda k: k / 10),
      },
    }

  def _annotated_classes(self) -> dict[str, Any]:
    """The entry on images that state their annotated classes; none where no image does."""
    if not self._num_partly:
      return {}
    names = [*self._boxes_per_class]
    names += sorted(name for name in self._partly_per_class if name not in self._boxes_per_class)
    # All classes are annotated in the other images.
    others = self._num_images - self._num_partly
    return {
      "annotated_classes": {
        "num_images": self._num_partly,
        "images_per_class": {name: others + self._partly_per_class[name] for name in names},
      }
    }

  def anchor_findings(self, name: str, cure: str) -> list[checks.Finding]:
    """A warning where the anchors of the run miss many boxes.

    An anchor counts as lying around the centre of each box, so that this is the least that is
    missed.

    Args:
      name: what messages call the data set.
      cure: what gives better anchors, in words.
    """
    number, num_boxes = sum(self._missed.values()), sum(self._anchor_ious.values())
    if number <= _MOST_MISSED * num_boxes:
      return []
    how = ", ".join(f"{count} {words}" for words, count in self._missed.most_common())
    value = (
      f"{number} of {num_boxes} ({100 * number / num_boxes:.1f} %) overlap no anchor by an IoU of"
      f" {_MATCHED_TENTHS / 10:g}: {how}"
    )
    accepted = f"at most {100 * _MOST_MISSED:g} %; {cure}"
    return [checks.Finding("anchors_miss_boxes", checks.WARNING, name, "boxes", value, accepted)]

  def _how_missed(self, areas_px: np.ndarray) -> list[str]:
    """In words, why no anchor fits boxes of these areas in the network input, [M]."""
    smallest, largest = self._limits.smallest_anchor_px**2, self._limits.largest_anchor_px**2
    return np.select(
      [areas_px < smallest, areas_px > largest],
      ["smaller than all anchors", "larger than all anchors"],
      "of another size or shape",
    ).tolist()

  def findings(self, name: str) -> list[checks.Finding]:
    """Warnings about the data set as a whole, which messages call `name`."""
    found = []
    least = self._limits.min_boxes_per_class
    for class_name, count in self._boxes_per_class.items():
      if count < least:
        kind = "few_boxes" if count else "class_without_boxes"
        field = f"class {faults.quote(class_name)}"
        value = f"{count} boxes in {self._images_per_class[class_name]} images"
        accepted = f"at least {least} boxes (--min_boxes_per_class)"
        found.append(checks.Finding(kind, checks.WARNING, name, field, value, accepted))
    if self._num_images and not sum(self._boxes_per_class.values()):
      value = f"none in {self._num_images} images"
      found.append(
        checks.Finding("no_boxes", checks.WARNING, name, "boxes", value, "boxes to train on")
      )
    return found


def _bins(counts: Mapping[float, int], lower_edge: Any) -> dict[str, int]:
  """Counts by the lower edge of their bin, in order; empty bins between others are listed too."""
  if not counts:
    return {}
  first, last = int(min(counts)), int(max(counts))
  return {f"{lower_edge(k):.3g}": counts.get(k, 0) for k in range(first, last + 1)}
