"""Model Garden's trainer, with steps that compile whole and a run that can be cut anywhere."""

import contextlib
import re
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf
import tf_keras
from official.core import base_trainer
from orbit.utils import loop_fns

from mtl_ssl_tf.checkpoints import run_checkpoints
from mtl_ssl_tf.reading import quoting
from mtl_ssl_tf.training import (
  averaged_weights,
  determinism,
  early_stopping,
  nonfinite,
  recovery,
  step_times,
  stopping,
  strategies,
)

# Errors of the data, but neither their end nor what ends other workers.
_UNREADABLE = (
  tf.errors.DataLossError,
  tf.errors.FailedPreconditionError,
  tf.errors.InvalidArgumentError,
  tf.errors.NotFoundError,
  tf.errors.PermissionDeniedError,
  tf.errors.UnknownError,
)
# Of an error within a graph, the lines that name its operations: that which failed, and those that
# it was called by.
_OPERATION = re.compile(r"\n\t? *\[\[(?:\{\{node )?(.*?)(?:\}\})?\]\]")
_NEXT_BATCH = re.compile(r"(?:.*/)?IteratorGetNext(?:_\d+)?")
# What TensorFlow says before it quotes the bytes of such a record.
_NO_EXAMPLE = "Could not parse example input"


class _BuiltLater:
  """A placeholder for the training data until the step is known that they begin with."""


class TaskTrainer(base_trainer.Trainer):
  """Takes the steps of any task's run one by one, on one replica or many.

  With `runtime.enable_xla` the training step (labels, forward, losses, backward, optimizer,
  metrics) is one XLA program on one replica; on several the task compiles what they do not
  exchange. So is the step of evaluation (detections and what their figures are made from).

  Attributes:
    guard: keeps what is not finite from the weights.
    stop: obeyed between two steps and between two batches of an evaluation.
    averages: of the weights, which evaluations measure; None where weights are not averaged, and
      in runs that only evaluate: their checkpoint's model is all there is.
    times: of the steps, in parts.
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
    self.times = step_times.StepTimes()
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
    self.averages = None
    if kwargs.get("train", True):
      self.averages = averaged_weights.create(settings.optimizer_config.ema, self.model)
      # A slot that is made in the first step would be restored during that step, if at all.
      create_slots(self.optimizer, self.model.trainable_variables)
    self._checkpoint = averaged_weights.Checkpoint(
      self.averages,
      global_step=self.global_step,
      model=self.model,
      optimizer=self.optimizer,
      early_stopping=self.early_stopping,
      skipped_batches=self.skipped_batches,
      **task.checkpoint_items,
    )
    self._statistics = nonfinite.running_statistics(self.model)
    self._evaluation_step = task.validation_step
    if strategies.compiles_whole(config.runtime, self.strategy):
      self._guarded_step = tf.function(self._guarded_step, jit_compile=True, autograph=False)
    if strategies.compiles_each_replica(config.runtime, self.strategy):
      self._evaluation_step = tf.function(self._evaluation_step, jit_compile=True, autograph=False)

  def distribute_dataset(self, *args, **kwargs) -> determinism.Batches:
    """Returns the data as Model Garden does, all threads reading them."""
    return determinism.Batches(super().distribute_dataset(*args, **kwargs))

  def rewind_inputs(self) -> None:
    """Begins the training data at the present step; after restoring a checkpoint."""
    skipped = self.skipped_batches
    first_batch = skipped.batch_of_step(int(self.global_step.numpy()))
    self.train_dataset = self.distribute_dataset(
      self.task.build_inputs,
      self.config.task.train_data,
      first_batch=first_batch,
      skipped_batches=skipped.numbers(),
    )

  def create_train_loop_fn(self) -> Callable:
    """Returns a loop over training steps, one program for each input size of the batches.

    It can end between any two steps, unless TensorFlow is to run the loop.
    """
    if self.config.trainer.train_tf_while_loop:
      return self._whole_loop(super().create_train_loop_fn())
    step = _with_batch(
      self.train_step,
      self.config.trainer.train_tf_function,
      lambda: f"the batch of step {int(self.global_step.numpy()) + 1}",
      self.times.input,
    )

    def step_unless_stopped(iterator) -> None:
      self.stop.check()
      step(iterator)

    return loop_fns.create_loop_fn(step_unless_stopped)

  def _whole_loop(self, loop: Callable) -> Callable:
    """Returns a loop that TensorFlow runs, with an error that names its steps."""

    def loop_or_report(iterator, num_steps) -> None:
      first = int(self.global_step.numpy()) + 1
      # It may read ahead, so that the variable would not tell how far it was.
      steps = f"{first} to {first + int(num_steps) - 1}"
      with _reporting_batches(lambda: f"a batch of the steps {steps}", in_graph=True):
        loop(iterator, num_steps)

    return loop_or_report

  def create_eval_loop_fn(self, has_state: bool) -> Callable:
    """Returns the loop over evaluation steps, one program for each input size."""
    if self.config.trainer.eval_tf_while_loop:
      loop = super().create_eval_loop_fn(has_state)

      def loop_or_report(*args, **kwargs):
        with _reporting_batches(lambda: "a batch of the evaluation", in_graph=True):
          return loop(*args, **kwargs)

      return loop_or_report
    return loop_fns.create_loop_fn(
      _with_batch(
        self.eval_step, self.config.trainer.eval_tf_function, lambda: "a batch of the evaluation"
      )
    )

  def initialize(self) -> None:
    """Loads the start weights of a new run."""
    super().initialize()
    if self.averages is not None:
      self.averages.restart()

  def evaluate(self, num_steps: tf.Tensor) -> dict[str, Any]:
    """Returns the figures of an evaluation, of the averaged weights where there are any."""
    if self.averages is None:
      return super().evaluate(num_steps)
    with self.averages.in_place():
      return super().evaluate(num_steps)

  def train(self, num_steps: tf.Tensor) -> dict[str, Any]:
    """Takes so many steps; returns what `train_loop_end` does."""
    with self.times.loop():
      return super().train(num_steps)

  def train_loop_begin(self) -> None:
    """Builds the training data where that was not done yet."""
    self.stop.check()
    if isinstance(self.train_dataset, _BuiltLater):
      self.rewind_inputs()

  def train_loop_end(self) -> dict[str, Any]:
    """Returns the means of losses and metrics since the last call, and the learning rate.

    Raises:
      NonFiniteError: a step was not applied.
    """
    logs = super().train_loop_end()
    self.guard.check()
    # A constant rate is a variable, and one of several replicas is no array.
    logs["learning_rate"] = tf.convert_to_tensor(logs["learning_rate"])
    return logs

  def train_step(self, iterator) -> None:
    """Takes the next batch and trains on it."""

    def step_fn(inputs):
      logs = self._guarded_step(inputs)
      self.train_loss.update_state(logs[self.task.loss])
      self.global_step.assign_add(1)

    self.strategy.run(
      step_fn, args=(self.next_train_inputs(iterator),), options=self._runtime_options
    )

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

  def eval_reduce(self, state=None, step_outputs=None):
    """Adds a batch to the evaluation, unless the run is to end."""
    self.stop.check()
    return super().eval_reduce(state, step_outputs)

  def _gathered(self, values: Any) -> tf.Tensor:
    """Returns all replicas' rows of one output."""
    local = self.strategy.experimental_local_results(values)
    if local[0].dtype != tf.bool:
      return self.strategy.gather(values, axis=0)
    # Collectives know numbers alone.
    numbers = self.strategy.run(lambda flags: tf.cast(flags, tf.int32), args=(values,))
    return tf.cast(self.strategy.gather(numbers, axis=0), tf.bool)

  def _guarded_step(self, inputs):
    before = [variable.read_value() for variable in self._statistics]
    logs = self.task.train_step(
      inputs, model=self.model, optimizer=self.optimizer, metrics=self.train_metrics
    )
    self.guard.put_back_if_bad(self._statistics, before)
    if self.averages is not None:
      self.averages.update(self.global_step + 1, self.guard.is_bad())
    return logs


