import functools
import pathlib
from unittest import mock

import numpy as np
import tensorflow as tf
import yaml
from absl.testing import parameterized

from mtl_ssl_tf.configs import detector as config_lib
from mtl_ssl_tf.labels import auxiliary
from mtl_ssl_tf.losses import detection_losses
from mtl_ssl_tf.modeling import proposals, refinement
from mtl_ssl_tf.ops import seed_ops
from mtl_ssl_tf.tasks import training_losses
from tests.modeling import small

_RELEASED = pathlib.Path(__file__).parents[2] / "configs" / "overlays" / "released.yaml"
_STEP = tf.constant(3)
# Half the sides of an anchor, the long and the short one: base 24, aspect ratios 1/2 and 2.
_LONG, _SHORT = 12.0 * 2.0**0.5, 12.0 / 2.0**0.5
# An image of 64 x 96. A, of class 2, is the tall anchor of the cell at (32, 32); B, of class 1,
# lies to the right of it.
_A = [32.0 - _LONG, 32.0 - _SHORT, 32.0 + _LONG, 32.0 + _SHORT]
_B = [44.0, 66.0, 60.0, 90.0]
_FAR = [0.0, 0.0, 10.0, 10.0]
_LABELS = {
  "gt_boxes_px": tf.constant([[_A, _B, [-1.0] * 4]]),
  "gt_classes": tf.constant([[2, 1, -1]]),
  "image_size_px": tf.constant([[64.0, 96.0]]),
  "image_key": tf.constant([17]),
  "flipped": tf.constant([False]),
}
_LOG3 = float(np.log(3.0))


def _config(*overrides):
  config = config_lib.MtlDetection()
  config.override(
    {
      "roi_head": {"batch_size": 4, "positive_fraction": 0.5},
      "auxiliary": {
        "multi_object": {"num_windows": 3, "min_size_px": 8.0},
        "foreground": {"mask_size": 8},
      },
    },
    is_strict=True,
  )
  for override in overrides:
    config.override(override, is_strict=True)
  return config


def _proposals(*boxes, num=5):
  rows = [*boxes, *[[0.0] * 4] * (num - len(boxes))]
  return proposals.Proposals(
    tf.constant([rows]), tf.range(num)[tf.newaxis] < len(boxes), tf.zeros([1, num])
  )


def _first_stage(model, proposed=None):
  first = model.first_stage(small.noise_images(1, 64, 96), _LABELS["image_size_px"], training=True)
  return first._replace(proposals=proposed or _proposals(_FAR, _B, _A))


@functools.cache
def _default_targets():
  return training_losses.make_auxiliary_targets(_config(), _LABELS, _STEP, small.NUM_CLASSES)


def _losses(model, config, first=None, targets=None, labels=_LABELS, step=_STEP):
  first = first or _first_stage(model)
  targets = targets or _default_targets()
  parts = training_losses.replica_losses(model, config, first, labels, targets, step)
  losses = training_losses.reduce_over_replicas(parts)
  return {name: float(loss) for name, loss in losses.items()}


@functools.cache
def _shared_detector():
  return small.make_detector()


def _detector():
  """The detector of all tests, with its random weights."""
  small.randomize(_shared_detector())
  return _shared_detector()


def _silent_detector():
  """The detector of all tests, its every output 0."""
  model = _shared_detector()
  for variable in model.variables:
    variable.assign(tf.zeros_like(variable))
  return model


