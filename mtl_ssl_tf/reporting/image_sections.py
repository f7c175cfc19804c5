"""Parts of the page that show images: the worst and the best, and those of two runs."""

from collections.abc import Mapping, Sequence

import numpy as np

from mtl_ssl_tf import web_page
from mtl_ssl_tf.evaluation import error_analysis, tables
from mtl_ssl_tf.reporting import findings as findings_lib
from mtl_ssl_tf.reporting import judged as judged_lib
from mtl_ssl_tf.reporting import pairs, pictures, sections
from mtl_ssl_tf.web_page import Number, escape

_LEGEND = (
  '<p class="legend"><span><i class="given"></i>given, and found</span>'
  '<span><i class="missed"></i>given, missed</span>'
  '<span><i class="found"></i>detected, right</span>'
  '<span><i class="wrong"></i>detected, wrong: with the kind of error</span></p>'
)
_MISSED = "missed"


def worst(findings: findings_lib.Findings, count: int) -> list[judged_lib.JudgedImage]:
  """Returns images with errors: the lowest F1 first, of equal ones the most errors."""
  found = [image for image in findings.images if image.num_errors]
  return sorted(found, key=lambda image: (image.f1, -image.num_errors))[:count]


def best(findings: findings_lib.Findings, count: int) -> list[judged_lib.JudgedImage]:
  """Returns images with matches: the highest F1 first, of equal ones the most matches."""
  shown = {image.truth.image_id for image in worst(findings, count)}
  found = [
    image for image in findings.images if image.num_found and image.truth.image_id not in shown
  ]
  return sorted(found, key=lambda image: (-image.f1, -image.num_found))[:count]


def images(
  findings: findings_lib.Findings, count: int, encoded: Mapping[str, bytes]
) -> sections.Section:
  """The worst and the best images.

  Args:
    findings: of the run.
    count: images of each kind, at most.
    encoded: image files by id.
  """
  names = findings.source.truth.class_names
  groups = {"worst": worst(findings, count), "best": best(findings, count)}
  cards = [
    _card(image, group, encoded, names) for group, found in groups.items() for image in found
  ]
  shown = [image for found in groups.values() for image in found]
  present = sorted({number for image in shown for number in _classes(image)})
  options = {
    "group": ("Show", {"": "worst and best", "worst": "worst", "best": "best"}),
    "classes": ("With class", {"": "any", **{str(i): names[i - 1] for i in present}}),
    "kinds": (
      "With error",
      {"": "any or none", **{kind: kind for kind in (_MISSED, *error_analysis.KINDS[:-1])}},
    ),
  }
  body = sections.lead(
    "Detections from the score of the best F1 of their class on. Worst are the images with the"
    " lowest F1 (of equal ones, those with the most errors), best those with the highest."
  )
  body += _LEGEND + web_page.filters("images", options, "Name has")
  body += f'<div class="cards" id="images">{"".join(cards)}</div>'
  if not cards:
    body += "<p>No image has an object or a detection.</p>"
  return sections.Section("examples", "Worst and best images", body)


def _classes(image: judged_lib.JudgedImage) -> set[int]:
  return {*image.truth.classes.tolist(), *image.classes.tolist()}


def _card(
  image: judged_lib.JudgedImage,
  group: str,
  encoded: Mapping[str, bytes],
  names: Sequence[str],
) -> str:
  kinds = {pictures.kind_of(verdict) for verdict in image.verdicts} - {None}
  kinds |= {_MISSED} if image.missed.any() else set()
  return (
    f'<div class="card" data-group="{group}" data-classes="{" ".join(map(str, _classes(image)))}"'
    f' data-kinds="{" ".join(sorted(kinds))}">'
    f"{_picture(image, encoded, names)}{_heading(image)}<p>F1 {image.f1:.2f}: {_told(image)}</p>"
    "</div>"
  )


def _heading(image: judged_lib.JudgedImage) -> str:
  return f"<h3>{escape(_name(image))}</h3>"


