"""The requirements on a run, next to its measured figures."""

import dataclasses
import statistics

from benchmarks.cost import results, summary

BASELINE, MTL = "frcnn_resnet101_baseline", "frcnn_resnet101_mtl"
FAST = "frcnn_resnet101_mtl_shared_map"
_WORDS = {"infer": "inference", "train": "training step"}


@dataclasses.dataclass(frozen=True)
class Requirement:
  """One line of the table.

  Attributes:
    what: is bounded.
    figure: that was measured.
    bound: of it.
    at_least: whether the bound is the least, not the most.
    unit: behind both.
  """

  what: str
  figure: float
  bound: float
  at_least: bool = False
  unit: str = "x"

  @property
  def met(self) -> bool:
    """Whether the figure, as measured and not as printed, keeps the bound."""
    return self.figure >= self.bound if self.at_least else self.figure <= self.bound


# Row, precision, what its time is divided by, call, most.
_RATIOS = (
  (BASELINE, "float32", "peer", "infer", 0.95),
  (BASELINE, "float32", "peer", "train", 0.9),
  (BASELINE, "bfloat16", "peer", "infer", 0.6),
  (BASELINE, "bfloat16", "peer", "train", 0.65),
  (MTL, "float32", "baseline", "infer", 3.5),
  (MTL, "float32", "baseline", "train", 2.2),
  (FAST, "float32", "baseline", "infer", 1.15),
  (FAST, "float32", "baseline", "train", 1.4),
)
# Most milliseconds an image by job.
_LABELS = {"20 boxes, 21 classes": 2.0, "100 boxes, 91 classes": 15.0}
_LEAST_OF_PEAK = 0.7
_PARTS_AT_PEAK = ("stage 1", "second stage")
_MOST_LABELS_SHARE = 0.02


def lines(found: results.Results) -> list[Requirement]:
  """Returns the requirements on what was measured."""
  return [*_ratios(found), *_labels(found), *_parts(found)]


def _ratios(found: results.Results) -> list[Requirement]:
  steps = summary.steps(found)
  lines_ = []
  for name, precision, to, call, bound in _RATIOS:
    figures = steps.get((name, precision))
    ratios = {} if figures is None else getattr(figures, f"to_{to}")
    if call in ratios:
      what = f"{name}, {precision}, {_WORDS[call]} over {to}"
      lines_.append(Requirement(what, ratios[call], bound))
  return lines_


def _labels(found: results.Results) -> list[Requirement]:
  return [
    Requirement(
      f"labels, {job['name']}, an image",
      1000.0 * statistics.median(result["seconds"]),
      _LABELS[job["name"]],
      unit=" ms",
    )
    for job, result in found.of("labels")
    if "error" not in result
  ]


def _parts(found: results.Results) -> list[Requirement]:
  lines_ = []
  for job, result in found.of("parts"):
    if "error" in result:
      continue
    phases, where = summary.parts(result), f"{job['name']}, {job['precision']}"
    for part in _PARTS_AT_PEAK:
      fraction = phases["inference"][part].of_peak
      what = f"{where}, inference: {part}, fraction of peak"
      lines_.append(Requirement(what, fraction, _LEAST_OF_PEAK, at_least=True, unit=""))
    share = phases["training"]["labels"].share
    lines_.append(
      Requirement(
        f"{where}, training: labels, share of the step", share, _MOST_LABELS_SHARE, unit=""
      )
    )
  return lines_
