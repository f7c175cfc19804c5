"""JSON that others wrote, in bounded depth, with numbers of bounded length and checked types.

content = json_text.read(path)
json_text.check(content, {"shards": [{"file": str, "num_images": int}]}, path)
"""

import json
import math
import os
from collections.abc import Mapping
from typing import Any, NoReturn

from mtl_ssl_tf.reading import quoting, regular_files

# Of objects and lists in each other. Polygons of a COCO file, the deepest that we know, take 6.
MAX_DEPTH = 32
# Far more than a float64 or an int64 has; any number of that length is still finite.
MAX_NUMBER_CHARACTERS = 100
# Annotations and results of the largest data sets have some hundred megabytes.
MAX_DATA_BYTES = 2 * 2**30
_ACCEPTED = "a JSON file in UTF-8"
_WORDS = {
  str: "text",
  int: "a whole number of 64 bits",
  float: "a finite number",
  bool: "true or false",
  dict: "an object",
  list: "a list",
}


def read(path: str | os.PathLike[str], max_bytes: int = regular_files.MAX_BYTES) -> Any:
  """The content of a JSON file, local or remote.

  Args:
    path: of the file.
    max_bytes: the largest size that is accepted.

  Raises:
    OSError: it cannot be read, is no regular file or is larger.
    ValueError: it is no JSON or exceeds a bound, naming the file.
  """
  content = regular_files.read_bytes(path, max_bytes)
  try:
    return loads(content)
  except ValueError as error:
    raise ValueError(f"{os.fspath(path)}: no JSON ({error}); accepted: {_ACCEPTED}") from error


def loads(text: bytes | str) -> Any:
  """The content of a JSON text.

  Raises:
    ValueError: it is no JSON, or exceeds a bound, in words without the name of a file.
  """
  try:
    content = json.loads(text, parse_int=_integer, parse_float=_float)
  except RecursionError:
    raise _too_deep() from None
  except UnicodeDecodeError as error:
    raise ValueError(f"{error.reason} at byte {error.start}") from error
  except json.JSONDecodeError as error:
    raise ValueError(quoting.one_line(str(error))) from error
  _check_depth(content)
  return content


def check(value: Any, pattern: Any, where: str | os.PathLike[str]) -> None:
  """Refuses a value whose types are not those of a pattern.

  Args:
    value: of a JSON text.
    pattern: a type, of which `int` accepts whole numbers of 64 bits and `float` finite numbers; a
      tuple of alternatives, in which None is null; `[pattern]` for a list of such values;
      `{"key": pattern}` for an object with at least these keys, of which one with `?` at its end
      may be missing; `{str: pattern}` for an object with any keys and such values.
    where: what the value is, for the message, such as the path of the file.

  Raises:
    ValueError: naming the place, the value and what is accepted.
  """
  _check(value, pattern, os.fspath(where))


def is_number(value: Any) -> bool:
  """Whether a JSON value is a finite number; `true` is none, nor an integer beyond float64."""
  if isinstance(value, bool) or not isinstance(value, int | float):
    return False
  try:
    return math.isfinite(value)
  except OverflowError:
    return False


def _integer(digits: str) -> int:
  _check_length(digits)
  return int(digits)


def _float(digits: str) -> float:
  _check_length(digits)
  return float(digits)


def _check_length(digits: str) -> None:
  if len(digits) > MAX_NUMBER_CHARACTERS:
    raise ValueError(
      f"a number of {len(digits)} characters, {digits[:20]}…; at most {MAX_NUMBER_CHARACTERS}"
    )


def _check_depth(content: Any) -> None:
  """Goes down level by level: the cost is that of a look at each value."""
  level, depth = [content], 0
  while level := [value for value in level if isinstance(value, dict | list)]:
    depth += 1
    if depth > MAX_DEPTH:
      raise _too_deep()
    level = [
      value
      for part in level
      for value in (part.values() if isinstance(part, dict) else part)
      if isinstance(value, dict | list)
    ]


def _too_deep() -> ValueError:
  return ValueError(f"objects and lists in each other; at most {MAX_DEPTH} levels")


def _check(value: Any, pattern: Any, where: str) -> None:
  if isinstance(pattern, tuple):
    _check_alternatives(value, pattern, where)
  elif isinstance(pattern, list):
    if not isinstance(value, list):
      _refuse(value, list, where)
    for number, entry in enumerate(value, start=1):
      _check(entry, pattern[0], f"{where}: entry {number}")
  elif isinstance(pattern, Mapping):
    if not isinstance(value, dict):
      _refuse(value, dict, where)
    for key, inner in pattern.items():
      if key is str:
        for name, entry in value.items():
          _check(entry, inner, f"{where}: {quoting.one_line(name)}")
      elif key.removesuffix("?") in value:
        name = key.removesuffix("?")
        _check(value[name], inner, f"{where}: {name}")
      elif not key.endswith("?"):
        raise ValueError(f"{where}: {key} is missing; accepted: {_describe(inner)}")
  elif not _is_of(value, pattern):
    _refuse(value, pattern, where)


def _check_alternatives(value: Any, patterns: tuple, where: str) -> None:
  """Checks by the alternative of the value's own kind, whose message says most."""
  for pattern in patterns:
    kind = type(pattern) if isinstance(pattern, dict | list) else pattern
    if _is_of(value, kind):
      _check(value, pattern, where)
      return
  _refuse(value, patterns, where)


def _is_of(value: Any, kind: type | None) -> bool:
  if kind is None:
    return value is None
  if kind is float:
    return is_number(value)
  if kind is int:
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    return is_whole and -(2**63) <= value < 2**63
  return isinstance(value, kind)


def _refuse(value: Any, pattern: Any, where: str) -> NoReturn:
  shown = "null" if value is None else quoting.shown(value)
  raise ValueError(f"{where} is {shown}; accepted: {_describe(pattern)}")


def _describe(pattern: Any) -> str:
  if isinstance(pattern, tuple):
    return " or ".join(map(_describe, pattern))
  if isinstance(pattern, list | Mapping):
    pattern = list if isinstance(pattern, list) else dict
  return "null" if pattern is None else _WORDS[pattern]
