"""How a run is carried out: devices and compilation, checkpoints, interruptions."""

import dataclasses

from official.core import config_definitions as cfg


@dataclasses.dataclass
class Runtime(cfg.RuntimeConfig):
  """Model Garden's runtime, with the form of the operations that XLA has no kernel for.

  Attributes:
    mixed_precision_dtype: `bfloat16` or `float16`, which the stages of the network compute in;
      float32 otherwise. See docs/compiled.md.
    enable_xla: compile whole steps, of training and of evaluation; a TPU always does.
    crop_method: how regions are cut out of maps: `native` kernels, `matmul`, which compiles, or
      `auto`, the one that suits `enable_xla` and the strategy.
  """

  distribution_strategy: str = "one_device"
  crop_method: str = "auto"

  @property
  def compiles(self) -> bool:
    """Whether steps become XLA programs."""
    return self.enable_xla or self.distribution_strategy == "tpu"

  @property
  def compiled_crop_method(self) -> str:
    """Returns `crop_method` with `auto` decided."""
    if self.crop_method != "auto":
      return self.crop_method
    return "matmul" if self.compiles else "native"


@dataclasses.dataclass
class Trainer(cfg.TrainerConfig):
  """Model Garden's trainer with our defaults.

  Attributes:
    learning_rate_scaling: `linear` multiplies the rates of the schedule by the global batch size
      over `base_batch_size`; `none` takes them as they are.
    base_batch_size: images of a step that the rates were chosen for; the published ones are for 1.
  """

  train_tf_while_loop: bool = False  # A signal can only be heard between steps.
  best_checkpoint_export_subdir: str = "best"
  learning_rate_scaling: str = "none"
  base_batch_size: int = 1
