"""Interface of a kind of input."""

import abc
import contextlib
import pathlib
import random
import signal
from collections.abc import Iterator
from typing import ClassVar

# Name -> content.
Files = dict[str, bytes]


@contextlib.contextmanager
def untimed() -> Iterator[None]:
  """Takes what a plain reading needs out of a case's CPU time: that may be more than the package's.

  A plain reading without an end is a hang all the same, by the clock.
  """
  left, _ = signal.setitimer(signal.ITIMER_PROF, 0.0)
  try:
    yield
  finally:
    signal.setitimer(signal.ITIMER_PROF, left)


class Kind(abc.ABC):
  """Makes cases of one kind of input, and gives them to the package and to a plain reading.

  Attributes:
    name: in commands and tables.
    about: a few words for the help.
    max_cpu_s: CPU time of a case, without what is `untimed`.
    max_growth_mib: by which memory may grow within a case.
  """

  name: ClassVar[str]
  about: ClassVar[str]
  max_cpu_s: ClassVar[float] = 2.0
  max_growth_mib: ClassVar[float] = 1024.0

  def __init__(self, prepared: pathlib.Path, scratch: pathlib.Path):
    """Sets up what cases need, in the process that runs them.

    Args:
      prepared: what `prepare` wrote.
      scratch: an empty folder or one that another process of this kind has left.
    """
    self.prepared, self.scratch = prepared, scratch
    scratch.mkdir(parents=True, exist_ok=True)

  @classmethod
  def prepare(cls, folder: pathlib.Path) -> None:
    """Writes what takes long to make, once, in a process of its own."""
    del folder

  @abc.abstractmethod
  def seeds(self) -> list[Files]:
    """Cases that are in order."""

  @abc.abstractmethod
  def make(self, rng: random.Random) -> Files:
    """A case; it must follow from `rng` alone."""

  @abc.abstractmethod
  def check(self, files: Files) -> bool:
    """Whether any of the case was accepted.

    Raises:
      outcomes.DisagreementError: the plain reading differs.
      outcomes.MessageError: a message is none for a terminal.
      Exception: what the package raises.
    """

  def write(self, files: Files) -> None:
    """Writes the case to `scratch`."""
    for name, content in files.items():
      path = self.scratch / name
      path.parent.mkdir(parents=True, exist_ok=True)
      path.write_bytes(content)
