"""Ranges of the numbers of Model Garden's that a configuration may set, by class and field.

Fields that ours declare again have their range there. Those of its data that have no effect keep
their defaults, see `data_validation`.
"""

from official.core import config_definitions as cfg
from official.modeling.optimization.configs import learning_rate_config as rates
from official.modeling.optimization.configs import optimizer_config as optimizers
from official.modeling.privacy import configs as privacy

from mtl_ssl_tf.configs import ranges
from mtl_ssl_tf.configs.ranges import (
  CLIPPING,
  DECAY,
  EPSILON,
  LEARNING_RATE,
  SHARE,
  STEPS,
  STEPS_OR_NONE,
  WEIGHT,
  ListOf,
  Range,
)

_POWER = Range(0.0, 100.0, above=True)
_ANY_POWER = Range(-10.0, 1.0)  # Of the step: with more, the rate of late ones has no end.
_INITIAL = LEARNING_RATE.or_null  # A rate that is chosen needs a value, see `schedules`.
_OFFSET = STEPS_OR_NONE
_BOUNDARIES = ListOf(STEPS_OR_NONE, 0, 1000, or_null=True)
_VALUES = ListOf(LEARNING_RATE, 1, 1001, or_null=True)
_ADAM = {"beta_1": DECAY, "beta_2": DECAY, "epsilon": EPSILON}

RANGES: dict[type, dict[str, Range | ListOf]] = {
  privacy.DifferentialPrivacyConfig: {"clipping_norm": CLIPPING, "noise_multiplier": WEIGHT},
  cfg.TrainerConfig: {"continuous_eval_timeout": STEPS_OR_NONE},
  cfg.RuntimeConfig: {
    "dataset_num_private_threads": Range(1, 10_000).or_null,
    "per_gpu_thread_count": Range(0, 10_000),
    "task_index": Range(-1, 100_000),
    "num_packs": Range(0, 10_000),
    "num_cores_per_replica": Range(1, 10_000),
    "default_shard_dim": Range(-1, 100),
  },
  optimizers.BaseOptimizerConfig: {
    "clipnorm": CLIPPING.or_null,
    "clipvalue": CLIPPING.or_null,
    "global_clipnorm": CLIPPING.or_null,
  },
  optimizers.SGDConfig: {"decay": WEIGHT, "momentum": DECAY},
  optimizers.SGDExperimentalConfig: {"momentum": DECAY},
  optimizers.RMSPropConfig: {"rho": DECAY, "momentum": DECAY, "epsilon": EPSILON},
  optimizers.AdagradConfig: {"initial_accumulator_value": WEIGHT, "epsilon": EPSILON},
  optimizers.AdamConfig: _ADAM,
  optimizers.AdamExperimentalConfig: _ADAM,
  optimizers.AdamWeightDecayExperimentalConfig: {**_ADAM, "weight_decay": WEIGHT},
  optimizers.LAMBConfig: {**_ADAM, "weight_decay_rate": WEIGHT},
  optimizers.LARSConfig: {
    "momentum": DECAY,
    "eeta": Range(0.0, 1000.0, above=True),
    "weight_decay_rate": WEIGHT,
  },
  optimizers.SLIDEConfig: {
    **_ADAM,
    "weight_decay_rate": WEIGHT,
    "sparse_layer_learning_rate": LEARNING_RATE,
    "ratio_clip_norm": CLIPPING,
  },
  optimizers.AdafactorConfig: {
    "beta1": DECAY.or_null,
    "decay_rate": SHARE,
    "step_offset": STEPS_OR_NONE,
    "clipping_threshold": CLIPPING,
    "min_dim_size_to_factor": ranges.CHANNELS,
    "epsilon1": EPSILON,
    "epsilon2": EPSILON,
    "weight_decay": WEIGHT.or_null,
  },
  optimizers.AdafactorKerasConfig: {
    "learning_rate": LEARNING_RATE,
    "beta_2_decay": Range(-10.0, 0.0, below=True),
    "epsilon_1": EPSILON,
    "epsilon_2": EPSILON,
    "clip_threshold": CLIPPING,
  },
  rates.ConstantLrConfig: {"learning_rate": LEARNING_RATE},
  rates.StepwiseLrConfig: {"boundaries": _BOUNDARIES, "values": _VALUES, "offset": _OFFSET},
  rates.ExponentialLrConfig: {
    "initial_learning_rate": _INITIAL,
    "decay_steps": STEPS.or_null,
    "decay_rate": Range(0.0, 1.0, above=True).or_null,
    "offset": _OFFSET,
  },
  rates.PolynomialLrConfig: {
    "initial_learning_rate": _INITIAL,
    "decay_steps": STEPS.or_null,
    "end_learning_rate": LEARNING_RATE,
    "power": _POWER,
    "offset": _OFFSET,
  },
  rates.CosineLrConfig: {
    "initial_learning_rate": _INITIAL,
    "decay_steps": STEPS.or_null,
    "alpha": SHARE,
    "offset": _OFFSET,
  },
  rates.DirectPowerLrConfig: {"initial_learning_rate": _INITIAL, "power": _ANY_POWER},
  rates.PowerAndLinearDecayLrConfig: {
    "initial_learning_rate": _INITIAL,
    "total_decay_steps": STEPS.or_null,
    "power": _ANY_POWER,
    "linear_decay_fraction": SHARE,
    "offset": _OFFSET,
  },
  rates.PowerDecayWithOffsetLrConfig: {
    "initial_learning_rate": _INITIAL,
    "power": _ANY_POWER,
    "offset": _OFFSET,
    "pre_offset_learning_rate": LEARNING_RATE,
  },
  rates.StepCosineLrConfig: {"boundaries": _BOUNDARIES, "values": _VALUES, "offset": _OFFSET},
  rates.LinearWarmupConfig: {
    "warmup_learning_rate": LEARNING_RATE,
    "warmup_steps": STEPS_OR_NONE.or_null,
  },
  rates.PolynomialWarmupConfig: {"power": _POWER, "warmup_steps": STEPS_OR_NONE.or_null},
}


def range_of(config: type, name: str) -> Range | ListOf | None:
  """Returns the range of a field of Model Garden's, whichever base has it; None of others."""
  for cls in config.__mro__:
    found = RANGES.get(cls, {}).get(name)
    if found is not None:
      return found
  return None
