"""Requests to an exported detector, and what Pillow decodes in their images."""

import json
import pathlib
import random

import numpy as np
import tensorflow as tf
from PIL import Image

from mtl_ssl_tf.serving import export_lib, image_decoding, numpy_detector, saved_model_detector
from tests.fuzz import mutations, outcomes
from tests.fuzz.kinds import base, images
from tests.serving import tiny_run

_KIND = "request"
_ENCODED, _EXAMPLE, _ARRAY = b"encoded", b"example", b"array"
_SHAPES = (
  (20, 40, 3),
  (20, 40),
  (20, 40, 1),
  (20, 40, 4),
  (1, 1, 3),
  (0, 5, 3),
  (3,),
  (),
  (2, 20, 40, 3),
)
_TYPES = ("uint8", "uint8", "float32", "int64", "bool", "object", "S3", "complex64", "uint16")
_JPEG, _JPEG_END, _GIF, _WEBP = b"\xff\xd8", b"\xff\xd9", b"GIF8", b"RIFF"
# Numbers of bytes, seven bits in each digit: 0, 127, 128, 2**31 - 1, 2**31, 2**32 - 1 and more.
_LENGTHS = (
  *(b"\0", b"\x7f", b"\x80\x01", b"\x80\0", b"\xff\xff\xff\xff\x07", b"\x80\x80\x80\x80\x08"),
  *(b"\xff\xff\xff\xff\x0f", b"\x80\x80\x80\x80\x88\x01", b"\xff" * 9 + b"\x01", b"\xff" * 10),
)
# Grey levels: of colours blended with white; of WebP, mean over all pixels.
_MAX_BLENDED, _MAX_MEAN = 1, 3.0


class Cases(base.Kind):
  """See above."""

  name = "requests"
  about = "requests to an exported detector"

  @classmethod
  def prepare(cls, folder: pathlib.Path) -> None:
    (folder / "run").mkdir()
    export_lib.export_run(
      str(tiny_run.write(folder / "run")),
      str(folder / "export"),
      options=export_lib.Options(verify=False),
    )

  def __init__(self, prepared, scratch):
    super().__init__(prepared, scratch)
    self._detector = saved_model_detector.SavedModelDetector(prepared / "export")
    self._numpy = numpy_detector.load(prepared / "export")
    loaded = self._detector._loaded.signatures["serving_tf_example"]
    self._detect_example = lambda contents: loaded(tf_examples=tf.constant(contents))
    self._decode = tf.function(
      lambda content: image_decoding.decode_image(content, tf.constant("image 0")),
      input_signature=[tf.TensorSpec([], tf.string)],
      autograph=False,
    )
    # TIFF is none of the formats.
    self._seeds = [c for c in images.seed_images() if not c.startswith((b"II*", b"MM\0*"))]

  def seeds(self) -> list[base.Files]:
    array = {"shape": [20, 40, 3], "type": "uint8"}
    return [
      *({_KIND: _ENCODED, "0": content} for content in self._seeds),
      {_KIND: _EXAMPLE, "0": _example(self._seeds[0])},
      {_KIND: _ARRAY, "0": json.dumps(array).encode()},
    ]

  def make(self, rng: random.Random) -> base.Files:
    choice = rng.randrange(10)
    if choice == 0:
      array = {"shape": rng.choice(_SHAPES), "type": rng.choice(_TYPES)}
      if rng.random() < 0.3:
        array |= {"threshold": rng.choice((0.5, -1, 2, float("nan"), "x"))}
      return {_KIND: _ARRAY, "0": json.dumps(array).encode()}
    contents = [images.mutate_image(rng, self._seeds) for _ in range(rng.choice((1, 1, 1, 2)))]
    if choice == 1:
      contents = [_example(content) for content in contents]
      if rng.random() < 0.7:
        contents[0] = mutations.mutate(rng, contents)
      elif rng.random() < 0.5:
        contents[0] = _with_odd_length(rng, contents[0])
    kind = _EXAMPLE if choice == 1 else _ENCODED
    return {_KIND: kind, **{str(number): content for number, content in enumerate(contents)}}

  def check(self, files: base.Files) -> bool:
    contents = [content for name, content in sorted(files.items()) if name != _KIND]
    if files[_KIND] == _ARRAY:
      return self._check_array(json.loads(contents[0]))
    try:
      if files[_KIND] == _EXAMPLE:
        outputs = {name: value.numpy() for name, value in self._detect_example(contents).items()}
        contents = [_image_of(content) for content in contents]
      else:
        outputs = self._detector.detect_encoded(contents)
    except tf.errors.InvalidArgumentError as error:
      # A server sends the first line on.
      outcomes.check_message(error.message.split("\n")[0].strip())
      return False
    for number, content in enumerate(contents):
      pixels = self._decode(content).numpy()
      with base.untimed():
        _check_pixels(pixels, content)
      _check_outputs(outputs, number, pixels.shape)
      alone = self._detector(pixels[np.newaxis])
      for name in tiny_run.OUTPUTS:
        same = np.allclose(outputs[name][number], alone[name][0], atol=1e-2)
        outcomes.check(same, f"{name} of the pixels alone differs")
    return True

  def _check_array(self, about: dict) -> bool:
    array = np.zeros(about["shape"], about["type"])
    if about["type"] == "uint8":
      array = np.random.default_rng(0).integers(0, 256, about["shape"], np.uint8)
    try:
      found = self._numpy(array, score_threshold=about.get("threshold", 0.0))
    except TypeError:
      if isinstance(about.get("threshold", 0.0), str):  # As Python's own functions have it.
        return False
      raise
    for one in [found] if isinstance(found, dict) else found:
      count = len(one["scores"])
      outcomes.check_equal(one["boxes_px"].shape, (count, 4), "boxes")
      names = [tiny_run.CLASS_NAMES[number - 1] for number in one["class_ids"]]
      outcomes.check_equal(one["class_names"], names, "class names")
    return True


