"""Parity with the released code, stage by stage, for every golden file in `--golden_dir`.

A golden file holds an image, ground truth, and what the released graph makes of them with weights
that follow from the variables' names. Tolerances: tensors to 1e-3 of their own standard deviation,
losses to 1e-3 and gradient norms to 1e-2 relative; end to end, where non-maximum suppression may
break ties another way, 99 % of the boxes.

End to end there is one more thing that no implementation can share. A crop whose box ends at the
image's border loses its last samples when the box's other side, in float32, is such that the last
sample is computed to lie a rounding error outside. Which boxes that happens to is decided by the
last bit of the proposals, and that by the order in which a convolution adds. So proposals that are
the golden ones but for less than a thousandth of a pixel take their bits in one test. The two
others, which do without, ask for the same 99 %; files that are known to fall short of it for this
reason are reported as expected failures, as long as they have the share that is known of them.
"""

import json
import pathlib
import types
import zlib
from unittest import mock

import numpy as np
import pytest
import tensorflow as tf
import yaml
from official.core import exp_factory

from mtl_ssl_tf import registry_imports  # noqa: F401
from mtl_ssl_tf.checkpoints import import_reference, reference
from mtl_ssl_tf.labels import auxiliary
from mtl_ssl_tf.modeling import factory
from mtl_ssl_tf.modeling import proposals as proposals_lib
from mtl_ssl_tf.serving import export_lib
from mtl_ssl_tf.tasks import training_losses
from tests.checkpoints import slim_files

OVERLAYS = pathlib.Path(__file__).parents[1] / "configs" / "overlays"
# A part of the variables' names -> our name of the backbone.
BACKBONES = {
  "MobilenetV1": "mobilenet_v1",
  "resnet_v1_50": "resnet_50",
  "resnet_v1_101": "resnet_101",
  "InceptionResnetV2": "inception_resnet_v2",
}
# A part of the names that only R-FCN has.
RFCN = "reduce_depth"
# The released graph makes block 4 in the first stage too, and has no use for it.
UNUSED = "FirstStageFeatureExtractor/resnet_v1_"
ENOUGH = 0.99
# Where detections from our own proposals fall short of that, and their share. The golden RPN codes
# are as far from those of float64 as ours are.
KNOWN_SHORT = {"model12": 0.950, "model42": 0.970, "model62": 0.967}
# Processors with other instructions add in another order, which decides once more about each crop
# at the border: some of the 9 to 15 of 300 detections that are missed are found then, and others
# missed. Six detections are about as much as chance gives or takes; a fault of ours costs more.
SHARE_TOLERANCE = 0.02
EVERYTHING = 1_000_000
LOSSES = {
  "first_stage_objectness_loss": "rpn_objectness",
  "first_stage_localization_loss": "rpn_box",
  "second_stage_classification_loss": "roi_class",
  "second_stage_localization_loss": "roi_box",
  "window_class_loss": "multi_object",
  "closeness_classification_loss": "closeness",
  "edgemask_loss": "foreground",
  "refined_classification_loss": "refinement",
}


def golden_value(name, shape):
  """The weights that the golden files were made with."""
  noise = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape)
  leaf = name.rsplit("/", 1)[-1]
  if leaf == "gamma":
    value = (0.3 if "/conv3/" in name else 1.0) * (1.0 + 0.1 * noise)
  elif leaf in ("beta", "moving_mean"):
    value = 0.05 * noise
  elif leaf == "moving_variance":
    value = 1.0 + 0.2 * np.abs(noise)
  elif leaf == "biases":
    value = 0.01 * noise
  elif leaf == "depthwise_weights":
    value = noise * np.sqrt(2.0 / (shape[0] * shape[1]))
  else:
    value = noise * np.sqrt(2.0 / np.prod(shape[:-1]))
    if name.endswith("resnet_v1_101/conv1/weights"):
      value /= 64.0
    residual = "Repeat" in name or "Block8" in name
    if "InceptionResnetV2" in name and name.endswith("/Conv2d_1x1/weights") and residual:
      value *= 0.5
  return value.astype(np.float32)


