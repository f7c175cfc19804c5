"""Record files, and what an own reading of their framing and `tf.train.Example` alone find."""

import math
import os
import pathlib
import random
import shutil
import struct
import tempfile
from collections.abc import Sequence

import numpy as np
import tensorflow as tf
from google.protobuf import message

from mtl_ssl_tf.configs import data as data_config
from mtl_ssl_tf.data import schema
from mtl_ssl_tf.data.ground_truth import truth_readers
from mtl_ssl_tf.data.inspection import checks, damaged_files, record_checks
from mtl_ssl_tf.data.pipeline import detection_parser, input_checks
from mtl_ssl_tf.data.records import index as record_index
from mtl_ssl_tf.data.records import pictures, sizes
from mtl_ssl_tf.data.records import writer as record_writer
from tests.data import voc_files
from tests.fuzz import framing, mutations, odd_values, outcomes
from tests.fuzz.kinds import base, images

CLASSES = ("cat", "dog", "cow")
_FILE = "train-00000-of-00001.tfrecord"
_SIDES = ("ymin", "xmin", "ymax", "xmax")
_KEYS = tuple(key for key in vars(schema).values() if isinstance(key, str) and "/" in key)
_LISTS = ("bytes_list", "int64_list", "float_list")
_FLOATS = (0.0, 0.5, 1.0, 1.0000001, 1.00001, -1e-7, -0.1, 2.0, math.nan, math.inf, 1e-40, 3e38)
_INTS = (0, 1, 2, 3, 4, 20, 40, -1, 2**31, 2**31 - 1, 2**32 + 1, 2**63 - 1, -(2**63))


def seed_example(number: int) -> tf.train.Example:
  """A record of two objects, none where `number` is 0."""
  encoded = voc_files.image_bytes(voc_files.picture(20, 40), "PNG" if number % 2 else "JPEG")
  boxes = [[4, 2, 14, 12], [0, 0, 20, 40.0]][: 2 * number]
  count = len(boxes)
  return record_writer.make_example(
    encoded=encoded,
    image_format="png" if number % 2 else "jpeg",
    height=20,
    width=40,
    filename=f"{number}.jpg",
    source_id=f"im{number}",
    boxes_orig=boxes,
    class_ids=[1, 3][:count],
    class_names=["cat", "cow"][:count],
    difficult=[0, 1][:count],
    truncated=[0] * count,
    ignored_boxes_orig=[[1, 1, 5, 5]] if number == 2 else (),
  )


def check_sound(example: tf.train.Example, classes: Sequence[str]) -> None:
  """Holds what converters write to the checks of records."""
  content = record_writer.serialize(example)
  checked = record_checks.check_record(content, _FILE, 0, classes)
  found = [str(finding) for finding in checked.findings if finding.level == checks.FAULT]
  outcomes.check(not found, f"a record that was made has a fault: {found[:1]}")


