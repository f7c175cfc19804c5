"""Checks the fields of a YAML file or a flag against those of the configuration."""

import collections.abc
import difflib
import types
import typing
from collections.abc import Mapping
from typing import Any

from official.modeling import hyperparams

from mtl_ssl_tf.reading import quoting

_TYPE_NAMES = {
  bool: "true or false",
  int: "a whole number",
  float: "a number",
  str: "text",
  types.NoneType: "null",
}

_LENGTH = (
  "the length of a training is trainer.train_steps: epochs times images by global_batch_size"
)
# Fields that users of other detectors look for, and what there is in their place.
_ELSEWHERE = {
  "num_classes": "classes are the lines of the label map, task.label_map",
  "class_names": "classes are the lines of the label map, task.label_map",
  "epochs": _LENGTH,
  "num_epochs": _LENGTH,
  "train_epochs": _LENGTH,
}


def check_overrides(
  overrides: Any, config: hyperparams.Config, source: str, path: tuple[str, ...] = ()
) -> None:
  """Refuses fields that the configuration does not have, and values of another type.

  Args:
    overrides: nested mapping, as read from a YAML file.
    config: what it is to override.
    source: where it comes from, for the message.
    path: of the fields that lead to `config`.

  Raises:
    ValueError: naming the source, the whole field and the nearest one that exists, or the value
      and the accepted type.
  """
  if not isinstance(overrides, Mapping):
    where = f"field {quoting.shown('.'.join(path))}" if path else "the whole"
    raise ValueError(
      f"{source}: {where} is {quoting.shown(overrides)}; accepted: a mapping of field to value"
    )
  # Not `as_dict`, which hides the alternatives that are not chosen.
  known = [name for name in vars(config) if name not in config.RESERVED_ATTR]
  hints = typing.get_type_hints(type(config))
  for key, value in overrides.items():
    full = ".".join((*path, str(key)))
    if key not in known:
      if key in _ELSEWHERE:
        raise ValueError(f"{source}: unknown field {quoting.shown(full)}; {_ELSEWHERE[key]}")
      # Comparing takes a time that grows with the square of the length.
      nearest = difflib.get_close_matches(str(key)[:100], known, n=1, cutoff=0.0)
      hint = ".".join((*path, nearest[0])) if nearest else "none"
      raise ValueError(
        f"{source}: unknown field {quoting.shown(full)}; the nearest is {quoting.shown(hint)}"
        f" (here: {', '.join(known)})"
      )
    hint = hints.get(key, Any)
    current = getattr(config, key)
    if current is None and isinstance(value, Mapping):
      # A group of fields that is absent by default, such as `ema`.
      groups = [option for option in _options(hint) if _is_group(option)]
      current = groups[0]() if groups else None
    if isinstance(current, hyperparams.Config) and not _accepts(hint, value):
      check_overrides(value, current, source, (*path, str(key)))
    elif not _accepts(hint, value):
      raise ValueError(
        f"{source}: field {quoting.shown(full)} is {quoting.shown(value)}; accepted:"
        f" {_describe(hint)}"
      )
    elif isinstance(config, hyperparams.OneOfConfig) and key == "type":
      alternatives = [name for name in known if name != "type"]
      if value is not None and value not in alternatives:
        raise ValueError(
          f"{source}: field {quoting.shown(full)} is {quoting.shown(value)}; accepted:"
          f" {', '.join(alternatives)}"
        )


def _options(hint: Any) -> tuple:
  """Returns the types of a union, or the type itself."""
  is_union = typing.get_origin(hint) in (typing.Union, types.UnionType)
  return typing.get_args(hint) if is_union else (hint,)


def _is_group(option: Any) -> bool:
  return isinstance(option, type) and issubclass(option, hyperparams.Config)


def _accepts(hint: Any, value: Any) -> bool:
  """Whether a value that is no group of fields is of the annotated type."""
  for option in _options(hint):
    if option is Any:
      return True
    if typing.get_origin(option) in (list, tuple, collections.abc.Sequence):
      element = typing.get_args(option)[0]
      if isinstance(value, list | tuple) and all(_accepts(element, entry) for entry in value):
        return True
    elif option in (int, float):
      # A bool is an int to Python, and every whole number will do where a number is asked for.
      if isinstance(value, int if option is int else int | float) and not isinstance(value, bool):
        return True
    elif not _is_group(option) and isinstance(value, option):
      return True
  return False


def _describe(hint: Any) -> str:
  """Returns what `_accepts` accepts, in words."""
  words = []
  for option in _options(hint):
    if typing.get_origin(option) in (list, tuple, collections.abc.Sequence):
      words.append(f"a list ({_describe(typing.get_args(option)[0])} each)")
    elif not _is_group(option):
      words.append(_TYPE_NAMES.get(option, str(option)))
  return " or ".join(words)