class Case:
  """A golden file and our detector with its weights."""

  def __init__(self, path):
    self.name = path.stem
    with np.load(path) as file:
      self.arrays = {name: file[name] for name in file.files}
    shapes = json.loads(str(self.arrays["variables"]))
    backbone = next(
      (ours for part, ours in BACKBONES.items() if any(part in name for name in shapes)), None
    )
    if backbone is None:
      pytest.skip(f"{path.name}: no backbone for {next(iter(shapes))} yet")
    self.config = exp_factory.get_exp_config("mtl_frcnn")
    for overlay in (
      OVERLAYS / "released.yaml",
      OVERLAYS / "released_schedules" / f"{path.stem}.yaml",
    ):
      if overlay.exists():
        self.config.override(yaml.safe_load(overlay.read_text()), is_strict=True)
    head = "rfcn" if any(RFCN in name for name in shapes) else "faster_rcnn"
    self.config.override(
      {"task": {"backbone": {"type": backbone}, "roi_head": {"type": head}}}, is_strict=True
    )
    num_classes = self["infer/class_predictions_with_background"].shape[-1]
    self.model = factory.build_detector(self.config.task, num_classes)
    self.weights = {name: golden_value(name, shape) for name, shape in shapes.items()}
    self.report = reference.assign(self.model, self.weights)
    self.images = tf.cast(self["image"][np.newaxis], tf.float32)
    self.size = tf.constant([self["image"].shape[:2]], tf.float32)  # [1, 2]
    self.sides = tf.tile(self.size, [1, 2])[:, tf.newaxis]  # [1, 1, 4]

  def __getitem__(self, name):
    return self.arrays[name]


@pytest.fixture(scope="module")
def case(golden_file):
  return Case(golden_file)


def assert_tensor(ours, golden, tolerance=1e-3):
  ours = np.asarray(ours)
  assert ours.size == golden.size
  error = np.abs(ours.reshape(golden.shape) - golden).max()
  assert error <= tolerance * golden.std(), f"off by {error / golden.std():.2g} deviations"


def recall(ours, golden, ours_extra=(), golden_extra=()):
  """Share of golden boxes [n, 4] that we have too: IoU > 0.99, and all extras within 1e-3."""
  low = np.maximum(ours[:, np.newaxis, :2], golden[:, :2])
  high = np.minimum(ours[:, np.newaxis, 2:], golden[:, 2:])
  intersection = np.prod(np.maximum(high - low, 0.0), axis=-1)
  area_ours = np.prod(ours[:, 2:] - ours[:, :2], axis=-1)[:, np.newaxis]
  area_golden = np.prod(golden[:, 2:] - golden[:, :2], axis=-1)
  found = intersection > 0.99 * (area_ours + area_golden - intersection)
  for mine, theirs in zip(ours_extra, golden_extra, strict=True):
    found &= np.abs(mine[:, np.newaxis] - theirs) < 1e-3
  return found.any(axis=0).mean()


def test_every_variable_has_its_reference_name(case):
  assert case.report.missing == []
  unexplained = [
    name
    for name in case.report.unused
    if not (name.startswith(UNUSED) and name.split("/")[2] == "block4")
  ]
  assert unexplained == []


def test_first_stage(case):
  first = case.model.first_stage(case.images, case.size)
  for ours, name in (
    (first.features, "rpn_features_to_crop"),
    (first.rpn.features, "rpn_box_predictor_features"),
  ):
    golden = case[f"infer/{name}/channels_0_8"]
    assert_tensor(ours[..., : golden.shape[-1]], golden)
    mean_std = np.array([np.mean(ours), np.std(ours)])
    np.testing.assert_allclose(mean_std, case[f"infer/{name}/mean_std"], rtol=1e-3, atol=1e-4)
  assert_tensor(first.rpn.deltas, case["infer/rpn_box_encodings"])
  assert_tensor(first.rpn.logits, case["infer/rpn_objectness_predictions_with_background"])
  assert_tensor(first.anchors.boxes_px, case["infer/anchors"])


