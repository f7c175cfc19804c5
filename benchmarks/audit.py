"""Compares rules that find objects without a box: boxes are erased, and are to be found again.

    python -m benchmarks.audit --output_dir runs/audit --bccd FOLDER --steps 1500 \\
        --sets bccd:0.1 bccd:0.3 scenes:0.1 scenes:0.3 --seeds 0 1 2
    ... --columns folds own          (detectors of these very images too)
    ... --predictions bccd=results.json   (no training: detections of the training images)

Of each set, a share of the boxes of each class is erased by `sparse_annotations`. Detectors are
trained on what is left, each on all images but the part that it then detects in, so that nothing is
judged by a detector that was taught that it is background. `benchmarks.auditing.arms` has the
rules, cleanlab's, FiftyOne's and loss inspection among them; a hit is an erased box not hit before,
of the same class, at an IoU of 0.5. With `--cleanlab`, cleanlab itself ranks by its rules. A run
that is finished is not carried out again, and a stopped one is resumed by the same command. Written
to the output folder: audit.json, report.md.
"""

import argparse
import json
import os
import pathlib
import signal
import sys
from collections.abc import Mapping, Sequence

from benchmarks.accuracy import arms as accuracy_arms
from benchmarks.accuracy import data as data_lib
from benchmarks.auditing import arms, runs, tables

CONFIGS = {
  "bccd": "configs/experiments/bccd_frcnn_mobilenet_mtl.yaml",
  "scenes": "configs/experiments/demo_frcnn_mobilenet_mtl.yaml",
}
_JSON_FILE, _REPORT_FILE = "audit.json", "report.md"


def main(arguments: Sequence[str] | None = None) -> int:
  """Runs the command line; returns the exit status."""
  parser = _parser()
  options = parser.parse_args(arguments)
  # TensorFlow's start-up notices hide what there is to say.
  os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
  signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
  folder = options.output_dir.resolve()
  if not options.only_report:
    try:
      _carry_out(options, folder)
    except ValueError as error:
      parser.error(str(error))
  rows = runs.results(folder)
  if not rows:
    print(f"{folder} holds no figures", file=sys.stderr)
    return 1
  text = tables.report(rows)
  (folder / _JSON_FILE).write_text(json.dumps(rows, indent=1) + "\n")
  (folder / _REPORT_FILE).write_text(text)
  print(f"{text}\nwritten to {folder}: {_JSON_FILE}, {_REPORT_FILE}")
  return 0


def _carry_out(options: argparse.Namespace, folder: pathlib.Path) -> None:
  """Prepares data, trains where there are no predictions, and leaves figures.

  Raises:
    ValueError: an option is wrong, or data are missing.
  """
  rules = arms.RULES | (arms.by_cleanlab(options.cleanlab) if options.cleanlab else {})
  sets = [runs.parse_set(text) for text in options.sets]
  configs = CONFIGS | accuracy_arms.parse_pairs("--config", options.config)
  given = accuracy_arms.parse_pairs("--predictions", options.predictions)
  data = {
    name: data_lib.prepare(_source(name, options), folder / name) for name, _ in dict(sets).items()
  }
  for seed in options.seeds:
    for name, share in sets:
      sparse = runs.Sparse(data[name], share, seed)
      sparse.make()
      _judge_all(sparse, options, configs, given, rules)


def _judge_all(
  sparse: runs.Sparse,
  options: argparse.Namespace,
  configs: Mapping[str, str],
  given: Mapping[str, str],
  rules: Mapping[str, arms.Rule],
) -> None:
  from mtl_ssl_tf.data.ground_truth import detection_files, truth_readers

  name = sparse.data.name
  data, erased = sparse.read()
  if name in given:
    # Images that lost all their boxes are not in the set.
    whole = truth_readers.read_records(sparse.data.records("train"))
    of_whole = detection_files.read_predictions(given[name], whole, options.ids_of)
    found = [of_whole[whole.index[image.image_id]] for image in data.truth.images]
    runs.judge(sparse, runs.FILE, data, erased, found, rules)
    return
  if name not in configs:
    raise ValueError(f"--sets {name}: no configuration; accepted: --config {name}=FILE.yaml")
  training = runs.Training(configs[name], options.folds, options.steps, options.jobs)
  for column in options.columns:
    found = runs.detect(sparse, column, training, data)
    runs.judge(sparse, column, data, erased, found, rules)


def _source(name: str, options: argparse.Namespace) -> data_lib.Source:
  if name == "scenes":
    return data_lib.scenes(options.scenes, final=False)
  folders = accuracy_arms.parse_pairs("--voc", options.voc)
  if options.bccd is not None:
    folders["bccd"] = options.bccd
  if name not in folders:
    accepted = "--bccd FOLDER" if name == "bccd" else f"--voc {name}=FOLDER"
    raise ValueError(f"--sets {name}: no data; accepted: {accepted}, in VOC layout")
  folder = pathlib.Path(folders[name])
  source = data_lib.bccd(folder, final=False)
  return data_lib.Source(name, folder, source.train, source.test)


def _parser() -> argparse.ArgumentParser:
  parser = argparse.ArgumentParser(
    prog="python -m benchmarks.audit",
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
    allow_abbrev=False,
  )
  processors = sorted(os.sched_getaffinity(0))
  add = parser.add_argument
  add("--output_dir", type=pathlib.Path, required=True)
  add("--sets", nargs="+", default=["bccd:0.1", "bccd:0.3", "scenes:0.1", "scenes:0.3"])
  add("--bccd", help="folder of BCCD in VOC layout")
  add("--voc", action="append", default=[], metavar="DATA=FOLDER", help="with splits train, val")
  add("--scenes", type=int, default=data_lib.SCENES, help="scenes to train on (default: 150)")
  add("--config", action="append", default=[], metavar="DATA=CONFIG.yaml", help="to train with")
  add("--columns", nargs="+", choices=(runs.FOLDS, runs.OWN), default=[runs.FOLDS])
  add("--folds", type=int, default=4, help="parts of the images (default: 4)")
  add("--steps", type=int, default=1500, help="of each training (default: 1500)")
  add("--seeds", type=int, nargs="+", default=[0, 1, 2])
  add("--jobs", type=int, choices=range(1, len(processors) + 1), default=len(processors))
  add("--predictions", action="append", default=[], metavar="DATA=FILE", help="no training")
  add("--ids_of", help="of the predictions, as evaluate takes it")
  add("--cleanlab", metavar="PYTHON", help="of an environment with cleanlab 2.9")
  add("--only_report", action="store_true", help="print what is finished")
  return parser


if __name__ == "__main__":
  try:
    sys.exit(main())
  except KeyboardInterrupt:
    sys.exit(130)
