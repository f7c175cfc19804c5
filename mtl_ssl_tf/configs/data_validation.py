"""Checks what a configuration asks of the input."""

import dataclasses

from official.core import config_definitions as cfg

from mtl_ssl_tf.configs import data as data_config
from mtl_ssl_tf.configs import detector
from mtl_ssl_tf.reading import quoting

DATA = ("train_data", "validation_data")
# Fields of our own, and those of Model Garden's that ours declares again.
USED = tuple(data_config.Data.__annotations__)
IGNORED = tuple(
  field.name for field in dataclasses.fields(cfg.DataConfig) if field.name not in USED
)


def check_data(config: detector.MtlDetection) -> None:
  """Refuses settings of the input that cannot be met, or would have no effect.

  Raises:
    ValueError: naming the field, its value and what is accepted.
  """
  defaults = detector.MtlDetection()
  for name in DATA:
    data = getattr(config, name)
    for field in IGNORED:
      value, default = getattr(data, field), getattr(getattr(defaults, name), field)
      if value != default:
        raise ValueError(
          f"task.{name}.{field} is {quoting.shown(value)}; accepted: {default!r}, as this field has"
          f" no effect; those that have: {', '.join(USED)}"
        )
    is_training = name == "train_data"
    if bool(data.is_training) != is_training:
      raise ValueError(
        f"task.{name}.is_training is {data.is_training!r}; accepted: {is_training!r}"
      )
    sides = data.input_size
    if data.input_layout == "by_orientation" and len(sides) == 2 and sides[0] == sides[1]:
      raise ValueError(
        f"task.{name}.input_size is {quoting.shown(sides)}; accepted with task.{name}.input_layout"
        " by_orientation: a height and a width that differ"
      )


def check_loops(config: detector.MtlDetection, trainer: cfg.TrainerConfig) -> None:
  """Refuses loops within a graph over batches whose input sizes differ.

  Raises:
    ValueError: naming the field, its value and what is accepted.
  """
  for name, field in zip(DATA, ("train_tf_while_loop", "eval_tf_while_loop"), strict=True):
    if getattr(config, name).input_layout == "by_orientation" and getattr(trainer, field):
      raise ValueError(
        f"trainer.{field} is True; accepted with task.{name}.input_layout by_orientation: False, as"
        " such a loop takes batches of one size"
      )
