"""A page that shows the worst images of a data set with its faults, and some at random.

One HTML file without scripts or references, its pictures inside, so that it can be mailed and
opened anywhere. Names, texts and pictures come from outside: text is escaped, and a picture is
decoded and encoded again.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from PIL import ImageDraw

from mtl_ssl_tf import web_page
from mtl_ssl_tf.data.inspection import checks
from mtl_ssl_tf.data.sources import thumbnails
from mtl_ssl_tf.visualization import html_figure, html_parts

_SIDE_PX = 400
_MIN_DRAWN_PX = 6
_MAX_TEXTS = 12
_COLOURS = {None: (40, 200, 90), checks.WARNING: (255, 170, 0), checks.FAULT: (255, 40, 40)}
_CROWD_DASHES = (1, 6)
_STYLE = """
td, th { border: 0; padding: 2px 10px; } tr:nth-child(even) { background: var(--panel); }
.card > img { display: block; margin: 0 auto 0.5rem; }
.none { background: var(--panel); color: var(--faint); padding: 60px 0; text-align: center; }
.fault { color: var(--bad); } .warning { color: var(--warning); }
.tables { display: flex; flex-wrap: wrap; gap: 40px; } ul { padding-left: 18px; }
"""


def thumbnail(
  encoded: bytes | None,
  boxes_orig: Mapping[int, Sequence[float]],
  levels: Mapping[int, str],
) -> bytes | None:
  """A small JPEG of an image with its boxes; None where there is no picture to be had.

  Boxes with findings are red (faults) or orange (warnings) and numbered, the others
  green. A box too small or too flat to be seen is drawn larger.

  Args:
    encoded: the image.
    boxes_orig: number of each object to ymin, xmin, ymax, xmax in pixels of the image; boxes that
      are no numbers or lie far outside are left out.
    levels: number of an object to the worse of the levels of its findings.
  """
  decoded = thumbnails.decode(encoded, _SIDE_PX)
  if decoded is None:
    return None
  picture, scale = decoded
  draw = ImageDraw.Draw(picture)
  # The remarkable ones last, so that they lie on top.
  for number in sorted(boxes_orig, key=lambda number: (number in levels, number)):
    level = levels.get(number)
    _draw_box(draw, [scale * value for value in boxes_orig[number]], picture.size, level, number)
  return thumbnails.encode(picture)


def _draw_box(
  draw: ImageDraw.ImageDraw,
  box: Sequence[float],
  size: tuple[int, int],
  level: str | None,
  number: int,
) -> None:
  """Draws one box, [ymin, xmin, ymax, xmax] in pixels of the picture, if it lies anywhere near."""
  width, height = size
  limits = (height, width, height, width)
  # Comparisons with NaN are false.
  if not all(-limit <= side <= 2 * limit for side, limit in zip(box, limits, strict=True)):
    return
  ymin, ymax = _seen(box[0], box[2], height)
  xmin, xmax = _seen(box[1], box[3], width)
  colour = _COLOURS[level]
  draw.rectangle([xmin, ymin, xmax, ymax], outline=colour, width=1 if level is None else 3)
  if level is not None:
    text = str(number)
    x, y = min(xmin, width - 7 * len(text) - 4), max(ymin - 12, 0)
    draw.rectangle([x, y, x + 7 * len(text) + 3, y + 12], fill=colour)
    draw.text((x + 2, y), text, fill="black")


def _seen(low: float, high: float, limit: int) -> tuple[float, float]:
  """A side of a box, ordered, cut to the picture and long enough to be seen."""
  low, high = min(low, high), max(low, high)
  missing = max(_MIN_DRAWN_PX - (high - low), 0.0)
  low, high = low - missing / 2, high + missing / 2
  low = min(max(low, 0.0), limit - 1.0)
  return low, max(min(high, limit - 1.0), low)


class SampledImage(NamedTuple):
  """An image that is shown whatever was found in it, with its N sound objects.

  Attributes:
    name: what to call it.
    picture: a JPEG.
    size_px: height and width of the image, pixels.
    boxes_orig: float [N, 4], pixels of the image.
    class_names: [N].
    difficult: [N].
    is_crowd: [N].
  """

  name: str
  picture: bytes
  size_px: tuple[int, int]
  boxes_orig: np.ndarray
  class_names: Sequence[str]
  difficult: Sequence[bool]
  is_crowd: Sequence[bool]


def page(
  title: str,
  kinds: Mapping[str, Mapping[str, Any]],
  general: Iterable[checks.Finding],
  worst: Iterable[tuple[str, bytes | None, Sequence[checks.Finding]]],
  statistics: Mapping[str, Any],
  *,
  judged_by: str = "",
  sample: Sequence[SampledImage] = (),
) -> bytes:
  """The HTML of the sheet.

  Args:
    title: the data set that was validated.
    judged_by: the network that the data were compared with, in words.
    sample: images to show besides.
    kinds: kind of finding to its `level`, `num_findings` and `num_images`.
    general: findings about no single image.
    worst: name, JPEG or None, and findings of each image, worst first.
    statistics: as `statistics.DataStatistics.summary` gives it.
  """
  parts = [
    f"<h1>{web_page.escape(title)}</h1>",
    f"<p>{web_page.escape(judged_by)}</p>" if judged_by else "",
    _kinds_table(kinds),
    _texts(general),
    '<h2>Worst images</h2><p>Boxes: <b class="fault">red</b> with a fault, <b class="warning">',
    "orange</b> with a warning, green otherwise; boxes too small to be seen are drawn larger.</p>",
    '<div class="cards">',
  ]
  num_cards = 0
  for name, picture, findings in worst:
    parts.append(_card(name, picture, findings))
    num_cards += 1
  parts += ["</div>", "" if num_cards else "<p>None.</p>"]
  switches_style = ""
  if sample:
    sample_parts, switches_style = _sample(sample, list(statistics["classes"]))
    parts += sample_parts
  parts += ["<h2>The data set</h2>", _statistics(statistics)]
  style = html_parts.STYLE + html_figure.STYLE + _STYLE + switches_style
  return web_page.page(title, parts, style)


def _sample(sample: Sequence[SampledImage], classes: Sequence[str]) -> tuple[list[str], str]:
  """The images of the sample with their boxes, HTML, and the style that they need."""
  switches, style = html_parts.layer_switches(
    {"boxes": ("boxes", True), "names": ("class names", True)}
  )
  class_ids = {name: class_id for class_id, name in enumerate(classes, start=1)}
  parts = [
    f"<h2>{len(sample)} images at random</h2>",
    "<p>Boxes in the colours of their classes; crowds are dotted.</p>",
    switches,
    '<div class="cards">',
  ]
  for image in sample:
    figure = html_figure.Figure(image.picture, image.size_px, "")
    boxes = []
    for box, name, difficult, is_crowd in zip(
      image.boxes_orig, image.class_names, image.difficult, image.is_crowd, strict=True
    ):
      color = html_parts.class_color(class_ids.get(name, 0))
      label = name + " (crowd)" * is_crowd + " (difficult)" * difficult
      boxes.append(html_figure.Box(box, color, label, _CROWD_DASHES if is_crowd else ()))
    figure.boxes("boxes", boxes, "names")
    parts.append(f'<div class="card">{figure.html()}<b>{web_page.escape(image.name)}</b></div>')
  return [*parts, "</div>"], style


def _card(name: str, picture: bytes | None, findings: Sequence[checks.Finding]) -> str:
  if picture is None:
    shown = '<div class="none">no picture</div>'
  else:
    shown = web_page.image(picture, "jpeg", "")
  return f'<div class="card">{shown}<b>{web_page.escape(name)}</b>{_texts(findings)}</div>'


def _texts(findings: Iterable[checks.Finding]) -> str:
  """A list of findings, faults first, of bounded length."""
  findings = sorted(findings, key=lambda finding: checks.LEVELS.index(finding.level))
  items = [
    f'<li class="{finding.level}">{web_page.escape(str(finding))}</li>'
    for finding in findings[:_MAX_TEXTS]
  ]
  if len(findings) > _MAX_TEXTS:
    items.append(f"<li>and {len(findings) - _MAX_TEXTS} more</li>")
  return f"<ul>{''.join(items)}</ul>" if items else ""


def _kinds_table(kinds: Mapping[str, Mapping[str, Any]]) -> str:
  if not kinds:
    return "<p>Nothing was found.</p>"
  rows = [
    f'<tr><td class="{counts["level"]}">{web_page.escape(kind)}</td><td>{counts["level"]}</td>'
    f'<td class="number">{counts["num_findings"]}</td>'
    f'<td class="number">{counts["num_images"]}</td></tr>'
    for kind, counts in kinds.items()
  ]
  head = "<tr><th>kind</th><th>level</th><th>findings</th><th>images</th></tr>"
  return f"<table>{head}{''.join(rows)}</table>"


def _statistics(summary: Mapping[str, Any]) -> str:
  """The figures as tables with bars."""
  boxes, sizes = summary["boxes_per_image"], summary["box_sizes"]
  anchors = summary["anchors"]
  sentence = (
    f"<p>{summary['num_images']} images, {summary['num_images_without_boxes']} of them without"
    f" boxes; {summary['num_boxes']} boxes; at most {boxes['most']} in an image, of"
    f" max_num_boxes {boxes['max_num_boxes']}; {anchors['num_boxes_smaller']} boxes"
    f" ({100 * anchors['share_smaller']:.1f} %) are smaller than the smallest anchor.</p>"
  )
  tables = {
    "boxes of each class": {
      name: figures["num_boxes"] for name, figures in summary["classes"].items()
    },
    "boxes in an image": boxes["histogram"],
    "size, as COCO has it": sizes["coco"],
    "side in the file, pixels from": sizes["side_in_file_log2"],
    "side in the network input, pixels from": sizes["side_in_network_input_log2"],
    "width by height, from": summary["aspect_ratios_half_log2"],
    "best IoU with an anchor's shape, from": anchors["best_shape_iou"],
  }
  partly = summary.get("annotated_classes")
  if partly:
    tables["images annotated for each class"] = partly["images_per_class"]
  bars = "".join(_bars(name, counts) for name, counts in tables.items())
  return f'{sentence}<div class="tables">{bars}</div>'


def _bars(name: str, counts: Mapping[str, int]) -> str:
  most = max(counts.values(), default=0) or 1
  rows = [
    f'<tr><td>{web_page.escape(label)}</td><td class="number">{count}</td>'
    f'<td><span class="bar" style="width:{120 * count / most:.0f}px"></span></td></tr>'
    for label, count in counts.items()
  ]
  return f'<table><tr><th colspan="3">{web_page.escape(name)}</th></tr>{"".join(rows)}</table>'
