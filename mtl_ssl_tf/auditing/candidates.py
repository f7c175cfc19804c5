"""The list of an audit: objects without a box, and boxes that are probably wrong, best first."""

import dataclasses
import hashlib
import json
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from mtl_ssl_tf.auditing import calibration as calibration_lib
from mtl_ssl_tf.auditing import doubts, places
from mtl_ssl_tf.data.ground_truth import detection_files
from mtl_ssl_tf.data.ground_truth import objects as ground_truth
from mtl_ssl_tf.evaluation import voc_metrics

MISSING, WRONG_CLASS, BADLY_PLACED, NOTHING = "missing", "wrong_class", "badly_placed", "nothing"
KINDS = (MISSING, WRONG_CLASS, BADLY_PLACED, NOTHING)
# Candidates that overlap so far are one place, whatever their classes.
_ONE_PLACE_IOU = 0.5
# A detection that overlaps a box so far says that there is something.
_EVIDENCE_IOU = 0.3
_ID_DIGITS = 12
# Lists are cut where they are so many times as long as they may be.
_SPARE = 4


@dataclasses.dataclass(frozen=True, eq=False)
class Candidate:
  """One line of the list.

  Attributes:
    image: place of the image in the data set.
    kind: one of `KINDS`, that of the largest probability.
    probabilities: of each of `KINDS`.
    score: of the detection that it follows from; NaN without one.
    overlap: IoU of the proposed box with the nearest annotated box of its class, NaN without one.
    proposed_class, given_class: from 1; 0 without one.
    proposed_box, given_box: float64 [4], left, top, width and height in pixels of the file; None
      without one.
    given_object: place of the annotated box in the image; -1 without one.
  """

  image: int
  kind: str
  probabilities: dict[str, float]
  score: float = float("nan")
  overlap: float = float("nan")
  proposed_class: int = 0
  proposed_box: np.ndarray | None = None
  given_class: int = 0
  given_box: np.ndarray | None = None
  given_object: int = -1

  @property
  def probability(self) -> float:
    """Of its kind."""
    return self.probabilities[self.kind]

  def identifier(self, image_id: str) -> str:
    """Returns a name that the same candidate has in every audit of the data set."""
    boxes = [
      None if box is None else [round(float(side), 2) for side in box]
      for box in (self.given_box, self.proposed_box)
    ]
    about: list[Any] = [image_id, self.kind, self.given_class, self.proposed_class, *boxes]
    return hashlib.sha256(json.dumps(about).encode()).hexdigest()[:_ID_DIGITS]


@dataclasses.dataclass(frozen=True, eq=False)
class Audit:
  """An audit of a data set.

  Attributes:
    candidates: the most probable first.
    num_candidates: how many there are, those beyond a limit included.
    calibration: that they were judged by.
  """

  candidates: list[Candidate]
  num_candidates: int
  calibration: calibration_lib.Calibration


def find(
  truth: ground_truth.GroundTruth,
  found: Sequence[detection_files.Detections],
  regions: Mapping[int, np.ndarray] = types.MappingProxyType({}),
  step: Callable[[], object] = lambda: None,
  limit: int | None = None,
) -> Audit:
  """Audits a data set.

  Args:
    truth: the annotations.
    found: detections in each image of `truth`, down to low scores.
    regions: place of an image -> float64 [M, 4], regions to be ignored as `places.pair` takes them.
    step: called after each image, twice each.
    limit: of the list, so that memory does not grow with the detections; None has no limit.

  Raises:
    ValueError: a score is no probability.
  """
  paired = []
  for number, (image, detections) in enumerate(zip(truth.images, found, strict=True)):
    paired.append(places.pair(image, detections, regions.get(number)))
    step()
  num_classes = len(truth.class_names)
  calibration = _calibrate(paired, num_classes)
  given = _GivenBoxes(paired, calibration, num_classes)
  rows: list[Candidate] = []
  num_candidates = 0
  for number, one in enumerate(paired):
    of_image = _of_image(number, one, given.of_image(number), calibration)
    num_candidates += len(of_image)
    rows += of_image
    if limit is not None and len(rows) > _SPARE * (limit + 1):
      rows = _first(rows, limit)
    step()
  return Audit(_first(rows, limit), num_candidates, calibration)


def _first(rows: list[Candidate], limit: int | None) -> list[Candidate]:
  return sorted(rows, key=lambda row: (-row.probability, row.image, -row.given_object))[:limit]


