"""Limits of the paper's main row, for tests that change some of them."""

import dataclasses
from typing import Any

from mtl_ssl_tf.configs import detector
from mtl_ssl_tf.data.inspection import checks


def make(**changed: Any) -> checks.Limits:
  """The limits with `changed` attributes."""
  task = detector.MtlDetection()
  return dataclasses.replace(checks.Limits.of_config(task, task.train_data), **changed)
