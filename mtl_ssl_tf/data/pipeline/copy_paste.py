"""Objects of one image pasted into another, a pure function of a stateless seed."""

import tensorflow as tf

from mtl_ssl_tf.data.pipeline import annotated_image
from mtl_ssl_tf.ops import box_ops

# At most so many objects are pasted into an image, drawn from 1 on.
MAX_PASTED = 3
# Range of an object's size, compared with that in its own image.
_SCALE_MIN, _SCALE_MAX = 0.5, 1.5
# The soft edge around a box, as a part of its height and width.
_MARGIN = 0.1
# A box that shares this part with another is not whole, nor one of which more than it is hidden.
_HALF = 0.5


def copy_paste(
  annotated: annotated_image.AnnotatedImage,
  partner: annotated_image.AnnotatedImage,
  seed: tf.Tensor,
  size_ratio: tf.Tensor,
  max_objects: int,
) -> annotated_image.AnnotatedImage:
  """An image with one to three objects of another one pasted into it at random places.

  A pasted object is cut out as its box, keeps 0.5 to 1.5 times its size, lies wholly inside the
  image and is ground truth. Around its box, within a margin of a tenth of its sides, it fades into
  the image. What it hides more than half of becomes a region to be ignored: it is neither to be
  found nor background.

  Regions to be ignored and crowds are never pasted, nor boxes that share half or more of the
  smaller one's area with another box of their image: the other object would come along, unlabelled.

  Args:
    annotated: the image and its objects.
    partner: the image that objects are taken from; may be the same. It is not composed.
    seed: integers [2], for stateless random numbers.
    size_ratio: float32 scalar, pixels of the image to one of the partner at equal size.
    max_objects: no more objects than this in all, unless the image has them already.

  Returns:
    The image with what has been pasted, regions to be ignored last.

  Reference: Ghiasi et al., "Simple Copy-Paste Is a Strong Data Augmentation Method for Instance
  Segmentation", CVPR 2021. There objects are cut out along their masks, which boxes do not tell.
  """
  count_seed, order_seed, place_seed = tf.unstack(tf.random.split(seed, 3))
  candidates = _pasteable(partner)  # [m]
  num_free = max_objects - tf.math.count_nonzero(annotated.classes > 0, dtype=tf.int32)
  count = tf.random.stateless_uniform([], count_seed, 1, MAX_PASTED + 1, tf.int32)
  count = tf.minimum(count, tf.math.count_nonzero(candidates, dtype=tf.int32))
  count = tf.maximum(tf.minimum(count, num_free), 0)
  order = tf.random.stateless_uniform(tf.shape(candidates), order_seed) - tf.cast(
    candidates, tf.float32
  )
  pasted = partner.take(tf.argsort(order)[:count])  # Candidates are below 0, others above.

  def paste_next(number, image, boxes_px):
    box_seed = tf.random.fold_in(place_seed, number)
    image, box_px = random_paste(
      image, partner.image, pasted.boxes_px[number], box_seed, size_ratio
    )
    return number + 1, image, tf.concat([boxes_px, box_px[tf.newaxis]], axis=0)

  _, image, boxes_px = tf.while_loop(
    lambda number, *_: number < count,
    paste_next,
    (tf.constant(0), annotated.image, tf.zeros([0, 4])),
    shape_invariants=(
      tf.TensorShape([]),
      tf.TensorShape([None, None, 3]),
      tf.TensorShape([None, 4]),
    ),
  )
  hidden, pasted_hidden = _hidden(annotated.boxes_px, boxes_px)
  if pasted.parts:  # One, as the partner is not composed.
    of_each = tf.tile(pasted.parts.annotated, [count, 1])  # [k, C]
    pasted = pasted._replace(parts=annotated_image.Parts(boxes_px, of_each))
  return annotated_image.join(
    image,
    [
      annotated._replace(classes=tf.where(hidden, 0, annotated.classes)),
      pasted.with_boxes(boxes_px)._replace(classes=tf.where(pasted_hidden, 0, pasted.classes)),
    ],
  )


def random_paste(
  image: tf.Tensor,
  source: tf.Tensor,
  box_px: tf.Tensor,
  seed: tf.Tensor,
  size_ratio: tf.Tensor,
) -> tuple[tf.Tensor, tf.Tensor]:
  """An image with one box of another one pasted into it, and the box where it lies now.

  Args:
    image: uint8 [h, w, 3].
    source: uint8 [h', w', 3].
    box_px: float32 [4], pixels of `source`.
    seed: integers [2], for stateless random numbers.
    size_ratio: float32 scalar, pixels of the image to one of the source at equal size.

  Returns:
    uint8 [h, w, 3] and float32 [4], pixels of the image; the box is inside.
  """
  scale_seed, place_seed = tf.unstack(tf.random.split(seed, 2))
  size = tf.cast(tf.shape(image)[:2], tf.float32)  # [2]
  box_size = box_px[2:] - box_px[:2]  # [2]
  scale = size_ratio * tf.random.stateless_uniform([], scale_seed, _SCALE_MIN, _SCALE_MAX)
  scale = tf.minimum(scale, tf.reduce_min(size / box_size))
  patch, alpha, patch_box = soft_patch(source, box_px, scale)
  # Whole pixels at which all of the box lies in the image. Rounding the patch's size may have made
  # it a little too large for any.
  lowest = tf.math.ceil(-patch_box[:2])  # [2]
  highest = tf.maximum(tf.floor(size - patch_box[2:]), lowest)  # [2]
  drawn = tf.random.stateless_uniform([2], place_seed)
  offset = tf.minimum(lowest + tf.floor(drawn * (highest - lowest + 1.0)), highest)  # [2]
  pasted_px = tf.clip_by_value(patch_box + tf.tile(offset, [2]), 0.0, tf.tile(size, [2]))  # [4]
  return blend(image, patch, alpha, tf.cast(offset, tf.int32)), pasted_px


