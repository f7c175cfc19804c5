"""The network of pretraining is made as its settings say, both encoders alike."""

import numpy as np

from mtl_ssl_tf.modeling import normalization
from mtl_ssl_tf.modeling.heads import pooling
from mtl_ssl_tf.modeling.pretraining import insloc_model, momentum_encoder
from tests.modeling.pretraining import small


def test_parts_are_as_configured():
  backbone = {"type": small.BACKBONE, "norm": {"type": "batch", "momentum": 0.75}}
  config = small.config(
    backbone=backbone,
    crop_size=14,
    max_pool=2,
    keep_border=False,
    projection_hidden=6,
    projection_depth=5,
    queue_size=12,
    seed=3,
  )
  model = insloc_model.build(config, "matmul")
  np.testing.assert_array_equal(model.queue.keys, momentum_encoder.KeyQueue(12, 5, 3).keys)
  for encoder in (model.query_encoder, model.key_encoder):
    cropper = pooling.Cropper(16, 14, 2, "matmul", keep_border=False)
    assert encoder.box_head._crop_features.cropper == cropper
    assert (encoder.projection.hidden.units, encoder.projection.last.units) == (6, 5)
    norm = encoder.stage1.named_layers()["first"].norm
    assert (norm._group_size, norm.momentum) == (2, 0.75)


def test_without_a_hidden_layer_there_is_one():
  model = insloc_model.build(small.config(projection_hidden=0))
  assert model.query_encoder.projection.hidden is None


def test_normalisation_in_groups_is_as_the_network_asks():
  norm = insloc_model._backbone_norm_fn(small.config())(8, epsilon=0.25, scale=False)
  norm.build([None, 2, 2, 8])
  assert (norm.epsilon, norm.scale, len(norm.trainable_variables)) == (0.25, False, 1)
  # And else as the detector's, which starts from these weights.
  usual = normalization.make_norm("batch", 8, momentum=0.5, groups=1)
  norm = insloc_model._backbone_norm_fn(small.config())(8)
  assert (norm.epsilon, norm.scale) == (usual.epsilon, usual.scale)
