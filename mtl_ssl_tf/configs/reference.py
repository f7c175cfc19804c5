"""Writes docs/configuration.md, the reference of all settings, from their declarations.

python -m mtl_ssl_tf.configs.reference > docs/configuration.md
"""

import dataclasses
from collections.abc import Iterator
from typing import Any

from official.modeling import hyperparams

from mtl_ssl_tf.configs import experiments, fields

_HEAD = """# Configuration

Every setting, its default and what is accepted. `python -m mtl_ssl_tf.configs.reference` writes
this page from the declarations in `mtl_ssl_tf/configs`; a test keeps it current.

A run starts from these defaults, which are the paper's main row. YAML files (`--config_file`) and
`--params_override` change single fields: `task: {rpn: {num_proposals: 100}}`, or for the flag
`task.rpn.num_proposals=100`. A YAML file may also hold

* `base`: a list of files that it starts from, see [`configs/README.md`](../configs/README.md);
* `task.data`: fields of both `task.train_data` and `task.validation_data`, unless one of them sets
  its own.

`task.label_map` and `decay_steps` of a learning rate follow other fields unless they are set: see
there. Misspelt fields and values that are not accepted are refused before anything is built.
"""
_SECTIONS = {
  "task": "The detector, its data and its evaluation.",
  "trainer": "How long a run takes, what it saves and when it ends.",
  "runtime": "Devices, precision and compilation.",
}
_PRETRAINING = """## task of `--experiment=insloc`

Pretraining on images without annotations, see [`pretraining.md`](pretraining.md). `backbone` and
`validation_data` have the fields of a detector's. Its `trainer` is the same with other defaults.
"""
_TAILS = {
  "task": """`validation_data` has the fields of `train_data`; its `is_training` is `false`. Model
Garden's other fields of its data have no effect and must keep their defaults.
""",
  "trainer": """Fields of Model Garden's trainer that are not listed keep their meaning. Learning
rates (`optimizer_config.learning_rate`, by default `stepwise`), warm-up and the other optimizers
are Model Garden's too. `decay_steps` of a cosine or polynomial rate is `train_steps`, less its
`offset`, unless it is set.
""",
  "runtime": """Model Garden's other fields keep their meaning.
""",
}


def text() -> str:
  """The whole page."""
  params = experiments.mtl_frcnn()
  parts = [_HEAD]
  for section, sentence in _SECTIONS.items():
    parts += [f"## {section}\n", f"{sentence}\n"]
    for path, config in _groups(getattr(params, section), section):
      parts += _section(path, config)
    parts.append(_TAILS[section])
  known = {type(config) for _, config in _groups(params.task, "task")}
  parts.append(_PRETRAINING)
  for path, config in _groups(experiments.insloc_c4().task, "task"):
    if type(config) not in known:
      parts += _section(path, config)
  return "\n".join(parts).rstrip("\n") + "\n"


def _section(path: str, config: hyperparams.Config) -> list[str]:
  first_line = type(config).__doc__.strip().split("\n")[0]
  return [f"### `{path}`\n", f"{first_line}\n", *_table(config), ""]


def _groups(config: hyperparams.Config, path: str) -> Iterator[tuple[str, hyperparams.Config]]:
  """Groups with fields of ours, each before its own groups; the second split is left out."""
  if path == "task.validation_data":
    return
  if any(fields.help_of(field) for field in _plain_fields(config)):
    yield path, config
  for field in dataclasses.fields(config):
    value = getattr(config, field.name)
    optional = fields.optional_group_of(field)
    if optional is not None:
      value = optional()
    if isinstance(value, hyperparams.Config):
      yield from _groups(value, f"{path}.{field.name}")


def _plain_fields(config: hyperparams.Config) -> list[dataclasses.Field]:
  return [
    field
    for field in dataclasses.fields(config)
    if fields.help_of(field) and not isinstance(getattr(config, field.name), hyperparams.Config)
  ]


def _table(config: hyperparams.Config) -> list[str]:
  rows = ["| field | default | accepted | meaning |", "|---|---|---|---|"]
  for field in _plain_fields(config):
    default = _yaml(getattr(config, field.name))
    rows.append(f"| `{field.name}` | {default} | {_accepted(field)} | {fields.help_of(field)} |")
  return rows


def _accepted(field: dataclasses.Field) -> str:
  choices, bounds = fields.choices_of(field), fields.bounds_of(field)
  if choices is not None:
    return ", ".join(_yaml(choice) for choice in choices)
  if bounds is None:
    return ""
  low, high = bounds
  return f"at least {low}" if high is None else f"{low} to {high}"


def _yaml(value: Any) -> str:
  if value is None or isinstance(value, bool):
    return f"`{'null' if value is None else str(value).lower()}`"
  if isinstance(value, list):
    return f"`[{', '.join(map(str, value))}]`"
  return f"`{value}`" if value != "" else "empty"


if __name__ == "__main__":
  print(text(), end="")
