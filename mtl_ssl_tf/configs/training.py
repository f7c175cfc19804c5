"""How a run is carried out: devices and compilation, checkpoints, interruptions."""

import dataclasses

from official.core import config_definitions as cfg

MAX_SKIPPED_BATCHES = 100


@dataclasses.dataclass
class Runtime(cfg.RuntimeConfig):
  """Model Garden's runtime, with the form of the operations that XLA has no kernel for.

  Attributes:
    mixed_precision_dtype: `bfloat16` or `float16`, which the stages of the network compute in;
      float32 otherwise. See docs/compiled.md.
    enable_xla: compile whole steps, of training and of evaluation; a TPU always does.
    crop_method: how regions are cut out of maps: `native` kernels, `matmul`, which compiles, or
      `auto`, the one that suits `enable_xla` and the strategy. Boxes are suppressed likewise.
    deterministic: use kernels that always round alike, so that a run that was interrupted ends as
      if it had not been. Only where no accelerator takes part: not all of theirs have such a form.
  """

  distribution_strategy: str = "one_device"
  deterministic: bool = True
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
  """Model Garden's trainer with our defaults; what happens when a run is cut short.

  Attributes:
    learning_rate_scaling: `linear` multiplies the rates of the schedule by the global batch size
      over `base_batch_size`; `none` takes them as they are.
    base_batch_size: images of a step that the rates were chosen for; the published ones are for 1.
    best_checkpoints_to_keep: of the whole run, in `best_checkpoint_export_subdir`, by
      `best_checkpoint_eval_metric` (empty: the main figure of the evaluation).
    early_stopping_patience: evaluations in a row without a better figure that end the run; 0 never
      does. Under a stepwise learning rate only those after its last boundary count.
    nonfinite: what a loss or gradient that is not finite does, or a loss beyond `loss_upper_bound`
      from step `recovery_begin_steps` on: `stop` the run, or `recover` from the last checkpoint
      and leave the batch out.
    recovery_max_trials: how often in a run it may recover.
  """

  train_tf_while_loop: bool = False  # A signal can only be heard between steps.
  best_checkpoint_export_subdir: str = "best"
  learning_rate_scaling: str = "none"
  base_batch_size: int = 1
  best_checkpoints_to_keep: int = 3
  early_stopping_patience: int = 10
  nonfinite: str = "stop"
  recovery_max_trials: int = 3
