"""Requests to end a run: a signal is noted when it comes and obeyed between two steps."""

import contextlib
import signal
import threading
from collections.abc import Iterator

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class RunError(Exception):
  """An error that ends a run though its settings are right.

  Attributes:
    lines: of its message, for the user; most have one.
  """

  def __init__(self, *lines: str):
    super().__init__(*lines)
    self.lines = lines

  def __str__(self) -> str:
    return "\n".join(self.lines)


class StoppedError(Exception):
  """A request to end the run; raised between two steps, when the state in memory is consistent."""


class StopRequest:
  """A request to end the run, which a signal makes.

  Attributes:
    reason: what asked, such as SIGTERM; None as long as nothing did.
  """

  def __init__(self):
    self.reason: str | None = None

  def check(self) -> None:
    """Raises StoppedError if the run was asked to end; called wherever it can end.

    A strategy of several workers replaces `should_stop`, as all must end at the same step.
    """
    if self.should_stop():
      raise StoppedError(self.reason or "another worker")

  def should_stop(self) -> bool:
    """Whether this process was asked to end."""
    return self.reason is not None


@contextlib.contextmanager
def listening(request: StopRequest | None = None) -> Iterator[StopRequest]:
  """Notes SIGTERM and the first SIGINT in place of ending the process; gives the request.

  A second SIGINT acts as ever. Outside of the main thread, where Python allows no handlers, the
  signals keep their meaning.

  Args:
    request: that takes the note; None makes one. Given where somebody may have put a handler in the
      place of an earlier one.
  """
  request = request or StopRequest()

  def note(number: int, frame) -> None:
    # Nothing else: the signal may have come during a write.
    if number == signal.SIGINT and request.reason is not None:
      signal.default_int_handler(number, frame)
    request.reason = signal.Signals(number).name

  if threading.current_thread() is not threading.main_thread():
    yield request
    return
  before = {number: signal.signal(number, note) for number in _SIGNALS}
  try:
    yield request
  finally:
    for number, handler in before.items():
      signal.signal(number, handler)
