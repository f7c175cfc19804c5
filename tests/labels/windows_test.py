import numpy as np
import tensorflow as tf
from absl.testing import parameterized
from hypothesis import given, settings
from hypothesis import strategies as st

from mtl_ssl_tf.labels import windows
from tests.labels import oracles

_PADDING = [-1.0, -1.0, -1.0, -1.0]
_SAMPLINGS = ("top_left", "center_clip")
_compiled = tf.function(windows.sample_windows, jit_compile=True)


def _assert_inside(sampled, size, min_size=32.0):
  least = np.minimum(min_size, size)
  assert sampled.min() >= 0.0
  assert (sampled[:, 2:] <= size).all()
  assert (sampled[:, 2:] - sampled[:, :2] >= least - 1e-3).all()


class SampleWindowsTest(parameterized.TestCase, tf.test.TestCase):
  @parameterized.product(jit_compile=[False, True], sampling=_SAMPLINGS)
  def test_windows_lie_inside_and_meet_an_object(self, jit_compile, sampling):
    # Objects of a fraction of a pixel in two opposite corners and on a border, and large ones.
    boxes = [
      [[0.0, 0.0, 0.5, 0.5], [299.5, 399.5, 300.0, 400.0], _PADDING],
      [[120.0, 0.0, 120.25, 0.25], _PADDING, _PADDING],
      [[0.0, 0.0, 300.0, 400.0], [10.0, 20.0, 200.0, 300.0], [150.0, 150.0, 160.0, 350.0]],
    ]
    classes = tf.constant([[1, 2, -1], [3, -1, -1], [1, 1, 2]])
    sizes = tf.constant([[300.0, 400.0]] * 3)
    sample_fn = tf.function(windows.sample_windows, jit_compile=jit_compile)
    sampled = sample_fn(
      tf.constant([1, 2]), tf.constant(boxes), classes, sizes, sampling=sampling
    ).numpy()
    self.assertEqual(sampled.shape, (3, 64, 4))
    for image in range(3):
      _assert_inside(sampled[image], [300.0, 400.0])
      self.assertAllGreater(oracles.num_met(sampled[image], np.array(boxes[image])), 0)

  @parameterized.parameters(*_SAMPLINGS)
  def test_small_images_have_windows_of_their_own_size(self, sampling):
    sampled = _compiled(
      tf.constant([0, 7]),
      tf.constant([[3.0, 5.0, 9.0, 8.0]]),
      tf.constant([1]),
      tf.constant([20.0, 100.0]),
      num_windows=16,
      sampling=sampling,
    ).numpy()
    self.assertAllEqual(sampled[:, [0, 2]], [[0.0, 20.0]] * 16)
    _assert_inside(sampled, [20.0, 100.0])
    self.assertAllLess(sampled[:, 1], 8.0)
    self.assertGreater(np.ptp(sampled[:, 3]), 20.0)

  @parameterized.parameters(*_SAMPLINGS)
  def test_without_objects_windows_lie_anywhere_inside(self, sampling):
    # Nothing but padding; an object without area; one outside; one that is none by its class.
    boxes = [
      [_PADDING],
      [[50.0, 50.0, 50.0, 60.0]],
      [[-9.0, 0.0, 0.0, 9.0]],
      [[0.0, 0.0, 9.0, 9.0]],
    ]
    classes = tf.constant([[-1], [1], [1], [-1]])
    sizes = tf.constant([[300.0, 400.0]] * 4)
    sampled = _compiled(tf.constant([1, 2]), tf.constant(boxes), classes, sizes, sampling=sampling)
    for image_windows in sampled.numpy():
      _assert_inside(image_windows, [300.0, 400.0])
      self.assertAllGreater(np.ptp(image_windows, axis=0), 100.0)

  def test_objects_without_area_attract_no_windows(self):
    boxes = tf.constant([[100.0, 0.0, 100.0, 400.0], [0.0, 0.0, 1.0, 1.0]])
    sampled = _compiled(
      tf.constant([3, 1]), boxes, tf.constant([1, 1]), tf.constant([300.0, 400.0])
    )
    self.assertAllLess(sampled[:, :2], 1.0)

  @parameterized.parameters(*_SAMPLINGS)
  def test_batch_equals_one_by_one_and_padding_changes_nothing(self, sampling):
    rng = np.random.default_rng(2)
    seeds = tf.constant([[1, 2], [3, 4], [1, 2]])
    boxes = np.sort(rng.uniform(0, 300, [3, 6, 2, 2]), axis=2).reshape(3, 6, 4).astype(np.float32)
    classes = rng.integers(1, 5, [3, 6]).astype(np.int32)
    sizes = tf.constant([[300.0, 300.0], [310.0, 420.0], [333.0, 303.0]])
    for image, count in enumerate([4, 1, 3]):
      boxes[image, count:], classes[image, count:] = -1.0, -1
    sampled = _compiled(seeds, boxes, classes, sizes, 16, sampling=sampling)
    for image in range(3):
      own = (seeds[image], boxes[image, :4], classes[image, :4], sizes[image])
      self.assertAllClose(_compiled(*own, 16, sampling=sampling), sampled[image], atol=1e-3)

  @parameterized.parameters(False, True)
  def test_a_seed_repeats_itself_and_serves_each_image_its_own_stream(self, jit_compile):
    boxes, classes = tf.constant([[[5.0, 5.0, 90.0, 90.0]]] * 2), tf.constant([[1]] * 2)
    sizes = tf.constant([[100.0, 100.0]] * 2)
    sample_fn = tf.function(windows.sample_windows, jit_compile=jit_compile)
    first = sample_fn(tf.constant([1, 2]), boxes, classes, sizes, 8)
    self.assertAllEqual(first, sample_fn(tf.constant([1, 2]), boxes, classes, sizes, 8))
    self.assertNotAllClose(first[0], first[1])
    self.assertNotAllClose(first, sample_fn(tf.constant([1, 3]), boxes, classes, sizes, 8))

  @parameterized.parameters(*_SAMPLINGS)
  def test_graph_and_compiled_agree(self, sampling):
    # On the same uniform numbers: the generators themselves differ.
    rng = np.random.default_rng(4)
    uniforms = tf.constant(rng.uniform(size=[2, 6, 16, 8]), tf.float32)
    boxes = np.sort(rng.uniform(0, 300, [2, 5, 2, 2]), axis=2).reshape(2, 5, 4).astype(np.float32)
    classes, sizes = tf.constant([[1, 2, 3, -1, 1]] * 2), tf.constant([[300.0, 300.0]] * 2)
    results = [
      tf.function(windows._windows_from_uniforms, jit_compile=jit_compile)(
        uniforms, boxes, classes, sizes, 32, sampling
      )
      for jit_compile in (False, True)
    ]
    self.assertAllClose(*results, atol=1e-3)

  def test_a_window_of_which_no_candidate_passes_meets_an_object(self):
    # Two pairs of small objects in opposite corners. Candidates of the first half meet the hull,
    # which is the image: these start in its middle and end soon, and meet no object. Candidates of
    # the second half meet a pair, and pass for u · 2 < 1.
    boxes = tf.constant([[[0.0, 0.0, 5.0, 5.0]] * 2 + [[295.0, 295.0, 300.0, 300.0]] * 2])
    uniforms = tf.fill([1, 6, 3, 8], 0.5)
    pick = tf.fill([1, 1, 3, 8], 0.2)
    keep = tf.fill([1, 1, 3, 8], 0.9)
    uniforms = tf.concat([pick, keep, uniforms[:, :2], tf.fill([1, 2, 3, 8], 0.1)], axis=1)
    sampled = windows._windows_from_uniforms(
      uniforms, boxes, tf.constant([[1, 2, 1, 2]]), tf.constant([[300.0, 300.0]]), 32, "top_left"
    )
    self.assertAllEqual(oracles.num_met(sampled[0].numpy(), boxes[0].numpy()), [2, 2, 2])

  def test_other_samplings_are_refused(self):
    one_image = (tf.constant([[0.0, 0.0, 9.0, 9.0]]), tf.constant([1]), tf.constant([99.0, 99.0]))
    with self.assertRaisesRegex(ValueError, "'random'.*'top_left', 'center_clip'"):
      windows.sample_windows([1, 2], *one_image, sampling="random")


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(scene=oracles.scenes(), seed=st.integers(0, 2**31 - 1), sampling=st.sampled_from(_SAMPLINGS))
def test_every_window_meets_an_object(scene, seed, sampling):
  boxes, classes = scene.padded(100)
  sampled = _compiled(
    tf.constant([seed, 0]), boxes, classes, scene.size, 16, sampling=sampling
  ).numpy()
  _assert_inside(sampled, scene.size)
  with_area = np.all(scene.boxes[:, 2:] > scene.boxes[:, :2], axis=1)
  if with_area.any():
    assert (oracles.num_met(sampled, scene.boxes[with_area]) > 0).all()


