"""Settings that follow from the data, each with its reason in a line."""

import dataclasses
import math
import re
from typing import Any

import numpy as np

from mtl_ssl_tf.reading import quoting
from mtl_ssl_tf.suggestion import anchors as anchors_lib
from mtl_ssl_tf.suggestion import facts as facts_lib
from mtl_ssl_tf.suggestion import pyramid_anchors

# Sides of the input are multiples of it: whole cells of the feature map of stride 16, twice.
_MULTIPLE = 32
_SHORTEST_LONG_SIDE = 320
# A class whose objects are smaller than this in the feature map's cells of 16 pixels is hardly
# found: the side of an object that covers less than two cells.
_SMALLEST_SIDE_PX = 32.0
_SPARE_SLOTS = 1.25
_EPOCHS = 24
_FEWEST_STEPS, _MOST_STEPS = 1200, 30_000
EVALUATIONS = 5
_SIDES = re.compile(r"(?<![a-z])(left|right|links|rechts|gauche|droite)(?![a-z])", re.IGNORECASE)


@dataclasses.dataclass(frozen=True)
class Setting:
  """One or more fields with one reason.

  Attributes:
    path: of the group that the fields are in, with dots, such as `task.anchors`.
    fields: values by name.
    reason: why, a line.
  """

  path: str
  fields: dict[str, Any]
  reason: str


def choose(
  facts: facts_lib.DataFacts, largest: int, batch: int, levels: tuple[int, int] | None = None
) -> list[Setting]:
  """Returns the settings for a data set.

  Args:
    facts: of the training split.
    largest: long side of the input at most, pixels: what the machine allows.
    batch: images of a step.
    levels: finest and coarsest of the detector's feature pyramid; None for a single map.
  """
  short, long, size_setting = input_size(facts, largest)
  boxes = facts.resized_boxes(short, long)
  if levels is None:
    anchors = anchor_setting(boxes, facts.classes)
  else:
    anchors = pyramid_setting(boxes, facts.classes, levels)
  return [
    size_setting,
    anchors,
    slots(facts),
    flips(facts),
    schedule(facts, batch),
  ]


def input_size(facts: facts_lib.DataFacts, largest: int) -> tuple[int, int, Setting]:
  """Returns short side, long side, and the setting of the input's size.

  The smallest input in which the objects of every class are large enough to be found, and no
  larger than the images are.
  """
  longer, shorter = facts.image_sizes.max(axis=1), facts.image_sizes.min(axis=1)  # [I] each
  ratio = float(np.median(shorter / longer))
  largest = max(_SHORTEST_LONG_SIDE, min(largest, _up(float(np.median(longer)))))
  for long in range(_SHORTEST_LONG_SIDE, largest + 1, _MULTIPLE):
    short = _up(ratio * long)
    name, side = smallest_class(facts, short, long)
    if side >= _SMALLEST_SIDE_PX:
      break
  heights, widths = facts.image_sizes.T
  landscape, portrait = float((widths >= heights).mean()), float((heights >= widths).mean())
  enough = "" if side >= _SMALLEST_SIDE_PX else ", which is small: it may be missed"
  reason = (
    f"images are {_middle(heights)} x {_middle(widths)} pixels; in this size half of the objects of"
    f" {quoting.shown(name)}, the smallest class, have a side of {side:.0f} pixels or more{enough}"
  )
  fields: dict[str, Any] = {"short_side": short, "long_side": long}
  if min(landscape, portrait) > 0.05:
    fields |= {"input_layout": "by_orientation", "input_size": [short, long]}
    reason += f"; {100 * portrait:.0f} % are upright"
  else:
    fields["input_size"] = [short, long] if landscape >= portrait else [long, short]
  return short, long, Setting("task.data", fields, reason)


def smallest_class(facts: facts_lib.DataFacts, short: int, long: int) -> tuple[str, float]:
  """Returns the class whose median object has the shortest side, and that side in pixels."""
  sides = np.sqrt(facts.resized_boxes(short, long).prod(axis=1))  # [N]
  medians = {
    name: float(np.median(sides[facts.classes == number]))
    for number, name in enumerate(facts.class_names, 1)
    if (facts.classes == number).any()
  }
  name = min(medians, key=medians.__getitem__)
  return name, medians[name]


