"""All scenarios by name, and the files that keep their numbers."""

import importlib
import json
import pathlib
from typing import Any

VALUES = pathlib.Path(__file__).parent / "values"
_MODULES = {
  "detection": (
    "crops",
    "crops_otherwise",
    "position_sensitive",
    "auxiliary_maps",
    "pyramid",
    "cascade",
    "mining",
    "mining_one_view",
    "mining_unlabelled",
  ),
  "pretraining": (
    "pretraining",
    "pretraining_image",
    "pretraining_pyramid",
    "pretraining_pool",
  ),
  "serving": ("export", "export_of_one", "predicted"),
  "data": ("voc", "coco", "sparse", "batches", "composites"),
}
NAMES = tuple(name for names in _MODULES.values() for name in names)


def numbers(name: str, folder: pathlib.Path) -> dict[str, Any]:
  """What a scenario comes to; it works in a folder of its own."""
  module = next(module for module, names in _MODULES.items() if name in names)
  return importlib.import_module(f"tests.snapshots.{module}").numbers(name, folder)


def kept(name: str) -> dict[str, Any]:
  """What it came to when it was written down."""
  return json.loads((VALUES / f"{name}.json").read_text())


def write(name: str, folder: pathlib.Path) -> None:
  """Writes down what it comes to now."""
  VALUES.mkdir(exist_ok=True)
  found = numbers(name, folder)
  lines = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in found.items()]
  (VALUES / f"{name}.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")
