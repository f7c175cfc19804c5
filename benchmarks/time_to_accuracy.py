"""Compares detectors by accuracy against CPU minutes: arms side by side, judged alike.

    python -m benchmarks.time_to_accuracy --output_dir runs/accuracy --data bccd scenes \\
        --bccd FOLDER --arm preset=configs/own_data.yaml --budgets 10 20 40 --seeds 0 1 2
    python -m benchmarks.time_to_accuracy --output_dir runs/accuracy --voc FOLDER --train T \\
        --test S --arm 'preset=CONFIG.yaml;trainer.nonfinite=recover' --init preset=WEIGHTS
    ... --peer 'NAME=COMMAND with {work_dir} {minutes} {seed}'      (see benchmarks/peers)

Each budget is a run of its own, with as many training steps as fill it: a short calibration
measures CPU seconds of start-up and of a step, and the schedule of the learning rate follows the
steps. CPU minutes are user and system time of the training process, start-up included, evaluation
left out. Each of `--jobs` runs has one processor. All arms are evaluated from COCO result files by
`mtl_ssl_tf.evaluate` on the same ground truth.

A peer's command trains for {minutes} CPU minutes on the COCO file {train}, detects objects in the
images of {test} ({images} is the folder of all images) and writes {work_dir}/results.json with
boxes in pixels of the file; {work_dir}/report.json may hold `steps`, `train_cpu_s`, `start_up_s`,
`step_s` and `evaluation_cpu_s`. {arm_dir} is kept between its runs.

Settings are to be chosen on a part of the training images, which is the default; `--final` trains
on all of them and evaluates on the test images, in folders of its own.

A run that is finished is not carried out again; a stopped command continues with the same command.
Written to the output folder: runs.json, report.md, accuracy.png.
"""

import argparse
import os
import pathlib
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.accuracy import arms as arms_lib
from benchmarks.accuracy import data as data_lib
from benchmarks.accuracy import inspection, processes, runs, tables


def main(arguments: Sequence[str] | None = None) -> int:
  """Runs the command line; returns the exit status."""
  parser = _parser()
  options = parser.parse_args(arguments)
  # TensorFlow's start-up notices hide what there is to say.
  os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
  signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
  folder = options.output_dir.resolve() / ("final" if options.final else "choosing")
  failed = False
  if not options.only_report:
    try:
      arms = _arms(options)
      data_sets = [data_lib.prepare(source, folder / source.name) for source in _sources(options)]
      for data in data_sets:
        for arm in arms:
          runs.claim(data, arm)
    except ValueError as error:
      parser.error(str(error))
    failed = not _carry_out_all(data_sets, arms, options)
  found = [runs.read_json(path) for path in sorted(folder.glob(f"*/*/*/{runs.RUN_FILE}"))]
  if not found:
    print(f"{folder} holds no finished run", file=sys.stderr)
    return 1
  _write_report(folder, found)
  return int(failed)


def _carry_out_all(data_sets: Sequence, arms: Sequence, options: argparse.Namespace) -> bool:
  """Calibrates all arms, then carries out all runs; returns whether all succeeded."""
  states = {
    (data.name, arm.name): runs.ArmState(data, arm)
    for data in data_sets
    for arm in arms
    if isinstance(arm, arms_lib.Ours)
  }
  cpu_s = runs.calibration_seconds(options.budgets)
  calibrations = {
    f"{data} {arm}: calibration": (lambda processor, state=state: state.calibrate(processor, cpu_s))
    for (data, arm), state in states.items()
  }
  processors = options.processors or sorted(os.sched_getaffinity(0))[: options.jobs]
  failures = processes.in_parallel(calibrations, processors)
  planned = {}
  # All arms of a seed before the next seed, so that what is finished can be compared.
  for data in data_sets:
    for minutes in sorted(options.budgets):
      for seed in options.seeds:
        for arm in arms:
          run = runs.Run(data, arm, minutes, seed)
          if not run.is_complete and f"{data.name} {arm.name}: calibration" not in failures:
            inspects = seed == options.seeds[0] and not options.no_inspection
            state = states.get((data.name, arm.name))
            planned[run.name] = _job(run, state, inspects)
  return not failures | processes.in_parallel(planned, processors)


