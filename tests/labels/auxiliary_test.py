import functools

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from mtl_ssl_tf.labels import auxiliary, closeness, foreground, multi_object, windows

NUM_CLASSES = 4
# An image of 64 x 80 with three objects, one of 48 x 64 with one, and an empty one of 64 x 64:
#
#        0   16   32        80           0   16   40   64
#      0 +--------+                    0
#        | A 1    |                   16      +----+
#     16 |    +---+----+ 16..48, 24       | C 3|
#     32 +----|---+    |                   40 +----+
#             |   B 2  |
#     48      +--------+
_SIZES = tf.constant([[64.0, 80.0], [48.0, 64.0], [64.0, 64.0]])
_BOXES = tf.constant(
  [
    [[0, 0, 32, 32], [16, 24, 48, 48], [40, 60, 60, 70]],
    [[16, 16, 40, 40], [-1] * 4, [-1] * 4],
    [[-1] * 4] * 3,
  ],
  tf.float32,
)
_CLASSES = tf.constant([[1, 2, 1], [3, -1, -1], [-1, -1, -1]])
_SEEDS = tf.constant([[1, 5], [2, 5], [3, 5]])
_UPRIGHT = tf.constant([False] * 3)
_make = functools.partial(
  auxiliary.auxiliary_targets,
  num_windows=6,
  min_window_px=16.0,
  window_sampling="top_left",
  empty_image="no_loss",
  include_same_class=True,
  mask_size=8,
  foreground_weighting="uniform",
  round_decimals=None,
  flip_labels=True,
)


def _targets(boxes=_BOXES, flipped=_UPRIGHT, seeds=_SEEDS, **options):
  return _make(boxes, _CLASSES, _SIZES, flipped, seeds, NUM_CLASSES, **options)


def _mirrored(boxes, images=(True, True, True)):
  """The boxes seen in a mirror, by numpy; padding stays."""
  boxes = np.array(boxes)
  result = boxes.copy()
  for image in np.flatnonzero(images):
    width = float(_SIZES[image, 1])
    result[image, :, 1] = width - boxes[image, :, 3]
    result[image, :, 3] = width - boxes[image, :, 1]
  return tf.constant(np.where(np.all(boxes == -1.0, axis=-1, keepdims=True), boxes, result))


class MirrorBoxesTest(tf.test.TestCase):
  def test_left_becomes_right_where_told(self):
    boxes = tf.constant([[[1.0, 2.0, 3.0, 7.0], [-1.0] * 4]] * 3)
    sizes = tf.constant([[5.0, 10.0], [5.0, 10.0], [5.0, 20.0]])
    mirrored = auxiliary.mirror_boxes(boxes, sizes, tf.constant([True, False, True]))
    self.assertAllEqual(mirrored[:, 0], [[1, 3, 3, 8], [1, 2, 3, 7], [1, 13, 3, 18]])
    self.assertAllEqual(mirrored[:, 1], [[-1.0] * 4] * 3)


