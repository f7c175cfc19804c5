"""What auxiliary tasks cost and what refinement is worth, of a tiny detector."""

import itertools
import time
import types

import numpy as np
import pytest
import tensorflow as tf

from mtl_ssl_tf.modeling import detector, factory
from mtl_ssl_tf.tasks import auxiliary_costs, mtl_detection
from mtl_ssl_tf.training import strategies
from tests.modeling import small_backbones
from tests.tasks import tiny

IMAGES = tf.zeros([2, 64, 96, 3]), tf.constant([[60.0, 80.0]] * 2)


@pytest.fixture(name="backbones", autouse=True, scope="module")
def _backbones():
  with small_backbones.registered():
    yield


def settings(**task) -> dict:
  return {"task": {"backbone": {"type": "blocks"}, **task}}


def build(folder, **task) -> detector.Detector:
  return factory.build_detector(tiny.experiment(folder, settings(**task)).task, 3)


@pytest.fixture(name="model", scope="module")
def _model(folder):
  return build(folder)


def test_every_trained_number_is_counted_once(folder, model):
  counted = auxiliary_costs.count_parameters(model)
  assert list(counted) == ["multi_object", "closeness", "foreground", "refinement"]
  # Class scores of the main head, of five windows and of the closeness head: 7 x 3 inputs.
  assert counted["refinement"] == 7 * 3 * 3 + (3 if model.refiner.linear.use_bias else 0)
  # A cell of the map to two logits.
  depth = model.first_stage(*IMAGES).features.shape[-1]
  assert counted["foreground"] == depth * 2 + 2
  plain = build(folder, auxiliary=no_tasks(), refinement={"enabled": False})
  assert auxiliary_costs.count_parameters(plain) == {}
  sizes = [
    sum(variable.shape.num_elements() for variable in one.trainable_variables)
    for one in (model, plain)
  ]
  assert sizes[0] - sizes[1] == sum(counted.values())


def no_tasks() -> dict:
  return {name: {"loss_weight": 0.0} for name in ("multi_object", "closeness", "foreground")}


def test_shared_parameters_are_not_a_tasks_own(folder):
  """Heads on the main head's features have their last layer alone."""
  own = auxiliary_costs.count_parameters(build(folder))
  shared = auxiliary_costs.count_parameters(build(folder, auxiliary={"features": "main_head"}))
  assert shared["closeness"] < own["closeness"]


def test_each_head_has_its_own_time(model, monkeypatch):
  def slowed(name, seconds):
    usual = getattr(detector.Detector, name)

    def call(self, *args, **kwargs):
      value = usual(self, *args, **kwargs)

      def wait(value):
        time.sleep(seconds)
        return value

      return tf.ensure_shape(tf.py_function(wait, [value], value.dtype), value.shape)

    monkeypatch.setattr(detector.Detector, name, call)

  slowed("classify_closeness", 0.4)
  slowed("proposal_windows", 1.2)
  for name in ("MAX_SECONDS", "MAX_FIRST_STAGE_SECONDS"):
    monkeypatch.setattr(auxiliary_costs, name, 1000.0)
  found = auxiliary_costs.measure_milliseconds(model, *IMAGES)
  # Of one of the two images.
  assert found["refinement"] < 200.0 <= found["closeness"] < found["multi_object"]
  assert found["multi_object"] >= 600.0
  assert found["foreground"] == 0.0


def test_median_of_some_calls():
  # Every second look at the clock is a call's end. After one of 700 ms, which builds nothing, calls
  # take 100, 200 and 900 ms.
  ticks = itertools.accumulate([0.0, 0.7, 0.0, 0.1, 0.0, 0.2, 0.0, 0.9])
  milliseconds = auxiliary_costs._milliseconds(lambda: tf.constant(1.0), lambda: next(ticks))
  assert milliseconds == pytest.approx(200.0)


def test_a_slow_head_is_called_once():
  calls = []
  seconds = itertools.count(0.0, 2.0)
  milliseconds = auxiliary_costs._milliseconds(
    lambda: calls.append(1) or tf.constant(1.0), lambda: next(seconds)
  )
  assert (milliseconds, len(calls)) == (2000.0, 1)


