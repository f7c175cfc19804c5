"""Compares configurations: the same seeds, steps and order of images for all; paired differences.

  python -m mtl_ssl_tf.compare --configs baseline.yaml full.yaml --seeds 0 1 2 \\
      --output_dir runs/comparison
  python -m mtl_ssl_tf.compare --configs full.yaml --output_dir runs/comparison \\
      --variants 'no_refinement=task.refinement.enabled=false'

Each run is `mtl_ssl_tf.train` in a folder of its own, on one processor; the same command resumes
what was stopped. Written to the folder: comparison.json, comparison.md, comparison.html.
"""

import argparse
import datetime
import json
import logging
import os
import pathlib
import shlex
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from mtl_ssl_tf import files, terminal, written_files
from mtl_ssl_tf.command_line import compare as compare_flags
from mtl_ssl_tf.comparison import arms as arms_lib
from mtl_ssl_tf.comparison import outcomes, page, processes, report, runs

_LOGGER = logging.getLogger("mtl_ssl_tf.compare")  # `__name__` is `__main__` in `python -m`.
JSON_FILE, MARKDOWN_FILE, PAGE_FILE = "comparison.json", "comparison.md", "comparison.html"
FILES = (JSON_FILE, MARKDOWN_FILE, PAGE_FILE)
COMMAND = "compare"  # As the list of what it wrote is called.


