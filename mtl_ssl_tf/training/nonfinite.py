"""Keeps losses and gradients that are not finite from the weights, and reports them."""

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf
import tf_keras

_NONE = -1


class NonFiniteError(Exception):
  """A step was not applied. `step` is the number of steps before it."""

  def __init__(self, step: int):
    super().__init__(f"step {step + 1} has a loss or a gradient that is not finite")
    self.step = step


class Guard(tf.Module):
  """Applies gradients as long as loss and gradients are finite, and from then on none.

  The first bad step and all after it leave the weights alone, so that these are still the ones
  from before it when somebody checks, and checking once in many steps is enough: nothing waits for
  the device at each step.
  """

  def __init__(self, global_step: tf.Variable, loss_upper_bound: float, bound_begins: int = 0):
    """Creates its variable, within the strategy's scope.

    Args:
      global_step: counts the steps of the run.
      loss_upper_bound: a loss beyond it counts as not finite.
      bound_begins: the step from which on the bound holds.
    """
    super().__init__()
    self._global_step = global_step
    self._loss_upper_bound, self._bound_begins = loss_upper_bound, bound_begins
    self._first_bad_step = tf.Variable(
      _NONE,
      dtype=tf.int64,
      trainable=False,
      aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
      name="first_bad_step",
    )

  def check(self) -> None:
    """Raises NonFiniteError if a step was not applied."""
    step = int(self._first_bad_step.numpy())
    if step != _NONE:
      raise NonFiniteError(step)

  def reset(self) -> None:
    """Applies gradients again."""
    self._first_bad_step.assign(_NONE)

  def is_bad(self) -> tf.Tensor:
    """Returns whether a step was not applied, a bool scalar."""
    return tf.convert_to_tensor(self._first_bad_step) >= 0

  def apply_gradients(
    self,
    optimizer: tf_keras.optimizers.Optimizer,
    grads_and_vars: Sequence[tuple[tf.Tensor, tf.Variable]],
    loss: tf.Tensor,
  ) -> None:
    """Applies a replica's gradients if those of all replicas are finite; for the training step.

    Args:
      optimizer: applies them. Infinite gradients are its own business while it can still lower a
        dynamic loss scale.
      grads_and_vars: pairs, no gradient None.
      loss: scalar that they belong to.
    """
    gradients, variables = zip(*grads_and_vars, strict=True)
    is_bad = tf.cast(self._is_bad(optimizer, gradients, loss), tf.float32)
    context = tf.distribute.get_replica_context()
    if context.num_replicas_in_sync == 1:
      self._apply_if(is_bad, lambda: optimizer.apply_gradients(grads_and_vars))
    elif tf.__internal__.distribute.strategy_supports_no_merge_call():
      num_bad = context.all_reduce(tf.distribute.ReduceOp.SUM, is_bad)
      self._apply_if(num_bad, lambda: optimizer.apply_gradients(grads_and_vars))
    else:
      # A branch that replicas meet in must be taken where they have met already.
      context.merge_call(self._apply_merged, args=(optimizer, is_bad, gradients, _Kept(variables)))

  def put_back_if_bad(self, variables: Sequence[tf.Variable], values: Sequence[tf.Tensor]) -> None:
    """Undoes what a bad step did to variables that no gradient belongs to, such as statistics."""

    def put_back() -> None:
      for variable, value in zip(variables, values, strict=True):
        variable.assign(value)

    if variables:
      tf.cond(self._first_bad_step < 0, lambda: None, put_back)

  def _is_bad(
    self,
    optimizer: tf_keras.optimizers.Optimizer,
    gradients: Sequence[tf.Tensor],
    loss: tf.Tensor,
  ) -> tf.Tensor:
    are_finite = [tf.reduce_all(tf.math.is_finite(gradient)) for gradient in gradients]
    gradients_bad = ~tf.reduce_all(tf.stack(are_finite))
    if getattr(optimizer, "dynamic", False):
      gradients_bad &= optimizer.loss_scale <= 1.0
    too_large = (loss > self._loss_upper_bound) & (self._global_step >= self._bound_begins)
    return gradients_bad | ~tf.math.is_finite(loss) | too_large

  def _apply_if(self, num_bad: tf.Tensor, apply: Callable[[], Any]) -> None:
    before = self._first_bad_step
    first = tf.where((before < 0) & (num_bad > 0), tf.convert_to_tensor(self._global_step), before)
    self._first_bad_step.assign(first)

    def do_apply() -> None:
      apply()

    tf.cond(first < 0, do_apply, lambda: None)

  def _apply_merged(
    self,
    strategy: tf.distribute.Strategy,
    optimizer: tf_keras.optimizers.Optimizer,
    is_bad: Any,
    gradients: Any,
    variables: "_Kept",
  ) -> None:
    def apply_in_replica(gradients, variables) -> None:
      optimizer.apply_gradients(list(zip(gradients, variables.value, strict=True)))

    num_bad = strategy.reduce(tf.distribute.ReduceOp.SUM, is_bad, axis=None)
    self._apply_if(
      num_bad,
      lambda: strategy.extended.call_for_each_replica(
        apply_in_replica, args=(gradients, variables)
      ),
    )


