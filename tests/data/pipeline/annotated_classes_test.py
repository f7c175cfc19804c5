"""Annotated classes of records in batches: masks, and parts of composed images."""

import json

import numpy as np
import pytest
import tensorflow as tf

from mtl_ssl_tf.configs import data as data_config
from mtl_ssl_tf.data import schema
from mtl_ssl_tf.data.pipeline import annotated_image, decoder, detection_parser, reader
from mtl_ssl_tf.data.records import features, summaries
from tests import fixtures

SIZES = {"input_size": [48, 64], "short_side": 48, "long_side": 64, "max_num_boxes": 4}
C = 5


def record(annotated=None, value=100, source_id="a", box=(10, 20, 30, 40)) -> bytes:
  """A grey image of 40 x 60 with one object of class 1."""
  example = tf.train.Example.FromString(
    fixtures.serialized_example(
      fixtures.solid_image(40, 60, value), [box], [1], source_id=source_id
    )
  )
  if annotated is not None:
    example.features.feature[schema.ANNOTATED_CLASSES].int64_list.value.extend(annotated)
  return example.SerializeToString()


def parse(serialized, partners=None, seed=0, is_training=True, num_classes=C, **settings):
  data = data_config.Data(**SIZES, flip_probability=0.0)
  data.override(settings)
  parser = detection_parser.DetectionParser(data, is_training=is_training, num_classes=num_classes)
  read_partner = None if partners is None else lambda number: tf.constant(partners)[number]
  image, labels = tf.function(parser)(
    tf.constant(serialized), tf.constant([3, seed], tf.int64), read_partner
  )
  return image.numpy(), {name: value.numpy() for name, value in labels.items()}


@pytest.mark.parametrize(
  ("stated", "mask"),
  [([], [1, 1, 1, 1, 1]), ([2], [1, 0, 1, 0, 0]), ([4, 1], [1, 1, 0, 0, 1])],
)
def test_the_mask_of_a_record(stated, mask):
  found = decoder.annotated_mask(tf.constant(stated, tf.int64), C)
  assert found.dtype == tf.float32 and found.numpy().tolist() == mask


@pytest.mark.parametrize("is_training", [False, True])
def test_a_batch_holds_the_mask_where_it_is_asked_for(is_training):
  _, labels = parse(record([2, 3]), is_training=is_training)
  assert labels["annotated_classes"].tolist() == [1, 0, 1, 1, 0]
  _, labels = parse(record(), is_training=is_training)
  assert labels["annotated_classes"].tolist() == [1] * C
  assert "annotated_parts" not in labels
  _, others = parse(record([2, 3]), is_training=is_training, num_classes=None)
  assert set(others) == set(labels) - {"annotated_classes"}


def test_a_row_that_fills_up_is_annotated_for_all():
  parser = detection_parser.DetectionParser(data_config.Data(**SIZES), num_classes=C)
  assert parser.blank()[1]["annotated_classes"].numpy().tolist() == [1] * C
  _, labels = parser(tf.constant(record([1])), tf.zeros([2], tf.int64))
  assert set(parser.blank()[1]) == set(labels)


def test_each_tile_of_a_mosaic_keeps_its_classes():
  # Tiles of different greys, so that pixels tell which part they are of.
  values, stated = [40, 90, 140, 190], [[1], [2], None, [1, 2, 3]]
  masks = [[1, 1, 0, 0, 0], [1, 0, 1, 0, 0], [1] * 5, [1, 1, 1, 1, 0]]
  records = [record(*pair) for pair in zip(stated, values, strict=True)]
  for seed in range(3):
    image, labels = parse(
      records[0],
      [*records[1:], records[0]],
      seed,
      augmentation={"mosaic": 1.0, "rotate_90": 0.5},
      flip_probability=0.5,
      vertical_flip_probability=0.5,
      scale_min=1.5,
      scale_max=2.0,
    )
    assert labels["annotated_parts"].shape == (4, C)
    shown = labels["annotated_parts_px"][:, 0] >= 0
    for box, mask in zip(
      labels["annotated_parts_px"][shown], labels["annotated_parts"][shown], strict=True
    ):
      y, x = np.int32(0.5 * (box[:2] + box[2:]))
      assert masks[values.index(round(float(image[y, x, 0])))] == mask.tolist()
    np.testing.assert_array_equal(labels["annotated_parts_px"][~shown], -1.0)
    np.testing.assert_array_equal(labels["annotated_parts"][~shown], 1.0)
    sides = labels["annotated_parts_px"][:, 2:] - labels["annotated_parts_px"][:, :2]
    areas = np.prod(sides, axis=1)[shown]
    assert areas.sum() == pytest.approx(np.prod(labels["image_size_px"]), rel=1e-4)
    expected = labels["annotated_parts"][shown].min(axis=0)
    np.testing.assert_array_equal(labels["annotated_classes"], expected)


