"""Model Garden's trainer, with a step that compiles whole and a run that can be cut anywhere."""

import orbit
import tensorflow as tf
from official.core import base_trainer
from orbit.utils import loop_fns

from mtl_ssl_tf.tasks import early_stopping, nonfinite, recovery, stopping


class _BuiltLater:
  """In the place of the training data until the step is known that they begin with."""


class DetectorTrainer(base_trainer.Trainer):
  """Takes the steps of a run one by one.

  With `runtime.enable_xla` the step (labels, forward, losses, backward, optimizer, metrics) is one
  XLA program.

  Attributes:
    guard: keeps what is not finite from the weights.
    stop: heeded between two steps and between two batches of an evaluation.
    early_stopping, skipped_batches: what else a checkpoint of the run holds.
  """

  def __init__(
    self,
    config,
    task,
    *args,
    stop: stopping.StopRequest | None = None,
    **kwargs,
  ):
    super().__init__(config, task, *args, train_dataset=_BuiltLater(), **kwargs)
    self.stop = stop or stopping.StopRequest()
    settings = config.trainer
    self.guard = task.guard = nonfinite.Guard(
      self.global_step, settings.loss_upper_bound, settings.recovery_begin_steps
    )
    self.early_stopping = early_stopping.EarlyStopping(
      settings.early_stopping_patience,
      settings.best_checkpoint_metric_comp,
      early_stopping.first_counted_step(settings),
    )
    self.skipped_batches = recovery.SkippedBatches()
    if kwargs.get("train", True):
      # A slot that is made in the first step would be restored in its midst, if at all.
      _create_slots(self.optimizer, self.model.trainable_variables)
    self._checkpoint = tf.train.Checkpoint(
      global_step=self.global_step,
      model=self.model,
      optimizer=self.optimizer,
      early_stopping=self.early_stopping,
      skipped_batches=self.skipped_batches,
      **task.checkpoint_items,
    )
    self._statistics = nonfinite.running_statistics(self.model)
    self._compiled_step = tf.function(
      self._guarded_step, jit_compile=self.config.runtime.enable_xla or None, autograph=False
    )

  def rewind_inputs(self) -> None:
    """Begins the training data at the present step; after restoring a checkpoint."""
    skipped = self.skipped_batches
    first_batch = skipped.batch_of_step(int(self.global_step.numpy()))
    self.train_dataset = orbit.utils.make_distributed_dataset(
      self.strategy,
      self.task.build_inputs,
      self.config.task.train_data,
      first_batch=first_batch,
      skipped_batches=skipped.numbers(),
    )

  def create_train_loop_fn(self):
    """Returns a loop that can end between any two steps, unless TensorFlow is to run the loop."""
    if self.config.trainer.train_tf_while_loop:
      return super().create_train_loop_fn()
    step = self.train_step
    if self.config.trainer.train_tf_function:
      step = tf.function(step)

    def step_unless_stopped(iterator) -> None:
      self.stop.check()
      step(iterator)

    return loop_fns.create_loop_fn(step_unless_stopped)

  def train_loop_begin(self) -> None:
    """Builds the training data where that was not done yet."""
    self.stop.check()
    if isinstance(self.train_dataset, _BuiltLater):
      self.rewind_inputs()

  def train_loop_end(self):
    """Returns the means of the loop.

    Raises:
      NonFiniteError: a step was not applied.
    """
    logs = super().train_loop_end()
    self.guard.check()
    return logs

  def train_step(self, iterator) -> None:
    """Takes the next batch and trains on it."""

    def step_fn(inputs):
      logs = self._compiled_step(inputs)
      self.train_loss.update_state(logs[self.task.loss])
      self.global_step.assign_add(1)

    self.strategy.run(
      step_fn, args=(self.next_train_inputs(iterator),), options=self._runtime_options
    )

  def eval_reduce(self, state=None, step_outputs=None):
    """Adds a batch to the evaluation, unless the run is to end."""
    self.stop.check()
    return super().eval_reduce(state, step_outputs)

  def _guarded_step(self, inputs):
    before = [variable.read_value() for variable in self._statistics]
    logs = self.task.train_step(
      inputs, model=self.model, optimizer=self.optimizer, metrics=self.train_metrics
    )
    self.guard.put_back_if_bad(self._statistics, before)
    return logs


def _create_slots(optimizer, variables) -> None:
  if hasattr(optimizer, "_create_all_weights"):
    optimizer._create_all_weights(variables)
  else:
    optimizer.build(variables)
