"""Checks learning rates and warm-ups, whose fields depend on each other."""

import itertools
from collections.abc import Sequence

from official.core import config_definitions as cfg

_PREFIX = "trainer.optimizer_config"
# Fields of Model Garden's learning rates that need no value.
_OPTIONAL = ("staircase",)
# Learning rates by steps: how many more values than boundaries they have.
_BY_STEPS = {"stepwise": 1, "step_cosine_with_offset": 0}


def check(config: cfg.TrainerConfig) -> None:
  """Refuses a schedule that lacks a value, or of which no step has a rate.

  Raises:
    ValueError: naming the field, its value and what is accepted.
  """
  for name in ("learning_rate", "warmup"):
    group = getattr(config.optimizer_config, name)
    for field, value in vars(group.get()).items() if group.type else ():
      if value is None and field not in _OPTIONAL:
        raise ValueError(f"{_PREFIX}.{name}.{group.type}.{field} is not set; accepted: a value")
  rate = config.optimizer_config.learning_rate
  if rate.type in _BY_STEPS:
    _check_by_steps(rate.type, rate.get().boundaries, rate.get().values)
  if rate.type == "step_cosine_with_offset":
    _check_step_cosine(rate.get().boundaries, rate.get().offset, config.train_steps)


def _check_by_steps(kind: str, boundaries: Sequence[int], values: Sequence[float]) -> None:
  path = f"{_PREFIX}.learning_rate.{kind}"
  if any(after <= before for before, after in itertools.pairwise(boundaries)):
    raise ValueError(f"{path}.boundaries is {boundaries!r}; accepted: steps in rising order")
  more = _BY_STEPS[kind]
  if len(values) != len(boundaries) + more:
    than = "one more than" if more else "as many as"
    raise ValueError(
      f"{path}.values is {values!r}; accepted: {len(boundaries) + more} rates, {than} "
      f"{path}.boundaries ({boundaries!r})"
    )


def _check_step_cosine(boundaries: Sequence[int], offset: int, train_steps: int) -> None:
  # Model Garden divides by the steps of the part after the last one, which are 0.
  if len(boundaries) < 2 or boundaries[-1] + offset < train_steps:
    raise ValueError(
      f"{_PREFIX}.learning_rate.step_cosine_with_offset.boundaries is {boundaries!r}; accepted: at "
      f"least two, the last one, plus offset ({offset}), at least trainer.train_steps "
      f"({train_steps}), as the rate is not a number from there on"
    )
