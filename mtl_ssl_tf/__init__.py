"""Two-stage object detection with auxiliary tasks that label themselves.

import mtl_ssl_tf
detector = mtl_ssl_tf.load("exported/NAME")
for found in detector(["a.jpg", "b.jpg"], score_threshold=0.5):
  print(found["class_names"], found["scores"], found["boxes_px"])
  found.draw().show()
"""

import os
import sys
import typing

__version__ = "0.1.0"

# A command of this package, `python -m mtl_ssl_tf...`, shows its own lines alone. Programs that
# import the package are left alone.
if sys.argv[:1] == ["-m"]:
  from mtl_ssl_tf import terminal

  terminal.prepare()

if typing.TYPE_CHECKING:
  from mtl_ssl_tf.serving import numpy_detector


def load(
  path: str | os.PathLike[str], checkpoint: str | None = None
) -> "numpy_detector.NumpyDetector":
  """Loads a detector of image files, Pillow images and arrays; see `serving.numpy_detector.load`.

  Args:
    path: a folder that `export.py` wrote, or the folder of a training run.
    checkpoint: of a run; its best one by default.

  Raises:
    ValueError: the folder is neither, or something in it is missing or not acceptable.
  """
  # Here, so that importing the package does not load TensorFlow.
  from mtl_ssl_tf.serving import numpy_detector

  return numpy_detector.load(path, checkpoint)
