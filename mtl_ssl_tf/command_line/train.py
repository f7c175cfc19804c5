"""Flags of `mtl_ssl_tf.train`: Model Garden's and two of our own."""

import argparse

from absl import flags
from official.common import flags as official_flags

from mtl_ssl_tf import command_line

# Those that training reads; what else Model Garden defines is accepted and without effect.
HELP = {
  "experiment": f"What to train. Default: {command_line.EXPERIMENT}.",
  "config_file": "YAML file with what differs from the experiment's defaults. May be given again; a"
  " later file overrides an earlier one.",
  "params_override": "Single fields over those of the files, as in '{trainer: {train_steps: 5000}}'"
  " or 'trainer.train_steps=5000', or a YAML file of them.",
  "mode": "train, eval, train_and_eval, train_and_post_eval or continuous_eval. Needed.",
  "model_dir": "Folder of the run: checkpoints, losses, figures. A run that is there is resumed."
  " Needed.",
  "init": "Weights to start from: imagenet, efficientnet_lite0 (1, 2), a .h5 file of a Keras"
  " network, a .pth file of a PyTorch network, a TF-slim checkpoint, or a checkpoint of a detector"
  " or a pretraining."
  " Sets task.init_checkpoint.",
  "validate_data": "Records of each input that are examined before anything is built; faults end"
  " the run. 0 examines none; mtl-ssl validate examines all. Default: 64.",
  "tpu": "The TPU to run on, with runtime.distribution_strategy tpu: local, a name or an address.",
  "verbosity": "0 also shows Model Garden's messages, and where in the code an error arose.",
  "flagfile": "File with flags, one a line, as in configs/flags.",
}


def define() -> None:
  """Defines the flags."""
  official_flags.define_flags()
  flags.DEFINE_string("init", None, HELP["init"])
  flags.DEFINE_integer("validate_data", 64, HELP["validate_data"], lower_bound=0)
  flags.mark_flags_as_required(["mode", "model_dir"])


def parser() -> argparse.ArgumentParser:
  """Prints the help alone, in the form of the other commands'; absl parses."""
  result = command_line.ArgumentParser(
    prog=command_line.prog("mtl_ssl_tf.train"),
    usage="%(prog)s --flagfile=FILE --model_dir=DIR [flags]",
    description="Trains and evaluates a detector.",
    epilog="Flags of absl, Model Garden and TensorFlow are accepted, too.",
  )
  for name, text in HELP.items():
    result.add_argument(f"--{name}", help=text.replace("%", "%%"))
  return result
