"""Modules import to their left only: data, labels, modeling, losses, tasks, what runs them."""

import ast
import pathlib
from collections.abc import Iterator

import pytest

_ROOT = pathlib.Path(__file__).parents[1]
_PACKAGE = "mtl_ssl_tf"
_SCRIPTS = ("train", "export")

# Messages, file writes, pages and reads of foreign files, which import nothing else of the package.
_EVERYWHERE = {"files", "reading", "terminal", "texts", "web_page", "written_files"}
_LIBRARY = {"configs", "ops", "data", "labels", "losses", "modeling", "evaluation", "visualization"}
# Modules that lie in no room of `data/` and that all rooms may import.
_DATA_BASE = {
  f"data.{name}" for name in ("disk_index", "faults", "label_map", "progress_lines", "schema")
}

# Folder, room of `data/` or single module -> what it may import from the package besides its own
# folder or room: `data` is all of that folder, `data.records` one room of it. A module goes by the
# rule of its own, or else by that of the folder it lies in.
ALLOWED = {
  # `__init__.py` of the package: `load`.
  _PACKAGE: {"serving"},
  "files": set(),
  "reading": set(),
  "terminal": set(),
  "texts": set(),
  "web_page": set(),
  "written_files": set(),
  "__main__": {"cli"},
  "cli": {"__version__", "command_line"},
  # The flags of the commands, each of which may import them; nothing here needs TensorFlow.
  "command_line": set(),
  "command_line.preflight": {"compilation"},
  "configs": set(),
  "ops": set(),
  # The commands, each some lines over the rooms.
  "data": {"command_line", "configs", "data"},
  **dict.fromkeys(_DATA_BASE, _DATA_BASE),
  # A command, next to train and export.
  "data.browse": {
    "command_line",
    "configs",
    "data",
    "registry_imports",
    "serving",
    "tasks",
    "training",
    "visualization",
  },
  "data.sources": _DATA_BASE,
  "data.records": {"data.sources"} | _DATA_BASE,
  "data.pipeline": {"configs", "ops", "data.records"} | _DATA_BASE,
  "data.composites": {"configs", "ops", "data.sources", "data.records", "data.pipeline"}
  | _DATA_BASE,
  "data.inspection": {
    "configs",
    "data.sources",
    "data.records",
    "data.pipeline",
    "visualization",
  }
  | _DATA_BASE,
  "data.ground_truth": {"data.sources", "data.records"} | _DATA_BASE,
  "data.sparse": {"data.records"} | _DATA_BASE,
  "data.synthetic_scenes": set(),
  "labels": {"configs", "ops"},
  "losses": {"configs", "ops"},
  "evaluation": set(),
  "visualization": set(),
  "visualization.curves": {"command_line"},
  "visualization.composites": {"command_line", "configs", "data", "labels"},
  "modeling": {"configs", "ops", "labels"},
  "checkpoints": {"modeling"},
  # A command, next to train and export.
  "checkpoints.import_reference": {"command_line", "configs", "data", "modeling"},
  # It knows a task by the protocol `training/task.py` alone.
  "training": {"configs", "data.inspection", "data.records"}
  | {f"checkpoints.{name}" for name in ("finite_weights", "model_checkpoint", "run_checkpoints")}
  | _DATA_BASE,
  "tasks": _LIBRARY | {"checkpoints", "training"},
  "tasks.replay": _LIBRARY | {"checkpoints", "command_line", "training"},
  "serving": {"__version__", "checkpoints.run_checkpoints", "configs", "ops", "data", "modeling"},
  "serving.lite": {"command_line"},
  "serving.drawable": {"visualization"},
  "prediction": {"data", "serving", "visualization"},
  "serving.verification": {"configs", "data", "evaluation", "modeling"},
  "compilation": {"checkpoints", "configs", "data", "modeling", "tasks", "training"},
  "registry_imports": {"configs", "tasks"},
  "evaluate": {
    "auditing.ignoring",
    "command_line",
    "configs",
    "ops",
    "data",
    "evaluation",
    "visualization",
  },
  # It starts trainings as commands, and reads what they leave.
  "comparison": {"data", "evaluation"},
  "compare": {"command_line", "comparison", "configs", "registry_imports", "training"},
  # It evaluates checkpoints as training does, and shows what comes out.
  "reporting": {
    "comparison",
    "configs",
    "data",
    "evaluation",
    "serving",
    "tasks",
    "visualization",
  },
  "report": {"command_line", "comparison", "registry_imports", "reporting"},
  # It asks a checkpoint as a report does, or trains detectors as a comparison does.
  "auditing": {
    "comparison",
    "data",
    "evaluation",
    "prediction",
    "reporting",
    "serving",
    "visualization",
  },
  "audit_labels": {"auditing", "command_line", "compare", "comparison", "data", "registry_imports"},
  "suggestion": {"data"},
  "suggest": {"checkpoints", "command_line", "configs", "data", "suggestion"},
  "preflight": {"command_line", "compilation", "configs"},
  "export_step": {"command_line", "compilation", "configs"},
  "predict": {"command_line", "data", "prediction", "serving"},
  "explain": {"command_line", "data", "prediction", "serving"},
  "train": {"command_line", "registry_imports", "training"},
  "export": {"command_line", "serving"},
}


