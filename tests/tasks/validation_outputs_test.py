"""Losses of the validation step: those of training, of images alone."""

import numpy as np
import pytest
import tensorflow as tf

from mtl_ssl_tf.losses import batch_sum
from mtl_ssl_tf.tasks import mtl_detection, training_losses, validation_outputs
from tests.tasks import tiny


def test_rows_that_fill_up_repeat_the_images():
  labels = {"example_valid": tf.constant([False, True, True, False, False]), "x": tf.range(5)}
  images, filled = validation_outputs.filled_up((tf.range(5) * 10, labels))
  assert filled["x"].numpy().tolist() == [1, 1, 2, 2, 1]
  assert images.numpy().tolist() == [10, 10, 20, 20, 10]
  assert filled["example_valid"].numpy().tolist() == [False, True, True, False, False]
  none = {"example_valid": tf.constant([False, False]), "x": tf.range(2)}
  assert validation_outputs.filled_up((tf.range(2), none))[1]["x"].numpy().tolist() == [0, 0]


def test_the_loss_of_a_replica_alone():
  loss = batch_sum.BatchSum(tf.constant(6.0), tf.constant(4.0)).weighted(2.0)
  assert float(loss.local_loss()) == 3.0
  assert float(batch_sum.BatchSum(tf.constant(6.0), tf.constant(0.0)).local_loss()) == 6.0
  assert float(batch_sum.BatchSum(tf.constant(6.0)).local_loss()) == 6.0


@pytest.fixture(name="task", scope="module")
def _task(folder):
  evaluation = {"losses": True, "auxiliary_metrics": False}
  params = tiny.experiment(folder, {"task": {"evaluation": evaluation}}).task
  return mtl_detection.MtlDetectionTask(params)


@pytest.fixture(name="model", scope="module")
def _model(task):
  return task.build_model()


@pytest.fixture(name="steps", scope="module")
def _steps(task, model):
  """The batches of the validation data with what the step makes of them."""
  step = tf.function(lambda batch: task.validation_step(batch, model), autograph=False)
  batches = task.build_inputs(task.task_config.validation_data)
  return [(batch, step(batch)) for batch in batches]


def test_losses_are_those_of_training_in_the_mode_of_inference(task, model, steps):
  (images, labels), logs = steps[0]
  assert labels["example_valid"].numpy().all()
  targets = task.auxiliary_targets(labels, tf.constant(0))
  first = model.first_stage(images, labels["image_size_px"])
  in_training = model.first_stage(images, labels["image_size_px"], training=True)
  expected = training_losses.replica_losses(
    model,
    task.task_config,
    # Proposals are those of inference, but anchors across the border count for nothing.
    first._replace(anchors=in_training.anchors),
    labels,
    targets,
    tf.constant(0),
    training=False,
  )
  expected = training_losses.reduce_over_replicas(expected)
  expected["weight_decay"] = training_losses.weight_decay(model, task.task_config.regularization)
  assert sorted(expected) == sorted(tiny.LOSSES)
  for name, value in expected.items():
    found = logs[f"validation/{name}_loss"].numpy()
    assert found.shape == (2,)
    np.testing.assert_allclose(found, float(value), rtol=1e-4, atol=1e-6, err_msg=name)
  total = sum(float(value) for value in expected.values())
  np.testing.assert_allclose(logs["validation/loss"].numpy(), total, rtol=1e-4)


def test_losses_alone_bring_no_auxiliary_figures(steps):
  names = {name for _, logs in steps for name in logs}
  assert "validation/foreground_loss" in names
  assert not [name for name in names if name.startswith("auxiliary/")]


def test_weights_and_statistics_stay(task, model, steps):
  before = [weight.numpy() for weight in model.weights]
  task.validation_step(steps[0][0], model)
  for weight, value in zip(model.weights, before, strict=True):
    np.testing.assert_array_equal(weight, value)


def test_a_row_that_fills_up_changes_no_loss(task, model, steps):
  (images, labels), logs = steps[-1]
  assert labels["example_valid"].numpy().tolist() == [True, False]
  twice = tf.nest.map_structure(lambda values: tf.gather(values, [0, 0]), (images, labels))
  expected = task.validation_step(twice, model)
  for name in ("validation/loss", "validation/closeness_loss", "validation/rpn_box_loss"):
    np.testing.assert_allclose(logs[name], expected[name], rtol=1e-4)


def test_detections_do_not_depend_on_losses(folder, task, model, steps):
  params = tiny.experiment(folder, {"task": {"evaluation": {"auxiliary_metrics": False}}}).task
  batch, _ = steps[0]
  # Both without a graph, as scores of an untrained detector differ in their last digits alone.
  with_losses = task.validation_step(batch, model)
  plain = mtl_detection.MtlDetectionTask(params).validation_step(batch, model)
  assert not [name for name in plain if name.startswith("validation/")]
  np.testing.assert_allclose(plain["detection_scores"], with_losses["detection_scores"], rtol=1e-4)
  np.testing.assert_allclose(
    plain["detection_boxes_orig"], with_losses["detection_boxes_orig"], rtol=1e-4, atol=1e-3
  )


def test_figures_are_means_over_images(task, steps):
  state = None
  for _, logs in steps:
    state = task.aggregate_logs(state, {name: (value,) for name, value in logs.items()})
  figures = task.reduce_aggregated_logs(state)
  first, last = (logs["validation/loss"].numpy() for _, logs in steps)
  assert figures["validation/loss"] == pytest.approx((2 * first[0] + last[0]) / 3, rel=1e-6)
  (line,) = [line for line in task.describe_evaluation(figures) if "validation: " in line]
  assert f"loss {figures['validation/loss']:.3f}" in line
  assert len(task.draw_evaluation()) == 3