# The distribution, against plain rejection. Image 320 × 400.
_SIZE = np.array([320.0, 400.0])
_LAYOUTS = {
  "one small box": [[30, 340, 38, 350]],
  "two corners": [[0, 0, 12, 12], [300, 380, 320, 400]],
  "large and small": [[20, 30, 250, 300], [280, 20, 290, 30], [40, 350, 60, 360]],
  # Few plain draws meet any, and those that do meet either one box or nine.
  "pile and loner": [[i, i, 25, 25] for i in range(9)] + [[300, 380, 320, 400]],
}


def _kolmogorov_smirnov(sampled, reference, boxes):
  """Largest distance between the distributions of several figures of two sets of windows."""

  def figures(w):
    height, width = w[:, 2] - w[:, 0], w[:, 3] - w[:, 1]
    center_y, center_x = w[:, 0] + w[:, 2], w[:, 1] + w[:, 3]
    met = oracles.num_met(w, boxes)
    return [w[:, 0], w[:, 1], height, width, center_y - center_x, height * width, met]

  distances = []
  for ours, theirs in zip(figures(sampled), figures(reference), strict=True):
    levels = np.unique(np.concatenate([ours, theirs]))
    shares = [np.searchsorted(np.sort(x), levels, side="right") / len(x) for x in (ours, theirs)]
    distances.append(np.abs(shares[0] - shares[1]).max())
  return max(distances)


