"""Runs the cases of a kind in processes that may end at any of them."""

import collections
import dataclasses
import itertools
import json
import os
import pathlib
import select
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any

from tests.fuzz import outcomes, worker
from tests.fuzz.kinds import base

# Beyond it a case is a hang too: it waits for something that does not come.
MAX_WALL_S = 60.0
_MAX_START_S = 600.0
# Failures of one signature that are written to the disk.
_MAX_WRITTEN = 3
CASE_FILE, REPORT_FILE, FILES_FOLDER = "case.json", "report.txt", "files"


@dataclasses.dataclass
class Failure:
  """Cases that ended as they must not, most likely for one reason.

  Attributes:
    number: of the first one.
    outcome: its end.
    count: of cases.
    folder: where the first one lies.
  """

  number: int
  outcome: outcomes.Outcome
  count: int
  folder: pathlib.Path


@dataclasses.dataclass
class Tally:
  """Counts of one kind.

  Attributes:
    kind: its name.
    counts: cases by status.
    failures: by signature.
    seconds: that the cases took.
    slowest_s: CPU time of the slowest case that came to its end.
    growth_mib: by which memory grew most within one case.
    kept_mib: by which it grew from a process's first case to its last.
  """

  kind: str
  counts: collections.Counter = dataclasses.field(default_factory=collections.Counter)
  failures: dict[str, Failure] = dataclasses.field(default_factory=dict)
  seconds: float = 0.0
  slowest_s: float = 0.0
  growth_mib: float = 0.0
  kept_mib: float = 0.0

  @property
  def num_failures(self) -> int:
    """Cases that ended as they must not."""
    return sum(self.counts[status] for status in outcomes.FAILURES)


