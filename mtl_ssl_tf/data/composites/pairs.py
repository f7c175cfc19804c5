"""Images to pairs of composites, one image and its seed at a time."""

from collections.abc import Callable

import tensorflow as tf

from mtl_ssl_tf.configs import insloc_data as insloc_config
from mtl_ssl_tf.data.composites import colors, pasting

# The two composites of an image; each has a background of its own.
ROLES = ("query", "key")


def make_pair(
  foreground: tf.Tensor,
  read_background: Callable[[int], tf.Tensor],
  seed: tf.Tensor,
  data: insloc_config.InsLocData,
) -> dict[str, tf.Tensor]:
  """Two composites that show crops of one image, with the places of the crops.

  Args:
    foreground: uint8 [h, w, 3].
    read_background: gives such an image for each of the `ROLES`, by its number.
    seed: integers [2], for stateless random numbers.
    data: the settings.

  Returns:
    `query_images` and `key_images`: uint8 [size, size, 3], RGB, colours changed. `query_boxes` and
    `key_boxes`: float32 [4], ymin, xmin, ymax, xmax in pixels of the composite; the end is not part
    of the box, so that 0 … size is all of it.
  """
  # Traced once and called twice, as tracing takes most of the time in which a run starts.
  make = tf.function(
    lambda foreground, background, seed: make_composite(foreground, background, seed, data),
    autograph=False,
  )
  made = {}
  for number, (role, role_seed) in enumerate(
    zip(ROLES, tf.unstack(tf.random.split(seed, len(ROLES))), strict=True)
  ):
    image, box_px = make(foreground, read_background(number), role_seed)
    made |= {f"{role}_images": image, f"{role}_boxes": box_px}
  return made


def make_composite(
  foreground: tf.Tensor,
  background: tf.Tensor,
  seed: tf.Tensor,
  data: insloc_config.InsLocData,
) -> tuple[tf.Tensor, tf.Tensor]:
  """One composite, pasted, changed in its colours and perhaps mirrored, with its box.

  Args:
    foreground: uint8 [h, w, 3].
    background: uint8 [h', w', 3].
    seed: integers [2].
    data: the settings.

  Returns:
    uint8 [size, size, 3] and float32 [4], as `make_pair`.
  """
  paste_seed, color_seed, mirror_seed = tf.unstack(tf.random.split(seed, 3))
  image, box_px = pasting.composite(foreground, background, paste_seed, data.composite)
  image = colors.random_colors(image, color_seed, data.colors)
  image, box_px = pasting.random_mirror(image, box_px, mirror_seed, data.composite.flip_probability)
  return tf.saturate_cast(tf.round(image), tf.uint8), box_px
