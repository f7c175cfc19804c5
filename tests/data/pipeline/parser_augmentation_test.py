"""The parser with each augmentation: boxes still bound their pixels, frames are as documented."""

import functools
import json

import numpy as np
import pytest
import tensorflow as tf

from mtl_ssl_tf.configs import data as data_config
from mtl_ssl_tf.data.pipeline import augmentations, composition, detection_parser
from mtl_ssl_tf.ops import color_ops
from tests import fixtures

SIZES = {"input_size": (48, 64), "short_side": 48, "long_side": 64, "max_num_boxes": 4}
SQUARE = [10, 30, 26, 50]


@functools.cache
def traced(settings: str):
  """A traced training parser; the settings are JSON."""
  data = data_config.Data(**SIZES, flip_probability=0.0)
  data.override(json.loads(settings))
  parser = detection_parser.DetectionParser(data, is_training=True)
  return tf.function(
    lambda content, seed, partners: parser(content, seed, lambda number: partners[number])
  )


def parse(serialized, seed=0, partners=None, **settings):
  """One example as numpy; without partners, the record is its own."""
  image, labels = traced(json.dumps(settings))(
    tf.constant(serialized),
    tf.constant([8, seed], tf.int64),
    tf.constant(partners or [serialized] * 4),
  )
  return image.numpy(), {name: value.numpy() for name, value in labels.items()}


def with_square(height=40, width=60, square=SQUARE, background=20, **others):
  """A record of a dark image with one bright square."""
  image = np.full([height, width, 3], background, np.uint8)
  image[square[0] : square[2], square[1] : square[3]] = 255
  return fixtures.serialized_example(image, [square], [1], **others)


def bright_box(image):
  ys, xs = np.nonzero(image[..., 0] > 137)
  return [ys.min(), xs.min(), ys.max() + 1, xs.max() + 1]


def check_padding(image, labels):
  height, width = labels["image_size_px"].astype(int)
  assert np.all(image[height:] == 0) and np.all(image[:, width:] == 0)
  assert np.all(image[:height, :width] > 0)


@pytest.mark.parametrize("flip", [0.0, 1.0])
def test_a_turned_box_bounds_its_square(flip):
  sizes = set()
  for seed in range(12):
    image, labels = parse(
      with_square(), seed, augmentation={"rotate_90": 1.0}, flip_probability=flip
    )
    check_padding(image, labels)
    np.testing.assert_allclose(labels["gt_boxes_px"][0], bright_box(image), atol=1.0)
    np.testing.assert_allclose(labels["gt_boxes_orig"][0], SQUARE, rtol=1e-5)
    original, size, scale, _ = labels["image_info"]
    np.testing.assert_allclose(original * scale, size)
    assert labels["flipped"] == (flip == 1.0)
    sizes.add((*original, *size))
  # Either half a turn of 40 x 60, at scale 16 / 15 of the width, or on its side, at 48 / 60.
  assert sizes == {(40, 60, 43, 64), (60, 40, 48, 32)}


def test_large_scale_jitter_fills_the_input():
  sizes = []
  for seed in range(30):
    image, labels = parse(with_square(), seed, scale_min=0.25, scale_max=2.0, scale_crop="input")
    check_padding(image, labels)
    _, kept, scale, offset = labels["image_info"]
    np.testing.assert_array_equal(kept, labels["image_size_px"])
    sizes.append(kept)
    if labels["gt_classes"][0] == 1:
      box = labels["gt_boxes_px"][0]
      np.testing.assert_allclose(box, bright_box(image), atol=1.0)
      expected = np.reshape(SQUARE, [2, 2]) * scale - offset
      np.testing.assert_allclose(box.reshape([2, 2]), np.clip(expected, 0, kept), atol=1e-3)
  # Without the zoom it would be 43 x 64: rows of padding are filled, too.
  assert max(size[0] for size in sizes) == 48
  assert max(size[1] for size in sizes) == 64
  assert min(size[0] for size in sizes) < 30


def test_a_zoom_keeps_to_the_image_by_default():
  heights = [
    parse(with_square(), seed, scale_min=0.25, scale_max=2.0)[1]["image_size_px"][0]
    for seed in range(10)
  ]
  assert max(heights) == 43


def test_colours_change_in_the_image_alone():
  strengths = {"brightness": 0.5, "contrast": 0.5, "saturation": 0.5, "hue": 0.2}
  serialized = fixtures.serialized_example(
    np.full([40, 60, 3], [60, 120, 90], np.uint8), [SQUARE], [1]
  )
  plain, labels = parse(serialized)
  pixels = set()
  for seed in range(5):
    image, jittered_labels = parse(serialized, seed, augmentation={"color_jitter": strengths})
    check_padding(image, jittered_labels)
    np.testing.assert_array_equal(image[0, 0], image[42, 63])
    pixels.add(tuple(image[0, 0]))
    for name, value in labels.items():
      np.testing.assert_array_equal(value, jittered_labels[name])
  assert len(pixels) == 5
  # Of an even image contrast changes nothing but its colour; strengths reach their operations.
  for name in ("saturation", "hue", "contrast", "brightness"):
    jitter = {name: strengths[name]}
    image, _ = parse(serialized, augmentation={"color_jitter": jitter})
    ratio = image[0, 0] / plain[0, 0]
    assert (np.ptp(ratio) < 1e-5) == (name == "brightness")
    assert np.abs(ratio - 1).max() > 1e-3


