"""A page that shows what refinement did to the detections of an image."""

from collections.abc import Sequence

import numpy as np

from mtl_ssl_tf import web_page
from mtl_ssl_tf.prediction import explanation as explanation_lib
from mtl_ssl_tf.visualization import draw, html_figure, html_parts

_LARGE_SIDE, _SMALL_SIDE = 900, 480
_TOP_CLASSES = 3
# Scores that round to the same two digits have not changed, for a reader.
_NO_CHANGE = 0.005
_STYLE = """
.detection { display: grid; gap: 0.5rem 2rem; align-items: start;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 22rem), 1fr)); }
.detection > * { min-width: 0; }
.before { opacity: 0.55; }
h2 { border-top: 1px solid var(--line); padding-top: 1rem; }
h3 { font-size: 1rem; margin: 1rem 0 0.25rem; }
td, th { padding: 0.1rem 0.6rem 0.1rem 0; }
"""


def page(
  name: str,
  about: Sequence[str],
  image: np.ndarray,
  explanation: explanation_lib.Explanation,
  class_names: Sequence[str],
) -> bytes:
  """The page, an HTML file.

  Args:
    name: of the image.
    about: sentences on top.
    image: uint8 [H, W, 3].
    explanation: of its detections.
    class_names: class 1 first.
  """
  names = [draw.class_name(i, class_names) for i in range(len(class_names) + 1)]
  detections = explanation.detections
  parts = [
    f"<h1>Refinement in {web_page.escape(name)}</h1>",
    *(f"<p>{web_page.escape(sentence)}</p>" for sentence in about),
    _overview(name, image, detections, names),
    "<p>The main head scores each proposal by itself. Refinement then adds to its logits what a"
    " linear map makes of them, of the multi-object head's view of windows that grow from the"
    " proposal to the whole image, and of the closeness of the image.</p>",
  ]
  if explanation.closeness_scores is not None:
    parts += [
      "<h3>Closeness of the image</h3>",
      "<p>What the closeness head expects near objects here, as the mean over all proposals:</p>",
      _scores(explanation.closeness_scores, names),
    ]
  if not detections:
    parts.append(
      "<p>There is no detection of that score. The highest score is"
      f" {explanation.best_score:.2f}; <code>--score_threshold</code> takes others.</p>"
    )
  for number, detection in enumerate(detections, start=1):
    parts += _detection(number, detection, image, names)
  style = html_parts.STYLE + html_figure.STYLE + _STYLE
  return web_page.page(f"Refinement in {name}", parts, style)


def summary(detection: explanation_lib.ExplainedDetection, names: Sequence[str]) -> str:
  """A sentence or two on what refinement did to a detection, and by which causes.

  Args:
    detection: explained.
    names: of the classes, background first.
  """
  name, rival = names[detection.class_id], names[detection.rival]
  before = float(detection.scores_before[detection.class_id])
  after = float(detection.scores_after[detection.class_id])
  if not detection.is_refined:
    return (
      f"Its score of {after:.2f} is the main head's: its proposal is not refined"
      " (task.refinement.min_object_score, task.refinement.max_proposals)."
    )
  verb = "raised" if after > before else "lowered"
  what = f"Refinement {verb} the score of {name} from {before:.2f} to {after:.2f}."
  if abs(after - before) < _NO_CHANGE:
    what = f"Refinement left the score of {name} at {after:.2f}."
  added = sorted(detection.shifts()[1:], key=lambda shift: shift.value)
  speaks = []
  if added[-1].value > 0.0:
    speaks.append(f"“{added[-1].cause}” ({added[-1].value:+.2f}) speaks most for it")
  if added[0].value < 0.0:
    speaks.append(f"“{added[0].cause}” ({added[0].value:+.2f}) most against it")
  if not speaks:
    return what
  return f"{what} Compared with {rival}, its strongest rival, {' and '.join(speaks)}."


def _overview(
  name: str,
  image: np.ndarray,
  detections: Sequence[explanation_lib.ExplainedDetection],
  names: Sequence[str],
) -> str:
  figure = html_figure.Figure(html_parts.jpeg(image, _LARGE_SIDE), image.shape[:2], name)
  boxes = [
    html_figure.Box(
      detection.box_px,
      html_parts.class_color(detection.class_id),
      f"{number} {names[detection.class_id]} {_score(detection):.2f}",
    )
    for number, detection in enumerate(detections, start=1)
  ]
  figure.boxes("detections", boxes[::-1])  # The best lie on top.
  return figure.html()


def _score(detection: explanation_lib.ExplainedDetection) -> float:
  return float(detection.scores_after[detection.class_id])