def _name(image: judged_lib.JudgedImage) -> str:
  return image.truth.file_name or image.truth.image_id


def _told(image: judged_lib.JudgedImage) -> str:
  return f"{image.num_found} found, {int(image.missed.sum())} missed, {image.num_wrong} wrong"


def _picture(
  image: judged_lib.JudgedImage, encoded: Mapping[str, bytes], names: Sequence[str]
) -> str:
  drawn = pictures.draw(image, encoded.get(image.truth.image_id), names)
  if drawn is None:
    return '<div class="none">no picture</div>'
  return web_page.image(drawn, "jpeg", f"{_name(image)} with its boxes: {_told(image)}")


def comparison(
  compared: pairs.Comparison, count: int, encoded: Mapping[str, bytes]
) -> sections.Section:
  """Two runs: their figures, their classes, and images in which one corrects the other.

  Args:
    compared: the runs.
    count: images in which either corrects the other, at most.
    encoded: image files by id.
  """
  first, other = compared.first, compared.other
  names = (first.source.name, other.source.name)
  low, high = compared.interval
  difference = first.figures[pairs.METRIC] - other.figures[pairs.METRIC]
  score = first.details["iou_threshold"]
  body = sections.tiles(
    {
      f"{names[0]}, {pairs.METRIC}": tables.percent(first.figures[pairs.METRIC]),
      f"{names[1]}, {pairs.METRIC}": tables.percent(other.figures[pairs.METRIC]),
      "difference, points": f"{100.0 * difference:+.1f}",
      "interval over images, 95 %": f"{low:+.1f} … {high:+.1f}",
    }
  )
  body += sections.lead(
    f"<b>{escape(names[0])} is {compared.word}</b>"
    f"{'' if compared.word.startswith('no') else f' than {escape(names[1])}'} on these images, if"
    " others like them were drawn: the interval is a bootstrap over images, the same for both runs."
    " It says nothing of other trainings; <code>mtl-ssl compare</code> trains several."
  )
  keys = [key for key in first.figures if key.count("/") == 1 and not key.startswith("errors")]
  body += web_page.table(
    ["figure", *names, "difference"],
    [(key, *_compared(first.figures[key], other.figures[key])) for key in keys],
    "Figures of both runs",
  )
  body += "<h3>Classes</h3>" + web_page.table(
    ["class", "objects", f"AP{100 * score:g}, {names[0]}", names[1], "difference"],
    [
      (
        one.name,
        sections.number(one.num_objects),
        *_compared(one.average_precision, another.average_precision),
      )
      for one, another in zip(first.classes, other.classes, strict=True)
    ],
    "Classes of both runs",
    identifier="compared-classes",
  )
  for title, found in (
    (f"{names[0]} corrects {names[1]}", compared.corrected_by_first(count)),
    (f"{names[1]} corrects {names[0]}", compared.corrected_by_other(count)),
  ):
    cards = "".join(_pair(pair, names, encoded, first.source.truth.class_names) for pair in found)
    body += f"<h3>{escape(title)}</h3>"
    body += f'<div class="cards pairs">{cards}</div>' if cards else "<p>In no image.</p>"
  return sections.Section("comparison", f"Against {names[1]}", body)


def _compared(first: float, other: float) -> tuple[Number, Number, Number]:
  gap = first - other
  text = "-" if np.isnan(gap) else f"{100.0 * gap:+.1f}"
  return sections.percent(first), sections.percent(other), Number(text, gap)


def _pair(
  pair: pairs.ImagePair,
  names: tuple[str, str],
  encoded: Mapping[str, bytes],
  class_names: Sequence[str],
) -> str:
  sides = "".join(
    f"<div>{_picture(image, encoded, class_names)}"
    f"<p><b>{escape(name)}</b>: {_told(image)}</p></div>"
    for name, image in zip(names, pair, strict=True)
  )
  return f'<div class="card">{_heading(pair.first)}<div class="pair">{sides}</div></div>'
