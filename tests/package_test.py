"""Importing the package is cheap and leaves a program's settings alone; commands are quiet."""

import os
import subprocess
import sys

import pytest

_PROGRAM = """
import os, sys
sys.argv = {argv}
import mtl_ssl_tf
print(os.environ.get("TF_CPP_MIN_LOG_LEVEL"), "tensorflow" in sys.modules)
"""


@pytest.mark.parametrize(
  ("argv", "given", "level"),
  [
    (["-m"], None, "2"),
    (["-m"], "0", "0"),
    (["program.py"], None, "None"),
    ([], None, "None"),
  ],
)
def test_log_level_of_tensorflow(argv, given, level):
  environment = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
  if given is not None:
    environment["TF_CPP_MIN_LOG_LEVEL"] = given
  printed = subprocess.run(
    [sys.executable, "-c", _PROGRAM.format(argv=argv)],
    env=environment,
    capture_output=True,
    text=True,
    check=True,
  ).stdout
  assert printed.split() == [level, "False"]
