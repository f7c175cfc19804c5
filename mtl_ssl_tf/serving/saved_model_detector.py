"""An exported detector for use from Python, with NumPy arrays in and out.

Needs TensorFlow alone: neither Keras nor Model Garden, nor the code that trained the detector.
"""

import glob
import os

import tensorflow as tf

from mtl_ssl_tf.data import label_map, schema
from mtl_ssl_tf.reading import regular_files
from mtl_ssl_tf.serving import export_paths, score_thresholds, served_detector


class SavedModelDetector(served_detector.ServedDetector):
  """The SavedModel that `export.py` wrote."""

  def __init__(self, path: str | os.PathLike[str]):
    """Loads the SavedModel, its class names and its score thresholds, if it has any.

    Args:
      path: folder of the SavedModel, or a folder with versions, of which the highest is taken.

    Raises:
      ValueError: the folder holds no such SavedModel.
    """
    path = os.fspath(path)
    folder = export_paths.find_saved_model(path)
    names_file = os.path.join(folder, export_paths.ASSETS_FOLDER, schema.LABEL_MAP_FILE)
    model_file = os.path.join(folder, export_paths.SAVED_MODEL_FILE)
    # Of the weights, the index has a checksum each.
    index_file = os.path.join(folder, "variables", "variables.index")
    for file in (names_file, index_file):
      if not os.path.isfile(file):
        raise ValueError(f"{path!r} is no exported detector: {file!r} does not exist")
    class_names = label_map.read_label_map(names_file)
    thresholds = score_thresholds.of_export(folder, class_names)
    try:
      for file in glob.glob(os.path.join(glob.escape(folder), "variables", "*")):
        regular_files.check(file)  # TensorFlow would wait for a pipe.
      # Kept, since its functions do not keep it.
      self._loaded = tf.saved_model.load(folder)
      super().__init__(
        self._loaded.signatures,
        class_names,
        served_detector.digest([model_file, index_file, names_file]),
        thresholds,
      )
    except (tf.errors.OpError, OSError, KeyError, ValueError) as error:
      reason = str(error).strip().split("\n")[0]
      raise ValueError(f"{path!r} is no exported detector ({reason})") from error