def test_a_long_measurement_ends(model):
  seconds = itertools.chain([0.0, 0.5], itertools.count(3.75, 3.75))
  found = auxiliary_costs.measure_milliseconds(model, *IMAGES, clock=lambda: next(seconds))
  # Of one of the two images; each further look at the clock is 3.75 s later.
  assert found["refinement"] == 3750.0 / 2
  assert found["closeness"] is None and found["multi_object"] is None
  assert found["foreground"] == 0.0


def test_a_slow_network_is_not_measured(model, monkeypatch):
  monkeypatch.setattr(detector.Detector, "box_stage", None)
  seconds = iter([0.0, 1.6])
  found = auxiliary_costs.measure_milliseconds(model, *IMAGES, clock=lambda: next(seconds))
  assert found == {"multi_object": None, "closeness": None, "foreground": 0.0, "refinement": None}


def test_without_refinement_inference_runs_no_auxiliary_head(folder):
  model = build(folder, refinement={"enabled": False})
  found = auxiliary_costs.measure_milliseconds(model, *IMAGES)
  assert found == {"multi_object": 0.0, "closeness": 0.0, "foreground": 0.0}


@pytest.mark.parametrize("absent", ["multi_object", "closeness"])
def test_refinement_without_one_of_its_sources(folder, absent, monkeypatch):
  monkeypatch.setattr(auxiliary_costs, "MAX_SECONDS", 1000.0)
  monkeypatch.setattr(auxiliary_costs, "MAX_FIRST_STAGE_SECONDS", 1000.0)
  model = build(folder, auxiliary={absent: {"loss_weight": 0.0}})
  found = auxiliary_costs.measure_milliseconds(model, *IMAGES)
  names = ["multi_object", "closeness", "foreground", "refinement"]
  assert list(found) == [name for name in names if name != absent]
  assert found["refinement"] > 0.0


def test_table():
  costs = {
    "multi_object": auxiliary_costs.Cost(1234567, 12.345),
    "foreground": auxiliary_costs.Cost(10, 0.0),
  }
  worth = auxiliary_costs.Worth("voc/mAP50_area", 0.5, 0.525)
  table = auxiliary_costs.table(costs, worth, "CPU")
  assert table.lines == [
    "cost of the auxiliary tasks and refinement, at inference on the CPU",
    "part          parameters  ms an image",
    "-------------------------------------",
    "multi_object   1,234,567        12.35",
    "foreground            10         0.00",
    "refinement off voc/mAP50_area 0.5000, on 0.5250: +2.5 points, with the same weights",
  ]
  assert table.content == {
    "parts": {
      "multi_object": {"parameters": 1234567, "milliseconds": 12.345},
      "foreground": {"parameters": 10, "milliseconds": 0.0},
    },
    "device": "CPU",
    "metric": "voc/mAP50_area",
    "unrefined": 0.5,
    "refined": 0.525,
  }
  assert table.markdown.splitlines()[0] == table.lines[0]
  assert "| multi_object | 1,234,567 | 12.35 |" in table.markdown.splitlines()
  assert table.lines[-1] in table.markdown


@pytest.mark.parametrize("worth", [None, auxiliary_costs.Worth("coco/AP", float("nan"), 0.5)])
def test_what_is_not_known_is_left_out(worth):
  costs = {"foreground": auxiliary_costs.Cost(10, None)}
  table = auxiliary_costs.table(costs, worth, "CPU", "on several replicas")
  assert table.lines[0].endswith("(no time measured: on several replicas)")
  assert table.lines[-1] == "foreground          10  not measured"
  assert table.content["device"] is None and "metric" not in table.content


