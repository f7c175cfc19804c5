"""Model Garden's trainer, with a step that compiles whole on any device."""

import tensorflow as tf
from official.core import base_trainer


class DetectorTrainer(base_trainer.Trainer):
  """Takes the steps of a run one by one.

  With `runtime.enable_xla` the step (labels, forward, losses, backward, optimizer, metrics) is one
  XLA program.
  """

  def __init__(self, *args, **kwargs):
    super().__init__(*args, **kwargs)
    self._compiled_step = tf.function(
      self.task.train_step, jit_compile=self.config.runtime.enable_xla or None, autograph=False
    )

  def train_step(self, iterator) -> None:
    """Takes the next batch and trains on it."""

    def step_fn(inputs):
      logs = self._compiled_step(
        inputs, model=self.model, optimizer=self.optimizer, metrics=self.train_metrics
      )
      self.train_loss.update_state(logs[self.task.loss])
      self.global_step.assign_add(1)

    self.strategy.run(
      step_fn, args=(self.next_train_inputs(iterator),), options=self._runtime_options
    )