class LossesTest(parameterized.TestCase, tf.test.TestCase):
  def test_undecided_heads(self):
    # Every class has the same probability, whatever the target.
    losses = _losses(_silent_detector(), _config())
    del losses["rpn_box"], losses["roi_box"]
    expected = {
      "rpn_objectness": np.log(2.0),
      "roi_class": _LOG3,
      "multi_object": _LOG3,
      "closeness": 0.3 * _LOG3,
      "foreground": np.log(2.0),
      "refinement": _LOG3,
    }
    self.assertAllClose(losses, expected)

  def test_rpn_box(self):
    # B is hidden: A has one anchor, which needs no change, but is moved by 0.1.
    labels = {**_LABELS, "gt_classes": tf.constant([[2, -1, -1]])}
    model = _silent_detector()
    model.rpn.box.bias.assign([0.1, 0.0, 0.0, 0.0] * 2)
    first = _first_stage(model)
    # Of the 5 tall and 9 wide anchors inside the image, the wide one of A's cell has IoU 1/3 with
    # it and is ignored.
    for options, error in (({}, 4.5 * 0.01), ({"rpn": {"box_loss_sigma": 1.0}}, 0.5 * 0.01)):
      config = _config(options)
      losses = _losses(model, config, first, labels=labels)
      self.assertAllClose(losses["rpn_box"], 2.0 * error / 13)

  def test_roi_losses(self):
    # A is found, B is not; proposals A, of class 2, and FAR, background, are trained on.
    model = _silent_detector()
    model.box_head.classifier.bias.assign([0.0, 0.0, float(np.log(2.0))])
    model.box_head.box.bias.assign([7.0] * 4 + [0.5, 0.0, 2.0, 0.0])
    losses = _losses(model, _config(), _first_stage(model, _proposals(_FAR, _A)))
    self.assertAllClose(losses["roi_class"], (np.log(2.0) + np.log(4.0)) / 2)
    self.assertAllClose(losses["roi_box"], 2.0 * (0.125 + 1.5) / 2)
    narrow = _config({"roi_head": {"box_loss_sigma": 3.0}})
    losses = _losses(model, narrow, _first_stage(model, _proposals(_FAR, _A)))
    self.assertAllClose(losses["roi_box"], 2.0 * (2.5 - 2 / 18) / 2)

  @parameterized.parameters((_A, 4.0), (_B, 2.0))
  def test_closeness_of_the_matched_object(self, proposal, odds):
    # Near A there is B, of class 1 (probability 1/4); near B there is A, of class 2 (1/2).
    model = _silent_detector()
    model.closeness_head.classifier.bias.assign([0.0, 0.0, float(np.log(2.0))])
    first = _first_stage(model, _proposals(_FAR, proposal))
    self.assertAllClose(_losses(model, _config(), first)["closeness"], 0.3 * np.log(odds))

  @parameterized.parameters(
    # Of A and B, both positive; FAR is not.
    ("batch_positives", False, (np.log(4.0) + np.log(2.0)) / 2),
    ("batch_positives", True, (np.log(3.0) + np.log(1.5)) / 2),
    ("per_image_sum", False, (np.log(4.0) + np.log(2.0)) / 2),
  )
  def test_closeness_as_configured(self, normalizer, drop_background, expected):
    model = _silent_detector()
    model.closeness_head.classifier.bias.assign([0.0, 0.0, float(np.log(2.0))])
    config = _config(
      {"auxiliary": {"closeness": {"normalizer": normalizer, "drop_background": drop_background}}}
    )
    self.assertAllClose(_losses(model, config)["closeness"], 0.3 * expected)

  def test_closeness_of_an_object_without_a_label(self):
    # Around A there is a region to be ignored only. With the same image beside it in which B is an
    # object, the mean is that of A and B there; alone it is 0.
    model = _silent_detector()
    model.closeness_head.classifier.bias.assign([0.0, 0.0, float(np.log(2.0))])
    config, first = _config(), _first_stage(model)
    labels = {**_LABELS, "gt_classes": tf.constant([[2, 0, -1]])}
    targets = training_losses.make_auxiliary_targets(config, labels, _STEP, small.NUM_CLASSES)
    self.assertEqual(_losses(model, config, first, targets, labels)["closeness"], 0.0)

    twice = tf.nest.map_structure(lambda values: tf.repeat(values, 2, axis=0), first)
    twice = twice._replace(anchors=twice.anchors._replace(boxes_px=first.anchors.boxes_px))
    labels = {name: tf.repeat(values, 2, axis=0) for name, values in _LABELS.items()}
    labels["gt_classes"] = tf.constant([[2, 0, -1], [2, 1, -1]])
    targets = training_losses.make_auxiliary_targets(config, labels, _STEP, small.NUM_CLASSES)
    expected = 0.3 * (np.log(4.0) + np.log(2.0)) / 2
    self.assertAllClose(_losses(model, config, twice, targets, labels)["closeness"], expected)

  def test_regions_to_be_ignored_add_nothing(self):
    # B lies in such a region: the proposal on it is left out, and so are anchors in it. The
    # detector calls everything background, which is right of FAR and wrong of A.
    region = [8.0, 56.0, 64.0, 96.0]
    model = _silent_detector()
    model.box_head.classifier.bias.assign([_LOG3, 0.0, 0.0])
    model.rpn.objectness.bias.assign([_LOG3, 0.0] * 2)
    config = _config({"roi_head": {"batch_size": 8}})
    labels = {
      **_LABELS,
      "gt_boxes_px": tf.constant([[_A, region, [-1.0] * 4]]),
      "gt_classes": tf.constant([[2, 0, -1]]),
    }
    targets = training_losses.make_auxiliary_targets(config, labels, _STEP, small.NUM_CLASSES)
    first = _first_stage(model)
    losses = _losses(model, config, first, targets, labels)
    self.assertAllClose(losses["roi_class"], (np.log(5 / 3) + np.log(5.0)) / 2)
    # Of the 13 anchors that count for A alone, see above, some lie in the region.
    anchors = np.array(first.anchors.boxes_px)[np.array(first.anchors.is_candidate[0])]
    shared = np.minimum(anchors[:, 2:], region[2:]) - np.maximum(anchors[:, :2], region[:2])
    shared = np.prod(np.maximum(shared, 0.0), axis=1)
    area = np.prod(anchors[:, 2:] - anchors[:, :2], axis=1)
    num_inside = np.sum((shared >= 0.5 * area) | (shared / (area + 56 * 40 - shared) >= 0.3))
    self.assertBetween(num_inside, 1, 10)
    num_counted = 13 - num_inside
    expected = (np.log(4.0) + (num_counted - 1) * np.log(4 / 3)) / num_counted
    self.assertAllClose(losses["rpn_objectness"], expected)

  def test_closeness_normalizer(self):
    # The same image twice has the mean of one, or the sum of two.
    model = _silent_detector()
    first = _first_stage(model)
    twice = tf.nest.map_structure(lambda values: tf.repeat(values, 2, axis=0), first)
    twice = twice._replace(anchors=twice.anchors._replace(boxes_px=first.anchors.boxes_px))
    labels = {name: tf.repeat(values, 2, axis=0) for name, values in _LABELS.items()}
    targets = tf.nest.map_structure(lambda values: tf.repeat(values, 2, axis=0), _default_targets())
    for normalizer, factor in (("batch_positives", 1.0), ("per_image_sum", 2.0)):
      config = _config({"auxiliary": {"closeness": {"normalizer": normalizer}}})
      losses = _losses(model, config, twice, targets, labels)
      self.assertAllClose(losses["closeness"], factor * 0.3 * _LOG3)
      self.assertAllClose(losses["roi_class"], _LOG3)

  def test_windows_have_their_labels(self):
    # The multi-object head says log-odds of the background; its loss follows from the labels.
    model = _silent_detector()
    model.multi_object_head.classifier.bias.assign([float(np.log(2.0)), 0.0, 0.0])
    config, targets = _config(), _default_targets()
    background = np.mean(targets.window_labels[0, :, 0])
    expected = background * np.log(2.0) + (1.0 - background) * np.log(4.0)
    self.assertAllClose(_losses(model, config)["multi_object"], expected)
    unweighted = targets._replace(window_weights=tf.zeros([1, 3]))
    self.assertEqual(_losses(model, config, targets=unweighted)["multi_object"], 0.0)

  def test_foreground_has_its_mask_and_weights(self):
    model = _silent_detector()
    model.foreground_head.conv.bias.assign([0.0, _LOG3])
    config, targets = _config(), _default_targets()
    mask = targets.foreground_mask.numpy()
    share = mask.mean()
    self.assertBetween(share, 0.1, 0.9)
    expected = share * np.log(4 / 3) + (1.0 - share) * np.log(4.0)
    self.assertAllClose(_losses(model, config)["foreground"], expected)
    targets = targets._replace(foreground_weights=tf.constant(mask))
    losses = _losses(model, config, targets=targets)
    self.assertAllClose(losses["foreground"], share * np.log(4 / 3))

  def test_each_weight_scales_its_loss(self):
    def weighted(*weights):
      objectness, rpn_box, roi_class, roi_box, *others, refined = weights
      names = ("multi_object", "closeness", "foreground")
      return _config(
        {
          "rpn": {"objectness_loss_weight": objectness, "box_loss_weight": rpn_box},
          "roi_head": {"class_loss_weight": roi_class, "box_loss_weight": roi_box},
          "auxiliary": {
            name: {"loss_weight": weight} for name, weight in zip(names, others, strict=True)
          },
          "refinement": {"loss_weight": refined},
        }
      )

    model = _detector()
    first = _first_stage(model)
    base = _losses(model, weighted(*[1.0] * 8), first)
    self.assertGreater(min(base.values()), 0.0)
    weights = [2.0, 3.0, 5.0, 7.0, 11.0, 13.0, 17.0, 19.0]
    scaled = _losses(model, weighted(*weights), first)
    # The losses come in the same order.
    expected = {name: w * loss for (name, loss), w in zip(base.items(), weights, strict=True)}
    self.assertAllClose(scaled, expected, rtol=1e-5)

  @parameterized.parameters(
    ({}, set()),
    ({"multi_object_head": None}, {"multi_object"}),
    ({"closeness_head": None}, {"closeness"}),
    ({"foreground": None}, {"foreground"}),
    ({"refinement_stage": None}, {"refinement"}),
  )
  def test_names(self, components, absent):
    names = {
      "rpn_objectness",
      "rpn_box",
      "roi_class",
      "roi_box",
      "multi_object",
      "closeness",
      "foreground",
      "refinement",
    }
    losses = _losses(small.make_detector(**components), _config())
    self.assertEqual(set(losses), names - absent)
    self.assertTrue(all(np.isfinite(loss) for loss in losses.values()))

  def test_heads_are_trained_as_in_training(self):
    model = _detector()
    first = _first_stage(model)
    heads = (model.box_head, model.closeness_head, model.multi_object_head)
    for head in heads:
      head.stage2.seen = []
    _losses(model, _config(), first)
    self.assertEqual([list(head.stage2.seen) for head in heads[:2]], [[(4, True)]] * 2)
    # Windows are used in the loss; those of refinement are only classified.
    self.assertEqual(list(heads[2].stage2.seen), [(3, True), (4 * 4 + 1, False)])

  def test_closeness_is_trained_on_every_positive_of_a_full_minibatch(self):
    # Half of four may be positive, and A and B are; the other rows are classified apart.
    model, config = small.make_detector(rows_are_independent=True), _config()
    first = _first_stage(model)
    rois = training_losses.sample_rois(config, first.proposals, _LABELS, _STEP)
    self.assertEqual(int(tf.reduce_sum(tf.cast(rois.is_positive, tf.int32))), 2)
    model.closeness_head.stage2.seen = []
    _losses(model, config, first)
    self.assertCountEqual(model.closeness_head.stage2.seen, [(2, True), (4 - 2, True)])
    with mock.patch.object(model, "box_stage", wraps=model.box_stage) as box_stage:
      _losses(model, config, first)
    self.assertEqual(box_stage.call_args.kwargs["num_closeness_rows"], 2)


