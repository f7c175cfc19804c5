"""Bilinear crops of feature maps, one per region of interest.

Two methods give the same crops: `native` is TensorFlow's kernel, the faster one where it exists,
which is outside compiled code on CPUs and GPUs; `matmul` is two products with interpolation
matrices, which XLA compiles, for TPUs and for programs that must compile whole.

The last sample of a box that ends at the image's border lies on the last cell of the map, or past
it by a rounding error, and would then be 0, with a whole row of the crop. So boxes are drawn in by
a millionth here. With `keep_border` False they are not, as in the released code, and the methods
may differ in such rows.
"""

import tensorflow as tf

METHODS = ("native", "matmul")
_INSET = 1.0 - 1e-6


def crop_and_resize(
  features: tf.Tensor,
  boxes_norm: tf.Tensor,
  image_size_px: tf.Tensor,
  stride: int,
  crop_size: tuple[int, int],
  method: str,
  keep_border: bool,
) -> tf.Tensor:
  """Crops that `tf.image.crop_and_resize` would take from the map of the image without padding.

  A side at fraction f of the image lies at f · (rows - 1) on a map of ceil(height / stride) rows;
  samples are spread evenly from the first side to the last, and are 0 outside that map. The map
  given here is padded: by how much does not matter.

  Args:
    features: float [B, h, w, c], of the padded input; h and w known statically. The content fills
      its first rows and columns; the others must be finite.
    boxes_norm: float32 [B, R, 4], fractions of the image content; padding is negative and yields a
      crop of zeros.
    image_size_px: float32 [B, 2], height and width of the image content.
    stride: pixels from one feature cell to the next.
    crop_size: (rows, columns) ch, cw of a crop.
    method: one of `METHODS`.
    keep_border: whether boxes that end at the border keep their last samples for certain.

  Returns:
    [B, R, ch, cw, c], of the features' type. Places of samples are float32 whatever that is.

  Raises:
    ValueError: for another method.
  """
  check_method(method)
  if keep_border:
    boxes_norm = draw_in(boxes_norm)
  content_last = tf.math.ceil(image_size_px / stride) - 1.0  # [B, 2], last row and column
  if method == "matmul":
    rows, columns = sample_weights(boxes_norm, content_last, features.shape[1:3], crop_size)
    rows, columns = tf.cast(rows, features.dtype), tf.cast(columns, features.dtype)
    # The longer side goes first, so that less is left in between.
    if features.shape[1] > features.shape[2]:
      stretched = tf.einsum("bryh,bhwc->brywc", rows, features)  # [B, R, ch, w, c]
      return tf.einsum("brxw,brywc->bryxc", columns, stretched)  # [B, R, ch, cw, c]
    stretched = tf.einsum("brxw,bhwc->brhxc", columns, features)  # [B, R, h, cw, c]
    return tf.einsum("bryh,brhxc->bryxc", rows, stretched)  # [B, R, ch, cw, c]
  return _native_crops(features, boxes_norm, content_last, crop_size)


def draw_in(boxes_norm: tf.Tensor) -> tf.Tensor:
  """Boxes, fractions of the image, less a millionth: more than the rounding errors to come."""
  return boxes_norm * _INSET


def check_method(method: str) -> None:
  """Raises ValueError unless there is such a method."""
  if method not in METHODS:
    raise ValueError(f"crop method is {method!r}; accepted: {', '.join(METHODS)}")


def sample_weights(
  boxes_norm: tf.Tensor,
  content_last: tf.Tensor,
  map_size: tuple[int, int],
  crop_size: tuple[int, int],
) -> tuple[tf.Tensor, tf.Tensor]:
  """Shares of a map's rows and columns in the samples of a crop.

  Args:
    boxes_norm: float32 [B, R, 4], fractions of the image content.
    content_last: float32 [B, 2], the last row and column that belong to the content.
    map_size: (h, w) of the map.
    crop_size: (ch, cw), samples along a box's height and width.

  Returns:
    float32 [B, R, ch, h] and [B, R, cw, w]; all zero for a sample outside the content.
  """
  weights = []
  for axis in range(2):
    last = content_last[:, axis]
    places = _places(boxes_norm[..., axis], boxes_norm[..., axis + 2], last, crop_size[axis])
    on_content = (places >= 0.0) & (places <= last[:, tf.newaxis, tf.newaxis])
    cells = tf.range(map_size[axis], dtype=tf.float32)  # [cells]
    # A sample between two cells takes from each what its distance to the other is.
    shares = tf.nn.relu(1.0 - tf.abs(places[..., tf.newaxis] - cells))
    weights.append(tf.where(on_content[..., tf.newaxis], shares, 0.0))
  return weights[0], weights[1]


def _native_crops(
  features: tf.Tensor,
  boxes_norm: tf.Tensor,
  content_last: tf.Tensor,
  crop_size: tuple[int, int],
) -> tf.Tensor:
  """The crops by TensorFlow's kernel."""
  num_images, num_boxes = tf.unstack(tf.shape(boxes_norm)[:2])
  map_size = features.shape[1:3]
  map_last = tf.constant([max(side - 1, 1) for side in map_size], tf.float32)  # [2]
  map_factors = tf.tile(content_last / map_last, [1, 2])[:, tf.newaxis]  # [B, 1, 4]

  # The kernel gives float32 of any input, but takes no bfloat16.
  crops = tf.image.crop_and_resize(
    tf.cast(features, tf.float32),
    tf.reshape(boxes_norm * map_factors, [-1, 4]),
    tf.repeat(tf.range(num_images), num_boxes),
    crop_size,
  )  # [B·R, ch, cw, c]
  crops = tf.reshape(crops, [num_images, num_boxes, *crop_size, features.shape[-1]])

  # The kernel blanks samples outside the map; those past the end of the content are left to us.
  in_rows, in_columns = (
    _places(
      boxes_norm[..., axis], boxes_norm[..., axis + 2], content_last[:, axis], crop_size[axis]
    )
    <= content_last[:, axis, tf.newaxis, tf.newaxis]
    for axis in range(2)
  )  # [B, R, ch], [B, R, cw]
  on_content = in_rows[..., :, tf.newaxis] & in_columns[..., tf.newaxis, :]  # [B, R, ch, cw]
  # Boxes seldom stick out, and the crops are large.
  crops = tf.cond(
    tf.reduce_all(on_content),
    lambda: crops,
    lambda: crops * tf.cast(on_content, crops.dtype)[..., tf.newaxis],
  )
  return tf.cast(crops, features.dtype)


def _places(
  first_norm: tf.Tensor, last_norm: tf.Tensor, map_last: tf.Tensor, num_samples: int
) -> tf.Tensor:
  """Places of samples between two sides [B, R] of boxes on a map whose last cell is `map_last` [B].

  Follows the kernel's arithmetic step by step, for the sake of samples right on the border.
  Returns float32 [B, R, num_samples], in cells.
  """
  map_last = map_last[:, tf.newaxis, tf.newaxis]  # [B, 1, 1]
  first_norm = first_norm[..., tf.newaxis]  # [B, R, 1]
  last_norm = last_norm[..., tf.newaxis]  # [B, R, 1]
  if num_samples > 1:
    step = (last_norm - first_norm) * map_last / (num_samples - 1)  # [B, R, 1]
    return first_norm * map_last + tf.range(num_samples, dtype=tf.float32) * step
  return 0.5 * (first_norm + last_norm) * map_last  # [B, R, 1]
