"""An exported detector for use from Python, with NumPy arrays in and out.

Needs TensorFlow alone: neither Keras nor Model Garden, nor the code that trained the detector.
"""

import os

import numpy as np
import tensorflow as tf

from mtl_ssl_tf.data import label_map, schema

_SIGNATURE = "serving_default"


class SavedDetector:
  """The SavedModel that `export.py` wrote.

  Attributes:
    class_names: class 1 first.
  """

  def __init__(self, path: str | os.PathLike[str]):
    """Loads it.

    Raises:
      ValueError: the folder holds no such SavedModel.
    """
    path = os.fspath(path)
    names_file = os.path.join(path, "assets", schema.LABEL_MAP_FILE)
    for file in (os.path.join(path, "saved_model.pb"), names_file):
      if not os.path.isfile(file):
        raise ValueError(f"{path!r} is no exported detector: {file!r} does not exist")
    self.class_names = label_map.read_label_map(names_file)
    try:
      # Kept, since its functions do not keep it.
      self._loaded = tf.saved_model.load(path)
      self._function = self._loaded.signatures[_SIGNATURE]
    except (tf.errors.OpError, OSError, KeyError, ValueError) as error:
      reason = str(error).strip().split("\n")[0]
      raise ValueError(f"{path!r} is no exported detector ({reason})") from error

  def __call__(self, images: np.ndarray) -> dict[str, np.ndarray]:
    """Detections in images uint8 [B, h, w, 3], RGB; see `detection_module.DetectionModule`."""
    outputs = self._function(images=tf.constant(images, tf.uint8))
    return {name: values.numpy() for name, values in outputs.items()}