class ViewsTest(tf.test.TestCase):
  def test_losses_are_the_sum_of_those_of_the_views(self):
    # Two views of other images: both have the losses that they have alone.
    model, config = _detector(), _config()
    images = small.noise_images(2, 64, 96)
    size = tf.repeat(_LABELS["image_size_px"], 2, axis=0)
    first = model.first_stage(images, size, training=True)
    proposed = [_proposals(_FAR, _B, _A), _proposals(_FAR, _A)]
    proposed = tf.nest.map_structure(lambda *each: tf.concat(each, axis=0), *proposed)
    first = first._replace(proposals=proposed)
    labels = {name: tf.repeat(values, 2, axis=0) for name, values in _LABELS.items()}
    labels["gt_classes"] = tf.constant([[2, 1, -1], [2, -1, -1]])
    labels["view_key"] = tf.constant([17, 4])

    def part(values, view):
      is_anchors = len(values.shape) == 2 and values.shape[1] == 4
      return values if is_anchors else values[view : view + 1]

    def losses(first, labels, num_views):
      targets = training_losses.make_auxiliary_targets(config, labels, _STEP, small.NUM_CLASSES)
      parts = training_losses.replica_losses(
        model, config, first, labels, targets, _STEP, num_views=num_views
      )
      found = training_losses.reduce_over_replicas(parts)
      return {name: float(loss) for name, loss in found.items()}

    together = losses(first, labels, 2)
    alone = [
      losses(
        tf.nest.map_structure(lambda values, view=view: part(values, view), first),
        {name: values[view : view + 1] for name, values in labels.items()},
        1,
      )
      for view in range(2)
    ]
    self.assertEqual(together.keys(), alone[0].keys())
    for name, loss in together.items():
      self.assertAllClose(loss, alone[0][name] + alone[1][name], rtol=1e-5, msg=name)

  def test_views_are_sampled_by_keys_of_their_own(self):
    labels = {**_LABELS, "view_key": tf.constant([4])}
    for module, name in (
      (training_losses.rpn_targets, "rpn_targets"),
      (training_losses.roi_targets, "roi_targets"),
    ):
      with mock.patch.object(module, name, wraps=getattr(module, name)) as called:
        _losses(_detector(), _config(), labels=labels)
      stream = getattr(seed_ops, name.split("_")[0].upper() + "_SAMPLING")
      expected = seed_ops.image_seeds(0, stream, _STEP, tf.constant([4]))
      self.assertAllEqual(called.call_args.args[4], expected)


