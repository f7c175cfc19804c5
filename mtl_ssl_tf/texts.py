"""Foreign text, such as file names and class names, made harmless to terminals and spreadsheets.

A name may hold whatever its owner put there: characters that move a terminal's cursor or turn the
direction of what follows, line ends that begin a false message, a formula that a spreadsheet runs.
"""

import re

# A cell that begins so is a formula, or ends up in another cell.
_ACTIVE = ("=", "+", "-", "@", "\t", "\r", "\n")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)


def escaped(text: str) -> str:
  """The text in one line, what cannot be printed written as Python does, such as `\\x1b`.

  Among that are control characters, line ends, characters that change the direction of the text or
  have no width, and the bytes of a file name that are no UTF-8.
  """
  if text.isprintable():
    return text
  return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def block(text: str) -> str:
  """The same of each line of a text whose line ends are ours, such as a table."""
  return "\n".join(map(escaped, text.split("\n")))


def cell(value: object) -> object:
  """The value for a cell of a CSV or TSV file, a text behind `'` where a spreadsheet would run it.

  Numbers stay as they are, also those that are written as text.
  """
  if not isinstance(value, str) or _NUMBER.fullmatch(value):
    return value
  return f"'{value}" if value.lstrip(" ").startswith(_ACTIVE) else value


class LinesError(ValueError):
  """An error whose message has several lines; that of every other error counts as one.

  Attributes:
    lines: of the message.
  """

  def __init__(self, *lines: str):
    super().__init__(*lines)
    self.lines = lines

  def __str__(self) -> str:
    return "\n".join(self.lines)


def error_text(error: BaseException) -> str:
  """The message of an error, harmless to a terminal: one line, or those in its `lines`."""
  return "\n".join(map(escaped, getattr(error, "lines", None) or [str(error)]))
