"""Findings: obstacles to a compiled run, each with the field of the configuration that fixes it."""

import dataclasses
from typing import Any

FAILURE, WARNING = "no-go", "warning"


@dataclasses.dataclass(frozen=True)
class Finding:
  """An obstacle or a warning, with the field to change.

  Attributes:
    level: `FAILURE`, or `WARNING` for what does not stop a run.
    kind: what was checked: `host_op`, `dynamic_shape`, `compilation`, `recompilation`, `memory`,
      `batch_size`, `records` or `runtime`.
    field: of the configuration, with dots; empty where none is to blame but the code.
    value: what was found.
    accepted: what would be right.
  """

  level: str
  kind: str
  field: str
  value: str
  accepted: str

  def __str__(self) -> str:
    field = f"{self.field}: " if self.field else ""
    return f"{self.level} {self.kind}: {field}{self.value}; accepted: {self.accepted}"

  def as_dict(self) -> dict[str, Any]:
    """Returns the values for JSON."""
    return dataclasses.asdict(self)
