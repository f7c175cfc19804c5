"""Serialized records to tensors: Model Garden's decoder, and the features it leaves out."""

import tensorflow as tf
from official.vision.dataloaders import tf_example_decoder

from mtl_ssl_tf.data import schema


class DetectionDecoder(tf_example_decoder.TfExampleDecoder):
  """Model Garden's `TfExampleDecoder` that also reads `difficult` flags and ignored regions."""

  def decode(self, serialized_example: tf.Tensor) -> dict[str, tf.Tensor]:
    """The image and objects of one record.

    Args:
      serialized_example: string scalar, a serialized tf.Example.

    Returns:
      The parent's dict, among others `image` uint8 [H, W, 3], `groundtruth_boxes` float32 [N, 4]
      (fractions of the image) and `groundtruth_classes` int64 [N], together with
      `groundtruth_difficult` bool [N], all False where the record does not say, `ignored_boxes`
      float32 [M, 4], regions to be ignored, fractions of the image, and `annotated_classes` int64
      [m], none where all classes are annotated.
    """
    decoded = super().decode(serialized_example)
    features = tf.io.parse_single_example(
      serialized_example,
      {
        schema.OBJECT_DIFFICULT: tf.io.VarLenFeature(tf.int64),
        schema.ANNOTATED_CLASSES: tf.io.VarLenFeature(tf.int64),
        **{key: tf.io.VarLenFeature(tf.float32) for key in schema.IGNORED_BOX},
      },
    )
    flags = tf.cast(tf.sparse.to_dense(features[schema.OBJECT_DIFFICULT]), tf.bool)
    decoded["groundtruth_difficult"] = tf.cond(
      tf.size(flags) > 0,
      lambda: flags,
      lambda: tf.zeros_like(decoded["groundtruth_classes"], tf.bool),
    )
    sides = [tf.sparse.to_dense(features[key]) for key in schema.IGNORED_BOX]
    decoded["ignored_boxes"] = tf.stack(sides, axis=-1)  # [M, 4]
    decoded["annotated_classes"] = tf.sparse.to_dense(features[schema.ANNOTATED_CLASSES])  # [m]
    return decoded


def annotated_mask(annotated_classes: tf.Tensor, num_classes: int) -> tf.Tensor:
  """Mask of the classes whose objects are all annotated.

  Args:
    annotated_classes: int64 [m], from 1; none is all classes.
    num_classes: C, background included.

  Returns:
    float32 [C], 1 for the background and for the annotated classes.
  """
  stated = tf.one_hot(tf.concat([[0], annotated_classes], axis=0), num_classes)  # [m + 1, C]
  states_none = tf.equal(tf.size(annotated_classes), 0)
  return tf.where(states_none, tf.ones([num_classes]), tf.reduce_max(stated, axis=0))


def erased_objects(serialized_example: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
  """The m objects of a record whose annotations were erased on purpose.

  They tell how good the boxes are that a detector finds by itself, and are for that alone: who
  hands them to a loss undoes the erasing.

  Args:
    serialized_example: string scalar, a serialized tf.Example.

  Returns:
    Boxes float32 [m, 4] as fractions of the image, cut to it and of positive area, and classes
    int32 [m], from 1; none where the record has no such objects.
  """
  features = tf.io.parse_single_example(
    serialized_example,
    {
      schema.ERASED_LABEL: tf.io.VarLenFeature(tf.int64),
      **{key: tf.io.VarLenFeature(tf.float32) for key in schema.ERASED_BOX},
    },
  )
  sides = [tf.sparse.to_dense(features[key]) for key in schema.ERASED_BOX]
  boxes_norm = tf.clip_by_value(tf.stack(sides, axis=-1), 0.0, 1.0)  # [m', 4]
  classes = tf.cast(tf.sparse.to_dense(features[schema.ERASED_LABEL]), tf.int32)  # [m']
  has_area = tf.reduce_all(boxes_norm[:, 2:] > boxes_norm[:, :2], axis=-1)  # [m']
  return tf.boolean_mask(boxes_norm, has_area), tf.boolean_mask(classes, has_area)
