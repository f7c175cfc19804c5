"""Tests of model_checkpoint.py."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from mtl_ssl_tf.checkpoints import model_checkpoint


def _model(num_outputs: int, start: str = "zeros") -> tf_keras.Model:
  layer = tf_keras.layers.Dense(num_outputs, kernel_initializer=start, input_shape=[3])
  return tf_keras.Sequential([layer])


@pytest.fixture(name="path")
def _path(tmp_path):
  """Of a run: the checkpoint holds a step besides."""
  return tf.train.Checkpoint(model=_model(2, "ones"), step=tf.Variable(5)).write(
    str(tmp_path / "ckpt-5")
  )


def test_loads_every_weight(path):
  model = _model(2)
  model_checkpoint.load_model(model, path, "--checkpoint")
  np.testing.assert_array_equal(model.weights[0], np.ones([3, 2]))


def test_of_another_model(path):
  with pytest.raises(
    ValueError, match=rf"^--checkpoint '{path}' is no checkpoint of this model \("
  ):
    model_checkpoint.load_model(_model(4), path, "--checkpoint")


def test_more_layers_than_the_checkpoint_has(path):
  model = _model(2)
  model.add(tf_keras.layers.Dense(2))
  with pytest.raises(ValueError, match="is no checkpoint of this model"):
    model_checkpoint.load_model(model, path, "--checkpoint")


def test_no_file(tmp_path):
  with pytest.raises(ValueError, match="is no checkpoint of this model"):
    model_checkpoint.load_model(_model(2), str(tmp_path / "none"), "--checkpoint")