def _calibrate(paired: Sequence[places.Places], num_classes: int) -> calibration_lib.Calibration:
  columns = [
    np.zeros(0),
    np.zeros(0, np.int64),
    np.zeros([0, places.NUM_SURROUNDINGS]),
    np.zeros(0, bool),
  ]
  parts = [columns]
  for one in paired:
    counts = ~one.is_ignored
    parts.append(
      [one.scores[counts], one.classes[counts], one.surroundings()[counts], one.is_matched[counts]]
    )
  return calibration_lib.fit(*map(np.concatenate, zip(*parts, strict=True)), num_classes)


@dataclasses.dataclass(frozen=True, eq=False)
class _Judged:
  """Annotated boxes of one image.

  Attributes:
    partner: int64 [N], the detection that a box is compared with; -1 without.
    misplaced: float64 [N], probability that it is badly placed.
    rival: int64 [N], the best detection of another class on it; -1 without.
    wrong_class: float64 [N], probability that that one's class is right.
    nothing: float64 [N], probability that nothing is there.
    overlooked: share of all annotated boxes that detections do not find.
  """

  partner: np.ndarray
  misplaced: np.ndarray
  rival: np.ndarray
  wrong_class: np.ndarray
  nothing: np.ndarray
  overlooked: float


class _GivenBoxes:
  """The annotated boxes of all images, which are judged by each other."""

  def __init__(
    self,
    paired: Sequence[places.Places],
    calibration: calibration_lib.Calibration,
    num_classes: int,
  ):
    partners, rivals, swaps, sures, overlaps, evidence = [], [], [], [], [], []
    for one in paired:
      partner = _partners(one)
      sure, alone = _trust(one, partner, calibration)
      rival, swap = _rivals(one, alone)
      rows = np.arange(len(partner))
      has_partner = partner >= 0
      partners.append(partner)
      rivals.append(rival)
      swaps.append(swap)
      sures.append(np.where(has_partner, np.append(sure, 0.0)[partner], 0.0))
      padded = np.concatenate([one.iou, np.zeros([1, len(rows)])])
      overlaps.append(np.where(has_partner, padded[partner, rows], np.nan))
      on_it = np.where(one.iou >= _EVIDENCE_IOU, alone[:, np.newaxis], 0.0)  # [D, N]
      evidence.append(on_it.max(axis=0, initial=0.0))
    self._ends = np.cumsum([len(partner) for partner in partners])
    self._partners, self._rivals, self._swaps = partners, rivals, swaps
    iou = np.concatenate([np.zeros(0), *overlaps])
    misplaced = np.zeros(len(iou))
    compared = ~np.isnan(iou)
    misplaced[compared] = doubts.misplaced(iou[compared])
    self._misplaced = misplaced * np.concatenate([np.zeros(0), *sures])
    found = np.concatenate([np.zeros(0), *evidence])
    self._overlooked = 1.0 - float(found.mean()) if len(found) else 0.0
    self._nothing = doubts.around_nothing(
      found,
      np.concatenate([np.zeros(0, np.int64), *(one.image.classes for one in paired)]),
      np.concatenate([np.zeros(0), *(one.image.boxes.xywh[:, 2:].prod(axis=1) for one in paired)]),
      num_classes,
    )

  def of_image(self, number: int) -> _Judged:
    """Returns the boxes of one image."""
    end = self._ends[number]
    part = slice(end - len(self._partners[number]), end)
    return _Judged(
      self._partners[number],
      self._misplaced[part],
      self._rivals[number],
      self._swaps[number],
      self._nothing[part],
      self._overlooked,
    )


def _partners(one: places.Places) -> np.ndarray:
  """The detection that each annotated box is compared with: its match, or one that comes near."""
  partner = np.full(len(one.image.classes), -1, np.int64)
  matched = np.flatnonzero(one.own >= 0)
  partner[one.own[matched]] = matched
  near = one.same_class & ~one.image.is_crowd & (one.iou >= places.NEAR_IOU)
  near &= (partner < 0) & (one.own < 0)[:, np.newaxis]
  rows = places.assign(np.where(near, one.scores[:, np.newaxis] * one.iou, 0.0))
  chosen = np.flatnonzero(rows >= 0)
  partner[rows[chosen]] = chosen
  return partner


def _trust(
  one: places.Places, partner: np.ndarray, calibration: calibration_lib.Calibration
) -> tuple[np.ndarray, np.ndarray]:
  """Probabilities [D] that detections are objects: those of partners, and by score alone."""
  own = one.own.copy()
  has_partner = partner >= 0
  own[partner[has_partner]] = np.flatnonzero(has_partner)
  sure = calibration.are_objects(one.scores, one.classes, one.surroundings(own))
  alone = calibration.are_objects(
    one.scores, one.classes, np.zeros([len(one.scores), places.NUM_SURROUNDINGS])
  )
  return sure, alone


