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
there. Misspelt fields and values that are not accepted are refused before anything is built. Every
number has a range, which its field declares, or `mtl_ssl_tf/configs/model_garden.py` for fields of
Model Garden's. No range has room for NaN or infinity.
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
  "trainer": """Learning rates (`optimizer_config.learning_rate`, by default `stepwise`), warm-up
and the other optimizers are Model Garden's. A learning rate and a warm-up that are chosen need a
value for each of their fields. `decay_steps` of a cosine or polynomial rate is `train_steps`, less
its `offset`, unless it is set. `stepwise` has one more of `values` than of `boundaries`, which
rise; `step_cosine_with_offset` as many, and its last boundary is not before the end of the run.
""",
  "runtime": """`num_gpus`, `worker_hosts` and `task_index` are checked against the machine, too.
""",
}
_THEIRS = """### Numbers of Model Garden's in `{section}`

These keep Model Garden's meaning and defaults, as do fields that are no numbers and not listed.

| field | of | accepted |
|---|---|---|
"""


def text() -> str:
  """The whole page."""
  params = experiments.mtl_frcnn()
  parts = [_HEAD]
  for section, sentence in _SECTIONS.items():
    parts += [f"## {section}\n", f"{sentence}\n"]
    for path, config in _groups_of(section, getattr(params, section)):
      parts += _section(path, config)
    parts.append(_TAILS[section])
    if section != "task":  # Its data alone has fields of Model Garden's, and those are unused.
      parts.append(_theirs(section, getattr(params, section)))
  known = {type(config) for _, config in _groups(params.task, "task")}
  parts.append(_PRETRAINING)
  for path, config in _groups(experiments.insloc_c4().task, "task"):
    if type(config) not in known:
      parts += _section(path, config)
  return "\n".join(parts).rstrip("\n") + "\n"


def _theirs(section: str, config: hyperparams.Config) -> str:
  """A table of Model Garden's numbers in a section; those of one name and range share a row."""
  rows: dict[tuple[str, str], list[str]] = {}
  for path, group, field in fields.walk(config):
    bounds = fields.bounds_of(group, field)
    if bounds is not None and not fields.help_of(field):
      of = path.rpartition(".")[0].removeprefix("optimizer_config.")
      rows.setdefault((field.name, bounds.text), []).append(f"`{of or section}`")
  lines = [
    f"| `{name}` | {', '.join(groups)} | {accepted} |"
    for (name, accepted), groups in sorted(rows.items())
  ]
  return _THEIRS.format(section=section) + "\n".join(lines) + "\n"


def _section(path: str, config: hyperparams.Config) -> list[str]:
  first_line = type(config).__doc__.strip().split("\n")[0]
  return [f"### `{path}`\n", f"{first_line}\n", *_table(config), ""]


def _groups_of(section: str, config: hyperparams.Config) -> Iterator[tuple[str, Any]]:
  """`_groups` of a section, with those that some experiments alone have."""
  yield from _groups(config, section)
  if section == "task":
    yield from _groups(experiments.mtl_frcnn_co_mining().task.mining, "task.mining")


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
    accepted = _accepted(config, field)
    rows.append(f"| `{field.name}` | {default} | {accepted} | {fields.help_of(field)} |")
  return rows


def _accepted(config: hyperparams.Config, field: dataclasses.Field) -> str:
  choices, bounds = fields.choices_of(field), fields.bounds_of(config, field)
  if choices is not None:
    return ", ".join(_yaml(choice) for choice in choices)
  return "" if bounds is None else bounds.text


def _yaml(value: Any) -> str:
  if value is None or isinstance(value, bool):
    return f"`{'null' if value is None else str(value).lower()}`"
  if isinstance(value, list):
    return f"`[{', '.join(map(str, value))}]`"
  return f"`{value}`" if value != "" else "empty"


if __name__ == "__main__":
  print(text(), end="")
