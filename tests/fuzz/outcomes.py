"""How a case ended: refused in the package's own words, accepted, or wrong in some way."""

import ast
import dataclasses
import functools
import pathlib
import re
import traceback
from collections.abc import Callable

import mtl_ssl_tf
from mtl_ssl_tf import texts

ACCEPTED, REFUSED = "accepted", "refused"
TRACEBACK, OTHERWISE, MESSAGE = "traceback", "otherwise", "message"
HANG, MEMORY, CRASH = "hang", "memory", "crash"
# How a case must not end, in the order of the table.
FAILURES = (TRACEBACK, HANG, MEMORY, CRASH, OTHERWISE, MESSAGE)

_PACKAGE = str(pathlib.Path(mtl_ssl_tf.__file__).parent)
# Of the package's own types are also those that it declares.
_OWN_TYPES = (ValueError, OSError)
_MAX_LINE = 4000


class DisagreementError(AssertionError):
  """The package accepted the case and read something else than the plain reading does."""


class MessageError(AssertionError):
  """A message that is empty or without an end."""


@dataclasses.dataclass(frozen=True)
class Outcome:
  """The end of one case.

  Attributes:
    status: one of the words above.
    text: the message, or the traceback of what is wrong.
    signature: the same for cases that most likely fail for one reason.
  """

  status: str
  text: str = ""
  signature: str = ""


def check(holds: bool, what: str) -> None:
  """Raises DisagreementError unless a condition holds."""
  if not holds:
    raise DisagreementError(what)


def check_equal(ours: object, plain: object, what: str) -> None:
  """Raises DisagreementError unless both readings are the same."""
  if ours != plain:
    raise DisagreementError(
      f"{what}: the package has {ours!r:.300}, the plain reading {plain!r:.300}"
    )


def check_message(text: str) -> None:
  """Raises MessageError unless a message is of bounded length once it is shown."""
  if not 0 < len(texts.escaped(text)) <= _MAX_LINE:
    raise MessageError(f"{text!r:.500} ({len(text)} characters)")


def judge(run: Callable[[], bool]) -> Outcome:
  """The outcome of a function that says whether the case was accepted, or raises."""
  try:
    return Outcome(ACCEPTED if run() else REFUSED)
  except DisagreementError as error:
    return _failure(OTHERWISE, error)
  except MessageError as error:
    return _failure(MESSAGE, error)
  except MemoryError as error:
    return _failure(MEMORY, error)
  except Exception as error:
    if not is_own(error):
      return _failure(TRACEBACK, error)
    try:
      for line in texts.error_text(error).split("\n"):  # Of several faults, each has one.
        check_message(line)
    except MessageError as message:
      return _failure(MESSAGE, message.with_traceback(error.__traceback__))
    return Outcome(REFUSED, str(error))


def is_own(error: Exception) -> bool:
  """Whether an error is one that the package raises to be shown, by a `raise` of its own."""
  if type(error) not in _OWN_TYPES and not type(error).__module__.startswith("mtl_ssl_tf."):
    return False
  last = traceback.extract_tb(error.__traceback__)[-1]
  if not last.filename.startswith(_PACKAGE):
    return False
  return any(first <= last.lineno <= end for first, end in _raises(last.filename))


@functools.cache
def _raises(path: str) -> list[tuple[int, int]]:
  """First and last lines of the `raise` statements in a source file."""
  tree = ast.parse(pathlib.Path(path).read_text(encoding="utf-8"))
  return [(node.lineno, node.end_lineno) for node in ast.walk(tree) if isinstance(node, ast.Raise)]


def _failure(status: str, error: BaseException) -> Outcome:
  frames = traceback.extract_tb(error.__traceback__)
  ours = [frame for frame in frames if frame.filename.startswith(_PACKAGE)]
  place = f"{pathlib.Path(ours[-1].filename).name}:{ours[-1].lineno}" if ours else ""
  # Values differ from case to case.
  words = re.sub(r"'.*|\".*|[\[{(].*|-?\d[\w.+-]*", "", str(error).split("\n")[0])[:60].strip()
  text = "".join(traceback.format_exception(error))
  return Outcome(status, text, f"{status} {type(error).__name__} {place} {words}".strip())
