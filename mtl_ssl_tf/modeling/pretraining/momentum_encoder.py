"""The key encoder, which follows the query encoder slowly, and the queue of its keys.

Neither is trained: their variables are read and written on their own replica, where all of them
change alike, so that no step waits for another replica, and the guard against what is not finite
puts them back with the moving statistics.

Reference: He et al., "Momentum Contrast for Unsupervised Visual Representation Learning", CVPR
2020, section 3.2.
"""

import contextlib
from collections.abc import Iterator

import tensorflow as tf
import tf_keras

from mtl_ssl_tf.modeling.pretraining import encoder

_OWN = {
  "synchronization": tf.VariableSynchronization.ON_READ,
  "aggregation": tf.VariableAggregation.ONLY_FIRST_REPLICA,
}


@contextlib.contextmanager
def untrained_variables() -> Iterator[None]:
  """Makes variables that no gradient reaches and that each replica has for itself."""

  def create(next_creator, **kwargs):
    kwargs["trainable"] = False
    # Moving statistics are so already, and are means over the replicas.
    if kwargs.get("synchronization") != tf.VariableSynchronization.ON_READ:
      kwargs.update(_OWN)
    return next_creator(**kwargs)

  with tf.variable_creator_scope(create):
    yield


class KeyEncoder(encoder.Encoder):
  """An encoder whose weights are an exponential moving average of another one's.

  Its layers normalise as in training, so they cannot be `trainable = False`; what is hidden from
  the optimizer are their variables.
  """

  @property
  def trainable_weights(self) -> list[tf.Variable]:
    return []

  @property
  def non_trainable_weights(self) -> list[tf.Variable]:
    return [*self.averages, *self.statistics]

  @property
  def averages(self) -> list[tf.Variable]:
    """The variables that follow the trained ones of the other encoder, in their order."""
    return super().trainable_weights

  @property
  def statistics(self) -> list[tf.Variable]:
    """Moving means and variances."""
    # Keras lists a variable that is not trainable here, too, wherever it was made.
    averages = {variable.ref() for variable in self.averages}
    return [v for v in super().non_trainable_weights if v.ref() not in averages]

  def build_variables(self) -> None:
    with untrained_variables():
      super().build_variables()

  def start_from(self, query: encoder.Encoder) -> None:
    """Takes all weights and statistics of an encoder; outside of a step."""
    pairs = [
      *zip(self.averages, query.trainable_weights, strict=True),
      *zip(self.statistics, query.non_trainable_weights, strict=True),
    ]
    for own, other in pairs:
      own.assign(other.read_value())

  def follow(self, query: encoder.Encoder, momentum: float) -> None:
    """Goes by `1 - momentum` of the way to the present weights of an encoder; in a step.

    Moving statistics do not follow: they are those of the key encoder's own inputs.
    """
    for own, other in zip(self.averages, query.trainable_weights, strict=True):
      before = tf.convert_to_tensor(own)
      own.assign(before + (1.0 - momentum) * (tf.stop_gradient(other) - before))


class KeyQueue(tf_keras.layers.Layer):
  """The last K keys of earlier batches, as a ring.

  On a feature pyramid a key has a vector of each level. The vectors of a level are its own queue,
  and all levels' queues are written in the same place.

  Attributes:
    keys: float32 [K, L D], for each level a vector of length 1; drawn at random until they are
      overwritten.
    num_enqueued: int64 scalar, keys that were ever put in. The next one goes to this place modulo
      K.
  """

  def __init__(self, size: int, depth: int, seed: int = 0, num_levels: int = 1, **kwargs):
    """Makes the ring.

    Args:
      size: K, a multiple of the global batch size.
      depth: D.
      seed: of the first keys.
      num_levels: L.
      **kwargs: of the layer.
    """
    super().__init__(dtype="float32", **kwargs)
    self._depth = depth

    def random_keys(shape, dtype=tf.float32, **_):
      drawn = tf.random.stateless_normal([size, num_levels, depth], [seed, size], dtype=dtype)
      return tf.reshape(tf.math.l2_normalize(drawn, axis=-1), shape)

    self.keys = self.add_weight(
      "keys", [size, num_levels * depth], tf.float32, random_keys, trainable=False, **_OWN
    )
    self.num_enqueued = self.add_weight(
      "num_enqueued", [], tf.int64, "zeros", trainable=False, **_OWN
    )

  @property
  def size(self) -> int:
    """K."""
    return self.keys.shape[0]

  def of_level(self, level: int) -> tf.Tensor:
    """Returns the queue of a level, counted from 0, float32 [K, D]."""
    return tf.convert_to_tensor(self.keys)[:, level * self._depth : (level + 1) * self._depth]

  def enqueue(self, keys: tf.Tensor) -> None:
    """Overwrites the oldest keys by those of the global batch, [N, L D]; N divides K."""
    num_new = keys.shape[0]
    num_blocks = self.size // num_new
    block = self.num_enqueued // num_new % num_blocks
    is_written = tf.range(num_blocks, dtype=tf.int64) == block  # [blocks]
    blocks = tf.reshape(self.keys, [num_blocks, num_new, -1])  # [blocks, N, L D]
    blocks = tf.where(is_written[:, tf.newaxis, tf.newaxis], keys, blocks)
    self.keys.assign(tf.reshape(blocks, self.keys.shape))
    self.num_enqueued.assign_add(num_new)

  def mean_age(self, num_new: int) -> tf.Tensor:
    """Mean number of steps since the keys in the queue were made, a float32 scalar.

    Those of the step before are one step old. Random keys, of the beginning, do not count.

    Args:
      num_new: keys of a step.
    """
    num_steps = tf.minimum(self.num_enqueued, self.size) / num_new
    return 0.5 * (1.0 + tf.cast(num_steps, tf.float32)) * tf.cast(num_steps > 0, tf.float32)

  def filled(self) -> tf.Tensor:
    """Share of the keys that are not random ones of the beginning, a float32 scalar."""
    return tf.cast(tf.minimum(self.num_enqueued, self.size), tf.float32) / self.size
