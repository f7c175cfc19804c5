"""Fields of earlier versions under today's names, so that runs made with them can continue."""

import dataclasses
import functools
import logging
from collections.abc import Mapping
from typing import Any

_LOGGER = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class _Field:
  """Today's name of a field, and of those of its values that were renamed.

  Attributes:
    name: of the field.
    values: by earlier value. Any other value is kept, and is checked under the new name.
    kind: type of the values that belong to the earlier field; with another one it is not renamed.
  """

  name: str
  values: Mapping[Any, str] = dataclasses.field(default_factory=dict)
  kind: type = object


# By earlier name; None is dropped.
_DATA = {
  # An epoch mixes all records now, more than any buffer did.
  "shuffle_buffer_size": None,
  "use_difficult": _Field("difficult", {True: "keep", False: "drop"}, bool),
  "canvas": _Field("input_layout", {"square": "single", "aspect_buckets": "by_orientation"}, str),
  "canvas_size": _Field("input_size"),
}
_AUXILIARY = {
  "trunk": _Field("features", {"own": "own_stage2", "classifier_features": "main_head"}, str)
}
# By group of `task`; `data` sets both splits, see `loading`.
_RENAMED = {
  "train_data": _DATA,
  "validation_data": _DATA,
  "data": _DATA,
  "auxiliary": _AUXILIARY,
}


def modernize(fields: Any, *, note: bool = False) -> Any:
  """Returns the fields of a YAML file, with earlier names and values replaced by today's.

  Args:
    fields: nested mapping, as read from a YAML file; anything else is given back.
    note: log a warning about each earlier name, once: for files that people write.
  """
  task = fields.get("task") if isinstance(fields, Mapping) else None
  if not isinstance(task, Mapping):
    return fields
  task = dict(task)
  for name, renamed in _RENAMED.items():
    group = task.get(name)
    # The check of types reports a group of another type.
    if isinstance(group, Mapping):
      task[name] = _modernize_group(group, renamed, f"task.{name}", note)
  return {**fields, "task": task}


def _modernize_group(
  group: Mapping[str, Any], renamed: Mapping[str, _Field | None], path: str, note: bool
) -> dict[str, Any]:
  modern = {name: value for name, value in group.items() if renamed.get(name, name) is not None}
  for old, field in renamed.items():
    if field is None or old not in modern or not isinstance(modern[old], field.kind):
      continue
    before = modern.pop(old)
    after = next((new for value, new in field.values.items() if value == before), before)
    if note:
      _note(f"{path}.{old}: {_yaml(before)}", f"{path}.{field.name}: {_yaml(after)}")
    # A value under today's name counts.
    modern = {field.name: after, **modern}
  return modern


@functools.cache
def _note(old: str, new: str) -> None:
  _LOGGER.warning("%s is an earlier name; write %s", old, new)


def _yaml(value: Any) -> str:
  return str(value).lower() if isinstance(value, bool) else str(value)
