"""Optimizers that can be chosen: Model Garden's, and the paper's momentum; averages of weights."""

import dataclasses

from official.modeling import hyperparams
from official.modeling.optimization.configs import optimization_config, optimizer_config

from mtl_ssl_tf.configs.fields import group, optional_group, setting
from mtl_ssl_tf.configs.ranges import CLIPPING, DECAY, EPSILON, STEPS_OR_NONE, WEIGHT, Range

# Name, in a checkpoint, of the weights that training resumes from where `model` are their averages.
TRAINING_WEIGHTS = "training_weights"
# Fields by which Model Garden's optimizers shrink weights, each step and whatever the loss is.
_DECAY_FIELDS = ("weight_decay_rate", "weight_decay")


@dataclasses.dataclass
class MomentumConfig(hyperparams.Config):
  """Momentum as TensorFlow 1 has it: the rate multiplies the whole accumulator."""

  name: str = setting("Momentum", "name of the optimizer and its variables")
  momentum: float = setting(0.9, "share of the accumulator that a step keeps", bounds=DECAY)
  clipnorm: float | None = setting(
    10.0, "largest L2 norm of each variable's gradient; null does not clip", bounds=CLIPPING.or_null
  )
  clipvalue: float | None = setting(
    None,
    "largest magnitude of each entry of a gradient; null does not clip",
    bounds=CLIPPING.or_null,
  )
  global_clipnorm: float | None = setting(
    None, "largest L2 norm of all gradients together; null does not clip", bounds=CLIPPING.or_null
  )


@dataclasses.dataclass
class AdamWConfig(optimizer_config.AdamWeightDecayConfig):
  """Adam with decoupled weight decay of the kernels of convolutions and dense layers.

  Reference: Loshchilov and Hutter, "Decoupled Weight Decay Regularization", ICLR 2019.
  """

  beta_1: float = setting(0.9, "share of the mean gradient that a step keeps", bounds=DECAY)
  beta_2: float = setting(0.999, "share of the mean squared gradient", bounds=DECAY)
  epsilon: float = setting(1e-7, "added to the root of the mean squared gradient", bounds=EPSILON)
  weight_decay_rate: float = setting(
    0.0,
    "times the learning rate, the share of each kernel that a step takes off. Above 0 only where "
    "the scales of `task.regularization` are all 0",
    bounds=WEIGHT,
  )
  include_in_weight_decay: list[str] | None = setting(
    ["/kernel"], "patterns in the names of variables that decay; not depthwise kernels by default"
  )
  exclude_from_weight_decay: list[str] | None = setting(
    [".*"], "patterns in the names of variables that do not, unless a pattern above is found too"
  )
  # Model Garden's default, 1.0, clips before the replicas' gradients are added up.
  gradient_clip_norm: float = setting(
    0.0,
    "0 only: `global_clipnorm` clips too, and gives any number of replicas the same step",
    bounds=Range(0.0, 0.0),
  )
  clipnorm: float | None = setting(
    None, "largest L2 norm of each variable's gradient; null does not clip", bounds=CLIPPING.or_null
  )
  clipvalue: float | None = setting(
    None,
    "largest magnitude of each entry of a gradient; null does not clip",
    bounds=CLIPPING.or_null,
  )
  global_clipnorm: float | None = setting(
    None, "largest L2 norm of all gradients together; null does not clip", bounds=CLIPPING.or_null
  )


@dataclasses.dataclass
class DetectorOptimizer(optimization_config.OptimizerConfig):
  """Model Garden's optimizers and `momentum`."""

  type: str | None = setting("momentum", "`momentum`, or one of Model Garden's such as `adamw`")
  momentum: MomentumConfig = group(MomentumConfig, "settings of `momentum`")
  adamw: AdamWConfig = group(AdamWConfig, "settings of `adamw`")


@dataclasses.dataclass
class AveragesConfig(hyperparams.Config):
  """Exponential moving averages of the trained weights, which are evaluated and exported.

  average <- decay x average + (1 - decay) x weight after every step.
  """

  average_decay: float = setting(
    0.999,
    "decay, above 0 and below 1: averages are over some 1 / (1 - decay) steps",
    bounds=Range(0.0, 1.0, above=True, below=True),
  )
  start_step: int = setting(
    0, "step up to which the averages are the weights themselves", bounds=STEPS_OR_NONE
  )
  dynamic_decay: bool = setting(
    True,
    "use (1 + t) / (10 + t) while it is smaller, t steps after `start_step`, so that short runs "
    "and beginnings are averaged over fewer steps",
  )


@dataclasses.dataclass
class DetectorOptimization(optimization_config.OptimizationConfig):
  """Model Garden's optimization with our optimizers."""

  optimizer: DetectorOptimizer = group(DetectorOptimizer, "which optimizer, and its settings")
  ema: AveragesConfig | None = optional_group(
    AveragesConfig, "averages of the weights, which are evaluated and exported; null has none"
  )


def weight_decay(config: optimization_config.OptimizerConfig) -> tuple[str, float] | None:
  """Returns which field of the chosen optimizer decays weights, and its value; None if it is 0.

  The field is named below `trainer.optimizer_config.optimizer`, as in `adamw.weight_decay_rate`.
  """
  chosen = config.get()
  for name in _DECAY_FIELDS:
    value = getattr(chosen, name, None)
    if value:
      return f"{config.type}.{name}", value
  return None
