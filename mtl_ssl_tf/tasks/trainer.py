"""Model Garden's trainer, with steps that compile whole on any device."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf
from official.core import base_trainer
from orbit.utils import loop_fns

from mtl_ssl_tf.tasks import strategies


class DetectorTrainer(base_trainer.Trainer):
  """Takes the steps of a run one by one, on one replica or many.

  With `runtime.enable_xla` the training step (labels, forward, losses, backward, optimizer,
  metrics) is one XLA program on one replica; on several the task compiles what they do not
  exchange. So is the step of evaluation (detections and what their figures are made from).

  Attributes:
    resume_from: checkpoint for a worker whose own folder has none, or None.
  """

  def __init__(self, *args, **kwargs):
    super().__init__(*args, **kwargs)
    self.resume_from: str | None = None
    if self.optimizer is not None:
      # Keras would make them within the first step, which several replicas cannot.
      self.optimizer._create_all_weights(self.model.trainable_variables)
    runtime = self.config.runtime
    self._step = self.task.train_step
    self._evaluation_step = self.task.validation_step
    if strategies.compiles_whole(runtime, self.strategy):
      self._step = tf.function(self._step, jit_compile=True, autograph=False)
    if strategies.compiles_each_replica(runtime, self.strategy):
      self._evaluation_step = tf.function(self._evaluation_step, jit_compile=True, autograph=False)

  def initialize(self) -> None:
    """Loads the checkpoint that the chief goes on from, or the start weights of a new run."""
    if self.resume_from is None:
      super().initialize()
    else:
      self.checkpoint.restore(self.resume_from)

  def train_step(self, iterator) -> None:
    """Takes the next batch and trains on it."""

    def step_fn(inputs):
      logs = self._step(
        inputs, model=self.model, optimizer=self.optimizer, metrics=self.train_metrics
      )
      self.train_loss.update_state(logs[self.task.loss])
      self.global_step.assign_add(1)

    self.strategy.run(
      step_fn, args=(self.next_train_inputs(iterator),), options=self._runtime_options
    )

  def train_loop_end(self) -> dict[str, Any]:
    """Returns the means of losses and metrics since the last call, and the learning rate."""
    logs = super().train_loop_end()
    # A constant rate is a variable, and one of several replicas is no array.
    logs["learning_rate"] = tf.convert_to_tensor(logs["learning_rate"])
    return logs

  def eval_step(self, iterator) -> dict[str, Any]:
    """Returns the outputs for the next batch: for each name the values of all replicas.

    With several workers, each gets those of all: the figures, and with them the best checkpoint,
    are the same everywhere.
    """
    outputs = self.strategy.run(
      lambda inputs: self._evaluation_step(inputs, model=self.model), args=(next(iterator),)
    )
    if strategies.is_multi_worker(self.strategy):
      return {name: (self._gathered(values),) for name, values in outputs.items()}
    return {
      name: self.strategy.experimental_local_results(values) for name, values in outputs.items()
    }

  def _gathered(self, values: Any) -> tf.Tensor:
    """All replicas' rows of one output."""
    local = self.strategy.experimental_local_results(values)
    if local[0].dtype != tf.bool:
      return self.strategy.gather(values, axis=0)
    # Collectives know numbers alone.
    numbers = self.strategy.run(lambda flags: tf.cast(flags, tf.int32), args=(values,))
    return tf.cast(self.strategy.gather(numbers, axis=0), tf.bool)

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
