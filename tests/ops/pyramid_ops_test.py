"""Crops of a pyramid against RoIAlign written out sample by sample."""

import numpy as np
import pytest
import tensorflow as tf

from mtl_ssl_tf.ops import pyramid_ops

MIN_LEVEL, NUM_LEVELS = 2, 3
DEPTH = 2
# The second image fills a part of the input, of which no side is a multiple of a stride.
INPUT = (64, 96)
IMAGE_SIZES = np.array([[64.0, 96.0], [41.0, 70.0]], np.float32)
BOXES = np.array(
  [
    [
      [3.0, 5.0, 17.5, 30.0],
      [0.0, 0.0, 64.0, 96.0],
      [60.0, 90.0, 61.0, 91.0],
      [8.0, 8.0, 40.0, 40.0],
    ],
    [[20.0, 33.0, 41.0, 70.0], [0.0, 0.0, 41.0, 70.0], [40.0, 0.0, 41.0, 70.0], [-1.0] * 4],
  ],
  np.float32,
)
LEVELS = np.array([[2, 4, 2, 3], [3, 4, 2, 2]], np.int32)


def make_maps(dtype=np.float32):
  rng = np.random.default_rng(0)
  return [
    rng.normal(size=(2, -(-INPUT[0] // 2**level), -(-INPUT[1] // 2**level), DEPTH)).astype(dtype)
    for level in range(MIN_LEVEL, MIN_LEVEL + NUM_LEVELS + 1)
  ]


def naive_crop(maps, box, level, image_size, crop_size, num_samples):
  """The crop [s, s, c] of one box: the mean of each cell's samples."""
  stride = 2.0**level
  last = np.ceil(image_size / stride) - 1.0
  sizes = np.minimum(np.maximum((box[2:] - box[:2]) / stride, 1.0), last + 1.0)
  first = np.clip(box[:2] / stride, 0.0, last + 1.0 - sizes)
  crop = np.zeros([crop_size, crop_size, maps.shape[-1]])
  for y, x in np.ndindex(crop_size, crop_size):
    for i, j in np.ndindex(num_samples, num_samples):
      cell = np.array([y + (i + 0.5) / num_samples, x + (j + 0.5) / num_samples])
      place = np.minimum(first + sizes * cell / crop_size, last)
      low = np.floor(place).astype(int)
      share = place - low
      high = np.minimum(low + 1, last.astype(int))
      for row, row_share in ((low[0], 1.0 - share[0]), (high[0], share[0])):
        for column, column_share in ((low[1], 1.0 - share[1]), (high[1], share[1])):
          crop[y, x] += row_share * column_share * maps[row, column] / num_samples**2
  return crop


def crops(maps, method, crop_size=3, num_samples=2, boxes=BOXES, levels=LEVELS):
  packed = pyramid_ops.pack(maps, tf.constant(IMAGE_SIZES), MIN_LEVEL, NUM_LEVELS, method)
  return pyramid_ops.crop(
    packed,
    tf.constant(boxes),
    tf.constant(levels),
    tf.constant(IMAGE_SIZES),
    min_level=MIN_LEVEL,
    crop_size=crop_size,
    num_samples=num_samples,
  )


@pytest.mark.parametrize("method", ["native", "matmul"])
@pytest.mark.parametrize(("crop_size", "num_samples"), [(3, 1), (2, 2), (1, 1), (2, 3)])
def test_crops_are_means_of_bilinear_samples(method, crop_size, num_samples):
  maps = make_maps()
  found = crops([tf.constant(m) for m in maps], method, crop_size, num_samples)
  assert found.shape == (2, 4, crop_size, crop_size, DEPTH)
  for image, box in [(0, 0), (0, 1), (0, 2), (0, 3), (1, 0), (1, 1), (1, 2)]:
    level = LEVELS[image, box]
    expected = naive_crop(
      maps[level - MIN_LEVEL][image],
      BOXES[image, box],
      level,
      IMAGE_SIZES[image],
      crop_size,
      num_samples,
    )
    np.testing.assert_allclose(found[image, box], expected, atol=2e-5)
  assert np.all(np.isfinite(found))


@pytest.mark.parametrize("method", ["native", "matmul"])
def test_nothing_outside_the_content_is_seen(method):
  maps = make_maps()
  expected = crops([tf.constant(m) for m in maps], method)
  for level, m in enumerate(maps, start=MIN_LEVEL):
    rows, columns = np.ceil(IMAGE_SIZES[1] / 2**level).astype(int)
    m[1, rows:], m[1, :, columns:] = 1e3, 1e3
  found = crops([tf.constant(m) for m in maps], method)
  np.testing.assert_allclose(found, expected, atol=1e-3)


def test_methods_agree_in_value_and_gradient_and_one_compiles():
  maps = [tf.constant(m) for m in make_maps()]
  results = []
  for method, compiled in (("native", False), ("matmul", False), ("matmul", True)):

    @tf.function(jit_compile=compiled)
    def value_and_gradient(*maps, method=method):
      with tf.GradientTape() as tape:
        tape.watch(maps)
        found = crops(maps, method)
        total = tf.reduce_sum(found**2 * tf.range(1.0, 1.0 + DEPTH))
      return found, tape.gradient(total, maps[:NUM_LEVELS])

    results.append(value_and_gradient(*maps))
  for value, gradients in results[1:]:
    np.testing.assert_allclose(value, results[0][0], atol=1e-5)
    for found, expected in zip(gradients, results[0][1], strict=True):
      np.testing.assert_allclose(found, expected, atol=1e-3)
      assert np.any(expected)


def test_half_precision_keeps_its_type():
  maps = [tf.cast(tf.constant(m), tf.bfloat16) for m in make_maps()]
  native, matmul = crops(maps, "native"), crops(maps, "matmul")
  assert native.dtype == matmul.dtype == tf.bfloat16
  np.testing.assert_allclose(tf.cast(native, tf.float32), tf.cast(matmul, tf.float32), atol=0.1)


def test_levels_by_size():
  # Sides 224, just below, twice and half of it; 2 : 1 of that area; huge, tiny, padding.
  sides = [(224, 224), (223, 223), (448, 448), (112, 112), (158.5, 317), (4000, 4000), (2, 2)]
  boxes = np.array([[[10, 20, 10 + h, 20 + w] for h, w in sides] + [[-1] * 4]], np.float32)
  found = pyramid_ops.box_levels(tf.constant(boxes), 2, 5, 224.0)
  np.testing.assert_array_equal(found, [[4, 3, 5, 3, 4, 5, 2, 2]])
  found = pyramid_ops.box_levels(tf.constant(boxes), 3, 5, 112.0)
  np.testing.assert_array_equal(found, [[5, 4, 5, 4, 5, 5, 3, 3]])


def test_one_level_is_a_pyramid_too():
  maps = [tf.constant(make_maps()[0])]
  for method in ("native", "matmul"):
    packed = pyramid_ops.pack(maps, tf.constant(IMAGE_SIZES), 2, 1, method)
    found = pyramid_ops.crop(
      packed,
      tf.constant(BOXES),
      tf.fill([2, 4], 2),
      tf.constant(IMAGE_SIZES),
      min_level=2,
      crop_size=2,
      num_samples=1,
    )
    expected = naive_crop(maps[0].numpy()[0], BOXES[0, 1], 2, IMAGE_SIZES[0], 2, 1)
    np.testing.assert_allclose(found[0, 1], expected, atol=1e-5)


def test_an_unknown_method_is_refused():
  with pytest.raises(ValueError, match="crop method is 'other'; accepted: native, matmul"):
    pyramid_ops.pack([tf.zeros([1, 2, 2, 1])], tf.zeros([1, 2]), 2, 1, "other")


def test_gathered_crops_need_no_operation_besides_those_of_tensorflow_lite():
  maps = make_maps()

  @tf.function(input_signature=[tf.TensorSpec([1, 4, 4]), tf.TensorSpec([1, 4], tf.int32)])
  def crop(boxes, levels):
    sizes = tf.constant(IMAGE_SIZES[:1])
    packed = pyramid_ops.pack([m[:1] for m in maps], sizes, MIN_LEVEL, NUM_LEVELS, "matmul")
    return pyramid_ops.crop(
      packed, boxes, levels, sizes, min_level=MIN_LEVEL, crop_size=3, num_samples=2
    )

  module = tf.Module()
  module.crop = crop
  functions = [crop.get_concrete_function()]
  converter = tf.lite.TFLiteConverter.from_concrete_functions(functions, module)
  converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
  converted = tf.lite.Interpreter(model_content=converter.convert()).get_signature_runner()
  found = next(iter(converted(boxes=BOXES[:1], levels=LEVELS[:1]).values()))
  np.testing.assert_allclose(found, crop(BOXES[:1], LEVELS[:1]), atol=1e-5)
