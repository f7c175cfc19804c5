"""Reads from ground truth what the settings of a run depend on."""

import dataclasses

import numpy as np

from mtl_ssl_tf.data.ground_truth import objects as ground_truth
from mtl_ssl_tf.reading import quoting


@dataclasses.dataclass(frozen=True)
class DataFacts:
  """Sizes and counts of a split.

  Attributes:
    class_names: class 1 first.
    image_sizes: int64 [I, 2], height and width of each image, pixels.
    boxes: float64 [N, 2], height and width of each object, pixels of its image; crowds are left
      out.
    images: int64 [N], place of each object's image.
    classes: int64 [N], from 1.
  """

  class_names: tuple[str, ...]
  image_sizes: np.ndarray
  boxes: np.ndarray
  images: np.ndarray
  classes: np.ndarray

  @property
  def num_images(self) -> int:
    """Returns the number of images."""
    return len(self.image_sizes)

  @property
  def most_objects(self) -> int:
    """Returns the number of objects in the image with the most."""
    return int(np.bincount(self.images, minlength=1).max())

  def scales(self, short_side: int, long_side: int) -> np.ndarray:
    """Returns float64 [I], the factor by which each image is resized.

    Args:
      short_side: of the resized image, pixels.
      long_side: longest that its long side may be.
    """
    shorter, longer = self.image_sizes.min(axis=1), self.image_sizes.max(axis=1)  # [I]
    return np.minimum(short_side / shorter, long_side / longer)

  def resized_boxes(self, short_side: int, long_side: int) -> np.ndarray:
    """Returns float64 [N, 2], heights and widths in pixels of the resized image."""
    return self.boxes * self.scales(short_side, long_side)[self.images, np.newaxis]


def read(truth: ground_truth.GroundTruth) -> DataFacts:
  """Returns the facts of a split.

  Raises:
    ValueError: there is no object, or the sizes of images are not known.
  """
  unknown = [image.image_id for image in truth.images if image.size is None]
  if unknown:
    raise ValueError(
      f"{truth.source}: the size of image {quoting.shown(unknown[0])} is not written down;"
      " accepted: records, or annotations with the sizes of all images"
    )
  sizes, numbers, classes = [], [], []
  for number, image in enumerate(truth.images):
    kept = ~image.is_crowd
    corners = image.boxes.corners[kept]
    sizes.append(corners[:, 2:] - corners[:, :2])
    numbers.append(np.full(kept.sum(), number))
    classes.append(image.classes[kept])
  if not sum(map(len, sizes)):
    raise ValueError(
      f"{truth.source}: no object in {len(truth.images)} images; accepted: at least one, as"
      " settings follow from the objects"
    )
  return DataFacts(
    tuple(truth.class_names),
    np.array([image.size for image in truth.images]),
    np.concatenate(sizes),
    np.concatenate(numbers),
    np.concatenate(classes),
  )
