"""EfficientNet-Lite: its blocks, its cut, and what of it is trained."""

import functools

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from mtl_ssl_tf.modeling import normalization
from mtl_ssl_tf.modeling.acceleration import folding
from mtl_ssl_tf.modeling.backbones import efficientnet_lite


def make_backbone(norm_type="frozen", name="efficientnet_lite0", factors=None):
  norm_fn = functools.partial(normalization.make_norm, norm_type, momentum=0.5, groups=8)
  factors = factors or efficientnet_lite.FACTORS[name]
  return efficientnet_lite.EfficientNetLite(norm_fn, name, *factors)


def make_thin(norm_type="frozen"):
  """A quarter of the channels; two blocks a group at most, one of them with a shortcut."""
  return make_backbone(norm_type, "thin", (0.25, 0.5))


@pytest.fixture(scope="module")
def stage1():
  stage = make_thin().make_stage1()
  stage(tf.zeros([1, 32, 32, 3]))
  return stage


@pytest.fixture(scope="module")
def stage2():
  stage = make_thin().make_stage2("second")
  stage(tf.zeros([1, 7, 7, 32]))
  return stage


def num_weights(*stages):
  return sum(int(np.prod(weight.shape)) for stage in stages for weight in stage.weights)


@pytest.mark.parametrize(
  ("name", "blocks", "depths", "millions"),
  [
    ("efficientnet_lite0", (1, 2, 2, 3, 3, 4, 1), (16, 24, 40, 80, 112, 192, 320), 3.413),
    ("efficientnet_lite1", (1, 3, 3, 4, 4, 5, 1), (16, 24, 40, 80, 112, 192, 320), 4.189),
    ("efficientnet_lite2", (1, 3, 3, 4, 4, 5, 1), (16, 24, 48, 88, 120, 208, 352), 4.869),
  ],
)
def test_blocks_of_the_published_networks(name, blocks, depths, millions):
  backbone = make_backbone(name=name)
  stages = efficientnet_lite.list_blocks(backbone.width, backbone.depth)
  everything = [*stages[0], *stages[1]]
  assert [block.number for block in everything] == list(range(sum(blocks)))
  assert [block.depth for block in everything] == [
    depth for depth, count in zip(depths, blocks, strict=True) for _ in range(count)
  ]
  strided = {block.number: block.stride for block in everything if block.stride > 1}
  first = np.cumsum((0, *blocks))
  assert strided == {first[1]: 2, first[2]: 2, first[3]: 2, first[5]: 2}
  kernels = {first[i]: size for i, size in enumerate((3, 3, 5, 3, 5, 5, 3))}
  for block in everything:
    assert block.kernel_size == kernels[max(start for start in kernels if start <= block.number)]
    assert block.depth_inside == block.depth_in * (6 if block.number else 1)
    is_first = block.number in kernels
    assert block.has_shortcut != is_first
  assert len(stages[0]) == sum(blocks[:5])
  assert backbone.stage1_depth == depths[4]
  # Multiplied out of the table: kernels, and four values of each normalised channel.
  total = 32 * (27 + 4) + depths[-1] * 1280 + 4 * 1280
  for block in everything:
    inside = block.depth_inside
    expand = inside * (block.depth_in + 4) if block.number else 0
    total += expand + inside * (block.kernel_size**2 + 4) + block.depth * (inside + 4)
  assert total / 1e6 == pytest.approx(millions, abs=5e-4)


def test_depths_are_rounded_to_eights_but_not_by_much():
  # 11 is 16 rather than 8, which is less than nine tenths of it; 27.5 is 24 rather than 32.
  depths = [(10, 1.1), (25, 1.1), (4, 1.0), (12, 1.0)]
  assert [efficientnet_lite.scaled_depth(*pair) for pair in depths] == [16, 32, 8, 16]


