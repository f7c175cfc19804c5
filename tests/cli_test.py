"""The console command: its table, its help, and that a command there is the module's own."""

import importlib
import pathlib
import re
import subprocess
import sys

import pytest

import mtl_ssl_tf
from mtl_ssl_tf import cli

_ROOT = pathlib.Path(__file__).parents[1]
_README = (_ROOT / "README.md").read_text()
_HEAVY = ("tensorflow", "matplotlib", "numpy")
# What `--help` loads, on top of what it prints.
_HELP = f"""
import sys
from mtl_ssl_tf import cli
try:
  cli.main([*sys.argv[1:], "--help"])
finally:
  print([name for name in {_HEAVY} if name in sys.modules])
"""


def _run(*command, **options):
  return subprocess.run(command, capture_output=True, text=True, check=False, **options)


def _module(*flags, **options):
  return _run(sys.executable, "-m", "mtl_ssl_tf", *flags, cwd=_ROOT, **options)


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_help_names_the_command_and_loads_nothing_heavy(name):
  done = _run(sys.executable, "-c", _HELP, name, cwd=_ROOT)
  assert done.returncode == 0, done.stderr
  assert done.stdout.startswith(f"usage: mtl-ssl {name} ")
  assert done.stdout.splitlines()[-1] == "[]"


def test_every_command_of_the_package_is_in_the_table():
  commands = {
    ".".join(path.relative_to(_ROOT).with_suffix("").parts)
    for path in (_ROOT / "mtl_ssl_tf").rglob("*.py")
    if '\nif __name__ == "__main__":\n' in path.read_text()
  }
  # One starts the others, one makes a page of docs/ from the code, one runs where Datumaro is.
  others = {
    "mtl_ssl_tf.cli",
    "mtl_ssl_tf.configs.reference",
    "mtl_ssl_tf.data.sources.datumaro_to_coco",
  }
  assert commands - others == {module for module, _ in cli.COMMANDS.values()}


@pytest.mark.parametrize("flags", [[], ["--help"], ["-h"]])
def test_help_lists_all_commands(flags, capsys):
  assert cli.main(flags) == 0
  printed = capsys.readouterr().out
  assert printed.startswith("usage: mtl-ssl COMMAND [flags]\n")
  lines = [line.split(maxsplit=1) for line in printed.splitlines() if line.startswith("  ")]
  assert lines == [[name, about] for name, (_, about) in cli.COMMANDS.items()]


def test_readme_has_the_table():
  rows = re.findall(r"^\| `([\w-]+)` \| (.+?) \| .*`([\w.]+)` \|$", _README, re.MULTILINE)
  assert rows == [(name, about, module) for name, (module, about) in cli.COMMANDS.items()]


def test_version(capsys):
  assert cli.main(["--version"]) == 0
  assert capsys.readouterr().out == f"mtl-ssl {mtl_ssl_tf.__version__}\n"


@pytest.mark.parametrize(
  ("name", "nearest"),
  [("prdict", "predict"), ("convert-vok", "convert-voc"), ("--verison", "--version")],
)
def test_unknown_command_is_one_line(name, nearest, capsys):
  assert cli.main([name, "--flag"]) == 2
  assert capsys.readouterr().err == f"mtl-ssl: no command {name!r}; did you mean {nearest}?\n"


def test_wrong_flags_are_reported_without_tensorflow(capsys):
  with pytest.raises(SystemExit) as end:
    cli.main(["predict", "--saved_modle=x"])
  assert end.value.code == 2
  assert capsys.readouterr().err.splitlines()[-1].startswith("mtl-ssl predict: error: ")


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_wrong_flags_are_quoted_harmlessly(name, capsys):
  with pytest.raises(SystemExit):
    cli._parser(name).parse_args(["--x\x1b[2J\nerror:\u202e"])
  *_, line = capsys.readouterr().err.splitlines()
  assert "error: " in line and line.isprintable()


def test_a_command_runs_as_its_module_does(tmp_path):
  done = _module("synthetic", f"--output_dir={tmp_path / 'scenes'}", "--num_train=1", "--num_val=1")
  assert done.returncode == 0
  assert done.stdout == f"synthetic: wrote {tmp_path / 'scenes'}\n"
  assert "Warning" not in done.stderr
  done = _module("synthetic", f"--output_dir={tmp_path / 'scenes'}", "--num_train=0")
  assert done.returncode == 1
  assert done.stderr == "synthetic: error: --num_train is 0; accepted: 1 to 999999\n"


@pytest.mark.slow
def test_worker_processes_find_the_converter(tmp_path):
  scenes, records = tmp_path / "scenes", tmp_path / "records"
  _module("synthetic", f"--output_dir={scenes}", "--num_train=4", "--num_val=1")
  flags = [f"--data_dir={scenes}", "--split=train", f"--output_dir={records}", "--workers=2"]
  done = _module("convert-voc", *flags)
  assert done.returncode == 0, done.stderr
  assert (records / "manifest_train.json").exists()


def test_completion_in_bash():
  ask = 'COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _mtl_ssl; echo "${COMPREPLY[@]}"'
  script = _module("--completion").stdout
  for typed, answer in (
    ("mtl-ssl pre", "predict preflight"),
    ("mtl-ssl predict --sa", "--saved_model"),
    ("mtl-ssl train --config_file=x --mode=eval --params", "--params_override"),
    ("mtl-ssl unknown --a", ""),
  ):
    done = _run("bash", "-c", f"{script}\nCOMP_WORDS=({typed}); {ask}")
    assert done.stderr == ""
    assert done.stdout.strip() == answer, typed


class TestFlagsAreThoseOfWhatRuns:
  """Names and numbers that the flags repeat, so as not to load what defines them."""

  @staticmethod
  def _action(command, flag):
    parser = importlib.import_module(f"mtl_ssl_tf.command_line.{command}").parser()
    return next(action for action in parser._actions if flag in action.option_strings)

  @pytest.mark.parametrize(
    ("command", "flag", "module", "name"),
    [
      ("evaluate", "--metric", "evaluation.detection_metrics", "METRICS"),
      ("export", "--crop_method", "ops.crop_ops", "METHODS"),
      ("export_step", "--step", "compilation.step_program", "STEPS"),
      ("import_any", "--format", "data.sources.datumaro_to_coco", "FORMATS"),
    ],
  )
  def test_choices(self, command, flag, module, name):
    choices = getattr(importlib.import_module(f"mtl_ssl_tf.{module}"), name)
    action = self._action(command, flag)
    assert tuple(action.choices) == tuple(choices)
    defaults = action.default if isinstance(action.default, list) else [action.default]
    assert action.required or set(defaults) <= set(choices)

  def test_outputs_of_predict(self):
    from mtl_ssl_tf import predict
    from mtl_ssl_tf.prediction import result_files

    names = (predict.DRAWN, result_files.DATASET, result_files.RESULTS, predict.VOC)
    assert self._action("predict", "--outputs").choices == names

  def test_numbers(self):
    from mtl_ssl_tf.command_line import synthetic as synthetic_flags
    from mtl_ssl_tf.data import synthetic
    from mtl_ssl_tf.serving import export_lib

    for command in ("export", "export_lite"):
      assert self._action(command, "--verify_images").default == export_lib.VERIFY_IMAGES
    drawn = {f.name: f.default for f in synthetic.dataclasses.fields(synthetic.DatasetArguments)}
    assert drawn == synthetic_flags.DEFAULTS
