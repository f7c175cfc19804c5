"""Tests of detection_parser.py."""

import functools

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from mtl_ssl_tf.configs import data as data_config
from mtl_ssl_tf.data import schema
from mtl_ssl_tf.data.pipeline import detection_parser
from tests import fixtures


def make_parser(is_training=False, **settings):
  return detection_parser.DetectionParser(data_config.Data(**settings), is_training=is_training)


@functools.cache
def traced_parser(**settings):
  return tf.function(make_parser(max_num_boxes=3, **settings))


def parse(serialized, seed=(0, 0), **settings):
  """One example as numpy, through a traced function with unknown sizes as in the pipeline."""
  settings = {"input_size": (64, 64), "short_side": 30, "long_side": 64, **settings}
  parser = traced_parser(**settings)
  image, labels = parser(tf.constant(serialized), tf.constant(seed, tf.int64))
  return image.numpy(), tf.nest.map_structure(lambda x: x.numpy(), labels)


def bright_box(image):
  """Bounding box of what is brighter than half."""
  ys, xs = np.nonzero(image[..., 0] > 127)
  return [ys.min(), xs.min(), ys.max() + 1, xs.max() + 1]


class DetectionParserTest(parameterized.TestCase, tf.test.TestCase):
  def test_key_stays_with_the_image(self):
    image = fixtures.solid_image(20, 40, 9)
    keys = [
      parse(fixtures.serialized_example(image, [], [], source_id=name), seed=(0, step))[1][
        "image_key"
      ]
      for name in ("a", "b")
      for step in range(2)
    ]
    self.assertEqual(keys[0], keys[1])
    self.assertEqual(keys[2], keys[3])
    self.assertNotEqual(keys[0], keys[2])

  def test_worked_example(self):
    # 20 × 40 doubles to 40 × 80, the input allows 1.6 only: 32 × 64.
    boxes = [[5, 10, 15, 30], [0, 0, 20, 40]]
    serialized = fixtures.serialized_example(fixtures.solid_image(20, 40, 9), boxes, [2, 1], [0, 1])
    image, labels = parse(serialized, short_side=40, long_side=80)
    self.assertAllClose(labels["gt_boxes_px"], [[8, 16, 24, 48], [0, 0, 32, 64], [-1, -1, -1, -1]])
    self.assertAllClose(labels["gt_boxes_orig"], [*boxes, [-1, -1, -1, -1]])
    self.assertAllEqual(labels["gt_classes"], [2, 1, -1])
    self.assertAllEqual(labels["gt_difficult"], [False, True, False])
    self.assertAllEqual(labels["image_size_px"], [32, 64])
    self.assertAllClose(labels["image_info"], [[20, 40], [32, 64], [1.6, 1.6], [0, 0]])
    self.assertEqual(labels["num_dropped_boxes"], 0)
    self.assertFalse(labels["flipped"])
    self.assertTrue(labels["example_valid"])
    self.assertEqual(image.shape, (64, 64, 3))
    self.assertAllClose(image[:32], np.full([32, 64, 3], 9))
    self.assertAllEqual(image[32:], np.zeros([32, 64, 3]))

  def test_crowds_and_areas_are_those_of_the_record(self):
    # The second object has no area and is left out; the third's mask fills half of its box.
    boxes = [[0, 0, 10, 10], [5, 5, 5, 9], [10, 20, 20, 40]]
    example = tf.train.Example.FromString(
      fixtures.serialized_example(
        fixtures.solid_image(20, 40), boxes, [1, 1, 2], is_crowd=[0, 1, 1]
      )
    )
    example.features.feature[schema.OBJECT_AREA].float_list.value.extend([100.0, 7.0, 99.5])
    _, labels = parse(example.SerializeToString())
    self.assertAllEqual(labels["gt_is_crowd"], [False, True, False])
    self.assertAllEqual(labels["gt_area_orig"], [100.0, 99.5, 0.0])

  def test_an_area_that_the_record_does_not_tell_is_that_of_the_box(self):
    boxes = [[5, 10, 15, 30]]
    _, labels = parse(fixtures.serialized_example(fixtures.solid_image(20, 40), boxes, [1]))
    self.assertAllClose(labels["gt_area_orig"], [200.0, 0.0, 0.0])
    self.assertAllEqual(labels["gt_is_crowd"], [False] * 3)

  def test_the_scale_is_that_of_the_rounded_size(self):
    # 30 / 7 × 9 = 38.57, rounded to 39: boxes follow the pixels, not the wish.
    serialized = fixtures.serialized_example(fixtures.noise_image(7, 9), [[0, 3, 7, 9]], [1])
    _, labels = parse(serialized)
    self.assertAllEqual(labels["image_size_px"], [30, 39])
    self.assertAllClose(labels["gt_boxes_px"][0], [0, 13, 30, 39])
    self.assertAllClose(labels["image_info"][2], [30 / 7, 39 / 9])

  def test_pixels_keep_their_values_at_scale_one(self):
    image = fixtures.noise_image(30, 40)
    parsed, _ = parse(fixtures.serialized_example(image))
    self.assertAllEqual(parsed[:30, :40], image)

  def test_no_objects(self):
    _, labels = parse(fixtures.serialized_example(fixtures.noise_image(30, 40)), is_training=True)
    self.assertAllEqual(labels["gt_boxes_px"], -np.ones([3, 4]))
    self.assertAllEqual(labels["gt_classes"], [-1, -1, -1])

  def test_flip_mirrors_image_and_boxes_but_not_those_of_the_file(self):
    square = [4, 2, 14, 12]
    image = fixtures.image_with_squares(30, 40, [square])
    parsed, labels = parse(
      fixtures.serialized_example(image, [square], [1]), flip_probability=1.0, is_training=True
    )
    self.assertTrue(labels["flipped"])
    self.assertAllEqual(parsed[:30, :40], image[:, ::-1])
    self.assertAllClose(labels["gt_boxes_px"][0], [4, 28, 14, 38])
    self.assertAllClose(labels["gt_boxes_orig"][0], square)

  def test_vertical_flip_turns_image_and_boxes_upside_down(self):
    square = [4, 2, 14, 12]
    image = fixtures.image_with_squares(30, 40, [square])
    parsed, labels = parse(
      fixtures.serialized_example(image, [square], [1]),
      flip_probability=0.0,
      vertical_flip_probability=1.0,
      is_training=True,
    )
    self.assertFalse(labels["flipped"])
    self.assertAllEqual(parsed[:30, :40], image[::-1])
    self.assertAllClose(labels["gt_boxes_px"][0], [16, 2, 26, 12])
    self.assertAllClose(labels["gt_boxes_orig"][0], square)

  @parameterized.parameters(range(12))
  def test_zoomed_and_flipped_box_still_bounds_its_square(self, number):
    square = [12, 30, 26, 48]
    image = fixtures.image_with_squares(40, 60, [square])
    parsed, labels = parse(
      fixtures.serialized_example(image, [square], [1]),
      seed=(5, number),
      scale_min=0.6,
      scale_max=1.6,
      vertical_flip_probability=0.5 * (number % 2),
      is_training=True,
    )
    height, width = labels["image_size_px"].astype(int)
    self.assertAllLessEqual([height - 30, width - 45], 0)
    self.assertAllEqual(parsed[height:], np.zeros_like(parsed[height:]))
    self.assertAllEqual(parsed[:, width:], np.zeros_like(parsed[:, width:]))
    if labels["gt_classes"][0] > 0:
      self.assertAllClose(labels["gt_boxes_px"][0], bright_box(parsed), atol=1.0)
    else:
      scale = labels["image_info"][2]
      visible_px = np.count_nonzero(parsed[..., 0] > 127)
      self.assertLess(visible_px, 0.6 * np.prod([14, 18] * scale))
    if not labels["flipped"] and number % 2 == 0:
      _, _, scale, offset = labels["image_info"]
      corner = np.array(square[2:]) * scale - offset
      self.assertAllClose(labels["gt_boxes_px"][0][2:], np.minimum(corner, [height, width]))

  def test_a_zoom_that_cuts_most_of_a_box_off_drops_it(self):
    # At zoom 4 the window shows a quarter of each side; no place shows half of the large box.
    boxes = [[0, 0, 40, 60]]
    serialized = fixtures.serialized_example(fixtures.noise_image(40, 60), boxes, [1])
    _, labels = parse(serialized, scale_min=4.0, scale_max=4.0, is_training=True)
    self.assertAllEqual(labels["gt_classes"], [-1, -1, -1])
    self.assertAllEqual(labels["gt_boxes_orig"], -np.ones([3, 4]))
    self.assertEqual(labels["num_dropped_boxes"], 0)

  @parameterized.parameters((1.0, 2.0), (0.5, 1.0))
  def test_a_range_with_one_end_at_1_zooms(self, scale_min, scale_max):
    serialized = fixtures.serialized_example(fixtures.noise_image(30, 40))
    zoom = {"scale_min": scale_min, "scale_max": scale_max, "is_training": True}
    scales = {parse(serialized, (5, number), **zoom)[1]["image_info"][2, 0] for number in range(4)}
    self.assertLen(scales, 4)

  def test_later_changes_of_the_settings_do_not_count(self):
    data = data_config.Data(input_size=(64, 64), short_side=30, long_side=64, flip_probability=0.0)
    parser = detection_parser.DetectionParser(data, is_training=True)
    data.flip_probability = 1.0
    serialized = fixtures.serialized_example(fixtures.noise_image(30, 40), [[0, 0, 9, 9]], [1])
    self.assertFalse(parser(tf.constant(serialized), tf.zeros([2], tf.int64))[1]["flipped"])

  def test_evaluation_neither_flips_nor_zooms(self):
    image = fixtures.noise_image(30, 40)
    serialized = fixtures.serialized_example(image, [[0, 0, 9, 9]], [1])
    parsed, labels = parse(
      serialized,
      flip_probability=1.0,
      vertical_flip_probability=1.0,
      scale_min=2.0,
      scale_max=2.0,
    )
    self.assertAllEqual(parsed[:30, :40], image)
    self.assertFalse(labels["flipped"])

  @parameterized.parameters(
    ("keep", "keep", [1, 2, 3], [0, 1, 2]),
    ("ignore", "keep", [2, 3, 0], [1, 2, 0]),
    ("drop", "keep", [2, 3, -1], [1, 2]),
    ("keep", "ignore", [1, 3, 0], [0, 2, 1]),
    ("keep", "drop", [1, 3, -1], [0, 2]),
    ("ignore", "ignore", [3, 0, 0], [2, 0, 1]),
    ("drop", "drop", [3, -1, -1], [2]),
  )
  def test_difficult_objects_and_crowds_in_training(self, difficult, crowd, classes, rows):
    boxes = np.array([[0, 0, 9, 9], [5, 5, 9, 9], [2, 2, 9, 9]], np.float32)
    serialized = fixtures.serialized_example(
      fixtures.noise_image(30, 40), boxes, [1, 2, 3], difficult=[1, 0, 0], is_crowd=[0, 1, 0]
    )
    modes = {"difficult": difficult, "crowd": crowd}
    _, labels = parse(serialized, is_training=True, flip_probability=0.0, **modes)
    self.assertAllEqual(labels["gt_classes"], classes)
    for name in ("gt_boxes_px", "gt_boxes_orig"):
      self.assertAllClose(labels[name][: len(rows)], boxes[rows])
    self.assertAllEqual(labels["gt_difficult"][: len(rows)], [row == 0 for row in rows])
    _, labels = parse(serialized, **modes)
    self.assertAllEqual(labels["gt_classes"], [1, 2, 3])
    self.assertAllClose(labels["gt_boxes_px"], boxes)
    self.assertAllEqual(labels["gt_difficult"], [True, False, False])

  def test_places_of_faulty_objects_are_ignored_in_training_alone(self):
    serialized = fixtures.serialized_example(fixtures.noise_image(30, 40), [[0, 0, 9, 9]], [2])
    example = tf.train.Example.FromString(serialized)
    for key, value in zip(schema.IGNORED_BOX, (0.1, 0.2, 0.5, 1.0), strict=True):
      example.features.feature[key].float_list.value.append(value)
    serialized = example.SerializeToString()
    _, labels = parse(serialized, is_training=True, flip_probability=0.0)
    self.assertAllEqual(labels["gt_classes"], [2, 0, -1])
    self.assertAllClose(labels["gt_boxes_px"][:2], [[0, 0, 9, 9], [3, 8, 15, 40]])
    self.assertAllEqual(labels["gt_is_crowd"], [False] * 3)
    _, labels = parse(serialized)
    self.assertAllEqual(labels["gt_classes"], [2, -1, -1])

  @parameterized.parameters(("ignore", "drop"), ("drop", "ignore"), ("drop", "keep"))
  def test_of_an_object_that_is_both_the_stricter_counts(self, difficult, crowd):
    serialized = fixtures.serialized_example(
      fixtures.noise_image(30, 40), [[0, 0, 9, 9]], [1], difficult=[1], is_crowd=[1]
    )
    _, labels = parse(serialized, is_training=True, difficult=difficult, crowd=crowd)
    self.assertAllEqual(labels["gt_classes"], [-1, -1, -1])
    _, labels = parse(serialized, is_training=True, difficult="ignore", crowd="keep")
    self.assertAllEqual(labels["gt_classes"], [0, -1, -1])

  def test_crowds_are_ignored_by_default_and_difficult_objects_kept(self):
    serialized = fixtures.serialized_example(
      fixtures.noise_image(30, 40), [[0, 0, 9, 9], [5, 5, 9, 9]], [1, 2], [0, 1], [1, 0]
    )
    _, labels = parse(serialized, is_training=True)
    self.assertAllEqual(labels["gt_classes"], [2, 0, -1])

  def test_regions_to_be_ignored_take_no_slot_from_objects(self):
    boxes = [[0, 0, 9, 9], [1, 1, 9, 9], [2, 2, 9, 9], [3, 3, 9, 9], [4, 4, 9, 9]]
    serialized = fixtures.serialized_example(
      fixtures.noise_image(30, 40), boxes, [1, 2, 3, 4, 5], is_crowd=[1, 0, 1, 0, 1]
    )
    _, labels = parse(serialized, is_training=True, flip_probability=0.0)
    self.assertAllEqual(labels["gt_classes"], [2, 4, 0])
    self.assertAllClose(labels["gt_boxes_px"], [boxes[1], boxes[3], boxes[0]])
    self.assertEqual(labels["num_dropped_boxes"], 2)

  def test_what_a_zoom_leaves_of_a_region_is_still_ignored(self):
    # At zoom 4 the window shows a quarter of each side, a sixteenth of the area.
    serialized = fixtures.serialized_example(
      fixtures.noise_image(40, 60), [[0, 0, 40, 60]], [1], is_crowd=[1]
    )
    _, labels = parse(serialized, scale_min=4.0, scale_max=4.0, is_training=True)
    self.assertAllEqual(labels["gt_classes"], [0, -1, -1])
    self.assertAllClose(labels["gt_boxes_px"][0], [0, 0, 30, 45])
    # This one is in sight from some windows only.
    serialized = fixtures.serialized_example(
      fixtures.noise_image(40, 60), [[0, 0, 12, 18]], [1], is_crowd=[1]
    )
    seen = set()
    for number in range(20):
      _, labels = parse(
        serialized, seed=(0, number), scale_min=2.0, scale_max=2.0, is_training=True
      )
      visible = np.prod(labels["gt_boxes_px"][0][2:] - labels["gt_boxes_px"][0][:2]) > 0.0
      self.assertEqual(labels["gt_classes"][0], 0 if visible else -1)
      seen.add(bool(visible))
      if len(seen) == 2:
        break
    self.assertEqual(seen, {False, True})

  def test_boxes_beyond_max_num_boxes_are_counted(self):
    boxes = [[0, 0, 9, 9], [1, 1, 9, 9], [2, 2, 9, 9], [3, 3, 9, 9], [4, 4, 9, 9]]
    serialized = fixtures.serialized_example(fixtures.noise_image(30, 40), boxes, [1, 2, 3, 4, 5])
    _, labels = parse(serialized)
    self.assertAllEqual(labels["gt_classes"], [1, 2, 3])
    self.assertAllClose(labels["gt_boxes_px"], boxes[:3])
    self.assertEqual(labels["num_dropped_boxes"], 2)

  def test_boxes_without_area_are_left_out_and_the_rest_cut_to_the_image(self):
    # The second and third are a line and a not-a-number; the last lies outside altogether.
    boxes = [[-3, 0, 9, 44], [5, 5, 5, 9], [1, 1, np.nan, 9], [40, 0, 50, 9]]
    serialized = fixtures.serialized_example(fixtures.noise_image(30, 40), boxes, [4, 3, 2, 1])
    _, labels = parse(serialized)
    self.assertAllEqual(labels["gt_classes"], [4, -1, -1])
    self.assertAllClose(labels["gt_boxes_px"][0], [0, 0, 9, 40])

  def test_same_seed_same_example(self):
    square = [4, 2, 14, 12]
    serialized = fixtures.serialized_example(fixtures.noise_image(30, 40), [square], [1])
    zoom = {"scale_min": 0.5, "scale_max": 2.0, "is_training": True}
    first, _ = parse(serialized, seed=(1, 1), **zoom)
    traced_parser.cache_clear()  # As in another process.
    again, _ = parse(serialized, seed=(1, 1), **zoom)
    other, _ = parse(serialized, seed=(1, 2), **zoom)
    self.assertAllEqual(first, again)
    self.assertNotAllEqual(first, other)

  def test_blank_has_the_structure_of_an_example(self):
    parser = make_parser(input_size=(8, 16), max_num_boxes=2)
    serialized = fixtures.serialized_example(fixtures.noise_image(4, 8), [[0, 0, 2, 2]], [1])
    example = parser(serialized, tf.zeros([2], tf.int64))
    blank = parser.blank()
    tf.nest.assert_same_structure(example, blank)
    for real, empty in zip(tf.nest.flatten(example), tf.nest.flatten(blank), strict=True):
      self.assertEqual(real.dtype, empty.dtype)
      self.assertEqual(real.shape, empty.shape)
    self.assertFalse(blank[1]["example_valid"])
    self.assertAllEqual(blank[1]["gt_classes"], [-1, -1])
    self.assertAllEqual(blank[1]["image_size_px"], [8, 16])

  @parameterized.parameters(
    ({"input_size": (8, 8, 3)}, "input_size"),
    ({"input_size": (0, 8)}, "input_size"),
    ({"short_side": 0}, "short_side"),
    ({"long_side": -1}, "long_side"),
    ({"max_num_boxes": 0}, "max_num_boxes"),
    ({"flip_probability": 1.5}, "flip_probability"),
    ({"vertical_flip_probability": -0.5}, "vertical_flip_probability"),
    ({"scale_min": 2.0}, "scale_min"),
    ({"scale_min": 0.0}, "scale_min"),
    ({"difficult": "maybe"}, "difficult is 'maybe'; accepted: keep, ignore, drop"),
    ({"crowd": True}, "crowd is True; accepted: keep, ignore, drop"),
  )
  def test_settings_out_of_range(self, settings, name):
    with self.assertRaisesRegex(ValueError, name):
      make_parser(**settings)
