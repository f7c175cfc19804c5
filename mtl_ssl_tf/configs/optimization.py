"""Optimizers that can be chosen: Model Garden's, and the paper's momentum."""

import dataclasses

from official.modeling import hyperparams
from official.modeling.optimization.configs import optimization_config

from mtl_ssl_tf.configs.fields import group, setting


@dataclasses.dataclass
class MomentumConfig(hyperparams.Config):
  """Momentum as TensorFlow 1 has it: the rate multiplies the whole accumulator."""

  name: str = setting("Momentum", "name of the optimizer and its variables")
  momentum: float = setting(0.9, "share of the accumulator that a step keeps")
  clipnorm: float | None = setting(
    10.0, "largest L2 norm of each variable's gradient; null does not clip"
  )
  clipvalue: float | None = setting(
    None, "largest magnitude of each entry of a gradient; null does not clip"
  )
  global_clipnorm: float | None = setting(
    None, "largest L2 norm of all gradients together; null does not clip"
  )


@dataclasses.dataclass
class DetectorOptimizer(optimization_config.OptimizerConfig):
  """Model Garden's optimizers and `momentum`."""

  type: str | None = setting("momentum", "`momentum`, or one of Model Garden's such as `adam`")
  momentum: MomentumConfig = group(MomentumConfig, "settings of `momentum`")


@dataclasses.dataclass
class DetectorOptimization(optimization_config.OptimizationConfig):
  """Model Garden's optimization with our optimizers."""

  optimizer: DetectorOptimizer = group(DetectorOptimizer, "which optimizer, and its settings")
