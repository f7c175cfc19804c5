"""Outlines, lines and legible text on an image, sized to suit it; what `draw` draws with."""

import colorsys
import os
from collections.abc import Sequence

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

Color = tuple[int, int, int]

BLACK: Color = (0, 0, 0)
WHITE: Color = (255, 255, 255)
GREY: Color = (160, 160, 160)

# Told apart at a glance, and seen on dark and bright pictures; further classes get mixed hues.
_CLASS_COLORS: tuple[Color, ...] = (
  (80, 155, 255),
  (255, 145, 0),
  (110, 225, 30),
  (255, 70, 220),
  (0, 220, 220),
  (255, 225, 0),
  (255, 60, 50),
  (170, 110, 255),
  (0, 165, 90),
  (255, 170, 150),
  (180, 115, 50),
  (165, 215, 255),
)
_GOLDEN_RATIO = 0.618033988749895
_SMALLEST_FONT_PX = 10
_DASH_WIDTHS = 4  # Length of a dash, and of the gap behind it, in line widths.
# Pillow's own font has no letters beyond ASCII; this one has the European alphabets.
_FONT_FILE = os.path.join(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")


def class_color(class_id: int) -> Color:
  """A bright colour for a class, always the same.

  Args:
    class_id: 0 is background and grey, objects are 1, 2, ...
  """
  if class_id <= 0:
    return GREY
  if class_id <= len(_CLASS_COLORS):
    return _CLASS_COLORS[class_id - 1]
  hue = (class_id * _GOLDEN_RATIO) % 1.0
  saturation, value = (0.9, 0.75) if class_id % 2 else (0.55, 0.95)
  red, green, blue = (round(255 * part) for part in colorsys.hsv_to_rgb(hue, saturation, value))
  return red, green, blue


def text_color(color: Color) -> Color:
  """Black or white, whichever is legible on a plate of this colour."""
  brightness = 0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2]
  return BLACK if brightness > 120.0 else WHITE


def check_image(image: np.ndarray) -> np.ndarray:
  """The image itself, or a ValueError if it is not uint8 [H, W, 3] with at least one pixel."""
  if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
    raise ValueError(
      f"image is {image.dtype} {list(image.shape)}; accepted: uint8 [height, width, 3]"
    )
  return image


