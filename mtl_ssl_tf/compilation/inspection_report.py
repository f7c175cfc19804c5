"""The report of an inspection, as text for people and as JSON for programs."""

import dataclasses
from typing import Any

from mtl_ssl_tf.compilation import batch_limit, memory
from mtl_ssl_tf.compilation.accelerators import Accelerator
from mtl_ssl_tf.compilation.findings import FAILURE, Finding

_LIMITS = (
  "The step was compiled for this machine's processor. An accelerator's compiler pads and fuses"
  " otherwise, so its memory may differ; the margin is for that."
)
_PARTS = ("parameters", "optimizer", "gradients", "activations", "batch", "results")


@dataclasses.dataclass
class InspectionReport:
  """The figures and findings of a step on an accelerator; fields are None where unknown.

  Attributes:
    margin: share of a core's memory that is to stay free.
    batch_per_core: images.
    num_signatures: kinds of batches, by shapes and types, among `num_batches` of the records.
    num_traces: of the step for these.
    needed: memory for `batch_per_core` images.
    limit: the largest batch.
  """

  accelerator: Accelerator
  margin: float
  batch_per_core: int
  global_batch_size: int = 0
  precision: str = "float32"
  image_shape: tuple[int, int] | None = None
  findings: list[Finding] = dataclasses.field(default_factory=list)
  num_batches: int = 0
  num_signatures: int | None = None
  num_traces: int | None = None
  num_operations: int | None = None
  trace_s: float | None = None
  compile_s: float | None = None
  needed: memory.Memory | None = None
  limit: batch_limit.BatchLimit | None = None

  @property
  def available_bytes(self) -> float:
    """Bytes of a core's memory that a step may take."""
    return self.accelerator.bytes_per_core * (1.0 - self.margin)

  @property
  def image_size(self) -> str:
    """Height and width of the network input, in words."""
    return " × ".join(map(str, self.image_shape or ("?", "?")))

  @property
  def passes(self) -> bool:
    """Whether no finding prevents the run."""
    return not any(finding.level == FAILURE for finding in self.findings)

  def text(self) -> str:
    """Returns the whole report as text."""
    lines = [
      f"accelerator  {self.accelerator.name}: {_count(self.accelerator.num_cores, 'core')} of"
      f" {memory.gib(self.accelerator.bytes_per_core)}, of which"
      f" {memory.gib(self.available_bytes)} may be used (margin {self.margin:.0%})",
      f"batch        {self.global_batch_size}: {self.batch_per_core} a core, images"
      f" {self.image_size}, {self.precision}",
    ]
    if self.num_traces is not None:
      lines.append(f"step         {self.num_operations} operations, traced in {self.trace_s:.0f} s")
    if self.num_signatures is not None:
      lines.append(
        f"batches      {self.num_batches} of the records: kinds by shape {self.num_signatures},"
        f" traces {self.num_traces}"
      )
    if self.needed is not None:
      lines += ["memory of a core", *self._memory_lines()]
    if self.limit is not None:
      lines.append(self._limit_line())
    lines.append(f"findings     {len(self.findings) or 'none'}")
    lines += [f"  {finding}" for finding in self.findings]
    if self.needed is not None:
      lines.append(_LIMITS)
      if self.precision != "float32":
        lines.append(
          "Processors compute much of 16-bit arithmetic in float32, so that this estimate is high."
        )
    return "\n".join([*lines, "GO" if self.passes else "NO-GO"])

  def as_dict(self) -> dict[str, Any]:
    """Returns the whole report as values for JSON."""
    values = {
      "go": self.passes,
      "accelerator": dataclasses.asdict(self.accelerator),
      "margin": self.margin,
      "room_bytes": round(self.available_bytes),
      "findings": [finding.as_dict() for finding in self.findings],
    }
    names = (
      "global_batch_size",
      "batch_per_core",
      "image_shape",
      "precision",
      "num_batches",
      "num_signatures",
      "num_traces",
      "num_operations",
      "trace_s",
      "compile_s",
    )
    values |= {name: getattr(self, name) for name in names}
    values["memory"] = values["limit"] = None
    if self.needed is not None:
      values["memory"] = {**dataclasses.asdict(self.needed), "total": self.needed.total}
    if self.limit is not None:
      values["limit"] = dataclasses.asdict(self.limit)
    return values

  def _memory_lines(self) -> list[str]:
    lines = [f"  {name:11}{memory.gib(getattr(self.needed, name)):>12}" for name in _PARTS]
    lines.append(f"  {'total':11}{memory.gib(self.needed.total):>12}")
    lines.append("largest at the peak")
    lines += [
      f"  {memory.gib(holder.num_bytes):>11}  {holder.shape}  {holder.op}"
      for holder in self.needed.holders
    ]
    return lines

  def _limit_line(self) -> str:
    limit, cores = self.limit, self.accelerator.num_cores
    compiled = ", ".join(
      f"{size}: {memory.gib(limit.compiled[size])}" for size in sorted(limit.compiled)
    )
    line = f"largest      {_count(limit.largest, 'image')} a core, {limit.largest * cores} in all"
    if limit.is_largest:
      line += f"; {limit.largest + 1} would take {memory.gib(limit.next_bytes)}"
    else:
      line += "; more may fit"
    return (
      f"{line} (fixed {memory.gib(limit.fixed)}, {memory.gib(limit.per_image)} an image;"
      f" compiled {compiled})"
    )


def _count(number: int, noun: str) -> str:
  return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
