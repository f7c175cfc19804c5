"""Classes that images are annotated for, as masks, and places that nothing may be taught of.

Merged data sets are often annotated for different classes. An image then shows objects of its
unannotated classes without a box. What has no box there is background or an object of one of
those classes, and nothing tells which. `losses/annotated_classes.py` has the losses.

Letters: `B` images, `R` boxes, `P` parts of a composed image, `C` classes with the background, `K`
sampled proposals, `N` objects, `A` anchors. A mask is float32 and 1 for a class that is annotated;
the background always is.
"""

import tensorflow as tf

from mtl_ssl_tf.labels import ignored_regions
from mtl_ssl_tf.ops import box_ops

# Labels of a batch that this module reads; they are there where records state their classes.
NAMES = ("annotated_classes", "annotated_parts_px", "annotated_parts")
# From which probability on a proposal is taken for an object of the unannotated classes: it is then
# more probable than all else together, as of mined boxes.
_MIN_SCORE = 0.5


def of_images(labels: dict[str, tf.Tensor]) -> tf.Tensor | None:
  """Returns the mask of each image, float32 [B, C]; None where no record states its classes.

  Of a composed image it is what all of its parts are annotated for.
  """
  return labels.get("annotated_classes")


def of_boxes(labels: dict[str, tf.Tensor], boxes_px: tf.Tensor) -> tf.Tensor | None:
  """Returns the mask of each box, float32 [B, R, C]; None where no record states its classes.

  A box in a composed image has the classes that all parts are annotated for that it meets.

  Args:
    labels: of a batch, see `data/pipeline/detection_parser.py`.
    boxes_px: float32 [B, R, 4]; padding is -1.
  """
  masks = of_images(labels)
  if masks is None:
    return None
  if "annotated_parts" not in labels:
    return tf.tile(masks[:, tf.newaxis], [1, boxes_px.shape[1], 1])
  shared_area = box_ops.pairwise_intersection(boxes_px, labels["annotated_parts_px"])  # [B, R, P]
  meets = tf.cast(shared_area > 0.0, tf.float32)
  num_without = tf.matmul(meets, 1.0 - labels["annotated_parts"])  # [B, R, C]
  return tf.cast(num_without < 0.5, tf.float32)


def closeness_labels(closeness: tf.Tensor, annotated: tf.Tensor) -> tf.Tensor:
  """Closeness labels without those that only say that an object has no neighbour.

  An unannotated object may well be its neighbour, as where regions to be ignored are around.

  Args:
    closeness: float32 [B, N, C], see `closeness.closeness_labels`.
    annotated: float32 [B, C].

  Returns:
    float32 [B, N, C]; rows without a label are all zero.
  """
  is_partly = tf.reduce_any(annotated < 0.5, axis=-1)[:, tf.newaxis]  # [B, 1]
  background = tf.where(is_partly, 0.0, closeness[..., 0])  # [B, N]
  return tf.concat([background[..., tf.newaxis], closeness[..., 1:]], axis=-1)


def unannotated_regions(
  class_logits: tf.Tensor, boxes_px: tf.Tensor, is_background: tf.Tensor, annotated: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
  """Regions to be ignored: proposals that the second stage takes for unannotated objects.

  Args:
    class_logits: float32 [B, K, C]; no gradient passes.
    boxes_px: float32 [B, K, 4].
    is_background: bool [B, K], the proposals that are matched to no object.
    annotated: float32 [B, K, C].

  Returns:
    Boxes float32 [B, K, 4] and classes int32 [B, K] as of ground truth: first those found, most
    probable first, of class 0; then padding, -1.
  """
  probabilities = tf.nn.softmax(tf.stop_gradient(class_logits))  # [B, K, C]
  scores = tf.reduce_sum(probabilities * (1.0 - annotated), axis=-1)  # [B, K]
  scores = tf.where(is_background & (scores > _MIN_SCORE), scores, 0.0)
  # Whoever goes through regions row by row ends with the last one.
  scores, rows = tf.math.top_k(scores, scores.shape[1])  # [B, K] each
  is_found = scores > 0.0
  boxes_px = tf.gather(boxes_px, rows, batch_dims=1)  # [B, K, 4]
  boxes_px = tf.where(is_found[..., tf.newaxis], boxes_px, -1.0)
  return tf.stop_gradient(boxes_px), tf.where(is_found, 0, -1)


def on_regions(
  anchors: tf.Tensor, regions: tuple[tf.Tensor, tf.Tensor], negative_iou: float
) -> tf.Tensor:
  """Returns the anchors on which `unannotated_regions` lie, bool [B, A]; they are no negatives."""
  regions_px, region_classes = regions
  return ignored_regions.in_ignored_region(anchors, regions_px, region_classes, negative_iou)
