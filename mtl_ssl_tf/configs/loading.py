"""A named experiment and YAML files to a configuration; misspelt fields are refused by name."""

import os
import re
from collections.abc import Mapping
from typing import Any

import tensorflow as tf
from official.core import config_definitions as cfg
from official.core import exp_factory
from official.modeling.hyperparams import params_dict

from mtl_ssl_tf.configs import data_validation, experiments, insloc, renamed, yaml_files, yaml_text
from mtl_ssl_tf.configs import overrides as config_overrides
from mtl_ssl_tf.reading import quoting

# A group of a YAML file, not of the configuration: fields of both splits.
_BOTH_SPLITS = "data"
_LABEL_MAP = "label_map.txt"
_PROBED = "validation_data"
_MAX_INDEX = 10_000
# Learning rates that fall until the last step, unless their `decay_steps` say otherwise.
_FALL_TO_THE_END = ("cosine", "polynomial")


def load_experiment(
  experiment: str, config_files: list[str] | None = None, params_override: str | None = None
) -> cfg.ExperimentConfig:
  """Returns the named experiment with the overrides of each file, then of the string.

  Each file is applied after its bases (`yaml_files`). Fields of `task.data` are those of
  `task.train_data` and `task.validation_data`, where these do not set their own.

  Two fields follow others unless they are set: the label map is the one next to the records, and a
  cosine or polynomial learning rate falls until the last step.

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
    raise ValueError(
      f"--experiment is {quoting.shown(experiment)}; accepted: {', '.join(accepted)}"
    )
  params = exp_factory.get_exp_config(experiment)
  layers = [layer for path in config_files or () for layer in yaml_files.read(path)]
  if params_override:
    flag = "--params_override"
    if os.path.exists(params_override):
      layers += yaml_files.read(params_override)
    elif "=" in params_override.split(":")[0]:
      text = _yaml_of_pairs(params_override, flag)
      layers.append(yaml_files.Layer(flag, yaml_text.parse(text, flag)))
    else:
      layers.append(yaml_files.Layer(flag, yaml_text.parse(params_override, flag)))
  for layer in layers:
    _override(params, layer, note=True)
  _follow(params)
  return params


def _yaml_of_pairs(pairs: str, flag: str) -> str:
  """The YAML text of pairs of field and value.

  Raises:
    ValueError: naming the flag; they are malformed.
  """
  index = max(map(int, re.findall(r"\[(\d{1,18})\]=", pairs)), default=0)
  if index > _MAX_INDEX:  # A list of that length would be made.
    raise ValueError(f"{flag}: [{index}] is not accepted; accepted: up to [{_MAX_INDEX}]")
  try:
    # Its name notwithstanding, what the function returns is YAML.
    return params_dict.nested_csv_str_to_json_str(pairs)
  except ValueError as error:
    raise ValueError(f"{flag}: {quoting.one_line(str(error))}; accepted: FIELD=VALUE,…") from error


def load_run(path: str) -> cfg.ExperimentConfig:
  """Returns the configuration that a run wrote down, whichever its experiment was.

  Raises:
    ValueError: if the file, or a field in it, is not known, or it names others as its bases.
  """
  layer = yaml_files.read_alone(path)
  params = exp_factory.get_exp_config(experiments.with_fields_of(layer.fields))
  _override(params, layer)
  return params


def override_with_file(params: cfg.ExperimentConfig, path: str) -> None:
  """Sets the fields that a YAML file and its bases name.

  Raises:
    ValueError: if the file, or a field in it, is not known.
  """
  for layer in yaml_files.read(path):
    _override(params, layer)


def _override(params: cfg.ExperimentConfig, layer: yaml_files.Layer, *, note: bool = False) -> None:
  fields = renamed.modernize(layer.fields, note=note)
  fields = _spread(fields, params, layer.source)
  config_overrides.check_overrides(fields, params, layer.source)
  params.override(fields, is_strict=True)


def _spread(fields: Any, params: cfg.ExperimentConfig, source: str) -> Any:
  """Returns the fields with those of `task.data` in each split that does not set its own."""
  task = fields.get("task") if isinstance(fields, Mapping) else None
  if isinstance(params.task, insloc.InsLoc):
    return _with_probe(fields, task)
  if not isinstance(task, Mapping) or _BOTH_SPLITS not in task:
    return fields
  both = task[_BOTH_SPLITS]
  config_overrides.check_overrides(both, params.task.train_data, source, ("task", _BOTH_SPLITS))
  splits = {
    name: {**both, **task.get(name, {})}
    for name in data_validation.DATA
    if isinstance(task.get(name, {}), Mapping)  # Else the check of types refuses it.
  }
  others = {name: value for name, value in task.items() if name != _BOTH_SPLITS}
  return {**fields, "task": {**others, **splits}}


def _with_probe(fields: Any, task: Any) -> Any:
  """Returns the fields of a pretraining with its probe under the name that the task has it by."""
  if not isinstance(task, Mapping) or insloc.PROBE not in task:
    return fields
  others = {name: value for name, value in task.items() if name != insloc.PROBE}
  return {**fields, "task": {_PROBED: task[insloc.PROBE], **others}}


def _follow(params: cfg.ExperimentConfig) -> None:
  """Sets fields that follow others, where nothing else was asked for."""
  task, trainer = params.task, params.trainer
  if not getattr(task, "label_map", "no need"):
    found = (_label_map_next_to(getattr(task, name).input_path) for name in data_validation.DATA)
    task.label_map = next(filter(None, found), "")
  learning_rate = trainer.optimizer_config.learning_rate
  if learning_rate.type in _FALL_TO_THE_END and learning_rate.get().decay_steps is None:
    rate = learning_rate.get()
    rate.decay_steps = trainer.train_steps - (rate.offset or 0)


def _label_map_next_to(input_path: str | list[str]) -> str:
  """The label map in the folder of the first records; empty if none are named."""
  first = input_path if isinstance(input_path, str) else next(iter(input_path), "")
  is_folder = bool(first) and not first.endswith(".tfrecord") and tf.io.gfile.isdir(first)
  folder = first if is_folder else os.path.dirname(first)
  return os.path.join(folder, _LABEL_MAP) if first else ""
