"""Serves a detector: images of any size in, detections in the images' own pixels out.

The calls from a request to detections:

    serving_bytes: _detect_encoded_images       encoded images [B]
      _decode_and_detect                        decodes one by one, detects in all at once
        image_decoding.decode_image             checks the header; upright RGB
        _fit                                    resizes and pads to the network input
        _detect_padded
          Detector.call                         modeling/detector.py
            first_stage                         shared map, proposals
            second_stage
              box_stage                         main and closeness logits
              _refine_proposals                 windows around proposals, refined logits
              detections.DetectionGenerator     non-maximum suppression in each class
          _as_fractions                         pixels of the input to fractions of the image

`serving_tf_example` takes the images out of records first. `serving_default` takes images
[B, h, w, 3] of one size and begins with `_fit`.
"""

import os
from collections.abc import Callable, Sequence

import tensorflow as tf

from mtl_ssl_tf.data.pipeline import fitting
from mtl_ssl_tf.modeling import detector, window_evidence
from mtl_ssl_tf.serving import example_images, image_decoding

SERVING_DEFAULT = "serving_default"
SERVING_BYTES = "serving_bytes"
SERVING_TF_EXAMPLE = "serving_tf_example"
# Of padded images; not for clients, but for converters to other formats. It, its input `canvases`
# and `detect_canvases` keep the names that exported detectors have.
SERVING_PADDED = "serving_canvases"
# Signature to the name of its input.
INPUTS = {
  SERVING_DEFAULT: "images",
  SERVING_BYTES: "encoded_images",
  SERVING_TF_EXAMPLE: "tf_examples",
}


