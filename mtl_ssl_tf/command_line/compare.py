"""Flags of `mtl_ssl_tf.compare`."""

import argparse
import os

from mtl_ssl_tf import command_line


def parser() -> argparse.ArgumentParser:
  """Returns the parser of the command's flags."""
  result = command_line.ArgumentParser(
    prog=command_line.prog("mtl_ssl_tf.compare"),
    description="Trains configurations with the same seeds and reports their paired differences.",
    allow_abbrev=False,
  )
  processors = sorted(os.sched_getaffinity(0))
  add = result.add_argument
  add(
    "--configs",
    nargs="+",
    required=True,
    metavar="FILE.yaml",
    help="the arms, also as NAME=FILE.yaml+FILE.yaml; differences are to the first",
  )
  add(
    "--variants",
    nargs="+",
    default=[],
    metavar="NAME=FIELDS",
    help="further arms: the only configuration with other fields, FIELD=VALUE[,FIELD=VALUE]",
  )
  add("--params_override", help="fields of all arms, FIELD=VALUE[,FIELD=VALUE]")
  add("--seeds", type=int, nargs="+", default=[0, 1, 2], help="default: 0 1 2")
  add("--output_dir", required=True, help="folder of runs and report; the same command resumes")
  add("--steps", type=int, help="training steps of all arms (default: of the configurations)")
  add("--evaluations", type=int, default=4, help="of each run, the last at its end (default: 4)")
  add("--metric", default="voc/mAP50_area", help="figure to compare (default: voc/mAP50_area)")
  add("--init", default="", help="start weights of all runs, as --init of training takes them")
  add(
    "--experiment",
    default=command_line.EXPERIMENT,
    help=f"what to train (default: {command_line.EXPERIMENT})",
  )
  add(
    "--jobs",
    type=int,
    choices=range(1, len(processors) + 1),
    default=len(processors),
    help="runs at a time, each on a processor of its own (default: as many as there are)",
  )
  add(
    "--refinement_ablation",
    action="store_true",
    help="evaluate arms with refinement also without it, and without each of its inputs, on the"
    " same weights",
  )
  add("--only_report", action="store_true", help="report the runs that are complete")
  return result
