"""A detector as it is served: images of any size in, detections in the images' own pixels out."""

import os
from collections.abc import Sequence

import tensorflow as tf

from mtl_ssl_tf.data import fitting
from mtl_ssl_tf.modeling import detector


class DetectionModule(tf.Module):
  """What goes into a SavedModel; it holds nothing of Keras, so TensorFlow alone can load it.

  Every image is resized and padded exactly as for evaluation. All functions return, for B images
  and D detections, best first,
    detection_boxes: float32 [B, D, 4], fractions of the image.
    detection_boxes_px: float32 [B, D, 4], pixels of the image as it was given.
    detection_scores: float32 [B, D].
    detection_classes: float32 [B, D], lines of the label map, counted from 1.
    num_detections: float32 [B]; rows behind that many are zero.
  Names and types are those of the TensorFlow Object Detection API, where it has them.

  Attributes:
    label_map: the file with the class names, one of the SavedModel's assets.
    weights: the variables that detection reads.
  """

  def __init__(
    self,
    model: detector.Detector,
    *,
    canvas_size: Sequence[int],
    short_side: int,
    long_side: int,
    label_map_file: str | os.PathLike[str],
  ):
    """Traces the detector.

    Args:
      model: with its variables.
      canvas_size: H and W, the network input.
      short_side, long_side: see `fitting.fitted_size`.
      label_map_file: text file with one class name a line.
    """
    super().__init__(name="detection_module")
    self.label_map = tf.saved_model.Asset(os.fspath(label_map_file))
    self._canvas_size = tuple(canvas_size)
    self._short_side = short_side
    self._long_side = long_side
    # Not the model itself: a Keras attribute would be saved as such, and want Keras at loading.
    self._detect = lambda canvases, sizes_px: model(canvases, sizes_px)
    per_image = tf.TensorSpec([None, 2])
    self.detect_canvases = tf.function(
      self._detect_canvases,
      input_signature=[tf.TensorSpec([None, *canvas_size, 3]), per_image, per_image],
    )
    self.weights = list(self.detect_canvases.get_concrete_function().variables)

  def signatures(self) -> dict[str, tf.types.experimental.ConcreteFunction]:
    """The entry points of the SavedModel by name."""
    return {
      "serving_default": self.detect_images.get_concrete_function(),
      "serving_bytes": self.detect_encoded_images.get_concrete_function(),
    }

  @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3], tf.uint8, name="images")])
  def detect_images(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
    """Detections in images uint8 [B, h, w, 3], RGB."""
    sides = tf.shape(images)[:3]
    message = "images must be uint8 [batch, height, width, 3], each side at least 1"
    # Without the dependency the resize may run first, and fail in its own words.
    with tf.control_dependencies([tf.debugging.assert_positive(sides, message)]):
      images = tf.identity(images)
    canvases, size_px, original_size = self._fit(images)
    batch_size = sides[:1]
    sizes_px = tf.broadcast_to(size_px, tf.concat([batch_size, [2]], axis=0))  # [B, 2]
    return self.detect_canvases(
      canvases, sizes_px, tf.broadcast_to(original_size, tf.shape(sizes_px))
    )

  @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="encoded_images")])
  def detect_encoded_images(self, encoded_images: tf.Tensor) -> dict[str, tf.Tensor]:
    """Detections in encoded images [B]: JPEG, PNG, BMP or GIF, of which the first picture.

    Their sizes may differ. The EXIF orientation is not looked at.
    """
    message = "encoded_images must hold at least one image"
    with tf.control_dependencies([tf.debugging.assert_positive(tf.shape(encoded_images), message)]):
      encoded_images = tf.identity(encoded_images)
    canvases, sizes_px, original_sizes = tf.map_fn(
      lambda content: self._fit(
        tf.io.decode_image(content, channels=3, expand_animations=False)  # [h, w, 3]
      ),
      encoded_images,
      fn_output_signature=(
        tf.TensorSpec([*self._canvas_size, 3]),
        tf.TensorSpec([2]),
        tf.TensorSpec([2]),
      ),
    )  # [B, H, W, 3], [B, 2], [B, 2]
    return self.detect_canvases(canvases, sizes_px, original_sizes)

  def _fit(self, images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """The images, one or a batch, on their canvases; size [2] there, and original size [2]."""
    original_size = tf.cast(tf.shape(images)[-3:-1], tf.float32)  # [2]
    size_px = fitting.fitted_size(
      original_size, self._canvas_size, self._short_side, self._long_side
    )  # [2]
    canvases = fitting.place_on_canvas(
      images, size_px, tf.zeros([2]), size_px, self._canvas_size
    )  # [..., H, W, 3]
    return canvases, size_px, original_size

  def _detect_canvases(
    self, canvases: tf.Tensor, sizes_px: tf.Tensor, original_sizes: tf.Tensor
  ) -> dict[str, tf.Tensor]:
    """Detections in float32 [B, H, W, 3], the sizes [B, 2] of their content, and of the images."""
    outputs = self._detect(canvases, sizes_px)
    boxes_px = outputs["detection_boxes_px"]  # [B, D, 4], of the canvas
    boxes_norm = boxes_px / tf.tile(sizes_px, [1, 2])[:, tf.newaxis]  # [B, D, 4]
    # By way of the fractions: a box at the image's border then lies there to the last bit.
    boxes_orig = boxes_norm * tf.tile(original_sizes, [1, 2])[:, tf.newaxis]  # [B, D, 4]
    return {
      "detection_boxes": boxes_norm,
      "detection_boxes_px": boxes_orig,
      "detection_scores": outputs["detection_scores"],
      "detection_classes": tf.cast(outputs["detection_classes"], tf.float32),
      "num_detections": tf.cast(outputs["num_detections"], tf.float32),
    }
