"""Stochastic gradient descent with momentum as TensorFlow 1 has it."""

import tensorflow as tf
import tf_keras
from official.modeling.optimization import optimizer_factory


class Momentum(tf_keras.optimizers.legacy.SGD):
  """accumulator <- momentum x accumulator + gradient; variable <- variable - rate x accumulator.

  Keras multiplies each gradient by the rate of its own step instead, so that after a drop of the
  rate old, larger steps linger in the velocity. Here a drop acts at once. `clipnorm` limits the
  L2 norm of each variable's gradient by itself, summed over replicas, before it is accumulated.
  """

  def _create_slots(self, var_list):
    # Keras makes none for a momentum of 0.
    for var in var_list:
      self.add_slot(var, "momentum")

  def _resource_apply_dense(self, grad, var, apply_state=None):
    key = var.device, var.dtype.base_dtype
    coefficients = (apply_state or {}).get(key) or self._fallback_apply_state(*key)
    return tf.raw_ops.ResourceApplyMomentum(
      var=var.handle,
      accum=self.get_slot(var, "momentum").handle,
      lr=coefficients["lr_t"],
      grad=grad,
      momentum=coefficients["momentum"],
      use_locking=self._use_locking,
      use_nesterov=False,
    )


def register() -> None:
  """Makes `optimizer.type: momentum` known to Model Garden; calling again changes nothing."""
  if "momentum" not in optimizer_factory.LEGACY_OPTIMIZERS_CLS:
    optimizer_factory.register_optimizer_cls("momentum", Momentum)


register()
