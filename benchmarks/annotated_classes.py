"""Measures what annotated classes are worth: scenes of which each image has half of the classes.

    python -m benchmarks.annotated_classes --output_dir runs/annotated_classes --steps 1500 \\
        --seeds 0 1 2

Three training sets of the same embedded scenes: `full`, with all annotations; `halves`, where every
other image is annotated for the first half of the classes and the rest for the second half, as two
merged data sets would be, and says so in `annotated_classes`; and `unstated`, the same boxes
without that field, so that all other objects are background. All are evaluated on complete
annotations of other scenes. Settings are to be chosen on scenes of another drawing than those of
`--final`.

Each of `--jobs` runs has one processor. A run that is finished is not carried out again, and a
stopped one is resumed by the same command. Written to the output folder: study.json, report.md.
"""

import argparse
import dataclasses
import os
import pathlib
import signal
import statistics
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks import co_mining_study
from benchmarks.accuracy import data as data_lib
from benchmarks.accuracy import runs as accuracy_runs
from benchmarks.accuracy import tables as accuracy_tables
from benchmarks.mining import arms as arms_lib
from benchmarks.mining import runs

FULL, HALVES, UNSTATED = runs.FULL, "halves", "unstated"
SETS = (FULL, HALVES, UNSTATED)
# By so much may the halves be below complete annotations, in mAP at an IoU of 0.5, percent.
_WITHIN = 2.0


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
    failed = co_mining_study.carry_out_all(planned, options)
  found = [
    accuracy_runs.read_json(path) for path in sorted(folder.glob(f"*/*/*/*/{runs.RUN_FILE}"))
  ]
  if not found:
    print(f"{folder} holds no finished run", file=sys.stderr)
    return 1
  text = report(found)
  accuracy_runs.write_json(folder / "study.json", found)
  (folder / "report.md").write_text(text)
  print(f"{text}\nwritten to {folder}: study.json, report.md")
  return int(bool(failed))


def plan(options: argparse.Namespace, folder: pathlib.Path) -> list[runs.Run]:
  """Prepares the data; returns the runs, all training sets of a seed before the next seed.

  Raises:
    ValueError: the data cannot be made.
  """
  data = data_lib.prepare(data_lib.scenes(options.scenes, options.final), folder / "scenes")
  for set_name in (HALVES, UNSTATED):
    make_set(data, set_name)
  arms = arms_lib.named()
  return [
    runs.Run(data, set_name, arms[arm], options.config, options.steps, options.views, seed)
    for seed in options.seeds
    for set_name in options.sets
    for arm in options.arms
  ]


def make_set(data: data_lib.DataSet, set_name: str) -> None:
  """Converts the training images with half of their classes, unless that was done.

  Raises:
    ValueError: they cannot be converted.
  """
  # TensorFlow takes a while to load, and most calls find the files.
  from mtl_ssl_tf.data import coco_json, schema
  from mtl_ssl_tf.data.ground_truth import coco_truth

  split, records = f"train_{set_name}", data.folder / "records"
  if (records / schema.manifest_file(split)).exists():
    return
  truth = coco_truth.read_coco(data.coco("train"))
  path = data.folder / f"{split}.json"
  coco_truth.write_coco(halved(truth, is_stated=set_name == HALVES), path)
  coco_json.convert_split(path, data.images, split, records, num_shards=4, workers=1)


def halved(truth: Any, is_stated: bool) -> Any:
  """Ground truth whose every other image has the first half of the classes, the rest the second.

  Args:
    truth: a `GroundTruth`, completely annotated.
    is_stated: whether the images say so.
  """
  middle = (len(truth.class_names) + 1) // 2
  halves = [*range(1, middle + 1)], [*range(middle + 1, len(truth.class_names) + 1)]
  images = []
  for number, image in enumerate(truth.images):
    image = dataclasses.replace(image, annotated_classes=halves[number % 2]).of_annotated_classes()
    images.append(image if is_stated else dataclasses.replace(image, annotated_classes=None))
  return dataclasses.replace(truth, images=tuple(images))


def report(found: Sequence[Mapping[str, Any]]) -> str:
  """Returns the table of the runs, and how far each set is below complete annotations.

  Args:
    found: contents of `run.json`.
  """
  groups: dict[tuple[str, str], dict[int, Mapping[str, Any]]] = {}
  for run in found:
    groups.setdefault((run["arm"], run["set"]), {})[run["seed"]] = run
  head = ["arm", "training set", "n", "steps", "mAP@0.5", "COCO AP", "below full", "CPU min"]
  lines = ["mAP on complete annotations, percent, mean ± standard deviation over seeds.", ""]
  lines += [_row(head), _row(["---"] * len(head))]
  verdicts = []
  for arm, set_name in sorted(groups, key=lambda key: (key[0], SETS.index(key[1]))):
    of_seed = groups[arm, set_name]
    full = groups.get((arm, FULL), {})
    below = [full[seed]["mAP50"] - run["mAP50"] for seed, run in of_seed.items() if seed in full]
    columns = [[run[name] for run in of_seed.values()] for name in ("mAP50", "AP")]
    cells = [*map(_mean, columns), _mean(below if set_name != FULL else [])]
    steps = ", ".join(map(str, sorted({run["steps"] for run in of_seed.values()})))
    cells.append(_mean([run["cpu_minutes"] for run in of_seed.values()]))
    lines.append(_row([arm, set_name, str(len(of_seed)), steps, *cells]))
    if below and set_name == HALVES:
      mean = statistics.mean(below)
      verdicts.append(
        f"* {arm}: halves that state their classes are {mean:.1f} below complete annotations:"
        f" {'within' if mean <= _WITHIN else 'not within'} {_WITHIN:g}"
      )
  return "\n".join([*lines, "", *verdicts]) + "\n"


def _mean(values: Sequence[float | None]) -> str:
  return accuracy_tables.mean_deviation(values, 1)


def _row(cells: Sequence[str]) -> str:
  return f"| {' | '.join(cells)} |"


def _parser() -> argparse.ArgumentParser:
  parser = argparse.ArgumentParser(
    prog="python -m benchmarks.annotated_classes",
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
    allow_abbrev=False,
  )
  processors = sorted(os.sched_getaffinity(0))
  add = parser.add_argument
  add("--output_dir", type=pathlib.Path, required=True)
  add("--scenes", type=int, default=data_lib.SCENES, help="scenes to train on (default: 150)")
  add("--final", action="store_true", help="train and evaluate on the scenes of the demo")
  add("--config", default=co_mining_study.CONFIGS["scenes"], help="in place of the demo's row")
  add("--sets", nargs="+", choices=SETS, default=SETS)
  add("--arms", nargs="+", choices=[*arms_lib.named()], default=["plain"])
  add("--steps", type=co_mining_study.count, default=1500, help="of each training (default: 1500)")
  add("--views", type=co_mining_study.even, default=4, help="views in a step (default: 4)")
  add("--seeds", type=int, nargs="+", default=[0, 1, 2])
  add("--jobs", type=int, choices=range(1, len(processors) + 1), default=len(processors))
  add("--processors", type=int, nargs="+", choices=processors, help="in place of --jobs: which")
  add("--keep_models", action="store_true", help="keep the last checkpoint of each run")
  add("--only_report", action="store_true", help="print what is finished")
  return parser


if __name__ == "__main__":
  try:
    sys.exit(main())
  except KeyboardInterrupt:
    sys.exit(130)
