"""Model Garden's trainer, with steps that compile whole on any device."""

from typing import Any

import tensorflow as tf
from official.core import base_trainer


class DetectorTrainer(base_trainer.Trainer):
  """Takes the steps of a run one by one.

  With `runtime.enable_xla` the training step (labels, forward, losses, backward, optimizer,
  metrics) is one XLA program, and so is that of evaluation (detections and what their figures are
  made from).
  """

  def __init__(self, *args, **kwargs):
    super().__init__(*args, **kwargs)
    jit_compile = self.config.runtime.enable_xla or None
    self._compiled_step = tf.function(
      self.task.train_step, jit_compile=jit_compile, autograph=False
    )
    self._compiled_eval_step = tf.function(
      self.task.validation_step, jit_compile=jit_compile, autograph=False
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

  def eval_step(self, iterator) -> dict[str, Any]:
    """Takes the next batch; returns what the task's `validation_step` does, one value a replica."""

    def step_fn(inputs):
      return self._compiled_eval_step(inputs, model=self.model)

    outputs = self.strategy.run(step_fn, args=(next(iterator),))
    return tf.nest.map_structure(self.strategy.experimental_local_results, outputs)