def _rivals(one: places.Places, alone: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """The best detection of another class on each box [N], and the probability that it is right."""
  on_it = one.iou >= places.MATCH_IOU  # [D, N]
  others = np.where(on_it & ~one.same_class, alone[:, np.newaxis], 0.0)
  same = np.where(on_it & one.same_class, alone[:, np.newaxis], 0.0)
  best = others.max(axis=0, initial=0.0)
  rival = others.argmax(axis=0) if len(others) else np.zeros(len(best), np.int64)
  rival = np.where(best > 0.0, rival, -1)
  return rival, best * (1.0 - same.max(axis=0, initial=0.0))


def _of_image(
  number: int,
  one: places.Places,
  judged: _Judged,
  calibration: calibration_lib.Calibration,
) -> list[Candidate]:
  missing = calibration.are_missing(one.scores, one.classes, one.surroundings())  # [D]
  is_open = (one.own < 0) & ~one.is_ignored
  misplaced = judged.misplaced.copy()
  # A detection near a box that has none of its own: either the box is badly placed, or it lacks one
  # beside a box whose object was not found. The less probable of the two has what is left.
  near = np.flatnonzero(np.append(is_open, False)[judged.partner])
  for place in near:
    detection = judged.partner[place]
    if misplaced[place] >= missing[detection] * judged.overlooked:
      missing[detection] *= 1.0 - misplaced[place]
    else:
      misplaced[place] *= 1.0 - missing[detection]
  rows = [
    _missing(number, one, detection, probability)
    for detection, probability in _merged(one.boxes, one.classes, np.where(is_open, missing, -1.0))
  ]
  can_be_wrong = ~(one.image.difficult | one.image.is_crowd)
  for place in np.flatnonzero(can_be_wrong):
    rows.append(_given(number, one, judged, int(place), float(misplaced[place])))
  return [row for row in rows if row.probability > 0.0]


def _merged(
  boxes: np.ndarray, classes: np.ndarray, probabilities: np.ndarray
) -> list[tuple[int, float]]:
  """Returns the detections that are no duplicates, and their probabilities.

  Of detections of a class in one place the most probable stays. Another class in that place has
  what the more probable ones leave: there is one object.

  Args:
    boxes: float64 [D, 4].
    classes: int64 [D].
    probabilities: float64 [D]; below 0 for detections that do not count.
  """
  kept: list[tuple[int, float]] = []
  for row in np.argsort(-probabilities, kind="stable"):
    if probabilities[row] < 0.0:
      break
    places_before = [number for number, _ in kept]
    iou = voc_metrics.pairwise_iou(boxes[[row]], boxes[places_before])[0]
    same_place = iou >= _ONE_PLACE_IOU
    if any(same_place & (classes[places_before] == classes[row])):
      continue
    taken = [kept[number][1] for number in np.flatnonzero(same_place)]
    left = float(np.prod([1.0 - value for value in taken]))
    kept.append((int(row), float(probabilities[row]) * left))
  return kept


def _missing(number: int, one: places.Places, detection: int, probability: float) -> Candidate:
  same = np.where(one.same_class[detection], one.iou[detection], 0.0)
  return Candidate(
    number,
    MISSING,
    dict.fromkeys(KINDS, 0.0) | {MISSING: probability},
    float(one.scores[detection]),
    float(same.max()) if one.same_class[detection].any() else float("nan"),
    int(one.classes[detection]),
    _xywh(one.boxes[detection]),
  )


def _given(
  number: int, one: places.Places, judged: _Judged, place: int, misplaced: float
) -> Candidate:
  probabilities = {
    MISSING: 0.0,
    WRONG_CLASS: float(judged.wrong_class[place]),
    BADLY_PLACED: misplaced,
    NOTHING: float(judged.nothing[place]),
  }
  kind = max(KINDS[1:], key=probabilities.__getitem__)
  given_class, given_box = int(one.image.classes[place]), one.image.boxes.xywh[place]
  proposed_class, proposed_box, detection = 0, None, -1
  if kind == WRONG_CLASS:
    detection = int(judged.rival[place])
    proposed_box = given_box
  elif kind == BADLY_PLACED:
    detection = int(judged.partner[place])
    proposed_box = None if detection < 0 else _xywh(one.boxes[detection])
  if detection >= 0:
    proposed_class = int(one.classes[detection])
  return Candidate(
    number,
    kind,
    probabilities,
    float(one.scores[detection]) if detection >= 0 else float("nan"),
    float(one.iou[detection, place]) if detection >= 0 else float("nan"),
    proposed_class,
    proposed_box if detection >= 0 else None,
    given_class,
    given_box,
    place,
  )


def _xywh(box: np.ndarray) -> np.ndarray:
  return ground_truth.Boxes.from_corners(box).xywh[0]
