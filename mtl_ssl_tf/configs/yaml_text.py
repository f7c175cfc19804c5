"""YAML of users in bounded memory and time: plain values alone, and aliases within a size.

An alias repeats a whole value, so that a few lines can hold more values than fit in memory:

  a: &a [x, x, x, x, x, x, x, x, x, x]
  b: &b [*a, *a, *a, *a, *a, *a, *a, *a, *a, *a]
  c: &c [*b, *b, *b, *b, *b, *b, *b, *b, *b, *b]

The size is counted before a value is made. Of types there are YAML's own, none of Python's.
"""

from typing import Any

import yaml
from official.modeling.hyperparams import params_dict

from mtl_ssl_tf.reading import quoting

# A configuration with all its fields has some 20 kB and 1,000 values.
MAX_CHARACTERS = 500_000
MAX_VALUES = 100_000
MAX_DEPTH = 32
MAX_NUMBER_CHARACTERS = 100
# A text counts as a value more each time that it is so many characters longer.
_CHARACTERS_OF_A_VALUE = 100
_MERGE = "tag:yaml.org,2002:merge"
_NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")


class _Loader(yaml.SafeLoader):
  """Reads numbers such as 1e-4 as Model Garden's loader does, and none of Python's types."""

  yaml_implicit_resolvers = params_dict._LOADER.yaml_implicit_resolvers


def parse(text: str, source: str) -> Any:
  """The value that a YAML text holds.

  Raises:
    ValueError: naming the source; it is no YAML, or exceeds a bound.
  """
  if len(text) > MAX_CHARACTERS:
    raise ValueError(f"{source}: {len(text)} characters; accepted: at most {MAX_CHARACTERS}")
  try:
    loader = _Loader(text)  # It refuses characters that YAML does not have.
    node = loader.get_single_node()
    if node is None:
      return None
    _check_depth(node, source)
    _count(node, source, {})
    _check_keys(node, source)
    return loader.construct_document(node)
  except _BoundError:
    raise
  except RecursionError as error:
    raise _too_deep(source) from error
  except Exception as error:  # The types' own constructors may raise nearly anything.
    raise ValueError(f"{source}: not YAML ({quoting.one_line(str(error))})") from error


class _BoundError(ValueError):
  """A text that is YAML, but too large or not of one meaning."""


def _too_deep(source: str) -> _BoundError:
  return _BoundError(f"{source}: values inside each other; accepted: at most {MAX_DEPTH} levels")


def _check_depth(node: yaml.Node, source: str) -> None:
  """Refuses a value that goes down too far, or leads back to itself."""
  level = {id(node): node}
  for _ in range(MAX_DEPTH):
    # Each node once a level: it may be there many times.
    inside = (part for outer in level.values() for part in _parts(outer))
    level = {id(part): part for part in inside if isinstance(part, yaml.CollectionNode)}
    if not level:
      return
  raise _too_deep(source)


def _count(node: yaml.Node, source: str, counts: dict[int, int]) -> int:
  """The number of values in one, those of aliases each time; `counts` has those of nodes."""
  if id(node) not in counts:
    number = 1 + sum(_count(part, source, counts) for part in _parts(node))
    if isinstance(node, yaml.ScalarNode):
      number += len(node.value) // _CHARACTERS_OF_A_VALUE
      if node.tag in _NUMBERS and len(node.value) > MAX_NUMBER_CHARACTERS:
        raise _BoundError(
          f"{source}: {quoting.one_line(node.value[:20])}… is a number of {len(node.value)}"
          f" characters; accepted: at most {MAX_NUMBER_CHARACTERS}"
        )
    if number > MAX_VALUES:
      raise _BoundError(
        f"{source}: too many values, those that aliases repeat included; accepted: at most"
        f" {MAX_VALUES}"
      )
    counts[id(node)] = number
  return counts[id(node)]


def _check_keys(node: yaml.Node, source: str) -> None:
  """Refuses a key that is there twice, of which readers of YAML would take the last."""
  pending, seen = [node], set()
  while pending:
    outer = pending.pop()
    if id(outer) in seen:
      continue
    seen.add(id(outer))
    pending += _parts(outer)
    lines: dict[tuple[str, str], int] = {}
    for key, _ in outer.value if isinstance(outer, yaml.MappingNode) else ():
      if isinstance(key, yaml.ScalarNode) and key.tag != _MERGE:
        place, line = (key.tag, key.value), key.start_mark.line + 1
        if place in lines:
          raise _BoundError(
            f"{source}: {quoting.shown(key.value)} is there twice, in lines {lines[place]} and"
            f" {line}; accepted: each field once"
          )
        lines[place] = line


def _parts(node: yaml.Node) -> list[yaml.Node]:
  """The nodes inside a node, keys included."""
  if isinstance(node, yaml.MappingNode):
    return [part for pair in node.value for part in pair]
  return node.value if isinstance(node, yaml.SequenceNode) else []
