"""Compares ways of training on images that lack annotations: plain, joint, Co-mining and others.

    python -m benchmarks.co_mining_study --output_dir runs/mining --bccd FOLDER --steps 1500 \\
        --sets bccd:hard bccd:extreme scenes:50miss --seeds 0 1 2
    ... --arms joint co_mining --thresholds 0.6 0.7 0.9       (a sweep, on each training set)
    ... --arms co_mining --label_arms --sets bccd:extreme     (labels of annotations alone)
    ... --arms plain joint masking consistency masking_consistency masking_anchors   (SparseDet's)
    ... --variant 'late=co_mining;task.mining.start_step=300'

Annotations of the training records are erased by `sparse_annotations`, seed 0; figures are those on
all annotations of the test records, after the last step. All arms have the same steps of as many
views (`--views`): an arm of two views has half as many images in a step. Settings are to be chosen
on a part of the training images, which is the default; `--final` trains on all of them and tests on
the test images, in folders of its own.

Each of `--jobs` runs has one processor. A run that is finished is not carried out again, and a
stopped one is resumed by the same command. Written to the output folder: study.json, report.md.
"""

import argparse
import os
import pathlib
import signal
import sys
from collections.abc import Sequence

from benchmarks.accuracy import arms as accuracy_arms
from benchmarks.accuracy import data as data_lib
from benchmarks.accuracy import runs as accuracy_runs
from benchmarks.mining import arms as arms_lib
from benchmarks.mining import runs, tables

CONFIGS = {
  "bccd": "configs/experiments/bccd_frcnn_mobilenet_mtl.yaml",
  "scenes": "configs/experiments/demo_frcnn_mobilenet_mtl.yaml",
}
_STUDY_FILE, _REPORT_FILE = "study.json", "report.md"


def main(arguments: Sequence[str] | None = None) -> int:
  """Runs the command line; returns the exit status."""
  parser = _parser()
  options = parser.parse_args(arguments)
  # TensorFlow's start-up notices hide what there is to say.
  os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
  signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
  folder = options.output_dir.resolve() / ("final" if options.final else "choosing")
  failed = set()
  if not options.only_report:
    try:
      planned = plan(options, folder)
      for run in planned:
        runs.claim(run)
    except ValueError as error:
      parser.error(str(error))
    failed = carry_out_all(planned, options)
  found = [
    accuracy_runs.read_json(path) for path in sorted(folder.glob(f"*/*/*/*/{runs.RUN_FILE}"))
  ]
  if not found:
    print(f"{folder} holds no finished run", file=sys.stderr)
    return 1
  text = tables.report(found)
  accuracy_runs.write_json(folder / _STUDY_FILE, found)
  (folder / _REPORT_FILE).write_text(text)
  print(f"{text}\nwritten to {folder}: {_STUDY_FILE}, {_REPORT_FILE}")
  return int(bool(failed))


def plan(options: argparse.Namespace, folder: pathlib.Path) -> list[runs.Run]:
  """Prepares the data; returns the runs, all arms of a seed before the next seed.

  Raises:
    ValueError: an option is wrong, or data are missing.
  """
  arms = chosen_arms(options)
  configs = CONFIGS | accuracy_arms.parse_pairs("--config", options.config)
  sets = [_parse_set(text) for text in options.sets]
  sources = {name: _source(name, options) for name, _ in sets}
  data = {name: data_lib.prepare(source, folder / name) for name, source in sources.items()}
  for name, set_name in sets:
    runs.make_set(data[name], set_name)
  return [
    runs.Run(data[name], set_name, arm, configs[name], options.steps, options.views, seed)
    for seed in options.seeds
    for name, set_name in sets
    for arm in arms
  ]


def chosen_arms(options: argparse.Namespace) -> list[arms_lib.Arm]:
  """Returns the arms that the options ask for.

  Raises:
    ValueError: two have one name, or a variant has another form.
  """
  known = arms_lib.named(options.threshold)
  arms = [known[name] for name in options.arms]
  mining = known[arms_lib.CO_MINING]
  arms += [arms_lib.with_threshold(mining, threshold) for threshold in options.thresholds]
  if options.label_arms:
    arms.append(arms_lib.with_labels_from_annotations(mining))
  arms += [arms_lib.parse_variant(text, known) for text in options.variant]
  names = [arm.name for arm in arms]
  if not names or len(set(names)) < len(names):
    raise ValueError(f"arms are {', '.join(names) or 'none'}; accepted: at least one, each once")
  return arms


