"""Parts of the page on what a detector gets wrong: errors, confusions, scores, groups."""

from collections.abc import Sequence

import numpy as np

from mtl_ssl_tf import web_page
from mtl_ssl_tf.evaluation import calibration, object_groups, tables
from mtl_ssl_tf.reporting import charts, sections
from mtl_ssl_tf.reporting import findings as findings_lib
from mtl_ssl_tf.web_page import Number, escape

# Above so many classes pairs are listed in the place of a matrix.
_MAX_MATRIX = 25
_MAX_PAIRS = 50
KINDS = {
  "localisation": "lies on an object of its class, but overlaps it too little",
  "classification": "lies on an object of another class",
  "redundancy": "lies on an object that a better detection has found",
  "background": "lies on no object",
  "false_negative": "an object that nothing matches or nearly matches",
}


def errors(findings: findings_lib.Findings) -> sections.Section:
  """The kinds of error: what each costs, and by class."""
  details = findings.details
  costs, counts = details["costs"], details["class_counts"]
  most = max([cost for cost in costs.values() if cost == cost] or [0.0]) or 1.0
  rows = [
    (
      kind.replace("_", " "),
      KINDS[kind],
      sections.percent(cost)._replace(share=cost / most if cost == cost else 0.0),
      Number(str(counts[kind].sum()), counts[kind].sum()),
    )
    for kind, cost in costs.items()
  ]
  by_class = [
    (name, *(sections.percent(float(details["class_costs"][kind][number])) for kind in costs))
    for number, name in enumerate(details["class_names"])
  ]
  kinds = [kind.replace("_", " ") for kind in costs]
  score = details["score_threshold"]
  body = (
    "".join(f"<p>{escape(line[:1].upper() + line[1:])}.</p>" for line in findings.words)
    + web_page.table(
      ["kind", "a detection that …", "costs, points of mAP", f"number, score {score:g} and more"],
      rows,
      "Kinds of error",
    )
    + sections.lead(
      "A kind costs the mean AP that would be gained if its errors alone were fixed. Costs do not"
      " add up."
    )
    + "<h3>Points of AP that each kind costs a class</h3>"
    + web_page.table(["class", *kinds], by_class, "Costs by class", identifier="class-costs")
  )
  return sections.Section("errors", "Kinds of error", body)


def confusion(findings: findings_lib.Findings) -> sections.Section:
  """The confusion matrix, or its largest entries where there are many classes."""
  details = findings.details
  names, counts = details["class_names"], details["confusion"]
  body = sections.lead(
    f"Detections of score {details['score_threshold']:g} and more, matched at an overlap of"
    f" {details['iou_threshold']:g}. A row is what an object is, a column what it was taken for;"
    " right answers are on the diagonal. An object taken for background is missed; background taken"
    " for a class is a detection where there is nothing."
  )
  if len(names) <= _MAX_MATRIX:
    return sections.Section("confusion", "Confusions", body + _matrix(names, counts))
  labels = ["background", *names]
  pairs = [
    (labels[row], labels[column], Number(str(counts[row, column]), int(counts[row, column])))
    for row, column in np.argwhere(counts)
    if row != column
  ]
  pairs.sort(key=lambda pair: -pair[2].value)
  header = ["true class", "taken for", "times"]
  table = web_page.table(header, pairs[:_MAX_PAIRS], "Confusions", identifier="confusions")
  return sections.Section("confusion", "Confusions", body + table)


def _matrix(names: Sequence[str], counts: np.ndarray) -> str:
  counts = np.roll(counts, -1, axis=(0, 1))
  labels = [*names, "background"]
  shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
  head = "".join(f'<th scope="col">{escape(name)}</th>' for name in labels)
  rows = "".join(
    f'<tr><th scope="row">{escape(name)}</th>'
    + "".join(
      f'<td style="--share: {share:.3f}">{count or ""}</td>'
      for count, share in zip(row.tolist(), of_row.tolist(), strict=True)
    )
    + "</tr>"
    for name, row, of_row in zip(labels, counts, shares, strict=True)
  )
  return (
    '<div class="wide" tabindex="0" role="region" aria-label="Confusion matrix">'
    f'<table class="confusion"><thead><tr><td></td>{head}</tr></thead><tbody>{rows}</tbody></table>'
    "</div>"
  )


def reliability(findings: findings_lib.Findings) -> sections.Section:
  """Whether scores are shares of matches."""
  bins = findings.reliability
  total, error = sum(one.count for one in bins), calibration.expected_error(bins)
  upper = calibration.expected_error(bins, 0.5)
  text = (
    f"Expected calibration error: {tables.percent(error)} points over all {total} detections,"
    f" {tables.percent(upper)} over those of score 0.5 and more."
  )
  filled = [one for one in bins if one.count]
  drawing = charts.chart(
    "right detections by score",
    f"{text} The table next to it has the numbers.",
    [
      charts.Line(
        "share that is right", [(one.mean_score, one.share_right) for one in filled], dots=True
      ),
      charts.Line("as the score says", [(0.0, 0.0), (1.0, 1.0)], is_dashed=True),
    ],
    charts.Axis("score", 0.0, 1.0),
    charts.Axis("share that is right", 0.0, 1.0),
    bars=[(one.low, one.high, one.share_right) for one in filled],
  )
  rows = [
    (
      f"{one.low:.1f} … {one.high:.1f}",
      sections.number(one.count),
      sections.percent(one.mean_score),
      sections.percent(one.share_right),
    )
    for one in bins
  ]
  header = ["score", "detections", "mean score, %", "right, %"]
  body = (
    sections.lead(
      f"<b>{escape(text)}</b> A detection that scores 0.8 should be right in 80 of 100 cases:"
      " points below the dashed line mean that the detector is too sure of itself. Bins of few"
      " detections say little."
    )
    + f'<div class="beside">{drawing}{web_page.table(header, rows, "Scores")}</div>'
  )
  return sections.Section("calibration", "Are scores probabilities?", body)


def groups(findings: findings_lib.Findings) -> sections.Section:
  """Objects found, by size and by neighbours."""
  size = _group_table("side of the object", findings.sizes, "Objects by size")
  around = _group_table("neighbours", findings.neighbours, "Objects by neighbours")
  body = (
    sections.lead(
      "Objects found among those of a group. <b>Shown</b>: by a detection from the score of the"
      " best F1 of its class on. <b>At any score</b>: what a lower threshold could find at most."
      " The side is the root of the object's area in pixels of the file; COCO's small objects are"
      " those below 32, its large ones those above 96. Neighbours are objects that meet the box"
      " when it is enlarged to twice its sides."
    )
    + f"<h3>By size</h3>{size}<h3>By crowding</h3>{around}"
  )
  return sections.Section("groups", "Small and crowded objects", body)


def _group_table(what: str, entries: Sequence[object_groups.Group], label: str) -> str:
  rows = []
  for one in entries:
    if one.num_objects:
      shares = [found / one.num_objects for found in (one.num_found, one.num_found_at_any_score)]
      cells = [sections.percent(share)._replace(share=share) for share in shares]
      rows.append((one.name, sections.number(one.num_objects), *cells))
  return web_page.table([what, "objects", "found, shown, %", "found at any score, %"], rows, label)
