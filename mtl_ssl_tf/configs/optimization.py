"""Optimizers and schedules that can be chosen: Model Garden's, and the paper's momentum."""

import dataclasses

from official.modeling import hyperparams
from official.modeling.optimization.configs import optimization_config


@dataclasses.dataclass
class MomentumConfig(hyperparams.Config):
  """Momentum as TensorFlow 1 has it: the rate multiplies the whole accumulator.

  Attributes:
    clipnorm: largest L2 norm of each variable's gradient; None does not clip.
  """

  name: str = "Momentum"
  momentum: float = 0.9
  clipnorm: float | None = 10.0
  clipvalue: float | None = None
  global_clipnorm: float | None = None


@dataclasses.dataclass
class DetectorOptimizer(optimization_config.OptimizerConfig):
  """Model Garden's optimizers and `momentum`."""

  type: str | None = "momentum"
  momentum: MomentumConfig = dataclasses.field(default_factory=MomentumConfig)


@dataclasses.dataclass
class DetectorOptimization(optimization_config.OptimizationConfig):
  """Model Garden's optimization with our optimizers."""

  optimizer: DetectorOptimizer = dataclasses.field(default_factory=DetectorOptimizer)