def test_a_mosaic_counts_as_the_file():
  partners = [with_square(50, 50, [5, 5, 25, 25], value) for value in (40, 60, 80)] * 2
  num_boxes = 0
  for seed in range(6):
    image, labels = parse(with_square(), seed, partners[:4], augmentation={"mosaic": 1.0})
    check_padding(image, labels)
    # The mosaic has the size of the input, so nothing is resized again.
    np.testing.assert_array_equal(labels["image_info"], [[48, 64], [48, 64], [1, 1], [0, 0]])
    np.testing.assert_allclose(labels["gt_boxes_orig"], labels["gt_boxes_px"], atol=1e-4)
    corners = image[[0, 0, 47, 47], [0, 63, 0, 63], 0]
    assert all(
      value in (expected, 255) for value, expected in zip(corners, (20, 40, 60, 80), strict=True)
    )
    for box, area in zip(labels["gt_boxes_px"], labels["gt_area_orig"], strict=True):
      if area:
        num_boxes += 1
        np.testing.assert_allclose(area, np.prod(box[2:] - box[:2]), rtol=1e-3)
        inner = image[int(box[0]) + 1 : int(box[2]) - 1, int(box[1]) + 1 : int(box[3]) - 1]
        assert np.all(inner == 255)
  assert num_boxes > 6


def test_a_mosaic_keeps_to_the_sides():
  settings = {"input_size": (64, 64), "short_side": 30, "long_side": 64}
  _, labels = parse(with_square(), augmentation={"mosaic": 1.0}, **settings)
  np.testing.assert_array_equal(labels["image_size_px"], [30, 30])


def test_a_pasted_object_has_a_row_and_a_place_in_the_file():
  host = fixtures.serialized_example(fixtures.solid_image(40, 60, 20))
  for seed in range(5):
    image, labels = parse(host, seed, [with_square()] * 4, augmentation={"copy_paste": 1.0})
    assert labels["gt_classes"].tolist() == [1, -1, -1, -1]
    np.testing.assert_allclose(labels["gt_boxes_px"][0], bright_box(image), atol=1.6)
    scale = np.tile(labels["image_info"][2], 2)
    np.testing.assert_allclose(labels["gt_boxes_orig"][0] * scale, labels["gt_boxes_px"][0], 1e-4)
    assert labels["image_key"] == parse(host)[1]["image_key"]


def test_objects_and_regions_go_through_mosaic_and_pasting():
  boxes = [[0, 0, 40, 12], [5, 20, 12, 27], [20, 20, 35, 50]]
  record = fixtures.serialized_example(
    fixtures.noise_image(40, 60), boxes, [3, 1, 2], difficult=[0, 0, 1], is_crowd=[1, 0, 0]
  )
  num_crowds = num_objects = 0
  for seed in range(8):
    _, labels = parse(
      record, seed, augmentation={"mosaic": 1.0, "copy_paste": 1.0}, max_num_boxes=30
    )
    classes, is_crowd = labels["gt_classes"], labels["gt_is_crowd"]
    num_crowds += np.sum(is_crowd)
    num_objects += np.sum(classes > 0)
    np.testing.assert_array_equal(classes[is_crowd], 0)
    assert 3 not in classes
    np.testing.assert_array_equal(labels["gt_difficult"][classes == 1], False)
    np.testing.assert_array_equal(labels["gt_difficult"][classes == 2], True)
    # Objects, then regions, then padding.
    kinds = np.where(classes > 0, 0, np.where(classes == 0, 1, 2))
    np.testing.assert_array_equal(kinds, np.sort(kinds))
    boxes_px = labels["gt_boxes_px"][classes >= 0]
    assert np.all(boxes_px >= 0) and np.all(boxes_px[:, 2:] <= [48, 64])
  assert num_crowds > 8 and num_objects > 16


def test_difficult_objects_that_are_dropped_are_not_pasted():
  record = with_square(difficult=[1])
  _, labels = parse(record, augmentation={"copy_paste": 1.0}, difficult="drop")
  assert labels["gt_classes"].tolist() == [-1] * 4


def test_more_objects_than_rows_in_a_mosaic_are_counted():
  image = fixtures.noise_image(40, 60)
  record = fixtures.serialized_example(image, [[0, 0, 40, 60]] * 4, [1] * 4, is_crowd=[1] * 4)
  _, labels = parse(record, augmentation={"mosaic": 1.0})
  assert labels["gt_classes"].tolist() == [0] * 4
  assert labels["num_dropped_boxes"] == 12


