"""The command itself: its flags, and how it ends when something is wrong."""

import os
import pathlib
import re
import subprocess
import sys

import pytest

from mtl_ssl_tf import command_line
from mtl_ssl_tf.configs import experiments

REPOSITORY = pathlib.Path(__file__).parents[1]


def test_error_is_one_line_and_exit_status_one(tmp_path):
  done = subprocess.run(
    [
      sys.executable,
      "train.py",
      "--flagfile=configs/flags/demo.flags",
      f"--model_dir={tmp_path / 'model'}",
      "--params_override={task: {train_data: {input_path: /nowhere/x-*}}}",
    ],
    capture_output=True,
    text=True,
    check=False,
    cwd=REPOSITORY,
    env={name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"},
  )
  assert done.returncode == 1
  assert done.stdout == ""
  assert done.stderr.splitlines()[-1] == (
    "error: task.train_data.input_path: no record files match '/nowhere/x-*'"
  )
  assert "Traceback" not in done.stderr
  assert "oneDNN" not in done.stderr  # TensorFlow's start-up notices.
  assert not (tmp_path / "model").exists()


def _train(*flags):
  return subprocess.run(
    [sys.executable, "train.py", *flags],
    capture_output=True,
    text=True,
    check=False,
    cwd=REPOSITORY,
  )


@pytest.mark.parametrize("flag", ["--help", "-help", "--helpshort", "-h"])
def test_help_has_all_flags_of_the_documents(flag):
  done = _train("--flagfile=configs/flags/demo.flags", flag)
  assert done.returncode == 0
  assert done.stdout.startswith("usage: train.py ")
  documents = [REPOSITORY / "README.md", *REPOSITORY.glob("docs/*.md")]
  documents += [*REPOSITORY.glob("configs/**/*.md"), *REPOSITORY.glob("configs/flags/*.flags")]
  used = {"--flagfile", "--model_dir", "--experiment"}
  for path in documents:
    text = path.read_text().replace("\\\n", " ")
    for line in text.splitlines() if path.suffix == ".flags" else re.findall(r"train\.py.*", text):
      used.update(re.findall(r"(?<![\w-])--\w+", line.split("`")[0]))
  assert {"--config_file", "--params_override", "--init"} <= used
  listed = set(re.findall(r"^  (--\w+)", done.stdout, re.MULTILINE))
  assert used <= listed


def test_help_is_of_flags_that_there_are():
  program = """
from absl import app, flags
from mtl_ssl_tf.command_line import train
train.define()
app.define_help_flags()
print(*(name for name in train.HELP if name not in flags.FLAGS))
"""
  done = subprocess.run(
    [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=REPOSITORY
  )
  assert done.stdout.split() == ["flagfile"]  # absl's own, of which its list knows nothing.


@pytest.mark.parametrize(
  ("flag", "message"),
  [
    ("--mode=learn", "flag --mode=learn: value should be one of"),
    ("--model_dri=x", "Unknown command line flag 'model_dri'. Did you mean: model_dir ?"),
    ("--validate_data=-1", "flag --validate_data=-1"),
    ("--nothing_of_note", "Unknown command line flag 'nothing_of_note'"),
    ("--not\x1b[2J\nhing", r"Unknown command line flag 'not\x1b[2J\nhing'"),
    ("--mode=\x1b[2J", r"flag --mode=\x1b[2J: value should be one of"),
  ],
)
def test_wrong_flags(flag, message):
  done = _train("--experiment=mtl_frcnn", "--mode=train", "--model_dir=x", flag)
  assert done.returncode == 1
  assert message in done.stderr
  assert "Traceback" not in done.stderr


def test_flags_of_tensorflow_are_accepted():
  program = """
import sys
from absl import flags
from mtl_ssl_tf import train
train.train_flags.define()
train._parse(sys.argv)
print(flags.FLAGS.config_file, flags.FLAGS.mode, flags.FLAGS.tt_check_filter)
"""
  given = ["--experiment=x", "--config_file=a", "--config_file=b", "--mode=eval", "--model_dir=x"]
  done = subprocess.run(
    [sys.executable, "-c", program, *given, "--tt_check_filter=true"],
    capture_output=True,
    text=True,
    check=True,
    cwd=REPOSITORY,
  )
  assert done.stdout == "['a', 'b'] eval True\n"


def test_the_default_experiment_is_named_once():
  assert command_line.EXPERIMENT == experiments.DEFAULT