def carry_out_all(planned: Sequence[runs.Run], options: argparse.Namespace) -> set[str]:
  """Carries out the runs that are not finished; returns the names of those that failed."""

  def job(run: runs.Run):
    def carry_out(processor: int) -> str:
      record = runs.carry_out(run, processor, options.keep_models)
      return f"mAP@0.5 {record['mAP50']:.1f}, COCO AP {record['AP']:.1f}"

    return carry_out

  processors = options.processors or sorted(os.sched_getaffinity(0))[: options.jobs]
  jobs = {run.name: job(run) for run in planned if not run.is_complete}
  return accuracy_runs.in_parallel(jobs, processors)


def _parse_set(text: str) -> tuple[str, str]:
  name, _, set_name = text.partition(":")
  if name not in CONFIGS or set_name not in runs.SETS:
    raise ValueError(
      f"--sets is {text!r}; accepted: DATA:SET, with DATA {' or '.join(CONFIGS)} and SET one of"
      f" {', '.join(runs.SETS)}"
    )
  return name, set_name


def _source(name: str, options: argparse.Namespace) -> data_lib.Source:
  if name == "scenes":
    return data_lib.scenes(options.scenes, options.final)
  if options.bccd is None:
    raise ValueError("--bccd names no folder; accepted: BCCD in VOC layout")
  return data_lib.bccd(options.bccd, options.final)


def _parser() -> argparse.ArgumentParser:
  parser = argparse.ArgumentParser(
    prog="python -m benchmarks.co_mining_study",
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
    allow_abbrev=False,
  )
  processors, names = sorted(os.sched_getaffinity(0)), [*arms_lib.named()]
  add = parser.add_argument
  add("--output_dir", type=pathlib.Path, required=True)
  add("--sets", nargs="+", default=["bccd:hard", "bccd:extreme", "scenes:50miss"])
  add("--bccd", type=pathlib.Path, help="folder of BCCD in VOC layout")
  add("--scenes", type=int, default=data_lib.SCENES, help="scenes to train on (default: 150)")
  add("--final", action="store_true", help="train on all training images, evaluate on test")
  add("--config", action="append", default=[], metavar="DATA=CONFIG.yaml", help="in place of rows")
  default = [name for name in names if name not in arms_lib.UNLABELLED]
  add("--arms", nargs="*", choices=names, default=default, metavar="ARM", help=", ".join(names))
  add("--threshold", type=float, help="of the arms that mine (default: the configuration's)")
  add("--thresholds", type=float, nargs="*", default=[], help="further arms, a sweep of Co-mining")
  add("--label_arms", action="store_true", help="a further arm: labels_from annotations")
  add("--variant", action="append", default=[], metavar="NAME=ARM;OVERRIDES", help="a further arm")
  add("--steps", type=count, default=1500, help="of each training (default: 1500)")
  add("--views", type=even, default=4, help="views in a step (default: 4)")
  add("--seeds", type=int, nargs="+", default=[0, 1, 2])
  add("--jobs", type=int, choices=range(1, len(processors) + 1), default=len(processors))
  add("--processors", type=int, nargs="+", choices=processors, help="in place of --jobs: which")
  add("--keep_models", action="store_true", help="keep the last checkpoint of each run")
  add("--only_report", action="store_true", help="print what is finished")
  return parser


def count(text: str) -> int:
  """Type of a flag: a number from 1 on."""
  value = int(text)
  if value < 1:
    raise argparse.ArgumentTypeError(f"{text}; accepted: at least 1")
  return value


def even(text: str) -> int:
  """Type of a flag: an even number from 2 on."""
  value = int(text)
  if value < 2 or value % 2:
    raise argparse.ArgumentTypeError(f"{text}; accepted: an even number from 2 on")
  return value


if __name__ == "__main__":
  try:
    sys.exit(main())
  except KeyboardInterrupt:
    sys.exit(130)