def test_second_stage_of_golden_proposals(case):
  features = case.model.first_stage(case.images, case.size).features
  boxes_px = tf.constant(case["infer/proposal_boxes"])
  second = case.model.box_stage(features, boxes_px, case.size)
  assert_tensor(second.class_logits, case["infer/class_predictions_with_background"])
  assert_tensor(second.box_deltas, case["infer/refined_box_encodings"])
  assert_tensor(second.closeness_logits, case["infer/closeness_predictions"])
  assert_tensor(case.model.predict_foreground(features), case["infer/edgemask_predictions"])
  windows = case.model.expanded_window_logits(features, boxes_px, case.size)
  assert_tensor(windows, case["infer/expand_window_class_predictions"])
  closeness = case.model.mean_closeness(second.closeness_logits, tf.ones([1, 300], tf.bool))
  refined = case.model.refine(features, boxes_px, second.class_logits, closeness, case.size)
  assert_tensor(refined, case["infer/mtl_refined_class_predictions_with_background"])


def test_end_to_end(case):
  num_proposals = int(case["infer/num_proposals"].item())
  golden_proposals = case["infer/proposal_boxes"][0, :num_proposals]
  outputs = case.model(case.images, case.size)
  assert recall(outputs["proposals_px"][0].numpy(), golden_proposals) >= ENOUGH
  assert_share(case, outputs)


def test_end_to_end_in_golden_bits(case):
  num_proposals = int(case["infer/num_proposals"].item())
  golden_proposals = case["infer/proposal_boxes"][0, :num_proposals]
  propose = case.model._propose

  def propose_in_golden_bits(*args):
    ours = propose(*args)
    distances = np.abs(ours.boxes_px[0, :, np.newaxis] - golden_proposals).max(axis=-1)
    same = distances.min(axis=1)[:, np.newaxis] < 1e-3
    boxes_px = np.where(same, golden_proposals[distances.argmin(axis=1)], ours.boxes_px[0])
    return ours._replace(boxes_px=tf.constant(boxes_px[np.newaxis]))

  with mock.patch.object(case.model, "_propose", propose_in_golden_bits):
    outputs = case.model(case.images, case.size)
  assert share_of_detections(case, outputs) >= ENOUGH


def test_import_and_export(case, tmp_path):
  """The released checkpoint becomes a run, the run a SavedModel, which finds what it found."""
  height, width = case["image"].shape[:2]
  config = case.config.as_dict()
  config["task"]["validation_data"].update(
    input_size=[height, width], short_side=min(height, width), long_side=max(height, width)
  )
  config["task"]["label_map"] = str(tmp_path / "label_map.txt")
  num_classes = case["infer/class_predictions_with_background"].shape[-1]
  (tmp_path / "label_map.txt").write_text("".join(f"class{i}\n" for i in range(1, num_classes)))
  (tmp_path / "config.yaml").write_text(yaml.safe_dump({"task": config["task"]}))
  checkpoint = slim_files.write(tmp_path / "model.ckpt", case.weights)
  report = import_reference.import_reference(
    [str(tmp_path / "config.yaml")], checkpoint, str(tmp_path / "run")
  )
  assert report.missing == report.unused == []
  exported = export_lib.export_run(str(tmp_path / "run"), str(tmp_path / "exported"))
  detect = tf.saved_model.load(exported).signatures["serving_default"]
  assert_share(case, detect(images=tf.constant(case["image"][np.newaxis])))


def assert_share(case, outputs):
  share, known = share_of_detections(case, outputs), KNOWN_SHORT.get(case.name)
  if known is None:
    assert share >= ENOUGH
    return
  found = f"{case.name}: {share:.1%} of the detections found again"
  assert share < ENOUGH, f"{found}; accepted: less, or without an entry in KNOWN_SHORT"
  assert share == pytest.approx(known, abs=SHARE_TOLERANCE), f"{found}; known: {known:.1%}"
  pytest.xfail(f"{found}; see the top of the file")


