"""Sizes of the static network input that images are padded to.

With the input layout `single` all images share the one size that is configured. With
`by_orientation` there are two, the configured one in landscape and in portrait: images at least as
wide as high are padded to the landscape size, the others to the portrait one. Less of either is
padding.
"""

from collections.abc import Sequence

import numpy as np

from mtl_ssl_tf.configs import data as data_config
from mtl_ssl_tf.configs import fields


def sizes(input_layout: str, input_size: Sequence[int]) -> list[tuple[int, int]]:
  """Height and width of each network input, the landscape one first.

  Args:
    input_layout: `single` or `by_orientation`.
    input_size: height and width as configured; for two sizes, either way round.

  Raises:
    ValueError: there is no such layout, or the two sizes would be the same.
  """
  fields.check_value(data_config.Data, "input_layout", input_layout)
  if input_layout == "single":
    return [tuple(input_size)]
  if len(set(input_size)) != 2 or len(input_size) != 2:
    raise ValueError(
      f"input_size is {list(input_size)}; accepted with input_layout by_orientation: a height and"
      " a width that differ"
    )
  short, long = sorted(input_size)
  return [(short, long), (long, short)]


def is_portrait(image_sizes: np.ndarray) -> np.ndarray:
  """Whether images belong to the portrait one of two input sizes.

  An image at least as wide as high fits the landscape input without more scaling than on the
  other, and the reverse, whatever the size.

  Args:
    image_sizes: [n, 2], heights and widths.

  Returns:
    bool [n].
  """
  return image_sizes[:, 0] > image_sizes[:, 1]


def single(
  input_layout: str, input_size: Sequence[int], short_side: int, long_side: int
) -> tuple[tuple[int, int], int, int]:
  """One input size with which all images come out as large as with theirs, for serving.

  With two sizes it is the square that holds both; the limits keep an image from growing beyond
  what the input of its orientation holds.

  Returns:
    Input size, short side and long side.
  """
  if input_layout == "single":
    return tuple(input_size), short_side, long_side
  short, long = sorted(input_size)
  return (long, long), min(short_side, short), min(long_side, long)