def _job(run: runs.Run, state: runs.ArmState | None, inspects: bool) -> Callable[[int], str]:
  def carry_out(processor: int) -> str:
    record = runs.carry_out(run, processor, state)
    if inspects and state is not None:
      record |= inspection.inspect(run, processor)
      runs.write_json(run.folder / runs.RUN_FILE, record)
    return (
      f"mAP@0.5 {record['mAP50']:.1f}, COCO AP {record['AP']:.1f}, {record['steps']} steps,"
      f" {record['cpu_minutes']:.1f} CPU min"
    )

  return carry_out


def _write_report(folder: pathlib.Path, found: Sequence[dict[str, Any]]) -> None:
  # Matplotlib takes a while to load.
  from benchmarks.accuracy import picture

  text = tables.report(found)
  runs.write_json(folder / "runs.json", list(found))
  (folder / "report.md").write_text(text)
  picture.draw(found, folder / "accuracy.png")
  print(text)
  print(f"written to {folder}: runs.json, report.md, accuracy.png")


def _arms(options: argparse.Namespace) -> list[arms_lib.Ours | arms_lib.Peer]:
  inits = arms_lib.parse_pairs("--init", options.init)
  ours = [arms_lib.parse_ours(text, inits) for text in options.arm]
  unknown = inits.keys() - {arm.name for arm in ours}
  if unknown:
    raise ValueError(f"--init names {min(unknown)!r}; accepted: names of --arm")
  arms = [*ours, *(arms_lib.parse_peer(text) for text in options.peer)]
  names = [arm.name for arm in arms]
  if not names or len(set(names)) < len(names):
    raise ValueError(f"arms are {', '.join(names) or 'none'}; accepted: at least one, each once")
  return arms


def _sources(options: argparse.Namespace) -> list[data_lib.Source]:
  sources = []
  for name in options.data:
    if name == "scenes":
      sources.append(data_lib.scenes(options.scenes, options.final))
    elif options.bccd is None:
      print("bccd is left out: --bccd names no folder", file=sys.stderr)
    else:
      sources.append(data_lib.bccd(options.bccd, options.final))
  for folder in options.voc:
    splits = (options.train, options.test)
    sources.append(data_lib.voc(folder, *splits, options.final, options.validation_part))
  if not sources:
    raise ValueError("no data set is left; accepted: --data scenes, --bccd FOLDER, --voc FOLDER")
  return sources


def _parser() -> argparse.ArgumentParser:
  parser = argparse.ArgumentParser(
    prog="python -m benchmarks.time_to_accuracy",
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
    allow_abbrev=False,
  )
  processors = sorted(os.sched_getaffinity(0))
  add = parser.add_argument
  add("--output_dir", type=pathlib.Path, required=True)
  add("--data", nargs="*", choices=("bccd", "scenes"), default=[])
  add("--bccd", type=pathlib.Path, help="folder of BCCD in VOC layout")
  add("--scenes", type=int, default=data_lib.SCENES, help="scenes to train on (default: 150)")
  add("--voc", type=pathlib.Path, action="append", default=[], help="any folder in VOC layout")
  add("--train", default="trainval", help="split of --voc to train on (default: trainval)")
  add("--test", default="test", help="split of --voc that --final evaluates on (default: test)")
  add("--validation_part", type=_part, default=0.25, help="share of --train to choose on")
  add("--final", action="store_true", help="train on all training images, evaluate on test")
  add("--arm", action="append", default=[], metavar="NAME=CONFIG.yaml[+CONFIG.yaml][;OVERRIDES]")
  add("--init", action="append", default=[], metavar="NAME=WEIGHTS", help="start of an arm")
  add("--peer", action="append", default=[], metavar="NAME=COMMAND")
  add("--budgets", type=_minutes, nargs="+", default=[10.0, 20.0, 40.0], help="CPU minutes")
  add("--seeds", type=int, nargs="+", default=[0, 1, 2])
  add("--jobs", type=int, choices=range(1, len(processors) + 1), default=len(processors))
  add("--processors", type=int, nargs="+", choices=processors, help="in place of --jobs: which")
  add("--no_inspection", action="store_true", help="leave out proposals and cost of the input")
  add("--only_report", action="store_true", help="print what is finished")
  return parser


def _minutes(text: str) -> float:
  value = float(text)
  if value <= 0.0:
    raise argparse.ArgumentTypeError(f"{text}; accepted: above 0")
  return value


def _part(text: str) -> float:
  value = float(text)
  if not 0.0 < value < 1.0:
    raise argparse.ArgumentTypeError(f"{text}; accepted: above 0, below 1")
  return value


if __name__ == "__main__":
  try:
    sys.exit(main())
  except KeyboardInterrupt:
    sys.exit(130)
