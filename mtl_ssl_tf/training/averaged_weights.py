"""Exponential moving averages of the weights: kept, put in the model's place, saved, restored.

    averages = create(config.ema, model)                         None without `ema`
    averages.update(step, is_bad)                                at the end of a training step
    with averages.in_place(): ...                                an evaluation
    Checkpoint(averages, model=model, ...)                       saves and restores both

In a checkpoint `model` are the averaged weights, so whoever reads a detector from one has what was
evaluated. Those that training resumes from are next to them, as `training_weights`.

Model Garden's `ExponentialMovingAverage` has the same rule, but exchanges the two by adding and
subtracting, which rounds: a run would depend on how often it was evaluated. It also begins at zero,
and is not found inside the loss scale of float16.
"""

import collections
import contextlib
import re
from collections.abc import Iterator, Sequence

import tensorflow as tf

from mtl_ssl_tf.checkpoints import finite_weights
from mtl_ssl_tf.configs import optimization


class AveragedWeights:
  """Averages of a model's trained weights.

  Variables that no gradient changes are not averaged: the moving means and variances of batch
  normalization are averages already, and an evaluation uses them as they are.

  Attributes:
    variables: the averages by names of their own; all replicas hold the same.
  """

  def __init__(self, config: optimization.AveragesConfig, model: tf.Module):
    """Begins with the present weights; within the strategy's scope.

    Args:
      config: decay, and when it begins.
      model: whose trainable variables are averaged.
    """
    self._config, self._weights = config, list(model.trainable_variables)
    # Read on their own replica, where all weights change alike, so that no step waits for another.
    averages = [
      tf.Variable(
        weight.read_value(),
        trainable=False,
        name=f"{weight.name.split(':')[0]}/average",
        synchronization=tf.VariableSynchronization.ON_READ,
        aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
      )
      for weight in self._weights
    ]
    self.variables = dict(zip(_names(model, self._weights), averages, strict=True))
    self._trained: list[tf.Tensor] | None = None  # While the averages are in their place.

  def restart(self) -> None:
    """Begins again with the present weights."""
    _assign(self._averages, _read(self._weights))

  def update(self, step: tf.Tensor, is_bad: tf.Tensor | bool = False) -> None:
    """Moves the averages towards the weights; for the training step, in a replica.

    Args:
      step: number of steps with this one, whose gradients were applied.
      is_bad: whether they were not; the averages then stay.
    """
    decay = self.decay(step)
    for average, weight in zip(self._averages, self._weights, strict=True):
      weight, before = tf.convert_to_tensor(weight), tf.convert_to_tensor(average)
      # Exactly the weight where the decay is 0.
      average.assign(tf.where(is_bad, before, weight + decay * (before - weight)))

  def decay(self, step: tf.Tensor) -> tf.Tensor:
    """Returns the decay of the step that makes it `step` steps, a float32 scalar."""
    config = self._config
    after_start = tf.cast(step, tf.float32) - float(config.start_step)
    decay = tf.constant(config.average_decay)
    if config.dynamic_decay:
      decay = tf.minimum(decay, (1.0 + after_start) / (10.0 + after_start))
    return tf.where(after_start < 0.0, 0.0, decay)

  @contextlib.contextmanager
  def in_place(self) -> Iterator[None]:
    """Has the model hold the averages; however the block ends, then its own weights again."""
    self._trained = _read(self._weights)
    try:
      _assign(self._weights, _read(self._averages))
      yield
    finally:
      _assign(self._weights, self._trained)
      self._trained = None

  @contextlib.contextmanager
  def exchanged(self) -> Iterator[None]:
    """Has the model hold the averages and the averages hold its weights, as a checkpoint does."""
    before = _read(self._weights)
    averages = _read(self._averages)
    try:
      _assign(self._weights, averages)
      _assign(self._averages, self._trained or before)
      yield
    finally:
      _assign(self._weights, before)
      _assign(self._averages, averages)

  def take_apart(self, stored: set[str]) -> None:
    """Brings both back to their places, after a checkpoint was read into them.

    Args:
      stored: names of the averages that were in the checkpoint. Where one was not, because its
        weight was frozen or there were no averages, the two are the same.
    """
    averages = _read(self._weights)
    trained = [
      variable.read_value() if name in stored else average
      for (name, variable), average in zip(self.variables.items(), averages, strict=True)
    ]
    _assign(self._weights, trained)
    _assign(self._averages, averages)

  def describe(self) -> str:
    """Returns a line on what is averaged, for the log of a run's start."""
    config = self._config
    dynamic = ", less at the beginning" if config.dynamic_decay else ""
    return (
      f"averaged weights: decay {config.average_decay:g}{dynamic}, from step {config.start_step} "
      "on; they are evaluated, kept and exported"
    )

  @property
  def _averages(self) -> list[tf.Variable]:
    return list(self.variables.values())


def create(config: optimization.AveragesConfig | None, model: tf.Module) -> AveragedWeights | None:
  """Returns averages of a model's trained weights, or None where none are configured."""
  return None if config is None else AveragedWeights(config, model)


class Checkpoint(tf.train.Checkpoint):
  """A training checkpoint: without averages TensorFlow's own, with them as described above.

  Attributes:
    weights: tells whether all that is saved of the model, and the averages, are finite.
  """

  def __init__(self, averages: AveragedWeights | None, **items):
    """Takes what is saved.

    Args:
      averages: of the weights in `items`, or None.
      **items: by name; `model` holds the weights.
    """
    if averages is not None:
      items[optimization.TRAINING_WEIGHTS] = averages.variables
    super().__init__(**items)
    self._averages = averages
    places = {"model": "model", "averages": optimization.TRAINING_WEIGHTS}
    self.weights = finite_weights.FiniteWeights(
      # What the checkpoint made of them, as a mapping by itself has no parts to TensorFlow.
      **{name: getattr(self, place) for name, place in places.items() if place in items}
    )

  # Everything that writes calls this, a `CheckpointManager` too; everything that reads, `read`.
  def _write(self, file_prefix, options=None):
    if self._averages is None:
      return super()._write(file_prefix, options)
    with self._averages.exchanged():
      return super()._write(file_prefix, options)

  def read(self, save_path, options=None):
    """Reads all that the checkpoint has; see TensorFlow's."""
    status = super().read(save_path, options)
    if self._averages is not None:
      self._averages.take_apart(_stored(save_path))
    return status


def are_in(path: str) -> bool:
  """Returns whether a checkpoint's model holds averaged weights."""
  return bool(_stored(path))


def _stored(path: str) -> set[str]:
  """Names of the weights that a checkpoint holds besides their averages."""
  keys = tf.train.load_checkpoint(path).get_variable_to_shape_map()
  return {key.split("/")[1] for key in keys if key.startswith(f"{optimization.TRAINING_WEIGHTS}/")}


def _names(model: tf.Module, variables: Sequence[tf.Variable]) -> list[str]:
  """Names of variables by their place in the model, that a checkpoint's keys take as they are."""
  places = {
    variable.ref(): re.sub(r"\W", "_", place).lstrip("_")
    for place, variable in finite_weights.by_place(model).items()
  }
  names, num_before = [], collections.Counter()
  for variable in variables:
    place = places[variable.ref()]
    names.append(f"{place}-{num_before[place]}")
    num_before[place] += 1
  return names


def _read(variables: Sequence[tf.Variable]) -> list[tf.Tensor]:
  return [variable.read_value() for variable in variables]


def _assign(variables: Sequence[tf.Variable], values: Sequence[tf.Tensor]) -> None:
  for variable, value in zip(variables, values, strict=True):
    variable.assign(value)