class SamplingTest(tf.test.TestCase):
  def _call(self, module, name, config, step):
    """What one of the label makers is called with."""
    model = _detector()
    maker = getattr(module, name)
    with mock.patch.object(module, name, wraps=maker) as called:
      _losses(model, config, step=tf.constant(step))
    return called.call_args

  def test_rpn(self):
    options = {
      "batch_size": 9,
      "positive_fraction": 0.4,
      "positive_iou": 0.6,
      "negative_iou": 0.2,
    }
    config = _config({"rpn": options, "seed": 23})
    called = self._call(training_losses.rpn_targets, "rpn_targets", config, step=5)
    expected = {("num_samples" if k == "batch_size" else k): v for k, v in options.items()} | {
      "never_negative": None
    }
    self.assertEqual(called.kwargs, expected)
    anchors, is_candidate, boxes, classes, seeds = called.args
    self.assertEqual(np.shape(anchors), (48, 4))
    self.assertAllEqual(tf.reduce_sum(tf.cast(is_candidate, tf.int32)), 14)
    self.assertAllEqual(boxes, _LABELS["gt_boxes_px"])
    self.assertAllEqual(classes, _LABELS["gt_classes"])
    keys = _LABELS["image_key"]
    self.assertAllEqual(seeds, seed_ops.image_seeds(23, seed_ops.RPN_SAMPLING, 5, keys))

  def test_rois(self):
    options = {
      "batch_size": 9,
      "positive_fraction": 0.4,
      "positive_iou": 0.6,
      "append_ground_truth": True,
    }
    config = _config({"roi_head": options, "seed": 23})
    called = self._call(training_losses.roi_targets, "roi_targets", config, step=5)
    self.assertEqual(
      called.kwargs,
      {"num_samples": 9, "positive_fraction": 0.4, "positive_iou": 0.6, "append_gt": True},
    )
    boxes, valid, gt_boxes, gt_classes, seeds = called.args
    self.assertAllClose(boxes[0, :3], [_FAR, _B, _A])
    self.assertAllEqual(valid, [[True] * 3 + [False] * 2])
    self.assertAllEqual(gt_boxes, _LABELS["gt_boxes_px"])
    self.assertAllEqual(gt_classes, _LABELS["gt_classes"])
    keys = _LABELS["image_key"]
    self.assertAllEqual(seeds, seed_ops.image_seeds(23, seed_ops.ROI_SAMPLING, 5, keys))