def faults(name: str, source: str, is_package: bool = False) -> list[str]:
  """Returns a line for each import that a module may not have.

  Args:
    name: of the module, with dots, as in `mtl_ssl_tf.ops.box_ops`, or of a script in the root.
    source: its text.
    is_package: whether it is an `__init__.py`.
  """
  inside = name.removeprefix(f"{_PACKAGE}.")
  folder = _folder(inside)
  allowed = ALLOWED.get(inside, ALLOWED.get(folder))
  if allowed is None:
    return [f"{name}: no rule for {folder!r}; tests/layering_test.py has one for each folder"]
  found = []
  for line, imported in _imports(name, ast.parse(source), is_package):
    parts = imported.split(".")
    if parts[0] == "keras" or parts[:2] == ["tensorflow", "keras"]:
      found.append(f"{name}:{line} imports {imported}; the Keras here is tf_keras")
    elif parts[0] == _PACKAGE and not _is_within(
      ".".join(parts[1:]), {*allowed, *_EVERYWHERE, _own(inside)}
    ):
      accepted = ", ".join(sorted(allowed)) or "nothing of the package"
      found.append(f"{name}:{line} imports {imported}; accepted: {accepted}")
    elif parts[0] in ("tests", *_SCRIPTS):
      found.append(f"{name}:{line} imports {imported}, which is outside the package")
  return found


def _folder(inside: str) -> str:
  """The folder of a module whose rule holds: the first one, or a room of `data/`."""
  parts = inside.split(".")
  is_in_room = parts[0] == "data" and (len(parts) > 2 or inside in _rooms())
  return ".".join(parts[:2]) if is_in_room else parts[0]


def _own(inside: str) -> str:
  """The folder that a module may import because it lies there: for `data/` the room, if any."""
  return inside if _folder(inside) == "data" else _folder(inside)


def _rooms() -> set[str]:
  return {f"data.{path.name}" for path in (_ROOT / _PACKAGE / "data").iterdir() if path.is_dir()}


def _is_within(imported: str, folders: set[str]) -> bool:
  return any(imported == folder or imported.startswith(f"{folder}.") for folder in folders)


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
    ("labels.windows", "from mtl_ssl_tf.configs import fields"),
    ("modeling.heads.rpn_head", "from mtl_ssl_tf.modeling.backbones import base"),
    ("checkpoints.reference", "from mtl_ssl_tf.modeling import detector"),
    ("tasks.training_panels", "from mtl_ssl_tf.visualization import draw"),
    ("tasks.mtl_detection", "from mtl_ssl_tf.training import nonfinite"),
    ("data.records.examples", "from mtl_ssl_tf.data import faults"),
    ("data.records.examples", "from mtl_ssl_tf.data.records import summaries"),
    ("data.records.examples", "from mtl_ssl_tf.data.sources import annotated"),
    ("data.pascal_voc", "from mtl_ssl_tf.data.sources import voc_source"),
    ("data.beam_conversion", "from mtl_ssl_tf.data import coco_json"),
    ("predict", "from mtl_ssl_tf.serving import saved_model_detector"),
  ],
)
def test_accepted(name, source):
  assert faults(f"mtl_ssl_tf.{name}", source) == []


