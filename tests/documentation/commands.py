"""The command lines of a block, and what the parsers of the programs say about their flags."""

import argparse
import contextlib
import functools
import io
import itertools
import re
import runpy
import shlex
import sys
import tomllib
from collections.abc import Sequence
from typing import Any, NamedTuple
from unittest import mock

from absl import flags as absl_flags

from mtl_ssl_tf import cli
from tests.documentation import pages

# Written by a command of the pages, and what is taken in their place: files of the same fields.
_WRITTEN = {
  "configs/mine.yaml": "configs/own_data.yaml",
  "configs/mine_insloc.yaml": "configs/pretraining/insloc_mobilenet_small.yaml",
}
_OURS = ("configs/", "benchmarks/", "tests/", "examples/", "docs/", "requirements")
_MODULES = {module: name for name, (module, _) in cli.COMMANDS.items()}
_SCRIPTS = {"train.py": "train", "export.py": "export"}
_OTHER_SCRIPTS = {
  "examples/serving_client.py": "examples.serving_client",
  "run_step.py": "benchmarks.run_step",
}
_WITHOUT_FLAGS = ("cd", "export", "source", ".", "ls", "rm", "ln", "kill", "tail", "echo", "eval")
_MAKEFILE = (pages.ROOT / "Makefile").read_text()
_EXTRAS = tomllib.loads((pages.ROOT / "pyproject.toml").read_text())["project"][
  "optional-dependencies"
]


class ForeignError(Exception):
  """A program that is not of this project, so that its flags cannot be checked."""


class _Parsed(BaseException):
  """Ends a program behind its flags."""

  def __init__(self, options: argparse.Namespace):
    self.options = options


class Command(NamedTuple):
  """One command of a block.

  Attributes:
    words: program and flags.
    text: as the page has it, with its variables put in.
  """

  words: list[str]
  text: str


def split(text: str) -> list[Command]:
  """The commands of a block, in order; variables that it sets are put in."""
  variables: dict[str, str] = {}
  found = []
  for line in _whole_lines(text):
    for name, value in variables.items():
      line = line.replace(f"${name}", value)
    words = shlex.split(line, comments=True)
    assigned = list(itertools.takewhile(lambda word: re.match(r"[A-Z_]+=", word), words))
    words = words[len(assigned) :]
    if not words:
      variables |= dict(one.split("=", 1) for one in assigned)
      continue
    for is_operator, part in itertools.groupby(words, ("&&", "|", "&", ";").__contains__):
      if not is_operator:
        found.append(Command(list(part), line))
  return found


def of_console(text: str) -> tuple[list[str], list[str]]:
  """The lines of a console that are commands, without the `$ ` before each, and what they print."""
  begun, shown, continues = [], [], False
  for line in text.split("\n"):
    is_command = continues or line.startswith("$ ")
    (begun if is_command else shown).append(line.removeprefix("$ ") if is_command else line)
    continues = is_command and line.endswith("\\")
  return begun, shown


def _whole_lines(text: str) -> list[str]:
  """The lines of a shell program: quotes and `\\` at an end join those of the text."""
  found, begun = [], ""
  for line in text.split("\n"):
    begun = f"{begun}\n{line}" if begun else line
    if begun.endswith("\\"):
      begun = begun[:-1]
      continue
    try:
      shlex.split(begun, comments=True)
    except ValueError:  # A quote is open.
      continue
    found.append(begun)
    begun = ""
  if begun:
    raise ValueError(f"{begun!r} does not end")
  return found


def check(words: Sequence[str]) -> None:
  """Refuses a command that its program would not take.

  Raises:
    ValueError: saying what is wrong.
    ForeignError: the program is of somebody else.
  """
  program, *rest = words
  for word in rest:
    value = word.partition("=")[2] if word.startswith("-") else word
    if value.startswith(_OURS) and not any(pages.ROOT.glob(_real(value))):
      raise ValueError(f"{value} does not exist")
  if "..." in rest or "…" in " ".join(rest):
    raise ValueError(f"{shlex.join(words)}: is not whole; accepted: a command to copy")
  if program == "mtl-ssl":
    _check_command(rest)
  elif program.startswith("python"):
    _check_python(rest)
  elif program == "make":
    _check_targets(rest)
  elif program in ("pip", ".venv-datumaro/bin/pip") and rest[0] == "install":
    _check_requirements(rest[1:])
  elif program not in _WITHOUT_FLAGS:
    raise ForeignError(
      f"{program!r} is no program of ours; accepted: a line *Not run by the tests: …*"
    )


def _real(path: str) -> str:
  return _WRITTEN.get(path, path)


