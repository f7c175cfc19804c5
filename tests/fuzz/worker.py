"""The forked process that runs cases one after the other, under limits of time and memory.

It writes a JSON line before each case and one after it. A case that takes too much CPU time ends
the process, whatever it is doing, and the stack of that moment goes to its log.
"""

import dataclasses
import faulthandler
import json
import os
import pathlib
import random
import resource
import shutil
import signal
import sys
import time
from collections.abc import Iterable

from tests.fuzz import outcomes
from tests.fuzz.kinds import base

# Beyond it an allocation fails, so that no case takes the machine's memory.
MAX_ADDRESS_SPACE_MIB = 4096
CURRENT, FAILED = "current", "failed-"
_MIB = 2**20


def case_files(kind: base.Kind, seed: int, number: int) -> base.Files:
  """The files of one case, which follow from kind, seed and number alone."""
  return kind.make(random.Random(f"{seed}/{kind.name}/{number}"))


def write_files(folder: pathlib.Path, files: base.Files) -> None:
  """Writes the files of a case to a folder, in the place of those of another."""
  shutil.rmtree(folder, ignore_errors=True)
  folder.mkdir()
  for name, content in files.items():
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def serve(
  kind_class: type[base.Kind],
  folder: pathlib.Path,
  seed: int,
  numbers: Iterable[int],
  descriptor: int,
  log: pathlib.Path,
  given: base.Files | None = None,
) -> None:
  """Runs cases and reports them; ends with them, or in the middle of one.

  Args:
    kind_class: of the cases.
    folder: `prepared` in it is what `Kind.prepare` wrote. `CURRENT` takes the files of the case
      that is running, `FAILED` with its number those of a case that failed.
    seed: of the campaign.
    numbers: of the cases.
    descriptor: of the pipe that takes the reports.
    log: takes standard output and error.
    given: the files of all cases; None makes those of each.
  """
  _write_output_to(log)
  _use_one_thread()
  kind = kind_class(folder / "prepared", folder / "scratch")
  _check_seeds(kind)
  with os.fdopen(descriptor, "w") as pipe:

    def report(**values) -> None:
      pipe.write(json.dumps(values) + "\n")
      pipe.flush()

    report(ready=_status_mib("VmRSS"))
    limit_memory()
    current = folder / CURRENT
    for number in numbers:
      files = given or case_files(kind, seed, number)
      write_files(current, files)
      report(start=number)
      outcome, figures = measured(kind, files)
      if outcome.status in outcomes.FAILURES:
        current.rename(folder / f"{FAILED}{number}")
      report(end=number, outcome=dataclasses.asdict(outcome), **figures)


def measured(kind: base.Kind, files: base.Files) -> tuple[outcomes.Outcome, dict[str, float]]:
  """The outcome of a case, and its CPU time, how far memory grew and what it was before, in MiB."""
  before_mib = _status_mib("VmRSS")
  _forget_peak()
  begin = time.process_time()
  signal.setitimer(signal.ITIMER_PROF, kind.max_cpu_s)
  outcome = outcomes.judge(lambda: kind.check(files))
  signal.setitimer(signal.ITIMER_PROF, 0.0)
  cpu_s = time.process_time() - begin
  growth_mib = _status_mib("VmHWM") - before_mib
  if growth_mib > kind.max_growth_mib and outcome.status not in outcomes.FAILURES:
    text = f"memory grew by {growth_mib:.0f} MiB; {outcome.status}: {outcome.text}"
    outcome = outcomes.Outcome(outcomes.MEMORY, text, outcomes.MEMORY)
  return outcome, {"cpu_s": cpu_s, "growth_mib": growth_mib, "rss_mib": before_mib}


def limit_memory() -> None:
  """Lets the process have only so much more address space than it has."""
  limit = int((_status_mib("VmSize") + MAX_ADDRESS_SPACE_MIB) * _MIB)
  resource.setrlimit(resource.RLIMIT_AS, (limit, resource.getrlimit(resource.RLIMIT_AS)[1]))


def _check_seeds(kind: base.Kind) -> None:
  """Raises where a case without any change is not accepted; first calls take long, so they go here.

  Raises:
    ValueError: naming the kind.
  """
  for number, files in enumerate(kind.seeds()):
    outcome = outcomes.judge(lambda files=files: kind.check(files))
    if outcome.status != outcomes.ACCEPTED:
      raise ValueError(f"{kind.name}: seed {number} is {outcome.status}: {outcome.text}")


def _write_output_to(log: pathlib.Path) -> None:
  """Sends standard output and error to a file, and the stack on SIGPROF, which then ends it all."""
  file = log.open("w")
  for stream in (sys.stdout, sys.stderr):
    stream.flush()
    os.dup2(file.fileno(), stream.fileno())
  signal.signal(signal.SIGPROF, signal.SIG_DFL)
  faulthandler.enable(all_threads=False)
  faulthandler.register(signal.SIGPROF, all_threads=False, chain=True)


def _use_one_thread() -> None:
  if "tensorflow" in sys.modules:
    import tensorflow as tf

    tf.config.threading.set_inter_op_parallelism_threads(1)
    tf.config.threading.set_intra_op_parallelism_threads(1)


def _status_mib(field: str) -> float:
  """A size in /proc/self/status."""
  with open("/proc/self/status", encoding="ascii") as file:
    line = next(line for line in file if line.startswith(f"{field}:"))
  return int(line.split()[1]) / 1024


def _forget_peak() -> None:
  """Sets the peak of memory to what there is."""
  with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
    file.write("5")
