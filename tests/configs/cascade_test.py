"""Tests of the settings of a cascade, alone and in a detector."""

import pytest

from mtl_ssl_tf.configs import validation
from tests.configs.validation_test import experiment


def task(**cascade):
  config = experiment().task
  config.override({"roi_head": {"type": "fpn", "cascade": {"enabled": True, **cascade}}})
  return config


def test_accepts():
  validation.check_task(task())
  validation.check_task(task(ious=[0.5, 0.5], delta_factors=[1.0, 3.0], loss_weights=[1.0, 0.0]))


@pytest.mark.parametrize(
  ("fields", "message"),
  [
    (
      {"delta_factors": [1.0, 2.0]},
      "task.roi_head.cascade.delta_factors is [1.0, 2.0]; accepted: as many numbers as "
      "task.roi_head.cascade.ious has, which is 3",
    ),
    (
      {"loss_weights": [1.0]},
      "task.roi_head.cascade.loss_weights is [1.0]; accepted: as many numbers as "
      "task.roi_head.cascade.ious has, which is 3",
    ),
    (
      {"ious": [0.4, 0.5, 0.6]},
      "task.roi_head.cascade.ious is [0.4, 0.5, 0.6]; accepted: a first number equal to "
      "task.roi_head.positive_iou (0.5), which proposals are sampled by",
    ),
    (
      {"ious": [0.5, 0.7, 0.6]},
      "task.roi_head.cascade.ious is [0.5, 0.7, 0.6]; accepted: none below the one before it",
    ),
    (
      {"ious": []},
      "task.roi_head.cascade.ious is []; accepted: a list of 1 to 8 numbers, each 0.0 to 1.0",
    ),
  ],
)
def test_refuses(fields, message):
  config = task(**fields)
  with pytest.raises(ValueError) as error:
    validation.check_task(config)
  assert str(error.value) == message
  if fields.get("ious") != []:
    config.override({"roi_head": {"cascade": {"enabled": False}}})
    validation.check_task(config)


@pytest.mark.parametrize("kind", ["faster_rcnn", "rfcn"])
def test_other_detectors_have_none(kind):
  config = task()
  config.override({"roi_head": {"type": kind}})
  with pytest.raises(ValueError) as error:
    validation.check_task(config)
  assert str(error.value) == (
    "task.roi_head.cascade.enabled is true; accepted: false where task.roi_head.type is "
    f"'{kind}', or the type fpn"
  )