def anchor_setting(boxes: np.ndarray, classes: np.ndarray) -> Setting:
  """Returns the anchors, with the share of boxes that they cover."""
  found = anchors_lib.fit(boxes, classes)
  covered = [100.0 * anchors_lib.recall(boxes, found, iou) for iou in (0.5, 0.7)]
  fields = {
    "base_size_px": found.base_size_px,
    "scales": list(found.scales),
    "aspect_ratios": list(found.aspect_ratios),
  }
  return Setting(
    "task.anchors",
    fields,
    f"k-means of the boxes; anchors overlap {covered[0]:.1f} % of them by 0.5 and"
    f" {covered[1]:.1f} % by 0.7",
  )


def pyramid_setting(boxes: np.ndarray, classes: np.ndarray, levels: tuple[int, int]) -> Setting:
  """Returns the anchors of a feature pyramid, with the share of boxes that they cover."""
  found = pyramid_anchors.fit(boxes, classes, levels)
  covered = [100.0 * pyramid_anchors.recall(boxes, found, iou) for iou in (0.5, 0.7)]
  fields = {
    "cells": found.cells,
    "level_scales": list(found.level_scales),
    "aspect_ratios": list(found.aspect_ratios),
  }
  smallest, largest = (found.cells * 2.0**level for level in levels)
  return Setting(
    "task.anchors",
    fields,
    f"sides from {smallest:.0f} to {largest * found.level_scales[-1]:.0f} pixels; anchors overlap"
    f" {covered[0]:.1f} % of the boxes by 0.5 and {covered[1]:.1f} % by 0.7",
  )


def slots(facts: facts_lib.DataFacts) -> Setting:
  """Returns the rows of ground truth of an image."""
  rows = max(10, 10 * math.ceil(_SPARE_SLOTS * facts.most_objects / 10))
  reason = f"the fullest image has {facts.most_objects} objects, and a quarter more fit"
  return Setting("task.data", {"max_num_boxes": rows}, reason)


def flips(facts: facts_lib.DataFacts) -> Setting:
  """Returns whether images are flipped: not where a class is called left or right."""
  named = [name for name in facts.class_names if _SIDES.search(name.replace("_", " "))]
  if named:
    reason = f"a flipped {quoting.shown(named[0])} would be taught as what it is not"
    return Setting("task.train_data", {"flip_probability": 0.0}, reason)
  return Setting(
    "task.train_data",
    {"flip_probability": 0.5},
    "no class is named after a side; set 0 where left and right tell classes apart",
  )


def schedule(facts: facts_lib.DataFacts, batch: int) -> Setting:
  """Returns steps and evaluations: some two dozen passes over the images."""
  wanted = math.ceil(_EPOCHS * facts.num_images / batch)
  steps = _round_steps(min(_MOST_STEPS, max(_FEWEST_STEPS, wanted)))
  interval = steps // EVALUATIONS
  epochs = steps * batch / facts.num_images
  return Setting(
    "trainer",
    {"train_steps": steps, "validation_interval": interval, "checkpoint_interval": interval},
    f"{facts.num_images} images in batches of {batch}: {epochs:.0f} passes over each;"
    f" {EVALUATIONS} evaluations",
  )


def _round_steps(steps: float) -> int:
  """Returns steps that `EVALUATIONS` divides, to two digits."""
  unit = EVALUATIONS * 10 ** max(1, int(math.log10(steps)) - 2)
  return int(math.ceil(steps / unit) * unit)


def _up(side: float) -> int:
  return max(_MULTIPLE, math.ceil(side / _MULTIPLE - 1e-6) * _MULTIPLE)


def _middle(values: np.ndarray) -> str:
  low, high = int(values.min()), int(values.max())
  return str(low) if low == high else f"{int(np.median(values))} ({low} to {high})"
