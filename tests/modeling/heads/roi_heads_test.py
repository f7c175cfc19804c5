import tensorflow as tf

from mtl_ssl_tf.modeling.backbones import base
from mtl_ssl_tf.modeling.heads import pooling, roi_heads


class _Scale(base.Stage):
  """Twice its input, in training three times."""

  def call(self, inputs, training=False):
    return inputs * (3.0 if training else 2.0)


# A map of 1 x 3 cells and 2 channels, for images of 16 x 48; two boxes that begin and end on cells,
# with means (2, 20) and (5, 50) of the four corners that crops of 2 x 2 take.
_MAP = tf.constant([[[[1.0, 10.0], [3.0, 30.0], [7.0, 70.0]]]])
_SIZE = tf.constant([[16.0, 48.0]])
_BOXES = tf.constant([[[0.0, 0.0, 1.0, 0.5], [0.0, 0.5, 1.0, 1.0]]])


def _features(stage=None):
  return pooling.CropFeatures(pooling.Cropper(16, 2), stage or _Scale())


def _run(head, maps=_MAP, **options):
  return head(head.prepare(maps), _BOXES, _SIZE, **options)


class CropClassifierTest(tf.test.TestCase):
  def test_logits_of_the_mean_over_the_crop(self):
    head = roi_heads.CropClassifier(_features(), 3)
    _run(head)
    head.classifier.kernel.assign([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0]])
    head.classifier.bias.assign([0.0, 0.0, 100.0])
    self.assertAllClose(_run(head), [[[4.0, 40.0, 144.0], [10.0, 100.0, 210.0]]])
    self.assertAllClose(_run(head, training=True)[0, 0], [6.0, 60.0, 166.0])
    features = head.crop_features(head.prepare(_MAP), _BOXES, _SIZE, training=False)
    self.assertAllClose(features, [[4.0, 40.0], [10.0, 100.0]])

  def test_features_of_another_head_are_ignored(self):
    head = roi_heads.CropClassifier(_features(), 3)
    logits = _run(head)
    self.assertAllEqual(_run(head, box_features=tf.ones([1, 2, 2])), logits)

  def test_last_kernels_and_start(self):
    head = roi_heads.CropClassifier(_features(), 21)
    _run(head, tf.zeros([1, 1, 3, 128]))
    (kernel,) = head.last_kernels
    self.assertEqual(kernel.shape, [128, 21])
    self.assertAllClose(tf.math.reduce_std(kernel), 0.0088, atol=5e-4)


class BoxHeadTest(tf.test.TestCase):
  def test_logits_and_deltas_for_each_class(self):
    head = roi_heads.BoxHead(_features(), 3)
    _run(head)
    head.classifier.kernel.assign([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0]])
    head.classifier.bias.assign([0.0, 0.0, 100.0])
    # Number j of object class c is j + 10 c, plus the mean of channel 0.
    head.box.kernel.assign([[1.0] * 8, [0.0] * 8])
    head.box.bias.assign([j + 10.0 * c for c in (1, 2) for j in range(4)])
    logits, deltas, features, _ = _run(head)
    self.assertAllClose(logits, [[[4.0, 40.0, 144.0], [10.0, 100.0, 210.0]]])
    self.assertAllClose(deltas[0, 0], [[14, 15, 16, 17], [24, 25, 26, 27]])
    self.assertAllClose(deltas[0, 1], [[20, 21, 22, 23], [30, 31, 32, 33]])
    self.assertAllClose(features, [[[4.0, 40.0], [10.0, 100.0]]])
    self.assertAllClose(_run(head, training=True).box_deltas[0, 0, 0], [16, 17, 18, 19])

  def test_unknown_initializer(self):
    message = "^initializer is 'zeros'; accepted: truncated_normal, glorot_uniform$"
    with self.assertRaisesRegex(ValueError, message):
      roi_heads.BoxHead(_features(), 3, "zeros")

  def test_last_kernels(self):
    head = roi_heads.BoxHead(_features(), 5)
    _run(head)
    self.assertEqual([tuple(k.shape) for k in head.last_kernels], [(2, 5), (2, 16)])


class FeatureClassifierTest(tf.test.TestCase):
  def test_features_that_are_known_are_not_computed_again(self):
    features = _features()
    main = roi_heads.BoxHead(features, 3)
    head = roi_heads.FeatureClassifier(features, 3, stop_gradient=False)
    expected = _run(head)
    self.assertAllClose(_run(head, box_features=_run(main).box_features), expected)
    self.assertNotAllClose(_run(head, box_features=tf.ones([1, 2, 2])), expected)
    # The second stage runs in the mode of the call, in which it triples.
    self.assertAllClose(_run(head, training=True), 1.5 * expected, rtol=1e-5)

  def test_the_main_head_s_features_learn_of_it_or_do_not(self):
    known = tf.ones([1, 2, 2])
    for stop_gradient in (False, True):
      for given in (None, known):
        head = roi_heads.FeatureClassifier(_features(), 3, stop_gradient=stop_gradient)
        with tf.GradientTape() as tape:
          tape.watch([_MAP, known])
          logits = _run(head, box_features=given)
        source = _MAP if given is None else known
        self.assertEqual(tape.gradient(logits, source) is None, stop_gradient)

  def test_it_has_no_second_stage(self):
    stage = _Scale()
    head = roi_heads.FeatureClassifier(_features(stage), 3, stop_gradient=False)
    _run(head)
    self.assertEqual(head.stages, [])
    self.assertNotIn(stage, head.submodules)
    self.assertLen(head.variables, 2)
