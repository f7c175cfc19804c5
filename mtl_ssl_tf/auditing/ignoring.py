"""Figures that count detections on places of probably missing objects neither way.

Such a place becomes a difficult object of its class: metrics do not ask for those, and a detection
that matches one is neither right nor wrong.
"""

import dataclasses
import os
from collections.abc import Mapping

import numpy as np

from mtl_ssl_tf.auditing import candidates, listing
from mtl_ssl_tf.data import faults
from mtl_ssl_tf.data.ground_truth import objects as ground_truth
from mtl_ssl_tf.reading import quoting

# A place that is missing rather than not.
LEAST_PROBABILITY = 0.5


def with_places(
  truth: ground_truth.GroundTruth, path: str | os.PathLike[str]
) -> tuple[ground_truth.GroundTruth, int]:
  """Returns a data set with the places of a list, and their number.

  Args:
    truth: the data set.
    path: `audit.json` of an audit of it; of its candidates, those count that are missing objects
      with a probability of 0.5 and more.

  Raises:
    ValueError: the file is none, or is about other images or classes.
    OSError: it cannot be read.
  """
  rows = [
    row
    for row in listing.read_rows(path)
    if row["kind"] == candidates.MISSING and row["probability"] >= LEAST_PROBABILITY
  ]
  numbers = {name: number for number, name in enumerate(truth.class_names, start=1)}
  places: dict[int, list[listing.Row]] = {}
  for row in rows:
    place = truth.index.get(row["image_id"], truth.by_name.get(row["file_name"]))
    if place is None:
      raise ValueError(
        f"{path}: candidate {quoting.one_line(row['id'])}: image_id is"
        f" {quoting.shown(row['image_id'])}; accepted: an image of {truth.source}"
      )
    if row["class"] not in numbers or row["bbox"] is None:
      raise ValueError(
        f"{path}: candidate {quoting.one_line(row['id'])}: class is {quoting.shown(row['class'])};"
        f" accepted: a box of one of the classes of {truth.source}:"
        f" {faults.listing(truth.class_names)}"
      )
    places.setdefault(place, []).append(row)
  images = list(truth.images)
  for place, of_image in places.items():
    images[place] = _with_difficult(images[place], of_image, numbers)
  return dataclasses.replace(truth, images=tuple(images)), len(rows)


def _with_difficult(
  image: ground_truth.ImageTruth, rows: list[listing.Row], numbers: Mapping[str, int]
) -> ground_truth.ImageTruth:
  added = ground_truth.Boxes.from_xywh(np.array([row["bbox"] for row in rows], np.float64))
  classes = np.array([numbers[row["class"]] for row in rows], np.int64)
  return dataclasses.replace(
    image,
    boxes=ground_truth.Boxes(
      np.concatenate([image.boxes.corners, added.corners]),
      np.concatenate([image.boxes.xywh, added.xywh]),
    ),
    classes=np.concatenate([image.classes, classes]),
    difficult=np.concatenate([image.difficult, np.ones(len(rows), bool)]),
    is_crowd=np.concatenate([image.is_crowd, np.zeros(len(rows), bool)]),
    areas=np.concatenate([image.areas, added.xywh[:, 2] * added.xywh[:, 3]]),
  )