# A module of each folder, and something to the right of it.
_TO_THE_RIGHT = {
  "files": "data.schema",
  "reading.json_text": "data.faults",
  "terminal": "training.driver",
  "command_line.predict": "predict",
  "data.faults": "data.sources.annotated",
  "data.sources.voc_source": "data.records.writer",
  "data.records.conversion": "data.pipeline.reader",
  "data.pipeline.reader": "data.inspection.checks",
  "data.composites.pairs": "data.inspection.checks",
  "data.inspection.checks": "data.ground_truth.objects",
  "data.ground_truth.objects": "data.pipeline.reader",
  "data.sparse.erasing": "data.pipeline.reader",
  "data.synthetic_scenes.scenes": "data.schema",
  "data.pascal_voc": "training.driver",
  "labels.windows": "modeling.detector",
  "losses.batch_sum": "modeling.detector",
  "modeling.detector": "tasks.training_losses",
  "checkpoints.pretrained": "tasks.mtl_detection",
  "training.task": "tasks.mtl_detection",
  "training.pictures": "visualization.draw",
  "training.driver": "checkpoints.pretrained",
  "tasks.mtl_detection": "serving.export_lib",
  "serving.export_lib": "reporting.findings",
  "reporting.findings": "report",
  "comparison.runs": "auditing.candidates",
}


@pytest.mark.parametrize(("name", "imported"), _TO_THE_RIGHT.items())
def test_nothing_points_to_the_right(name, imported):
  folder, module = imported.rsplit(".", 1) if "." in imported else ("", imported)
  package = f"mtl_ssl_tf.{folder}" if folder else "mtl_ssl_tf"
  found = faults(f"mtl_ssl_tf.{name}", f"from {package} import {module}")
  assert len(found) == 1
  assert found[0].startswith(f"mtl_ssl_tf.{name}:1 imports mtl_ssl_tf.{imported}; accepted: ")


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
      "import mtl_ssl_tf.data.schema",
      "mtl_ssl_tf.modeling.detector:1 imports mtl_ssl_tf.data.schema; accepted: configs,"
      " labels, ops",
    ),
    (
      "mtl_ssl_tf.modeling.heads.factory",
      "from mtl_ssl_tf import data",
      "mtl_ssl_tf.modeling.heads.factory:1 imports mtl_ssl_tf.data; accepted: configs, labels, ops",
    ),
    (
      "mtl_ssl_tf.losses.detection_losses",
      "def f():\n  from ..modeling import detector",
      "mtl_ssl_tf.losses.detection_losses:2 imports mtl_ssl_tf.modeling.detector; accepted:"
      " configs, ops",
    ),
    (
      "mtl_ssl_tf.labels",
      "from ..modeling import detector",
      "mtl_ssl_tf.labels:1 imports mtl_ssl_tf.modeling.detector; accepted: configs, ops",
    ),
    (
      "mtl_ssl_tf",
      "from . import ops",
      "mtl_ssl_tf:1 imports mtl_ssl_tf.ops; accepted: serving",
    ),
    (
      "train",
      "from mtl_ssl_tf.modeling import factory",
      "train:1 imports mtl_ssl_tf.modeling.factory; accepted: command_line, registry_imports,"
      " training",
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
      "mtl_ssl_tf.training.driver",
      "from mtl_ssl_tf.tasks import mtl_detection",
      "mtl_ssl_tf.training.driver:1 imports mtl_ssl_tf.tasks.mtl_detection; accepted:"
      " checkpoints.finite_weights, checkpoints.model_checkpoint, checkpoints.run_checkpoints,"
      " configs, data.disk_index, data.faults, data.inspection,"
      " data.label_map, data.progress_lines, data.records, data.schema",
    ),
    (
      "mtl_ssl_tf.data.sources.voc_source",
      "from mtl_ssl_tf.data.records import examples",
      "mtl_ssl_tf.data.sources.voc_source:1 imports mtl_ssl_tf.data.records.examples; accepted:"
      " data.disk_index, data.faults, data.label_map, data.progress_lines, data.schema",
    ),
    (
      "mtl_ssl_tf.data.synthetic_scenes.scenes",
      "from mtl_ssl_tf.data import faults",
      "mtl_ssl_tf.data.synthetic_scenes.scenes:1 imports mtl_ssl_tf.data.faults; accepted: nothing"
      " of the package",
    ),
    (
      "mtl_ssl_tf.data.schema",
      "from mtl_ssl_tf.data.records import index",
      "mtl_ssl_tf.data.schema:1 imports mtl_ssl_tf.data.records.index; accepted: data.disk_index,"
      " data.faults, data.label_map, data.progress_lines, data.schema",
    ),
    (
      "mtl_ssl_tf.checkpoints.import_reference",
      "from mtl_ssl_tf import registry_imports",
      "mtl_ssl_tf.checkpoints.import_reference:1 imports mtl_ssl_tf.registry_imports; accepted:"
      " command_line, configs, data, modeling",
    ),
    (
      "mtl_ssl_tf.data.newcomer.module",
      "",
      "mtl_ssl_tf.data.newcomer.module: no rule for 'data.newcomer'; tests/layering_test.py has one"
      " for each folder",
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
