"""The output of commands: our lines, warnings in one form, errors of TensorFlow."""

import ast
import logging
import os
import pathlib
import subprocess
import sys

import pytest
import tensorflow as tf

from mtl_ssl_tf import terminal
from tests import terminal_lines
from tests.serving import tiny_run as tiny_runs

_REPOSITORY = pathlib.Path(__file__).parents[1]
# Begins like train.py, then has TensorFlow log at three levels in both ways that it knows.
_PROGRAM = """
import logging, sys, warnings
from mtl_ssl_tf import terminal
terminal.prepare()
import tensorflow as tf
terminal.set_up()
for level in ("info", "warning", "error"):
  tf.raw_ops.PrintV2(input=f"tensorflow {level}", output_stream=f"log({level})")
tf.function(lambda: tf.ones([]), jit_compile=True, autograph=False)()
tf.get_logger().warning("retracing")
warnings.warn("will change", FutureWarning)
warnings.warn("a result\\n  is nan\\n", RuntimeWarning)
logging.getLogger("mtl_ssl_tf.somewhere").warning("%d boxes", 3)
logging.getLogger("mtl_ssl_tf.somewhere").info("%d done", 4)
raise KeyError("a bug")
"""
_OF_TENSORFLOW = (
  "2026-01-01 00:00:00.1: E cuda_platform.cc:51] failed call to cuInit: UNKNOWN ERROR (303)",
  "I0000 00:00:1795897173.77 4068 device_compiler.h:196] Compiled cluster using XLA!",
  "WARNING: All log messages before absl::InitializeLog() is called are written to STDERR",
  "W0000 00:00:1.2 1 op_level_cost_estimator.cc:699] Error in PredictCost() for the op: op",
  "WARNING:tensorflow:5 out of the last 5 calls to <function f> triggered tf.function retracing.",
  "W1128 20:36:45.190507 140398966442880 driver.py:136] task.backbone.norm.type is 'frozen'",
  "train | step:      3 | steps/sec:    0.0 | output:",
  "    {'closeness': np.float32(0.6591348),",
)


def run(*command: str, **environment: str) -> subprocess.CompletedProcess:
  return subprocess.run(
    [sys.executable, *command],
    cwd=_REPOSITORY,
    env=terminal_lines.users_environment() | environment,
    capture_output=True,
    text=True,
    check=False,
  )


