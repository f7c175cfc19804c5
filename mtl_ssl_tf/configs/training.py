"""Settings of a run: devices and compilation, checkpoints, interruptions."""

import dataclasses

from official.core import config_definitions as cfg

from mtl_ssl_tf.configs.fields import setting
from mtl_ssl_tf.configs.ranges import IMAGES, STEPS, STEPS_OR_NONE, Range

MAX_SKIPPED_BATCHES = 100


@dataclasses.dataclass
class Runtime(cfg.RuntimeConfig):
  """Model Garden's runtime, with the form of the operations that XLA has no kernel for."""

  distribution_strategy: str = setting(
    "one_device",
    "`one_device`; `mirrored`, all devices of one machine; `multi_worker_mirrored`; `tpu`",
    choices=("one_device", "mirrored", "multi_worker_mirrored", "tpu"),
  )
  num_gpus: int = setting(0, "GPUs of a machine; 0 uses its CPU", bounds=Range(0, 10_000))
  mixed_precision_dtype: str | None = setting(
    None,
    "`bfloat16` or `float16`, which the stages of the network compute in; null and `float32` are "
    "ordinary precision. See docs/compiled.md",
    choices=(None, "float32", "bfloat16", "float16"),
  )
  loss_scale: str | float | None = setting(
    None,
    "loss scale of `float16`: `dynamic`, a number of at least 1, or null for none",
    bounds=Range(1.0, 1e9, others=("dynamic", None)),
  )
  enable_xla: bool = setting(
    False, "compile whole steps, of training and of evaluation; a TPU always does"
  )
  deterministic: bool = setting(
    True,
    "use kernels that always round alike, so that a run that was interrupted ends as if it had not "
    "been. Only without an accelerator: not all of their kernels have such a form",
  )
  crop_method: str = setting(
    "auto",
    "how regions are cut out of maps: `native` kernels; `matmul`, which compiles; or `auto`, the "
    "one that suits `enable_xla` and the strategy. Non-maximum suppression follows it",
    choices=("auto", "native", "matmul"),
  )

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
  """Model Garden's trainer with our defaults; what happens when a run is cut short."""

  # A signal can only be heard between steps.
  train_tf_while_loop: bool = setting(
    False, "run the steps of a loop inside one graph; a signal then waits until the loop ends"
  )
  train_steps: int = setting(0, "last step of the run", bounds=STEPS)
  steps_per_loop: int = setting(
    1000, "steps after which signals and losses are checked", bounds=STEPS
  )
  summary_interval: int = setting(1000, "steps from one line of figures to the next", bounds=STEPS)
  checkpoint_interval: int = setting(1000, "steps from one checkpoint to the next", bounds=STEPS)
  max_to_keep: int = setting(5, "newest checkpoints that are kept", bounds=Range(1, 1_000_000))
  validation_interval: int = setting(1000, "steps from one evaluation to the next", bounds=STEPS)
  validation_steps: int = setting(
    -1, "batches of an evaluation; -1 is all of them", bounds=Range(1, 1_000_000_000, others=(-1,))
  )
  best_checkpoint_export_subdir: str = setting(
    "best", "folder inside the run's that takes the best checkpoints; empty keeps none"
  )
  best_checkpoint_eval_metric: str = setting(
    "", "the figure that chooses them; empty is the main figure of the evaluation"
  )
  best_checkpoint_metric_comp: str = setting(
    "higher", "whether `higher` or `lower` is better", choices=("higher", "lower")
  )
  best_checkpoints_to_keep: int = setting(
    3, "best checkpoints of the whole run that are kept", bounds=Range(1, 1_000_000)
  )
  early_stopping_patience: int = setting(
    10,
    "evaluations in a row without a better figure that end the run; 0 never does. Under a stepwise "
    "learning rate only those after its last boundary count",
    bounds=STEPS_OR_NONE,
  )
  learning_rate_scaling: str = setting(
    "none",
    "`linear` multiplies the rates of the schedule by the global batch size over "
    "`base_batch_size`; `none` takes them as they are",
    choices=("none", "linear"),
  )
  base_batch_size: int = setting(
    1,
    "images of a step that the rates were chosen for; the published ones are for 1",
    bounds=IMAGES,
  )
  nonfinite: str = setting(
    "stop",
    "what a loss or gradient that is not finite does, or a loss beyond `loss_upper_bound` from "
    "step `recovery_begin_steps` on: `stop` the run, or `recover` from the last checkpoint and "
    "leave the batch out",
    choices=("stop", "recover"),
  )
  loss_upper_bound: float = setting(
    1e6, "largest loss that is taken for finite", bounds=Range(0.0, 1e12)
  )
  recovery_begin_steps: int = setting(
    0, "step from which `loss_upper_bound` counts", bounds=STEPS_OR_NONE
  )
  recovery_max_trials: int = setting(
    3, "how often in a run it may recover", bounds=Range(0, MAX_SKIPPED_BATCHES)
  )
