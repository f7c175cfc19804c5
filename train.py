"""Trains and evaluates: python train.py --flagfile=configs/flags/NAME.flags --model_dir=DIR."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # Start-up notices would bury our own lines.
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")  # Or TensorFlow loads Keras 3, for nothing.

from absl import app, flags
from official.common import flags as tfm_flags

from mtl_ssl_tf import registry_imports  # noqa: F401
from mtl_ssl_tf.training import driver


def main(_) -> None:
  driver.main_with_flags(flags.FLAGS)


if __name__ == "__main__":
  tfm_flags.define_flags()
  flags.DEFINE_string(
    "init",
    None,
    "Weights to start from: imagenet, a .h5 file of a Keras network, a TF-slim checkpoint or a "
    "detector's checkpoint. Sets task.init_checkpoint.",
  )
  flags.DEFINE_integer(
    "validate_data",
    64,
    "Records of each input that are looked at before anything is built; faults end the run. 0 "
    "looks at none; python -m mtl_ssl_tf.data.validate looks at all.",
    lower_bound=0,
  )
  flags.mark_flags_as_required(["mode", "model_dir"])
  app.run(main)