class TestMessages:
  def test_errors_show(self):
    done = run("-c", _PROGRAM)
    assert done.stdout == ""
    native, *ours = filter(None, done.stderr.splitlines())
    assert native.endswith("tensorflow error")
    assert ours[:2] == ["warning: RuntimeWarning: a result is nan", "warning: 3 boxes"]
    assert ours[2] == "4 done"
    assert ours[3] == "Traceback (most recent call last):"
    assert ours[-1] == "KeyError: 'a bug'"

  @pytest.mark.parametrize("info_on_stdout", [False, True])
  def test_information_is_plain_and_goes_where_the_command_wants_it(self, capsys, info_on_stdout):
    terminal.set_up(info_on_stdout=info_on_stdout)
    logger = logging.getLogger("mtl_ssl_tf.somewhere")
    logger.info("half of %d", 8)
    logger.error("gone")
    captured = capsys.readouterr()
    expected = (
      ("half of 8\n", "error: gone\n") if info_on_stdout else ("", "half of 8\nerror: gone\n")
    )
    assert captured == expected

  def test_a_message_is_one_harmless_line(self, capsys):
    terminal.set_up()
    logger = logging.getLogger("mtl_ssl_tf.somewhere")
    logger.info("\x1b[2J%s", "a\nerror: b")
    logger.warning("gpj.\u202eexe")
    logger.info("a\x07\nb", extra=terminal.LINES)
    try:
      raise ValueError("bad \x07")
    except ValueError:
      logger.error("gone", exc_info=True)
    lines = capsys.readouterr().err.split("\n")
    assert lines[:3] == [r"\x1b[2Ja\nerror: b", r"warning: gpj.\u202eexe", r"a\x07"]
    assert lines[3:5] == ["b", "error: gone"]
    assert lines[5] == "Traceback (most recent call last):"
    assert lines[-2:] == [r"ValueError: bad \x07", ""]

  def test_what_is_printed_is_harmless(self, capsys):
    terminal.show("class  objects\n\x1b[31mcat  3")
    terminal.show_error(ValueError("a\n\x1b[1mb"))
    captured = capsys.readouterr()
    assert captured == ("class  objects\n\\x1b[31mcat  3\n", "error: a\\n\\x1b[1mb\n")

  def test_nothing_is_printed_past_this_module(self):
    folder = _REPOSITORY / "mtl_ssl_tf"
    # One writes the functions, one texts of its own, one a page of docs/ from the code.
    own = {folder / name for name in ("terminal.py", "cli.py", "configs/reference.py")}
    found = [
      f"{path.relative_to(folder)}:{node.lineno} {ast.unparse(node.func)}"
      for path in sorted({*folder.rglob("*.py")} - own)
      for node in ast.walk(ast.parse(path.read_text()))
      if isinstance(node, ast.Call)
      and ast.unparse(node.func) in ("print", "sys.stdout.write", "sys.stderr.write")
    ]
    assert found == []

  @pytest.mark.parametrize(
    ("flags", "environment"),
    [
      (["--verbosity=0"], {"TF_CPP_MIN_LOG_LEVEL": "2"}),  # As make sets it.
      ([], {"TF_CPP_MIN_LOG_LEVEL": "0"}),
    ],
  )
  def test_all_show_if_asked_for(self, flags, environment):
    shown = run("-c", _PROGRAM, *flags, **environment).stderr
    for text in (
      "tensorflow info",
      "tensorflow warning",
      "tensorflow error",
      "Compiled cluster using XLA",
      "retracing",
      "FutureWarning: will change",
      "warning: 3 boxes",
      "KeyError: 'a bug'",
    ):
      assert text in shown, text

  def test_a_library_leaves_messages_alone(self):
    program = """
import logging, os, warnings
usual = warnings.showwarning
import mtl_ssl_tf
from mtl_ssl_tf.data import label_map
from mtl_ssl_tf.serving import served_detector
logger = logging.getLogger("mtl_ssl_tf")
assert (logger.handlers, logger.propagate, logger.level) == ([], True, 0)
assert "TF_ENABLED_DEVICE_TYPES" not in os.environ
assert warnings.showwarning is usual
"""
    done = run("-c", program)
    assert done.returncode == 0, done.stderr

  @pytest.mark.parametrize(
    ("arguments", "expected"),
    [
      ([], False),
      (["--mode=train", "--model_dir", "0"], False),
      (["--verbosity=0"], True),
      (["--verbosity", "1"], True),
      (["-v=0"], True),
      (["--verbosity=-1"], False),
      (["--verbosity=0", "--verbosity=-2"], False),
      (["--verbosity"], False),
    ],
  )
  def test_flags_that_ask_for_all(self, arguments, expected):
    assert terminal._asks_for_all(arguments) == expected


