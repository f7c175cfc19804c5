"""Importing the package is cheap and leaves a program's settings alone; commands are quiet."""

import os
import pathlib
import subprocess
import sys

import pytest

_SETTINGS = ("TF_CPP_MIN_LOG_LEVEL", "TF_USE_LEGACY_KERAS")
_PROGRAM = """
import os, sys
sys.argv = {argv}
import mtl_ssl_tf
print(*map(os.environ.get, {names}), "tensorflow" in sys.modules)
"""

# Each command fails, on data and a run that are not there, after all is imported.
_COMMAND = """
import runpy, sys
sys.argv = sys.argv[1:]
try:
  runpy.run_path(sys.argv[0], run_name="__main__")
except SystemExit as end:
  assert end.code
for name in ("tensorflow", "keras"):
  print(name, name in sys.modules)
"""


@pytest.mark.parametrize(
  ("argv", "given", "settings"),
  [
    # Prediction needs TensorFlow alone, which must not be made to search for tf_keras.
    (["-m"], {}, ["2", "None"]),
    (["-m"], {"TF_CPP_MIN_LOG_LEVEL": "0"}, ["0", "None"]),
    (["program.py"], {}, ["None", "None"]),
    ([], {}, ["None", "None"]),
  ],
)
def test_settings_of_tensorflow(argv, given, settings):
  environment = {k: v for k, v in os.environ.items() if k not in _SETTINGS}
  printed = subprocess.run(
    [sys.executable, "-c", _PROGRAM.format(argv=argv, names=_SETTINGS)],
    env=environment | given,
    capture_output=True,
    text=True,
    check=True,
  ).stdout
  assert printed.split() == [*settings, "False"]


@pytest.mark.parametrize(
  "command",
  [
    "train.py --experiment=mtl_frcnn --mode=train --model_dir={folder}/new",
    "export.py --model_dir={folder}/none --export_dir={folder}/new",
  ],
)
def test_commands_do_without_keras_3(command, tmp_path):
  done = subprocess.run(
    [sys.executable, "-c", _COMMAND, *command.format(folder=tmp_path).split()],
    env={k: v for k, v in os.environ.items() if k not in _SETTINGS},
    cwd=pathlib.Path(__file__).parents[1],
    capture_output=True,
    text=True,
    check=True,
  )
  assert done.stdout.split() == ["tensorflow", "True", "keras", "False"], done.stderr