@pytest.mark.parametrize("name", ["mosaic", "copy_paste", "rotate_90"])
def test_no_objects_at_all(name):
  record = fixtures.serialized_example(fixtures.noise_image(40, 60))
  image, labels = parse(record, augmentation={name: 1.0})
  assert labels["gt_classes"].tolist() == [-1] * 4
  assert image.shape == (48, 64, 3)


def test_without_partners_an_image_is_its_own():
  data = data_config.Data(**SIZES)
  data.augmentation.mosaic = 1.0
  parser = detection_parser.DetectionParser(data, is_training=True)
  image, _ = parser(with_square(), tf.zeros([2], tf.int64))
  assert image.shape == (48, 64, 3) and np.all(image.numpy() > 0)


def test_evaluation_changes_nothing():
  data = data_config.Data(**SIZES, scale_min=2.0, scale_max=2.0, scale_crop="input")
  plain = detection_parser.DetectionParser(data)(with_square(), tf.zeros([2], tf.int64))
  data.augmentation.override(
    {"mosaic": 1.0, "copy_paste": 1.0, "rotate_90": 1.0, "color_jitter": {"brightness": 1.0}}
  )
  augmented = detection_parser.DetectionParser(data)(with_square(), tf.zeros([2], tf.int64))
  for one, two in zip(tf.nest.flatten(plain), tf.nest.flatten(augmented), strict=True):
    np.testing.assert_array_equal(one, two)


def test_what_is_on_does_not_change_the_flips_and_zooms():
  settings = {"flip_probability": 0.5, "scale_min": 0.5, "scale_max": 2.0}
  brighter = {"color_jitter": {"brightness": 0.3}}
  for seed in range(5):
    _, plain = parse(with_square(), seed, **settings)
    _, jittered = parse(with_square(), seed, augmentation=brighter, **settings)
    for name, value in plain.items():
      np.testing.assert_array_equal(value, jittered[name])


@pytest.mark.parametrize(
  ("field", "value", "message"),
  [
    ("mosaic", 1.5, "augmentation.mosaic is 1.5; accepted: 0.0 to 1.0"),
    ("copy_paste", -0.5, "augmentation.copy_paste is -0.5; accepted: 0.0 to 1.0"),
    ("rotate_90", 2, "augmentation.rotate_90 is 2; accepted: 0.0 to 1.0"),
    ("color_jitter", {"brightness": 1.1}, "augmentation.color_jitter.brightness is 1.1"),
    ("color_jitter", {"contrast": 1.1}, "augmentation.color_jitter.contrast is 1.1"),
    ("color_jitter", {"saturation": 1.1}, "augmentation.color_jitter.saturation is 1.1"),
    ("color_jitter", {"hue": 0.6}, "augmentation.color_jitter.hue is 0.6; accepted: 0.0 to 0.5"),
  ],
)
def test_settings_out_of_range(field, value, message):
  data = data_config.Data(**SIZES)
  data.override({"augmentation": {field: value}})
  with pytest.raises(ValueError, match=f"^{message}"):
    detection_parser.DetectionParser(data, is_training=True)


def test_what_a_zoom_is_cut_to():
  with pytest.raises(ValueError, match=r"^scale_crop is 'box'; accepted: image, input"):
    detection_parser.DetectionParser(data_config.Data(scale_crop="box"))


# Each random change, and which of its arguments is the seed.
RANDOM_CHANGES = (
  (augmentations, "random_quarter_turns", 2),
  (augmentations, "random_horizontal_flip", 2),
  (augmentations, "random_vertical_flip", 2),
  (augmentations, "random_zoom_window", 2),
  (color_ops, "random_color_jitter", 1),
  (composition, "compose", 2),
)


def test_each_random_change_has_a_seed_of_its_own(monkeypatch):
  drawn = {}

  def remember(name, change, position, *args, **others):
    drawn[name] = tuple(args[position].numpy())
    return change(*args, **others)

  for module, name, position in RANDOM_CHANGES:
    change = functools.partial(remember, name, getattr(module, name), position)
    monkeypatch.setattr(module, name, change)
  data = data_config.Data(
    **SIZES, flip_probability=0.5, vertical_flip_probability=0.5, scale_min=0.5, scale_max=2.0
  )
  data.override(
    {"augmentation": {"rotate_90": 0.5, "mosaic": 0.5, "color_jitter": {"brightness": 0.4}}}
  )
  parser = detection_parser.DetectionParser(data, is_training=True)
  parser(tf.constant(with_square()), tf.constant([8, 0], tf.int64))
  assert len(drawn) == len(RANDOM_CHANGES)
  assert len(set(drawn.values())) == len(RANDOM_CHANGES)
