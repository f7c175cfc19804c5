"""Fields of configurations: a default, a word about it, and which values are accepted.

  depth: int = fields.setting(512, "channels of the network's own layer", bounds=ranges.CHANNELS)

Fields of Model Garden's have their ranges in `model_garden`. `check` reads what is accepted from
the declaration or from there, `reference` makes docs/configuration.md from both, and modules that
need the accepted values take them from the declaration (`choices_of`). Packages that do not import
configurations (`ops`, `evaluation`, `checkpoints`) have names of their own, which tests compare
with it.
"""

import copy
import dataclasses
from collections.abc import Iterator
from typing import Any

from official.modeling import hyperparams

from mtl_ssl_tf.configs import model_garden, ranges
from mtl_ssl_tf.reading import quoting

_HELP, _CHOICES, _BOUNDS, _GROUP = "help", "choices", "bounds", "group"


def setting(
  default: Any,
  help: str,
  *,
  choices: tuple | None = None,
  bounds: ranges.Range | ranges.ListOf | None = None,
) -> Any:
  """Returns a dataclass field.

  Args:
    default: its value unless something else is asked for; lists are copied.
    help: what it does, for the reader of the configuration reference.
    choices: the values that are accepted; None accepts all of the field's type.
    bounds: the accepted numbers; every field that holds numbers needs them.
  """
  metadata = {_HELP: help, _CHOICES: choices, _BOUNDS: bounds}
  if isinstance(default, list):
    return dataclasses.field(default_factory=lambda: list(default), metadata=metadata)
  return dataclasses.field(default=default, metadata=metadata)


def group(cls: type[hyperparams.Config], help: str, **values: Any) -> Any:
  """Returns a dataclass field that holds a configuration of its own, with `values` set."""
  return dataclasses.field(
    default_factory=lambda: cls(**copy.deepcopy(values)), metadata={_HELP: help}
  )


def optional_group(cls: type[hyperparams.Config], help: str) -> Any:
  """Returns a dataclass field that is null unless one of the fields of a group is set."""
  return dataclasses.field(default=None, metadata={_HELP: help, _GROUP: cls})


def optional_group_of(field: dataclasses.Field) -> type[hyperparams.Config] | None:
  """The group that an `optional_group` holds if it is set; None of other fields."""
  return field.metadata.get(_GROUP)


def help_of(field: dataclasses.Field) -> str:
  """The word about a field; empty for one that is not ours."""
  return field.metadata.get(_HELP, "")


def choices_of(field: dataclasses.Field) -> tuple | None:
  """The accepted values, where they are listed."""
  return field.metadata.get(_CHOICES)


def bounds_of(
  config: hyperparams.Config | type[hyperparams.Config], field: dataclasses.Field
) -> ranges.Range | ranges.ListOf | None:
  """The accepted numbers of a field of `config`, ours or Model Garden's, where it holds any."""
  declared = field.metadata.get(_BOUNDS)
  if declared is not None:
    return declared
  cls = config if isinstance(config, type) else type(config)
  return model_garden.range_of(cls, field.name)


def field_of(config: hyperparams.Config | type[hyperparams.Config], name: str) -> dataclasses.Field:
  """The field of that name."""
  return next(field for field in dataclasses.fields(config) if field.name == name)


def walk(
  config: hyperparams.Config, path: str = ""
) -> Iterator[tuple[str, hyperparams.Config, dataclasses.Field]]:
  """Every field but groups: its whole name, the group that it lies in, and the field."""
  for field in dataclasses.fields(config):
    value, whole = getattr(config, field.name), f"{path}{field.name}"
    if isinstance(value, hyperparams.Config):
      yield from walk(value, f"{whole}.")
    else:
      yield whole, config, field


def check(config: hyperparams.Config, path: str) -> None:
  """Refuses values that a field does not accept.

  Args:
    config: all of its fields are checked, and those of its groups.
    path: its own name, for messages.

  Raises:
    ValueError: naming the field, its value and what is accepted.
  """
  for whole, group_config, field in walk(config, f"{path}."):
    _check(group_config, field, whole, getattr(group_config, field.name))


def check_value(
  config: hyperparams.Config | type[hyperparams.Config], name: str, value: Any
) -> None:
  """Refuses a value that a field does not accept, in code that knows the field but no path.

  Raises:
    ValueError: naming the field, the value and what is accepted.
  """
  _check(config, field_of(config, name), name, value)


def _check(
  config: hyperparams.Config | type[hyperparams.Config],
  field: dataclasses.Field,
  name: str,
  value: Any,
) -> None:
  choices, bounds = choices_of(field), bounds_of(config, field)
  accepted = None
  if choices is not None and value not in choices:
    accepted = ", ".join("null" if choice is None else str(choice) for choice in choices)
  elif bounds is not None:
    accepted = bounds.refusal(value)
  if accepted is not None:
    raise ValueError(f"{name} is {quoting.shown(value)}; accepted: {accepted}")
