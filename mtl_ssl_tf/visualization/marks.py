"""Boxes on an image, each in a colour and with a text of its own."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mtl_ssl_tf.visualization import canvas as canvas_lib

_LINE_WIDTH_PX = 2  # At least: thin lines are lost among the pixels of a photograph.


class Mark(NamedTuple):
  """One box.

  Attributes:
    box_px: [4], ymin, xmin, ymax, xmax in pixels of the image.
    text: next to it; empty for none.
    color: of both.
    is_dashed: whether its outline is.
  """

  box_px: Sequence[float]
  text: str
  color: canvas_lib.Color
  is_dashed: bool = False


def draw_marks(image: np.ndarray, marks: Sequence[Mark]) -> np.ndarray:
  """Returns the image, uint8 [H, W, 3], with boxes; of two in one place the later lies on top."""
  canvas = canvas_lib.Canvas(image)
  canvas.line_width = max(canvas.line_width, _LINE_WIDTH_PX)
  for mark in marks:
    if mark.is_dashed:
      canvas.dashed_outline(mark.box_px, mark.color)
    else:
      canvas.outline(mark.box_px, mark.color)
  # Labels come after all outlines, which would cross them, and the last takes the best place.
  for mark in reversed(marks):
    if mark.text:
      canvas.label_box(mark.box_px, mark.text, mark.color)
  return canvas.pixels()
