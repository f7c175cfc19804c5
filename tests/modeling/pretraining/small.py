"""A pretraining network small enough for a test."""

from mtl_ssl_tf.configs import insloc as config_lib

CONFIG = {
  "backbone": {"type": "mobilenet_v1", "depth_multiplier": 0.125},
  "group_size": 2,
  "crop_size": 3,
  "projection_hidden": 8,
  "projection_depth": 4,
  "queue_size": 8,
}


def config(**changed) -> config_lib.InsLoc:
  """The settings, with some of them changed."""
  made = config_lib.InsLoc()
  made.override({**CONFIG, **changed}, is_strict=True)
  return made
