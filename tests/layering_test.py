"""Modules import to their left only: data, labels, modeling, losses, tasks, what runs them."""

import ast
import pathlib
from collections.abc import Iterator

import pytest

_ROOT = pathlib.Path(__file__).parents[1]
_PACKAGE = "mtl_ssl_tf"
_SCRIPTS = ("train", "export")

# Folder or single module -> what it may import from the package besides its own folder.
_LIBRARY = {"configs", "ops", "data", "labels", "losses", "modeling", "evaluation", "visualization"}
ALLOWED = {
  # `__init__.py` of the package: `load`.
  _PACKAGE: {"serving"},
  "configs": set(),
  "ops": set(),
  "data": {"configs", "ops"},
  "labels": {"ops"},
  "losses": {"ops"},
  "evaluation": set(),
  "visualization": set(),
  "modeling": {"ops", "labels"},
  "modeling.factory": {"configs", "ops", "labels"},
  "checkpoints": {"modeling"},
  # A command, beside train and export.
  "checkpoints.import_reference": {"configs", "data", "modeling", "training", "registry_imports"},
  "training": _LIBRARY | {"checkpoints", "tasks"},
  "tasks": _LIBRARY | {"checkpoints", "training"},
  # A command, beside train and export.
  "tasks.replay": _LIBRARY | {"checkpoints", "registry_imports", "training"},
  "serving": {"configs", "ops", "data", "modeling"},
  "prediction": {"data", "serving", "visualization"},
  "serving.verification": {"configs", "data", "evaluation", "modeling"},
  "compilation": {"configs", "data", "modeling", "tasks", "training"},
  "registry_imports": {"configs", "tasks"},
  "evaluate": {"configs", "ops", "data", "evaluation", "visualization"},
  "preflight": {"compilation", "configs"},
  "export_step": {"compilation", "configs"},
  "predict": {"data", "prediction", "serving"},
  "train": {"registry_imports", "serving", "training"},
  "export": {"ops", "registry_imports", "serving"},
}


def faults(name: str, source: str, is_package: bool = False) -> list[str]:
  """Returns a line for each import that a module may not have.

  Args:
    name: of the module, with dots, as in `mtl_ssl_tf.ops.box_ops`, or of a script in the root.
    source: its text.
    is_package: whether it is an `__init__.py`.
  """
  inside = name.removeprefix(f"{_PACKAGE}.")
  folder = inside.split(".")[0]
  allowed = ALLOWED.get(inside, ALLOWED.get(folder))
  if allowed is None:
    return [f"{name}: no rule for {folder!r}; tests/layering_test.py has one for each folder"]
  found = []
  for line, imported in _imports(name, ast.parse(source), is_package):
    parts = imported.split(".")
    if parts[0] == "keras" or parts[:2] == ["tensorflow", "keras"]:
      found.append(f"{name}:{line} imports {imported}; the Keras here is tf_keras")
    elif parts[0] == _PACKAGE and parts[1:2] != [folder] and not allowed & set(parts[1:2]):
      accepted = ", ".join(sorted(allowed)) or "nothing of the package"
      found.append(f"{name}:{line} imports {imported}; accepted: {accepted}")
    elif parts[0] in ("tests", *_SCRIPTS):
      found.append(f"{name}:{line} imports {imported}, which is outside the package")
  return found


def _imports(name: str, tree: ast.AST, is_package: bool) -> Iterator[tuple[int, str]]:
  """The line and full name of everything that a module imports, and of each use of `tf.keras`."""
  for node in ast.walk(tree):
    if isinstance(node, ast.Import):
      for alias in node.names:
        yield node.lineno, alias.name
    elif isinstance(node, ast.ImportFrom):
      # One dot is the module's own package.
      parents = name.split(".") + [""] * is_package
      start = ".".join(parents[: len(parents) - node.level]) if node.level else ""
      module = ".".join(part for part in (start, node.module) if part)
      for alias in node.names:
        yield node.lineno, f"{module}.{alias.name}"
    elif isinstance(node, ast.Attribute) and ast.unparse(node) in ("tf.keras", "tensorflow.keras"):
      yield node.lineno, "tensorflow.keras"


def _modules() -> Iterator[tuple[str, pathlib.Path]]:
  scripts = (_ROOT / f"{name}.py" for name in _SCRIPTS)
  for path in [*(_ROOT / _PACKAGE).rglob("*.py"), *(path for path in scripts if path.exists())]:
    parts = path.relative_to(_ROOT).with_suffix("").parts
    yield ".".join(part for part in parts if part != "__init__"), path


