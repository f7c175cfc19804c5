import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from mtl_ssl_tf.modeling import refinement
from tests.modeling import small


class MeanClosenessTest(tf.test.TestCase):
  # Two images of three rows, one and two of them padding, and an image of padding only.
  CLOSENESS = tf.constant(
    [
      [[1.0, 10.0], [3.0, 30.0], [8.0, 80.0]],
      [[6.0, 60.0], [0.0, 0.0], [9.0, 90.0]],
      [[9.0, 90.0], [9.0, 90.0], [9.0, 90.0]],
    ]
  )
  VALID = tf.constant([[True, True, False], [True, False, False], [False] * 3])

  def test_valid_rows_of_each_image(self):
    mean = refinement.mean_closeness(self.CLOSENESS, self.VALID, "per_image_valid")
    self.assertAllClose(mean, [[[2.0, 20.0]], [[6.0, 60.0]], [[0.0, 0.0]]])

  def test_unknown_mean(self):
    message = "^closeness_mean is 'rows'; accepted: per_image_valid, all_rows$"
    with self.assertRaisesRegex(ValueError, message):
      refinement.mean_closeness(self.CLOSENESS, self.VALID, "rows")

  def test_all_rows_of_the_batch_as_released(self):
    mean = refinement.mean_closeness(self.CLOSENESS, self.VALID, "all_rows")
    self.assertAllClose(mean, [[[6.0, 60.0]]] * 3)

  def test_the_mean_over_other_images_carries_no_gradient(self):
    found = {}
    for kind in ("per_image_valid", "all_rows"):
      with tf.GradientTape() as tape:
        tape.watch(self.CLOSENESS)
        total = tf.reduce_sum(refinement.mean_closeness(self.CLOSENESS, self.VALID, kind))
      found[kind] = tape.gradient(total, self.CLOSENESS)
    self.assertIsNone(found["all_rows"])
    self.assertAllClose(
      found["per_image_valid"][..., 0], [[0.5, 0.5, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]]
    )


# One image, two boxes, two windows each.
_LOGITS = tf.constant([[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]])  # [B, R, C]
_WINDOWS = tf.constant(
  [[[[11.0, 12.0, 13.0], [21.0, 22.0, 23.0]], [[31.0, 32.0, 33.0], [41.0, 42.0, 43.0]]]]
)  # [B, R, Q, C]
_CLOSENESS = tf.constant([[[7.0, 8.0, 9.0]]])  # [B, 1, C]


def _with_kernel(kernel, **options):
  refiner = small.make_refiner(**options)
  refiner.linear.build([None, None, len(kernel)])
  refiner.linear.kernel.assign(kernel)
  return refiner


def _picking(*columns, num_columns=12, **options):
  """A layer whose correction of class c is its input column `columns[c]`."""
  kernel = np.zeros([num_columns, 3], np.float32)
  kernel[columns, range(3)] = 1.0
  return _with_kernel(kernel, **options)