def test_preprocessing():
  backbone = make_backbone()
  pixels = backbone.preprocess(tf.constant([-1.0, 127.0, 255.0]))
  np.testing.assert_allclose(pixels, [-1.0, 0.0, 1.0])
  assert (backbone.slim_scope, backbone.stride) == ("efficientnet_lite0", 16)


def shapes(stage):
  return {
    name: [tuple(w.shape) for w in layer.conv.weights]
    for name, layer in stage.named_layers().items()
  }


def test_layers_of_stage1(stage1):
  # (channels in, inside, out, kernel) of blocks 0 ... 6.
  blocks = [
    (32, 32, 8, 3),
    (8, 48, 8, 3),
    (8, 48, 16, 5),
    (16, 96, 24, 3),
    (24, 144, 24, 3),
    (24, 144, 32, 5),
    (32, 192, 32, 5),
  ]
  expected = {"stem": [(3, 3, 3, 32)]}
  for i, (depth_in, inside, depth, size) in enumerate(blocks):
    if i:
      expected[f"blocks_{i}/expand"] = [(1, 1, depth_in, inside)]
    expected[f"blocks_{i}/depthwise"] = [(size, size, inside, 1)]
    expected[f"blocks_{i}/project"] = [(1, 1, inside, depth)]
  assert shapes(stage1) == expected
  strides = {
    name: layer.conv.strides
    for name, layer in stage1.named_layers().items()
    if layer.conv.strides != (1, 1)
  }
  names = ["stem", *(f"blocks_{i}/depthwise" for i in (1, 2, 3))]
  assert strides == dict.fromkeys(names, (2, 2))


def test_layers_of_stage2(stage2):
  assert stage2.name == "second"
  assert shapes(stage2) == {
    "blocks_7/expand": [(1, 1, 32, 192)],
    "blocks_7/depthwise": [(5, 5, 192, 1)],
    "blocks_7/project": [(1, 1, 192, 48)],
    "blocks_8/expand": [(1, 1, 48, 288)],
    "blocks_8/depthwise": [(5, 5, 288, 1)],
    "blocks_8/project": [(1, 1, 288, 48)],
    "blocks_9/expand": [(1, 1, 48, 288)],
    "blocks_9/depthwise": [(3, 3, 288, 1)],
    "blocks_9/project": [(1, 1, 288, 80)],
    "head": [(1, 1, 80, 1280)],
  }


def test_every_variable_is_in_a_named_layer(stage1, stage2):
  for stage in (stage1, stage2):
    named = [v for layer in stage.named_layers().values() for v in layer.weights]
    assert {v.ref() for v in stage.weights} == {v.ref() for v in named}
    assert len({v.name for v in stage.weights}) == len(stage.weights)


def test_normalisation_and_activation_of_each_layer(stage1, stage2):
  for name, layer in [*stage1.named_layers().items(), *stage2.named_layers().items()]:
    assert layer.norm.epsilon == 1e-3
    assert layer.norm.trainable_weights, name
    assert layer.activation is (None if name.endswith("/project") else tf.nn.relu6)


@pytest.mark.parametrize(("height", "width", "rows", "columns"), [(32, 48, 2, 3), (33, 50, 3, 4)])
def test_map_of_stage1(stage1, height, width, rows, columns):
  assert stage1(tf.zeros([1, height, width, 3])).shape == [1, rows, columns, 32]


@pytest.mark.parametrize("side", [7, 4])
def test_map_of_stage2(stage2, side):
  cells = int(make_thin().stage2_cells(tf.constant(float(side))))
  assert cells == {7: 4, 4: 2}[side]
  assert stage2(tf.zeros([2, side, side, 32])).shape == [2, cells, cells, 1280]