def run(args: argparse.Namespace, command: str) -> bool:
  """Compares as the command line says, and prints the report.

  Args:
    args: of the command line.
    command: it, for the report.

  Returns:
    Whether all runs succeeded.

  Raises:
    ValueError: an argument or a configuration is not acceptable.
  """
  if args.evaluations < 1:
    raise ValueError(f"--evaluations is {args.evaluations}; accepted: at least 1")
  if len(set(args.seeds)) < len(args.seeds):
    raise ValueError(f"--seeds is {args.seeds}; accepted: each seed once")
  output_dir = pathlib.Path(args.output_dir).resolve()
  arms = arms_lib.parse(args.configs, args.variants, args.params_override)
  resolved = {arm.name: resolve(arm, args.experiment) for arm in arms}
  steps = arms_lib.equal_steps(resolved, args.steps)
  schedule = runs.Schedule(steps, -(-steps // args.evaluations), args.init, args.experiment)
  planned = [
    runs.Run(arm, seed, output_dir) for seed in args.seeds for arm in arms
  ]  # All arms of a seed first, so that what there is can be compared.
  written_files.WrittenFiles(output_dir, COMMAND).check(FILES)
  if not args.only_report:
    for arm in arms:
      runs.claim(output_dir, arm.name, arms_lib.digest(resolved[arm.name]), schedule)
  started = _now()
  failed = set() if args.only_report else carry_out(planned, schedule, args.jobs)
  done = [one for one in planned if one.is_complete]
  if args.refinement_ablation:
    settings = {name: runs.ablations_of(fields) for name, fields in resolved.items()}
    failed |= ablate(done, settings, schedule, args.jobs)
  if not done:
    raise ValueError(f"--output_dir {args.output_dir!r} holds no complete run of these arms")
  facts = report.about(command) | {"times": {"started": started, "ended": _now()}}
  records = [one.record() for one in done]
  result = report.collect(
    args.metric,
    arms,
    records,
    _outcomes(done, steps),
    {(one.arm.name, one.seed): one.ablations() for one in done},
    arms_lib.differences(resolved),
    facts,
  )
  write(result, output_dir)
  return not failed


def resolve(arm: arms_lib.Arm, experiment: str) -> dict[str, Any]:
  """Returns all fields of an arm by their path with dots."""
  # TensorFlow comes with it.
  from mtl_ssl_tf import registry_imports  # noqa: F401
  from mtl_ssl_tf.configs import loading
  from mtl_ssl_tf.training import run_folder

  params = loading.load_experiment(experiment, list(arm.config_files), arm.overrides or None)
  return run_folder.flatten(params.as_dict())


def carry_out(planned: Sequence[runs.Run], schedule: runs.Schedule, jobs: int) -> set[str]:
  """Carries out the runs that are not complete; returns the names of those that failed."""
  missing = [one for one in planned if not one.is_complete]
  if len(missing) < len(planned):
    _LOGGER.info(f"{len(planned) - len(missing)} of {len(planned)} runs are complete already")
  start = time.monotonic()

  def job(one: runs.Run) -> Callable[[int], str]:
    def train(processor: int) -> str:
      record = runs.carry_out(one, schedule, processor)
      figures = record["figures"][schedule.steps]
      main = next((name for name in figures if "/mAP" in name), None)
      told = f"{main} {100.0 * figures[main]:.1f}, " if main else ""
      return f"{told}{record['cpu_minutes']:.1f} CPU min"

    return train

  def progress(number: int, name: str, outcome: str) -> None:
    left = (time.monotonic() - start) / number * (len(missing) - number)
    _LOGGER.info(f"[{number}/{len(missing)}] {name}: {outcome}; about {left / 60.0:.0f} min left")

  processors = sorted(os.sched_getaffinity(0))[:jobs]
  return processes.in_parallel({one.name: job(one) for one in missing}, processors, progress)


def ablate(
  done: Sequence[runs.Run],
  settings: Mapping[str, Sequence[str]],
  schedule: runs.Schedule,
  jobs: int,
) -> set[str]:
  """Evaluates runs with other refinements; returns the names of the evaluations that failed.

  Args:
    done: complete runs.
    settings: arm -> those of `runs.ABLATIONS` to evaluate.
    schedule: of the comparison.
    jobs: evaluations at the same time, a processor each.
  """
  planned = {
    f"{one.name} {setting}": (
      lambda processor, one=one, setting=setting: runs.ablate(one, schedule, setting, processor)
    )
    for one in done
    for setting in settings[one.arm.name]
    if setting not in one.ablations()
  }

  def progress(number: int, name: str, outcome: Any) -> None:
    told = outcome if isinstance(outcome, str) else "done"
    _LOGGER.info(f"[{number}/{len(planned)}] {name}: {told}")

  processors = sorted(os.sched_getaffinity(0))[:jobs]
  return processes.in_parallel(planned, processors, progress)


def _outcomes(done: Sequence[runs.Run], step: int) -> Mapping[str, Mapping[int, outcomes.Outcomes]]:
  """Returns arm -> seed -> outcomes of the runs whose result files are still there.

  Those of other images than the first ones are left out, with a warning.

  Raises:
    ValueError: a file of them is at fault.
  """
  found: dict[str, dict[int, outcomes.Outcomes]] = {}
  first: tuple[pathlib.Path, outcomes.Outcomes] | None = None
  for one in done:
    results, truth = one.results(step)
    if not (results.exists() and truth.exists()):
      continue
    read = outcomes.read(results, truth)
    first = first or (truth, read)
    if not np.array_equal(read.num_objects, first[1].num_objects):
      _LOGGER.warning(f"{truth}: left out, as its images or objects are not those of {first[0]}")
      continue
    found.setdefault(one.arm.name, {})[one.seed] = read
  return found


def write(result: report.Result, output_dir: pathlib.Path) -> None:
  """Prints the report and writes its three files."""
  text = report.markdown(result)
  terminal.show(text)
  with written_files.WrittenFiles(output_dir, COMMAND).replacing_all(FILES):
    files.write_text(output_dir / JSON_FILE, json.dumps(report.as_json(result), indent=1) + "\n")
    files.write_text(output_dir / MARKDOWN_FILE, text)
    page.write(output_dir / PAGE_FILE, result)
  _LOGGER.info(f"{output_dir}: {', '.join(FILES)}")


def _now() -> str:
  return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def main(argv: Sequence[str] | None = None) -> int:
  """Runs the command line; returns the exit status."""
  args = compare_flags.parser().parse_args(argv)
  terminal.set_up()
  signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
  given = sys.argv[1:] if argv is None else argv
  try:
    succeeded = run(args, shlex.join(["python", "-m", "mtl_ssl_tf.compare", *given]))
  except (ValueError, OSError) as error:
    terminal.show_error(error)
    return 1
  except KeyboardInterrupt:
    return 130
  return int(not succeeded)


if __name__ == "__main__":
  sys.exit(main())