class RefinementTest(parameterized.TestCase, tf.test.TestCase):
  def test_input_is_main_then_windows_from_the_inside_out_then_closeness(self):
    columns = []
    for first in range(0, 12, 3):
      refiner = _picking(first, first + 1, first + 2, residual=False)
      columns.append(refiner(_LOGITS, _WINDOWS, _CLOSENESS)[0])
    self.assertAllEqual(
      tf.concat(columns, axis=-1),
      [
        [1.0, 2.0, 3.0, 11.0, 12.0, 13.0, 21.0, 22.0, 23.0, 7.0, 8.0, 9.0],
        [4.0, 5.0, 6.0, 31.0, 32.0, 33.0, 41.0, 42.0, 43.0, 7.0, 8.0, 9.0],
      ],
    )

  def test_correction_is_added_to_the_logits(self):
    refined = _picking(3, 7, 11)(_LOGITS, _WINDOWS, _CLOSENESS)
    self.assertAllEqual(refined, [[[12.0, 24.0, 12.0], [35.0, 47.0, 15.0]]])

  @parameterized.parameters(
    {},
    {"residual": False},
    {"use_bias": True},
    {"input_kind": "probabilities"},
    {"zeroed_input": "closeness"},
  )
  def test_parts_add_up_to_the_refined_logits(self, **options):
    rng = np.random.default_rng(0)
    refiner = _with_kernel(rng.normal(size=[12, 3]), **options)
    if options.get("use_bias"):
      refiner.linear.bias.assign([1.0, -2.0, 3.0])
    parts = refiner.parts(_LOGITS, _WINDOWS, _CLOSENESS)
    refined = refiner(_LOGITS, _WINDOWS, _CLOSENESS)
    self.assertEqual(parts.shape, [1, 2, 5 + refiner.linear.use_bias, 3])
    self.assertAllClose(tf.reduce_sum(parts, axis=2), refined, rtol=1e-5)

  def test_each_part_is_what_its_source_adds(self):
    # Input column 3 is the first window's value of class 0, 8 the second one's of class 2.
    refiner = _picking(3, 8, 11)
    self.assertAllEqual(
      refiner.parts(_LOGITS, _WINDOWS, _CLOSENESS)[0, 0],
      [
        [1.0, 2.0, 3.0],
        [0.0, 0.0, 0.0],
        [11.0, 0.0, 0.0],
        [0.0, 23.0, 0.0],
        [0.0, 0.0, 9.0],
      ],
    )

  def test_parts_without_windows_or_closeness(self):
    refiner = _picking(0, 1, 2, num_columns=3)
    self.assertAllEqual(
      refiner.parts(_LOGITS, None, None)[0, 0], [[1.0, 2.0, 3.0], [1.0, 2.0, 3.0]]
    )

  def test_each_image_has_its_own_closeness(self):
    closeness = tf.constant([[[7.0, 8.0, 9.0]], [[70.0, 80.0, 90.0]]])
    refined = _picking(9, 10, 11, residual=False)(
      tf.tile(_LOGITS, [2, 1, 1]), tf.tile(_WINDOWS, [2, 1, 1, 1]), closeness
    )
    self.assertAllEqual(refined, tf.tile(closeness, [1, 2, 1]))

  @parameterized.parameters(("main_head", 0, 3), ("multi_object", 3, 9), ("closeness", 9, 12))
  def test_a_zeroed_input_leaves_the_others_as_they_are(self, name, first, end):
    columns, whole = [], []
    for start in range(0, 12, 3):
      picked = (start, start + 1, start + 2)
      options = {"residual": False}
      whole.append(_picking(*picked, **options)(_LOGITS, _WINDOWS, _CLOSENESS)[0])
      refiner = _picking(*picked, zeroed_input=name, **options)
      columns.append(refiner(_LOGITS, _WINDOWS, _CLOSENESS)[0])
    expected = np.concatenate(whole, axis=-1)
    expected[:, first:end] = 0.0
    self.assertAllEqual(tf.concat(columns, axis=-1), expected)

  def test_a_zeroed_main_head_is_still_what_is_corrected(self):
    refined = _picking(0, 1, 2, zeroed_input="main_head")(_LOGITS, _WINDOWS, _CLOSENESS)
    self.assertAllEqual(refined, _LOGITS)

  def test_unknown_input(self):
    with self.assertRaisesRegex(ValueError, "^input is 'scores'; accepted: logits, probabilities$"):
      small.make_refiner(input_kind="scores")

  @parameterized.parameters(
    (None, None, 3), (_WINDOWS, None, 9), (None, _CLOSENESS, 6), (_WINDOWS, _CLOSENESS, 12)
  )
  def test_missing_heads_take_no_columns(self, windows, closeness, num_columns):
    refiner = small.make_refiner()
    refined = refiner(_LOGITS, windows, closeness)
    self.assertEqual(refined.shape, [1, 2, 3])
    self.assertEqual(refiner.linear.kernel.shape, [num_columns, 3])

  def test_probabilities_of_the_auxiliary_heads_only(self):
    log_odds = np.log([[0.2, 0.3, 0.5]]).astype(np.float32)
    closeness = tf.constant(log_odds[np.newaxis] + 4.0)
    windows = tf.constant(np.log([[0.6, 0.3, 0.1], [0.1, 0.1, 0.8]]), tf.float32) - 2.0
    windows = tf.tile(windows[tf.newaxis, tf.newaxis], [1, 2, 1, 1])
    picked = [
      _picking(*range(first, first + 3), residual=False, input_kind="probabilities")(
        _LOGITS, windows, closeness
      )[0, 1]
      for first in range(0, 12, 3)
    ]
    self.assertAllClose(
      picked, [[4.0, 5.0, 6.0], [0.6, 0.3, 0.1], [0.1, 0.1, 0.8], [0.2, 0.3, 0.5]]
    )

  @parameterized.parameters((True, ["kernel", "bias"]), (False, ["kernel"]))
  def test_bias(self, use_bias, expected):
    refiner = small.make_refiner(use_bias=use_bias)
    refiner(_LOGITS, None, None)
    names = [v.name.split("/")[-1].split(":")[0] for v in refiner.trainable_variables]
    self.assertEqual(names, expected)
    self.assertEqual([v.shape for v in refiner.last_kernels], [[3, 3]])

  def test_starts_as_nearly_no_correction(self):
    refiner = small.make_refiner()
    refiner(tf.zeros([1, 1, 3]), tf.zeros([1, 1, 500, 3]), None)
    self.assertAllClose(tf.math.reduce_std(refiner.linear.kernel), 0.0088, atol=5e-4)

  @parameterized.parameters(
    # residual, stop_gradient_residual -> gradient of the sum of refined logits to the logits.
    (True, True, None),
    (True, False, 1.0),
    (False, False, None),
  )
  def test_gradient_flows_through_the_residual_at_most(self, residual, stop, expected):
    refiner = _picking(0, 4, 9, residual=residual, stop_gradient_residual=stop)
    with tf.GradientTape() as tape:
      tape.watch([_LOGITS, _WINDOWS, _CLOSENESS])
      total = tf.reduce_sum(refiner(_LOGITS, _WINDOWS, _CLOSENESS))
    logits, windows, closeness, kernel = tape.gradient(
      total, [_LOGITS, _WINDOWS, _CLOSENESS, refiner.linear.kernel]
    )
    self.assertIsNone(windows)
    self.assertIsNone(closeness)
    # The kernel's gradient is each input column, summed over the two boxes.
    self.assertAllEqual(kernel[:, 0], [5, 7, 9, 42, 44, 46, 62, 64, 66, 14, 16, 18])
    if expected is None:
      self.assertIsNone(logits)
    else:
      self.assertAllEqual(logits, tf.fill([1, 2, 3], expected))