def soft_patch(
  source: tf.Tensor, box_px: tf.Tensor, scale: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
  """A box with the margin around it, as far as its image has one, resized.

  Args:
    source: uint8 [h', w', 3].
    box_px: float32 [4], pixels of `source`.
    scale: float32 scalar.

  Returns:
    patch: float32 [h, w, 3].
    alpha: float32 [h, w], 1 in the box, falling to 0 at the end of the margin.
    patch_box: float32 [4], the box in pixels of the patch.
  """
  source_size = tf.cast(tf.shape(source)[:2], tf.float32)  # [2]
  margin = _MARGIN * (box_px[2:] - box_px[:2])  # [2]
  start = tf.floor(tf.maximum(box_px[:2] - margin, 0.0))  # [2]
  end = tf.math.ceil(tf.minimum(box_px[2:] + margin, source_size))  # [2]
  patch_size = tf.maximum(tf.round((end - start) * scale), 1.0)  # [2]
  scales = patch_size / (end - start)  # [2]
  top, left, bottom, right = tf.unstack(tf.cast(tf.concat([start, end], axis=0), tf.int32))
  patch = tf.image.resize(source[top:bottom, left:right], tf.cast(patch_size, tf.int32))
  patch_box = (box_px - tf.tile(start, [2])) * tf.tile(scales, [2])  # [4]
  rows, columns = (
    _ramp(patch_size[axis], patch_box[axis], patch_box[axis + 2], margin[axis] * scales[axis])
    for axis in (0, 1)
  )
  return patch, rows[:, tf.newaxis] * columns, patch_box


def blend(image: tf.Tensor, patch: tf.Tensor, alpha: tf.Tensor, offset: tf.Tensor) -> tf.Tensor:
  """An image with a patch laid over it; what of the patch lies outside is left out.

  Args:
    image: uint8 [h, w, 3].
    patch: float32 [ph, pw, 3], 0 … 255.
    alpha: float32 [ph, pw], how much of the patch shows, 0 to 1.
    offset: int32 [2], row and column of the image where the patch begins; may be negative.

  Returns:
    uint8 [h, w, 3].
  """
  start = tf.maximum(offset, 0)  # [2]
  end = tf.minimum(offset + tf.shape(alpha), tf.shape(image)[:2])  # [2]
  top, left, bottom, right = tf.unstack(tf.concat([start, end], axis=0))
  y, x = tf.unstack(offset)
  alpha = alpha[top - y : bottom - y, left - x : right - x, tf.newaxis]  # [h', w', 1]
  patch = patch[top - y : bottom - y, left - x : right - x]  # [h', w', 3]
  under = tf.cast(image[top:bottom, left:right], tf.float32)
  mixed = tf.cast(tf.round(alpha * patch + (1.0 - alpha) * under), tf.uint8)
  band = tf.concat([image[top:bottom, :left], mixed, image[top:bottom, right:]], axis=1)
  return tf.concat([image[:top], band, image[bottom:]], axis=0)


def _pasteable(annotated: annotated_image.AnnotatedImage) -> tf.Tensor:
  """Mask of the objects whose boxes show nothing else, bool [n]."""
  areas = box_ops.area(annotated.boxes_px)  # [n]
  shared = box_ops.pairwise_intersection(annotated.boxes_px, annotated.boxes_px)  # [n, n]
  shared /= tf.minimum(areas[:, tf.newaxis], areas)
  others = tf.linalg.set_diag(shared, tf.zeros_like(areas))  # [n, n]
  alone = tf.reduce_all(others < _HALF, axis=1)
  return (annotated.classes > 0) & ~annotated.is_crowd & alone


def _hidden(boxes_px: tf.Tensor, pasted_px: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
  """Masks, bool [n] and [k], of the boxes that later pasted boxes hide by more than half.

  The area that two pasted boxes both hide counts twice.
  """
  num_before = tf.shape(boxes_px)[0]
  num_pasted = tf.shape(pasted_px)[0]
  boxes = tf.concat([boxes_px, pasted_px], axis=0)  # [n + k, 4]
  hidden = box_ops.pairwise_intersection(boxes, pasted_px)  # [n + k, k]
  later = num_before + tf.range(num_pasted) > tf.range(num_before + num_pasted)[:, tf.newaxis]
  hidden_area = tf.reduce_sum(tf.where(later, hidden, 0.0), axis=1)  # [n + k]
  mostly = hidden_area > _HALF * box_ops.area(boxes)
  return mostly[:num_before], mostly[num_before:]


def _ramp(length: tf.Tensor, start: tf.Tensor, end: tf.Tensor, margin: tf.Tensor) -> tf.Tensor:
  """At pixel centres, 1 from start to end, falling to 0 a margin away from them; [length]."""
  centers = tf.range(length) + 0.5
  outside = tf.maximum(start - centers, centers - end)
  return tf.clip_by_value(1.0 - outside / margin, 0.0, 1.0)