class _Kept:
  """Keeps a strategy from taking mirrored variables apart: the optimizer wants them whole."""

  def __init__(self, value: Any):
    self.value = value


def apply_gradients(
  guard: Guard | None,
  optimizer: tf_keras.optimizers.Optimizer,
  grads_and_vars: Sequence[tuple[tf.Tensor, tf.Variable]],
  loss: tf.Tensor,
) -> None:
  """Applies gradients, under a guard where there is one."""
  if guard is None:
    optimizer.apply_gradients(grads_and_vars)
  else:
    guard.apply_gradients(optimizer, grads_and_vars, loss)


def running_statistics(model: tf_keras.Model) -> list[tf.Variable]:
  """The variables that a step changes by itself: moving means and variances."""
  return [
    variable
    for variable in model.non_trainable_variables
    if variable.synchronization == tf.VariableSynchronization.ON_READ
  ]


class _Recorder:
  """Stands in for an optimizer: takes gradients and changes nothing."""

  def __init__(self, optimizer: tf_keras.optimizers.Optimizer):
    self._optimizer = optimizer
    self.grads_and_vars: list[tuple[tf.Tensor, tf.Variable]] = []

  def __getattr__(self, name: str) -> Any:
    return getattr(self._optimizer, name)

  def apply_gradients(self, grads_and_vars, **kwargs) -> None:
    del kwargs
    self.grads_and_vars = list(grads_and_vars)


def take_apart(
  task: Any,
  model: tf_keras.Model,
  optimizer: tf_keras.optimizers.Optimizer,
  inputs: Any,
  jit_compile: bool = False,
) -> tuple[dict[str, float], dict[str, int]]:
  """Returns the losses and non-finite gradients of a step, without taking it.

  Args:
    task: whose step it is.
    model: with the weights from before the step; they do not change.
    optimizer: has the number of the step.
    inputs: the batch; of several replicas their parts, as the present strategy distributes them.
    jit_compile: whether the step was compiled whole.

  Returns:
    Every loss by name, and for each gradient with such numbers, by the name of its variable, how
    many are not finite.
  """
  names: list[str] = []

  def step(batch):
    recorder = _Recorder(optimizer)
    statistics = running_statistics(model)
    before = [variable.read_value() for variable in statistics]
    logs = task.train_step(batch, model=model, optimizer=recorder)
    for variable, value in zip(statistics, before, strict=True):
      variable.assign(value)
    names[:] = [variable.name for _, variable in recorder.grads_and_vars]
    counts = [
      tf.reduce_sum(tf.cast(~tf.math.is_finite(gradient), tf.int32))
      for gradient, _ in recorder.grads_and_vars
    ]
    return logs, counts

  strategy = tf.distribute.get_strategy()
  if jit_compile:
    step = tf.function(step, jit_compile=True, autograph=False)
  guard, task.guard = task.guard, None
  try:
    logs, counts = tf.function(lambda batch: strategy.run(step, (batch,)), autograph=False)(inputs)
  finally:
    task.guard = guard
  mean = tf.distribute.ReduceOp.MEAN
  # Of the replica that has most; a sum would count an entry once for each.
  counts = [max(map(int, strategy.experimental_local_results(count))) for count in counts]
  found = {name: count for name, count in zip(names, counts, strict=True) if count}
  losses = {name: float(strategy.reduce(mean, value, axis=None)) for name, value in logs.items()}
  return losses, found
