"""Accuracy of auxiliary heads by the features that they classify: mAP of short trainings.

    python -m benchmarks.auxiliary_features --output_dir runs/auxiliary_features

Trains MobileNet v1 detectors from scratch on the demo's scenes and on BCCD (at half its size) with
every variant and three seeds, through train.py, and prints a table: mean and standard deviation of
the mAP after the last step, and the difference to `own_stage2` in those deviations. The schedules
are short, so that mAPs are lower than those of configs/README.md and seeds lie far apart; they are
for comparing. `benchmarks.run` measures the cost of the variants. The data must be there:
`make demo` makes the scenes, README.md says how BCCD is converted.

Each of `--jobs` trainings has a processor to itself, where a run takes about 5 minutes; all of them
take an hour and a quarter on two. One that is finished is not run again, so a killed command goes
on where it was; `--only_report` prints what there is.
"""

import argparse
import concurrent.futures
import json
import os
import pathlib
import queue
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).parents[1]
WITHOUT = "task.auxiliary.{}.loss_weight=0.0"
VARIANTS = {
  "own_stage2": "",
  # Of MobileNet, whose second stage strides by itself.
  "shared_map": "task.auxiliary.features=shared_map,task.auxiliary.shared_map.stride=1",
  "main_head": "task.auxiliary.features=main_head",
  "task1": f"{WITHOUT.format('closeness')},{WITHOUT.format('foreground')}",
  "baseline": ",".join(
    [WITHOUT.format(name) for name in ("multi_object", "closeness", "foreground")]
    + ["task.refinement.enabled=false"]
  ),
}
SIZE = "input_size=[240,320],task.{0}.short_side=240,task.{0}.long_side=320"
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


def train(folder: pathlib.Path, data: str, variant: str, seed: int, processor: int) -> int:
  """Runs a training to its end on one processor; returns its exit status."""
  flagfile, _, _ = DATA[data]
  with open(folder.with_suffix(".log"), "w") as log:
    process = subprocess.Popen(
      [
        sys.executable,
        "train.py",
        f"--flagfile={flagfile}",
        f"--model_dir={folder}",
        f"--params_override={overrides(data, variant, seed)}",
      ],
      cwd=ROOT,
      stdout=log,
      stderr=subprocess.STDOUT,
    )
    # Long before TensorFlow asks how many there are.
    os.sched_setaffinity(process.pid, {processor})
    return process.wait()


def result(folder: pathlib.Path, data: str) -> float | None:
  """Returns a finished run's mAP in per cent."""
  _, steps, _ = DATA[data]
  figures = folder / f"evaluation-{steps}.json"
  return 100.0 * json.loads(figures.read_text())[METRIC] if figures.exists() else None


def table(results: dict[tuple[str, str], list[float]]) -> str:
  """Returns the report, a line for each data set and variant.

  Args:
    results: mAPs of the seeds, in per cent, by data set and variant.

  Returns:
    Lines of Markdown. The difference to `own_stage2` is also given in standard deviations of a
    difference of two single runs: the root of the sum of both variances.
  """
  lines = [
    "| data | features | seeds | mAP@0.5 (area) | to own | deviations |",
    "|---|---|---|---|---|---|",
  ]
  for (data, variant), figures in results.items():
    own = results.get((data, "own_stage2"), [])
    mean = f"{statistics.mean(figures):.1f}"
    if len(figures) > 1:
      mean += f" ± {statistics.stdev(figures):.1f}"
    difference = deviations = ""
    if own and variant != "own_stage2":
      gap = statistics.mean(figures) - statistics.mean(own)
      difference = f"{gap:+.1f}"
      if min(len(figures), len(own)) > 1:
        spread = (statistics.variance(figures) + statistics.variance(own)) ** 0.5
        deviations = f"{gap / spread:+.1f}" if spread else "inf"
    cells = (data, variant, str(len(figures)), mean, difference, deviations)
    lines.append("| " + " | ".join(cells) + " |")
  return "\n".join(lines)


def main() -> int:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  processors = sorted(os.sched_getaffinity(0))
  parser.add_argument("--output_dir", type=pathlib.Path, required=True)
  parser.add_argument("--data", nargs="+", choices=DATA, default=list(DATA))
  parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
  parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
  parser.add_argument(
    "--jobs", type=int, choices=range(1, len(processors) + 1), default=len(processors)
  )
  parser.add_argument("--only_report", action="store_true")
  options = parser.parse_args()

  output_dir = options.output_dir.resolve()
  output_dir.mkdir(parents=True, exist_ok=True)
  # All variants of a seed before the next seed, so that what there is can be compared.
  runs = {
    output_dir / f"{data}_{variant}_{seed}": (data, variant, seed)
    for seed in options.seeds
    for data in options.data
    for variant in options.variants
  }
  missing = [folder for folder, (data, *_) in runs.items() if result(folder, data) is None]
  failed = False
  if missing and not options.only_report:
    failed = not train_all({folder: runs[folder] for folder in missing}, processors[: options.jobs])
  results = {(data, variant): [] for data in options.data for variant in options.variants}
  for folder, (data, variant, _) in runs.items():
    found = result(folder, data)
    if found is not None:
      results[data, variant].append(found)
  print(table({key: found for key, found in results.items() if found}))
  return int(failed)


def train_all(runs: dict[pathlib.Path, tuple[str, str, int]], processors: list[int]) -> bool:
  """Runs trainings, one on each processor at a time; returns whether all got to their end."""
  free = queue.SimpleQueue()
  for processor in processors:
    free.put(processor)

  def run(folder: pathlib.Path) -> int:
    processor = free.get()
    try:
      return train(folder, *runs[folder], processor)
    finally:
      free.put(processor)

  start, failed = time.monotonic(), False
  with concurrent.futures.ThreadPoolExecutor(len(processors)) as pool:
    trainings = {pool.submit(run, folder): folder for folder in runs}
    for number, done in enumerate(concurrent.futures.as_completed(trainings), 1):
      folder, status = trainings[done], done.result()
      failed |= bool(status)
      outcome = f"failed with {status}: {folder.with_suffix('.log')}" if status else "done"
      left = (time.monotonic() - start) / number * (len(runs) - number)
      remaining = f"about {left / 60:.0f} min left"
      print(f"[{number}/{len(runs)}] {folder.name}: {outcome}; {remaining}", flush=True)
  return not failed


if __name__ == "__main__":
  sys.exit(main())