class TestDevices:
  @pytest.mark.parametrize(
    ("driver", "plug_in", "visible", "expected"),
    [
      (False, False, None, True),
      (True, False, None, False),
      (True, False, "0", False),
      (True, False, "-1", True),
      (True, False, "", True),
      (False, True, None, False),
    ],
  )
  def test_gpus_are_left_out_where_there_are_none(
    self, monkeypatch, driver, plug_in, visible, expected
  ):
    def load(name):
      assert name == "libcuda.so.1"
      if not driver:
        raise OSError(name)

    monkeypatch.setattr(terminal.ctypes, "CDLL", load)
    monkeypatch.setattr(terminal.importlib.util, "find_spec", lambda _: plug_in or None)
    monkeypatch.setattr(terminal.os.path, "exists", lambda _: False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
      monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert terminal._has_no_gpu() == expected

  @pytest.mark.parametrize(
    ("level", "given", "expected"),
    [
      (None, None, "CPU,XLA_CPU,TPU,TPU_SYSTEM"),
      (None, "CPU,GPU", "CPU,GPU"),  # The user's own setting stays.
      ("0", None, None),
    ],
  )
  def test_what_tensorflow_reads(self, monkeypatch, level, given, expected):
    monkeypatch.setattr(terminal, "_has_no_gpu", lambda: True)
    monkeypatch.setattr(terminal.os, "environ", {})
    monkeypatch.setattr(terminal.sys, "argv", ["train.py"])
    for name, value in ((terminal._LEVEL, level), (terminal._DEVICE_TYPES, given)):
      if value is not None:
        terminal.os.environ[name] = value
    terminal.prepare()
    assert os.environ[terminal._LEVEL] == (level or "2")
    assert os.environ.get(terminal._DEVICE_TYPES) == expected


class TestLines:
  @pytest.mark.parametrize("line", _OF_TENSORFLOW)
  def test_a_foreign_line_is_found(self, line):
    ours = (
      *terminal_lines.TRAINING,
      *terminal_lines.EXPORT,
      *terminal_lines.PREDICTION,
      *terminal_lines.WARNINGS,
    )
    assert terminal_lines.foreign(line, *ours) == [line]

  def test_a_start_that_leads_nowhere(self, tiny_run):
    data = f"{{input_path: {tiny_run}/records.tfrecord, global_batch_size: 1}}"
    done = run(
      "train.py",
      "--experiment=mtl_frcnn",
      f"--config_file={tiny_run}/params.yaml",
      "--mode=train",
      "--model_dir=/dev/null/model",
      f"--params_override={{task: {{train_data: {data}, backbone: {{norm: {{type: frozen}}}}}}}}",
      "--validate_data=0",
    )
    assert done.stdout == ""
    warning, error = done.stderr.splitlines()
    assert warning.startswith("warning: task.backbone.norm.type is 'frozen' and there are no start")
    assert error.startswith("error: --model_dir '/dev/null/model' cannot be written to: ")

  @pytest.mark.slow
  def test_evaluation(self, tiny_run, tmp_path):
    for name in ("params.yaml", "label_map.txt", "checkpoint"):
      (tmp_path / name).write_bytes((tiny_run / name).read_bytes())
    for path in tiny_run.glob(f"ckpt-{tiny_runs.LATEST_STEP}.*"):
      (tmp_path / path.name).write_bytes(path.read_bytes())
    command = [
      "train.py",
      "--experiment=mtl_frcnn",
      f"--config_file={tiny_run}/params.yaml",
      "--mode=eval",
      f"--model_dir={tmp_path}",
      "--params_override=task.validation_data.global_batch_size=1",
    ]
    done = run(*command)
    assert done.returncode == 0, done.stderr
    assert f"evaluation at step {tiny_runs.LATEST_STEP}, " in done.stdout
    assert terminal_lines.foreign(done.stdout, *terminal_lines.TRAINING) == []
    assert terminal_lines.foreign(done.stderr, *terminal_lines.WARNINGS) == []

  def test_export(self, tiny_export_process):
    assert terminal_lines.foreign(tiny_export_process.stdout, *terminal_lines.EXPORT) == []
    assert tiny_export_process.stderr == ""

  @pytest.mark.slow
  @pytest.mark.parametrize("source", ["saved_model", "model_dir"])
  def test_prediction(self, source, tiny_run, tiny_export, tmp_path):
    for i, image in enumerate(tiny_runs.images()):
      (tmp_path / f"{i}.png").write_bytes(tf.io.encode_png(image).numpy())
    done = run(
      "-m",
      "mtl_ssl_tf.predict",
      f"--{source}={tiny_run if source == 'model_dir' else tiny_export[0]}",
      f"--input={tmp_path}",
      f"--output_dir={tmp_path / 'out'}",
      "--batch_size=2",
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert done.stderr.splitlines()[-1].startswith(f"{tmp_path / 'out'}: 3 images with ")
    assert terminal_lines.foreign(done.stderr, *terminal_lines.PREDICTION) == []
