"""Measurements to figures: medians over rounds, ratios, fractions of the machine's peak."""

import dataclasses
import statistics
from collections.abc import Sequence

from benchmarks.cost import jobs, results, rows

# Cores that other processes may keep busy during a measurement that is to be believed.
MOST_OTHER_CORES = 0.1
CALLS = ("infer", "train")


@dataclasses.dataclass
class StepFigures:
  """A row in one precision.

  Attributes:
    seconds: medians over all rounds of `infer` and `train`.
    to_baseline, to_peer: these over those of the row's baseline in the same precision, and of the
      peer; empty where there is none.
    memory: figures of `steps.measure` in MiB, the largest of the rounds.
    proposals: smallest number of an image.
    other_cores: the largest mean of a measurement.
    error: why there is no more, or None.
  """

  seconds: dict[str, float] = dataclasses.field(default_factory=dict)
  to_baseline: dict[str, float] = dataclasses.field(default_factory=dict)
  to_peer: dict[str, float] = dataclasses.field(default_factory=dict)
  memory: dict[str, float] = dataclasses.field(default_factory=dict)
  proposals: int = 0
  other_cores: float = 0.0
  error: str | None = None


def peers(found: results.Results) -> dict[str, StepFigures]:
  """Returns each peer's mean seconds over its rounds."""
  grouped = _grouped(found.of("peer"), lambda job: job["name"])
  summary = {}
  for name, taken in grouped.items():
    errors = [result["error"] for result in taken if "error" in result]
    if errors:
      summary[name] = StepFigures(error=errors[0])
      continue
    others = [result.get(f"{call}_other_cores") or 0.0 for result in taken for call in CALLS]
    summary[name] = StepFigures(
      seconds={call: statistics.mean(result[f"{call}_s"] for result in taken) for call in CALLS},
      other_cores=max(others),
    )
  return summary


def steps(found: results.Results) -> dict[tuple[str, str], StepFigures]:
  """Returns the figures of each row and precision; the first peer without error divides."""
  grouped = _grouped(found.of("steps"), lambda job: (job["name"], job["precision"]))
  summary = {line: _step_figures(taken) for line, taken in grouped.items()}
  peer = next((figures for figures in peers(found).values() if figures.error is None), None)
  for (name, precision), figures in summary.items():
    baseline = summary.get((rows.ROWS[name].baseline, precision)) if name in rows.ROWS else None
    for call, seconds in figures.seconds.items():
      if baseline is not None and call in baseline.seconds:
        figures.to_baseline[call] = seconds / baseline.seconds[call]
      if peer is not None:
        figures.to_peer[call] = seconds / peer.seconds[call]
  return summary


def _step_figures(taken: Sequence[dict]) -> StepFigures:
  errors = [result["error"] for result in taken if "error" in result]
  if errors:
    return StepFigures(error=errors[0])
  memory = {name: max(result[name] for result in taken) for name in ("model_mib", "optimizer_mib")}
  for call in CALLS:
    most = max((result[f"{call}_memory"] for result in taken), key=lambda m: m["peak_mib"])
    memory[f"{call}_peak_mib"] = most["peak_mib"]
    memory[f"{call}_alone_mib"] = most["peak_mib"] - most["before_mib"]
  return StepFigures(
    seconds={
      call: statistics.median([value for result in taken for value in result[call]["seconds"]])
      for call in CALLS
    },
    memory=memory,
    proposals=min(result["proposals"] for result in taken),
    other_cores=max(result[call]["other_cores"] for result in taken for call in CALLS),
  )


@dataclasses.dataclass
class PartFigures:
  """One part: seconds, share of the whole, FLOP, bytes, and share of the machine's peak."""

  seconds: float
  share: float
  flops: int
  num_bytes: int
  of_peak: float | None
  other_cores: float


def parts(result: dict) -> dict[str, dict[str, PartFigures]]:
  """Returns the figures of `parts.measure` by phase and part, with shares."""
  peak = 1e9 * statistics.mean(result["peak_gflops"])
  summary = {}
  for phase in ("inference", "training"):
    seconds = {name: statistics.median(part["seconds"]) for name, part in result[phase].items()}
    summary[phase] = {}
    for name, part in result[phase].items():
      measurable = part["flops"] > 0 and seconds[name] > 0.0
      summary[phase][name] = PartFigures(
        seconds[name],
        seconds[name] / seconds["all"],
        part["flops"],
        part["bytes"],
        part["flops"] / seconds[name] / peak if measurable else None,
        part["other_cores"],
      )
  return summary


def growth(found: results.Results) -> dict[tuple[str, str], list[tuple[int, float]]]:
  """Returns (value, measured) of each curve and quantity, ascending.

  Quantities are `infer_s`, `train_s`, and `infer_mib` and `train_mib`, the peak over what the
  process held before its first call.
  """
  curves = {}
  for job, result in found.of("growth"):
    if "error" in result:
      continue
    for call in CALLS:
      if call in result:
        memory = result[f"{call}_memory"]
        seconds = statistics.median(result[call]["seconds"])
        taken = {f"{call}_s": seconds, f"{call}_mib": memory["peak_mib"] - memory["before_mib"]}
        for quantity, value in taken.items():
          curves.setdefault((job["name"], quantity), []).append((job["value"], value))
  return {curve: sorted(points) for curve, points in curves.items()}


def growth_load(found: results.Results) -> dict[str, float]:
  """Returns the most cores that other processes kept busy during any point of each curve."""
  load = {}
  for job, result in found.of("growth"):
    cores = [result[call]["other_cores"] for call in CALLS if call in result]
    load[job["name"]] = max([load.get(job["name"], 0.0), *cores])
  return load


def failures(found: results.Results) -> dict[str, str]:
  """Returns the cause of each job that failed, by key."""
  sections = ("peer", *jobs.SECTIONS)
  return {
    jobs.key(job): result["error"]
    for section in sections
    for job, result in found.of(section)
    if "error" in result
  }


def _grouped(taken, name_of) -> dict:
  groups = {}
  for job, result in taken:
    groups.setdefault(name_of(job), []).append(result)
  return groups
