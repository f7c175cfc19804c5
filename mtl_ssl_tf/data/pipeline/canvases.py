"""Which canvases, the static network inputs, a data set's images are put on.

With `square` all images share the one canvas that is configured, square or not. With
`aspect_buckets` there are two, the configured one lying and standing: images at least as wide as
high are put on the lying one, the others on the standing one. Less of either is padding.
"""

from collections.abc import Sequence

import numpy as np

KINDS = ("square", "aspect_buckets")


def sizes(canvas: str, canvas_size: Sequence[int]) -> list[tuple[int, int]]:
  """Height and width of each canvas, the lying one first.

  Args:
    canvas: one of `KINDS`.
    canvas_size: height and width as configured; for two canvases, either way round.

  Raises:
    ValueError: there is no such kind, or the two canvases would be the same.
  """
  if canvas not in KINDS:
    raise ValueError(f"canvas is {canvas!r}; accepted: {', '.join(KINDS)}")
  if canvas == "square":
    return [tuple(canvas_size)]
  if len(set(canvas_size)) != 2 or len(canvas_size) != 2:
    raise ValueError(
      f"canvas_size is {list(canvas_size)}; accepted with canvas aspect_buckets: a height and a"
      " width that differ"
    )
  short, long = sorted(canvas_size)
  return [(short, long), (long, short)]


def fit_standing(image_sizes: np.ndarray) -> np.ndarray:
  """Whether images belong on the standing one of two canvases.

  An image at least as wide as high fits on the lying canvas without more scaling than on the other,
  and the reverse, whatever the canvas.

  Args:
    image_sizes: [n, 2], heights and widths.

  Returns:
    bool [n].
  """
  return image_sizes[:, 0] > image_sizes[:, 1]


def single(
  canvas: str, canvas_size: Sequence[int], short_side: int, long_side: int
) -> tuple[tuple[int, int], int, int]:
  """One canvas on which all images come out in the same size as on theirs, for serving.

  With two canvases it is the square that holds both; the limits keep an image from growing beyond
  what the canvas of its orientation had room for.

  Returns:
    Canvas size, short side and long side.
  """
  if canvas == "square":
    return tuple(canvas_size), short_side, long_side
  short, long = sorted(canvas_size)
  return (long, long), min(short_side, short), min(long_side, long)
