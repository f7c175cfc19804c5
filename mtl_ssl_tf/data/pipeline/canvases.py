"""Which canvases, the static network inputs, a data set's images are put on.

With the input layout `single` all images share the one canvas that is configured. With
`by_orientation` there are two, the configured one in landscape and in portrait: images at least as
wide as high are put on the landscape canvas, the others on the portrait one. Less of either is
padding.
"""

from collections.abc import Sequence

import numpy as np

from mtl_ssl_tf.configs import data as data_config
from mtl_ssl_tf.configs import fields


def sizes(input_layout: str, canvas_size: Sequence[int]) -> list[tuple[int, int]]:
  """Height and width of each canvas, the landscape one first.

  Args:
    input_layout: `single` or `by_orientation`.
    canvas_size: height and width as configured; for two canvases, either way round.

  Raises:
    ValueError: there is no such layout, or the two canvases would be the same.
  """
  fields.check_value(data_config.Data, "input_layout", input_layout)
  if input_layout == "single":
    return [tuple(canvas_size)]
  if len(set(canvas_size)) != 2 or len(canvas_size) != 2:
    raise ValueError(
      f"canvas_size is {list(canvas_size)}; accepted with input_layout by_orientation: a height and"
      " a width that differ"
    )
  short, long = sorted(canvas_size)
  return [(short, long), (long, short)]


def is_portrait(image_sizes: np.ndarray) -> np.ndarray:
  """Whether images belong on the portrait one of two canvases.

  An image at least as wide as high fits on the landscape canvas without more scaling than on the
  other, and the reverse, whatever the canvas.

  Args:
    image_sizes: [n, 2], heights and widths.

  Returns:
    bool [n].
  """
  return image_sizes[:, 0] > image_sizes[:, 1]


def single(
  input_layout: str, canvas_size: Sequence[int], short_side: int, long_side: int
) -> tuple[tuple[int, int], int, int]:
  """One canvas on which all images come out in the same size as on theirs, for serving.

  With two canvases it is the square that holds both; the limits keep an image from growing beyond
  what the canvas of its orientation had room for.

  Returns:
    Canvas size, short side and long side.
  """
  if input_layout == "single":
    return tuple(canvas_size), short_side, long_side
  short, long = sorted(canvas_size)
  return (long, long), min(short_side, short), min(long_side, long)