def _example(content: bytes) -> bytes:
  example = tf.train.Example()
  example.features.feature["image/encoded"].bytes_list.value.append(content)
  return example.SerializeToString()


def _with_odd_length(rng: random.Random, content: bytes) -> bytes:
  """Another number of bytes in the place of one that a field states."""
  tags = [at for at in range(min(40, len(content) - 1)) if content[at] in b"\x0a\x12"]
  if not tags:
    return content
  begin = rng.choice(tags) + 1
  end = begin
  while end < len(content) - 1 and content[end] >= 128:
    end += 1
  return content[:begin] + rng.choice(_LENGTHS) + content[end + 1 :]


def _image_of(content: bytes) -> bytes:
  try:
    feature = tf.train.Example.FromString(content).features.feature
  except Exception as error:
    raise outcomes.DisagreementError(f"read, though it is no tf.Example: {error}") from error
  (encoded,) = feature["image/encoded"].bytes_list.value
  return encoded


def _check_pixels(pixels: np.ndarray, content: bytes) -> None:
  """Compares what a server decodes with Pillow, or of a JPEG with TensorFlow's own decoder."""
  images.check_one_picture(content)
  plain = _plain_pixels(content)
  if plain is None:
    return
  outcomes.check_equal(pixels.shape, plain.shape, "shape")
  if np.array_equal(pixels, plain):
    return
  difference = np.abs(np.subtract(pixels, plain, dtype=np.int16))
  largest, mean = difference.max(), difference.mean()
  if content.startswith(_WEBP):
    outcomes.check(mean <= _MAX_MEAN, f"pixels differ by {mean:.1f} in the mean")
  else:
    outcomes.check(largest <= _MAX_BLENDED, f"pixels differ by up to {largest}")


def _plain_pixels(content: bytes) -> np.ndarray | None:
  """None where there is nothing to compare with."""
  if content.startswith(_JPEG):
    if _JPEG_END not in content:  # It was added.
      return None
    plain = tf.io.decode_jpeg(content, channels=3).numpy()
    return images.turned(plain, images.plain_orientation(content))
  try:
    return images.plain_pixels(content)
  except outcomes.DisagreementError as error:
    # TensorFlow passes over what Pillow refuses: damaged pixels of GIF and WebP, which a graph has
    # no means to notice, and chunks of a PNG that need not be read.
    is_lenient = content.startswith((_GIF, _WEBP))
    if is_lenient or isinstance(error.__cause__, Image.UnidentifiedImageError):
      return None
    raise


def _check_outputs(outputs: dict[str, np.ndarray], row: int, shape: tuple[int, ...]) -> None:
  count = int(outputs["num_detections"][row])
  scores = outputs["detection_scores"][row, :count]
  boxes = outputs["detection_boxes_px"][row, :count]
  outcomes.check(bool(np.isfinite(scores).all() and np.isfinite(boxes).all()), "not finite")
  outcomes.check(bool((np.diff(scores) <= 0).all()), "scores that rise")
  limits = np.array([*shape[:2], *shape[:2]]) + 0.01
  outcomes.check(bool((boxes >= -0.01).all() and (boxes <= limits).all()), "a box outside")
