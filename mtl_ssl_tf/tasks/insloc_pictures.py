"""Pictures of composites as the encoders get them, with their boxes."""

from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf

from mtl_ssl_tf.training import determinism
from mtl_ssl_tf.visualization import composites


class InsLocPictures:
  """Draws queries and keys side by side, from a stream of composites of its own."""

  def __init__(
    self,
    num_pairs: int,
    batches: Callable[[], tf.data.Dataset],
    query_boxes: Callable[[tf.Tensor, int, tf.Tensor], tf.Tensor],
  ):
    """Takes the source of composites; no data are read yet.

    Args:
      num_pairs: pictures of a set.
      batches: returns the training batches.
      query_boxes: from the exact boxes of a batch, the side of its images and a step to the boxes
        that queries are pooled from.
    """
    self._num_pairs, self._make_batches, self._query_boxes = num_pairs, batches, query_boxes
    self._batches: Iterator | None = None

  def draw(self, step: int) -> list[np.ndarray]:
    """Returns a picture for each of the next `num_pairs` pairs, see `composites.draw_pairs`."""
    if self._batches is None:
      self._batches = iter(determinism.Batches(self._make_batches()))
    pictures: list[np.ndarray] = []
    while len(pictures) < self._num_pairs:
      batch = next(self._batches)
      boxes_px, side = batch["query_boxes"], batch["query_images"].shape[1]
      pooled_px = self._query_boxes(boxes_px, side, tf.constant(step))
      pictures += composites.draw_pairs(batch, pooled_px.numpy())
    return pictures[: self._num_pairs]
