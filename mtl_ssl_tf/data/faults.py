"""Faults of source files, described so that the owner can find and fix them."""

import collections
import dataclasses
import re
from collections.abc import Iterable, Sequence

from mtl_ssl_tf import texts
from mtl_ssl_tf.reading import quoting

_MAX_LISTED = 20
_MAX_OF_A_KIND = 20


@dataclasses.dataclass(frozen=True, slots=True)
class Fault:
  """One fault, by file, object and field; of an object if it has an `object_number`.

  Attributes:
    file: path inside the data set.
    field: the faulty field of the file.
    value: the value that was found; outside text goes through `quote`.
    accepted: values that would have been right.
    object_number: place of the object in its file, counted from 1.
    object_name: the file's name of the object, in quotes.
  """

  file: str
  field: str
  value: str
  accepted: str
  object_number: int | None = None
  object_name: str | None = None

  def __str__(self) -> str:
    where = "" if self.object_number is None else f"object {self.object_number} "
    where += "" if self.object_name is None else f"({self.object_name}) "
    text = f"{self.file}: {where}{self.field}: {self.value}; accepted: {self.accepted}"
    return texts.escaped(text)


class FaultError(texts.LinesError):
  """Faults that stand in the way of a result; its text has the first ones of each kind."""

  def __init__(self, faults: Iterable[Fault]):
    self.faults = tuple(faults)
    super().__init__(*digest(self.faults))


def kind(fault: Fault) -> str:
  """The field of a fault without numbers and subfields, one word for all faults of its like."""
  return "_".join(re.findall(r"[^\W\d]\w*", re.split("[/,]", fault.field)[0]))


def digest(found: Sequence[Fault]) -> list[str]:
  """Lines with the first faults of each kind, in order, and the counts of the others."""
  counts: collections.Counter[str] = collections.Counter()
  lines = []
  for fault in found:
    counts[kind(fault)] += 1
    if counts[kind(fault)] <= _MAX_OF_A_KIND:
      lines.append(str(fault))
  lines += [
    f"{name}: {count - _MAX_OF_A_KIND} more faults of this field"
    for name, count in counts.items()
    if count > _MAX_OF_A_KIND
  ]
  return lines


def quote(text: str) -> str:
  """Foreign text in quotes, harmless to a terminal and of bounded length."""
  return quoting.shown(text)


def listing(names: Sequence[str]) -> str:
  """Names in one line of bounded length, harmless to a terminal."""
  names = [texts.escaped(name) for name in names]
  more = f" and {len(names) - _MAX_LISTED} more" if len(names) > _MAX_LISTED else ""
  return (", ".join(map(quoting.one_line, names[:_MAX_LISTED])) or "nothing") + more
