"""Collects findings of a data set image by image: counts, lists of bounded length, statistics.

Memory does not grow with the number of images, however much is wrong with them.
"""

import collections
import dataclasses
import heapq
import json
import random
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mtl_ssl_tf.data import faults
from mtl_ssl_tf.data.inspection import checks, contact_sheet, statistics

_MAX_PRINTED = 3
_MAX_REASONS = 100


@dataclasses.dataclass(frozen=True, slots=True)
class Inspected:
  """One image that was inspected.

  Attributes:
    name: what to call it, as its data set does.
    facts: None where it cannot be trained on.
    findings: everything that is wrong with it, or may be.
    encoded: the image, if there is one.
    boxes_orig: number of each object to its box in pixels of the image, faulty ones included.
    split: that it belongs to.
  """

  name: str
  facts: checks.ImageFacts | None
  findings: tuple[checks.Finding, ...]
  encoded: bytes | None = None
  boxes_orig: Mapping[int, Sequence[float]] = dataclasses.field(default_factory=dict)
  split: str = ""


class ValidationReport:
  """Gathers what is found; `docs/validation.md` describes what comes out."""

  def __init__(
    self,
    limits: checks.Limits,
    classes: Sequence[str] | None,
    *,
    max_listed: int = 1000,
    worst_per_kind: int = 6,
    num_sampled: int = 0,
  ):
    """Starts with nothing.

    Args:
      limits: what the images were compared with.
      classes: class 1 first; None where no label map says them.
      max_listed: findings of each kind that are listed one by one; all are counted.
      worst_per_kind: images of each kind that are kept for the contact sheet.
      num_sampled: images at random that are kept for it besides, of those that can be trained on.
    """
    self.statistics = statistics.DataStatistics(limits, classes)
    self._limits = limits
    self._max_listed, self._worst_per_kind = max_listed, worst_per_kind
    self._num_images = self._num_unusable = 0
    self._levels = {}
    self._counts, self._image_counts = collections.Counter(), collections.Counter()
    self._listed = collections.defaultdict(list)
    self._general = []
    self._worst = collections.defaultdict(list)  # Kind -> heap, the least bad image first.
    self._sample: list[tuple[int, contact_sheet.SampledImage]] = []
    self._num_sampled, self._num_usable = num_sampled, 0
    self._random = random.Random(0)  # The same images in every report of a data set.

  def num_of(self, level: str) -> int:
    """Returns the number of findings of a level so far."""
    return sum(count for kind, count in self._counts.items() if self._levels[kind] == level)

  def findings(self, level: str) -> list[checks.Finding]:
    """The findings of a level that are listed, those of a kind together."""
    kinds = [kind for kind, counts in self.kinds().items() if counts["level"] == level]
    return [finding for kind in kinds for finding in self._listed[kind]]

  def add_general(self, findings: Iterable[checks.Finding]) -> None:
    """Adds findings that are not about a single image."""
    for finding in findings:
      self._count(finding)
      if len(self._general) < self._max_listed:
        self._general.append(finding)

  def add_image(self, inspected: Inspected) -> None:
    """Adds one image."""
    self._num_images += 1
    if inspected.facts is None:
      self._num_unusable += 1
    else:
      self.statistics.add(inspected.facts)
      self._sample_image(inspected)
    for finding in inspected.findings:
      self._count(finding)
    kinds = collections.Counter(finding.kind for finding in inspected.findings)
    self._image_counts.update(kinds.keys())
    shown = None
    for kind, count in kinds.items():
      if self._levels[kind] == checks.NOTE:
        continue
      heap = self._worst[kind]
      # Of equals the earlier image stays; the number also keeps `Inspected` from being compared.
      badness = (count, len(inspected.findings), -self._num_images)
      if len(heap) < self._worst_per_kind or badness > heap[0][:3]:
        shown = shown or _shown(inspected)
        entry = (*badness, shown)
        if len(heap) < self._worst_per_kind:
          heapq.heappush(heap, entry)
        else:
          heapq.heapreplace(heap, entry)

  def _sample_image(self, inspected: Inspected) -> None:
    """Keeps an image with the probability that makes all images equally likely to be kept."""
    self._num_usable += 1
    place = len(self._sample)
    if place >= self._num_sampled:
      place = self._random.randrange(self._num_usable)
    if place >= self._num_sampled:
      return
    picture = contact_sheet.thumbnail(inspected.encoded, {}, {})
    if picture is None:
      return
    facts = inspected.facts
    sampled = contact_sheet.SampledImage(
      inspected.name,
      picture,
      (facts.height, facts.width),
      facts.boxes_orig,
      facts.class_names,
      facts.difficult,
      facts.is_crowd,
    )
    self._sample[place : place + 1] = [(self._num_images, sampled)]

  def _count(self, finding: checks.Finding) -> None:
    self._levels[finding.kind] = finding.level
    self._counts[finding.kind] += 1
    if len(self._listed[finding.kind]) < self._max_listed:
      self._listed[finding.kind].append(finding)

  def kinds(self) -> dict[str, dict[str, Any]]:
    """Level and counts of each kind that was found, faults first, the most frequent first."""
    ordered = sorted(
      self._counts,
      key=lambda kind: (checks.LEVELS.index(self._levels[kind]), -self._counts[kind], kind),
    )
    return {
      kind: {
        "level": self._levels[kind],
        "num_findings": self._counts[kind],
        "num_images": self._image_counts[kind],
      }
      for kind in ordered
    }

  def worst(self) -> list[tuple[str, bytes | None, Sequence[checks.Finding]]]:
    """The worst images of all kinds, each once: name, thumbnail and findings.

    Those with the most faults come first, then those with the most warnings.
    """
    shown = {
      -entry[2]: entry[3] for heap in self._worst.values() for entry in heap
    }  # By the number of the image.

    def badness(number: int) -> tuple[int, int, int]:
      findings = shown[number][2]
      num_faults = sum(finding.level == checks.FAULT for finding in findings)
      return -num_faults, -len(findings), number

    return [shown[number] for number in sorted(shown, key=badness)]

  def as_json(self, **about: Any) -> str:
    """The report as a JSON text.

    Args:
      **about: what else it says, at its beginning.
    """
    kinds = self.kinds()
    report = about | {
      "num_images": self._num_images,
      "num_unusable_images": self._num_unusable,
      **{f"num_{level}s": self.num_of(level) for level in checks.LEVELS},
      "limits": dataclasses.asdict(self._limits),
      "kinds": kinds,
      "findings": [dataclasses.asdict(finding) for kind in kinds for finding in self._listed[kind]],
      "statistics": self.statistics.summary(),
      "worst": [
        {"image": name, "reasons": [str(finding) for finding in findings]}
        for name, _, findings in self.worst()
      ],
    }
    # ASCII, as file names may hold bytes that are no text.
    return json.dumps(report, indent=2, allow_nan=False) + "\n"

  def html(self, title: str, judged_by: str = "") -> bytes:
    """The contact sheet.

    Args:
      title: the data set.
      judged_by: see `contact_sheet.page`.
    """
    return contact_sheet.page(
      title,
      self.kinds(),
      self._general,
      self.worst(),
      self.statistics.summary(),
      judged_by=judged_by,
      sample=[image for _, image in sorted(self._sample, key=lambda numbered: numbered[0])],
    )

  def lines(self) -> list[str]:
    """The report in short: what the data holds, and of each kind the first few findings."""
    summary = self.statistics.summary()
    boxes, anchors = summary["boxes_per_image"], summary["anchors"]
    lines = [f"{figures['num_boxes']:>9} {name}" for name, figures in summary["classes"].items()]
    lines += [
      f"images {self._num_images}, unusable {self._num_unusable}, without boxes"
      f" {summary['num_images_without_boxes']}; boxes {summary['num_boxes']}",
      f"most boxes in an image {boxes['most']}, max_num_boxes {boxes['max_num_boxes']}; boxes"
      f" smaller than the smallest anchor {anchors['num_boxes_smaller']}"
      f" ({100 * anchors['share_smaller']:.1f} %)",
    ]
    partly = summary.get("annotated_classes")
    if partly:
      counts = [f"{name} {count}" for name, count in partly["images_per_class"].items()]
      lines.append(
        f"images annotated for some classes only {partly['num_images']}; images annotated for"
        f" {faults.listing(counts)}"
      )
    for kind, counts in self.kinds().items():
      lines += [f"{counts['level']}: {finding}" for finding in self._listed[kind][:_MAX_PRINTED]]
      if counts["num_findings"] > _MAX_PRINTED:
        lines.append(
          f"{counts['level']}: {kind}: {counts['num_findings']} in all, in images:"
          f" {counts['num_images']}"
        )
    return lines


def _shown(inspected: Inspected) -> tuple[str, bytes | None, Sequence[checks.Finding]]:
  """Name, thumbnail and findings, without the large image."""
  levels = {}
  for finding in inspected.findings:
    if finding.object_number is not None and levels.get(finding.object_number) != checks.FAULT:
      levels[finding.object_number] = finding.level
  picture = contact_sheet.thumbnail(inspected.encoded, inspected.boxes_orig, levels)
  return inspected.name, picture, inspected.findings[:_MAX_REASONS]
