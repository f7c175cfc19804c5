"""The command itself: its flags, and how it ends when something is wrong."""

import os
import pathlib
import subprocess
import sys

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