def test_layers():
  modules = dict(_modules())
  assert len(modules) > 40
  found = [
    fault
    for name, path in sorted(modules.items())
    for fault in faults(name, path.read_text(), path.name == "__init__.py")
  ]
  assert not found, "\n".join(found)


@pytest.mark.parametrize(
  ("name", "source"),
  [
    ("ops.box_ops", "from mtl_ssl_tf.ops import nms_ops"),
    ("ops.box_ops", "import tensorflow as tf\nimport tf_keras\ntf.keras_like()"),
    ("labels.windows", "from mtl_ssl_tf.ops import box_ops"),
    ("labels.windows", "from . import closeness"),
    ("labels.windows", "from ..ops import box_ops"),
    ("modeling.factory", "from mtl_ssl_tf.configs import detector"),
    ("modeling.heads.rpn_head", "from mtl_ssl_tf.modeling.backbones import base"),
    ("checkpoints.reference", "from mtl_ssl_tf.modeling import detector"),
    ("training.pictures", "from mtl_ssl_tf.visualization import draw"),
    ("predict", "from mtl_ssl_tf.serving import saved_detector"),
  ],
)
def test_accepted(name, source):
  assert faults(f"mtl_ssl_tf.{name}", source) == []


@pytest.mark.parametrize(
  ("name", "source", "message"),
  [
    (
      "mtl_ssl_tf.ops.box_ops",
      "import os\nfrom mtl_ssl_tf import labels",
      "mtl_ssl_tf.ops.box_ops:2 imports mtl_ssl_tf.labels; accepted: nothing of the package",
    ),
    (
      "mtl_ssl_tf.modeling.detector",
      "import mtl_ssl_tf.configs.detector",
      "mtl_ssl_tf.modeling.detector:1 imports mtl_ssl_tf.configs.detector; accepted: labels, ops",
    ),
    (
      "mtl_ssl_tf.modeling.heads.factory",
      "from mtl_ssl_tf import configs",
      "mtl_ssl_tf.modeling.heads.factory:1 imports mtl_ssl_tf.configs; accepted: labels, ops",
    ),
    (
      "mtl_ssl_tf.losses.detection_losses",
      "def f():\n  from ..modeling import detector",
      "mtl_ssl_tf.losses.detection_losses:2 imports mtl_ssl_tf.modeling.detector; accepted: ops",
    ),
    (
      "mtl_ssl_tf.labels",
      "from ..modeling import detector",
      "mtl_ssl_tf.labels:1 imports mtl_ssl_tf.modeling.detector; accepted: ops",
    ),
    (
      "mtl_ssl_tf",
      "from . import ops",
      "mtl_ssl_tf:1 imports mtl_ssl_tf.ops; accepted: serving",
    ),
    (
      "train",
      "from mtl_ssl_tf.modeling import factory",
      "train:1 imports mtl_ssl_tf.modeling.factory; accepted: registry_imports, serving, training",
    ),
    (
      "mtl_ssl_tf.training.driver",
      "import train",
      "mtl_ssl_tf.training.driver:1 imports train, which is outside the package",
    ),
    (
      "mtl_ssl_tf.training.driver",
      "from tests import fixtures",
      "mtl_ssl_tf.training.driver:1 imports tests.fixtures, which is outside the package",
    ),
    (
      "mtl_ssl_tf.ops.box_ops",
      "import keras",
      "mtl_ssl_tf.ops.box_ops:1 imports keras; the Keras here is tf_keras",
    ),
    (
      "mtl_ssl_tf.ops.box_ops",
      "from keras.layers import Dense",
      "mtl_ssl_tf.ops.box_ops:1 imports keras.layers.Dense; the Keras here is tf_keras",
    ),
    (
      "mtl_ssl_tf.ops.box_ops",
      "from tensorflow import keras",
      "mtl_ssl_tf.ops.box_ops:1 imports tensorflow.keras; the Keras here is tf_keras",
    ),
    (
      "mtl_ssl_tf.ops.box_ops",
      "import tensorflow as tf\nx = tf.keras.layers.Dense(1)",
      "mtl_ssl_tf.ops.box_ops:2 imports tensorflow.keras; the Keras here is tf_keras",
    ),
    (
      "mtl_ssl_tf.newcomer.module",
      "",
      "mtl_ssl_tf.newcomer.module: no rule for 'newcomer'; tests/layering_test.py has one for each"
      " folder",
    ),
  ],
)
def test_caught(name, source, message):
  is_package = name in ("mtl_ssl_tf", "mtl_ssl_tf.labels")
  assert faults(name, source, is_package) == [message]