class SelectTest(parameterized.TestCase, tf.test.TestCase):
  # Object probabilities 1/2, 2/3, 3/4 and 1/3 by three classes with the background.
  LOGITS = tf.math.log([[[2.0, 1.0, 1.0], [1.0, 1.5, 0.5], [1.0, 1.0, 2.0], [2.0, 0.5, 0.5]]])

  @parameterized.parameters(
    (0.0, 0, [1, 1, 1, 1]),
    (0.4, 0, [1, 1, 1, 0]),
    (0.6, 0, [0, 1, 1, 0]),
    (0.0, 1, [0, 0, 1, 0]),
    (0.0, 2, [0, 1, 1, 0]),
    (0.0, 3, [1, 1, 1, 0]),
    (0.0, 4, [1, 1, 1, 1]),
    (0.0, 9, [1, 1, 1, 1]),
    (0.7, 2, [0, 0, 1, 0]),
  )
  def test_likely_objects(self, score, most, expected):
    valid = tf.ones([1, 4], tf.bool)
    stage = small.make_refinement(min_object_score=score, max_proposals=most)
    self.assertAllEqual(stage.select(self.LOGITS, valid), [np.array(expected, bool)])
    self.assertEqual(stage.is_limited, score > 0.0 or most > 0)

  def test_padding_is_never_selected_and_takes_no_place(self):
    valid = tf.constant([[True, True, False, True]])
    for options in ({"max_proposals": 2}, {"min_object_score": 0.4}):
      selected = small.make_refinement(**options).select(self.LOGITS, valid)
      self.assertAllEqual(selected, [[True, True, False, False]])

  def test_certain_objects_are_told_apart(self):
    # All three are 1 as probabilities in float32.
    logits = tf.constant([[[0.0, 40.0], [0.0, 60.0], [0.0, 50.0]]])
    selected = small.make_refinement(max_proposals=2).select(logits, tf.ones([1, 3], tf.bool))
    self.assertAllEqual(selected, [[False, True, True]])
