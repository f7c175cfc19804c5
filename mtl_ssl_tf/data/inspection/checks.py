"""Checks one image and its boxes, and reports what may be a mistake in the annotation.

The converters and `record_checks` find what cannot be trained on. The checks here are about images
that can be, and whose boxes look like mistakes or do not suit the settings of a run.
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from mtl_ssl_tf.configs import data as data_config
from mtl_ssl_tf.configs import detector
from mtl_ssl_tf.data import faults
from mtl_ssl_tf.data.pipeline import fitting, input_sizes

FAULT, WARNING, NOTE = LEVELS = "fault", "warning", "note"


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
  """Something that is wrong, or may be, and where.

  Attributes:
    kind: one word for all findings of its like.
    level: `FAULT` cannot be trained on as it is; `WARNING` can, but looks wrong or does not suit
      the run; `NOTE` is worth knowing, and right.
    file: path inside the data set, or name of the record file.
    field: what in the file.
    value: what was found; outside text goes through `faults.quote`.
    accepted: what would have been right.
    record: number of the record in its file, from 0; None outside of record files.
    source_id: the image's name in its data set, where it is known.
    object_number: place of the object in its file or record, counted from 1.
    object_name: class of the object, in quotes.
  """

  kind: str
  level: str
  file: str
  field: str
  value: str
  accepted: str
  record: int | None = None
  source_id: str | None = None
  object_number: int | None = None
  object_name: str | None = None

  def __str__(self) -> str:
    file = self.file if self.record is None else f"{self.file}, record {self.record}"
    return str(
      faults.Fault(
        file, self.field, self.value, self.accepted, self.object_number, self.object_name
      )
    )


@dataclasses.dataclass(frozen=True, slots=True)
class Limits:
  """The settings of a run that its data should suit.

  Attributes:
    input_size, short_side, long_side, max_num_boxes: see `detection_parser.DetectionParser`.
    anchor_base_size_px, anchor_scales, anchor_aspect_ratios: see `anchor_ops.grid_anchors`; the
      scales are those of all levels of a feature pyramid.
    min_boxes_per_class: a class with fewer boxes is reported.
    duplicate_iou: two boxes of one image that overlap by this much are taken for one.
  """

  input_size: Sequence[int]
  short_side: int
  long_side: int
  max_num_boxes: int
  anchor_base_size_px: float
  anchor_scales: Sequence[float]
  anchor_aspect_ratios: Sequence[float]
  min_boxes_per_class: int = 10
  duplicate_iou: float = 0.95

  def __post_init__(self):
    if len(self.input_size) != 2 or min(self.input_size) < 1:
      raise ValueError(
        f"input_size is {list(self.input_size)}; accepted: height and width, at least 1 each"
      )

  @classmethod
  def of_config(
    cls, task: detector.MtlDetection, data: data_config.Data, **others: Any
  ) -> "Limits":
    """The limits of a configured run.

    Args:
      task: gives the anchors.
      data: the task's training or validation data.
      **others: attributes that no configuration holds.
    """
    input_size, short_side, long_side = tuple(data.input_size), data.short_side, data.long_side
    if len(input_size) == 2:  # Otherwise refused below, by its name.
      input_size, short_side, long_side = input_sizes.single(
        data.input_layout, input_size, short_side, long_side
      )
    anchors = task.anchors
    base_size_px, scales = anchors.base_size_px, tuple(anchors.scales)
    if task.roi_head.type == "fpn":
      strides = [2**level for level in range(task.fpn.min_level, task.fpn.max_level + 1)]
      base_size_px = anchors.cells
      scales = tuple(stride * scale for stride in strides for scale in anchors.level_scales)
    return cls(
      input_size=input_size,
      short_side=short_side,
      long_side=long_side,
      max_num_boxes=data.max_num_boxes,
      anchor_base_size_px=base_size_px,
      anchor_scales=scales,
      anchor_aspect_ratios=tuple(anchors.aspect_ratios),
      **others,
    )

  @property
  def smallest_anchor_px(self) -> float:
    """Side of the square that is as large as the smallest anchor, pixels of the network input."""
    return self.anchor_base_size_px * min(self.anchor_scales)

  @property
  def largest_anchor_px(self) -> float:
    """The same of the largest anchor."""
    return self.anchor_base_size_px * max(self.anchor_scales)

  def __str__(self) -> str:
    height, width = self.input_size
    ratios = ", ".join(f"{ratio:g}" for ratio in self.anchor_aspect_ratios)
    return (
      f"images with a short side of {self.short_side} pixels and a long one of at most"
      f" {self.long_side}, in an input of {height} x {width}; anchors with sides of"
      f" {self.smallest_anchor_px:g} to {self.largest_anchor_px:g} pixels, width by height"
      f" {ratios}; at most {self.max_num_boxes} boxes"
    )


@dataclasses.dataclass(frozen=True, slots=True)
class ImageFacts:
  """One image that can be trained on: its size and its sound objects.

  Attributes:
    file: where its boxes are written down, for messages.
    source_id: its name in the data set.
    height, width: of the upright image, pixels.
    boxes_orig: float64 [N, 4], pixels of the image.
    class_names: [N].
    object_numbers: [N], place of each object in its file, counted from 1.
    difficult: [N].
    is_crowd: [N], whether the box is around a group; such boxes are not compared with others.
    record: number of the record in its file, from 0; None outside of record files.
    object_labels: [N], what messages call the objects; None calls them by their class.
    annotated_classes: names of the classes whose objects are all annotated; None is all classes.
  """

  file: str
  source_id: str
  height: int
  width: int
  boxes_orig: np.ndarray
  class_names: Sequence[str]
  object_numbers: Sequence[int]
  difficult: Sequence[bool]
  is_crowd: Sequence[bool]
  record: int | None = None
  object_labels: Sequence[str] | None = None
  annotated_classes: Sequence[str] | None = None

  def warning(
    self, kind: str, field: str, value: str, accepted: str, row: int | None = None
  ) -> Finding:
    """A warning about this image, or about its object in `row`."""
    number = label = None
    if row is not None:
      number = self.object_numbers[row]
      labels = self.object_labels
      label = labels[row] if labels else faults.quote(self.class_names[row])
    return Finding(
      kind,
      WARNING,
      self.file,
      field,
      value,
      accepted,
      self.record,
      self.source_id,
      number,
      label,
    )


def box_sizes_px(facts: ImageFacts, limits: Limits) -> np.ndarray:
  """Height and width of each box in pixels of the network input, float64 [N, 2]."""
  scale = _resize_scale(
    facts.height, facts.width, tuple(limits.input_size), limits.short_side, limits.long_side
  )
  return (facts.boxes_orig[:, 2:] - facts.boxes_orig[:, :2]) * scale


# Many images are of one size, and a few operations of TensorFlow take as long as decoding one.
@functools.lru_cache(maxsize=10_000)
def _resize_scale(
  height: int, width: int, input_size: tuple[int, int], short_side: int, long_side: int
) -> np.ndarray:
  """By how much an image of this size is resized in either direction, [2]."""
  size = np.float32([height, width])
  return fitting.fitted_size(size, input_size, short_side, long_side).numpy() / size


def check_image(facts: ImageFacts, limits: Limits) -> list[Finding]:
  """All warnings about one image."""
  sizes_px = box_sizes_px(facts, limits)  # [N, 2]
  return [
    *check_duplicates(facts, limits.duplicate_iou),
    *check_vanishing(facts, sizes_px),
    *check_anchors(facts, sizes_px, limits.smallest_anchor_px),
    *check_num_boxes(facts, limits.max_num_boxes),
  ]


def check_duplicates(facts: ImageFacts, duplicate_iou: float) -> list[Finding]:
  """Boxes that an earlier box of the image repeats, with the same class or another."""
  found = []
  boxes = facts.boxes_orig
  is_crowd = np.asarray(facts.is_crowd, bool)
  for row in range(1, len(boxes)):  # Not all pairs at once: there may be thousands of boxes.
    if is_crowd[row]:
      continue
    ious = np.where(is_crowd[:row], 0.0, _ious(boxes[row], boxes[:row]))  # [row]
    first = int(np.argmax(ious >= duplicate_iou))
    if ious[first] < duplicate_iou:
      continue
    number, name = facts.object_numbers[first], facts.class_names[first]
    overlap = f"(IoU {ious[first]:.2f})"
    if name == facts.class_names[row]:
      value = f"repeats object {number} {overlap}"
      found.append(facts.warning("duplicate_box", "box", value, "each object once", row))
    else:
      value = f"is the box of object {number} ({faults.quote(name)}) {overlap}"
      found.append(facts.warning("box_of_two_classes", "box", value, "one class for each box", row))
  return found


def check_vanishing(facts: ImageFacts, sizes_px: np.ndarray) -> list[Finding]:
  """Boxes of less than a pixel's height or width once the image has been resized.

  Args:
    facts: of the image.
    sizes_px: [N, 2], of each box in the network input.
  """
  found = []
  for row in np.flatnonzero(np.min(sizes_px, axis=-1, initial=np.inf) < 1.0):
    height, width = sizes_px[row]
    value = (
      f"{width:.3g} x {height:.3g} pixels (width x height) once the image is resized, which is less"
      " than one"
    )
    found.append(facts.warning("vanishing_box", "box", value, "at least 1 pixel a side", int(row)))
  return found


def check_anchors(
  facts: ImageFacts, sizes_px: np.ndarray, smallest_anchor_px: float
) -> list[Finding]:
  """The smallest of the image's boxes that have less area than the smallest anchor.

  Args:
    facts: of the image.
    sizes_px: [N, 2], of each box in the network input.
    smallest_anchor_px: side of a square as large as that anchor.
  """
  areas = np.prod(sizes_px, axis=-1)  # [N]
  small = (areas < smallest_anchor_px**2) & ~np.asarray(facts.is_crowd, bool)
  if not small.any():
    return []
  smallest = int(np.argmin(np.where(small, areas, np.inf)))
  height, width = sizes_px[smallest]
  value = f"{width:.3g} x {height:.3g} pixels (width x height) once the image is resized"
  if small.sum() > 1:
    value += f", the smallest of {small.sum()} here that are smaller than any anchor"
  accepted = f"the area of {smallest_anchor_px:g} x {smallest_anchor_px:g} pixels, or more"
  return [facts.warning("smaller_than_anchors", "box", value, accepted, smallest)]


def check_num_boxes(facts: ImageFacts, max_num_boxes: int) -> list[Finding]:
  """Whether the image has more boxes than a training example holds."""
  if len(facts.boxes_orig) <= max_num_boxes:
    return []
  value = f"{len(facts.boxes_orig)} boxes, of which the last would be left out"
  accepted = f"at most {max_num_boxes} (max_num_boxes)"
  return [facts.warning("too_many_boxes", "boxes", value, accepted)]


def _ious(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
  """Intersection over union of one box, [4], with others of positive area, [N, 4]."""
  sides = np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2])  # [N, 2]
  intersections = np.prod(np.maximum(sides, 0.0), axis=-1)  # [N]
  areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=-1)  # [N]
  return intersections / (np.prod(box[2:] - box[:2]) + areas - intersections)
