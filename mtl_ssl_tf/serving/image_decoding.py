"""Decodes one image to upright RGB pixels of 8 bits, in graph operations.

The pixels are those that the converters store (`data/sources/image_files.py`): turned upright,
transparent parts white, of 16 bits the upper 8. A JPEG that lacks its end marker alone is decoded.
"""

import tensorflow as tf

from mtl_ssl_tf.data.sources import jpeg_segments, png_palette
from mtl_ssl_tf.serving import (
  encoded_bytes,
  exif_orientation,
  gif_header,
  image_headers,
  png_header,
  whole_jpeg,
)


def decode_image(content: tf.Tensor, name: tf.Tensor) -> tf.Tensor:
  """The image uint8 [h, w, 3].

  Args:
    content: string scalar: a JPEG, PNG, BMP, WebP or GIF, of which the first picture.
    name: string scalar, what the requester knows the image by.

  Raises:
    tf.errors.InvalidArgumentError: it is refused, or cannot be decoded.
  """
  header = image_headers.read_header(content)
  refusal = tf.strings.join([name, ": ", header.problem])
  # Without the dependency the decoder may run first, and fill the memory.
  with tf.control_dependencies([tf.debugging.Assert(header.problem == "", [refusal])]):
    kind = tf.identity(header.kind)
  image = tf.switch_case(
    kind,
    [
      lambda: tf.zeros([0, 0, 3], tf.uint8),  # Refused already.
      lambda: _decode_jpeg(content, header, name),
      lambda: _decode_png(content),
      lambda: _decode_bmp(content),
      lambda: _decode_gif(content),
      lambda: _decode_webp(content),
    ],
  )
  image = exif_orientation.turn_upright(image, header.orientation)
  return tf.ensure_shape(image, [None, None, 3])


def _on_white(pixels: tf.Tensor) -> tf.Tensor:
  """Pixels uint8 [h, w, 4] with alpha as RGB [h, w, 3]."""
  alpha = pixels[..., 3:]  # [h, w, 1]

  def blended() -> tf.Tensor:
    opacity = tf.cast(alpha, tf.float32) / 255.0
    colours = tf.cast(pixels[..., :3], tf.float32)
    return tf.cast(tf.round(opacity * colours + (1.0 - opacity) * 255.0), tf.uint8)

  return tf.cond(tf.reduce_all(alpha == 255), lambda: pixels[..., :3], blended)


def _decode_jpeg(content: tf.Tensor, header: image_headers.Header, name: tf.Tensor) -> tf.Tensor:
  """Decodes a JPEG, and refuses one whose data are not whole."""
  content = tf.cond(header.lacks_end, lambda: whole_jpeg.completed(content), lambda: content)
  problem = whole_jpeg.problem(content, header.segments)
  is_whole = problem == ""
  problem = tf.where(header.lacks_end, jpeg_segments.CUT_SHORT, problem)
  refusal = tf.strings.join([name, ": ", problem, f"; accepted: {image_headers.ACCEPTED}"])
  with tf.control_dependencies([tf.debugging.Assert(is_whole, [refusal])]):
    content = tf.identity(content)
  return tf.io.decode_jpeg(content, channels=3)


def _decode_png(content: tf.Tensor) -> tf.Tensor:
  """Decodes a PNG; asks for alpha only where there is some, as the decoder may make it up."""
  data = encoded_bytes.to_bytes(content)
  colour_type = encoded_bytes.number(data, 25, 1, big_endian=True)
  may_be_clear = encoded_bytes.is_any(colour_type, (4, 6)) | png_header.has_opacities(data)
  is_one_colour = encoded_bytes.is_any(colour_type, list(png_palette.CLEAR_BYTES))

  def with_alpha() -> tf.Tensor:
    pixels = tf.io.decode_png(content, channels=4)
    # Of few bits, the alpha that is made up for damaged opacities is small, and 0 is real.
    real = tf.where(pixels[..., 3:] > 0, tf.constant(255, tf.uint8), 0)
    alpha = tf.cond(is_one_colour, lambda: real, lambda: pixels[..., 3:])
    return _on_white(tf.concat([pixels[..., :3], alpha], axis=-1))

  return tf.cond(
    may_be_clear,
    with_alpha,
    lambda: tf.io.decode_png(content, channels=3),
  )


def _decode_bmp(content: tf.Tensor) -> tf.Tensor:
  """Decodes a BMP and applies its palette, which the decoder leaves as indices of colours."""
  data = encoded_bytes.to_bytes(content)
  pixels = tf.io.decode_bmp(content)  # [h, w, 1, 3 or 4]
  depth = tf.shape(pixels)[-1]

  def coloured() -> tf.Tensor:
    header_size = encoded_bytes.number(data, 14, 4, big_endian=False)
    num_named = encoded_bytes.number(data, 46, 4, big_endian=False)  # 0 names all that fit.
    num_named = tf.where(num_named == 0, tf.constant(256, tf.int64), tf.minimum(num_named, 256))
    table = data[14 + header_size : 14 + header_size + 4 * num_named]
    num_colours = tf.size(table) // 4
    colours = tf.reshape(table[: 4 * num_colours], [num_colours, 4])[:, 2::-1]  # BGR to RGB
    colours = tf.pad(colours, [[0, 256 - num_colours], [0, 0]])  # Black, what no colour has.
    return tf.gather(colours, tf.cast(pixels[..., 0], tf.int32))

  def with_alpha() -> tf.Tensor:
    has_alpha = encoded_bytes.number(data, 66, 4, big_endian=False) == 0xFF000000
    is_masked = encoded_bytes.number(data, 30, 4, big_endian=False) != 0
    has_place = encoded_bytes.number(data, 14, 4, big_endian=False) >= 56
    return tf.cond(
      has_alpha & is_masked & has_place,
      lambda: _on_white(tf.ensure_shape(pixels, [None, None, 4])),
      lambda: pixels[..., :3],
    )

  return tf.switch_case(depth, [coloured] * 3 + [lambda: pixels[..., :3], with_alpha])


def _decode_gif(content: tf.Tensor) -> tf.Tensor:
  return gif_header.decode(content, gif_header.read(encoded_bytes.to_bytes(content)))


def _decode_webp(content: tf.Tensor) -> tf.Tensor:
  """Decodes a WebP by the operation for all formats: older servers have that, and refuse WebP."""
  pixels = tf.raw_ops.DecodeImage(contents=content, channels=0, expand_animations=False)
  pixels = tf.ensure_shape(pixels, [None, None, None])  # [h, w, 3 or 4]
  return tf.cond(
    tf.shape(pixels)[-1] == 4,
    lambda: _on_white(tf.ensure_shape(pixels, [None, None, 4])),
    lambda: tf.ensure_shape(pixels, [None, None, 3]),
  )