class Campaign:
  """The cases of one kind under one seed.

  Attributes:
    tally: of the cases so far.
  """

  def __init__(
    self, kind_class: type[base.Kind], seed: int, work: pathlib.Path, output: pathlib.Path
  ):
    """Prepares the kind.

    Args:
      kind_class: the kind. TensorFlow may be imported, but must not have run anything yet.
      seed: of all cases.
      work: for files that need not stay.
      output: takes a folder for each failing case.
    """
    self._kind, self._seed, self._output = kind_class, seed, output
    self._folder = work / kind_class.name
    self._log = self._folder / "log"
    self._deadline: float | None = None
    self._given: base.Files | None = None
    self.tally = Tally(kind_class.name)
    prepared = self._folder / "prepared"
    prepared.mkdir(parents=True)
    if os.waitpid(fork(lambda: kind_class.prepare(prepared)), 0)[1]:
      raise RuntimeError(f"{kind_class.name}: its files could not be made")

  def run(self, seconds: float, num_cases: int | None = None) -> Tally:
    """Runs cases for a time, from the first process's first case on, or up to a number."""
    first = 0
    while num_cases is None or first < num_cases:
      stopped_at = self._run_worker(first, num_cases, seconds)
      if stopped_at is None or time.monotonic() > self._deadline:
        break
      first = stopped_at + 1
    return self.tally

  def rerun(self, files: base.Files) -> outcomes.Outcome:
    """The outcome of one case, in a process of its own under the same limits."""
    self._given = files
    self.run(MAX_WALL_S, num_cases=1)
    for failure in self.tally.failures.values():
      return failure.outcome
    (status,) = self.tally.counts
    return outcomes.Outcome(status)

  def _run_worker(self, first: int, num_cases: int | None, seconds: float) -> int | None:
    """The number of the case at which a new process ended; None where it did not or time is up."""
    numbers = itertools.count(first) if num_cases is None else range(first, num_cases)
    reading, writing = os.pipe()

    def serve() -> None:
      os.close(reading)
      worker.serve(self._kind, self._folder, self._seed, numbers, writing, self._log, self._given)

    pid = fork(serve)
    os.close(writing)
    running = last_start = None
    for report in _reports(reading, pid):
      now = time.monotonic()
      if "ready" in report:
        rss_mib = report["ready"]
        self._deadline = self._deadline or now + seconds
      elif "start" in report:
        running = report["start"]
      else:
        running = None
        self._count(report["end"], outcomes.Outcome(**report["outcome"]))
        self.tally.slowest_s = max(self.tally.slowest_s, report["cpu_s"])
        self.tally.growth_mib = max(self.tally.growth_mib, report["growth_mib"])
        self.tally.kept_mib = max(self.tally.kept_mib, report["rss_mib"] - rss_mib)
      if last_start is not None:
        self.tally.seconds += now - last_start
      last_start = now
      if running is None and now > self._deadline:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        return None
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if last_start is None:
      raise RuntimeError(f"{self._kind.name}: no case could be run\n{self._end_of_log()}")
    if running is not None:
      self._count(running, self._death(status))
    elif status:
      raise RuntimeError(f"{self._kind.name}: ended between two cases\n{self._end_of_log()}")
    return running

  def _count(self, number: int, outcome: outcomes.Outcome) -> None:
    self.tally.counts[outcome.status] += 1
    if outcome.status not in outcomes.FAILURES:
      return
    known = self.tally.failures.get(outcome.signature)
    count = known.count if known else 0
    if count < _MAX_WRITTEN:
      folder = self._write(number, outcome)
    else:
      folder = known.folder
      shutil.rmtree(self._files_of(number), ignore_errors=True)
    if known:
      known.count, folder = known.count + 1, known.folder
    else:
      self.tally.failures[outcome.signature] = Failure(number, outcome, 1, folder)

  def _write(self, number: int, outcome: outcomes.Outcome) -> pathlib.Path:
    """Keeps a failing case in a folder, from which `python -m tests.fuzz --rerun` reads it."""
    folder = self._output / f"{self._kind.name}-{number}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    shutil.move(self._files_of(number), folder / FILES_FOLDER)
    about = {"kind": self._kind.name, "seed": self._seed, "number": number}
    (folder / CASE_FILE).write_text(json.dumps(about) + "\n")
    command = f"python -m tests.fuzz --rerun {folder}"
    text = f"{outcome.signature}\n{command}\n\n{outcome.text}\n"
    (folder / REPORT_FILE).write_text(text, encoding="utf-8", errors="backslashreplace")
    return folder

  def _files_of(self, number: int) -> pathlib.Path:
    """Where a worker has left the files of a failing case; of the last one if it ended there."""
    failed = self._folder / f"{worker.FAILED}{number}"
    return failed if failed.exists() else self._folder / worker.CURRENT

  def _death(self, status: int) -> outcomes.Outcome:
    """The outcome of a case that ended its process."""
    log = self._end_of_log()
    if status == -signal.SIGPROF:
      text = f"more than {self._kind.max_cpu_s:g} s of CPU time\n{log}"
      return outcomes.Outcome(outcomes.HANG, text, f"{outcomes.HANG} {_innermost(log)}".strip())
    if status == -signal.SIGKILL:
      text = f"no end after {MAX_WALL_S:g} s, or killed from outside\n{log}"
      return outcomes.Outcome(outcomes.HANG, text, f"{outcomes.HANG} without CPU time")
    name = signal.Signals(-status).name if status < 0 else f"exit status {status}"
    signature = f"{outcomes.CRASH} {name} {_innermost(log)}".strip()
    return outcomes.Outcome(outcomes.CRASH, f"{name}\n{log}", signature)

  def _end_of_log(self) -> str:
    return self._log.read_text(errors="replace")[-6000:] if self._log.exists() else ""


def fork(function: Callable[[], object]) -> int:
  """Starts a process that runs a function and ends; returns its id."""
  sys.stdout.flush()
  sys.stderr.flush()
  pid = os.fork()
  if pid:
    return pid
  status = 1
  try:
    function()
    status = 0
  except BaseException:
    traceback.print_exc()
  finally:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _reports(descriptor: int, pid: int) -> Iterator[dict[str, Any]]:
  """The reports of a process until it ends; it is killed where none comes for too long."""
  rest, patience = b"", _MAX_START_S
  with os.fdopen(descriptor, "rb", buffering=0) as pipe:
    while True:
      if not select.select([pipe], [], [], patience)[0]:
        os.kill(pid, signal.SIGKILL)
        patience = None
        continue
      chunk = pipe.read(1 << 16)
      if not chunk:
        return
      *lines, rest = (rest + chunk).split(b"\n")
      for line in lines:
        yield json.loads(line)
      patience = MAX_WALL_S


def _innermost(log: str) -> str:
  """Place in the package that a stack in a log leads through last."""
  places = [line for line in log.splitlines() if line.startswith('  File "')]
  ours = [line for line in places if "/mtl_ssl_tf/" in line]
  return (ours or places or [""])[0].strip().removeprefix('File "').rsplit("/", 1)[-1]
