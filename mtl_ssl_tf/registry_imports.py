"""Imported for its side effects: registers the experiments, tasks and optimizers."""

from mtl_ssl_tf.configs import experiments  # noqa: F401
from mtl_ssl_tf.tasks import insloc, mtl_detection  # noqa: F401
