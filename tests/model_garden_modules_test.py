"""`docs/model_garden.md` lists what the package uses of Model Garden, Orbit and tf_keras."""

import ast
import collections
import pathlib
import re

_ROOT = pathlib.Path(__file__).parents[1]
_LIBRARIES = ("official", "orbit", "tf_keras")


def uses(source: str) -> dict[str, set[str]]:
  """Module -> names of it, for each module of the libraries that a source text uses."""
  tree = ast.parse(source)
  modules = {}  # Name in the source -> module.
  for node in ast.walk(tree):
    if isinstance(node, ast.Import):
      for alias in node.names:
        name = alias.name if alias.asname else alias.name.split(".")[0]
        modules[alias.asname or name] = name
    elif isinstance(node, ast.ImportFrom) and not node.level:
      modules |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
  modules = {name: full for name, full in modules.items() if full.split(".")[0] in _LIBRARIES}
  found = {full: set() for full in modules.values()}
  for node in ast.walk(tree):
    if not isinstance(node, ast.Attribute):
      continue
    first, *names = ast.unparse(node).split(".")
    # Of `tf_keras` alone the modules inside are reached through it.
    for depth in range(1, len(names) + 1) if first in modules else ():
      if depth == 1 or (depth == 2 and modules[first] == "tf_keras" and names[0].islower()):
        module = ".".join([modules[first], *names[: depth - 1]])
        found.setdefault(module, set()).add(names[depth - 1])
  return found


def _listed():
  text = (_ROOT / "docs" / "model_garden.md").read_text()
  rows = re.findall(r"^\| `([\w.]+)` \| (.+?) \| .+? \| .+? \|$", text, re.MULTILINE)
  return {module: set(re.findall(r"`(\w+)`", names)) for module, names in rows}


def test_all_uses_are_listed():
  found = collections.defaultdict(set)
  for path in (_ROOT / "mtl_ssl_tf").rglob("*.py"):
    for module, names in uses(path.read_text()).items():
      found[module] |= names
  listed = _listed()
  assert len(listed) > 20
  assert found.keys() == listed.keys()
  for module in found:
    assert found[module] == listed[module], module


def test_uses_of_a_source():
  source = """
import orbit
import tf_keras
import tensorflow as tf
from official.core import actions as official_actions, base_task
from orbit.utils import loop_fns

class A(tf_keras.layers.Layer, base_task.Task):
  def f(self):
    official_actions.EMA.x()
    return tf_keras.Model.call(tf.official.x, orbit.Controller)
"""
  assert uses(source) == {
    "orbit": {"Controller"},
    "orbit.utils.loop_fns": set(),
    "official.core.actions": {"EMA"},
    "official.core.base_task": {"Task"},
    "tf_keras": {"layers", "Model"},
    "tf_keras.layers": {"Layer"},
  }
