"""Gives damaged input to everything that reads files, and reports what goes wrong.

    python -m tests.fuzz --minutes 10 [--seed 0] [--kinds xml json ...]
    python -m tests.fuzz --rerun runs/fuzz/xml-123

The time is shared equally among the kinds. Of each kind the table has the number of cases and how
they ended:

    accepted   read, and a plain reading of the same bytes agrees
    refused    one line in the package's own words, or faults of an object each
    traceback  any other exception
    hang       more than 2 s of CPU time, or a minute without an end
    memory     it grew by more than 1 GiB within the case, or an allocation failed
    crash      the process ended
    otherwise  accepted, and the plain reading differs
    message    a message that is empty or of many thousand characters

The first cases of each failure are written to `--output_dir`, with the files, a report and the
command that runs the one case again. The exit status is 1 if anything failed.
"""

import argparse
import collections
import json
import pathlib
import sys
import tempfile
from collections.abc import Sequence

from mtl_ssl_tf import command_line
from tests.fuzz import campaign, kinds, outcomes, worker
from tests.fuzz.kinds import base

_COLUMNS = (outcomes.ACCEPTED, outcomes.REFUSED, *outcomes.FAILURES)


def main(argv: Sequence[str] | None = None) -> int:
  """Runs the command line; returns the exit status."""
  parser = argparse.ArgumentParser(
    prog="python -m tests.fuzz",
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  parser.add_argument("--minutes", type=float, default=10.0, help="for all kinds (default: 10)")
  parser.add_argument("--seed", type=int, default=0, help="of all cases (default: 0)")
  parser.add_argument(
    "--kinds",
    nargs="+",
    default=list(kinds.MODULES),
    metavar="KIND",
    help=f"some of {', '.join(kinds.MODULES)} (default: all)",
  )
  parser.add_argument("--cases", type=int, help="of each kind; the time is a limit then")
  parser.add_argument("--output_dir", type=pathlib.Path, default=pathlib.Path("runs/fuzz"))
  parser.add_argument("--rerun", type=pathlib.Path, metavar="FOLDER", help="one failing case")
  flags = parser.parse_args(argv)
  command_line.prepare_tensorflow()
  with tempfile.TemporaryDirectory() as work:
    if flags.rerun:
      return _rerun(flags.rerun, pathlib.Path(work))
    try:
      classes = [kinds.load(name) for name in flags.kinds]
    except ValueError as error:
      parser.error(str(error))
    seconds = 60.0 * flags.minutes / len(classes)
    tallies = []
    _print_row("kind", "cases", *_COLUMNS, "cases/s", "slowest s", "MiB most", "MiB kept")
    for kind_class in classes:
      one = campaign.Campaign(kind_class, flags.seed, pathlib.Path(work), flags.output_dir)
      tallies.append(one.run(seconds, flags.cases))
      _print_tally(tallies[-1])
  _print_failures(tallies, flags.seed)
  return 1 if any(tally.num_failures for tally in tallies) else 0


def _rerun(folder: pathlib.Path, work: pathlib.Path) -> int:
  about = json.loads((folder / campaign.CASE_FILE).read_text())
  files_folder = folder / campaign.FILES_FOLDER
  files = {
    str(path.relative_to(files_folder)): path.read_bytes()
    for path in sorted(files_folder.rglob("*"))
    if path.is_file()
  }
  kind_class = kinds.load(about["kind"])
  outcome = campaign.Campaign(kind_class, about["seed"], work, work / "output").rerun(files)
  print(f"{about['kind']} case {about['number']} of seed {about['seed']}: {outcome.status}")
  print(outcome.text)
  return 1 if outcome.status in outcomes.FAILURES else 0


def _print_tally(tally: campaign.Tally) -> None:
  total = tally.counts.total()
  rate = total / tally.seconds if tally.seconds else 0.0
  counts = [tally.counts[status] for status in _COLUMNS]
  figures = (f"{rate:.1f}", f"{tally.slowest_s:.2f}", f"{tally.growth_mib:.0f}")
  _print_row(tally.kind, total, *counts, *figures, f"{tally.kept_mib:.0f}")


def _print_row(*cells: object) -> None:
  print(
    "".join(f"{cell!s:<12}" if i == 0 else f"{cell!s:>10}" for i, cell in enumerate(cells)),
    flush=True,
  )


def _print_failures(tallies: Sequence[campaign.Tally], seed: int) -> None:
  total = collections.Counter()
  for tally in tallies:
    total.update(tally.counts)
    for signature, failure in tally.failures.items():
      last = failure.outcome.text.strip().split("\n")[-1]
      print(f"\n{tally.kind}: {signature}: {failure.count} cases\n  {last[:300]!r}")
      print(f"  python -m tests.fuzz --rerun {failure.folder}")
  failed = sum(total[status] for status in outcomes.FAILURES)
  print(
    f"\nseed {seed}: {total.total()} cases, {failed} of them failed; limits of a case:"
    f" {base.Kind.max_cpu_s:g} s of CPU time, {campaign.MAX_WALL_S:g} s in all,"
    f" {base.Kind.max_growth_mib:g} MiB more of memory, {worker.MAX_ADDRESS_SPACE_MIB} MiB more of"
    " address space"
  )


if __name__ == "__main__":
  sys.exit(main())
