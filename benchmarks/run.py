"""Measures the cost of the method: time, memory and arithmetic of published rows.

    python -m benchmarks.run --output cost.json
    python -m benchmarks.run --output cost.json --resume --only steps --rows '*resnet101*' \\
        --peer 'NAME=cd FOLDER && ENVIRONMENT/bin/python SCRIPT'

Prints Markdown tables; `--output` keeps every single measurement as JSON, as soon as it is there.
docs/cost_benchmark.md says what the figures mean and how long each section takes. Every
measurement has a process of its own; one that fails is reported with its cause, and the exit status
is 1 in the end.
"""

import argparse
import pathlib
import signal
import statistics
import sys
import time
from collections.abc import Sequence

from benchmarks.cost import jobs, results, rows, tables


def main(arguments: Sequence[str] | None = None) -> int:
  """Runs the command line; returns the exit status."""
  parser = _parser()
  options = parser.parse_args(arguments)
  # As Ctrl-C does, so that the measurement in progress ends too.
  signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
  sections = _chosen(parser, "--only", options.only, jobs.SECTIONS)
  precisions = _chosen(parser, "--precision", options.precision, rows.PRECISIONS)
  peers = [_peer(parser, text) for text in options.peer]
  planned = jobs.plan(sections, options.rows, precisions, peers, options.small)
  if not planned:
    names = ", ".join([*rows.ROWS, *rows.CURVES])
    parser.error(f"--rows: nothing is called {options.rows!r}; accepted: patterns of {names}")
  if options.picture and options.picture.suffix not in (".png", ".pdf", ".svg"):
    parser.error(f"--picture is {str(options.picture)!r}; accepted: a .png, .pdf or .svg file")
  try:
    command = sys.argv if arguments is None else ["benchmarks.run", *arguments]
    found = results.Results(options.output, command, options.resume)
  except ValueError as error:
    parser.error(str(error))
  measure(planned, found)
  print(tables.report(found))
  if options.picture:
    _draw(found, options.picture)
  return int(any("error" in found.latest(job) for job in planned))


def measure(planned: Sequence[jobs.Job], found: results.Results) -> None:
  """Runs the jobs that have no result yet, and reports how far it is."""
  missing = [job for job in planned if found[job] is None]
  if len(missing) < len(planned):
    _report_progress(
      f"{len(planned) - len(missing)} of {len(planned)} measurements are there already"
    )
  seconds = {}
  for number, job in enumerate(missing, 1):
    _report_progress(f"[{number}/{len(missing)}] {jobs.key(job)} ...")
    start = time.monotonic()
    result = jobs.carry_out(job)
    found.add(job, result)
    seconds.setdefault(_kind(job), []).append(time.monotonic() - start)
    left = _seconds_left(missing[number:], seconds)
    taken = time.monotonic() - start
    _report_progress(
      f"    {_outcome(result)}; took {taken:.0f} s, about {left / 60.0:.0f} min left"
    )


def _outcome(result: dict) -> str:
  if "error" in result:
    return f"failed: {result['error']}"
  medians = [
    f"{words} {statistics.median(result[call]['seconds']):.3g} s"
    for call, words in (("infer", "inference"), ("train", "training step"))
    if call in result
  ]
  return ", ".join(medians) or "done"


def _kind(job: jobs.Job) -> tuple:
  """Returns the kind of a job; jobs of one kind take about as long."""
  return job["section"], job["name"], job.get("precision")


def _seconds_left(jobs_left: Sequence[jobs.Job], seconds: dict[tuple, list[float]]) -> float:
  """Estimates the seconds left: each job as long as one of its kind, else as the mean of all."""
  everything = [value for values in seconds.values() for value in values]
  mean = sum(everything) / len(everything)
  return sum(seconds.get(_kind(job), [mean])[-1] for job in jobs_left)


def _report_progress(line: str) -> None:
  print(line, file=sys.stderr, flush=True)


def _draw(found: results.Results, path: pathlib.Path) -> None:
  # Matplotlib takes a while to load, and most runs draw nothing.
  from benchmarks.cost import picture

  try:
    picture.draw(found, path)
  except ValueError as error:
    _report_progress(f"no picture: {error}")
    return
  _report_progress(f"drawn to {path}")


def _parser() -> argparse.ArgumentParser:
  parser = argparse.ArgumentParser(
    prog="python -m benchmarks.run", description=__doc__.split("\n")[0]
  )
  every = ",".join(jobs.SECTIONS)
  parser.add_argument("--only", default=every, help=f"sections, of {every}")
  parser.add_argument("--rows", default="*", help="pattern of rows and of curves of growth")
  parser.add_argument("--precision", default=",".join(rows.PRECISIONS))
  parser.add_argument(
    "--peer",
    action="append",
    default=[],
    metavar="NAME=COMMAND",
    help="another detector; prints a JSON line with `infer_s` and `train_s`. The first one divides",
  )
  parser.add_argument("--output", type=pathlib.Path, help="JSON file of all measurements")
  parser.add_argument("--resume", action="store_true", help="continue the file of --output")
  parser.add_argument("--picture", type=pathlib.Path, help="picture of the curves of growth")
  parser.add_argument(
    "--small", action="store_true", help="sizes whose figures mean nothing, quickly"
  )
  return parser


def _chosen(
  parser: argparse.ArgumentParser, flag: str, text: str, accepted: Sequence[str]
) -> list[str]:
  names = text.split(",")
  for name in names:
    if name not in accepted:
      parser.error(f"{flag} names {name!r}; accepted: {', '.join(accepted)}")
  return names


def _peer(parser: argparse.ArgumentParser, text: str) -> tuple[str, str]:
  name, equals, command = text.partition("=")
  if not (name and equals and command):
    parser.error(f"--peer is {text!r}; accepted: NAME=COMMAND")
  return name, command


if __name__ == "__main__":
  sys.exit(main())
