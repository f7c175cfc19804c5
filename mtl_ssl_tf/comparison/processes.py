"""Runs commands, one on each processor, and counts the CPU seconds of all their processes."""

import concurrent.futures
import dataclasses
import os
import pathlib
import queue
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mtl_ssl_tf.reading import regular_files

# A line of progress of our training, as in "step 40/1200 | loss 2.1".
_STEP = re.compile(rb"^step (\d+)/\d+ \|")
_TICKS = os.sysconf("SC_CLK_TCK")
# Libraries start as many threads as they are told, or as the process has processors.
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_MAX_LAST_BYTES = 16 * 2**10
_running: set[int] = set()
_lock = threading.Lock()


class RunError(Exception):
  """A command of a run failed; the message names its log."""


@dataclasses.dataclass(frozen=True)
class Usage:
  """The cost of a finished command.

  Attributes:
    status: exit status; negative is the signal that ended it.
    cpu_s: user and system seconds of the process and of all children that it waited for.
    wall_s: seconds from start to end.
    points: (step, CPU seconds of the process so far) at each line of progress.
  """

  status: int
  cpu_s: float
  wall_s: float
  points: list[tuple[int, float]]


def run(
  command: Sequence[str],
  log: pathlib.Path,
  processor: int,
  *,
  cwd: pathlib.Path,
  is_enough: Callable[[list[tuple[int, float]]], bool] = lambda points: False,
) -> Usage:
  """Runs a command to its end.

  Args:
    command: program and arguments.
    log: file that takes standard output and error.
    processor: number of the only processor that the command may use.
    cwd: folder that the command runs in.
    is_enough: called with the points of `Usage` at each line of progress; True ends the command
      with SIGTERM.

  Returns:
    What it cost.

  Raises:
    RunError: no file, but a pipe for example, is in the place of the log.
  """
  try:
    regular_files.check_if_present(log)
  except OSError as error:
    raise RunError(f"{log} is {error.strerror}; accepted: a file, or nothing") from error
  environment = {**os.environ, **dict.fromkeys(_THREADS, "1"), "PYTHONUNBUFFERED": "1"}
  start, points, ended = time.monotonic(), [], False
  with log.open("wb") as file:
    process = subprocess.Popen(
      command,
      cwd=cwd,
      env=environment,
      stdin=subprocess.DEVNULL,
      stdout=subprocess.PIPE,
      stderr=subprocess.STDOUT,
      start_new_session=True,
    )
    with _lock:
      _running.add(process.pid)
    # Long before a library asks how many there are.
    os.sched_setaffinity(process.pid, {processor})
    try:
      for line in process.stdout:
        file.write(line)
        file.flush()
        found = _STEP.match(line)
        if found and not ended:
          points.append((int(found[1]), _cpu_seconds(process.pid)))
          ended = is_enough(points)
          if ended:
            process.terminate()
      _, status, usage = os.wait4(process.pid, 0)
    finally:
      with _lock:
        _running.discard(process.pid)
  process.returncode = os.waitstatus_to_exitcode(status)
  process.stdout.close()
  cpu_s = usage.ru_utime + usage.ru_stime
  return Usage(process.returncode, cpu_s, time.monotonic() - start, points)


def check(command: Sequence[str], log: pathlib.Path, processor: int, cwd: pathlib.Path) -> Usage:
  """Runs a command to its end; returns what it cost.

  Raises:
    RunError: it failed.
  """
  usage = run(command, log, processor, cwd=cwd)
  if usage.status:
    raise RunError(f"failed with {usage.status}: {log}: {last_line(log)}")
  return usage


def in_parallel(
  jobs: Mapping[str, Callable[[int], Any]],
  processors: Sequence[int],
  report: Callable[[int, str, Any], None],
) -> set[str]:
  """Carries out jobs, one on each processor at a time.

  Args:
    jobs: name -> function of the processor that it may use; a `RunError` is its failure, and any
      other error ends all of them.
    processors: their numbers.
    report: called with the number of jobs that are done, a job's name, and what it returned, or the
      words of its failure.

  Returns:
    The names of those that failed.
  """
  free = queue.SimpleQueue()
  for processor in processors:
    free.put(processor)

  def run_one(job: Callable[[int], Any]) -> Any:
    processor = free.get()
    try:
      return job(processor)
    finally:
      free.put(processor)

  failures = set()
  pool = concurrent.futures.ThreadPoolExecutor(len(processors))
  try:
    names = {pool.submit(run_one, job): name for name, job in jobs.items()}
    for number, done in enumerate(concurrent.futures.as_completed(names), 1):
      name = names[done]
      try:
        outcome = done.result() or "done"
      except RunError as error:
        failures.add(name)
        outcome = str(error)
      report(number, name, outcome)
  except BaseException:
    pool.shutdown(wait=False, cancel_futures=True)
    kill_all()
    raise
  pool.shutdown()
  return failures


def last_line(log: pathlib.Path) -> str:
  """Returns the last line of a log, at most 300 characters, for a message."""
  with regular_files.open_file(log) as file:
    file.seek(max(os.fstat(file.fileno()).st_size - _MAX_LAST_BYTES, 0))
    lines = file.read(_MAX_LAST_BYTES).decode(errors="replace").strip().splitlines()
  return lines[-1][:300] if lines else "no output"


def kill_all() -> None:
  """Ends the commands that still run, with their children."""
  with _lock:
    for pid in _running:
      os.killpg(pid, signal.SIGKILL)


def _cpu_seconds(pid: int) -> float:
  """User and system seconds of a process that runs, and of its children that have ended."""
  # The name of the program, in brackets, may hold blanks.
  fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
  return sum(map(int, fields[11:15])) / _TICKS
