"""torchvision's detectors by name: every layer computes what PyTorch's would, in its own order."""

import numpy as np
import pytest
import tensorflow as tf

from mtl_ssl_tf.checkpoints import pretrained, torch_files
from mtl_ssl_tf.ops import box_coder_ops
from tests.modeling import small_backbones, small_fpn

SOURCE = "task.init_checkpoint:"
DEPTH, DENSE, CROP = 8, 16, 3
RESNET = {
  "backbone": {"type": "small_basic_resnet", "norm": {"type": "frozen"}},
  "fpn": {"depth": DEPTH, "min_level": 2, "max_level": 6},
  "rpn": {"depth": DEPTH},
  # Not in PyTorch's order, in which 2 : 1 comes first.
  "anchors": {"aspect_ratios": [0.5, 1.0, 2.0]},
  "refinement": {"enabled": False},
}
RNG = np.random.default_rng(0)


def build(*overrides):
  with small_backbones.registered():
    return small_fpn.build(RESNET, *overrides)


V2 = {
  "fpn": {"norm": "frozen"},
  "rpn": {"num_convs": 2},
  "roi_head": {"fpn": {"layers": "4conv1fc", "norm": "frozen"}},
}


def state_dict(model, kind="2fc", old_names=False, num_classes=small_fpn.NUM_CLASSES):
  """Noise by PyTorch's names, in its order of axes, for the whole of a detector."""
  rng = np.random.default_rng(1)
  shapes = {}
  for name, layer in model.stage1.named_layers().items():
    names = model.backbone.torch_names(name)
    height, width, depth_in, depth = layer.conv.kernel.shape
    shapes[f"backbone.body.{names.conv}.weight"] = (depth, depth_in, height, width)
    for leaf in ("weight", "bias", "running_mean", "running_var"):
      shapes[f"backbone.body.{names.norm}.{leaf}"] = (depth,)
  block, rpn_conv = ("", "") if old_names else (".0", ".0.0")
  for i, depth in enumerate(model.backbone.map_depths):
    shapes[f"backbone.fpn.inner_blocks.{i}{block}.weight"] = (DEPTH, depth, 1, 1)
    shapes[f"backbone.fpn.inner_blocks.{i}{block}.bias"] = (DEPTH,)
    shapes[f"backbone.fpn.layer_blocks.{i}{block}.weight"] = (DEPTH, DEPTH, 3, 3)
    shapes[f"backbone.fpn.layer_blocks.{i}{block}.bias"] = (DEPTH,)
  shapes[f"rpn.head.conv{rpn_conv}.weight"] = (DEPTH, DEPTH, 3, 3)
  shapes[f"rpn.head.conv{rpn_conv}.bias"] = (DEPTH,)
  for name, depth in (("cls_logits", 3), ("bbox_pred", 12)):
    shapes[f"rpn.head.{name}.weight"], shapes[f"rpn.head.{name}.bias"] = (
      (depth, DEPTH, 1, 1),
      (depth,),
    )
  head = "roi_heads.box_head"
  if kind == "2fc":
    dense = {"fc6": DEPTH * CROP**2, "fc7": DENSE}
  else:
    dense = {"5": DEPTH * CROP**2}
    for i in range(4):
      shapes[f"{head}.{i}.0.weight"], shapes[f"{head}.{i}.0.bias"] = (DEPTH, DEPTH, 3, 3), (DEPTH,)
  for name, size in dense.items():
    shapes[f"{head}.{name}.weight"], shapes[f"{head}.{name}.bias"] = (DENSE, size), (DENSE,)
  for name, depth in (("cls_score", num_classes), ("bbox_pred", 4 * num_classes)):
    scope = f"roi_heads.box_predictor.{name}"
    shapes[f"{scope}.weight"], shapes[f"{scope}.bias"] = (depth, DENSE), (depth,)
  return {name: rng.uniform(0.1, 0.5, shape).astype(np.float32) for name, shape in shapes.items()}


