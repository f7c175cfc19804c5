import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from mtl_ssl_tf.modeling import detections, detector, proposals, window_evidence
from tests.modeling import small

# Two images of unlike size in an input of 64 x 96; the second fills no whole number of cells.
_SIZES = tf.constant([[64.0, 96.0], [40.0, 70.0]])
_BOXES = tf.constant(
  [
    [[0, 0, 64, 96], [16, 16, 48, 80], [5, 7, 21, 40]],
    [[0, 0, 40, 70], [8, 16, 40, 64], [-1, -1, -1, -1]],
  ],
  tf.float32,
)


def _images(height=64, width=96):
  """The two images, black outside their content."""
  images = small.noise_images(2, 64, 96) * detector.content_mask(tf.zeros([2, 64, 96, 3]), _SIZES)
  return tf.pad(images, [[0, 0], [0, height - 64], [0, width - 96], [0, 0]])


class ContentMaskTest(tf.test.TestCase):
  def test_one_on_content(self):
    mask = detector.content_mask(tf.zeros([2, 3, 4, 3]), tf.constant([[2.0, 3.0], [3.0, 1.0]]))
    self.assertEqual(mask.shape, [2, 3, 4, 1])
    self.assertAllEqual(mask[0, :, :, 0], [[1, 1, 1, 0], [1, 1, 1, 0], [0, 0, 0, 0]])
    self.assertAllEqual(mask[1, :, :, 0], [[1, 0, 0, 0], [1, 0, 0, 0], [1, 0, 0, 0]])