# Samples of 4096 and 20 000 from one distribution are further apart with probability 1e-4.
_THRESHOLD = np.sqrt(-0.5 * np.log(1e-4 / 2)) * np.sqrt(1 / 4096 + 1 / 20_000)


class DistributionTest(parameterized.TestCase, tf.test.TestCase):
  @parameterized.product(layout=list(_LAYOUTS), sampling=_SAMPLINGS)
  def test_equals_plain_rejection(self, layout, sampling):
    boxes = np.array(_LAYOUTS[layout], np.float32)
    rng = np.random.default_rng(6)
    reference = oracles.rejection_windows(rng, _SIZE, boxes, 20_000, sampling)
    # Padded to one size, so that all layouts are of one program.
    padded, classes = np.full([10, 4], -1.0, np.float32), np.full([10], -1, np.int32)
    padded[: len(boxes)], classes[: len(boxes)] = boxes, 1
    sampled = _compiled(
      tf.constant([5, 8]),
      tf.constant(np.tile(padded, [64, 1, 1])),
      tf.constant(np.tile(classes, [64, 1])),
      tf.constant(np.tile(_SIZE, [64, 1]), tf.float32),
      sampling=sampling,
    )
    sampled = tf.reshape(sampled, [-1, 4]).numpy()
    self.assertLess(_kolmogorov_smirnov(sampled, reference, boxes), _THRESHOLD)

  @parameterized.product(layout=list(_LAYOUTS), sampling=_SAMPLINGS)
  def test_would_notice_windows_put_around_a_box(self, layout, sampling):
    # Wrong: a plain window, moved so that it contains a random point of a random box.
    boxes = np.array(_LAYOUTS[layout], np.float64)
    rng = np.random.default_rng(6)
    reference = oracles.rejection_windows(rng, _SIZE, boxes, 20_000, sampling)
    wrong = oracles.plain_windows(rng, _SIZE, 4096, sampling)
    chosen = boxes[rng.integers(len(boxes), size=4096)]
    point = rng.uniform(chosen[:, :2], chosen[:, 2:])
    sides = wrong[:, 2:] - wrong[:, :2]
    starts = np.clip(point - rng.uniform(size=[4096, 2]) * sides, 0.0, _SIZE - sides)
    wrong = np.concatenate([starts, starts + sides], axis=1)
    self.assertGreater(_kolmogorov_smirnov(wrong, reference, boxes), 1.5 * _THRESHOLD)

  @parameterized.product(layout=["large and small", "pile and loner"], sampling=_SAMPLINGS)
  def test_would_notice_a_box_chosen_first(self, layout, sampling):
    # Wrong: plain windows that meet a box chosen beforehand, each box as often as any other.
    boxes = np.array(_LAYOUTS[layout], np.float64)
    rng = np.random.default_rng(6)
    reference = oracles.rejection_windows(rng, _SIZE, boxes, 20_000, sampling)
    counts = np.bincount(rng.integers(len(boxes), size=4096), minlength=len(boxes))
    wrong = np.concatenate(
      [
        oracles.rejection_windows(rng, _SIZE, box[np.newaxis], count, sampling)
        for box, count in zip(boxes, counts, strict=True)
      ]
    )
    self.assertGreater(_kolmogorov_smirnov(wrong, reference, boxes), 1.5 * _THRESHOLD)