class TestTask:
  """The task's table, from an evaluation of a detector whose refinement changes its scores."""

  @pytest.fixture(name="steps", scope="class")
  def _steps(self, folder):
    """The task, its model, and the outputs for the first batch."""
    params = tiny.experiment(folder, settings(evaluation={"auxiliary_metrics": False})).task
    task = mtl_detection.MtlDetectionTask(params)
    model = task.build_model()
    kernel = model.refiner.linear.kernel
    kernel.assign(np.random.default_rng(3).normal(0.0, 3.0, kernel.shape))
    batch = next(iter(task.build_inputs(params.validation_data)))
    return task, model, batch, task.validation_step(batch, model)

  def test_unrefined_detections_are_those_of_no_refinement(self, steps, folder):
    task, model, batch, logs = steps
    kernel = model.refiner.linear.kernel
    before = kernel.numpy()
    kernel.assign(tf.zeros_like(kernel))  # Nothing is added to the main head's logits.
    plain = task.validation_step(batch, model)
    kernel.assign(before)
    for name in ("detection_boxes_orig", "detection_scores", "detection_classes"):
      np.testing.assert_allclose(logs[f"unrefined/{name}"], plain[name], rtol=1e-5, atol=1e-4)
    assert np.abs(logs["detection_scores"] - plain["detection_scores"]).max() > 0.01
    off = tiny.experiment(folder, settings(evaluation={"auxiliary_costs": False})).task
    logs = mtl_detection.MtlDetectionTask(off).validation_step(batch, model)
    assert not [name for name in logs if name.startswith("unrefined/")]

  def test_closing_table(self, steps, monkeypatch):
    task, model, _, logs = steps
    task.aggregate_logs(None, {name: (value,) for name, value in logs.items()})
    monkeypatch.setattr(
      task._evaluation, "worth", lambda: auxiliary_costs.Worth("voc/mAP50_area", 0.25, 0.5)
    )
    monkeypatch.setattr(auxiliary_costs, "MAX_FIRST_STAGE_SECONDS", 1000.0)
    monkeypatch.setattr(auxiliary_costs, "MAX_SECONDS", 1000.0)
    table = task.closing_table(model)
    assert list(table.content["parts"]) == ["multi_object", "closeness", "foreground", "refinement"]
    assert all(cost["milliseconds"] is not None for cost in table.content["parts"].values())
    assert table.content["device"] in ("CPU", "GPU")
    assert table.lines[-1].startswith("refinement off voc/mAP50_area 0.2500, on 0.5000: +25.0")
    task._evaluation.reset()
    assert task.closing_table(model) is None

  @pytest.mark.parametrize(("gpus", "device"), [(["a GPU"], "GPU"), ([], "CPU")])
  def test_time_is_that_of_the_first_validation_image(self, steps, monkeypatch, gpus, device):
    task, model, (images, labels), logs = steps
    task.aggregate_logs(None, {name: (value,) for name, value in logs.items()})
    asked, measured = [], []
    monkeypatch.setattr(
      task, "build_inputs", lambda data: asked.append(data) or [(images, labels), None]
    )
    costs = {"foreground": auxiliary_costs.Cost(10, 0.0)}
    monkeypatch.setattr(
      auxiliary_costs, "measure", lambda *args: measured.append((args[0], *args[1]())) or costs
    )
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: gpus if kind == "GPU" else 1)
    assert task.closing_table(model).content["device"] == device
    assert asked == [task.task_config.validation_data]
    assert asked != [task.task_config.train_data]
    ((given, image, size),) = measured
    assert given is model
    np.testing.assert_array_equal(image, images[:1])
    np.testing.assert_array_equal(size, labels["image_size_px"][:1])

  def test_switched_off_or_without_tasks_there_is_none(self, steps, folder):
    _, model, _, logs = steps
    plain = settings(auxiliary=no_tasks(), refinement={"enabled": False})
    for override in (settings(evaluation={"auxiliary_costs": False}), plain):
      task = mtl_detection.MtlDetectionTask(tiny.experiment(folder, override).task)
      task.aggregate_logs(None, {name: (value,) for name, value in logs.items()})
      own = task.build_model() if override is plain else model
      assert task.closing_table(own) is None

  @pytest.mark.parametrize(
    ("num_replicas", "is_tpu", "reason"), [(2, False, "on several replicas"), (1, True, "on a TPU")]
  )
  def test_no_time_where_heads_cannot_run_alone(
    self, steps, monkeypatch, num_replicas, is_tpu, reason
  ):
    task, model, _, logs = steps
    task.aggregate_logs(None, {name: (value,) for name, value in logs.items()})
    strategy = types.SimpleNamespace(num_replicas_in_sync=num_replicas)
    monkeypatch.setattr(tf.distribute, "get_strategy", lambda: strategy)
    monkeypatch.setattr(strategies, "is_tpu", lambda _: is_tpu)
    table = task.closing_table(model)
    assert table.lines[0].endswith(f"(no time measured: {reason})")
    assert table.content["parts"]["closeness"]["milliseconds"] is None
