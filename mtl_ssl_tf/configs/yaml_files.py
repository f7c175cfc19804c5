"""Reads YAML files and the ones that they are put together from.

A file may begin with a list of others, by a path from its own folder or an absolute one:

  base: [../parts/data/voc07.yaml, ../parts/models/frcnn_resnet101.yaml]

The fields of a later one win over those of an earlier one, and the file's own over all of them. A
base may have bases in turn. One that is reached twice counts once, where it is reached first.
"""

import os
from typing import Any, NamedTuple

from mtl_ssl_tf.configs import yaml_text
from mtl_ssl_tf.reading import quoting, regular_files

BASE = "base"
_MAX_BYTES = 4 * yaml_text.MAX_CHARACTERS  # UTF-8 has up to four bytes a character.


class Layer(NamedTuple):
  """Fields of one file.

  Attributes:
    source: where they come from, for messages.
    fields: nested mapping of field to value, or whatever else the file holds; without bases.
  """

  source: str
  fields: Any


def read(path: str) -> list[Layer]:
  """Returns the bases of a file and the file itself, in the order in which they are to be applied.

  Raises:
    ValueError: naming the file, and its base if that is at fault.
  """
  path = _plain(path)
  return _read(path, (path,), set())


def read_alone(path: str) -> Layer:
  """Returns a file that has no bases, such as one that a run wrote; no other file is read.

  Raises:
    ValueError: naming the file.
  """
  path = _plain(path)
  layer = Layer(path, yaml_text.parse(_text(path, (path,)), path))
  if isinstance(layer.fields, dict) and BASE in layer.fields:
    raise ValueError(
      f"{path}: field {BASE!r} is {quoting.shown(layer.fields[BASE])}; accepted: none, as in the"
      " file that a run wrote"
    )
  return layer


def _read(path: str, chain: tuple[str, ...], seen: set[str]) -> list[Layer]:
  """`read` of a file that `chain` leads to, without the files `seen` before."""
  seen.add(path)
  fields = yaml_text.parse(_text(path, chain), path)
  if not isinstance(fields, dict) or BASE not in fields:
    return [Layer(path, fields)]
  layers = []
  for base in _bases(path, fields.pop(BASE)):
    if base in chain:
      circle = " -> ".join((*chain[chain.index(base) :], base))
      raise ValueError(f"{path}: field {BASE!r} leads back to itself: {circle}")
    if base not in seen:
      layers += _read(base, (*chain, base), seen)
  return [*layers, Layer(path, fields)]


def _text(path: str, chain: tuple[str, ...]) -> str:
  """The text of a file that `chain` leads to.

  Raises:
    ValueError: naming the file, and the one that has it as its base.
  """
  try:
    return regular_files.read_text(path, _MAX_BYTES)
  except (OSError, UnicodeDecodeError) as error:
    reason = error.strerror if isinstance(error, OSError) else "no UTF-8 text"
    problem = f"{path}: cannot be read ({reason})"
    if len(chain) > 1:
      problem = f"{chain[-2]}: field {BASE!r} names {problem}"
    raise ValueError(problem) from error


def _bases(path: str, names: Any) -> list[str]:
  """Paths of the files that a file at `path` names as its bases."""
  names = [names] if isinstance(names, str) else names
  if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
    raise ValueError(
      f"{path}: field {BASE!r} is {quoting.shown(names)}; accepted: a list of YAML files"
    )
  return [_plain(os.path.join(os.path.dirname(path), name)) for name in names]


def _plain(path: str) -> str:
  """Returns the path without detours, so that each file has one; addresses are left alone."""
  return path if "://" in path else os.path.normpath(path)
