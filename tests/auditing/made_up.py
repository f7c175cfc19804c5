"""Annotations and detections that were made up, for tests without a network."""

import pathlib
from collections.abc import Sequence

import numpy as np

from mtl_ssl_tf.data.ground_truth import detection_files
from mtl_ssl_tf.data.ground_truth import objects as ground_truth

SIZE = (200, 300)


def image(
  boxes: Sequence[Sequence[float]] = (),
  classes: Sequence[int] = (),
  *,
  difficult: Sequence[int] = (),
  is_crowd: Sequence[int] = (),
  image_id: str = "a",
) -> ground_truth.ImageTruth:
  """Annotations of one image; `difficult` and `is_crowd` are places of such objects."""
  corners = ground_truth.Boxes.from_corners(np.reshape(np.array(boxes, np.float64), [-1, 4]))
  places = np.arange(len(classes))
  return ground_truth.ImageTruth(
    image_id,
    f"{image_id}.png",
    SIZE,
    corners,
    np.array(classes, np.int64),
    np.isin(places, difficult),
    np.isin(places, is_crowd),
    corners.xywh[:, 2] * corners.xywh[:, 3],
  )


def detections(
  boxes: Sequence[Sequence[float]] = (),
  scores: Sequence[float] = (),
  classes: Sequence[int] = (),
) -> detection_files.Detections:
  """Detections in one image; boxes are ymin, xmin, ymax, xmax."""
  corners = ground_truth.Boxes.from_corners(np.reshape(np.array(boxes, np.float64), [-1, 4]))
  return detection_files.Detections(
    corners, np.array(scores, np.float64), np.array(classes, np.int64)
  )


def truth(
  images: Sequence[ground_truth.ImageTruth], class_names: Sequence[str] = ("cat", "dog")
) -> ground_truth.GroundTruth:
  """A data set."""
  numbers = tuple(range(1, len(class_names) + 1))
  return ground_truth.GroundTruth("made up", tuple(class_names), numbers, tuple(images))


def world(
  seed: int,
  num_images: int = 60,
  missing: float = 0.1,
  touching: float = 0.3,
  num_classes: int = 2,
) -> tuple[ground_truth.GroundTruth, list[detection_files.Detections], list[np.ndarray]]:
  """A data set with objects that touch, and a detector that is right more often than not.

  Class 1 has scores that are too low, every class clutter, duplicates and parts.

  Returns:
    The annotations, of which a share is missing, the detections, and for each image float64 [M, 5],
    the boxes and classes of the objects without a box.
  """
  rng = np.random.default_rng(seed)
  images, found, erased = [], [], []
  for number in range(num_images):
    boxes, classes = [], []
    for _ in range(rng.integers(2, 7)):
      side = rng.uniform(20, 50, 2)
      corner = rng.uniform(0, np.array(SIZE) - side)
      box = np.concatenate([corner, corner + side])
      class_id = int(rng.integers(1, num_classes + 1))
      boxes.append(box)
      classes.append(class_id)
      move = side[1] * rng.uniform(0.5, 0.8)
      if rng.random() < touching and box[3] + move < SIZE[1]:  # Beside it.
        boxes.append(box + np.array([0.0, move, 0.0, move]))
        classes.append(class_id)
    boxes, classes = np.array(boxes), np.array(classes)
    rows = []
    for box, class_id in zip(boxes, classes, strict=True):
      if rng.random() < 0.9:
        noise = rng.normal(0, 0.04, 4) * (box[2] - box[0])
        score = _sigmoid(rng.normal(2.5 if class_id > 1 else 0.0, 1.2))
        rows.append((*(box + noise), score, class_id))
      if rng.random() < 0.3:  # A part of it.
        part = box.copy()
        part[2] = box[0] + 0.4 * (box[2] - box[0])
        rows.append((*part, _sigmoid(rng.normal(-0.5 if class_id > 1 else -2.5, 1.0)), class_id))
    for _ in range(rng.integers(2, 8)):
      side = rng.uniform(15, 50, 2)
      corner = rng.uniform(0, np.array(SIZE) - side)
      class_id = int(rng.integers(1, num_classes + 1))
      score = _sigmoid(rng.normal(-0.5 if class_id > 1 else -3.0, 1.2))
      rows.append((*corner, *(corner + side), score, class_id))
    rows = np.array(rows)
    gone = rng.random(len(boxes)) < missing
    erased.append(np.column_stack([boxes, classes])[gone])
    images.append(image(boxes[~gone], classes[~gone], image_id=str(number)))
    found.append(detections(rows[:, :4], rows[:, 4], rows[:, 5].astype(int)))
  names = [f"class {number}" for number in range(1, num_classes + 1)]
  return truth(images, names), found, erased


def _sigmoid(value: float) -> float:
  return float(1.0 / (1.0 + np.exp(-value)))


EVIL = "<script>alert(1)</script>"
NAMES = ("=cat()", EVIL)


def write(folder: pathlib.Path, num_images: int = 12) -> ground_truth.GroundTruth:
  """Writes records and COCO results of a made up data set with names that do harm.

  Returns:
    The annotations as the records have them.
  """
  from mtl_ssl_tf.data.ground_truth import truth_readers
  from tests import fixtures

  truth_, found, _ = world(7, num_images)
  examples = []
  for number, one in enumerate(truth_.images):
    source_id = f'{number}"><img src=x onerror=alert(2)>'
    boxes = np.clip(one.boxes.corners, 0, np.array(SIZE * 2))
    examples.append(
      fixtures.serialized_example(
        fixtures.noise_image(*SIZE, number), boxes, one.classes, source_id=source_id
      )
    )
  fixtures.write_records(folder / "train.tfrecord", examples)
  (folder / "label_map.txt").write_text("".join(f"{name}\n" for name in NAMES))
  read = truth_readers.read_records(str(folder / "train.tfrecord"))
  detection_files.write_coco_results(
    folder / "results.json", zip(read.coco_image_ids, found, strict=True), read.category_ids
  )
  return read
