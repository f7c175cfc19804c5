"""Fields of earlier versions under today's names, so that runs made with them can go on."""

import functools
import logging
from collections.abc import Mapping
from typing import Any

_LOGGER = logging.getLogger(__name__)
# The last one sets both splits, see `loading`.
_DATA = ("train_data", "validation_data", "data")
_INPUT_LAYOUTS = {"square": "single", "aspect_buckets": "by_orientation"}


def modernize(fields: Any, *, note: bool = False) -> Any:
  """Returns what a YAML file asks to change under today's names; the rest as it is.

  Of the data, `use_difficult` became `difficult`, which has a third value, and `canvas` became
  `input_layout`. `shuffle_buffer_size` is left out: an epoch mixes all records now, more than any
  buffer did.

  Args:
    fields: nested mapping, as read from a YAML file; anything else is given back.
    note: log what was renamed, once for each name: for files that people write.
  """
  task = fields.get("task") if isinstance(fields, Mapping) else None
  if not isinstance(task, Mapping):
    return fields
  task = dict(task)
  for name in _DATA:
    data = task.get(name)
    # Of another type, it is left for the check of types to tell.
    if isinstance(data, Mapping):
      task[name] = _modernize_data(data, f"task.{name}", note)
  return {**fields, "task": task}


def _modernize_data(data: Mapping[str, Any], path: str, note: bool) -> dict[str, Any]:
  data = {field: value for field, value in data.items() if field != "shuffle_buffer_size"}
  renamed = {}
  if isinstance(data.get("use_difficult"), bool):
    renamed["use_difficult"] = "difficult", "keep" if data["use_difficult"] else "drop"
  # An unknown one keeps its value, which is then refused under the new name.
  if isinstance(data.get("canvas"), str):
    renamed["canvas"] = "input_layout", _INPUT_LAYOUTS.get(data["canvas"], data["canvas"])
  for old, (new, value) in renamed.items():
    if note:
      _note(f"{path}.{old}: {_yaml(data[old])}", f"{path}.{new}: {value}")
    del data[old]
    data = {new: value, **data}
  return data


@functools.cache
def _note(old: str, new: str) -> None:
  _LOGGER.warning("%s is an earlier name; write %s", old, new)


def _yaml(value: Any) -> str:
  return str(value).lower() if isinstance(value, bool) else str(value)
