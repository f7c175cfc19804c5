"""Tells whether weights are finite, in one program over all of them."""

import collections

import numpy as np
import tensorflow as tf


def by_place(root: tf.Module) -> dict[str, tf.Variable]:
  """Returns the variables of a model by the way that leads to them, as in a checkpoint's keys.

  Their own names count the layers that a process has made, and so differ between two processes.
  """
  view, queue = tf.train.TrackableView(root), collections.deque([("", root)])
  found, seen = {}, {}  # What was seen is kept, so that nothing else gets its id.
  while queue:
    path, part = queue.popleft()
    if id(part) in seen:
      continue
    seen[id(part)] = part
    if isinstance(part, tf.Variable):
      found[path.removeprefix("/")] = part
    queue.extend((f"{path}/{name}", child) for name, child in view.children(part).items())
  return found


class FiniteWeights:
  """All variables of numbers with a fraction, trained or not, that a model holds.

  Means and variances are among them, averages of weights, a key encoder and its queue.
  """

  def __init__(self, **roots: tf.Module):
    """Takes what is examined.

    Args:
      **roots: models, or mappings of variables, by the name that messages have for them.
    """
    self._variables = {
      f"{name}/{place}": variable
      for name, root in roots.items()
      for place, variable in by_place(root).items()
      if variable.dtype.is_floating
    }
    self._all_finite = tf.function(self._look, autograph=False)

  def fault(self) -> str | None:
    """Returns which weights are not finite, in words, or None; outside of a step.

    Of several workers all must call this, as reading a variable may take them all.
    """
    if not self._variables or bool(self._all_finite().numpy()):
      return None
    bad = [
      name
      for name, variable in self._variables.items()
      if not np.all(np.isfinite(tf.cast(variable.read_value(), tf.float32).numpy()))
    ]
    return (
      f"{len(bad)} of {len(self._variables)} variables hold numbers that are not finite, such as "
      f"{min(bad, default='one that changes')}"
    )

  def _look(self) -> tf.Tensor:
    return tf.reduce_all(
      tf.stack(
        [
          tf.reduce_all(tf.math.is_finite(variable.read_value()))
          for variable in self._variables.values()
        ]
      )
    )
