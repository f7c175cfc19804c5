"""What the auxiliary trunks are worth: mAP and time of short trainings, side by side.

    python -m benchmarks.trunks --output_dir runs/trunks

Trains MobileNet v1 detectors from scratch on the demo's scenes and on BCCD (at half its size) with
every variant and three seeds, through train.py, and prints a table: mean and standard deviation of
the mAP after the last step, the difference to `own` in those deviations, and processor seconds.
The schedules are short, so that mAPs are lower than those of configs/README.md; they are for
comparing. The data must be there: `make demo` makes the scenes, README.md says how BCCD is
converted.

A run takes 3 to 6 minutes on two cores, all of them some two hours. One that is finished is not run
again, so a killed command goes on where it was; `--only_report` prints what there is.
"""

import argparse
import json
import pathlib
import resource
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).parents[1]
WITHOUT = "task.auxiliary.{}.loss_weight=0.0"
VARIANTS = {
  "own": "",
  "shared_map": "task.auxiliary.trunk=shared_map,task.auxiliary.shared_map.stride=1",
  "classifier_features": "task.auxiliary.trunk=classifier_features",
  "task1": f"{WITHOUT.format('closeness')},{WITHOUT.format('foreground')}",
  "baseline": ",".join(
    [WITHOUT.format(name) for name in ("multi_object", "closeness", "foreground")]
    + ["task.refinement.enabled=false"]
  ),
}
SIZE = "canvas_size=[240,320],task.{0}.short_side=240,task.{0}.long_side=320"
# Flagfile, steps, and what differs from the flagfile's experiment.
DATA = {
  "scenes": ("configs/flags/demo.flags", 600, ""),
  "bccd": (
    "configs/flags/bccd_frcnn_mobilenet_mtl.flags",
    750,
    ",".join(f"task.{data}.{SIZE.format(data)}" for data in ("train_data", "validation_data"))
    + ",task.anchors.base_size_px=80.0,task.auxiliary.multi_object.min_size_px=16.0",
  ),
}
METRIC = "voc/mAP50_area"


def overrides(data: str, variant: str, seed: int) -> str:
  """Returns `--params_override` of a run."""
  _, steps, fields = DATA[data]
  schedule = ",".join(
    f"{field}={steps}"
    for field in (
      "trainer.train_steps",
      "trainer.validation_interval",
      "trainer.checkpoint_interval",
      "trainer.optimizer_config.learning_rate.cosine.decay_steps",
    )
  )
  seeds = f"task.seed={seed},task.train_data.seed={seed},task.pictures.interval=0"
  return ",".join(part for part in (schedule, fields, VARIANTS[variant], seeds) if part)


def train(folder: pathlib.Path, data: str, variant: str, seed: int) -> bool:
  """Runs a training to its end; says whether it got there."""
  flagfile, _, _ = DATA[data]
  command = [sys.executable, "train.py", f"--flagfile={flagfile}", f"--model_dir={folder}"]
  before = resource.getrusage(resource.RUSAGE_CHILDREN)
  with open(folder.with_suffix(".log"), "w") as log:
    status = subprocess.call(
      [*command, f"--params_override={overrides(data, variant, seed)}"],
      cwd=ROOT,
      stdout=log,
      stderr=subprocess.STDOUT,
    )
  after = resource.getrusage(resource.RUSAGE_CHILDREN)
  if status:
    print(f"  failed with {status}: {folder.with_suffix('.log')}", flush=True)
    return False
  seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
  folder.with_suffix(".json").write_text(json.dumps({"cpu_seconds": round(seconds)}))
  return True


def result(folder: pathlib.Path, data: str) -> tuple[float, float] | None:
  """Returns a finished run's mAP in per cent and its processor seconds."""
  _, steps, _ = DATA[data]
  figures, cost = folder / f"evaluation-{steps}.json", folder.with_suffix(".json")
  if not (figures.exists() and cost.exists()):
    return None
  seconds = json.loads(cost.read_text())["cpu_seconds"]
  return 100.0 * json.loads(figures.read_text())[METRIC], seconds


def table(results: dict[tuple[str, str], list[tuple[float, float]]]) -> str:
  """Returns the report, a line for each data set and variant.

  The difference to `own` is given in standard deviations of a difference of two single runs: the
  root of the sum of both variances.
  """
  lines = [
    "| data | trunk | seeds | mAP@0.5 (area) | to own | deviations | CPU seconds, to own |",
    "|---|---|---|---|---|---|---|",
  ]
  for (data, variant), found in results.items():
    own = results.get((data, "own"), [])
    figures, seconds = ([run[i] for run in found] for i in (0, 1))
    mean = f"{statistics.mean(figures):.1f}"
    if len(found) > 1:
      mean += f" ± {statistics.stdev(figures):.1f}"
    difference = deviations = ratio = ""
    if own:
      own_figures, own_seconds = ([run[i] for run in own] for i in (0, 1))
      gap = statistics.mean(figures) - statistics.mean(own_figures)
      difference = f"{gap:+.1f}"
      ratio = f"{statistics.mean(seconds) / statistics.mean(own_seconds):.2f}"
      if min(len(found), len(own)) > 1 and variant != "own":
        spread = (statistics.variance(figures) + statistics.variance(own_figures)) ** 0.5
        deviations = f"{gap / spread:+.1f}" if spread else "inf"
    cells = (data, variant, str(len(found)), mean, difference, deviations, ratio)
    lines.append("| " + " | ".join(cells) + " |")
  return "\n".join(lines)


def main() -> int:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--output_dir", type=pathlib.Path, required=True)
  parser.add_argument("--data", nargs="+", choices=DATA, default=list(DATA))
  parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
  parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
  parser.add_argument("--only_report", action="store_true")
  options = parser.parse_args()

  output_dir = options.output_dir.resolve()
  output_dir.mkdir(parents=True, exist_ok=True)
  # All variants of a seed before the next seed, so that what there is can be compared.
  runs = [
    (data, variant, seed)
    for seed in options.seeds
    for data in options.data
    for variant in options.variants
  ]
  start, num_run, failed = time.monotonic(), 0, False
  results = {(data, variant): [] for data in options.data for variant in options.variants}
  for i, (data, variant, seed) in enumerate(runs):
    folder = output_dir / f"{data}_{variant}_{seed}"
    if result(folder, data) is None and not options.only_report:
      left = (time.monotonic() - start) / num_run * (len(runs) - i) if num_run else None
      told = "" if left is None else f", about {left / 60:.0f} min left"
      print(f"[{i + 1}/{len(runs)}] {folder.name}{told}", flush=True)
      failed |= not train(folder, data, variant, seed)
      num_run += 1
    found = result(folder, data)
    if found is not None:
      results[data, variant].append(found)
  print(table({key: found for key, found in results.items() if found}))
  return int(failed)


if __name__ == "__main__":
  sys.exit(main())