def _with_batch(
  step: Callable,
  in_graph: bool,
  describe: Callable[[], str],
  waiting: Callable[[], contextlib.AbstractContextManager] = contextlib.nullcontext,
) -> Callable:
  """Returns a step that takes its batch from an iterator, outside the graph.

  There, each batch has a static shape; the iterator's own has the sides that differ unknown.

  Args:
    step: takes an iterator.
    in_graph: whether it becomes a graph.
    describe: returns what the batch is, for the message where it cannot be read.
    waiting: returns a context that the batch is waited for in.
  """

  def take(batch):
    return step(iter([batch]))

  if in_graph:
    take = tf.function(take, autograph=False)

  def take_next(iterator):
    with waiting():
      batch = _next_batch(iterator, describe)
    return take(batch)

  return take_next


def _next_batch(iterator: Iterator, describe: Callable[[], str]) -> Any:
  """Returns the next batch.

  Raises:
    RunError: it cannot be read.
  """
  with _reporting_batches(describe):
    return next(iterator)


@contextlib.contextmanager
def _reporting_batches(describe: Callable[[], str], in_graph: bool = False) -> Iterator[None]:
  """Reports in one line a batch that cannot be read, as records are gone or damaged for example.

  Args:
    describe: returns what the batch is.
    in_graph: whether a graph takes it, so that the error may be one of the step.

  Raises:
    RunError: in place of TensorFlow's error.
  """
  try:
    yield
  except (*_UNREADABLE, UnicodeDecodeError) as error:
    if isinstance(error, UnicodeDecodeError):
      # Of a message that quotes the bytes of a record.
      message = cause = error.object.decode(errors="backslashreplace")
    else:
      message, cause = error.message, run_checkpoints.reason(error)
    if in_graph:
      text, *operations = _OPERATION.split(message)
      if not any(map(_NEXT_BATCH.fullmatch, operations[::2])):
        raise
      cause = text.rpartition("\n")[2]
    if _NO_EXAMPLE in message:
      cause = "a record is no tf.Example"
    # The way through the operations of the input says nothing to the user.
    cause = re.sub(r"^Error in user-defined function .*?Iterator::\S+ ", "", cause)
    raise stopping.RunError(
      f"{describe()} cannot be read ({quoting.one_line(cause)}); the same command resumes from the"
      " last checkpoint once it can"
    ) from error


def create_slots(optimizer: tf_keras.optimizers.Optimizer, variables: list[tf.Variable]) -> None:
  """Makes an optimizer's own variables, which Keras would make within the first step."""
  if hasattr(optimizer, "_create_all_weights"):
    optimizer._create_all_weights(variables)
  else:
    optimizer.build(variables)
