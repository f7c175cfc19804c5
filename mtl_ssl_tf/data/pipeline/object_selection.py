"""Selection of a record's objects: used, regions to be ignored, or dropped."""

import tensorflow as tf


def select_objects(
  decoded: dict[str, tf.Tensor], difficult: str, crowd: str, with_regions: bool = False
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
  """The n objects of an image that count; regions to be ignored come last and have class 0.

  Boxes are cut to the image; those without area are left out.

  Args:
    decoded: what `DetectionDecoder.decode` returns.
    difficult, crowd: `keep`, `ignore` or `drop` such objects; of one that is both, the stricter
      counts.
    with_regions: add the record's own regions to be ignored, behind all others.

  Returns:
    Boxes float32 [n, 4] as fractions of the image, classes int32 [n], difficult and crowd flags
    bool [n], areas float32 [n].
  """
  boxes_norm = tf.clip_by_value(decoded["groundtruth_boxes"], 0.0, 1.0)
  is_difficult = decoded["groundtruth_difficult"]
  is_crowd = decoded["groundtruth_is_crowd"]
  keep = tf.reduce_all(boxes_norm[:, 2:] > boxes_norm[:, :2], axis=-1)  # [n]
  ignored = tf.zeros_like(keep)  # [n]
  for flags, mode in ((is_difficult, difficult), (is_crowd, crowd)):
    if mode == "drop":
      keep &= ~flags
    elif mode == "ignore":
      ignored |= flags
  classes = tf.where(ignored, 0, tf.cast(decoded["groundtruth_classes"], tf.int32))
  rows = tf.concat([tf.where(keep & ~ignored), tf.where(keep & ignored)], axis=0)[:, 0]
  selected = tuple(
    tf.gather(values, rows)
    for values in (boxes_norm, classes, is_difficult, is_crowd, decoded["groundtruth_area"])
  )
  if not with_regions:
    return selected
  regions_norm = decoded["ignored_boxes"]  # [M, 4]
  nothing = tf.zeros(tf.shape(regions_norm)[:1], tf.int32)  # [M]
  added = (regions_norm, *(tf.cast(nothing, values.dtype) for values in selected[1:]))
  return tuple(tf.concat(pair, axis=0) for pair in zip(selected, added, strict=True))