def v2_state_dict(model):
  """The same with two convolutions in the RPN, and normalised ones in pyramid and head."""
  arrays, rng = state_dict(model, "4conv1fc"), np.random.default_rng(2)
  blocks = [f"backbone.fpn.{kind}_blocks.{i}" for kind in ("inner", "layer") for i in range(4)]
  for block in (*blocks, *(f"roi_heads.box_head.{i}" for i in range(4))):
    del arrays[f"{block}.0.bias"]
    for leaf in ("weight", "bias", "running_mean", "running_var"):
      arrays[f"{block}.1.{leaf}"] = rng.uniform(0.1, 0.5, [DEPTH]).astype(np.float32)
  for leaf in ("weight", "bias"):
    arrays[f"rpn.head.conv.1.0.{leaf}"] = arrays[f"rpn.head.conv.0.0.{leaf}"] + np.float32(0.1)
  return arrays


@pytest.fixture(name="model", scope="module")
def _model():
  return build()


@pytest.fixture(name="given")
def _given(model, monkeypatch):
  """What the file holds, to be changed by a test."""
  arrays = state_dict(model)
  monkeypatch.setattr(torch_files, "read_state_dict", {"net.pth": arrays}.__getitem__)
  return arrays


def load(model, modules="all", auxiliary=True):
  return pretrained.load(model, "net.pth", SOURCE, modules, copy_missing=auxiliary)


def conv(maps, arrays, name):
  """A convolution as PyTorch has it, on maps [B, h, w, c]."""
  kernel = arrays[f"{name}.weight"].transpose(2, 3, 1, 0)
  return tf.nn.conv2d(maps, kernel, 1, "SAME") + arrays[f"{name}.bias"]


def test_every_tensor_is_used(model, given):
  report = load(model)
  assert report.loaded == sorted(given)
  assert (report.missing, report.unused) == ([], [])
  stem = model.stage1.named_layers()["conv1"]
  np.testing.assert_array_equal(
    stem.conv.kernel, given["backbone.body.conv1.weight"].transpose(2, 3, 1, 0)
  )
  np.testing.assert_array_equal(stem.norm.gamma, given["backbone.body.bn1.weight"])


