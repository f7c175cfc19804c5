"""Compares detectors that start from a pretraining without annotations with random initial weights.

    python -m benchmarks.insloc_study --output_dir runs/insloc --bccd FOLDER \\
        --sets bccd:10 bccd:20 bccd:205 --pretrainings insloc --pretrain_steps 1500 \\
        --steps 500 2000 --seeds 0 1 2
    ... --pretrainings insloc exact_boxes whole_image      (box augmentation and its controls)
    ... --with_mtl                       (each start also with the auxiliary tasks and refinement)

A set is `DATA:IMAGES`, the annotated images, with DATA `scenes` or `bccd`; a larger set holds the
images of the smaller ones. A pretraining sees all images of BCCD's training split, or so many
scenes as `--unlabelled` says, without their boxes, and is carried out once for all sets and seeds.
Then each set, with each number of steps, is one call of `mtl_ssl_tf.compare`, whose first arm is
`random`. What the pretraining costs is in the first table, and is to be added to the CPU minutes of
the arms that start from it: `random` with more steps is what that time could have bought.

Sets are evaluated on the same images: of the scenes another drawing, of BCCD its validation split.
`--final` takes other scenes, and of BCCD the trainval and test splits, in folders of its own.

A run that is complete is not repeated, and the same command resumes what was stopped.
Written to the output folder: study.json, report.md, images.png, and in the folder of each set and
number of steps, such as bccd_20_500steps, its comparison.json, .md and .html.
"""

import argparse
import json
import os
import pathlib
import signal
import subprocess
import sys
from collections.abc import Sequence

from benchmarks import gain
from benchmarks.accuracy import data as data_lib
from benchmarks.accuracy import runs as accuracy_runs
from benchmarks.gains import picture, records, tables
from benchmarks.pretraining import runs

DETECTOR, PRETRAINING = "benchmarks/pretraining/detector.yaml", "benchmarks/pretraining/insloc.yaml"
RANDOM = "random"
# Behind the name of an arm that has the auxiliary tasks and refinement.
WITH_MTL = "_mtl"
_SETS = ("bccd:10", "bccd:20", "bccd:205")
_UNLABELLED = 3000
_STUDY_FILE, _REPORT_FILE, _PICTURE = "study.json", "report.md", "images.png"


def main(arguments: Sequence[str] | None = None) -> int:
  """Runs the command line; returns the exit status."""
  parser = _parser()
  options = parser.parse_args(arguments)
  os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
  signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
  folder = options.output_dir.resolve() / ("final" if options.final else "choosing")
  failed: list[str] = []
  if not options.only_report:
    try:
      sources = [gain.source(text, options) for text in options.sets]
      pretrainings = plan(sources, folder, options)
    except ValueError as error:
      parser.error(str(error))
    failed = carry_out_all(sources, pretrainings, folder, options)
  found = records.read(folder, ["*"])
  if not found:
    print(f"{folder} holds no comparison", file=sys.stderr)
    return 1
  _write_report(folder, found)
  if failed:
    print(f"not complete: {', '.join(failed)}", file=sys.stderr)
  return int(bool(failed))


def plan(
  sources: Sequence[data_lib.Source], folder: pathlib.Path, options: argparse.Namespace
) -> list[runs.Pretraining]:
  """Prepares the images to pretrain on; returns the pretrainings of each kind of data.

  Raises:
    ValueError: data are missing, or a folder holds a pretraining of other settings.
  """
  found = []
  for name in dict.fromkeys(source.name for source in sources):
    data = data_lib.prepare(unlabelled(name, options), folder / name)
    for arm in options.pretrainings:
      found.append(runs.Pretraining(data, arm, options.pretrain_config, options.pretrain_steps))
      runs.claim(found[-1])
  return found


def unlabelled(name: str, options: argparse.Namespace) -> data_lib.Source:
  """Returns the images that a detector of `scenes` or `bccd` is pretrained on."""
  if name == "bccd":
    return data_lib.bccd(options.bccd, options.final)
  return data_lib.scenes(options.unlabelled, options.final)


