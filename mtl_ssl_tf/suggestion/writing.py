"""Settings as a YAML file that `train.py` takes, with the reason of each as a comment."""

import json
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from mtl_ssl_tf.suggestion import choices

_WIDTH = 96


def text(
  head: Sequence[str], base: str, paths: Mapping[str, Any], settings: Sequence[choices.Setting]
) -> str:
  """Returns the content of the file.

  Args:
    head: sentences at the top, a comment.
    base: preset that the file starts from, relative to its folder.
    paths: field with dots -> value, of the data; without a reason.
    settings: groups of them may repeat.
  """
  lines = [f"# {line}" for line in textwrap.wrap(" ".join(head), _WIDTH)]
  lines.append(f"base: [{json.dumps(base)}]")
  tree: dict[str, Any] = {}
  for path, value in paths.items():
    *groups, field = path.split(".")
    _group(tree, groups).setdefault("", []).append(([], {field: value}))
  for setting in settings:
    entries = _group(tree, setting.path.split(".")).setdefault("", [])
    entries.append((textwrap.wrap(setting.reason, _WIDTH), setting.fields))
  return "\n".join(lines + _lines(tree, 0)) + "\n"


def _group(tree: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
  for name in names:
    tree = tree.setdefault(name, {})
  return tree


def _lines(tree: Mapping[str, Any], depth: int) -> list[str]:
  """Returns the lines of a group: its own fields under "", then its groups."""
  indent, lines = "  " * depth, []
  for comment, fields in tree.get("", []):
    lines += [f"{indent}# {line}" for line in comment]
    lines += [f"{indent}{name}: {json.dumps(value)}" for name, value in fields.items()]
  for name, group in tree.items():
    if name:
      lines += [f"{indent}{name}:", *_lines(group, depth + 1)]
  return lines
