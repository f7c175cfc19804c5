"""The declared dependencies are those imported, in ranges that hold the tested versions."""

import ast
import pathlib
import subprocess
import sys
import tomllib

import pytest
from packaging import requirements

_ROOT = pathlib.Path(__file__).parents[1]
_PROJECT = tomllib.loads((_ROOT / "pyproject.toml").read_text())["project"]
# Import -> distribution, where the names differ.
_DISTRIBUTIONS = {
  "PIL": "pillow",
  "absl": "absl-py",
  "apache_beam": "apache-beam",
  "cv2": "opencv-python-headless",
  "google": "protobuf",
  "official": "tf-models-official",
  "orbit": "tf-models-official",
  "tensorflow_serving": "tensorflow-serving-api",
  "tf_keras": "tf-keras",
  "yaml": "pyyaml",
}
# Not imported: what TensorBoard's program does not declare.
_FOR_OTHERS = {"setuptools"}
# Extras whose packages the package imports, where they are installed.
_IMPORTED_EXTRAS = ("beam", "datumaro", "serving")


def _declared(extra=None):
  lines = _PROJECT["optional-dependencies"][extra] if extra else _PROJECT["dependencies"]
  return [requirements.Requirement(line) for line in lines]


def _pinned():
  """Distribution -> version in the files that the lock is made from."""
  lines = [
    line.split("#")[0].strip()
    for name in ("requirements.in", "requirements-beam.in", "requirements-datumaro.in")
    for line in (_ROOT / name).read_text().splitlines()
  ]
  return dict(line.split("==") for line in lines if "==" in line)


@pytest.mark.parametrize("extra", [None, *_PROJECT["optional-dependencies"]])
def test_ranges_hold_the_pinned_versions(extra):
  pinned = _pinned()
  for declared in _declared(extra):
    assert declared.name in pinned, f"{declared} is not in requirements.in"
    assert declared.specifier.contains(pinned[declared.name]), (declared, pinned[declared.name])


def test_the_declared_dependencies_are_those_imported():
  imported = set()
  for path in (_ROOT / "mtl_ssl_tf").rglob("*.py"):
    for node in ast.walk(ast.parse(path.read_text())):
      if isinstance(node, ast.Import):
        imported.update(alias.name.split(".")[0] for alias in node.names)
      elif isinstance(node, ast.ImportFrom) and not node.level:
        imported.add(node.module.split(".")[0])
  foreign = imported - set(sys.stdlib_module_names) - {"mtl_ssl_tf"}
  declared = {line.name for extra in (None, *_IMPORTED_EXTRAS) for line in _declared(extra)}
  assert {_DISTRIBUTIONS.get(name, name) for name in foreign} == declared - _FOR_OTHERS


def test_tensorboard_starts():
  command = [sys.executable, "-m", "tensorboard.main", "--version"]
  done = subprocess.run(command, capture_output=True, text=True, check=False)
  assert done.returncode == 0, done.stderr
  assert done.stdout.startswith("2.20.")
