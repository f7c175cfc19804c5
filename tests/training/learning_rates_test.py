import dataclasses
import math

import pytest
import tensorflow as tf
from official.modeling import optimization

from mtl_ssl_tf.configs import experiments, loading
from mtl_ssl_tf.training import early_stopping, learning_rates
from tests.configs import resolved_rows
from tests.tasks import tiny

# 16 images at rates for 4: all rates are four times as large.
_BATCH, _BASE = 16, 4
# Schedule -> settings, and the configured rate at step 30.
_SCHEDULES = {
  "constant": ({"learning_rate": 0.1}, 0.1),
  "stepwise": ({"boundaries": [20, 40], "values": [0.1, 0.2, 0.3]}, 0.2),
  "exponential": ({"initial_learning_rate": 0.1, "decay_steps": 30, "decay_rate": 0.5}, 0.05),
  # Half way from 0.1 to 0.02.
  "polynomial": (
    {"initial_learning_rate": 0.1, "end_learning_rate": 0.02, "decay_steps": 60},
    0.06,
  ),
  "cosine": ({"initial_learning_rate": 0.1, "decay_steps": 60}, 0.05),
  "power": ({"initial_learning_rate": 0.1, "power": -1.0}, 0.1 / 30),
  "power_linear": (
    {"initial_learning_rate": 0.1, "power": -1.0, "total_decay_steps": 100},
    0.1 / 30,
  ),
  "power_with_offset": (
    {
      "initial_learning_rate": 0.1,
      "power": -1.0,
      "offset": 40,
      "pre_offset_learning_rate": 0.05,
    },
    0.05,
  ),
  "step_cosine_with_offset": ({"boundaries": [0, 60], "values": [0.1, 0.02]}, 0.06),
}


def experiment(folder, scaling: str, schedule: str = "constant", warmup=None):
  fields, _ = _SCHEDULES[schedule]
  config = {"learning_rate": {"type": schedule, schedule: fields}}
  if warmup:
    config["warmup"] = warmup
  return tiny.experiment(
    folder,
    {
      "task": {"train_data": {"global_batch_size": _BATCH}},
      "trainer": {
        "learning_rate_scaling": scaling,
        "base_batch_size": _BASE,
        "optimizer_config": config,
      },
    },
  )


def rate(config, step: int) -> float:
  schedule = optimization.OptimizerFactory(config).build_learning_rate()
  return float(schedule(tf.constant(step)) if callable(schedule) else schedule)


@pytest.mark.parametrize("schedule", _SCHEDULES)
def test_every_schedule_is_scaled_as_a_whole(folder, schedule):
  expected = _SCHEDULES[schedule][1]
  params = experiment(folder, "none", schedule)
  assert rate(learning_rates.scaled(params), 30) == pytest.approx(expected, rel=1e-5)
  params = experiment(folder, "linear", schedule)
  assert rate(learning_rates.scaled(params), 30) == pytest.approx(4.0 * expected, rel=1e-5)
  # What the run writes down stays as configured: the next start scales it again.
  assert rate(params.trainer.optimizer_config, 30) == pytest.approx(expected, rel=1e-5)


def test_every_schedule_of_model_garden_is_known():
  fields = {field.name for field in dataclasses.fields(optimization.LrConfig)}
  assert fields - {"type"} == set(_SCHEDULES)


def test_warmup_climbs_from_its_own_start_to_the_scaled_rate(folder):
  warmup = {"type": "linear", "linear": {"warmup_steps": 10, "warmup_learning_rate": 0.1}}
  config = learning_rates.scaled(experiment(folder, "linear", warmup=warmup))
  assert [rate(config, step) for step in (0, 5, 10)] == pytest.approx([0.1, 0.25, 0.4])
  warmup = {"type": "polynomial", "polynomial": {"warmup_steps": 10, "power": 1.0}}
  config = learning_rates.scaled(experiment(folder, "linear", warmup=warmup))
  assert [rate(config, step) for step in (5, 10)] == pytest.approx([0.2, 0.4])


