"""Objects whose annotations were erased: they follow the image, and nothing follows them."""

import numpy as np
import pytest
import tensorflow as tf

from mtl_ssl_tf.configs import data as data_config
from mtl_ssl_tf.data import schema
from mtl_ssl_tf.data.pipeline import decoder, detection_parser, reader
from tests import fixtures

SIZES = {"input_size": [48, 64], "short_side": 48, "long_side": 64, "max_num_boxes": 3}
# Each way in which the parser moves pixels.
MOVES = (
  {"flip_probability": 0.0},
  {"flip_probability": 1.0},
  {"flip_probability": 0.5, "vertical_flip_probability": 0.5},
  {"augmentation": {"rotate_90": 1.0}, "vertical_flip_probability": 0.5},
  {"scale_min": 0.6, "scale_max": 1.6},
  {"scale_min": 0.6, "scale_max": 1.6, "scale_crop": "input", "augmentation": {"rotate_90": 0.5}},
)
ANNOTATED, ERASED = [4, 2, 12, 10], [18, 22, 34, 44]


def record(erased=(ERASED,), classes=(2,), annotated=(ANNOTATED,), source_id="a") -> bytes:
  """A black image of 40 x 60 with one annotated object and bright erased ones."""
  image = fixtures.image_with_squares(40, 60, erased)
  example = tf.train.Example.FromString(
    fixtures.serialized_example(image, annotated, [1] * len(annotated), source_id=source_id)
  )
  features = example.features.feature
  boxes = np.reshape(erased, [-1, 4]) / [40, 60, 40, 60]
  for name, values in zip(schema.ERASED_BOX, boxes.T, strict=True):
    features[name].float_list.value.extend(values)
  features[schema.ERASED_LABEL].int64_list.value.extend(classes)
  return example.SerializeToString()


def parse(serialized, seed=0, with_erased=True, is_training=True, **settings):
  data = data_config.Data(**SIZES)
  data.override(settings)
  parser = detection_parser.DetectionParser(data, is_training=is_training, with_erased=with_erased)
  image, labels = parser(tf.constant(serialized), tf.constant([3, seed], tf.int64))
  return image.numpy(), {name: value.numpy() for name, value in labels.items()}


@pytest.mark.parametrize("moves", MOVES, ids=str)
def test_an_erased_box_still_bounds_its_square(moves):
  num_kept = 0
  for seed in range(6):
    image, labels = parse(record(), seed, **moves)
    ys, xs = np.nonzero(image[..., 0] > 127)
    if labels["erased_classes"][0] < 0:
      continue
    num_kept += 1
    bounds = [ys.min(), xs.min(), ys.max() + 1, xs.max() + 1]
    np.testing.assert_allclose(labels["erased_boxes_px"][0], bounds, atol=1.0)
    assert labels["erased_classes"].tolist() == [2, -1, -1]
    np.testing.assert_array_equal(labels["erased_boxes_px"][1:], -1.0)
  assert num_kept >= 3


def test_a_box_that_is_mostly_cut_off_is_dropped_and_rows_are_limited():
  # Zoomed to twice its size and cut, some of nine boxes are gone.
  boxes = [[y, x, y + 6, x + 6] for y in (2, 16, 30) for x in (2, 26, 50)]
  _, labels = parse(record(boxes, [1] * 9), max_num_boxes=9, scale_min=2.0, scale_max=2.0)
  kept = labels["erased_classes"] > 0
  assert 0 < kept.sum() < 9
  assert np.all(np.ptp(labels["erased_boxes_px"][kept].reshape(-1, 2, 2), axis=1) > 6.0)
  _, labels = parse(record(boxes, [1] * 9))
  assert labels["erased_classes"].tolist() == [1, 1, 1]


@pytest.mark.parametrize("moves", MOVES, ids=str)
def test_nothing_else_depends_on_them(moves):
  for seed in range(3):
    # The pixels are alike, only the lists differ.
    image, labels = parse(record(), seed, **moves)
    example = tf.train.Example.FromString(record())
    for name in (*schema.ERASED_BOX, schema.ERASED_LABEL):
      del example.features.feature[name]
    bare = example.SerializeToString()
    for serialized, with_erased in ((bare, True), (record(), False), (bare, False)):
      other_image, others = parse(serialized, seed, with_erased, **moves)
      np.testing.assert_array_equal(other_image, image)
      added = set(labels) - {"erased_boxes_px", "erased_classes"}
      assert set(others) == (set(labels) if with_erased else added)
      for name in added:
        np.testing.assert_array_equal(others[name], labels[name])


def test_an_image_without_annotations_is_not_mirrored_for_its_erased_objects():
  image, labels = parse(record(annotated=()), flip_probability=1.0)
  assert not labels["flipped"]
  np.testing.assert_allclose(labels["erased_boxes_px"][0], np.array(ERASED) * 64 / 60, atol=1.0)
  assert image[22, 30, 0] > 127


def test_evaluation_has_none_of_them():
  _, labels = parse(record(), is_training=False)
  assert "erased_classes" not in labels


def test_a_composed_image_has_no_list_of_them():
  for field in ("mosaic", "copy_paste"):
    with pytest.raises(ValueError, match=r"^with_erased is True; accepted: False with augment"):
      parse(record(), augmentation={field: 0.5})


def test_they_are_cut_to_the_image_and_those_without_area_are_left_out():
  boxes = [[-4, 10, 20, 70], [5, 5, 5, 9], [40, 0, 44, 6]]
  boxes_norm, classes = decoder.erased_objects(tf.constant(record(boxes, [3, 1, 2])))
  np.testing.assert_allclose(boxes_norm, [[0.0, 10 / 60, 0.5, 1.0]], rtol=1e-6)
  assert classes.numpy().tolist() == [3]


def test_batches_hold_them_where_asked_for(tmp_path):
  path = fixtures.write_records(
    tmp_path / "a.tfrecord", [record(source_id=str(i)) for i in range(4)]
  )
  bare = fixtures.write_records(
    tmp_path / "b.tfrecord", [fixtures.serialized_example(fixtures.noise_image(40, 60))]
  )
  assert reader.carries_erased(path) and reader.carries_erased([path, bare])
  assert not reader.carries_erased(bare)
  assert not reader.carries_erased(fixtures.write_records(tmp_path / "none.tfrecord", []))
  data = data_config.Data(input_path=path, global_batch_size=2, is_training=True, **SIZES)
  _, labels = next(iter(reader.make_dataset(data, with_erased=True)))
  assert labels["erased_boxes_px"].shape == (2, 3, 4)
  assert labels["erased_classes"].numpy().tolist() == [[2, -1, -1]] * 2
  _, labels = next(iter(reader.make_dataset(data)))
  assert "erased_classes" not in labels
