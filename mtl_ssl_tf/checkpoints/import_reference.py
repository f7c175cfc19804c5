"""Turns a released MTL-SSL checkpoint into a run that can be evaluated and exported.

    python -m mtl_ssl_tf.checkpoints.import_reference \\
        --config_file=configs/experiments/voc07_frcnn_resnet101_mtl.yaml \\
        --config_file=configs/overlays/released.yaml \\
        --checkpoint=PATH/model.ckpt-123456 --output_dir=runs/released_model12

Then `python train.py --mode=eval` with the same configuration files and that folder, or `export.py`
with the folder alone.
"""

import os
import sys
from collections.abc import Sequence

import tensorflow as tf
from official.core import train_utils

from mtl_ssl_tf import terminal
from mtl_ssl_tf.checkpoints import finite_weights, pretrained, reading, run_checkpoints
from mtl_ssl_tf.checkpoints.report import Report
from mtl_ssl_tf.command_line import import_reference as import_reference_flags
from mtl_ssl_tf.configs import experiments, loading, validation
from mtl_ssl_tf.data import label_map, schema
from mtl_ssl_tf.modeling import factory
from mtl_ssl_tf.modeling.backbones import registry

STEP = "global_step"
SOURCE = "--checkpoint"
REPORT_FILE = "import_report.txt"
PARAMS_FILE = "params.yaml"  # As Model Garden calls it.


def import_reference(
  config_files: list[str],
  checkpoint: str,
  output_dir: str,
  *,
  experiment: str = experiments.DEFAULT,
  label_map_file: str | None = None,
  allow_partial: bool = False,
) -> Report:
  """Writes a run folder: the weights as a checkpoint of ours, `params.yaml`, `label_map.txt`.

  Args:
    config_files: of the detector, as for training.
    checkpoint: released checkpoint, by TF-slim's names.
    output_dir: folder to write, without checkpoints so far.
    experiment: that the files override.
    label_map_file: in the place of the configuration's; class names in the order of the checkpoint.
    allow_partial: also where some of the detector is not in the checkpoint, or the other way round.

  Returns:
    The report, which is also written to `import_report.txt`.

  Raises:
    ValueError: if the configuration or the checkpoint is not acceptable, or they do not belong
      together. Nothing is written then.
  """
  params = loading.load_experiment(experiment, config_files)
  if label_map_file:
    params.task.label_map = label_map_file
  validation.check_task(params.task)
  registry.check(params.task.backbone.type)
  if not tf.io.gfile.exists(params.task.label_map):
    raise ValueError(
      f"task.label_map {params.task.label_map!r} does not exist; accepted: what the converter "
      "wrote, or --label_map with a class name a line, in the order of the checkpoint"
    )
  class_names = label_map.read_label_map(params.task.label_map)
  if run_checkpoints.candidates(output_dir):
    raise ValueError(
      f"--output_dir {output_dir!r} holds a checkpoint already; accepted: a new folder"
    )
  for name in (PARAMS_FILE, schema.LABEL_MAP_FILE, REPORT_FILE):
    if tf.io.gfile.exists(os.path.join(output_dir, name)):
      raise ValueError(f"--output_dir {output_dir!r} holds {name} already; accepted: a new folder")
  path = reading.find(checkpoint, SOURCE)
  if not any(name.startswith("FirstStage") for name in reading.names(path, SOURCE)):
    raise ValueError(
      f"{SOURCE} {path!r} holds no released detector, whose names start with FirstStage...; a "
      "classification network is start weights: train.py --init"
    )
  model = factory.build_detector(params.task, len(class_names) + 1)
  report = pretrained.load(model, path, SOURCE, copy_missing=False)
  if (report.missing or report.unused) and not allow_partial:
    raise ValueError(_mismatch(path, report))
  found = finite_weights.FiniteWeights(model=model).fault()
  if found is not None:
    raise ValueError(f"{SOURCE} {path!r}: {found}; accepted: a checkpoint of finite weights")

  tf.io.gfile.makedirs(output_dir)
  step = _step(path)
  weights = tf.train.Checkpoint(model=model, global_step=tf.Variable(step, dtype=tf.int64))
  tf.train.CheckpointManager(weights, output_dir, max_to_keep=1).save(checkpoint_number=step)
  train_utils.serialize_config(params, output_dir)
  with tf.io.gfile.GFile(os.path.join(output_dir, schema.LABEL_MAP_FILE), "w") as file:
    file.write("".join(f"{name}\n" for name in class_names))
  with tf.io.gfile.GFile(os.path.join(output_dir, REPORT_FILE), "w") as file:
    file.write(f"{path}\n{report.text(limit=None)}\n")
  return report


def _mismatch(path: str, report: Report) -> str:
  """Returns how checkpoint and detector differ, and the most likely reason."""
  parts = []
  for title, names in (
    ("the detector has, but the checkpoint has not", report.missing),
    ("the checkpoint has, but the detector has not", report.unused),
  ):
    if names:
      parts.append(
        f"{title}: {', '.join(names[:3])}{' ...' if len(names) > 3 else ''} ({len(names)})"
      )
  hint = ""
  if any(name.startswith("MTLClassRefiner") for name in (*report.missing, *report.unused)):
    hint = "; released refinement layers need --config_file=configs/overlays/released.yaml on top"
  return (
    f"{SOURCE} {path!r} is of another detector: {'; '.join(parts)}{hint}. --allow_partial imports "
    "what fits"
  )


def _step(path: str) -> int:
  reader = tf.train.load_checkpoint(path)
  return int(reader.get_tensor(STEP)) if reader.has_tensor(STEP) else 0


def main(argv: Sequence[str] | None = None) -> int:
  """Runs the command line; returns the exit status."""
  args = import_reference_flags.parser().parse_args(argv)
  terminal.set_up()
  try:
    report = import_reference(
      args.config_file,
      args.checkpoint,
      args.output_dir,
      experiment=args.experiment,
      label_map_file=args.label_map,
      allow_partial=args.allow_partial,
    )
  except (ValueError, OSError, tf.errors.OpError) as error:
    terminal.show_error(error)
    return 1
  terminal.show(report.text())
  terminal.show(f"written to {args.output_dir}; {REPORT_FILE} there has all names")
  return 0


if __name__ == "__main__":
  tf.config.set_visible_devices([], "GPU")  # Writing a file needs none.
  sys.exit(main())