class FirstStageTest(tf.test.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.model = small.make_detector()

  def test_preprocessed_and_masked_before_stage1(self):
    # Grey of 51 is 0.2 to the network. Stage 1 adds up each block's first channel.
    kernel = np.zeros([16, 16, 3, 4], np.float32)
    kernel[:, :, 0, 0] = 1.0
    model = small.make_detector()
    model.stage1.conv.kernel.assign(kernel)
    images = tf.fill([1, 32, 32, 3], 51.0)
    features = model.first_stage(images, tf.constant([[32.0, 20.0]])).features
    self.assertAllClose(features[0, :, :, 0], [[51.2, 12.8], [51.2, 12.8]], rtol=1e-5)

  def test_training_drops_anchors_and_inference_clips_them(self):
    inference = self.model.first_stage(_images(), _SIZES)
    training = self.model.first_stage(_images(), _SIZES, training=True)
    # 4 x 6 and 3 x 5 cells with two anchors each.
    candidates = tf.reduce_sum(tf.cast(inference.anchors.is_candidate, tf.int32), axis=1)
    self.assertAllEqual(candidates, [48, 30])
    # Half sides are 8.49 and 16.97; the tall anchor comes first. In 64 x 96 it fits at row 32 and
    # columns 16 ... 80, the wide one at rows 16 ... 48 and columns 32 ... 64. In 40 x 70 only the
    # wide one fits, in row 16, column 32 or 48.
    candidates = tf.reshape(training.anchors.is_candidate, [2, 4, 6, 2])
    tall, wide = np.zeros([2, 4, 6], bool), np.zeros([2, 4, 6], bool)
    tall[0, 2, 1:6] = True
    wide[0, 1:4, 2:5] = True
    wide[1, 1, 2:4] = True
    self.assertAllEqual(candidates, np.stack([tall, wide], axis=-1))

  def test_proposals_are_those_of_the_rpn(self):
    first = self.model.first_stage(_images(), _SIZES)
    expected = proposals.ProposalGenerator(0.7, 7, None)(first.rpn, first.anchors, _SIZES)
    self.assertAllEqual(first.proposals.boxes_px, expected.boxes_px)
    self.assertTrue(np.all(first.proposals.valid))

  def test_proposals_as_at_inference(self):
    inference = self.model.first_stage(_images(), _SIZES)
    training = self.model.first_stage(_images(), _SIZES, training=True)
    again = self.model.propose_as_at_inference(training, _SIZES)
    for ours, theirs in zip(
      tf.nest.flatten(again[2:]), tf.nest.flatten(inference[2:]), strict=True
    ):
      self.assertAllEqual(ours, theirs)
    few = self.model.propose_as_at_inference(training, _SIZES, 3).proposals
    self.assertAllEqual(few.boxes_px, inference.proposals.boxes_px[:, :3])
    more = self.model.propose_as_at_inference(training, _SIZES, 300).proposals
    self.assertAllEqual(more.scores, inference.proposals.scores)

  def test_proposals_as_at_inference_pass_no_gradient(self):
    with tf.GradientTape() as tape:
      first = self.model.first_stage(_images(), _SIZES, training=True)
      again = self.model.propose_as_at_inference(first, _SIZES)
      total = tf.reduce_sum(again.features) + tf.reduce_sum(again.proposals.boxes_px)
    self.assertEqual(set(tape.gradient(total, self.model.variables)), {None})


class BoxStageTest(tf.test.TestCase):
  def _plain(self, **components):
    """A detector whose class logits are the first channel's mean over the pooled crop."""
    model = small.make_detector(**components)
    pick = np.zeros([1, 1, 4, 5], np.float32)
    pick[0, 0, 0, 0] = 1.0
    for head in (model.box_head, model.closeness_head, model.multi_object_head):
      head.stage2.conv.kernel.assign(pick)
      head.stage2.conv.bias.assign(tf.zeros([5]))
      head.classifier.kernel.assign([[1.0] * 3] + [[0.0] * 3] * 4)
      head.classifier.bias.assign([0.0, 10.0, 100.0])
    return model

  # One channel of a map of 3 x 4 cells, for images of 48 x 64; the other channels are 0.
  FEATURES = tf.pad(
    tf.constant([[[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0], [9.0, 10.0, 11.0, 12.0]]])[
      ..., tf.newaxis
    ],
    [[0, 0], [0, 0], [0, 0], [0, 3]],
  )

  def test_a_crop_spans_the_box(self):
    model = self._plain()
    size = tf.constant([[48.0, 64.0]])
    boxes = tf.constant([[[0.0, 0.0, 48.0, 64.0], [24.0, 0.0, 48.0, 64.0], [-1.0] * 4]])
    stage = model.box_stage(self.FEATURES, boxes, size)
    # Crops of 2 x 2 take the corners: 1, 4, 9, 12; then 5, 8, 9, 12; nothing of padding.
    expected = [[6.5, 16.5, 106.5], [8.5, 18.5, 108.5], [0.0, 10.0, 100.0]]
    self.assertAllClose(stage.class_logits, [expected])
    self.assertAllClose(stage.closeness_logits, [expected])
    self.assertEqual(stage.box_deltas.shape, [1, 3, 2, 4])
    self.assertAllClose(model.classify_windows(self.FEATURES, boxes, size), [expected])

  def test_the_content_ends_before_the_input(self):
    # The image is 32 x 32: its 2 x 2 cells have corners 1, 2, 5, 6.
    boxes = tf.constant([[[0.0, 0.0, 32.0, 32.0]]])
    stage = self._plain().box_stage(self.FEATURES, boxes, tf.constant([[32.0, 32.0]]))
    self.assertAllClose(stage.class_logits, [[[3.5, 13.5, 103.5]]])

  def test_max_pooling(self):
    # Crops of 4 x 4 at rows 0, 2/3, 4/3, 2 and every column; the maxima of 2 x 2 blocks are
    # at rows 2/3 and 2 and columns 1 and 3: 4.67, 6.67, 10, 12.
    model = self._plain(**small.crop_heads(size=4, max_pool=2))
    boxes = tf.constant([[[0.0, 0.0, 48.0, 64.0]]])
    stage = model.box_stage(self.FEATURES, boxes, tf.constant([[48.0, 64.0]]))
    mean = (14 / 3 + 20 / 3 + 10 + 12) / 4
    self.assertAllClose(stage.class_logits, [[[mean, 10 + mean, 100 + mean]]])

  def test_without_closeness_head(self):
    model = small.make_detector(closeness_head=None)
    stage = model.box_stage(self.FEATURES, _BOXES[:1], _SIZES[:1])
    self.assertIsNone(stage.closeness_logits)
    self.assertIsNone(model.mean_closeness(stage.closeness_logits, tf.ones([1, 3], tf.bool)))

  def test_training_reaches_the_heads_of_its_own_calls_only(self):
    model = small.make_detector()
    heads = (model.box_head, model.closeness_head, model.multi_object_head)
    for training in (False, True):
      for head in heads:
        head.stage2.seen = []
      model.box_stage(self.FEATURES, _BOXES[:1], _SIZES[:1], training=training)
      model.classify_windows(self.FEATURES, _BOXES[:1], _SIZES[:1], training=training)
      for head in heads:
        self.assertEqual(list(head.stage2.seen), [(3, training)])


class RefineTest(parameterized.TestCase, tf.test.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.model = small.make_detector()
    cls.features = cls.model.first_stage(_images(), _SIZES).features

  def test_expanded_windows_are_classified_like_any(self):
    logits = self.model.expanded_window_logits(self.features, _BOXES, _SIZES)
    self.assertEqual(logits.shape, [2, 3, 5, 3])
    self.assertNotAllClose(logits[:, :, 0], logits[:, :, 4])
    sides = tf.tile(_SIZES, [1, 2])[:, tf.newaxis, tf.newaxis]  # [B, 1, 1, 4]
    windows = window_evidence.expanded_windows(_BOXES / sides[:, 0], 5) * sides  # [B, R, Q, 4]
    for image, num_boxes in ((0, 3), (1, 2)):
      for box in range(num_boxes):
        own = self.model.classify_windows(self.features, windows[:, box], _SIZES)
        self.assertAllClose(logits[image, box], own[image], rtol=1e-4, atol=1e-4)

  def test_outermost_window_is_the_image_and_is_classified_once(self):
    seen = self.model.multi_object_head.stage2
    seen.seen = []
    logits = self.model.expanded_window_logits(self.features, _BOXES, _SIZES)
    # Two images, three boxes, four windows each, and the image.
    self.assertEqual(list(seen.seen), [(2 * (3 * 4 + 1), False)])
    whole = tf.concat([tf.zeros([2, 1, 2]), _SIZES[:, tf.newaxis]], axis=-1)
    image_logits = self.model.classify_windows(self.features, whole, _SIZES)  # [B, 1, C]
    # Of the padding row too; in a batch of other windows the same up to rounding.
    self.assertAllClose(logits[:, :, 4], tf.repeat(image_logits, 3, axis=1), rtol=1e-5, atol=1e-5)

  def test_padding_in_the_first_row(self):
    logits = self.model.expanded_window_logits(self.features, _BOXES, _SIZES)
    turned = self.model.expanded_window_logits(self.features, _BOXES[:, ::-1], _SIZES)
    self.assertAllClose(turned, logits[:, ::-1], rtol=1e-4, atol=1e-4)

  @parameterized.parameters(False, True)
  def test_window_head_runs_as_at_inference_in_a_training_call_too(self, training):
    stages = [
      self.model.stage1,
      self.model.box_head.stage2,
      self.model.closeness_head.stage2,
      self.model.multi_object_head.stage2,
    ]
    for stage in stages:
      stage.seen = []
    self.model(_images(), _SIZES, training=training)
    modes = [{mode for _, mode in stage.seen} for stage in stages]
    self.assertEqual(modes, [{training}, {training}, {training}, {False}])

  @parameterized.parameters((True, True), (True, False), (False, True), (False, False))
  def test_inputs_of_the_heads_that_there_are(self, with_windows, with_closeness):
    missing = {} if with_windows else {"multi_object_head": None}
    missing |= {} if with_closeness else {"closeness_head": None}
    model = small.make_detector(**missing)
    second = model.box_stage(self.features, _BOXES, _SIZES)
    closeness = model.mean_closeness(second.closeness_logits, _BOXES[..., 2] > 0.0)
    refined = model.refine(self.features, _BOXES, second.class_logits, closeness, _SIZES)
    windows = None
    if with_windows:
      windows = model.expanded_window_logits(self.features, _BOXES, _SIZES)
    self.assertAllClose(refined, model.refiner(second.class_logits, windows, closeness))
    self.assertEqual(
      model.refiner.linear.kernel.shape[0], 3 + 15 * with_windows + 3 * with_closeness
    )

  @parameterized.parameters(("per_image_valid", 2.0, 6.0), ("all_rows", 3.0, 3.0))
  def test_mean_closeness_as_configured(self, over, first, second):
    model = small.make_detector(refinement={"closeness_mean": over})
    rows = tf.constant([[[2.0] * 3, [4.0] * 3], [[6.0] * 3, [0.0] * 3]])
    mean = model.mean_closeness(rows, tf.constant([[True, False], [True, False]]))
    self.assertAllClose(mean, [[[first] * 3], [[second] * 3]])


class GradientTest(parameterized.TestCase, tf.test.TestCase):
  make = staticmethod(small.make_detector)

  def _trained(self, outputs_fn, **components):
    """Which parts of the detector each of some outputs trains, by name of the output."""
    model = self.make(**components)
    parts = {
      "stage1": model.stage1,
      "box": model.box_head,
      "closeness": model.closeness_head,
      "multi_object": model.multi_object_head,
      "foreground": model.foreground_head,
      "refinement": model.refiner,
    }
    variables = {name: part.trainable_variables for name, part in parts.items()}
    with tf.GradientTape(persistent=True) as tape:
      features = model.first_stage(_images(), _SIZES, training=True).features
      outputs = outputs_fn(model, features)
    return {
      output: {
        part
        for part, gradients in tape.gradient(values, variables).items()
        if any(gradient is not None and np.any(gradient != 0.0) for gradient in gradients)
      }
      for output, values in outputs.items()
    }

  @parameterized.product(shared=(False, True), foreground=(False, True))
  def test_what_a_task_trains(self, shared, foreground):
    def heads(model, features):
      second = model.box_stage(features, _BOXES, _SIZES, training=True)
      return {
        "box": second.class_logits,
        "closeness": second.closeness_logits,
        "multi_object": model.classify_windows(features, _BOXES, _SIZES, training=True),
        "foreground": model.predict_foreground(features),
      }

    trained = self._trained(heads, stop_gradient_shared=shared, stop_gradient_foreground=foreground)
    shielded = {"box": False, "closeness": shared, "multi_object": shared, "foreground": foreground}
    self.assertEqual(
      trained, {name: {name} if stop else {name, "stage1"} for name, stop in shielded.items()}
    )

  @parameterized.parameters((True, {"refinement"}), (False, {"refinement", "box", "stage1"}))
  def test_what_refinement_trains(self, stop, expected):
    def refined(model, features):
      second = model.box_stage(features, _BOXES, _SIZES, training=True)
      closeness = model.mean_closeness(second.closeness_logits, tf.ones([2, 3], tf.bool))
      refined = model.refine(features, _BOXES, second.class_logits, closeness, _SIZES)
      return {"refined": refined, "windows": model.expanded_window_logits(features, _BOXES, _SIZES)}

    layer = {"stop_gradient_residual": stop}
    trained = self._trained(refined, refinement={"layer": layer})
    # Nor does anything learn from the expanded windows.
    self.assertEqual(trained, {"refined": expected, "windows": set()})


class DetectorTest(parameterized.TestCase, tf.test.TestCase):
  make = staticmethod(small.make_detector)
  num_last_layers = 4

  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.model = cls.make()
    cls.outputs = cls.model(_images(), _SIZES)

  def test_outputs(self):
    shapes = {name: tuple(values.shape) for name, values in self.outputs.items()}
    self.assertEqual(
      shapes,
      {
        "features": (2, 4, 6, 4),
        "proposals_px": (2, 7, 4),
        "proposals_valid": (2, 7),
        "proposals_scores": (2, 7),
        "class_logits": (2, 7, 3),
        "closeness_logits": (2, 7, 3),
        "refined_logits": (2, 7, 3),
        "refined": (2, 7),
        "window_logits": (2, 7, 5, 3),
        "detection_boxes_px": (2, 8, 4),
        "detection_scores": (2, 8),
        "detection_classes": (2, 8),
        "num_detections": (2,),
        "detection_proposal_indices": (2, 8),
      },
    )
    self.assertGreater(np.min(self.outputs["num_detections"]), 2)

  def test_the_stages_one_after_the_other(self):
    first = self.model.first_stage(_images(), _SIZES)
    boxes, valid = first.proposals.boxes_px, first.proposals.valid
    second = self.model.box_stage(first.features, boxes, _SIZES)
    closeness = self.model.mean_closeness(second.closeness_logits, valid)
    refined = self.model.refine(first.features, boxes, second.class_logits, closeness, _SIZES)
    expected = self._detect(refined, second.box_deltas, first.proposals)
    expected |= {
      "features": first.features,
      "proposals_px": boxes,
      "proposals_valid": valid,
      "proposals_scores": first.proposals.scores,
      "class_logits": second.class_logits,
      "closeness_logits": second.closeness_logits,
      "refined_logits": refined,
      "refined": np.ones([2, 7], bool),
      "window_logits": self.model.expanded_window_logits(first.features, boxes, _SIZES),
    }
    self.assertEqual(set(self.outputs), set(expected))
    for name, values in expected.items():
      self.assertAllClose(self.outputs[name], values, msg=name)

  def test_detections_without_refinement_are_of_the_main_head(self):
    model = self.make(refinement_stage=None)
    outputs = model(_images(), _SIZES)
    self.assertNotIn("refined_logits", outputs)
    first = model.first_stage(_images(), _SIZES)
    second = model.box_stage(first.features, first.proposals.boxes_px, _SIZES)
    expected = self._detect(second.class_logits, second.box_deltas, first.proposals)
    for name, values in expected.items():
      self.assertAllClose(outputs[name], values, msg=name)

  def _detect(self, logits, deltas, proposed):
    generator = detections.DetectionGenerator(0.0, 0.5, 5, 8)
    return generator(logits, deltas, proposed.boxes_px, proposed.valid, _SIZES)

  def test_batch_equals_one_by_one(self):
    for i in range(2):
      own = self.model(_images()[i : i + 1], _SIZES[i : i + 1])
      for name, values in self.outputs.items():
        self.assertAllClose(values[i : i + 1], own[name], rtol=1e-4, atol=1e-4, msg=name)

  def test_batch_equals_one_by_one_in_training(self):
    first = self.model.first_stage(_images(), _SIZES, training=True)
    second = self.model.box_stage(first.features, _BOXES, _SIZES, training=True)
    for i in range(2):
      part = slice(i, i + 1)
      own_first = self.model.first_stage(_images()[part], _SIZES[part], training=True)
      own = self.model.box_stage(own_first.features, _BOXES[part], _SIZES[part], training=True)
      self.assertAllClose(first.features[part], own_first.features, atol=1e-5)
      self.assertAllEqual(first.anchors.is_candidate[part], own_first.anchors.is_candidate)
      for name in ("rpn", "proposals"):
        for ours, alone in zip(getattr(first, name), getattr(own_first, name), strict=True):
          self.assertAllClose(ours[part], alone, rtol=1e-4, atol=1e-4)
      for ours, alone in zip(second[:3], own[:3], strict=True):
        self.assertAllClose(ours[part], alone, rtol=1e-4, atol=1e-4)

  def test_a_larger_input_changes_nothing(self):
    outputs = self.model(_images(96, 160), _SIZES)
    for name, values in self.outputs.items():
      ours = outputs[name][:, :4, :6] if name == "features" else outputs[name]
      self.assertAllClose(ours, values, rtol=1e-4, atol=1e-4, msg=name)

  def test_what_lies_beside_the_content_changes_nothing(self):
    mask = detector.content_mask(_images(), _SIZES)
    outputs = self.model(_images() * mask + 77.0 * (1.0 - mask), _SIZES)
    for name, values in self.outputs.items():
      self.assertAllClose(outputs[name], values, msg=name)

  def test_graph_for_any_batch_size(self):
    # The batch size is unknown while the graph is built.
    compute = tf.function(
      self.model.call,
      autograph=False,
      input_signature=[tf.TensorSpec([None, 64, 96, 3]), tf.TensorSpec([None, 2])],
    )
    for batch in (slice(0, 2), slice(1, 2)):
      outputs = compute(_images()[batch], _SIZES[batch])
      for name, values in self.outputs.items():
        self.assertAllClose(outputs[name], values[batch], rtol=1e-4, atol=1e-4, msg=name)

  def test_every_variable_is_made_beforehand(self):
    model = self.make()
    self.assertTrue(model.built)
    before = len(model.variables)
    # Stage 1; RPN; three second stages with a kernel and a bias, four last layers of the kind;
    # foreground; refinement without bias.
    self.assertEqual(before, 1 + 6 + 3 * 2 + self.num_last_layers * 2 + 2 + 1)
    features = model.first_stage(_images(), _SIZES, training=True).features
    model.predict_foreground(features)
    model.classify_windows(features, _BOXES, _SIZES, training=True)
    model(_images(), _SIZES)
    self.assertEqual(len(model.variables), before)

  @parameterized.parameters(
    ("multi_object_head", "multi_object"),
    ("closeness_head", "closeness"),
    ("foreground", "foreground"),
    ("refinement_stage", "refinement"),
  )
  def test_a_head_left_out_has_no_variables_and_no_outputs(self, argument, scope):
    model = self.make(**{argument: None})
    names = [variable.name for variable in self.model.variables]
    others = [name for name in names if scope not in name]
    self.assertNotEqual(others, names)
    self.assertCountEqual([variable.name for variable in model.variables], others)
    absent = set(self.outputs) - set(model(_images(), _SIZES))
    expected = {
      "multi_object": {"window_logits"},
      "closeness": {"closeness_logits"},
      "refinement": {"refined_logits", "window_logits", "refined"},
    }
    self.assertEqual(absent, expected.get(scope, set()))

  def test_auxiliary_second_stages_start_like_the_main_one(self):
    model = self.make()
    heads = (model.multi_object_head, model.closeness_head)
    last_layers = [head.classifier.get_weights() for head in heads]
    main = model.box_head.stage2.get_weights()
    for head in heads:
      self.assertNotAllClose(head.stage2.get_weights()[0], main[0])
    model.start_auxiliary_heads_like_main()
    for head, last_layer in zip(heads, last_layers, strict=True):
      for ours, theirs in zip(head.stage2.get_weights(), main, strict=True):
        self.assertAllEqual(ours, theirs)
      self.assertAllEqual(head.classifier.get_weights()[0], last_layer[0])

  def test_without_auxiliary_heads_there_is_nothing_to_start(self):
    model = self.make(multi_object_head=None, closeness_head=None)
    before = model.get_weights()
    model.start_auxiliary_heads_like_main()
    for ours, theirs in zip(model.get_weights(), before, strict=True):
      self.assertAllEqual(ours, theirs)


class RfcnGradientTest(GradientTest):
  make = staticmethod(small.make_rfcn_detector)


class RfcnDetectorTest(DetectorTest):
  make = staticmethod(small.make_rfcn_detector)
  num_last_layers = 4 + 3  # Each head has a reduced map too.


class SharedMapDetectorTest(DetectorTest):
  """Auxiliary heads that run on the map, at every other cell, beside a main head on crops."""

  make = staticmethod(small.make_shared_map_detector)
  num_last_layers = 4 + 2


class SharedMapGradientTest(GradientTest):
  make = staticmethod(small.make_shared_map_detector)


class FeatureDetectorTest(DetectorTest):
  """Auxiliary heads on the main head's features."""

  make = staticmethod(small.make_feature_detector)

  def test_every_variable_is_made_beforehand(self):
    model = self.make()
    # As above, less the two second stages that are not there.
    self.assertEqual(len(model.variables), 1 + 6 + 2 + 4 * 2 + 2 + 1)
    self.assertLen({variable.name for variable in model.variables}, len(model.variables))

  def test_auxiliary_second_stages_start_like_the_main_one(self):
    model = self.make()
    before = model.get_weights()
    model.start_auxiliary_heads_like_main()
    for ours, theirs in zip(model.get_weights(), before, strict=True):
      self.assertAllEqual(ours, theirs)

  def test_logits_are_of_the_main_heads_features(self):
    features = self.outputs["features"]
    second = self.model.box_stage(features, _BOXES, _SIZES)
    closeness = self.model.closeness_head.classifier(second.box_features)
    self.assertAllClose(second.closeness_logits, closeness)
    windows = self.model.multi_object_head.classifier(second.box_features)
    self.assertAllClose(self.model.classify_windows(features, _BOXES, _SIZES), windows)
    self.assertNotAllClose(closeness, windows)

  def test_features_are_taken_for_the_innermost_window(self):
    features = self.outputs["features"]
    box_features = self.model.box_stage(features, _BOXES, _SIZES).box_features
    expected = self.model.expanded_window_logits(features, _BOXES, _SIZES)
    seen = self.model.box_head.stage2
    seen.seen = []
    logits = self.model.expanded_window_logits(features, _BOXES, _SIZES, box_features)
    self.assertEqual(list(seen.seen), [(2 * (3 * 3 + 1), False)])
    self.assertAllClose(logits, expected, rtol=1e-4, atol=1e-4)


class FeatureGradientTest(tf.test.TestCase):
  def _trains_main_stage2(self, stop: bool, task: str) -> bool:
    model = small.make_feature_detector(stop)
    with tf.GradientTape() as tape:
      features = tf.stop_gradient(model.first_stage(_images(), _SIZES).features)
      if task == "windows":
        logits = model.classify_windows(features, _BOXES, _SIZES, training=True)
      else:
        logits = model.box_stage(features, _BOXES, _SIZES, training=True).closeness_logits
    gradient = tape.gradient(logits, model.box_head.stage2.conv.kernel)
    return gradient is not None and bool(np.any(gradient != 0.0))

  def test_tasks_train_the_main_second_stage_unless_stopped(self):
    for task in ("windows", "closeness"):
      self.assertTrue(self._trains_main_stage2(False, task), task)
      self.assertFalse(self._trains_main_stage2(True, task), task)


class SelectedTest(tf.test.TestCase):
  def test_only_what_is_selected_is_refined_image_by_image(self):
    every = small.make_detector()(_images(), _SIZES)
    objects = 1.0 - tf.nn.softmax(every["class_logits"])[..., 0].numpy()
    threshold = 0.93
    limited = {"min_object_score": threshold, "chunk_size": 7}
    outputs = small.make_detector(refinement=limited)(_images(), _SIZES)
    selected = objects >= threshold
    self.assertEqual(list(selected.sum(axis=1)), [3, 5])
    self.assertAllEqual(outputs["refined"], selected)
    for name, where in (("refined_logits", selected), ("class_logits", ~selected)):
      ours, expected = outputs["refined_logits"][where], every[name][where]
      self.assertAllClose(ours, expected, rtol=1e-5, atol=1e-5)
    windows = outputs["window_logits"]
    self.assertAllClose(windows[selected], every["window_logits"][selected], rtol=1e-5, atol=1e-5)
    self.assertNotAllClose(outputs["refined_logits"], every["refined_logits"])

  def test_no_other_windows_are_classified(self):
    model = small.make_detector(refinement={"max_proposals": 3, "chunk_size": 7})
    model.multi_object_head.stage2.seen = []
    model(_images(), _SIZES)
    # Of four boxes with four windows and the image, 17 windows, in three chunks of six at most, 13
    # are needed: all three chunks, where two boxes would take two. Of two images.
    self.assertEqual(model.multi_object_head.stage2.seen, [(2 * 6, False)] * 3)
    model = small.make_detector(refinement={"max_proposals": 2, "chunk_size": 7})
    model.multi_object_head.stage2.seen = []
    model(_images(), _SIZES)
    self.assertEqual(model.multi_object_head.stage2.seen, [(2 * 6, False)] * 2)


class PaddingTest(tf.test.TestCase):
  def test_padding_among_proposals_changes_nothing(self):
    model = small.make_detector()
    first = model.first_stage(_images(), _SIZES)
    few = proposals.Proposals(*(values[:, :3] for values in first.proposals))
    padded = proposals.Proposals(*(
      tf.pad(values, [[0, 0], [0, 2]] + [[0, 0]] * (len(values.shape) - 2)) for values in few
    ))  # fmt: skip
    expected, *_ = model.score_proposals(first._replace(proposals=few), _SIZES)
    outputs, *_ = model.score_proposals(first._replace(proposals=padded), _SIZES)
    for name in ("class_logits", "closeness_logits", "window_logits", "refined_logits"):
      self.assertAllClose(outputs[name][:, :3], expected[name], rtol=1e-5, atol=1e-5, msg=name)
    self.assertNotAllClose(outputs["closeness_logits"][:, 3:], expected["closeness_logits"][:, :2])
    self.assertAllEqual(outputs["refined"], [[True] * 3 + [False] * 2] * 2)


class OrderTest(tf.test.TestCase):
  def test_heads_wait_for_each_other(self):
    model, names = small.make_detector(), {}

    @tf.function(autograph=False)
    def detect(images, sizes):
      outputs = model(images, sizes)
      names.update({name: tensor.op.name for name, tensor in outputs.items()})
      return outputs

    graph = detect.get_concrete_function(_images(), _SIZES).graph
    waiting = {}
    for op in graph.get_operations():
      for waited in op.control_inputs:
        waiting.setdefault(waited.name, set()).add(op.name)
    logits, closeness = waiting[names["class_logits"]], waiting[names["closeness_logits"]]
    # The windows wait for both; the closeness head for the first alone.
    self.assertNotEmpty(closeness & logits)
    self.assertNotEmpty(logits - closeness)


class ClosenessRowsTest(parameterized.TestCase, tf.test.TestCase):
  def _gradients(self, num_rows, rows_in_loss, **components):
    model = small.make_detector(**components)
    with tf.GradientTape() as tape:
      features = model.first_stage(_images(), _SIZES, training=True).features
      logits = model.box_stage(
        features, _BOXES, _SIZES, training=True, num_closeness_rows=num_rows
      ).closeness_logits
      loss = tf.reduce_sum(logits[:, rows_in_loss] ** 2)
    variables = model.closeness_head.trainable_variables + model.stage1.trainable_variables
    return logits, tape.gradient(loss, variables), model.closeness_head.stage2.seen

  def test_rows_without_a_loss_have_the_same_logits_and_no_gradient(self):
    whole, expected, _ = self._gradients(None, slice(0, 2), rows_are_independent=True)
    split, gradients, seen = self._gradients(2, slice(0, 2), rows_are_independent=True)
    self.assertAllClose(split, whole, rtol=1e-5, atol=1e-5)
    for ours, theirs in zip(gradients, expected, strict=True):
      self.assertAllClose(ours, theirs, rtol=1e-4, atol=1e-4)
    self.assertCountEqual(seen[-2:], [(2 * 1, True), (2 * 2, True)])
    _, gradients, _ = self._gradients(2, slice(2, 3), rows_are_independent=True)
    for gradient in gradients:
      self.assertAllEqual(gradient, tf.zeros_like(gradient))

  @parameterized.parameters(
    ({"rows_are_independent": False}, 2),
    ({"rows_are_independent": True}, 3),
    # A quarter of a minibatch of three.
    ({"rows_are_independent": True}, 0),
  )
  def test_one_piece_where_rows_depend_on_each_other_or_all_have_a_loss(self, components, num_rows):
    _, _, seen = self._gradients(num_rows, slice(0, 3), **components)
    self.assertEqual(seen[-1], (2 * 3, True))


class PreparedTest(parameterized.TestCase, tf.test.TestCase):
  @parameterized.parameters(
    # Score maps depend on the mode, unless normalisation does not know of it.
    (small.make_rfcn_detector, False, [True, False]),
    (small.make_rfcn_detector, True, [True]),
    (small.make_shared_map_detector, False, [True, False]),
    (small.make_shared_map_detector, True, [True]),
  )
  def test_second_stage_runs_once_where_it_may(self, make, independent, modes):
    model = make(rows_are_independent=independent)
    features = model.first_stage(_images(), _SIZES).features
    stage = model.multi_object_head.stage2
    stage.seen = []
    prepared = model.prepare_multi_object(features, training=True)
    ours = model.classify_windows(features, _BOXES, _SIZES, training=True, prepared=prepared)
    windows = model.expanded_window_logits(features, _BOXES, _SIZES, prepared=prepared)
    self.assertEqual([mode for _, mode in stage.seen], modes)
    self.assertAllClose(ours, model.classify_windows(features, _BOXES, _SIZES, training=True))
    self.assertAllClose(windows, model.expanded_window_logits(features, _BOXES, _SIZES))
    # What is not prepared yet is prepared in the mode of the call.
    self.assertEqual([mode for _, mode in stage.seen], [*modes, True, False])
