"""Accuracy of auxiliary heads by the features that they classify: mAP of short trainings.

    python -m benchmarks.auxiliary_features --output_dir runs/auxiliary_features

Compares MobileNet v1 detectors from scratch on the demo's scenes and on BCCD (at half its size),
with `mtl_ssl_tf.compare`: every variant against `own_stage2`, three paired seeds. The schedules are
short, so that mAPs are lower than those of configs/README.md and seeds lie far apart; they are for
comparing. `benchmarks.run` measures the cost of the variants. The data must be there: `make demo`
makes the scenes, README.md says how BCCD is converted.

Each of `--jobs` trainings has a processor to itself, where a run takes about 5 minutes; all of them
take an hour and a quarter on two. A stopped command resumes.
"""

import argparse
import os
import pathlib
import sys
from collections.abc import Sequence

from mtl_ssl_tf import compare

CONFIGS = pathlib.Path(__file__).parents[1] / "configs" / "experiments"
FIRST = "own_stage2"
WITHOUT = "task.auxiliary.{}.loss_weight=0.0"
VARIANTS = {
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
# Configuration, steps, and what differs from the configuration in all arms.
DATA = {
  "scenes": ("demo_frcnn_mobilenet_mtl.yaml", 600, ""),
  "bccd": (
    "bccd_frcnn_mobilenet_mtl.yaml",
    750,
    ",".join(f"task.{data}.{SIZE.format(data)}" for data in ("train_data", "validation_data"))
    + ",task.anchors.base_size_px=80.0,task.auxiliary.multi_object.min_size_px=16.0",
  ),
}


def arguments(data: str, variants: Sequence[str], seeds: Sequence[int]) -> list[str]:
  """Returns the arguments of `mtl_ssl_tf.compare` for a data set, but for folder and jobs."""
  config, steps, fields = DATA[data]
  result = ["--configs", f"{FIRST}={CONFIGS / config}", "--steps", str(steps)]
  result += ["--evaluations", "1", "--seeds", *map(str, seeds)]
  if fields:
    result += ["--params_override", fields]
  return [*result, "--variants", *(f"{name}={VARIANTS[name]}" for name in variants)]


def main() -> int:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  processors = len(os.sched_getaffinity(0))
  parser.add_argument("--output_dir", type=pathlib.Path, required=True)
  parser.add_argument("--data", nargs="+", choices=DATA, default=list(DATA))
  parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
  parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
  parser.add_argument("--jobs", type=int, choices=range(1, processors + 1), default=processors)
  parser.add_argument("--only_report", action="store_true")
  options = parser.parse_args()
  status = 0
  for data in options.data:
    flags = ["--output_dir", str(options.output_dir / data), "--jobs", str(options.jobs)]
    if options.only_report:
      flags.append("--only_report")
    status |= compare.main([*arguments(data, options.variants, options.seeds), *flags])
  return status


if __name__ == "__main__":
  sys.exit(main())
