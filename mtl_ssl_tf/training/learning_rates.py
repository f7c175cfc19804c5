"""Learning rates for larger batches than those that they were chosen for."""

import copy

from official.core import config_definitions as cfg
from official.modeling import optimization

from mtl_ssl_tf.configs import training

# Of Model Garden's schedules, the fields that are rates.
RATE_FIELDS = (
  "learning_rate",
  "initial_learning_rate",
  "values",
  "end_learning_rate",
  "pre_offset_learning_rate",
)

_MAX_WARMUP = 0.5  # Of all steps.


def factor(params: cfg.ExperimentConfig) -> float:
  """Returns the factor that the configured rates are multiplied by."""
  trainer = params.trainer
  if trainer.learning_rate_scaling == "none":
    return 1.0
  return params.task.train_data.global_batch_size / trainer.base_batch_size


def scaled(params: cfg.ExperimentConfig) -> optimization.OptimizationConfig:
  """Returns the optimization with the rates of its schedule multiplied by `factor`.

  A warm-up ends at the scaled rate, and starts where it is configured to start.

  Reference: Goyal et al., "Accurate, Large Minibatch SGD", 2017, sec. 2.
  """
  config = copy.deepcopy(params.trainer.optimizer_config)
  multiplier = factor(params)
  schedule = config.learning_rate.get()
  if multiplier == 1.0 or schedule is None:
    return config
  for name in RATE_FIELDS:
    value = getattr(schedule, name, None)
    if isinstance(value, list | tuple):
      setattr(schedule, name, [rate * multiplier for rate in value])
    elif value is not None:
      setattr(schedule, name, value * multiplier)
  return config


def warnings(trainer: training.Trainer) -> list[str]:
  """Lines about a rate that is not the configured one for much of the run, or never drops."""
  return _of_warmup(trainer) + _of_drops(trainer)


def _of_warmup(trainer: training.Trainer) -> list[str]:
  warmup = trainer.optimizer_config.warmup
  steps = warmup.get().warmup_steps if warmup.type else 0
  if steps <= _MAX_WARMUP * trainer.train_steps:
    return []
  return [
    f"trainer.optimizer_config.warmup.{warmup.type}.warmup_steps is {steps}, of "
    f"trainer.train_steps ({trainer.train_steps}): most steps are taken at a lower rate than the "
    "configured one; a tenth of the steps is usual"
  ]


def _of_drops(trainer: training.Trainer) -> list[str]:
  name, rate = "trainer.optimizer_config.learning_rate", trainer.optimizer_config.learning_rate
  if rate.type == "constant":
    return [f"{name}.type is 'constant': the rate never drops; stepwise and cosine rates do"]
  if rate.type != "stepwise":
    return []
  boundaries = rate.stepwise.boundaries or []
  beyond = [boundary for boundary in boundaries if boundary >= trainer.train_steps]
  if boundaries and not beyond:
    return []
  drops = "never drops" if len(beyond) == len(boundaries) else "does not drop to its last value"
  return [
    f"{name}.stepwise.boundaries is {list(boundaries)}: the rate {drops} before "
    f"trainer.train_steps ({trainer.train_steps})"
  ]


def first(params: cfg.ExperimentConfig) -> float:
  """Returns the rate of the first step after warm-up, multiplied by `factor`."""
  return _configured(params) * factor(params)


def _configured(params: cfg.ExperimentConfig) -> float:
  schedule = params.trainer.optimizer_config.learning_rate.get()
  rate = next(value for name in RATE_FIELDS if (value := getattr(schedule, name, None)) is not None)
  return rate[0] if isinstance(rate, list | tuple) else rate


def description(params: cfg.ExperimentConfig) -> str:
  """One line: the rate of the first step after warm-up, how it came about, and the warm-up."""
  config = params.trainer.optimizer_config
  rate = _configured(params)
  batch, base = params.task.train_data.global_batch_size, params.trainer.base_batch_size
  text = f"learning rate {rate:g}"
  if params.trainer.learning_rate_scaling == "linear":
    text += f" x {batch}/{base} = {first(params):g}"
  text += f" ({config.learning_rate.type}), batch {batch}"
  warmup = config.warmup.get()
  if not warmup:
    return f"{text}, no warm-up"
  start = getattr(warmup, "warmup_learning_rate", 0.0)
  return f"{text}, warm-up of {warmup.warmup_steps} steps from {start:g} ({config.warmup.type})"
