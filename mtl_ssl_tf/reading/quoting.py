"""Values of any kind as text for messages: one line of bounded length, at bounded cost."""

import reprlib
from typing import Any

MAX_CHARACTERS = 200


class _Repr(reprlib.Repr):
  """`repr` that leaves out what would not be shown anyway.

  A short YAML text can hold a value that has more parts than fit in memory when it is written out.
  """

  def __init__(self):
    super().__init__()
    self.maxlevel = 4
    self.maxdict = self.maxlist = self.maxtuple = self.maxset = self.maxfrozenset = 20
    self.maxdeque = self.maxarray = 20
    self.maxstring = self.maxother = self.maxlong = 2 * MAX_CHARACTERS

  def repr_int(self, x: int, level: int) -> str:
    # Python refuses to write integers of thousands of digits.
    return repr(x) if x.bit_length() < 1000 else f"an integer of {x.bit_length()} bits"

  def repr_str(self, x: str, level: int) -> str:
    return repr(x[: self.maxstring])

  def repr_dict(self, x: dict, level: int) -> str:
    # Not sorted, as in the base class: keys of several types have no order.
    if level <= 0 and x:
      return "{...}"
    items = [
      f"{self.repr1(key, level - 1)}: {self.repr1(value, level - 1)}"
      for key, value in zip(x, list(x.values())[: self.maxdict], strict=False)
    ]
    return f"{{{', '.join(items + ['...'] * (len(x) > self.maxdict))}}}"


_REPR = _Repr()


def shown(value: Any) -> str:
  """The `repr` of a value on one line, cut to `MAX_CHARACTERS`."""
  return one_line(_REPR.repr(value))


def one_line(text: str) -> str:
  """A text on one line, cut to `MAX_CHARACTERS`, without what controls a terminal."""
  line = text[: 4 * MAX_CHARACTERS]  # Cut first: the text may be large.
  lines = line.splitlines()
  if lines != [line]:  # Several, or one with its end.
    line = " ".join(filter(None, map(str.strip, lines)))
  if not line.isprintable():
    line = "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in line)
  is_cut = len(line) > MAX_CHARACTERS or len(text) > 4 * MAX_CHARACTERS
  return f"{line[: MAX_CHARACTERS - 1]}…" if is_cut else line
