"""Pictures of composites as the encoders get them, with their boxes."""

from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf

from mtl_ssl_tf.training import determinism
from mtl_ssl_tf.visualization import canvas, sheets

_EXACT_COLOR: canvas.Color = (0, 220, 90)
_POOLED_COLOR: canvas.Color = (255, 190, 0)


class InsLocPictures:
  """Draws query and key side by side: the exact box green, and what a query is pooled from dashed.

  The composites come from a stream of its own.
  """

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
    """Returns one uint8 [H, W, 3] picture for each of the next `num_pairs` pairs."""
    if self._batches is None:
      self._batches = iter(determinism.Batches(self._make_batches()))
    pictures: list[np.ndarray] = []
    while len(pictures) < self._num_pairs:
      batch = next(self._batches)
      pooled_px = self._query_boxes(
        batch["query_boxes"], batch["query_images"].shape[1], tf.constant(step)
      ).numpy()
      batch = {name: value.numpy() for name, value in batch.items()}
      for row in range(len(pooled_px)):
        query = canvas.Canvas(batch["query_images"][row])
        query.outline(batch["query_boxes"][row], _EXACT_COLOR, shadow=True)
        query.dashed_outline(pooled_px[row], _POOLED_COLOR)
        key = canvas.Canvas(batch["key_images"][row])
        key.outline(batch["key_boxes"][row], _EXACT_COLOR, shadow=True)
        pictures.append(sheets.in_a_row([query.pixels(), key.pixels()]))
    return pictures[: self._num_pairs]
