"""A run's results as Markdown."""

import statistics
from collections.abc import Iterable, Sequence

from benchmarks.cost import lines, requirements, results, rows, summary

_MARK = " †"
_UNITS = {"infer_s": "inference, s", "train_s": "training step, s"}
_UNITS |= {"infer_mib": "inference, MiB", "train_mib": "training step, MiB"}


def report(found: results.Results) -> str:
  """Returns every table that there are results for, the requirements last."""
  machine = found.machine
  sections = [
    f"{machine['cpu']}, {machine['cores']} cores, TensorFlow {machine['tensorflow']},"
    f" {machine['date']}"
  ]
  if found.of("peer") or found.of("steps"):
    sections.append("### Steps\n\n" + "\n".join(steps(found)))
  if found.of("parts"):
    sections.append("### Parts\n\n" + "\n".join(parts(found)))
  if found.of("growth"):
    sections.append("### Growth\n\n" + "\n".join(growth(found)))
  if found.of("labels") or found.of("peak"):
    sections.append("### Labels and peak\n\n" + "\n".join(labels_and_peak(found)))
  failed = summary.failures(found)
  if failed:
    bullets = [f"* {key}: {cause}" for key, cause in failed.items()]
    sections.append("### Failed\n\n" + "\n".join(bullets))
  sections.append("### Requirements\n\n" + "\n".join(required(found)))
  return "\n\n".join(sections)


def steps(found: results.Results) -> list[str]:
  """Returns the lines of the table of rows and peers."""
  header = ("row", "precision", "inference s", "/ baseline", "/ peer", "training step s")
  header += ("/ baseline", "/ peer", "peak MiB", "without model", "proposals", "other cores")
  body = []
  for name, figures in summary.peers(found).items():
    body.append((f"peer {name}", "", *_step_cells(figures)))
  for (name, precision), figures in summary.steps(found).items():
    body.append((name, precision, *_step_cells(figures)))
  note = f"† other processes used more than {summary.MOST_OTHER_CORES} cores: not comparable."
  return [*_table(header, body), "", note]


def _step_cells(figures: summary.StepFigures) -> tuple[str, ...]:
  if figures.error is not None:
    return ("failed", *[""] * 9)
  cells = []
  for call in summary.CALLS:
    cells += [f"{figures.seconds[call]:.2f}"]
    cells += [_ratio(ratios.get(call)) for ratios in (figures.to_baseline, figures.to_peer)]
  memory = figures.memory
  if memory:
    model = memory["model_mib"] + memory["optimizer_mib"]
    peak = memory["train_peak_mib"]
    cells += [f"{peak:.0f}", f"{peak - model:.0f}", str(figures.proposals)]
  else:
    cells += ["", "", ""]
  return (*cells, _others(figures.other_cores))


def parts(found: results.Results) -> list[str]:
  """Returns a table for each row that was taken apart."""
  text = []
  header = ("part", "ms", "share", "GFLOP", "MiB moved", "GFLOP/s", "of peak", "other cores")
  for job, result in found.of("parts"):
    if "error" in result:
      continue
    peak = statistics.mean(result["peak_gflops"])
    for phase, figures in summary.parts(result).items():
      body = [(name, *_part_cells(part)) for name, part in figures.items()]
      title = f"{job['name']}, {job['precision']}, {phase}; peak {peak:.0f} GFLOP/s"
      text += [title, "", *_table(header, body), ""]
  return text


def _part_cells(part: summary.PartFigures) -> tuple[str, ...]:
  counted = part.of_peak is not None
  return (
    f"{1000.0 * part.seconds:.1f}",
    f"{part.share:.1%}",
    f"{part.flops / 1e9:.1f}" if counted else "",
    f"{part.num_bytes / 2**20:.0f}" if counted else "",
    f"{part.flops / part.seconds / 1e9:.0f}" if counted else "",
    f"{part.of_peak:.0%}" if counted else "",
    _others(part.other_cores),
  )


def growth(found: results.Results) -> list[str]:
  """Returns a line for each curve and quantity: points, line, and where they leave it."""
  header = ("against", "what", "measured", "line through the lower half", "leaves it")
  header += ("other cores",)
  body, load = [], summary.growth_load(found)
  curves = summary.growth(found)
  for curve in rows.CURVES:
    for quantity, unit in _UNITS.items():
      points = curves.get((curve, quantity))
      if not points:
        continue
      line = lines.fit(*zip(*points, strict=True))
      cells = (_points(points), _line(line), _leaves(line), _others(load[curve]))
      body.append((curve, unit, *cells))
  return _table(header, body)


def _points(points: Iterable[tuple[int, float]]) -> str:
  return ", ".join(f"{place}: {value:.3g}" for place, value in points)


def _line(line: lines.Line | None) -> str:
  return "too few points" if line is None else f"{line.fixed:.3g} + {line.slope:.3g} each"


def _leaves(line: lines.Line | None) -> str:
  if line is None:
    return ""
  if line.leaves_at is None:
    return f"no (within {lines.TOLERANCE:.0%})"
  return f"at {line.leaves_at:.0f}, {line.ratio:.2f}x of it"


def labels_and_peak(found: results.Results) -> list[str]:
  """Returns the table of compiled labels and of the large convolution."""
  body = []
  for job, result in found.of("labels"):
    if "error" not in result:
      figure = f"{1000.0 * statistics.median(result['seconds']):.2f} ms an image"
      body.append((f"labels, {job['name']}", figure, _others(result["other_cores"])))
  for job, result in found.of("peak"):
    if "error" not in result:
      name = f"convolution, {job['precision']}"
      body.append((name, f"{result['gflops']:.0f} GFLOP/s", _others(result["other_cores"])))
  return _table(("what", "figure", "other cores"), body)


def required(found: results.Results) -> list[str]:
  """Returns the table of requirements; those that were not measured are not in it."""
  body = [
    (
      line.what,
      f"{line.figure:.3g}{line.unit}",
      f"{'>=' if line.at_least else '<='} {line.bound:g}{line.unit}",
      "met" if line.met else "NOT MET",
    )
    for line in requirements.lines(found)
  ]
  return _table(("what", "measured", "bound", ""), body) if body else ["None was measured."]


def _ratio(value: float | None) -> str:
  return "" if value is None else f"{value:.2f}x"


def _others(cores: float) -> str:
  return f"{cores:.2f}" + (_MARK if cores > summary.MOST_OTHER_CORES else "")


def _table(header: Sequence[str], body: Iterable[Sequence[str]]) -> list[str]:
  table_lines = [header, ["---"] * len(header), *body]
  return [f"| {' | '.join(cells)} |" for cells in table_lines]
