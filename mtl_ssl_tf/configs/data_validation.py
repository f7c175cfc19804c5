"""Checks what a configuration asks of the input."""

import dataclasses
from collections.abc import Sequence

from official.core import config_definitions as cfg

from mtl_ssl_tf.configs import data as data_config
from mtl_ssl_tf.configs import detector
from mtl_ssl_tf.reading import quoting

DATA = ("train_data", "validation_data")
# Fields of our own, and those of Model Garden's that ours declares again.
USED = tuple(data_config.Data.__annotations__)


def check_data(config: detector.MtlDetection) -> None:
  """Refuses settings of the input that cannot be met, or would have no effect.

  Raises:
    ValueError: naming the field, its value and what is accepted.
  """
  defaults = detector.MtlDetection()
  for name in DATA:
    check_split(getattr(config, name), getattr(defaults, name), f"task.{name}")


def check_split(data: data_config.Data, default: data_config.Data, path: str) -> None:
  """Refuses settings of a split that cannot be met, or would have no effect.

  Args:
    data: the settings.
    default: what those that have no effect must be.
    path: name of the split, for messages.

  Raises:
    ValueError: naming the field, its value and what is accepted.
  """
  check_unused(data, default, USED, path)
  if bool(data.is_training) != default.is_training:
    raise ValueError(
      f"{path}.is_training is {data.is_training!r}; accepted: {default.is_training!r}"
    )
  sides = data.input_size
  if data.input_layout == "by_orientation" and sides[0] == sides[1]:
    raise ValueError(
      f"{path}.input_size is {quoting.shown(sides)}; accepted with {path}.input_layout"
      " by_orientation: a height and a width that differ"
    )
  for low, high in (("scale_min", "scale_max"), ("short_side", "long_side")):
    smaller, larger = getattr(data, low), getattr(data, high)
    if smaller > larger:
      raise ValueError(f"{path}.{low} is {smaller}; accepted: at most {path}.{high} ({larger})")


def check_unused(
  data: cfg.DataConfig, default: cfg.DataConfig, used: Sequence[str], path: str
) -> None:
  """Refuses another value than the default of fields that have no effect.

  Args:
    data: the settings of a split.
    default: its defaults.
    used: the fields that have an effect.
    path: name of the split, for messages.

  Raises:
    ValueError: naming the field, its value and what is accepted.
  """
  for field in dataclasses.fields(data):
    value, accepted = getattr(data, field.name), getattr(default, field.name)
    if field.name not in used and value != accepted:
      raise ValueError(
        f"{path}.{field.name} is {quoting.shown(value)}; accepted: {accepted!r}, as this field has"
        f" no effect; those that have: {', '.join(used)}"
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
