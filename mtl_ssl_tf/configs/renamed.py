"""Fields of earlier versions under today's names, so that runs made with them can go on."""

from collections.abc import Mapping
from typing import Any

_DATA = ("train_data", "validation_data")


def modernize(fields: Any) -> Any:
  """What a YAML file asks to change, in today's words; the rest as it is.

  `use_difficult` of the data became `difficult`, which has a third answer. `shuffle_buffer_size` is
  left out: an epoch mixes all records now, more than any buffer did.

  Args:
    fields: nested mapping, as read from a YAML file; anything else is given back.
  """
  task = fields.get("task") if isinstance(fields, Mapping) else None
  if not isinstance(task, Mapping):
    return fields
  task = dict(task)
  for name in _DATA:
    data = task.get(name)
    # Of another type, it is left for the check of types to tell.
    if not isinstance(data, Mapping):
      continue
    data = {field: value for field, value in data.items() if field != "shuffle_buffer_size"}
    if isinstance(data.get("use_difficult"), bool):
      mode = "keep" if data.pop("use_difficult") else "drop"
      data = {"difficult": mode, **data}
    task[name] = data
  return {**fields, "task": task}
