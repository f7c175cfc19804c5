"""Parts of the page on how good a detector is: figures, classes, curves of the training."""

import numpy as np

from mtl_ssl_tf import web_page
from mtl_ssl_tf.evaluation import coco_evaluator, tables
from mtl_ssl_tf.reporting import charts, sections, training_logs
from mtl_ssl_tf.reporting import findings as findings_lib
from mtl_ssl_tf.web_page import Number, escape

_MAX_CHARTS = 60


def figure_texts(findings: findings_lib.Findings) -> dict[str, str]:
  """Returns what each mean figure is, by its key, the page's main one first."""
  overlap = f"a match overlaps by {findings.config.iou_threshold:g} at least"
  texts = {}
  for key in findings.figures:
    metric, _, figure = key.partition("/")
    if "/" in figure:
      continue
    if metric == "voc":
      rule = (
        "area under the precision envelope"
        if figure.endswith("area")
        else "mean of the precision envelope at the recalls 0, 0.1 … 1"
      )
      texts[key] = f"PASCAL VOC: {rule}, mean over the classes; {overlap}"
    elif metric == "coco":
      place = coco_evaluator.FIGURES.index(figure)
      texts[key] = f"COCO: {coco_evaluator.DESCRIPTIONS[place]}"
  main = findings.main_key
  return {main: texts[main]} | texts


def figures(findings: findings_lib.Findings) -> sections.Section:
  """The figures with their rules."""
  rows = [
    (key, sections.percent(findings.figures[key]), text)
    for key, text in figure_texts(findings).items()
  ]
  pixels = ", its last pixel included" if findings.config.voc_inclusive_pixels else ""
  body = web_page.table(["figure", "per cent", "rule"], rows, "Figures")
  body += sections.lead(
    "Overlap is intersection over union of two boxes"
    f"{pixels}. A detection matches at most one object, the best scored one first; further ones on"
    " it are errors. Difficult objects and crowds count neither for nor against a detection. Means"
    " are over the classes that have an object."
  )
  return sections.Section("figures", "Figures and their rules", body)


def classes(findings: findings_lib.Findings, thresholds_file: str) -> sections.Section:
  """The table of classes and their precision-recall curves.

  Args:
    findings: of the run.
    thresholds_file: name of the file with the thresholds.
  """
  rows = []
  for one in findings.classes:
    point = one.point
    values = (np.nan,) * 3 if point is None else (point.f1, point.precision, point.recall)
    rows.append(
      (
        one.name,
        sections.number(one.num_objects),
        sections.number(one.num_ignored),
        sections.number(one.num_detections),
        sections.percent(one.average_precision),
        sections.percent(one.coco_average_precision),
        sections.percent(values[0]),
        Number("-", np.nan) if point is None else Number(f"{point.threshold:.3g}", point.threshold),
        *map(sections.percent, values[1:]),
      )
    )
  main = findings.details
  header = [
    "class",
    "objects",
    "ignored",
    "detections",
    f"AP{100 * main['iou_threshold']:g}",
    "COCO AP",
    "best F1",
    "from score",
    "precision",
    "recall",
  ]
  body = (
    sections.lead(
      f"AP{100 * main['iou_threshold']:g} is VOC's by the rule {main['ap_rule']}, all in per cent."
      " The last four columns are those detections of a class whose score gives the highest F1,"
      " the harmonic mean of precision (right detections among all) and recall (objects found)."
      f" <b>{escape(thresholds_file)}</b> next to this page has these scores;"
      " <code>export.py --default_thresholds</code> takes it."
    )
    + sections.search("classes", "Find a class")
    + web_page.table(header, rows, "Classes", identifier="classes")
    + _curves(findings)
  )
  return sections.Section("per-class", "Classes", body)


def _curves(findings: findings_lib.Findings) -> str:
  with_objects = [one for one in findings.classes if one.num_objects]
  most = sorted(with_objects, key=lambda one: -one.num_objects)
  names = {one.name for one in most[:_MAX_CHARTS]}
  parts = [_curve(one) for one in findings.classes if one.name in names]
  if not parts:
    return ""
  which = ""
  if len(names) < len(with_objects):
    which = f", {len(names)} of {len(with_objects)} classes, those with the most objects"
  return (
    f"<h3>Precision and recall{which}</h3>"
    + sections.lead("From left to right the score falls; the ring is the best F1.")
    + f'<div class="charts">{"".join(parts)}</div>'
  )


def _curve(one: findings_lib.ClassFindings) -> str:
  recall, precision, _ = one.curve.T
  # Between matches precision only falls.
  rises = np.flatnonzero(np.diff(recall, prepend=0.0) > 0.0)
  ends = [0, len(recall) - 1] if len(recall) else []
  rows = sorted({*rises.tolist(), *(rises[1:] - 1).tolist(), *ends})
  points = [(recall[row], precision[row]) for row in rows]
  text = f"{one.name}: AP {tables.percent(one.average_precision)}"
  described, marks = text, []
  if one.point is not None:
    marks = [(one.point.recall, one.point.precision)]
    described += (
      f"; best F1 {tables.percent(one.point.f1)} from score {one.point.threshold:.3g} on, with"
      f" precision {tables.percent(one.point.precision)} and recall"
      f" {tables.percent(one.point.recall)}"
    )
  axes = charts.Axis("recall", 0.0, 1.0), charts.Axis("precision", 0.0, 1.0)
  return charts.chart(text, described, [charts.Line("", points)], *axes, marks=marks)


def training(logs: training_logs.Logs | None) -> sections.Section:
  """Losses and figures by training step."""
  if logs is None:
    body = sections.lead("The run's folder has neither TensorBoard files nor evaluations.")
    return sections.Section("training", "Training", body)
  large = [_panel(panel) for panel in (logs.figures, logs.loss) if panel is not None]
  body = sections.lead(f"By training step, from the run's {escape(logs.source)}.")
  body += f'<div class="charts">{"".join(large)}</div>'
  if logs.figures is not None:
    body += f"<details><summary>Figures as a table</summary>{_steps(logs.figures)}</details>"
  if logs.rest:
    small = "".join(map(_panel, logs.rest))
    body += (
      "<details><summary>Single losses and the learning rate</summary>"
      f'<div class="charts">{small}</div></details>'
    )
  return sections.Section("training", "Training", body)


def _panel(panel: training_logs.Panel) -> str:
  lines, told = [], []
  for place, (name, (steps, values)) in enumerate(panel.curves.items()):
    points = list(zip(steps, values, strict=True))
    # Few evaluations would be hardly a line.
    lines.append(
      charts.Line(name, points, is_dashed=place >= 4 or name == "validation", dots=len(steps) < 20)
    )
    told.append(f"{name} {values[0]:.4g} at step {steps[0]}, {values[-1]:.4g} at step {steps[-1]}")
  description = f"{panel.title}: {'; '.join(told)}"
  return charts.chart(panel.title, description, lines, charts.Axis("step"), charts.Axis(""))


def _steps(panel: training_logs.Panel) -> str:
  by_step: dict[int, dict[str, float]] = {}
  for name, (steps, values) in panel.curves.items():
    for step, value in zip(steps, values, strict=True):
      by_step.setdefault(step, {})[name] = value
  rows = [
    (
      sections.number(step),
      *(sections.percent(found.get(name, float("nan"))) for name in panel.curves),
    )
    for step, found in sorted(by_step.items())
  ]
  return web_page.table(["step", *panel.curves], rows, panel.title, identifier="by-step")
