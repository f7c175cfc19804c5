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


@pytest.mark.parametrize("num_bytes", [1, 100, 2**7, 2**14 - 1, 2**14, 2**21 - 1, 2**21, 3 * 2**21])
def test_images_of_many_bytes(num_bytes):
  """Their number takes one to four bytes itself."""
  made = tf.train.Example()
  made.features.feature["image/encoded"].bytes_list.value.append(b"x" * num_bytes)
  (found,) = _images(tf.constant([made.SerializeToString()])).numpy()
  assert len(found) == num_bytes


def field(number: int, content: bytes) -> bytes:
  """A field of fewer than 128 bytes."""
  return bytes([8 * number + 2, len(content)]) + content


def made_of(*lists: bytes) -> bytes:
  """A record with a list for each image, given its bytes."""
  value = (field(2, field(1, content)) for content in lists)
  return field(1, b"".join(field(1, KEY + feature) for feature in value))


KEY = field(1, b"image/encoded")
NUMBER = b"\x0a" + bytes([len(IMAGE)])


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


@pytest.mark.parametrize(
  "number",
  [
    pytest.param(b"\x7f", id="beyond the value"),
    pytest.param(b"\xff\xff\xff\xff\x07", id="2**31 - 1"),
    # TensorFlow's parser ends the process.
    pytest.param(b"\x80\x80\x80\x80\x08", id="2**31"),
    pytest.param(b"\xff\xff\xff\xff\x0f", id="2**32 - 1"),
    # Of a longer number it takes the lower 32 bits.
    pytest.param(b"\x80\x80\x80\x80\x88\x01", id="2**31 of six digits"),
    pytest.param(b"\x80" * 9 + b"\x01", id="2**63"),
  ],
)
def test_an_image_of_more_bytes_than_there_are(number):
  broken = made_of(b"\x0a" + number + IMAGE)
  with pytest.raises(tf.errors.InvalidArgumentError) as caught:
    _images(tf.constant([broken]))
  assert "x[0]: bytes that are no tf.Example, or cut short" in caught.value.message
  assert "no text" not in caught.value.message


def test_a_second_image_of_the_same_name():
  # The parser takes the last one.
  broken = made_of(NUMBER + IMAGE, b"\x0a\xff\xff\xff\xff\x0f" + IMAGE)
  with pytest.raises(tf.errors.InvalidArgumentError, match=r"no tf\.Example"):
    _images(tf.constant([broken]))


@pytest.mark.parametrize(
  "values",
  [
    pytest.param(b"", id="none"),
    pytest.param(NUMBER + IMAGE + NUMBER + IMAGE, id="two"),
    pytest.param(NUMBER + IMAGE + b"\x0a\xff\xff\xff\xff\x0f", id="no second"),
  ],
)
def test_another_number_of_images(values):
  # The parser names the feature.
  with pytest.raises(tf.errors.InvalidArgumentError, match="Key: image/encoded") as caught:
    _images(tf.constant([made_of(values)]))
  assert "no text" not in caught.value.message