class AuxiliaryTargetsTest(parameterized.TestCase, tf.test.TestCase):
  def _windows(self, resample, step, key=17, seed=0):
    config = _config({"auxiliary": {"multi_object": {"resample": resample}}, "seed": seed})
    labels = {**_LABELS, "image_key": tf.constant([key])}
    step = tf.constant(step)
    return training_losses.make_auxiliary_targets(config, labels, step, 3).windows_px

  def test_windows_are_drawn_again_in_every_step(self):
    self.assertAllEqual(self._windows("online", 4), self._windows("online", 4))
    self.assertNotAllClose(self._windows("online", 4), self._windows("online", 5))

  def test_windows_are_drawn_around_annotations(self):
    # B was mined: it labels windows, and draws none.
    labels = {**_LABELS, "is_pseudo": tf.constant([[False, True, False]])}
    alone = {**_LABELS, "gt_classes": tf.constant([[2, -1, -1]])}
    completed, annotated, both = (
      training_losses.make_auxiliary_targets(_config(), given, _STEP, small.NUM_CLASSES)
      for given in (labels, alone, _LABELS)
    )
    self.assertAllEqual(completed.windows_px, annotated.windows_px)
    self.assertNotAllClose(completed.windows_px, both.windows_px)
    self.assertAllEqual(completed.foreground_mask, both.foreground_mask)
    self.assertAllEqual(completed.closeness_labels, both.closeness_labels)
    self.assertNotAllClose(completed.closeness_labels, annotated.closeness_labels)

  def test_windows_drawn_once_as_released(self):
    fixed = self._windows("offline_fixed", 4)
    self.assertAllEqual(fixed, self._windows("offline_fixed", 5))
    self.assertNotAllClose(fixed, self._windows("offline_fixed", 4, key=18))
    self.assertNotAllClose(fixed, self._windows("offline_fixed", 4, seed=1))

  def test_released_switches(self):
    config = _config(yaml.safe_load(_RELEASED.read_text())["task"])
    with mock.patch.object(auxiliary, "auxiliary_targets") as called:
      training_losses.make_auxiliary_targets(config, _LABELS, _STEP, 3)
    self.assertEqual(
      called.call_args.kwargs,
      {
        "num_windows": 3,
        "min_window_px": 8.0,
        "window_sampling": "center_clip",
        "empty_image": "background",
        "include_same_class": False,
        "mask_size": 8,
        "foreground_weighting": "inverse_area",
        "round_decimals": 3,
        "flip_labels": False,
        "window_classes": None,
      },
    )
    boxes, classes, size, flipped, seeds, num_classes = called.call_args.args
    self.assertIs(boxes, _LABELS["gt_boxes_px"])
    self.assertIs(classes, _LABELS["gt_classes"])
    self.assertIs(size, _LABELS["image_size_px"])
    self.assertIs(flipped, _LABELS["flipped"])
    keys = _LABELS["image_key"]
    self.assertAllEqual(seeds, seed_ops.image_seeds(0, seed_ops.WINDOWS, 0, keys))
    self.assertEqual(num_classes, 3)

  def test_released_losses_exist(self):
    config = _config(yaml.safe_load(_RELEASED.read_text())["task"])
    model = small.make_detector(
      refinement={
        "closeness_mean": config.refinement.closeness_mean,
        "layer": {"stop_gradient_residual": False, "use_bias": True},
      },
    )
    targets = training_losses.make_auxiliary_targets(config, _LABELS, _STEP, 3)
    released, paper = _losses(model, config, targets=targets), _losses(model, _config())
    self.assertEqual(set(released), set(paper))
    self.assertTrue(all(np.isfinite(loss) for loss in released.values()))
    for name in ("multi_object", "closeness", "foreground"):
      self.assertNotAllClose(released[name], paper[name])


