"""Collects detections image by image and reports COCO's twelve figures and AP per class."""

import contextlib
import io
from collections.abc import Sequence

import numpy as np
from pycocotools import cocoeval

from mtl_ssl_tf.evaluation import coco_matching, tables

# The order of `COCOeval.stats`.
FIGURES = (
  "AP",
  "AP50",
  "AP75",
  "AP_small",
  "AP_medium",
  "AP_large",
  "AR1",
  "AR10",
  "AR100",
  "AR_small",
  "AR_medium",
  "AR_large",
)
MAIN_KEY = "coco/AP"
DESCRIPTIONS = (
  "average precision, IoU 0.50 … 0.95",
  "average precision, IoU 0.50",
  "average precision, IoU 0.75",
  "average precision, area below 32² px",
  "average precision, area 32² … 96² px",
  "average precision, area above 96² px",
  "average recall, at most 1 detection of a class in an image",
  "average recall, at most 10 detections",
  "average recall, at most 100 detections",
  "average recall, area below 32² px",
  "average recall, area 32² … 96² px",
  "average recall, area above 96² px",
)


def to_xywh(boxes: np.ndarray) -> np.ndarray:
  """Boxes [n, 4] of ymin, xmin, ymax, xmax as COCO's left, top, width, height, in float64."""
  ymin, xmin, ymax, xmax = np.asarray(boxes, np.float64).reshape(-1, 4).T
  return np.stack([xmin, ymin, xmax - xmin, ymax - ymin], axis=1)


