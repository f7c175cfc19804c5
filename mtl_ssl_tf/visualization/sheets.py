"""Pictures put together on one dark sheet: in a row, or in rows under captions."""

from collections.abc import Sequence

import numpy as np

from mtl_ssl_tf.visualization import canvas as canvas_lib

SHEET_COLOR: canvas_lib.Color = (32, 32, 32)
_GAP_PX = 4


def in_a_row(images: Sequence[np.ndarray]) -> np.ndarray:
  """Images [H, W, 3] side by side with a gap between; lower ones are filled up below."""
  height = max(image.shape[0] for image in images)
  gap = np.full((height, _GAP_PX, 3), SHEET_COLOR, np.uint8)
  parts = [part for image in images for part in (gap, _pad(image, height, image.shape[1]))]
  return np.concatenate(parts[1:], axis=1)


def contact_sheet(
  images: Sequence[np.ndarray], captions: Sequence[str], columns: int | None = None
) -> np.ndarray:
  """Images side by side, each under its caption; in several rows if `columns` is given.

  Args:
    images: uint8 [H, W, 3] each, of any sizes, at least one.
    captions: one for each image.
    columns: images in a row; all of them in one row if None.

  Returns:
    uint8, as wide as the widest row.
  """
  font_px = max(canvas_lib.Canvas(image).font_px for image in images)
  captioned = []
  for image, caption in zip(images, captions, strict=True):
    strip = np.full((2 * font_px, image.shape[1], 3), SHEET_COLOR, np.uint8)
    head = canvas_lib.Canvas(strip, font_px)
    head.text(font_px // 4, 0, caption, canvas_lib.WHITE, head.width)
    captioned.append(np.concatenate([head.pixels(), image]))
  columns = columns or len(captioned)
  rows = [
    in_a_row(captioned[start : start + columns]) for start in range(0, len(captioned), columns)
  ]
  width = max(row.shape[1] for row in rows)
  return np.concatenate([_pad(row, row.shape[0], width) for row in rows])


def _pad(image: np.ndarray, height: int, width: int) -> np.ndarray:
  padded = np.full((height, width, 3), SHEET_COLOR, np.uint8)
  padded[: image.shape[0], : image.shape[1]] = image
  return padded
