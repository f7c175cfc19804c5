"""Compares training with and without MTL-SSL, against the number of images and against the steps.

    python -m benchmarks.gain --output_dir runs/gain --bccd FOLDER --sets scenes:150 bccd:60 \\
        --arms full --steps 500 2000 --seeds 0 1 2 3 4

    ... --arms --config FILE.yaml --recipe ema mosaic       (items of the recipe, without MTL-SSL)

A set is `DATA:IMAGES`, with DATA `scenes` or `bccd`; a larger set holds the images of the smaller
ones. `scenes:IMAGES:PERCENT` has scenes in which neighbours tell the class of so many look-alikes.
Each set, with each number of steps, is one call of `mtl_ssl_tf.compare`, whose first arm is the
detector without auxiliary tasks and refinement. All sets of a kind are evaluated on the same
images: of the scenes another drawing, of BCCD its validation split. `--final` trains on other
scenes and on BCCD's trainval split, tests on its test split, and has folders of its own.

A run that is complete is not repeated, and the same command resumes what was stopped.
`--only_report` reports what there is, of the sets and steps that are given or of all, with records
of further seeds or arms that lie beside them as comparison_NAME.json. Written to the output folder:
gain.json, gain.md, gain_images.png, gain_steps.png, where a set has several arms gain_arms.png, and
in the folder of each set and number of steps, such as scenes_150_500steps, its comparison.json, .md
and .html.
"""

import argparse
import json
import os
import pathlib
import signal
import subprocess
import sys
from collections.abc import Sequence

from benchmarks.accuracy import data as data_lib
from benchmarks.gains import picture, records, tables

SMALL_INPUTS = "benchmarks/mining/small_inputs.yaml"
FULL = "benchmarks/gains/full.yaml"
_SETS, _STEPS = ("scenes:30", "scenes:150", "scenes:600"), (500, 2000)
BASELINE = "baseline"
_ARM_FOLDERS = ("configs/parts/ablations", "benchmarks/gains/arms")
_RECIPE_FOLDER = "benchmarks/recipe"
_STUDY_FILE, _REPORT_FILE = "gain.json", "gain.md"
_PICTURES = {"images": "gain_images.png", "steps": "gain_steps.png"}
_ARMS_PICTURE = "gain_arms.png"


def main(arguments: Sequence[str] | None = None) -> int:
  """Runs the command line; returns the exit status."""
  parser = _parser()
  options = parser.parse_args(arguments)
  os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
  signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
  folder = options.output_dir.resolve() / ("final" if options.final else "choosing")
  failed = []
  try:
    sets = [source(text, options) for text in options.sets or _SETS]
  except ValueError as error:
    parser.error(str(error))
  if not options.only_report:
    for one in sets:
      data = data_lib.prepare(one, folder / "data" / set_name(one))
      for steps in options.steps or _STEPS:
        place = folder / place_name(one, steps)
        if subprocess.run(comparison(data, place, steps, options), cwd=data_lib.ROOT).returncode:
          failed.append(place.name)
  wanted = ["*"]
  if options.only_report and options.sets:
    wanted = [place_name(one, steps) for one in sets for steps in options.steps or ["*"]]
  found = records.read(folder, wanted)
  if not found:
    print(f"{folder} holds no comparison", file=sys.stderr)
    return 1
  rows = tables.rows(found)
  text = tables.report(rows)
  (folder / _STUDY_FILE).write_text(json.dumps(rows, indent=1) + "\n")
  (folder / _REPORT_FILE).write_text(text)
  for against, name in _PICTURES.items():
    picture.draw(rows, against, folder / name)
  picture.draw_arms(rows, folder / _ARMS_PICTURE)
  names = (_STUDY_FILE, _REPORT_FILE, *_PICTURES.values(), _ARMS_PICTURE)
  written = ", ".join(name for name in names if (folder / name).exists())
  print(f"{text}\nwritten to {folder}: {written}")
  if failed:
    print(f"not complete: {', '.join(failed)}", file=sys.stderr)
  return int(bool(failed))


def source(text: str, options: argparse.Namespace) -> data_lib.Source:
  """Returns the data of a set.

  Args:
    text: `DATA:IMAGES`, of scenes also with `:PERCENT`.
    options: of the command line.

  Raises:
    ValueError: it has another form, or a folder is missing.
  """
  name, number, *others = text.split(":") if ":" in text else (text, "")
  words = [number, *others]
  if (
    name not in ("scenes", "bccd")
    or len(others) > (name == "scenes")
    or not all(word.isdecimal() for word in words)
    or int(number) < 1
  ):
    raise ValueError(
      f"--sets is {text!r}; accepted: scenes:IMAGES, scenes:IMAGES:PERCENT or bccd:IMAGES, from 1"
      " image on"
    )
  if name == "scenes":
    return data_lib.scenes(int(number), options.final, *map(int, others))
  if options.bccd is None:
    raise ValueError("--bccd names no folder; accepted: BCCD in VOC layout")
  return data_lib.bccd(options.bccd, options.final, int(number))


