"""Position-sensitive pooling of regions of interest (Dai et al., "R-FCN", 2016)."""

import tensorflow as tf

from mtl_ssl_tf.ops import crop_ops


def position_sensitive_pool(
  score_maps: tf.Tensor,
  boxes_norm: tf.Tensor,
  map_size: tf.Tensor,
  num_bins: int,
  crop_size: int,
  method: str,
  keep_border: bool,
) -> tf.Tensor:
  """Averages, for each region, every bin over the score maps that are meant for that bin.

  A region is cut into `num_bins` x `num_bins` bins. The k-th bin, row by row, averages the k-th
  group of channels alone, at (crop_size / num_bins)^2 bilinear samples (`crop_and_resize`). The
  result is the mean over all bins and samples.

  Args:
    score_maps: float32 [B, h, w, num_bins^2 · d], padded; bin by bin, each with d channels.
    boxes_norm: float32 [B, R, 4], fractions of the image content; padding is negative and yields
      zeros.
    map_size: float32 [B, 2], rows and columns of the maps that belong to the image content.
    num_bins: a side.
    crop_size: samples a side of the whole region, a multiple of `num_bins`.
    method, keep_border: see `crop_ops`.

  Returns:
    float32 [B, R, d].

  Raises:
    ValueError: for an unknown method.
  """
  crop_ops.check_method(method)
  if keep_border:
    boxes_norm = crop_ops.draw_in(boxes_norm)
  if method == "matmul":
    return _pool_by_matmul(score_maps, boxes_norm, map_size, num_bins, crop_size)
  samples = crop_size // num_bins
  pooled = []
  for k, maps in enumerate(tf.split(score_maps, num_bins**2, axis=-1)):
    bins = _bin(boxes_norm, k // num_bins, k % num_bins, num_bins)  # [B, R, 4]
    crops = crop_ops.crop_and_resize(maps, bins, map_size, 1, (samples, samples), method, False)
    pooled.append(tf.reduce_mean(crops, axis=[2, 3]))  # [B, R, d]
  return tf.add_n(pooled) / len(pooled)


def _pool_by_matmul(
  score_maps: tf.Tensor,
  boxes_norm: tf.Tensor,
  map_size: tf.Tensor,
  num_bins: int,
  crop_size: int,
) -> tf.Tensor:
  """The same by products with matrices: samples are averaged before they touch the maps."""
  samples, (height, width) = crop_size // num_bins, score_maps.shape[1:3]
  rows, columns = [], []
  for i in range(num_bins):  # The bins on the diagonal have all the heights and widths there are.
    weights = crop_ops.sample_weights(
      _bin(boxes_norm, i, i, num_bins), map_size - 1.0, (height, width), (samples, samples)
    )  # [B, R, samples, h], [B, R, samples, w]
    for means, shares in zip((rows, columns), weights, strict=True):
      means.append(tf.reduce_mean(shares, axis=2))  # [B, R, h] or [B, R, w]
  rows = tf.cast(tf.stack(rows, axis=2) / num_bins**2, score_maps.dtype)  # [B, R, bins, h]
  columns = tf.cast(tf.stack(columns, axis=2), score_maps.dtype)  # [B, R, bins, w]
  depth = score_maps.shape[-1] // num_bins**2
  maps = tf.reshape(score_maps, [-1, height, width, num_bins, num_bins, depth])
  by_columns = tf.einsum("brjw,bhwijd->brhijd", columns, maps)  # [B, R, h, bins, bins, d]
  return tf.einsum("brih,brhijd->brd", rows, by_columns)


def _bin(boxes: tf.Tensor, row: int, column: int, num_bins: int) -> tf.Tensor:
  """Returns one bin of each box [B, R, 4].

  Follows the released arithmetic to the last bit, since a bin that sticks out of the image by a
  rounding error loses its last samples. TensorFlow's graph optimizer makes a product with the
  rounded reciprocal of any division by a constant, so that is what is written here.
  """
  ymin, xmin, ymax, xmax = tf.unstack(boxes, axis=-1)
  height = (ymax - ymin) * (1.0 / num_bins)
  width = (xmax - xmin) * (1.0 / num_bins)
  return tf.stack(
    [
      ymin + row * height,
      xmin + column * width,
      ymin + (row + 1) * height,
      xmin + (column + 1) * width,
    ],
    axis=-1,
  )