class ForegroundLogitsTest(parameterized.TestCase, tf.test.TestCase):
  @parameterized.parameters(
    # A row of two cells, 0 and 8, stretched to four places: 0, 1/2, 1, 3/2, or -1/4, 1/4, 3/4, 5/4.
    ("legacy", [0.0, 4.0, 8.0, 8.0]),
    ("half_pixel", [0.0, 2.0, 6.0, 8.0]),
  )
  def test_content_is_brought_to_the_size_of_the_mask(self, resize, expected):
    model = _silent_detector()
    kernel = np.zeros([1, 1, 4, 2], np.float32)
    kernel[0, 0, 0, 1] = 1.0
    model.foreground_head.conv.kernel.assign(kernel)
    # The padded input has a row and a column more than an image of 10 x 32.
    row = tf.constant([0.0, 8.0, 99.0])
    features = tf.stack([row, row + 99.0])[tf.newaxis, :, :, tf.newaxis]
    features = tf.pad(features, [[0, 0], [0, 0], [0, 0], [0, 3]])
    config = _config({"auxiliary": {"foreground": {"mask_size": 4, "resize": resize}}})
    logits = training_losses.foreground_logits(model, config, features, tf.constant([[10.0, 32.0]]))
    self.assertAllClose(logits[..., 1], [[expected] * 4])
    self.assertAllEqual(logits[..., 0], tf.zeros([1, 4, 4]))