def test_a_pasted_object_brings_the_classes_of_its_image():
  own, partner = record([1, 2], 40), record([1, 3], 200)
  _, labels = parse(own, [partner] * 4, augmentation={"copy_paste": 1.0})
  assert labels["annotated_parts"].shape == (1 + 3, C)
  assert labels["annotated_parts"][:2].tolist() == [[1, 1, 1, 0, 0], [1, 1, 0, 1, 0]]
  height, width = labels["image_size_px"]
  np.testing.assert_allclose(labels["annotated_parts_px"][0], [0, 0, height, width])
  # The pasted part is the pasted object, whichever row that has.
  boxes = labels["gt_boxes_px"]
  assert np.abs(boxes - labels["annotated_parts_px"][1]).max(axis=1).min() < 1e-3
  assert labels["annotated_classes"].tolist() == [1, 1, 0, 0, 0]
  _, others = parse(own, [partner] * 4, augmentation={"copy_paste": 1.0}, num_classes=None)
  assert not {name for name in others if name.startswith("annotated")}
  for name, values in others.items():
    np.testing.assert_array_equal(values, labels[name])


def with_objects(boxes, annotated) -> bytes:
  example = tf.train.Example.FromString(
    fixtures.serialized_example(fixtures.solid_image(40, 60), boxes, [1] * len(boxes))
  )
  example.features.feature[schema.ANNOTATED_CLASSES].int64_list.value.extend(annotated)
  return example.SerializeToString()


def test_each_pasted_object_brings_the_classes_of_its_image():
  own = with_objects([], [1, 2])
  partner = with_objects([[2, 2, 10, 10], [2, 20, 10, 28], [2, 40, 10, 48]], [1, 3])
  counts = set()
  for seed in range(8):
    _, labels = parse(own, [partner] * 4, seed, augmentation={"copy_paste": 1.0})
    is_part = labels["annotated_parts_px"][:, 0] >= 0
    count = int(np.sum(labels["gt_classes"] >= 0))
    expected = [[1, 1, 1, 0, 0]] + [[1, 1, 0, 1, 0]] * count
    assert labels["annotated_parts"][is_part].tolist() == expected
    counts.add(count)
  assert max(counts) > 1
  # Nothing is there to be pasted: the image is one part.
  _, labels = parse(own, [own] * 4, augmentation={"copy_paste": 1.0})
  assert labels["annotated_parts_px"][1:, 0].tolist() == [-1] * 3
  assert labels["annotated_classes"].tolist() == [1, 1, 1, 0, 0]


def test_an_image_that_was_not_composed_is_one_part():
  _, labels = parse(record([2]), augmentation={"mosaic": 1e-9, "copy_paste": 1e-9})
  assert labels["annotated_parts"].shape == (4 + 3, C)
  assert labels["annotated_parts"][0].tolist() == [1, 0, 1, 0, 0]
  np.testing.assert_array_equal(labels["annotated_parts_px"][1:], -1.0)
  assert labels["annotated_classes"].tolist() == [1, 0, 1, 0, 0]