class AuxiliaryTargetsTest(parameterized.TestCase, tf.test.TestCase):
  def _assert_equal(self, ours, theirs, **tolerances):
    for name, values in ours._asdict().items():
      self.assertAllClose(values, getattr(theirs, name), msg=name, **tolerances)

  def test_shapes(self):
    shapes = {name: tuple(values.shape) for name, values in _targets()._asdict().items()}
    self.assertEqual(
      shapes,
      {
        "windows_px": (3, 6, 4),
        "window_labels": (3, 6, NUM_CLASSES),
        "window_weights": (3, 6),
        "closeness_labels": (3, 3, NUM_CLASSES),
        "foreground_mask": (3, 8, 8),
        "foreground_weights": (3, 8, 8),
      },
    )

  def test_sizes_are_as_told(self):
    targets = _targets(num_windows=64, min_window_px=32.0, mask_size=64)
    self.assertEqual(targets.windows_px.shape, [3, 64, 4])
    self.assertEqual(targets.foreground_mask.shape, [3, 64, 64])
    sides = targets.windows_px[..., 2:] - targets.windows_px[..., :2]
    self.assertGreater(np.min(sides), 32.0 - 1e-3)

  @parameterized.parameters(
    ({"empty_image": "ignored"}, "empty_image is 'ignored'; accepted: no_loss, background"),
    ({"window_sampling": "grid"}, "sampling is 'grid'; accepted: top_left, center_clip"),
    ({"foreground_weighting": "area"}, "weighting is 'area'; accepted: uniform, inverse_area"),
  )
  def test_unknown_choice(self, option, message):
    with self.assertRaisesRegex(ValueError, f"^{message}$"):
      _targets(**option)

  @parameterized.parameters("top_left", "center_clip")
  def test_windows_and_their_labels(self, sampling):
    targets = _targets(window_sampling=sampling)
    expected = windows.sample_windows(_SEEDS, _BOXES, _CLASSES, _SIZES, 6, 16.0, sampling)
    self.assertAllEqual(targets.windows_px, expected)
    self.assertAllEqual(
      targets.window_labels,
      multi_object.multi_object_labels(
        expected, _BOXES, _CLASSES, NUM_CLASSES, round_decimals=None
      ),
    )
    self.assertAllEqual(targets.window_weights, [[1.0] * 6, [1.0] * 6, [0.0] * 6])

  def test_a_box_that_draws_no_windows_counts_where_they_meet_it(self):
    drawn_around = tf.where(_CLASSES == 3, -1, _CLASSES)  # As if C were mined.
    targets = _targets(window_classes=drawn_around)
    meets = targets.window_labels[1, :, 3] > 0.0
    self.assertTrue(tf.reduce_any(meets))
    self.assertAllEqual(targets.window_weights[1], tf.cast(meets, tf.float32))

  @parameterized.parameters(False, True)
  def test_closeness(self, include_same_class):
    targets = _targets(include_same_class=include_same_class)
    expected = closeness.closeness_labels(
      _BOXES,
      _CLASSES,
      _SIZES,
      NUM_CLASSES,
      include_same_class=include_same_class,
      round_decimals=None,
    )
    self.assertAllEqual(targets.closeness_labels, expected)
    # A sees the other object of its class, or does not.
    self.assertEqual(targets.closeness_labels[0, 0, 1] > 0.0, include_same_class)

  def test_foreground_spans_the_content_of_each_image(self):
    # Cells of the second image are 6 x 8 px. Its object holds rows floor(16 / 6) = 2 to
    # floor(40 / 6 + 0.99) = 7 and columns 2 to floor(5 + 0.99) = 5.
    targets = _targets()
    expected = np.zeros([8, 8])
    expected[2:8, 2:6] = 1.0
    self.assertAllEqual(targets.foreground_mask[1], expected)
    self.assertAllEqual(targets.foreground_weights, tf.ones([3, 8, 8]))

  def test_foreground_weighted_by_inverse_area(self):
    # The second image's object holds 24 of 64 cells.
    weights = _targets(foreground_weighting="inverse_area").foreground_weights
    mean = (24 / 24 + 40 / 64) / 64
    self.assertAllClose(weights[1, 3, 3], 1 / 24 / mean)
    self.assertAllClose(weights[1, 0, 0], 1 / 64 / mean)
    self.assertAllClose(weights[2], tf.ones([8, 8]))
    self.assertAllEqual(
      weights[0],
      foreground.foreground_weights(
        _BOXES[0] / [64.0, 80.0, 64.0, 80.0], _CLASSES[0], 8, "inverse_area"
      ),
    )

  def test_rounding(self):
    exact, rounded = _targets(), _targets(round_decimals=2)
    for name in ("window_labels", "closeness_labels"):
      labels = getattr(exact, name).numpy()
      self.assertAllClose(getattr(rounded, name), labels.round(2), atol=1e-6)
      self.assertNotAllClose(labels, labels.round(2), atol=1e-6)
    self.assertAllEqual(rounded.windows_px, exact.windows_px)

  def test_images_without_objects(self):
    no_loss = _targets(empty_image="no_loss")
    background = _targets(empty_image="background")
    self.assertAllEqual(no_loss.window_weights[2], [0.0] * 6)
    self.assertAllEqual(background.window_weights[2], [1.0] * 6)
    for targets in (no_loss, background):
      self.assertAllEqual(targets.window_labels[2], [[1.0, 0.0, 0.0, 0.0]] * 6)
      self.assertAllEqual(targets.closeness_labels[2], tf.zeros([3, NUM_CLASSES]))
      self.assertAllEqual(targets.foreground_mask[2], tf.zeros([8, 8]))
      self.assertAllEqual(targets.window_weights[:2], tf.ones([2, 6]))

  @parameterized.parameters("no_loss", "background")
  def test_an_image_of_regions_alone(self, empty_image):
    # The first region covers three quarters of its image, the second all of it.
    boxes = tf.constant([[[0.0, 0.0, 64.0, 60.0]], [[0.0, 0.0, 48.0, 64.0]]])
    targets = _make(
      boxes,
      tf.constant([[0], [0]]),
      _SIZES[:2],
      _UPRIGHT[:2],
      _SEEDS[:2],
      NUM_CLASSES,
      empty_image=empty_image,
    )
    plain = windows.sample_windows(
      _SEEDS[:2], -tf.ones([2, 1, 4]), tf.constant([[-1], [-1]]), _SIZES[:2], 6, 16.0, "top_left"
    )
    self.assertAllEqual(targets.windows_px, plain)  # Regions attract no windows.
    beyond = targets.windows_px[0, :, 3] > 60.0
    self.assertLen(set(beyond.numpy().tolist()), 2)
    self.assertAllEqual(targets.window_labels[0, :, 0], beyond)
    has_loss = beyond & (empty_image == "background")
    self.assertAllEqual(targets.window_weights, [has_loss, tf.zeros([6])])
    self.assertAllEqual(targets.closeness_labels, tf.zeros([2, 1, NUM_CLASSES]))
    self.assertAllEqual(targets.foreground_mask, tf.zeros([2, 8, 8]))
    # The region holds columns 0 to floor(6.99).
    self.assertAllClose(targets.foreground_weights[0], [[0.0] * 7 + [8.0]] * 8)
    self.assertAllEqual(targets.foreground_weights[1], tf.zeros([8, 8]))

  @parameterized.parameters(
    (False, "inverse_area", False), (True, "uniform", False), (True, "inverse_area", True)
  )
  def test_a_region_takes_part_nowhere(self, compiled, weighting, flips):
    # Behind the objects of the three images stands a region, right of them or in the empty image.
    region = tf.constant([[[0, 72, 64, 80]], [[0, 48, 48, 64]], [[0, 0, 64, 32]]], tf.float32)
    regions = tf.concat([_BOXES, region], axis=1)
    classes = tf.concat([_CLASSES, tf.zeros([3, 1], tf.int32)], axis=1)
    flipped = tf.constant([flips] * 3)
    make = functools.partial(_make, foreground_weighting=weighting)
    make = tf.function(make, jit_compile=True) if compiled else make
    ours = make(regions, classes, _SIZES, flipped, _SEEDS, NUM_CLASSES)
    without = _targets(flipped=flipped, foreground_weighting=weighting)
    self.assertAllClose(ours.windows_px, without.windows_px, atol=1e-4)
    self.assertAllEqual(ours.window_weights, without.window_weights)
    self.assertAllEqual(ours.foreground_mask, without.foreground_mask)
    self.assertAllClose(ours.closeness_labels[0, :3], without.closeness_labels[0], atol=1e-6)
    self.assertAllEqual(ours.closeness_labels[1:], tf.zeros([2, 4, NUM_CLASSES]))
    # Of 8 columns, the left four and the one at their right, which is cut off before the flip.
    num_columns = 4 if flips else 5
    counted = [[False] * num_columns + [True] * (8 - num_columns)] * 8
    self.assertAllEqual(ours.foreground_weights[2] > 0.0, counted)
    self.assertAllClose(tf.reduce_mean(ours.foreground_weights, axis=[1, 2]), tf.ones([3]))

  def test_an_object_without_area_is_not_background_to_learn(self):
    boxes = tf.constant([[[10.0, 10.0, 10.0, 30.0]]])
    targets = _make(
      boxes,
      tf.constant([[1]]),
      _SIZES[:1],
      _UPRIGHT[:1],
      _SEEDS[:1],
      NUM_CLASSES,
      empty_image="background",
    )
    self.assertAllEqual(targets.window_weights, [[0.0] * 6])

  @parameterized.parameters("uniform", "inverse_area")
  def test_labels_follow_a_flipped_image(self, weighting):
    upright = _targets(foreground_weighting=weighting)
    flipped = _targets(_mirrored(_BOXES), tf.constant([True] * 3), foreground_weighting=weighting)
    expected = upright._replace(
      windows_px=_mirrored(upright.windows_px),
      foreground_mask=upright.foreground_mask[:, :, ::-1],
      foreground_weights=upright.foreground_weights[:, :, ::-1],
    )
    self._assert_equal(flipped, expected, atol=1e-5)
    self.assertNotAllClose(flipped.foreground_mask, upright.foreground_mask)
    self.assertNotAllClose(flipped.windows_px, upright.windows_px)

  def test_only_flipped_images_are_turned(self):
    which = [True, False, False]
    upright = _targets()
    mixed = _targets(_mirrored(_BOXES, which), tf.constant(which))
    self.assertAllClose(mixed.windows_px, _mirrored(upright.windows_px, which), atol=1e-5)
    self.assertAllEqual(mixed.foreground_mask[0], upright.foreground_mask[0, :, ::-1])
    self.assertAllEqual(mixed.foreground_mask[1:], upright.foreground_mask[1:])

  def test_labels_left_behind_as_released(self):
    upright = _targets(foreground_weighting="inverse_area")
    flipped = _targets(
      _mirrored(_BOXES),
      tf.constant([True] * 3),
      flip_labels=False,
      foreground_weighting="inverse_area",
    )
    self._assert_equal(flipped, upright, atol=1e-5)

  def test_seed_decides_the_windows_and_nothing_else(self):
    self._assert_equal(_targets(), _targets(), rtol=0.0, atol=0.0)
    other = _targets(seeds=tf.reverse(_SEEDS, axis=[1]))
    for image in range(3):
      self.assertNotAllClose(other.windows_px[image], _targets().windows_px[image])
    self.assertAllEqual(other.closeness_labels, _targets().closeness_labels)
    self.assertAllEqual(other.foreground_mask, _targets().foreground_mask)

  def test_batch_equals_one_by_one(self):
    flipped = tf.constant([True, False, True])
    both = _targets(flipped=flipped, foreground_weighting="inverse_area")
    for i in range(3):
      part = slice(i, i + 1)
      own = _make(
        _BOXES[part],
        _CLASSES[part],
        _SIZES[part],
        flipped[part],
        _SEEDS[part],
        NUM_CLASSES,
        foreground_weighting="inverse_area",
      )
      self._assert_equal(own, type(both)(*(values[part] for values in both)), atol=1e-6)

  def test_padding_changes_nothing(self):
    pad = [[0, 0], [0, 2]]
    boxes = tf.pad(_BOXES, [*pad, [0, 0]], constant_values=-1.0)
    classes = tf.pad(_CLASSES, pad, constant_values=-1)
    flipped = tf.constant([True, True, False])
    padded = _make(boxes, classes, _SIZES, flipped, _SEEDS, NUM_CLASSES)
    own = _targets(flipped=flipped)
    self.assertAllEqual(padded.closeness_labels[:, 3:], tf.zeros([3, 2, NUM_CLASSES]))
    padded = padded._replace(closeness_labels=padded.closeness_labels[:, :3])
    self._assert_equal(padded, own, atol=1e-6)

  def test_compiled(self):
    compiled = tf.function(
      functools.partial(_make, foreground_weighting="inverse_area", round_decimals=3),
      jit_compile=True,
    )
    flipped = tf.constant([True, False, True])
    ours = compiled(_BOXES, _CLASSES, _SIZES, flipped, _SEEDS, NUM_CLASSES)
    theirs = _targets(flipped=flipped, foreground_weighting="inverse_area", round_decimals=3)
    # A rounded entry may fall to the other side.
    self._assert_equal(ours, theirs, atol=1.1e-3)
    self.assertAllClose(ours.windows_px, theirs.windows_px, atol=1e-4)