def test_description(folder):
  assert learning_rates.description(experiment(folder, "none", "cosine")) == (
    "learning rate 0.1 (cosine), batch 16, no warm-up"
  )
  assert learning_rates.description(experiment(folder, "linear", "stepwise")) == (
    "learning rate 0.1 x 16/4 = 0.4 (stepwise), batch 16, no warm-up"
  )
  warmup = {"type": "linear", "linear": {"warmup_steps": 10, "warmup_learning_rate": 0.02}}
  assert learning_rates.description(experiment(folder, "linear", warmup=warmup)) == (
    "learning rate 0.1 x 16/4 = 0.4 (constant), batch 16, warm-up of 10 steps from 0.02 (linear)"
  )


def warnings(folder, **learning_rate) -> list[str]:
  config = {"train_steps": 100, "optimizer_config": {"learning_rate": learning_rate}}
  return learning_rates.warnings(tiny.experiment(folder, {"trainer": config}).trainer)


def test_a_rate_that_never_drops_is_warned_of(folder):
  assert warnings(folder, type="constant", constant={"learning_rate": 0.1}) == [
    "trainer.optimizer_config.learning_rate.type is 'constant': the rate never drops; stepwise and "
    "cosine rates do"
  ]
  field = "trainer.optimizer_config.learning_rate.stepwise.boundaries"

  def stepwise(*boundaries):
    values = [0.1] * (len(boundaries) + 1)
    return warnings(
      folder, type="stepwise", stepwise={"boundaries": list(boundaries), "values": values}
    )

  assert stepwise(100, 200) == [
    f"{field} is [100, 200]: the rate never drops before trainer.train_steps (100)"
  ]
  assert stepwise() == [f"{field} is []: the rate never drops before trainer.train_steps (100)"]
  assert stepwise(50, 100) == [
    f"{field} is [50, 100]: the rate does not drop to its last value before trainer.train_steps "
    "(100)"
  ]
  assert stepwise(50, 99) == []
  cosine = {"initial_learning_rate": 0.1, "decay_steps": 100}
  assert warnings(folder, type="cosine", cosine=cosine) == []


def test_a_warmup_of_most_steps_is_warned_of(folder):
  def found(warmup_steps):
    cosine = {"type": "cosine", "cosine": {"initial_learning_rate": 0.1}}
    warmup = {"type": "linear", "linear": {"warmup_steps": warmup_steps}}
    config = {"learning_rate": cosine, "warmup": warmup}
    config = {"train_steps": 100, "optimizer_config": config}
    return learning_rates.warnings(tiny.experiment(folder, {"trainer": config}).trainer)

  assert found(50) == []
  (line,) = found(51)
  assert line.startswith(
    "trainer.optimizer_config.warmup.linear.warmup_steps is 51, of trainer.train_steps (100): most"
  )


def test_no_published_row_is_warned_of():
  for name in resolved_rows.names():
    path = resolved_rows.CONFIGS / name
    file = resolved_rows.config_file(path) if path.suffix == ".flags" else str(path)
    trainer = loading.load_experiment(experiments.DEFAULT, [file]).trainer
    assert learning_rates.warnings(trainer) == [], name
    assert early_stopping.warnings(trainer) == [], name


def test_a_cosine_rate_after_a_warmup(folder):
  config = {
    "learning_rate": {"type": "cosine", "cosine": {"initial_learning_rate": 0.1}},
    "warmup": {"type": "linear", "linear": {"warmup_steps": 10, "warmup_learning_rate": 0.0}},
  }
  params = tiny.experiment(folder, {"trainer": {"train_steps": 60, "optimizer_config": config}})
  # `decay_steps` follows `train_steps`; the climb ends where the cosine is by then.
  cosine = [0.05 * (1.0 + math.cos(math.pi * step / 60)) for step in range(61)]
  expected = [0.0, 0.5 * cosine[10], cosine[10], cosine[30], 0.0]
  found = [rate(params.trainer.optimizer_config, step) for step in (0, 5, 10, 30, 60)]
  assert found == pytest.approx(expected, abs=1e-7)