def _detection(
  number: int,
  detection: explanation_lib.ExplainedDetection,
  image: np.ndarray,
  names: Sequence[str],
) -> list[str]:
  title = f"{number}. {names[detection.class_id]}"
  before = float(detection.scores_before[detection.class_id])
  figure = html_figure.Figure(html_parts.jpeg(image, _SMALL_SIDE), image.shape[:2], title)
  windows = ""
  if detection.is_refined and detection.window_scores is not None:
    windows = _windows(figure, detection, names)
  own = html_figure.Box(detection.box_px, html_parts.class_color(detection.class_id), title)
  figure.boxes("detection", [own])
  right = [_change(detection, names)]
  if detection.is_refined:
    right.append(_shifts(detection, names))
  return [
    f"<h2>{web_page.escape(title)}: {before:.2f} → {_score(detection):.2f}</h2>",
    f"<p>{web_page.escape(summary(detection, names))}</p>",
    f'<div class="detection"><div>{figure.html()}{windows}</div><div>{"".join(right)}</div></div>',
  ]


def _windows(
  figure: html_figure.Figure,
  detection: explanation_lib.ExplainedDetection,
  names: Sequence[str],
) -> str:
  """Draws the windows into the figure; returns what the multi-object head says of them, HTML."""
  colors = [
    draw.WINDOW_COLORS[i % len(draw.WINDOW_COLORS)] for i in range(len(detection.windows_px))
  ]
  figure.boxes(
    "windows",
    [
      html_figure.Box(box_px, color, str(i))
      for i, (box_px, color) in enumerate(zip(detection.windows_px, colors, strict=True), start=1)
    ],
  )
  rows = [
    f"<tr><th>{html_parts.swatch(color)} {web_page.escape(title)}</th><td>"
    f"{_scores(scores, names)}</td></tr>"
    for title, color, scores in zip(
      detection.window_names(), colors, detection.window_scores, strict=True
    )
  ]
  head = "<h3>Windows: what the multi-object head sees in them</h3>"
  return f'{head}<div class="wide"><table>{"".join(rows)}</table></div>'


def _scores(scores: np.ndarray, names: Sequence[str]) -> str:
  """The highest of some scores [C] as bars."""
  rows = [
    f"<tr><td>{web_page.escape(names[i])}</td>"
    f"<td>{html_parts.bar(scores[i], html_parts.class_color(i))}</td>"
    f'<td class="number">{scores[i]:.2f}</td></tr>'
    for i in np.argsort(-scores, kind="stable")[:_TOP_CLASSES]
  ]
  return f"<table>{''.join(rows)}</table>"


def _change(detection: explanation_lib.ExplainedDetection, names: Sequence[str]) -> str:
  """Class scores before and after, of the classes that score most in either."""
  most = np.maximum(detection.scores_before, detection.scores_after)
  rows = []
  for i in np.argsort(-most, kind="stable")[: _TOP_CLASSES + 1]:
    before, after = detection.scores_before[i], detection.scores_after[i]
    color = html_parts.class_color(i)
    rows.append(
      f'<tr><td rowspan="2">{web_page.escape(names[i])}</td><td class="before">before</td>'
      f'<td class="before">{html_parts.bar(before, color)}</td>'
      f'<td class="number">{before:.2f}</td></tr>'
      f"<tr><td>after</td><td>{html_parts.bar(after, color)}</td>"
      f'<td class="number">{after:.2f}</td></tr>'
    )
  head = "<h3>Class scores before and after</h3>"
  return f'{head}<div class="wide"><table>{"".join(rows)}</table></div>'


def _shifts(detection: explanation_lib.ExplainedDetection, names: Sequence[str]) -> str:
  """The parts of the log-odds against the strongest rival, and their sum."""
  name, rival = names[detection.class_id], names[detection.rival]
  shifts = detection.shifts()
  largest = max(abs(shift.value) for shift in shifts)
  rows = [
    f"<tr><td>{web_page.escape(shift.cause)}</td>"
    f"<td>{html_parts.signed_bar(shift.value, largest)}</td>"
    f'<td class="number">{shift.value:+.2f}</td></tr>'
    for shift in shifts
  ]
  total = sum(shift.value for shift in shifts)
  rows.append(f'<tr><th>in all</th><td></td><th class="number">{total:+.2f}</th></tr>')
  return (
    f"<h3>What speaks for {web_page.escape(name)}, against {web_page.escape(rival)}</h3>"
    '<p class="quiet">Log-odds; bars to the right speak for it.</p>'
    f'<div class="wide"><table>{"".join(rows)}</table></div>'
  )