def test_whole_is_one_part():
  image = annotated_image.AnnotatedImage(tf.zeros([10, 20, 3], tf.uint8), *[tf.zeros([0])] * 5)
  parts = annotated_image.whole(image, tf.constant([1.0, 0.0])).parts
  assert parts.boxes_px.numpy().tolist() == [[0, 0, 10, 20]]
  assert parts.annotated.numpy().tolist() == [[1, 0]]


class TestReader:
  def _labels(self, path, num_classes=C, is_training=False, **settings):
    data = data_config.Data(
      **SIZES, input_path=path, global_batch_size=2, is_training=is_training, seed=1, **settings
    )
    batches = reader.make_dataset(data, num_classes=num_classes)
    return next(iter(batches.take(1)))[1]

  def test_batches_hold_it_where_a_record_does(self, tmp_path):
    none = fixtures.write_records(tmp_path / "none.tfrecord", [record(), record(source_id="b")])
    some = fixtures.write_records(
      tmp_path / "some.tfrecord", [record(), record([2], source_id="c")]
    )
    assert "annotated_classes" not in self._labels(none)
    labels = self._labels(some)
    assert labels["annotated_classes"].numpy().tolist() == [[1] * C, [1, 0, 1, 0, 0]]
    assert self._labels([none, some], is_training=True)["annotated_classes"].shape == (2, C)
    assert "annotated_classes" not in self._labels(some, num_classes=None)

  def test_a_filled_up_batch(self, tmp_path):
    path = fixtures.write_records(tmp_path / "a.tfrecord", [record([1])])
    assert self._labels(path)["annotated_classes"].numpy().tolist() == [[1, 1, 0, 0, 0], [1] * C]

  def test_both_orientations(self, tmp_path):
    path = fixtures.write_records(tmp_path / "a.tfrecord", [record([1]), record([1])])
    labels = self._labels(path, is_training=True, input_layout="by_orientation")
    assert labels["annotated_classes"].numpy().tolist() == [[1, 1, 0, 0, 0]] * 2


class TestFeatures:
  def _write(self, folder, records, manifest=None):
    path = fixtures.write_records(folder / "train-00000-of-00001.tfrecord", records)
    if manifest is not None:
      (folder / "manifest_train.json").write_text(manifest)
    return path

  def test_all_records_are_examined_without_a_manifest(self, tmp_path):
    records = [record(), record(), record([1])]
    assert features.state_annotated_classes([self._write(tmp_path, records)])
    # The file has changed: nothing is remembered of it.
    assert not features.state_annotated_classes([self._write(tmp_path, records[:2])])
    assert not features.state_annotated_classes([self._write(tmp_path, [b"", b"\x0a\xff"])])
    for damaged in (b"", b"\x0a\xff"):  # It hides no record behind it.
      path = self._write(tmp_path, [damaged, record([1])])
      assert features.state_annotated_classes([path])

  def test_a_manifest_says_it(self, tmp_path):
    silent = {"shards": [{"file": "train-00000-of-00001.tfrecord"}]}
    silent, says = json.dumps(silent), json.dumps(silent | {summaries.PARTLY_ANNOTATED: 1})
    assert features.state_annotated_classes([self._write(tmp_path, [record()], says)])
    later = self._write(tmp_path, [record(), record([1])], silent)
    assert not features.state_annotated_classes([later])
    # But a first record that has it is seen in any case.
    assert features.state_annotated_classes([self._write(tmp_path, [record([1])], silent)])

  def test_remote_files(self, tmp_path):
    path = self._write(tmp_path, [record(), record([3])])
    assert features.state_annotated_classes([f"file://{path}"])


def test_the_summary_counts_the_records():
  summary = summaries.Summary()
  for stated in ([1], None, [2]):
    summary.add_example(tf.train.Example.FromString(_with_texts(record(stated))))
  other = summaries.Summary.from_json(summary.to_json())
  other.add(summary)
  assert other.about_records(["a"])[summaries.PARTLY_ANNOTATED] == 4


def _with_texts(serialized: bytes) -> bytes:
  example = tf.train.Example.FromString(serialized)
  example.features.feature[schema.OBJECT_TEXT].bytes_list.value.append(b"a")
  return example.SerializeToString()
