"""Windows of the multi-object task: random crops of an image that meet at least one object.

The rule is plain rejection: draw windows from a simple law and throw away those that meet no
object. A compiled step cannot loop until it has enough, and small objects in a corner can need
thousands of draws. So every window has a fixed number of candidates, drawn given that they meet
some target, in two ways, and takes the first that passes:

* the target is the hull of all objects; a candidate that meets an object passes;
* the target is one object, chosen with the probability that a plain draw would meet it; a candidate
  that meets k objects could have come from any of them, and passes with probability 1/k.

What passes is distributed exactly as plain draws that meet an object, and which way it came does
not matter. The first way passes nearly always when objects are many or close together, the second
when they are few and small. If nothing passes, some candidate of the second way is taken anyway,
so that the window still meets an object. See `_NUM_CANDIDATES` for how rarely that happens.

Further letters: M candidates of one window.
"""

import tensorflow as tf

from mtl_ssl_tf.configs import auxiliary as auxiliary_config
from mtl_ssl_tf.configs import fields
from mtl_ssl_tf.ops import box_ops, interval_ops

# Half of them each way. None passes for less than one window in 1e18 in each of 60 photographs of
# BCCD and of 80 random scenes with boxes of 4 to 200 px. It takes a hundred boxes of 5 px, half of
# them in one corner and half in the opposite one, to fail every other time.
_NUM_CANDIDATES = 64
# Every multiple of 1/2^24 below 1 is a float32.
_NUM_FRACTIONS = 2**24

# Chance and draw of a window's side, along one axis.
_LAWS = {
  "top_left": (interval_ops.top_left_chance, interval_ops.top_left_draw),
  "center_clip": (interval_ops.center_clip_chance, interval_ops.center_clip_draw),
}


def sample_windows(
  seed: tf.Tensor,
  gt_boxes_px: tf.Tensor,
  gt_classes: tf.Tensor,
  image_size_px: tf.Tensor,
  num_windows: int,
  min_size_px: float,
  sampling: str,
) -> tf.Tensor:
  """Draws windows that each share some area with at least one object.

  `top_left`, our reading of the paper: the top left corner is uniform over all places that leave
  room for the smallest window, then height and width are uniform from `min_size_px` to what is
  left of the image. `center_clip`, the released rule: height and width are uniform from
  `min_size_px` to the image's, the centre is uniform over the image; the window is clipped to the
  image, and a side that came out too short is pushed back to `min_size_px` from the border.
  Either way, windows that meet no object are not kept.

  Args:
    seed: int32 [2], from which each image of a batch gets its own stream by its place, or [B, 2],
      one seed for each image. An image with a seed of its own has the same windows in any batch.
    gt_boxes_px: float32 [B, N, 4], pixels of the network input; padding rows are -1.
    gt_classes: int32 [B, N], 1 … num_classes-1; padding is -1.
    image_size_px: float32 [B, 2], height and width of the image content.
    num_windows: int, S.
    min_size_px: least height and width. A smaller image has windows of its own height or width.
    sampling: `top_left` or `center_clip`.
    All without the leading B for one image, with a seed of [2].

  Returns:
    float32 [B, S, 4], pixels, inside the image content. In an image without objects (or whose
    objects have no area inside it) they are plain draws and meet none.

  Raises:
    ValueError: if `sampling` is neither of the two.

  Reference: Lee et al., "Multi-task Self-supervised Object Detection", CVPR 2019, multi-object
  task. The paper says no more than "random top left corner and size".
  """
  fields.check_value(auxiliary_config.MultiObject, "sampling", sampling)
  if gt_boxes_px.shape.rank == 2:
    one_image = (seed, gt_boxes_px, gt_classes, image_size_px)
    batch = [tf.convert_to_tensor(tensor)[tf.newaxis] for tensor in one_image]
    return sample_windows(*batch, num_windows, min_size_px, sampling)[0]

  seeds = tf.convert_to_tensor(seed)
  if seeds.shape.rank == 1:
    seeds = tf.map_fn(
      lambda index: tf.random.experimental.stateless_fold_in(seeds, index, alg="philox"),
      tf.range(tf.shape(gt_boxes_px)[0]),
      fn_output_signature=tf.TensorSpec([2], seeds.dtype),
    )  # [B, 2]
  # Integers, because compiled code makes other fractions of the same random bits.
  integers = tf.map_fn(
    lambda image_seed: tf.random.stateless_uniform(
      [6, num_windows, _NUM_CANDIDATES],
      image_seed,
      minval=0,
      maxval=_NUM_FRACTIONS,
      dtype=tf.int32,
      alg="philox",
    ),
    seeds,
    fn_output_signature=tf.int32,
  )  # [B, 6, S, M]
  uniforms = tf.cast(integers, tf.float32) / _NUM_FRACTIONS
  return _windows_from_uniforms(
    uniforms, gt_boxes_px, gt_classes, image_size_px, min_size_px, sampling
  )


