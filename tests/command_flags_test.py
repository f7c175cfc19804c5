"""Tests of what every command asks for, and that flags are written out."""

import argparse

import pytest

from mtl_ssl_tf import cli, command_line

# What a command is not run without, by its name.
_REQUIRED = {
  "synthetic": "--output_dir",
  "convert-voc": "--data_dir --split --output_dir",
  "convert-coco": "--annotations --image_dir --split --output_dir",
  "import-any": "--format --input --output_dir",
  "convert-beam": "converter",
  "validate": "",
  "sparse-annotations": "--input_dir --split --protocol",
  "composites": "--output",
  "suggest": "--records --validation_records --output",
  "browse": "--output",
  "train": "",  # absl parses; its parser here is for the help alone.
  "curves": "--model_dir --output",
  "replay": "folder",
  "import-reference": "--config_file --checkpoint --output_dir",
  "export": "--model_dir --export_dir",
  "export-lite": "--model_dir --output",
  "export-step": "--output_dir",
  "predict": "--input --output_dir --saved_model|--model_dir",
  "explain": "--input --output --saved_model|--model_dir",
  "evaluate": "--predictions --ground_truth --metric",
  "report": "--model_dir",
  "audit-labels": "--data --output_dir",
  "compare": "--configs --output_dir",
  "preflight": "--accelerator",
}


def test_every_command_is_listed():
  assert list(_REQUIRED) == list(cli.COMMANDS)


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_required_flags(name):
  parser = cli._parser(name)
  found = [
    (*action.option_strings, action.dest)[0] for action in parser._actions if action.required
  ]
  for group in parser._mutually_exclusive_groups:
    if group.required:
      found.append("|".join(action.option_strings[0] for action in group._group_actions))
  assert found == _REQUIRED[name].split()


@pytest.mark.parametrize("name", sorted(set(cli.COMMANDS) - {"train"}))
def test_flags_are_not_abbreviated_and_errors_are_escaped(name):
  """A flag of a later version must not change what a command means."""
  parser = cli._parser(name)
  assert isinstance(parser, command_line.ArgumentParser)
  commands = [parser]
  for action in parser._actions:
    if isinstance(action, argparse._SubParsersAction):
      commands += action.choices.values()
  assert [command.allow_abbrev for command in commands] == [False] * len(commands)
