"""Checkpoints as TF-slim writes them."""

import pathlib
from collections.abc import Mapping

import numpy as np
import tensorflow as tf

V1 = tf.compat.v1


def write(
  path: pathlib.Path, arrays: Mapping[str, np.ndarray], version: int = V1.train.SaverDef.V2
) -> str:
  """Saves arrays by name with TensorFlow 1's `Saver`; returns the path to load."""
  with tf.Graph().as_default(), V1.Session() as session:
    variables = []
    for name, value in arrays.items():
      given = V1.placeholder(np.asarray(value).dtype, np.shape(value))
      variables.append(V1.Variable(given, name=name, use_resource=True))
      session.run(variables[-1].initializer, {given: value})
    saver = V1.train.Saver(variables, write_version=version)
    return saver.save(session, str(path), write_meta_graph=False)
