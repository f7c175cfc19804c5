"""A named experiment and YAML files to a configuration, with every misspelt field told."""

import os
from typing import Any

import tensorflow as tf
import yaml
from official.core import config_definitions as cfg
from official.core import exp_factory
from official.modeling.hyperparams import params_dict

from mtl_ssl_tf.configs import experiments, renamed
from mtl_ssl_tf.configs import overrides as config_overrides


def load_experiment(
  experiment: str, config_files: list[str] | None = None, params_override: str | None = None
) -> cfg.ExperimentConfig:
  """Returns the named experiment with the overrides of each file, then of the string.

  Args:
    experiment: a registered name.
    config_files: YAML files, later ones win.
    params_override: a YAML mapping, e.g. `task: {seed: 1}` or `task.seed=1`, or a YAML file.

  Raises:
    ValueError: if the name, a file, or a field in it is not known.
  """
  # Model Garden's own experiments are registered too, but their tasks are not ours.
  accepted = [
    name
    for name, factory in exp_factory._REGISTERED_CONFIGS.items()
    if factory.__module__ == experiments.__name__
  ]
  if experiment not in accepted:
    raise ValueError(f"--experiment is {experiment!r}; accepted: {', '.join(accepted)}")
  params = exp_factory.get_exp_config(experiment)
  for path in config_files or ():
    override_with_file(params, path)
  if params_override:
    flag = "--params_override"
    if os.path.exists(params_override):
      overrides, flag = _read_yaml(params_override), params_override
    elif "=" in params_override.split(":")[0]:
      # Its name notwithstanding, what the function returns is YAML.
      overrides = _parse_yaml(params_dict.nested_csv_str_to_json_str(params_override), flag)
    else:
      overrides = _parse_yaml(params_override, flag)
    _override(params, overrides, flag)
  return params


def override_with_file(params: cfg.ExperimentConfig, path: str) -> None:
  """Sets the fields that a YAML file names.

  Raises:
    ValueError: if the file, or a field in it, is not known.
  """
  _override(params, _read_yaml(path), path)


def _read_yaml(path: str) -> Any:
  try:
    with tf.io.gfile.GFile(path) as file:
      text = file.read()
  except (tf.errors.OpError, UnicodeDecodeError) as error:
    raise ValueError(f"{path}: cannot be read ({type(error).__name__})") from error
  return _parse_yaml(text, path)


def _parse_yaml(text: str, source: str) -> Any:
  try:
    return yaml.load(text, params_dict._LOADER)
  except yaml.YAMLError as error:
    problem = " ".join(str(error).split())
    raise ValueError(f"{source}: not YAML ({problem})") from error


def _override(params: cfg.ExperimentConfig, overrides: Any, source: str) -> None:
  overrides = renamed.modernize(overrides)
  config_overrides.check_overrides(overrides, params, source)
  params.override(overrides, is_strict=True)