class DetectionModule(tf.Module):
  """The functions and weights of a SavedModel, without Keras: TensorFlow alone can load it.

  Every image is resized and padded exactly as for evaluation. All functions return, for B images
  and D detections, best first,
    detection_boxes: float32 [B, D, 4], fractions of the image.
    detection_boxes_px: float32 [B, D, 4], pixels of the image as it was given, turned upright.
    detection_scores: float32 [B, D].
    detection_classes: float32 [B, D], lines of the label map, counted from 1.
    num_detections: float32 [B]; rows behind that many are zero.
  Names and types are those of the TensorFlow Object Detection API, where it has them. With
  `raw_outputs` there are also, for P proposals and C classes with the background first,
    proposal_boxes: float32 [B, P, 4], fractions of the image; with a cascade the boxes that its
      last stage classifies.
    proposal_scores: float32 [B, P], that they show an object.
    num_proposals: float32 [B]; rows behind that many are padding.
    proposal_class_scores: float32 [B, P, C], before refinement.
    detection_proposals: float32 [B, D], the proposal that each detection comes from, from 0.
  and, where the detector has what they come from,
    proposal_refined_class_scores: float32 [B, P, C]; of unlikely objects those before refinement.
    proposal_closeness_scores: float32 [B, P, C].
    proposal_multi_object_scores: float32 [B, P, Q, C], of the Q windows around each proposal;
      anything for proposals that are not refined (`refinement.min_object_score`,
      `refinement.max_proposals`).
    proposal_window_boxes: float32 [B, P, Q, 4], these windows as fractions of the image.
    proposal_refined: float32 [B, P], 1 where a proposal is refined, else 0.
    proposal_refinement_parts: float32 [B, P, G, C], what the refined logits are the sum of, see
      `refinement.Refinement.parts`; anything for proposals that are not refined.
    closeness_summary_scores: float32 [B, C], the mean of the proposals that refinement sees.
    foreground_scores: float32 [B, h, w], of the cells of the padded input.

  Attributes:
    label_map: the file with the class names, one of the SavedModel's assets.
    detect_canvases: function of padded images float32 [B, H, W, 3], the sizes float32 [B, 2] of
      their content, and the sizes float32 [B, 2] of the images; all shapes but B are static.
    detect_images, detect_encoded_images, detect_tf_examples: functions of the signatures.
    weights: the variables that detection reads.
  """

  def __init__(
    self,
    model: detector.Detector,
    *,
    input_size: Sequence[int],
    short_side: int,
    long_side: int,
    label_map_file: str | os.PathLike[str],
    batch_size: int | None = None,
    raw_outputs: bool = False,
    padded_signature: bool = False,
  ):
    """Traces the detector.

    Args:
      model: with its variables.
      input_size: H and W, the network input.
      short_side, long_side: see `fitting.fitted_size`.
      label_map_file: text file with one class name a line.
      batch_size: B, the only one that is served; None serves any.
      raw_outputs: return what detections are made from, too.
      padded_signature: make `detect_canvases` a signature, `serving_canvases`.
    """
    super().__init__(name="detection_module")
    self.label_map = tf.saved_model.Asset(os.fspath(label_map_file))
    self._input_size = tuple(input_size)
    self._short_side = short_side
    self._long_side = long_side
    # Not the model itself: a Keras attribute would be saved as such, and need Keras to be loaded.
    self._detect = lambda padded, sizes_px: model(padded, sizes_px)
    self._raw_outputs = (lambda *values: _raw_outputs(model, *values)) if raw_outputs else None
    B = batch_size
    sizes = tf.TensorSpec([B, 2])
    self.detect_canvases = _function(
      self._detect_padded, tf.TensorSpec([B, *input_size, 3]), sizes, sizes
    )
    self._padded_signature = padded_signature
    self._images_shape = [B, None, None, 3]
    self.detect_images = _function(
      self._detect_images, tf.TensorSpec(self._images_shape, tf.uint8, INPUTS[SERVING_DEFAULT])
    )
    # Traced once for two signatures.
    self._traced_decode_and_detect = _function(
      self._decode_and_detect, tf.TensorSpec([B], tf.string), tf.TensorSpec([], tf.string)
    )
    self.detect_encoded_images = _function(
      self._detect_encoded_images, tf.TensorSpec([B], tf.string, INPUTS[SERVING_BYTES])
    )
    self.detect_tf_examples = _function(
      self._detect_tf_examples, tf.TensorSpec([B], tf.string, INPUTS[SERVING_TF_EXAMPLE])
    )
    self.weights = list(self.detect_canvases.get_concrete_function().variables)

  def signatures(self) -> dict[str, tf.types.experimental.ConcreteFunction]:
    """Returns the entry points of the SavedModel by name."""
    signatures = {
      SERVING_DEFAULT: self.detect_images.get_concrete_function(),
      SERVING_BYTES: self.detect_encoded_images.get_concrete_function(),
      SERVING_TF_EXAMPLE: self.detect_tf_examples.get_concrete_function(),
    }
    if self._padded_signature:
      signatures[SERVING_PADDED] = self.detect_canvases.get_concrete_function()
    return signatures

  def _detect_images(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
    """Detections in images uint8 [B, h, w, 3], RGB."""
    # A server hands on whatever rank it is sent.
    images = tf.ensure_shape(images, self._images_shape)
    sides = tf.shape(images)[:3]
    message = (
      "images holds no pixel; accepted: uint8 [batch, height, width, 3], each side at least 1"
    )
    # Without the dependency the resize may run first, and fail in its own words.
    with tf.control_dependencies([tf.debugging.assert_positive(sides, message)]):
      images = tf.identity(images)
    padded, size_px, original_size = self._fit(images)
    batch_size = sides[:1]
    sizes_px = tf.broadcast_to(size_px, tf.concat([batch_size, [2]], axis=0))  # [B, 2]
    return self.detect_canvases(
      padded, sizes_px, tf.broadcast_to(original_size, tf.shape(sizes_px))
    )

  def _detect_encoded_images(self, encoded_images: tf.Tensor) -> dict[str, tf.Tensor]:
    """Detections in encoded images [B]: JPEG, PNG, BMP, WebP or GIF, of which the first picture.

    Their sizes may differ. They are turned upright as EXIF says, and boxes are those of the
    upright image.
    """
    encoded_images = _at_least_one(encoded_images, INPUTS[SERVING_BYTES])
    return self._traced_decode_and_detect(encoded_images, tf.constant(INPUTS[SERVING_BYTES]))

  def _detect_tf_examples(self, tf_examples: tf.Tensor) -> dict[str, tf.Tensor]:
    """Detections in the images of serialized tf.Examples [B], as records hold them."""
    tf_examples = _at_least_one(tf_examples, INPUTS[SERVING_TF_EXAMPLE])
    encoded_images = example_images.encoded_images(tf_examples, INPUTS[SERVING_TF_EXAMPLE])
    return self._traced_decode_and_detect(encoded_images, tf.constant(INPUTS[SERVING_TF_EXAMPLE]))

  def _decode_and_detect(self, encoded_images: tf.Tensor, name: tf.Tensor) -> dict[str, tf.Tensor]:
    """Detections in encoded images [B], which messages call `name`."""

    def decode_and_fit(element):
      index, content = element
      label = tf.strings.join([name, "[", tf.strings.as_string(index), "]"])
      return self._fit(image_decoding.decode_image(content, label))

    padded, sizes_px, original_sizes = tf.map_fn(
      decode_and_fit,
      (tf.range(tf.size(encoded_images)), encoded_images),
      fn_output_signature=(
        tf.TensorSpec([*self._input_size, 3]),
        tf.TensorSpec([2]),
        tf.TensorSpec([2]),
      ),
    )  # [B, H, W, 3], [B, 2], [B, 2]
    return self.detect_canvases(padded, sizes_px, original_sizes)

  def _fit(self, images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Returns the images, one or a batch, padded; their size [2] there, and original size [2]."""
    original_size = tf.cast(tf.shape(images)[-3:-1], tf.float32)  # [2]
    size_px = fitting.fitted_size(
      original_size, self._input_size, self._short_side, self._long_side
    )  # [2]
    padded = fitting.pad_to_input(
      images, size_px, tf.zeros([2]), size_px, self._input_size
    )  # [..., H, W, 3]
    return padded, size_px, original_size

  def _detect_padded(
    self, canvases: tf.Tensor, sizes_px: tf.Tensor, original_sizes: tf.Tensor
  ) -> dict[str, tf.Tensor]:
    """Detections in padded images float32 [B, H, W, 3], which exported detectors call `canvases`.

    `sizes_px` and `original_sizes` [B, 2] are those of their content, and of the images.
    """
    padded = canvases
    outputs = self._detect(padded, sizes_px)
    boxes_norm = _as_fractions(outputs["detection_boxes_px"], sizes_px)  # [B, D, 4]
    # By way of the fractions: a box at the image's border then lies there to the last bit.
    boxes_orig = boxes_norm * tf.tile(original_sizes, [1, 2])[:, tf.newaxis]  # [B, D, 4]
    results = {
      "detection_boxes": boxes_norm,
      "detection_boxes_px": boxes_orig,
      "detection_scores": outputs["detection_scores"],
      "detection_classes": tf.cast(outputs["detection_classes"], tf.float32),
      "num_detections": tf.cast(outputs["num_detections"], tf.float32),
    }
    if self._raw_outputs is not None:
      proposals_norm = _as_fractions(outputs["proposals_px"], sizes_px)  # [B, P, 4]
      results["proposal_boxes"] = proposals_norm
      results.update(self._raw_outputs(outputs, proposals_norm))
    return results


def _function(fn: Callable[..., dict[str, tf.Tensor]], *signature: tf.TensorSpec) -> tf.function:
  return tf.function(fn, input_signature=signature, autograph=False)


def _as_fractions(boxes_px: tf.Tensor, sizes_px: tf.Tensor) -> tf.Tensor:
  """Boxes [B, N, 4] in pixels of the padded input as fractions of the image, [B, 2] large there."""
  return boxes_px / tf.tile(sizes_px, [1, 2])[:, tf.newaxis]


def _at_least_one(values: tf.Tensor, name: str) -> tf.Tensor:
  """Returns the values [B] of an input, after a check that there are any."""
  values = tf.ensure_shape(values, values.shape)  # A server hands on whatever rank it is sent.
  message = f"{name} holds no image; accepted: [batch], at least one image"
  with tf.control_dependencies([tf.debugging.assert_positive(tf.shape(values), message)]):
    return tf.identity(values)


def _raw_outputs(
  model: detector.Detector, outputs: dict[str, tf.Tensor], proposals_norm: tf.Tensor
) -> dict[str, tf.Tensor]:
  """Returns what detections are made from, by the names in `DetectionModule`, without proposals."""
  valid = outputs["proposals_valid"]  # [B, P]
  results = {
    "proposal_scores": outputs["proposals_scores"],
    "num_proposals": tf.reduce_sum(tf.cast(valid, tf.float32), axis=-1),
    "proposal_class_scores": tf.nn.softmax(outputs["class_logits"]),
    "detection_proposals": tf.cast(outputs["detection_proposal_indices"], tf.float32),
  }
  for name, logits in (
    ("proposal_refined_class_scores", "refined_logits"),
    ("proposal_closeness_scores", "closeness_logits"),
    ("proposal_multi_object_scores", "window_logits"),
  ):
    if logits in outputs:
      results[name] = tf.nn.softmax(outputs[logits])
  if model.refiner is not None:
    closeness = model.mean_closeness(outputs.get("closeness_logits"), valid)  # [B, 1, C]
    windows = outputs.get("window_logits")  # [B, P, Q, C]
    results["proposal_refined"] = tf.cast(outputs["refined"], tf.float32)
    results["proposal_refinement_parts"] = model.refiner.parts(
      outputs["class_logits"], windows, closeness
    )
    if windows is not None:
      results["proposal_window_boxes"] = window_evidence.expanded_windows(
        proposals_norm, windows.shape[2]
      )
    if closeness is not None:
      results["closeness_summary_scores"] = tf.nn.softmax(closeness[:, 0])
  if model.foreground_head is not None:
    logits = model.predict_foreground(outputs["features"])  # [B, h, w, 2]
    results["foreground_scores"] = tf.nn.softmax(logits)[..., 1]
  return results