def _windows_from_uniforms(
  uniforms: tf.Tensor,
  gt_boxes_px: tf.Tensor,
  gt_classes: tf.Tensor,
  image_size_px: tf.Tensor,
  min_size_px: float,
  sampling: str,
) -> tf.Tensor:
  """`sample_windows` without its chance: [B, 6, S, M] uniform numbers become [B, S, 4] windows."""
  pick, keep, *draws = tf.unstack(uniforms, axis=1)  # 6 × [B, S, M]
  num_half = pick.shape[-1] // 2
  boxes = box_ops.clip_to_size(gt_boxes_px, image_size_px)  # [B, N, 4]
  valid = (gt_classes > 0) & (box_ops.area(boxes) > 0.0)  # [B, N]
  hull = _hull(boxes, valid, image_size_px)  # [B, 1, 4]
  targets = tf.concat([boxes, hull], axis=1)  # [B, N+1, 4]

  chance_fn, draw_fn = _LAWS[sampling]
  lengths = tf.split(image_size_px, 2, axis=-1)  # [B, 1] each: height and width
  shortest = [tf.minimum(length, float(min_size_px)) for length in lengths]  # [B, 1] each
  chances = tf.cast(valid, tf.float32)  # [B, N]
  for axis in (0, 1):
    chances *= chance_fn(boxes[..., axis], boxes[..., axis + 2], lengths[axis], shortest[axis])
  summed = tf.cumsum(chances, axis=-1)[:, tf.newaxis, tf.newaxis]  # [B, 1, 1, N]
  passed = pick[..., num_half:, tf.newaxis] * summed[..., -1:] >= summed  # [B, S, M/2, N]
  box_index = tf.reduce_sum(tf.cast(passed, tf.int32), axis=-1)  # [B, S, M/2]
  hull_index = tf.fill(tf.shape(box_index), boxes.shape[1])  # [B, S, M/2]
  index = tf.concat([hull_index, box_index], axis=-1)  # [B, S, M]

  starts, ends = [], []
  for axis in (0, 1):
    low = tf.gather(targets[..., axis], index, batch_dims=1)  # [B, S, M]
    high = tf.gather(targets[..., axis + 2], index, batch_dims=1)  # [B, S, M]
    length, short = lengths[axis][..., tf.newaxis], shortest[axis][..., tf.newaxis]  # [B, 1, 1]
    start, end = draw_fn(draws[axis], draws[axis + 2], low, high, length, short)
    starts.append(tf.maximum(start, 0.0))
    ends.append(tf.minimum(end, length))
  candidates = tf.stack(starts + ends, axis=-1)  # [B, S, M, 4]

  shared_area = box_ops.pairwise_intersection(candidates, boxes[:, tf.newaxis])  # [B, S, M, N]
  meets = (shared_area > 0.0) & valid[:, tf.newaxis, tf.newaxis]  # [B, S, M, N]
  num_met = tf.reduce_sum(tf.cast(meets, tf.float32), axis=-1)  # [B, S, M]
  passes = (num_met > 0.0) & ((index == boxes.shape[1]) | (keep * num_met < 1.0))
  # Without any that passes, the first that meets an object; without any object, the first.
  preference = tf.where(passes, 2, tf.where(num_met > 0.0, 1, 0))  # [B, S, M]
  chosen = tf.argmax(preference, axis=-1)  # [B, S]
  return tf.gather(candidates, chosen, batch_dims=2)  # [B, S, 4]


def _hull(boxes: tf.Tensor, valid: tf.Tensor, image_size_px: tf.Tensor) -> tf.Tensor:
  """Smallest box [B, 1, 4] around the valid boxes, or the image if there are none."""
  size = image_size_px[:, tf.newaxis]  # [B, 1, 2]
  valid = valid[..., tf.newaxis]  # [B, N, 1]
  low = tf.reduce_min(tf.where(valid, boxes[..., :2], size), axis=1, keepdims=True)  # [B, 1, 2]
  high = tf.reduce_max(tf.where(valid, boxes[..., 2:], 0.0), axis=1, keepdims=True)  # [B, 1, 2]
  image = tf.concat([tf.zeros_like(size), size], axis=-1)  # [B, 1, 4]
  any_valid = tf.reduce_any(valid, axis=1, keepdims=True)  # [B, 1, 1]
  return tf.where(any_valid, tf.concat([low, high], axis=-1), image)