class Cases(base.Kind):
  """See above."""

  name = "records"
  about = "TFRecord files"

  def __init__(self, prepared, scratch):
    super().__init__(prepared, scratch)
    self._examples = [seed_example(number) for number in range(3)]
    self._contents = [record_writer.serialize(example) for example in self._examples]
    self._seeds = [b"".join(map(framing.frame, self._contents)), framing.frame(self._contents[1])]
    self._images = images.seed_images()
    (scratch / schema.LABEL_MAP_FILE).write_text("".join(f"{name}\n" for name in CLASSES))
    self._parse, self._parse_in_training = _parser(False), _parser(True)

  def seeds(self) -> list[base.Files]:
    return [{_FILE: content} for content in self._seeds]

  def make(self, rng: random.Random) -> base.Files:
    choice = rng.randrange(5)
    if choice == 0:
      return {_FILE: mutations.mutate(rng, self._seeds)}
    contents = rng.sample(self._contents, rng.randint(1, 3))
    if choice == 1:  # The frame alone.
      data = [bytearray(framing.frame(content)) for content in contents]
      odd = rng.choice(data)
      lengths = (0, 1, len(odd) - 17, len(odd) - 15, 2**31, 2**63, 2**64 - 1, 2**64 - 16)
      odd[:8] = struct.pack("<Q", rng.choice(lengths))
      odd[8:12] = framing.masked_crc(odd[:8])
      return {_FILE: b"".join(data)}
    place = rng.randrange(len(contents))
    if choice == 2:
      contents[place] = mutations.mutate(rng, self._contents)
    else:
      contents[place] = record_writer.serialize(self._odd_example(rng))
    return {_FILE: b"".join(map(framing.frame, contents))}

  def check(self, files: base.Files) -> bool:
    # A folder of its own: indexes are kept by path, size and time, which has a coarse clock.
    folder = tempfile.mkdtemp(dir=self.scratch)
    try:
      return self._check(os.path.join(folder, _FILE), files[_FILE])
    finally:
      shutil.rmtree(folder)

  def _check(self, path: str, data: bytes) -> bool:
    pathlib.Path(path).write_bytes(data)
    plain, is_whole = framing.unframe(data)
    self._check_damaged(path, data, plain, is_whole)
    sound = [self._check_record(number, content) for number, content in enumerate(plain)]
    pictures.shared([path], [path])
    refused = None
    try:
      input_checks.check_records([path])
      index = record_index.scan([path])
      sizes.image_sizes(index)
    except ValueError as error:
      refused = error
      if not outcomes.is_own(error):
        raise
    else:
      outcomes.check(len(index) >= len(plain), f"{len(index)} records, of {len(plain)}")
      for number, content in enumerate(plain):
        read = index.read(tf.constant(number, tf.int64)).numpy()
        outcomes.check(read == content, f"record {number} of the index")
      outcomes.check(not is_whole or len(index) == len(plain), "number of records")
    truth = truth_readers.read_records(path, str(self.scratch / schema.LABEL_MAP_FILE))
    outcomes.check(is_whole, "ground truth of a damaged file")
    outcomes.check_equal(len(truth.images), len(plain), "images of the ground truth")
    return refused is None and any(sound)

  def _check_damaged(self, path: str, data: bytes, plain: list[bytes], is_whole: bool) -> None:
    found = list(damaged_files.RecordFile(path))
    for record in found:
      if record.content is None:
        outcomes.check_message(str(record.fault))
      else:
        outcomes.check(framing.frame(record.content) in data, "a record whose checksums are wrong")
    begin = [record.content for record in found[: len(plain)]]
    outcomes.check(begin == plain, "records before the first damage")
    has_fault = any(record.content is None for record in found)
    outcomes.check_equal(has_fault, not is_whole, "damage")

  def _check_record(self, number: int, content: bytes) -> bool:
    """Whether a record has no fault; what the checks and training read is compared then."""
    checked = record_checks.check_record(content, _FILE, number, CLASSES)
    for finding in checked.findings:
      outcomes.check_message(str(finding))
    if any(finding.level == checks.FAULT for finding in checked.findings):
      return False
    try:
      feature = tf.train.Example.FromString(content).features.feature
    except message.DecodeError as error:
      raise outcomes.DisagreementError(f"a sound record that is none: {error}") from error
    labels = list(feature[schema.OBJECT_LABEL].int64_list.value)
    boxes = np.array(
      [feature[f"{schema.OBJECT_PREFIX}bbox/{side}"].float_list.value for side in _SIDES],
      np.float32,
    ).T.reshape([-1, 4])
    encoded = feature[schema.IMAGE_ENCODED].bytes_list.value[0]
    facts = checked.facts
    names = [CLASSES[label - 1] for label in labels]
    outcomes.check_equal(list(facts.class_names), names, "class names")
    height, width = images.plain_size(encoded)
    outcomes.check_equal((facts.height, facts.width), (height, width), "size")
    scale = np.array([height, width, height, width])
    outcomes.check(np.array_equal(facts.boxes_orig, boxes * scale.astype(float)), "boxes")
    image, parsed = self._parse(content)
    for tensor in (image, *self._parse_in_training(content)[1].values()):
      outcomes.check(bool(np.isfinite(tensor).all()), "a batch that is not finite")
    # As in evaluation: cut to the image, without those of which nothing is left.
    cut = np.clip(boxes, 0.0, 1.0)
    kept = (cut[:, 2:] > cut[:, :2]).all(axis=1)
    kept &= ((cut[:, 2:] - cut[:, :2]) * scale[:2] > 1e-3).all(axis=1) | ~kept
    if kept.all() and len(labels) <= len(parsed["gt_classes"]):
      read = parsed["gt_classes"].numpy()[: len(labels)].tolist()
      outcomes.check_equal(read, labels, "classes in a batch")
      boxes_orig = parsed["gt_boxes_orig"].numpy()[: len(labels)]
      near = np.allclose(boxes_orig, cut * scale, rtol=1e-5, atol=1e-3)
      outcomes.check(near, f"boxes in a batch: {boxes_orig}, of {cut * scale}")
    return True

  def _odd_example(self, rng: random.Random) -> tf.train.Example:
    example = tf.train.Example.FromString(rng.choice(self._contents))
    feature = example.features.feature
    for _ in range(rng.choice((1, 1, 2))):
      key, choice = rng.choice(_KEYS), rng.randrange(8)
      if choice == 0:
        feature.pop(key, None)
      elif choice == 1:
        encoded = images.mutate_image(rng, self._images)
        feature[schema.IMAGE_ENCODED].bytes_list.value[:] = [encoded]
        feature.pop(schema.IMAGE_SHA256, None)
        feature.pop(schema.IMAGE_FORMAT, None)
      elif choice == 2:
        feature[key].Clear()
      else:
        kind = feature[key].WhichOneof("kind") or rng.choice(_LISTS)
        kind = rng.choice(_LISTS) if choice == 3 else kind
        values = [*getattr(feature[key], kind).value] if choice > 5 else []
        values += [_odd_value(rng, kind) for _ in range(rng.choice((1, 2, 2, 3)))]
        if choice == 7:
          del values[rng.randrange(len(values))]
        getattr(feature[key], kind).value[:] = values
    return example


def _parser(is_training: bool):
  """A function from a record to its part of a batch."""
  data = data_config.Data(input_size=[32, 48], short_side=32, long_side=48, max_num_boxes=8)
  parser = detection_parser.DetectionParser(data, is_training=is_training)
  return tf.function(
    lambda content: parser(content, tf.constant([1, 2], tf.int64)),
    input_signature=[tf.TensorSpec([], tf.string)],
  )


def _odd_value(rng: random.Random, kind: str) -> bytes | int | float:
  if kind == "bytes_list":
    text = rng.choice((*odd_values.TEXTS, *CLASSES, "jpeg", "png"))
    return text.encode("utf-8", "surrogatepass") + rng.choice((b"", b"", b"\xff"))
  return rng.choice(_INTS if kind == "int64_list" else _FLOATS)
