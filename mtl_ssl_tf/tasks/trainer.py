"""Model Garden's trainer, with steps that compile whole on any device."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf
from official.core import base_trainer
from orbit.utils import loop_fns


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

  def create_train_loop_fn(self) -> Callable:
    """Returns the loop over training steps, one program for each canvas that batches come on."""
    if self.config.trainer.train_tf_while_loop:
      return super().create_train_loop_fn()
    return _loop_fn(self.train_step, self.config.trainer.train_tf_function)

  def create_eval_loop_fn(self, has_state: bool) -> Callable:
    """Returns the loop over evaluation steps, likewise."""
    if self.config.trainer.eval_tf_while_loop:
      return super().create_eval_loop_fn(has_state)
    return _loop_fn(self.eval_step, self.config.trainer.eval_tf_function)


def _loop_fn(step: Callable, in_graph: bool) -> Callable:
  """A loop over a step that takes an iterator.

  Batches are fetched outside the graph: there, each has the static shape of its canvas, where the
  iterator knows but that shapes differ.
  """

  def take(batch):
    return step(iter([batch]))

  if in_graph:
    take = tf.function(take, autograph=False)
  return loop_fns.create_loop_fn(lambda iterator: take(next(iterator)))