def _check_python(words: Sequence[str]) -> None:
  if words[0] != "-m":
    script, *rest = words
    if script in _SCRIPTS:
      _check_command([_SCRIPTS[script], *rest])
    elif script in _OTHER_SCRIPTS:
      _check_program(_OTHER_SCRIPTS[script], rest)
    else:
      raise ValueError(f"{script} is no script of ours")
    return
  module, *rest = words[1:]
  if module == "mtl_ssl_tf":
    _check_command(rest)
  elif module in _MODULES:
    _check_command([_MODULES[module], *rest])
  elif module in ("venv", "pytest", "mtl_ssl_tf.configs.reference"):
    return
  elif module.split(".")[0] in ("benchmarks", "tests", "mtl_ssl_tf"):
    _check_program(module, rest)
  else:
    raise ForeignError(f"{module} is no module of ours")


def _check_command(words: Sequence[str]) -> None:
  """Checks flags of a command of the package, and the configuration that they make."""
  name, *rest = words
  if name in cli._ABOUT:
    return
  if name not in cli.COMMANDS:
    raise ValueError(f"no command {name}")
  if name == "train":
    _check_training(rest)
    return
  if "--help" in rest:
    return
  parser = cli._parser(name)
  with _reported():
    if name in cli._OPEN:
      options, _ = parser.parse_known_args(rest)
    else:
      options = parser.parse_args(rest)
  files = getattr(options, "config_file", None)
  if files:
    files = [files] if isinstance(files, str) else files
    experiment = getattr(options, "experiment", None) or "mtl_frcnn"
    _experiment(experiment, files, getattr(options, "params_override", None))


def _check_program(module: str, words: Sequence[str]) -> None:
  """Runs a module up to where it has parsed its flags."""
  if not (pages.ROOT / f"{module.replace('.', '/')}.py").exists():
    raise ValueError(f"no module {module}")
  parse = argparse.ArgumentParser.parse_args

  def parse_and_end(self, args=None, namespace=None):
    raise _Parsed(parse(self, args, namespace))

  with (
    _reported(),
    mock.patch.object(argparse.ArgumentParser, "parse_args", parse_and_end),
    mock.patch.object(sys, "argv", [module, *words]),
    contextlib.suppress(_Parsed),
  ):
    runpy.run_module(module, run_name="__main__", alter_sys=True)


@contextlib.contextmanager
def _reported():
  """Turns the end of a program for wrong flags into an error."""
  said = io.StringIO()
  try:
    with contextlib.redirect_stderr(said):
      yield
  except SystemExit as end:
    raise ValueError(f"{said.getvalue().strip().splitlines()[-1:]}") from end


def _check_training(words: Sequence[str]) -> None:
  """Checks the flags and the configuration of a training, as its start does."""
  from mtl_ssl_tf import registry_imports  # noqa: F401
  from mtl_ssl_tf.configs import validation
  from mtl_ssl_tf.training import driver
  from mtl_ssl_tf.training import task as task_lib

  if "--help" in words:
    return
  parsed = _training_flags()
  words = [f"{flag}={_real(value)}" if value else flag for flag, _, value in _partitioned(words)]
  try:
    parsed(["train.py", *words])
    experiment = parsed.experiment or "mtl_frcnn"
    params = _experiment(experiment, parsed.config_file, parsed.params_override)
    if parsed.init:
      task_lib.class_of(params.task).start_from(params.task, parsed.init)
    if parsed.mode not in driver.MODES:
      raise ValueError(f"--mode is {parsed.mode!r}")
    validation.check_trainer(params.trainer)
  except absl_flags.Error as error:
    raise ValueError(str(error)) from error
  finally:
    parsed.unparse_flags()
    for name in ("config_file", "params_override", "experiment", "init", "mode", "model_dir"):
      parsed[name].unparse()
    parsed["tpu"].unparse()


def _partitioned(words: Sequence[str]) -> list[tuple[str, str, str]]:
  return [word.partition("=") for word in words]


@functools.cache
def _training_flags() -> absl_flags.FlagValues:
  from mtl_ssl_tf.command_line import train as train_flags

  if "init" not in absl_flags.FLAGS:
    train_flags.define()
  return absl_flags.FLAGS


def _experiment(name: str, files: Sequence[str], override: Any):
  from mtl_ssl_tf import registry_imports  # noqa: F401
  from mtl_ssl_tf.configs import loading

  return loading.load_experiment(name, [_real(file) for file in files or ()], override or "")


def _check_targets(words: Sequence[str]) -> None:
  for word in words:
    if "=" not in word and f"\n{word}:" not in _MAKEFILE:
      raise ValueError(f"the Makefile has no target {word}")


def _check_requirements(words: Sequence[str]) -> None:
  for word in words:
    extra = re.fullmatch(r"(?:\.|mtl_ssl_tf)\[(\w+)\]", word)
    if extra and extra[1] not in _EXTRAS:
      raise ValueError(f"{word}: no extra {extra[1]}; accepted: {', '.join(_EXTRAS)}")
