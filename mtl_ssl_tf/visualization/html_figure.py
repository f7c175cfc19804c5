"""A picture on an HTML page with lines and labels over it, in layers; see `html_parts`.

Lines and text keep their size whatever the size of the picture on the screen. A page with figures
needs `STYLE`.
"""

import io
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from mtl_ssl_tf import web_page
from mtl_ssl_tf.visualization import canvas as canvas_lib
from mtl_ssl_tf.visualization import html_parts

STYLE = """
.figure { position: relative; margin: 0 auto 0.5rem; overflow: hidden; aspect-ratio: var(--w) /
  var(--h); width: min(100%, 75vh * var(--w) / var(--h)); }
.figure img, .figure svg { position: absolute; inset: 0; width: 100%; height: 100%; }
.figure .mask img { image-rendering: pixelated; }
.figure svg * { vector-effect: non-scaling-stroke; fill: none; stroke-linecap: round; }
.tag { position: absolute; font-size: 0.7rem; line-height: 1.15; padding: 0 0.2em; max-width: 60%;
  overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
"""
# A label above a box that begins in the uppermost part of the picture would be cut off, and one of
# a box that begins in the right part is aligned to the right of the box.
_TOP, _RIGHT = 0.07, 0.7
_SHADOW = "#000a"
_MASK_OPACITY = 150


class Box(NamedTuple):
  """An outline over the picture.

  Attributes:
    box_px: ymin, xmin, ymax, xmax in pixels of the figure.
    color: of the line.
    label: text next to it; empty for none.
    dashes: lengths of dashes and gaps, pixels of the screen; empty for a whole line.
    filled: whether what is inside is tinted.
  """

  box_px: Sequence[float]
  color: canvas_lib.Color
  label: str = ""
  dashes: Sequence[int] = ()
  filled: bool = False


class Figure:
  """Collects what lies over a picture; `html` returns all of it."""

  def __init__(self, content: bytes, size_px: Sequence[float], alternative: str):
    """Starts with the picture alone.

    Args:
      content: a JPEG.
      size_px: height and width that coordinates are pixels of.
      alternative: text that says what it shows.
    """
    self._size_px = tuple(size_px)
    self._pictures = [web_page.image(content, "jpeg", alternative)]
    self._lines: list[str] = []
    self._labels: list[str] = []

  def boxes(self, layer: str, boxes: Sequence[Box], labels_layer: str = "") -> None:
    """Adds outlines; those that are not finite are left out.

    Args:
      layer: that they belong to.
      boxes: later ones lie over earlier ones.
      labels_layer: that their labels belong to besides, if any.
    """
    classes = f"layer-{layer}" + (f" layer-{labels_layer}" if labels_layer else "")
    for box in boxes:
      if not np.isfinite(np.asarray(box.box_px, float)).all():
        continue
      ymin, xmin, ymax, xmax = self._fractions(box.box_px)
      place = f'x="{xmin:.5f}" y="{ymin:.5f}"'
      place += f' width="{max(xmax - xmin, 0.0):.5f}" height="{max(ymax - ymin, 0.0):.5f}"'
      color = html_parts.css_color(box.color)
      dashes = f' stroke-dasharray="{" ".join(map(str, box.dashes))}"' if box.dashes else ""
      fill = f' style="fill:{color}55"' if box.filled else ""
      self._lines.append(
        f'<g class="layer-{layer}"><rect {place} stroke="{_SHADOW}" stroke-width="4"{dashes}/>'
        f'<rect {place} stroke="{color}" stroke-width="2"{dashes}{fill}/></g>'
      )
      if box.label:
        corner = _corner(ymin, xmin, xmax)
        self._labels.append(_tag(corner, box.label, box.color, classes))

  def line(
    self,
    layer: str,
    start_px: Sequence[float],
    end_px: Sequence[float],
    color: canvas_lib.Color,
    width: float,
    label: str = "",
  ) -> None:
    """Adds a line between points [y, x], `width` pixels of the screen wide, a label on its end."""
    (y, x), (end_y, end_x) = self._point(start_px), self._point(end_px)
    self._lines.append(
      f'<path class="layer-{layer}" d="M{x:.5f} {y:.5f}L{end_x:.5f} {end_y:.5f}"'
      f' stroke="{html_parts.css_color(color)}" stroke-width="{width:.1f}"/>'
    )
    if label:
      place = f"left:{100 * end_x:.2f}%;top:{100 * end_y:.2f}%;transform:translate(-50%,-50%)"
      self._labels.append(_tag(place, label, color, f"layer-{layer}"))

  def dot(
    self, layer: str, center_px: Sequence[float], color: canvas_lib.Color, diameter: float
  ) -> None:
    """Adds a disc with a dark rim around a point [y, x], its diameter in pixels of the screen."""
    y, x = self._point(center_px)
    for ink, width in ((_SHADOW, diameter + 2.0), (html_parts.css_color(color), diameter)):
      self._lines.append(
        f'<path class="layer-{layer}" d="M{x:.5f} {y:.5f}l0 0" stroke="{ink}"'
        f' stroke-width="{width:.1f}"/>'
      )

  def mask(self, layer: str, mask: np.ndarray, color: canvas_lib.Color) -> None:
    """Adds a tint: `mask` [h, w] from 0 to 1 is spread over the whole picture."""
    opacity = np.round(_MASK_OPACITY * np.clip(mask, 0.0, 1.0)).astype(np.uint8)  # [h, w]
    tint = np.broadcast_to(np.uint8(color), (*mask.shape, 3))
    content = io.BytesIO()
    Image.fromarray(np.dstack([tint, opacity])).save(content, "PNG")
    picture = web_page.image(content.getvalue(), "png", "")
    self._pictures.append(f'<div class="mask layer-{layer}">{picture}</div>')

  def html(self) -> str:
    """The figure."""
    height, width = self._size_px
    return (
      f'<div class="figure" style="--w:{width:g};--h:{height:g}">{"".join(self._pictures)}'
      '<svg viewBox="0 0 1 1" preserveAspectRatio="none" aria-hidden="true">'
      f"{''.join(self._lines)}</svg>{''.join(self._labels)}</div>"
    )

  def _point(self, point_px: Sequence[float]) -> tuple[float, float]:
    return float(point_px[0]) / self._size_px[0], float(point_px[1]) / self._size_px[1]

  def _fractions(self, box_px: Sequence[float]) -> list[float]:
    """The box in fractions of the picture, cut to it."""
    sides = (*self._point(box_px[:2]), *self._point(box_px[2:]))
    return [min(max(side, 0.0), 1.0) for side in sides]


def _corner(ymin: float, xmin: float, xmax: float) -> str:
  """The place of a label at a corner of a box, given in fractions of the picture."""
  across = f"left:{100 * xmin:.2f}%" if xmin < _RIGHT else f"right:{100 * (1 - xmax):.2f}%"
  up = f"bottom:{100 * (1 - ymin):.2f}%" if ymin > _TOP else f"top:{100 * ymin:.2f}%"
  return f"{across};{up}"


def _tag(place: str, label: str, color: canvas_lib.Color, classes: str) -> str:
  background = html_parts.css_color(color)
  ink = html_parts.css_color(canvas_lib.text_color(color))
  return (
    f'<span class="tag {classes}" style="{place};background:{background};color:{ink}">'
    f"{web_page.escape(label)}</span>"
  )
