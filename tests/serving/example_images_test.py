"""Tests of example_images.py: of what is no tf.Example, nothing is repeated in a message."""

import pytest
import tensorflow as tf

from mtl_ssl_tf.serving import example_images

_images = tf.function(
  lambda contents: example_images.encoded_images(contents, "x"),
  input_signature=[tf.TensorSpec([None], tf.string)],
  autograph=False,
)
IMAGE = b"\xff\xd8 bytes that are no text"


def example(**features: list[int]) -> bytes:
  """A record with the image, and with numbers by name."""
  made = tf.train.Example()
  made.features.feature["image/encoded"].bytes_list.value.append(IMAGE)
  for name, values in features.items():
    made.features.feature[name].int64_list.value.extend(values)
  return made.SerializeToString(deterministic=True)


def test_images_among_other_features():
  contents = [example(), example(a=[], z=list(range(1000)), **{"": [1]})]
  assert _images(tf.constant(contents)).numpy().tolist() == [IMAGE, IMAGE]


KEY = b"\x0a\x0dimage/encoded"


@pytest.mark.parametrize(
  ("part", "other"),
  [
    pytest.param(KEY, b"\xfa\x0dimage/encoded", id="another tag"),
    pytest.param(KEY, b"\x0a\x0eimage/encoded", id="longer key"),
    pytest.param(KEY, b"\x0a\x7fimage/encoded", id="key beyond the entry"),
    pytest.param(KEY + b"\x12", KEY + b"\xff", id="value of another tag"),
    pytest.param(b"\x12\x1d", b"\x12\x1c", id="shorter value"),
  ],
)
def test_a_map_that_is_none(part, other):
  sound = example()
  assert part in sound
  with pytest.raises(tf.errors.InvalidArgumentError) as caught:
    _images(tf.constant([sound, sound.replace(part, other)]))
  message = caught.value.message
  assert "x[1]: bytes that are no tf.Example, or cut short; accepted: a serialized" in message
  assert "no text" not in message


def test_a_value_that_is_none():
  # The parser names the feature.
  broken = example().replace(b"\x0a" + bytes([len(IMAGE)]) + IMAGE, b"\x0a\x7f" + IMAGE)
  with pytest.raises(tf.errors.InvalidArgumentError) as caught:
    _images(tf.constant([broken]))
  assert "no text" not in caught.value.message