@pytest.mark.parametrize(
  ("name", "share", "outcome"),
  [
    ("model12", KNOWN_SHORT["model12"], pytest.xfail.Exception),
    ("model12", KNOWN_SHORT["model12"] + 0.9 * SHARE_TOLERANCE, pytest.xfail.Exception),
    ("model12", KNOWN_SHORT["model12"] + 1.1 * SHARE_TOLERANCE, AssertionError),
    ("model12", KNOWN_SHORT["model12"] - 1.1 * SHARE_TOLERANCE, AssertionError),
    ("model42", 0.99, AssertionError),  # Though it is near the known share.
    ("model52", 0.98, AssertionError),
  ],
)
def test_shares_are_held_to_what_is_known(monkeypatch, name, share, outcome):
  monkeypatch.setitem(globals(), "share_of_detections", lambda *_: share)
  with pytest.raises(outcome):
    assert_share(types.SimpleNamespace(name=name), None)


def share_of_detections(case, outputs):
  num_golden = int(case["infer/num_detections"].item())
  return recall(
    (outputs["detection_boxes_px"] / case.sides)[0].numpy(),
    case["infer/detection_boxes"][0, :num_golden],
    (outputs["detection_scores"][0].numpy(), outputs["detection_classes"][0].numpy()),
    (
      case["infer/detection_scores"][0, :num_golden],
      case["infer/detection_classes"][0, :num_golden] + 1,
    ),
  )


def test_losses_and_gradients(case):
  config = case.config.task
  num_rois = case["train/proposal_boxes_normalized"].shape[1]
  config.override(
    {
      "rpn": {"batch_size": EVERYTHING, "positive_fraction": 1.0},
      "roi_head": {"batch_size": num_rois, "positive_fraction": 1.0},
    }
  )
  num_objects, num_windows = len(case["gt/gt_classes"]), len(case["gt/windows"])
  labels = {
    "gt_boxes_px": case["gt/gt_boxes"][np.newaxis] * case.sides,
    "gt_classes": tf.cast(case["gt/gt_classes"][np.newaxis], tf.int32),
    "image_size_px": case.size,
    "image_key": tf.constant([0]),
  }
  targets = auxiliary.AuxiliaryTargets(
    windows_px=case["gt/windows"][np.newaxis] * case.sides,
    window_labels=tf.constant(case["gt/window_labels"][np.newaxis]),
    window_weights=tf.ones([1, num_windows]),
    closeness_labels=tf.constant(case["gt/gt_closeness"][np.newaxis]),
    foreground_mask=tf.constant(case["gt/foreground"][np.newaxis], tf.float32),
    foreground_weights=tf.constant(case["gt/foreground_weights"][np.newaxis], tf.float32),
  )
  assert num_objects > 0
  num_valid = int(case["train/num_proposals"].item())
  golden_proposals = proposals_lib.Proposals(
    case["train/proposal_boxes_normalized"] * case.sides,
    tf.range(num_rois)[tf.newaxis] < num_valid,
    tf.zeros([1, num_rois]),
  )
  with tf.GradientTape() as tape:
    first = case.model.first_stage(case.images, case.size, training=True)
    found = first.proposals.boxes_px[0].numpy()
    first = first._replace(proposals=golden_proposals)
    parts = training_losses.replica_losses(
      case.model, config, first, labels, targets, tf.constant(0)
    )
    losses = training_losses.reduce_over_replicas(parts)
    total = tf.add_n(list(losses.values()))
  golden_losses = {ours: case[f"train/loss/{name}"].item() for name, ours in LOSSES.items()}
  ours = {name: float(loss) for name, loss in losses.items()}
  assert ours == pytest.approx(golden_losses, rel=1e-3)
  assert recall(found, golden_proposals.boxes_px[0].numpy()[:num_valid]) >= ENOUGH

  variables = reference.reference_variables(case.model)
  golden_norms = dict(zip(case["train/grad_norm_names"], case["train/grad_norms"], strict=True))
  golden_norms = {str(name).split(":")[0]: float(norm) for name, norm in golden_norms.items()}
  names = [name for name, norm in golden_norms.items() if norm >= 0.0]
  gradients = tape.gradient(total, [variables[name] for name in names])
  norms = {
    name: float(tf.norm(tf.convert_to_tensor(gradient)))
    for name, gradient in zip(names, gradients, strict=True)
  }
  assert norms == pytest.approx({name: golden_norms[name] for name in names}, rel=1e-2)
