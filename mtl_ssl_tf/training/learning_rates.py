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
  """Returns a line where the rate never drops, or not as often as it is configured to."""
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