def carry_out_all(
  sources: Sequence[data_lib.Source],
  pretrainings: Sequence[runs.Pretraining],
  folder: pathlib.Path,
  options: argparse.Namespace,
) -> list[str]:
  """Pretrains and compares; returns the names of what is not complete."""

  def job(run: runs.Pretraining):
    def carry_out(processor: int) -> str:
      last = runs.carry_out(run, processor)["last"]
      return f"loss {last['contrastive']:.2f}, {100.0 * last['accuracy']:.1f} % right"

    return carry_out

  processors = sorted(os.sched_getaffinity(0))[: options.jobs]
  jobs = {run.name: job(run) for run in pretrainings if not run.is_complete}
  failed = sorted(accuracy_runs.in_parallel(jobs, processors))
  starts = [run for run in pretrainings if run.is_complete]
  for source in sources:
    data = data_lib.prepare(source, folder / "data" / gain.set_name(source))
    own = [run for run in starts if run.data.name == source.name]
    for steps in options.steps:
      place = folder / gain.place_name(source, steps)
      command = comparison(data, own, place, steps, options)
      if subprocess.run(command, cwd=data_lib.ROOT).returncode:
        failed.append(place.name)
  return failed


def comparison(
  data: data_lib.DataSet,
  pretrainings: Sequence[runs.Pretraining],
  output_dir: pathlib.Path,
  steps: int,
  options: argparse.Namespace,
) -> list[str]:
  """Returns the command that compares random weights with the pretrainings on a set."""
  starts = {RANDOM: (), **{run.arm: (str(run.start_file),) for run in pretrainings}}
  arms = [(name, (options.config, *files)) for name, files in starts.items()]
  if options.with_mtl:
    arms += [(f"{name}{WITH_MTL}", (*files, gain.FULL)) for name, files in arms]
  configs = [f"{name}={'+'.join(files)}" for name, files in arms]
  return gain.compare_command(configs, data, output_dir, steps, options)


def _write_report(folder: pathlib.Path, found: dict) -> None:
  pretrained = [
    accuracy_runs.read_json(path) for path in sorted(folder.glob(f"*/pretrained/*/{runs.RUN_FILE}"))
  ]
  rows = tables.rows(found)
  text = f"{runs.table(pretrained)}\n{tables.report(rows, RANDOM)}"
  content = {"pretrainings": pretrained, "detectors": rows}
  (folder / _STUDY_FILE).write_text(json.dumps(content, indent=1) + "\n")
  (folder / _REPORT_FILE).write_text(text)
  picture.draw(rows, "images", folder / _PICTURE)
  print(f"{text}\nwritten to {folder}: {_STUDY_FILE}, {_REPORT_FILE}, {_PICTURE}")


def _parser() -> argparse.ArgumentParser:
  parser = argparse.ArgumentParser(
    prog="python -m benchmarks.insloc_study",
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
    allow_abbrev=False,
  )
  processors, arms = len(os.sched_getaffinity(0)), runs.arms()
  add = parser.add_argument
  add("--output_dir", type=pathlib.Path, required=True)
  add("--bccd", type=pathlib.Path, help="folder of BCCD in VOC layout")
  add("--sets", nargs="+", default=list(_SETS), metavar="DATA:IMAGES", help="annotated images")
  add("--unlabelled", type=int, default=_UNLABELLED, help="scenes to pretrain on (default: 3000)")
  add("--pretrainings", nargs="+", choices=arms, default=arms[:1], help=", ".join(arms))
  add("--pretrain_steps", type=int, default=1500, help="of a pretraining (default: 1500)")
  add("--pretrain_config", default=PRETRAINING, help=f"default: {PRETRAINING}")
  add("--config", default=DETECTOR, help=f"of the detector (default: {DETECTOR})")
  add("--with_mtl", action="store_true", help="each arm also with MTL-SSL")
  add("--final", action="store_true", help="other scenes; BCCD's test split")
  add("--steps", type=int, nargs="+", default=[500], help="of a training (default: 500)")
  add("--evaluations", type=int, default=2, help="along each training (default: 2)")
  add("--seeds", type=int, nargs="+", default=[0, 1, 2])
  add("--jobs", type=int, choices=range(1, processors + 1), default=processors)
  add("--only_report", action="store_true", help="of the comparisons that there are")
  return parser


if __name__ == "__main__":
  try:
    sys.exit(main())
  except KeyboardInterrupt:
    sys.exit(130)
