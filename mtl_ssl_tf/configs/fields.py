"""Fields of configurations: a default, a word about it, and which values are accepted.

  depth: int = fields.setting(512, "channels of the network's own layer", bounds=(1, None))

`check` reads from the declaration what is accepted, `reference` makes docs/configuration.md from
it, and modules that need the accepted values take them from there (`choices_of`). Packages that do
not import configurations (`ops`, `evaluation`, `checkpoints`) have names of their own, which tests
compare with the declaration.
"""

import copy
import dataclasses
from collections.abc import Iterator
from typing import Any

from official.modeling import hyperparams

from mtl_ssl_tf.reading import quoting

_HELP, _CHOICES, _BOUNDS, _GROUP = "help", "choices", "bounds", "group"

# Bounds of many fields.
SHARE = (0.0, 1.0)
WEIGHT = (0.0, None)
COUNT = (1, None)
COUNT_OR_NONE = (0, None)


def setting(
  default: Any,
  help: str,
  *,
  choices: tuple | None = None,
  bounds: tuple[float, float | None] | None = None,
) -> Any:
  """Returns a dataclass field.

  Args:
    default: its value unless something else is asked for; lists are copied.
    help: what it does, for the reader of the configuration reference.
    choices: the values that are accepted; None accepts all of the field's type.
    bounds: smallest and largest accepted number, both included; None is no largest one. A field
      whose smallest one is an int takes whole numbers only.
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


def bounds_of(field: dataclasses.Field) -> tuple[float, float | None] | None:
  """Smallest and largest accepted value, where there are bounds."""
  return field.metadata.get(_BOUNDS)


def field_of(config: hyperparams.Config | type[hyperparams.Config], name: str) -> dataclasses.Field:
  """The field of that name."""
  return next(field for field in dataclasses.fields(config) if field.name == name)


def walk(
  config: hyperparams.Config, path: str = ""
) -> Iterator[tuple[str, dataclasses.Field, Any]]:
  """Every field but groups, with its whole name and its value."""
  for field in dataclasses.fields(config):
    value, whole = getattr(config, field.name), f"{path}{field.name}"
    if isinstance(value, hyperparams.Config):
      yield from walk(value, f"{whole}.")
    else:
      yield whole, field, value


def check(config: hyperparams.Config, path: str) -> None:
  """Refuses values that a field does not accept.

  Args:
    config: all of its fields are checked, and those of its groups.
    path: its own name, for messages.

  Raises:
    ValueError: naming the field, its value and what is accepted.
  """
  for whole, field, value in walk(config, f"{path}."):
    _check(field, whole, value)


def check_value(
  config: hyperparams.Config | type[hyperparams.Config], name: str, value: Any
) -> None:
  """Refuses a value that a field does not accept, in code that knows the field but no path.

  Raises:
    ValueError: naming the field, the value and what is accepted.
  """
  _check(field_of(config, name), name, value)


def _check(field: dataclasses.Field, name: str, value: Any) -> None:
  _check_choice(name, value, choices_of(field))
  bounds = bounds_of(field)
  if bounds is not None:
    _check_bounds(name, value, *bounds)


def _check_choice(name: str, value: Any, choices: tuple | None) -> None:
  if choices is not None and value not in choices:
    accepted = ", ".join("null" if choice is None else str(choice) for choice in choices)
    raise ValueError(f"{name} is {quoting.shown(value)}; accepted: {accepted}")


def _check_bounds(name: str, value: Any, low: float, high: float | None) -> None:
  if isinstance(value, bool) or not isinstance(value, int | float):
    raise ValueError(f"{name} is {quoting.shown(value)}; accepted: a number")
  if isinstance(low, int) and not isinstance(value, int):
    raise ValueError(f"{name} is {quoting.shown(value)}; accepted: a whole number")
  # Written so that NaN is refused too.
  if not (value >= low and (high is None or value <= high)):
    accepted = f"at least {low}" if high is None else f"{low} to {high}"
    raise ValueError(f"{name} is {quoting.shown(value)}; accepted: {accepted}")