def test_a_block_adds_its_input_where_shapes_agree(stage2):
  block = stage2._parts["blocks_8"]
  net = tf.random.stateless_normal([1, 3, 3, 48], [0, 0])
  inside = net
  for conv in block.convs.values():
    inside = conv(inside)
  np.testing.assert_allclose(block(net), net + inside, atol=1e-5)
  first = stage2._parts["blocks_7"]
  assert first(tf.zeros([1, 4, 4, 32])).shape == [1, 2, 2, 48]


def test_dense_second_stage_has_the_cells_of_the_strided_one():
  backbone = make_thin()
  features = tf.random.stateless_normal([2, 9, 7, 32], [0, 0])
  strided, dense = backbone.make_stage2("s"), backbone.make_stage2("s", dense=True)
  expected = strided(features)
  assert dense(features).shape == [2, 9, 7, 1280]
  dense.set_weights(strided.get_weights())
  # On odd sides, SAME strides from the first cell on.
  np.testing.assert_allclose(dense(features)[:, ::2, ::2], expected, atol=1e-5)
  assert backbone.stage2_stride == 2
  assert np.std(expected) > 1e-3


def test_ordinary_kernels_decay_alone(stage1, stage2):
  for stage in (stage1, stage2):
    expected = [s for name, (s,) in shapes(stage).items() if "depthwise" not in name]
    assert [tuple(kernel.shape) for kernel in stage.decayed_kernels] == expected
  assert len(stage1.decayed_kernels) == 14


def test_kernels_keep_the_variance_of_gradients(stage1):
  # By output channels and size; a depthwise kernel has one output.
  for name, layer in stage1.named_layers().items():
    (kernel,) = layer.conv.weights
    fan_out = np.prod(kernel.shape[:2]) * kernel.shape[-1]
    expected = pytest.approx(np.sqrt(2.0 / fan_out), rel=4.0 / np.sqrt(np.size(kernel)))
    assert np.std(kernel) == expected, name


def test_frozen_groups():
  stage = make_thin().make_stage1()
  stage(tf.zeros([1, 32, 32, 3]))
  assert list(stage.freeze_groups()) == ["stem", *(f"blocks_{i}" for i in range(7))]
  num_trained = len(stage.trainable_variables)
  stage.freeze(["stem", "blocks_0", "blocks_1"])
  # The kernel, the scale and the shift of one, two and three layers.
  assert len(stage.trainable_variables) == num_trained - 3 * 6
  assert len(stage.decayed_kernels) == 14 - 1 - 1 - 2
  assert make_thin().default_freeze == ()


@pytest.mark.parametrize("name", ["stage1", "stage2"])
@pytest.mark.parametrize("norm_type", ["batch", "frozen"])
def test_training_reaches_every_normalisation_but_frozen_ones(name, norm_type):
  backbone = make_thin(norm_type)
  if name == "stage1":
    stage, inputs = backbone.make_stage1(), tf.random.stateless_normal([2, 32, 32, 3], [0, 0])
  else:
    stage, inputs = backbone.make_stage2("s"), tf.random.stateless_normal([2, 4, 4, 32], [0, 0])
  stage(inputs, training=True)
  norms = [layer.norm for layer in stage.named_layers().values()]
  changed = [bool(np.any(norm.moving_variance != 1.0)) for norm in norms]
  assert changed == [norm_type == "batch"] * len(norms)


def test_folded_normalisation_computes_the_same():
  tf_keras.utils.set_random_seed(0)
  plain = make_thin().make_stage2("s")
  folded = make_thin().with_conv_norm(folding.conv_norm).make_stage2("s")
  features = tf.random.stateless_normal([1, 5, 5, 32], [0, 0])
  plain(features)
  rng = np.random.default_rng(0)
  for variable in plain.weights:
    if "norm" in variable.name:
      variable.assign(rng.uniform(0.5, 1.5, variable.shape))
  folded(features)
  folded.set_weights(plain.get_weights())
  assert all(type(layer) is folding.FoldedConvNorm for layer in folded.named_layers().values())
  np.testing.assert_allclose(folded(features), plain(features), atol=1e-4)