class Canvas:
  """An image being drawn on. Nothing falls outside; what cannot fit is cut or left out.

  Attributes:
    height: pixels.
    width: pixels.
    line_width: pixels, 1 for small images and more for large ones.
    font_px: size of the text.
    text_height: pixels that one line of text takes, its margin included.
  """

  def __init__(self, image: np.ndarray, font_px: int | None = None):
    """Starts from a copy of an image, uint8 [H, W, 3]; `font_px` overrules the fitting size."""
    self._picture = Image.fromarray(check_image(image))
    self._draw = ImageDraw.Draw(self._picture)
    self.width, self.height = self._picture.size
    side = (self.width * self.height) ** 0.5
    self.line_width = max(1, round(side / 280.0))
    self.font_px = font_px or max(_SMALLEST_FONT_PX, round(7.5 + 0.0105 * side))
    self._font = ImageFont.truetype(_FONT_FILE, self.font_px)
    ascent, descent = self._font.getmetrics()
    self._margin = max(1, round(ascent / 8.0))
    self.text_height = ascent + descent + self._margin
    self._plates: list[tuple[int, int, int, int]] = []

  def pixels(self) -> np.ndarray:
    """The picture so far, uint8 [H, W, 3]."""
    return np.array(self._picture)

  def text_width(self, text: str) -> int:
    """Pixels that `text` takes on its plate."""
    return round(self._font.getlength(text)) + 2 * self._margin

  def pixel_box(self, box_px: Sequence[float]) -> tuple[int, int, int, int] | None:
    """First and last pixel rows and columns that a box touches, or None if it is not in sight.

    Args:
      box_px: [ymin, xmin, ymax, xmax] in pixels of the canvas.

    Returns:
      (top, left, bottom, right), all inside the picture and inclusive.
    """
    if not np.isfinite(box_px).all():
      return None
    ymin, xmin, ymax, xmax = (float(value) for value in box_px)
    if ymax < ymin or ymin >= self.height or ymin < 0.0 >= ymax:
      return None
    if xmax < xmin or xmin >= self.width or xmin < 0.0 >= xmax:
      return None
    top, left = int(max(ymin, 0.0)), int(max(xmin, 0.0))
    bottom = max(top, int(np.ceil(min(ymax, self.height))) - 1)
    right = max(left, int(np.ceil(min(xmax, self.width))) - 1)
    return top, left, bottom, right

  def outline(self, box_px: Sequence[float], color: Color, shadow: bool = False) -> None:
    """Draws a box's border on its inner side; `shadow` adds a dark line on either side of it."""
    corners = self.pixel_box(box_px)
    if corners is None:
      return
    top, left, bottom, right = corners
    if shadow:
      around = (left - 1, top - 1, right + 1, bottom + 1)
      self._draw.rectangle(around, outline=BLACK, width=self.line_width + 2)
    self._draw.rectangle((left, top, right, bottom), outline=color, width=self.line_width)

  def dashed_outline(self, box_px: Sequence[float], color: Color) -> None:
    """Draws a box's border on its inner side in dashes, each side from its first corner on."""
    corners = self.pixel_box(box_px)
    if corners is None:
      return
    top, left, bottom, right = corners
    dash, rim = _DASH_WIDTHS * self.line_width, self.line_width - 1
    for start in range(left, right + 1, 2 * dash):
      end = min(start + dash - 1, right)
      self.fill(top, start, min(top + rim, bottom), end, color)
      self.fill(max(bottom - rim, top), start, bottom, end, color)
    for start in range(top, bottom + 1, 2 * dash):
      end = min(start + dash - 1, bottom)
      self.fill(start, left, end, min(left + rim, right), color)
      self.fill(start, max(right - rim, left), end, right, color)

  def fill(self, top: int, left: int, bottom: int, right: int, color: Color) -> None:
    """Fills a rectangle of pixels, last row and column included."""
    self._draw.rectangle((left, top, right, bottom), fill=color)

  def line(self, start: Sequence[float], end: Sequence[float], color: Color, width: int) -> None:
    """Draws a line between two points [y, x]."""
    self._draw.line((start[1], start[0], end[1], end[0]), fill=color, width=width)

  def dot(self, center: Sequence[float], radius: float, color: Color) -> None:
    """Draws a disc with a dark rim around a point [y, x]."""
    y, x = center
    self._draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=color, outline=BLACK)

  def label_box(self, box_px: Sequence[float], text: str, color: Color) -> None:
    """Writes text next to a box: outside it if there is room, and clear of earlier labels."""
    corners = self.pixel_box(box_px)
    if corners is None:
      return
    top, left, bottom, right = corners
    text, width = self._shorten(text, self.width)
    above, below = top - self.text_height, bottom + 1
    flush_right = right + 1 - width
    inside = [(top, left), (bottom + 1 - self.text_height, left), (top, flush_right)]
    outside = [(below, left), (above, flush_right), (below, flush_right)]
    # Inside a large box a label is clear; a small box would be hidden by it.
    roomy = bottom - top > 2 * self.text_height and right - left > width
    further = inside + outside if roomy else outside + inside
    self._place(text, color, [(above, left), *further])

  def label_point(self, point: Sequence[float], text: str, color: Color) -> None:
    """Writes text centred on a point [y, x], or next to it where an earlier label lies."""
    text, width = self._shorten(text, self.width)
    y, x = round(point[0]) - self.text_height // 2, round(point[1]) - width // 2
    half = self.text_height // 2
    self._place(text, color, [(y, x), (y - half, x), (y + half, x), (y, x - width), (y, x + width)])

  def text(self, top: int, left: int, text: str, color: Color, room: int) -> None:
    """Writes bare text whose plate would have this corner, cut to `room` pixels of width."""
    text, _ = self._shorten(text, room)
    self._draw.text((left + self._margin, top), text, fill=color, font=self._font)

  def _shorten(self, text: str, room: int) -> tuple[str, int]:
    """The text, or its beginning and an ellipsis, that fits; and the width that it takes."""
    shortened = text
    while shortened and self.text_width(shortened) > room:
      text = text[:-1]
      shortened = f"{text}…" if text else ""
    return shortened, self.text_width(shortened)

  def _place(self, text: str, color: Color, corners: Sequence[tuple[int, int]]) -> None:
    """Writes a plate at the first of some corners [top, left] that hides least of other plates."""
    width, height = self.text_width(text), self.text_height
    if not text or width > self.width or height > self.height:
      return
    plates = []
    for wanted_top, wanted_left in corners:
      top = min(max(wanted_top, 0), self.height - height)
      left = min(max(wanted_left, 0), self.width - width)
      plate = (top, left, top + height - 1, left + width - 1)
      # A plate pushed away vertically would lie on the box for which it had no room.
      pushed = abs(top - wanted_top)
      plates.append((sum(_shared_area(plate, other) for other in self._plates) + pushed, plate))
    _, plate = min(plates, key=lambda candidate: candidate[0])
    self._plates.append(plate)
    self.fill(*plate, color)
    self.text(plate[0], plate[1], text, text_color(color), width)


def _shared_area(plate: tuple[int, int, int, int], other: tuple[int, int, int, int]) -> int:
  height = min(plate[2], other[2]) - max(plate[0], other[0]) + 1
  width = min(plate[3], other[3]) - max(plate[1], other[1]) + 1
  return max(height, 0) * max(width, 0)