def arm_parts() -> dict[str, tuple[str, ...]]:
  """Returns the files of each arm but the first, which are applied over `FULL`.

  They are `full` itself, the rows of the paper's ablation, single differences of the released code
  and other settings that may matter.
  """
  parts: dict[str, tuple[str, ...]] = {"full": ()}
  for folder in _ARM_FOLDERS:
    for path in sorted((data_lib.ROOT / folder).glob("*.yaml")):
      if path.stem != BASELINE:
        parts[path.stem] = (f"{folder}/{path.name}",)
  return parts


def recipe_items() -> dict[str, str]:
  """Returns the file of each item of the recipe, which is applied over the first arm."""
  paths = sorted((data_lib.ROOT / _RECIPE_FOLDER).glob("*.yaml"))
  return {path.stem: f"{_RECIPE_FOLDER}/{path.name}" for path in paths}


def set_name(one: data_lib.Source) -> str:
  """Returns the name of a set, such as `scenes_150`."""
  return f"{one.name}_{one.num_images}"


def place_name(one: data_lib.Source, steps: int | str) -> str:
  """Returns the folder of a set's comparison after so many steps."""
  return f"{set_name(one)}_{steps}steps"


def comparison(
  data: data_lib.DataSet, output_dir: pathlib.Path, steps: int, options: argparse.Namespace
) -> list[str]:
  """Returns the command that compares the arms on a set after so many steps."""
  arms = [f"{BASELINE}={options.config}"]
  parts = arm_parts()
  arms += ["+".join((f"{name}={options.config}", FULL, *parts[name])) for name in options.arms]
  items = recipe_items()
  arms += [f"{name}={options.config}+{items[name]}" for name in options.recipe]
  return compare_command(arms, data, output_dir, steps, options)


def compare_command(
  configs: Sequence[str],
  data: data_lib.DataSet,
  output_dir: pathlib.Path,
  steps: int,
  options: argparse.Namespace,
) -> list[str]:
  """Returns the command that compares configurations on a set after so many steps."""
  fields = {
    "task.label_map": data.folder / "records" / "label_map.txt",
    "task.train_data.input_path": data.records("train"),
    "task.validation_data.input_path": data.records("test"),
  }
  command = [sys.executable, "-m", "mtl_ssl_tf.compare", "--configs", *configs]
  command += ["--params_override", ",".join(f"{name}={value}" for name, value in fields.items())]
  command += ["--seeds", *map(str, options.seeds), "--output_dir", str(output_dir)]
  command += [f"--steps={steps}", f"--evaluations={options.evaluations}"]
  return [*command, f"--jobs={options.jobs}", "--refinement_ablation"]


def _parser() -> argparse.ArgumentParser:
  parser = argparse.ArgumentParser(
    prog="python -m benchmarks.gain",
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
    allow_abbrev=False,
  )
  processors = len(os.sched_getaffinity(0))
  add = parser.add_argument
  add("--output_dir", type=pathlib.Path, required=True)
  add("--bccd", type=pathlib.Path, help="folder of BCCD in VOC layout")
  add("--sets", nargs="+", metavar="DATA:IMAGES", help=f"default: {' '.join(_SETS)}")
  arms = list(arm_parts())
  add("--arms", nargs="*", choices=arms, default=["full"], metavar="ARM", help=", ".join(arms))
  items = list(recipe_items())
  add("--recipe", nargs="*", choices=items, default=[], metavar="ITEM", help=", ".join(items))
  add("--config", default=SMALL_INPUTS, help=f"of the first arm (default: {SMALL_INPUTS})")
  add("--final", action="store_true", help="other scenes; BCCD's test split")
  add("--steps", type=int, nargs="+", help=f"of a training (default: {' '.join(map(str, _STEPS))})")
  add("--evaluations", type=int, default=4, help="along each training (default: 4)")
  add("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
  add("--jobs", type=int, choices=range(1, processors + 1), default=processors)
  add("--only_report", action="store_true", help="of the comparisons that there are")
  return parser


if __name__ == "__main__":
  try:
    sys.exit(main())
  except KeyboardInterrupt:
    sys.exit(130)