class COCOEvaluator:
  """COCO detection metrics: `reset`, `update` once per image, `result`.

  The twelve figures of pycocotools, `coco/AP` … `coco/AR_large`, and `coco/AP/<class>`, all as
  fractions. Where pycocotools says -1, because there is no object to find, they are NaN. Overlaps,
  thresholds and summary come from pycocotools; what lies between is `coco_matching`.

  Detections of equal score are taken in the order of their images, sorted by `image_id` as
  pycocotools sorts them, and within an image in the given order.

  Attributes:
    class_names: names of the object classes; class id i is `class_names[i - 1]`.
  """

  def __init__(self, class_names: Sequence[str]):
    """Makes an empty evaluator.

    Args:
      class_names: names of the object classes in the order of their ids, without background.

    Raises:
      ValueError: if names repeat.
    """
    self.class_names = tuple(class_names)
    repeated = {name for name in self.class_names if self.class_names.count(name) > 1}
    if repeated:
      raise ValueError(
        f"class_names repeats {sorted(repeated)}; accepted: a name of its own for each class"
      )
    self.reset()

  def reset(self) -> None:
    """Forgets every image."""
    self._image_ids: dict[int | str, int] = {}
    self._objects: list[tuple[np.ndarray, ...]] = []
    self._detections: list[tuple[np.ndarray, ...]] = []
    self._precision: np.ndarray | None = None
    self._stats: np.ndarray | None = None

  def update(
    self,
    *,
    image_id: int | str,
    gt_boxes_xywh: np.ndarray,
    gt_classes: np.ndarray,
    detection_boxes_xywh: np.ndarray,
    detection_scores: np.ndarray,
    detection_classes: np.ndarray,
    gt_is_crowd: np.ndarray | None = None,
    gt_ignored: np.ndarray | None = None,
    gt_areas: np.ndarray | None = None,
  ) -> None:
    """Adds one image; boxes are in pixels of the file, because sizes are.

    Args:
      image_id: number or name; all images have one or the other.
      gt_boxes_xywh: float [N, 4]; see `to_xywh`.
      gt_classes: int [N], 1 ... C-1; rows of 0 or less are padding.
      detection_boxes_xywh: float [D, 4].
      detection_scores: float [D].
      detection_classes: int [D], 1 ... C-1; rows of 0 or less are padding.
      gt_is_crowd: bool [N], regions of many objects: matches are ignored, and the overlap is the
        share of the detection that lies in the region. None: no object is.
      gt_ignored: bool [N], objects such as VOC's difficult ones: a match counts neither for nor
        against. pycocotools itself knows no such flag. None: no object is.
      gt_areas: float [N], square pixels; None or NaN is the area of the box.

    Raises:
      ValueError: if shapes disagree, a class id is unknown, a number is not finite, a side is
        negative, or the image was already added.
    """
    if image_id in self._image_ids:
      raise ValueError(f"image {image_id!r} was already added; accepted: each image once")
    no, unknown = np.zeros(len(gt_classes), bool), np.full(len(gt_classes), np.nan)
    gt_boxes, gt_classes, gt_is_crowd, gt_ignored, gt_areas = self._valid_rows(
      f"image {image_id!r}: gt_",
      gt_boxes_xywh,
      gt_classes,
      is_crowd=no if gt_is_crowd is None else gt_is_crowd,
      ignored=no if gt_ignored is None else gt_ignored,
      areas=unknown if gt_areas is None else gt_areas,
    )
    boxes, classes, scores = self._valid_rows(
      f"image {image_id!r}: detection_",
      detection_boxes_xywh,
      detection_classes,
      scores=detection_scores,
    )
    if not np.isfinite(scores).all():
      raise ValueError(
        f"image {image_id!r}: detection_scores holds values that are not finite; accepted: numbers"
      )
    gt_areas = np.where(np.isnan(gt_areas), np.prod(gt_boxes[:, 2:], axis=1), gt_areas)
    number = self._image_ids[image_id] = len(self._image_ids)
    crowd, ignored = gt_is_crowd.astype(bool), (gt_is_crowd + gt_ignored) > 0
    numbers = np.full(len(gt_classes), number)
    self._objects.append((numbers, gt_classes, gt_boxes, gt_areas, crowd, ignored))
    areas = boxes[:, 2] * boxes[:, 3]
    self._detections.append((np.full(len(classes), number), classes, boxes, areas, scores))
    self._stats = None

  def result(self) -> dict[str, float]:
    """All figures of the images since `reset`, the twelve first; the keys are always the same."""
    self._evaluate()
    figures = dict(zip(FIGURES, self._stats, strict=True))
    figures = {f"coco/{name}": _nan_if_absent(value) for name, value in figures.items()}
    return figures | {
      f"{MAIN_KEY}/{name}": value for name, value in self._class_precision()[0].items()
    }

  def tables(self) -> str:
    """The twelve figures, and AP for each class, in percent."""
    result = self.result()
    summary = tables.text_table(
      "COCO metrics by pycocotools, percent",
      ["figure", ""],
      [
        [f"{name:<9} {text}", tables.percent(result[f"coco/{name}"])]
        for name, text in zip(FIGURES, DESCRIPTIONS, strict=True)
      ],
    )
    all_ious, at_half = self._class_precision()
    objects = np.concatenate([entry[1][~entry[5]] for entry in self._objects] or [[]])
    detections = np.concatenate([entry[1] for entry in self._detections] or [[]])
    rows = [
      [
        name,
        str(int(np.sum(objects == class_id))),
        str(int(np.sum(detections == class_id))),
        tables.percent(all_ious[name]),
        tables.percent(at_half[name]),
      ]
      for class_id, name in enumerate(self.class_names, start=1)
    ]
    header = ["class", "objects", "detections", "AP", "AP50"]
    per_class = tables.text_table("COCO average precision by class, percent", header, rows)
    return f"{summary}\n\n{per_class}"

  def _evaluate(self) -> None:
    """Computes `_precision` and `_stats`, once for any number of calls."""
    if self._stats is not None:
      return
    evaluation = cocoeval.COCOeval(iouType="bbox")
    # Where each image comes, by the order of its id; numbers and names do not mix.
    place = np.argsort(np.argsort(np.array(list(self._image_ids))))  # [images]
    none = (np.zeros(0, int), np.zeros(0, int), np.zeros([0, 4]), np.zeros(0))
    columns = zip(none + (np.zeros(0, bool),) * 2, *self._objects, strict=True)
    images, classes, boxes, areas, crowd, ignored = map(np.concatenate, columns)
    columns = zip((*none, np.zeros(0)), *self._detections, strict=True)
    found_images, found_classes, found_boxes, found_areas, scores = map(np.concatenate, columns)
    if len(place):
      images, found_images = place[images], place[found_images]
    precision, recall = coco_matching.accumulate(
      evaluation.params,
      len(self.class_names),
      coco_matching.Rows(images, classes - 1, boxes, areas),
      crowd,
      ignored,
      coco_matching.Rows(found_images, found_classes - 1, found_boxes, found_areas),
      scores,
    )
    evaluation.eval = {"precision": precision, "recall": recall}
    with contextlib.redirect_stdout(io.StringIO()):
      evaluation.summarize()
    self._precision, self._stats = precision, evaluation.stats

  def _class_precision(self) -> tuple[dict[str, float], dict[str, float]]:
    """AP of each class over all IoU thresholds, and at 0.5; NaN without objects."""
    self._evaluate()
    all_sizes = self._precision[..., 0, -1]  # [T, R, C]
    # A class has objects at every threshold and level, or at none.
    means = [values.mean(axis=(0, 1)) for values in (all_sizes, all_sizes[:1])]  # [C] each
    return tuple(
      {name: _nan_if_absent(value) for name, value in zip(self.class_names, mean, strict=True)}
      for mean in means
    )

  def _valid_rows(
    self, prefix: str, boxes: np.ndarray, classes: np.ndarray, **columns: np.ndarray
  ) -> list[np.ndarray]:
    """Checks the rows of one image and drops the padding; `prefix` opens the messages."""
    boxes, classes = np.asarray(boxes, np.float64), np.asarray(classes)
    values = [np.asarray(column, np.float64) for column in columns.values()]
    shapes = [boxes.shape, *(value.shape for value in values)]
    if classes.ndim != 1 or shapes != [(len(classes), 4), *[classes.shape] * len(values)]:
      found = ", ".join(
        f"{name} {list(shape)}" for name, shape in zip(["boxes", *columns], shapes, strict=True)
      )
      raise ValueError(
        f"{prefix}classes {list(classes.shape)}, {found}; accepted: [n, 4] for boxes and [n] for"
        " all else"
      )
    if classes.size and classes.max() > len(self.class_names):
      raise ValueError(
        f"{prefix}classes holds {classes.max()}; accepted: 1 to {len(self.class_names)}, "
        "and 0 or less for padding"
      )
    valid = classes > 0
    boxes = boxes[valid]
    # Written so that NaN is refused too.
    if not (np.isfinite(boxes).all() and (boxes[:, 2:] >= 0.0).all()):
      raise ValueError(f"{prefix}boxes_xywh holds a side that is negative or not finite")
    return [boxes, classes[valid].astype(np.int64), *(value[valid] for value in values)]


def _nan_if_absent(value: float) -> float:
  """Returns NaN for pycocotools' -1, which means no objects."""
  return float("nan") if value == -1 else float(value)
