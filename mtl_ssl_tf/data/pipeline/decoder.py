"""Serialized records to tensors: Model Garden's decoder, and the difficult flags it leaves out."""

import tensorflow as tf
from official.vision.dataloaders import tf_example_decoder

from mtl_ssl_tf.data import schema


class DetectionDecoder(tf_example_decoder.TfExampleDecoder):
  """Model Garden's `TfExampleDecoder` that also reads the PASCAL VOC `difficult` flags."""

  def decode(self, serialized_example: tf.Tensor) -> dict[str, tf.Tensor]:
    """The image and objects of one record.

    Args:
      serialized_example: string scalar, a serialized tf.Example.

    Returns:
      The parent's dict, among others `image` uint8 [H, W, 3], `groundtruth_boxes` float32 [N, 4]
      (fractions of the image) and `groundtruth_classes` int64 [N], together with
      `groundtruth_difficult` bool [N], all False where the record does not say.
    """
    decoded = super().decode(serialized_example)
    features = tf.io.parse_single_example(
      serialized_example, {schema.OBJECT_DIFFICULT: tf.io.VarLenFeature(tf.int64)}
    )
    flags = tf.cast(tf.sparse.to_dense(features[schema.OBJECT_DIFFICULT]), tf.bool)
    decoded["groundtruth_difficult"] = tf.cond(
      tf.size(flags) > 0,
      lambda: flags,
      lambda: tf.zeros_like(decoded["groundtruth_classes"], tf.bool),
    )
    return decoded