class RefinementLossTest(parameterized.TestCase, tf.test.TestCase):
  @parameterized.parameters(
    # K sampled rows and how many to learn from.
    (4, 0, [0, 1, 2, 3]),
    (4, 2, [0, 2]),
    (4, 9, [0, 1, 2, 3]),
    # The last of five is padding.
    (5, 0, [0, 1, 2, 3, 4]),
    (5, 3, [0, 1, 3]),
  )
  def test_rows_are_picked_evenly(self, num_rois, train_rois, expected):
    model = _detector()
    config = _config(
      {"roi_head": {"batch_size": num_rois}, "refinement": {"train_rois": train_rois}}
    )
    first = _first_stage(model, _proposals(_A, _B, _FAR, [50.0, 0.0, 60.0, 9.0], num=6))
    rois = training_losses.sample_rois(config, first.proposals, _LABELS, _STEP)
    size = _LABELS["image_size_px"]
    second = model.box_stage(first.features, rois.boxes_px, size)
    with mock.patch.object(model, "refine", wraps=model.refine) as refine:
      loss = _losses(model, config, first)["refinement"]
    _, boxes_px, logits, closeness, size_px, box_features, _ = refine.call_args.args
    expected_features = tf.gather(second.box_features, expected, axis=1)
    self.assertAllClose(box_features, expected_features, atol=1e-5)
    self.assertAllClose(boxes_px, tf.gather(rois.boxes_px, expected, axis=1))
    self.assertAllClose(logits, tf.gather(second.class_logits, expected, axis=1), atol=1e-5)
    self.assertAllEqual(size_px, size)
    # The mean is over all rows.
    mean = refinement.mean_closeness(second.closeness_logits, rois.valid, "per_image_valid")
    self.assertAllClose(closeness, mean, atol=1e-5)
    refined = model.refine(first.features, boxes_px, logits, closeness, size)
    own = detection_losses.roi_class_loss(
      refined, tf.gather(rois.classes, expected, axis=1), tf.gather(rois.valid, expected, axis=1)
    )
    self.assertAllClose(loss, own, rtol=1e-5)


class WeightDecayTest(parameterized.TestCase, tf.test.TestCase):
  # Entries of kernels: stage 1, second stages; RPN of depth 6 with two anchors a cell; last layers
  # of the main head; of the auxiliary heads and refinement of 3, 15 and 3 columns.
  STAGE1, STAGE2 = 16 * 16 * 3 * 4, 4 * 5
  RPN = 9 * 4 * 6 + 6 * 8 + 6 * 4
  MAIN = 5 * 3 + 5 * 8
  CLASSIFIER, FOREGROUND, REFINEMENT = 5 * 3, 4 * 2, 21 * 3

  def _decay(self, model=None, **scales):
    model = model or _detector()
    for variable in model.variables:
      variable.assign(tf.fill(variable.shape, 2.0))
    zero = {f"{name}_l2": 0.0 for name in ("backbone", "rpn", "head", "auxiliary")}
    config = config_lib.Regularization(**{**zero, **scales})
    return float(training_losses.weight_decay(model, config))

  @parameterized.parameters(
    ("backbone_l2", STAGE1 + 3 * STAGE2),
    ("rpn_l2", RPN),
    ("head_l2", MAIN),
    ("auxiliary_l2", 2 * CLASSIFIER + FOREGROUND + REFINEMENT),
  )
  def test_each_group_by_its_scale(self, field, num_entries):
    # Every entry is 2: half of its square is 2.
    self.assertAllClose(self._decay(**{field: 0.1}), 0.1 * 2.0 * num_entries, rtol=1e-5)

  def test_groups_are_added_up(self):
    total = self._decay(backbone_l2=0.1, rpn_l2=0.2, head_l2=0.3, auxiliary_l2=0.4)
    expected = (
      0.1 * (self.STAGE1 + 3 * self.STAGE2)
      + 0.2 * self.RPN
      + 0.3 * self.MAIN
      + 0.4 * (2 * self.CLASSIFIER + self.FOREGROUND + self.REFINEMENT)
    )
    self.assertAllClose(total, 2.0 * expected, rtol=1e-5)

  def test_none(self):
    self.assertEqual(self._decay(), 0.0)

  def test_heads_that_are_absent_do_not_decay(self):
    absent = {"closeness_head": None, "foreground": None, "refinement_stage": None}
    decay = self._decay(small.make_detector(**absent), backbone_l2=1.0, auxiliary_l2=10.0)
    expected = self.STAGE1 + 2 * self.STAGE2 + 10.0 * self.CLASSIFIER
    self.assertAllClose(decay, 2.0 * expected, rtol=1e-5)

  def test_a_plain_detector(self):
    heads = ("multi_object_head", "closeness_head", "foreground", "refinement_stage")
    model = small.make_detector(**dict.fromkeys(heads))
    decay = self._decay(model, auxiliary_l2=1.0, head_l2=1.0)
    self.assertAllClose(decay, 2.0 * self.MAIN)
