import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from mtl_ssl_tf.ops import seed_ops

_KEYS = tf.constant([7, 3, 2**31 - 1, 7])


def _seeds(seed=5, stream=seed_ops.WINDOWS, step=11, keys=_KEYS):
  return seed_ops.image_seeds(seed, stream, tf.constant(step), keys).numpy()


class ImageSeedsTest(parameterized.TestCase, tf.test.TestCase):
  def test_shape(self):
    self.assertEqual(_seeds().shape, (4, 2))
    self.assertEqual(_seeds().dtype, np.int32)

  def test_an_image_keeps_its_seed_in_any_batch(self):
    self.assertAllEqual(_seeds()[0], _seeds()[3])
    self.assertAllEqual(_seeds(keys=_KEYS[1:3]), _seeds()[1:3])
    self.assertNotAllEqual(_seeds()[0], _seeds()[1])

  @parameterized.parameters({"seed": 6}, {"stream": seed_ops.RPN_SAMPLING}, {"step": 12})
  def test_everything_else_changes_every_seed(self, **changed):
    same = np.all(_seeds() == _seeds(**changed), axis=-1)
    self.assertFalse(np.any(same))

  def test_streams_differ(self):
    streams = (
      seed_ops.RPN_SAMPLING,
      seed_ops.ROI_SAMPLING,
      seed_ops.WINDOWS,
      seed_ops.SECOND_VIEW,
      seed_ops.KEY_SHUFFLE,
      seed_ops.BOX_AUGMENTATION,
    )
    self.assertLen({tuple(_seeds(stream=stream)[0]) for stream in streams}, 6)

  def test_no_two_images_and_steps_share_a_seed(self):
    # Neighbouring keys in neighbouring steps, too.
    keys = tf.range(20)
    seeds = np.concatenate([_seeds(step=step, keys=keys) for step in range(20)])
    self.assertLen({tuple(seed) for seed in seeds}, 400)

  @parameterized.parameters(tf.int32, tf.int64)
  def test_compiled_and_with_any_kind_of_step(self, dtype):
    compiled = tf.function(seed_ops.image_seeds, jit_compile=True)
    self.assertAllEqual(compiled(5, seed_ops.WINDOWS, tf.constant(11, dtype), _KEYS), _seeds())