def test_pyramid(model, given):
  load(model)
  rng = np.random.default_rng(0)
  maps = [
    tf.constant(rng.normal(size=(1, 16 // 2**i, 16 // 2**i, depth)), tf.float32)
    for i, depth in enumerate(model.backbone.map_depths)
  ]
  fpn = "backbone.fpn"
  top, expected = None, []
  for i in (3, 2, 1, 0):
    lateral = conv(maps[i], given, f"{fpn}.inner_blocks.{i}.0").numpy()
    top = lateral if top is None else lateral + top.repeat(2, axis=1).repeat(2, axis=2)
    expected.insert(0, conv(top, given, f"{fpn}.layer_blocks.{i}.0"))
  found = model.pyramid(tuple(maps))
  for ours, theirs in zip(found[:4], expected, strict=True):
    np.testing.assert_allclose(ours, theirs, rtol=1e-4)
  np.testing.assert_array_equal(found[4], found[3][:, ::2, ::2])


def test_rpn(model, given):
  load(model)
  maps = tf.constant(RNG.normal(size=(1, 2, 3, DEPTH)), tf.float32)
  hidden = tf.nn.relu(conv(maps, given, "rpn.head.conv.0.0"))
  logits = conv(hidden, given, "rpn.head.cls_logits").numpy().reshape(-1, 3)
  deltas = conv(hidden, given, "rpn.head.bbox_pred").numpy().reshape(-1, 3, 4)
  found = model.rpn((maps,))
  # Their anchors: heights over widths 0.5, 1, 2; ours 2, 1, 0.5.
  scores = tf.nn.softmax(found.logits)[0, :, 1].numpy().reshape(-1, 3)
  np.testing.assert_allclose(scores[:, ::-1], 1.0 / (1.0 + np.exp(-logits)), rtol=1e-4)
  # An anchor of 20 x 10 pixels, of their deltas by hand.
  anchor = tf.constant([100.0, 50.0, 120.0, 60.0])
  ours = box_coder_ops.decode(found.deltas[0], anchor).numpy().reshape(-1, 3, 4)[:, ::-1]
  x, y = 55.0 + 10.0 * deltas[..., 0], 110.0 + 20.0 * deltas[..., 1]
  width, height = 10.0 * np.exp(deltas[..., 2]), 20.0 * np.exp(deltas[..., 3])
  theirs = np.stack([y - height / 2, x - width / 2, y + height / 2, x + width / 2], axis=-1)
  np.testing.assert_allclose(ours, theirs, rtol=1e-4)


@pytest.mark.parametrize("kind", ["2fc", "4conv1fc"])
def test_second_stage_and_predictor(monkeypatch, kind):
  model = build({"roi_head": {"fpn": {"layers": kind}}})
  arrays = state_dict(model, kind)
  monkeypatch.setattr(torch_files, "read_state_dict", {"net.pth": arrays}.__getitem__)
  report = load(model)
  assert report.loaded == sorted(arrays)
  net = crops = tf.constant(RNG.normal(size=(2, CROP, CROP, DEPTH)), tf.float32)
  head = "roi_heads.box_head"
  if kind == "4conv1fc":
    for i in range(4):
      net = tf.nn.relu(conv(net, arrays, f"{head}.{i}.0"))
  net = net.numpy().transpose(0, 3, 1, 2).reshape(2, -1)  # Channels first, as there.
  for name in ("fc6", "fc7") if kind == "2fc" else ("5",):
    net = np.maximum(net @ arrays[f"{head}.{name}.weight"].T + arrays[f"{head}.{name}.bias"], 0.0)
  features = model.box_head.stage2(crops)
  np.testing.assert_allclose(features, net, rtol=1e-4)
  predictor = "roi_heads.box_predictor"
  scores = net @ arrays[f"{predictor}.cls_score.weight"].T + arrays[f"{predictor}.cls_score.bias"]
  np.testing.assert_allclose(model.box_head.classifier(features), scores, rtol=1e-4)
  deltas = net @ arrays[f"{predictor}.bbox_pred.weight"].T + arrays[f"{predictor}.bbox_pred.bias"]
  deltas = deltas.reshape(2, small_fpn.NUM_CLASSES, 4)[:, 1:, [1, 0, 3, 2]]
  found = tf.reshape(model.box_head.box(features), [2, -1, 4])
  np.testing.assert_allclose(found, deltas, rtol=1e-4)


def test_second_version(monkeypatch):
  model = build(V2)
  arrays = v2_state_dict(model)
  monkeypatch.setattr(torch_files, "read_state_dict", {"net.pth": arrays}.__getitem__)
  assert load(model).loaded == sorted(arrays)

  def normalised(maps, block):
    scale, mean = arrays[f"{block}.1.weight"], arrays[f"{block}.1.running_mean"]
    deviation = np.sqrt(arrays[f"{block}.1.running_var"] + 1e-5)
    kernel = arrays[f"{block}.0.weight"].transpose(2, 3, 1, 0)
    net = tf.nn.conv2d(maps, kernel, 1, "SAME")
    return (net - mean) / deviation * scale + arrays[f"{block}.1.bias"]

  maps = tf.constant(RNG.normal(size=(2, CROP, CROP, DEPTH)), tf.float32)
  layer = model.box_head.stage2.named_layers()["conv3"]
  expected = tf.nn.relu(normalised(maps, "roi_heads.box_head.2"))
  np.testing.assert_allclose(layer(maps), expected, rtol=1e-4)
  layer = model.pyramid.named_layers()["output_4"]
  expected = normalised(maps, "backbone.fpn.layer_blocks.2")
  np.testing.assert_allclose(layer(maps), expected, rtol=1e-4)
  hidden = tf.nn.relu(conv(maps, arrays, "rpn.head.conv.0.0"))
  hidden = tf.nn.relu(conv(hidden, arrays, "rpn.head.conv.1.0"))
  np.testing.assert_allclose(model.rpn((maps,)).features[0], hidden, rtol=1e-4)


@pytest.mark.parametrize("auxiliary", [True, False])
def test_auxiliary_heads_start_like_the_main_head(model, given, auxiliary):
  del given
  before = [weight.numpy() for weight in model.multi_object_head.stage2.weights]
  load(model, auxiliary=auxiliary)
  expected = model.box_head.stage2.get_weights() if auxiliary else before
  for value, other in zip(model.multi_object_head.stage2.get_weights(), expected, strict=True):
    np.testing.assert_array_equal(value, other)


def test_names_of_early_versions(model, monkeypatch):
  arrays = state_dict(model, old_names=True)
  assert "backbone.fpn.inner_blocks.0.weight" in arrays
  monkeypatch.setattr(torch_files, "read_state_dict", {"net.pth": arrays}.__getitem__)
  report = load(model)
  assert len(report.loaded) == len(arrays)
  np.testing.assert_array_equal(
    model.rpn.conv.kernel, arrays["rpn.head.conv.weight"].transpose(2, 3, 1, 0)
  )


def test_other_classes_leave_the_heads_out(model, given, monkeypatch):
  given.update(state_dict(model, num_classes=91))
  message = (
    r"has 'roi_heads.box_predictor.cls_score.weight' of shape \(91, 16\), which the detector has "
    r"no place for; accepted: .*fasterrcnn_resnet50_fpn; task.init_modules: backbone leaves"
  )
  with pytest.raises(ValueError, match=message):
    load(model)
  before = [variable.numpy() for variable in model.rpn.variables]
  report = load(model, "backbone")
  assert "roi_heads.box_head.fc7.weight" in report.loaded
  assert [name for name in report.loaded if name.startswith(("rpn", "roi_heads.box_pred"))] == []
  assert "rpn.head.cls_logits.bias" in report.unused
  for variable, value in zip(model.rpn.variables, before, strict=True):
    np.testing.assert_array_equal(variable, value)


def test_each_stage_of_a_cascade_starts_with_the_second_stage(monkeypatch):
  model = build({"roi_head": {"cascade": {"enabled": True}}})
  arrays = state_dict(build())
  monkeypatch.setattr(torch_files, "read_state_dict", {"net.pth": arrays}.__getitem__)
  message = (
    r"has one head of classes and boxes, where task\.roi_head\.cascade has 3; accepted: .*; "
    r"task\.init_modules: backbone leaves"
  )
  with pytest.raises(ValueError, match=message):
    load(model)
  assert "roi_heads.box_head.fc7.weight" in load(model, "backbone").loaded
  for head in (*model.main_heads, model.multi_object_head):
    fc7 = head.stage2.named_layers()["fc7"].conv
    np.testing.assert_array_equal(fc7.kernel, arrays["roi_heads.box_head.fc7.weight"].T)


def second_rpn_conv(arrays):
  arrays["rpn.head.conv.1.0.weight"] = np.ones([DEPTH, DEPTH, 3, 3], np.float32)


def no_bias(arrays):
  del arrays["backbone.fpn.layer_blocks.2.0.bias"]


def not_finite(arrays):
  arrays["rpn.head.conv.0.0.bias"][3] = np.nan


@pytest.mark.parametrize(
  ("change", "cause"),
  [
    (second_rpn_conv, "is of a larger network: it has 1 more tensors, e.g. 'rpn.head.conv.1.0"),
    (no_bias, "lacks 1 of .* tensors, e.g. 'backbone.fpn.layer_blocks.2.0.bias'"),
    (not_finite, "has 'rpn.head.conv.0.0.bias' with values that are not finite"),
  ],
)
def test_others_are_refused_whole(model, given, change, cause):
  change(given)
  before = model.get_weights()
  with pytest.raises(ValueError, match=f"^{SOURCE} 'net.pth' {cause}"):
    load(model)
  for value, other in zip(model.get_weights(), before, strict=True):
    np.testing.assert_array_equal(value, other)


def test_anchors_of_other_shapes_are_refused(monkeypatch):
  model = build({"anchors": {"level_scales": [1.0, 1.5]}})
  arrays = state_dict(model)
  monkeypatch.setattr(torch_files, "read_state_dict", {"net.pth": arrays}.__getitem__)
  with pytest.raises(ValueError, match=r"has anchors of aspect ratios 0\.5, 1 and 2 in one size"):
    load(model)


def test_a_classification_network_still_loads(model, monkeypatch):
  arrays = state_dict(model)
  network = {
    name.removeprefix("backbone.body."): array + 1.0
    for name, array in arrays.items()
    if name.startswith("backbone.body.")
  }
  monkeypatch.setattr(torch_files, "read_state_dict", {"net.pth": network}.__getitem__)
  report = load(model)
  assert report.loaded == sorted(network)
  last = model.stage1.named_layers()["block4/unit_1/basic_block_v1/conv2"]
  np.testing.assert_array_equal(
    last.conv.kernel, network["layer4.0.conv2.weight"].transpose(2, 3, 1, 0)
  )
