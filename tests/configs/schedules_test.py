"""Learning rates and warm-ups of which some step would have no rate."""

import pytest
from official.modeling import optimization

from mtl_ssl_tf.configs import experiments, schedules

RATE = "trainer.optimizer_config.learning_rate"


def trainer(train_steps=100, **changed):
  config = experiments.mtl_frcnn().trainer
  config.override({"train_steps": train_steps, "optimizer_config": changed})
  return config


def message(**changed) -> str:
  with pytest.raises(ValueError) as error:
    schedules.check(trainer(**changed))
  return str(error.value)


def test_learning_rate_without_its_values():
  cosine = {"type": "cosine", "cosine": {"initial_learning_rate": 0.1}}
  assert message(learning_rate=cosine) == f"{RATE}.cosine.decay_steps is not set; accepted: a value"
  assert message(warmup={"type": "linear"}) == (
    "trainer.optimizer_config.warmup.linear.warmup_steps is not set; accepted: a value"
  )


def test_learning_rate_field_that_needs_no_value():
  rate = {"initial_learning_rate": 0.1, "decay_steps": 10, "decay_rate": 0.5}
  schedules.check(trainer(learning_rate={"type": "exponential", "exponential": rate}))


def stepwise(boundaries, values):
  return {"type": "stepwise", "stepwise": {"boundaries": boundaries, "values": values}}


@pytest.mark.parametrize(
  ("boundaries", "values", "accepted"),
  [
    ([10, 20], [0.1, 0.01], f"values is [0.1, 0.01]; accepted: 3 rates, one more than {RATE}."),
    ([], [], f"values is []; accepted: 1 rates, one more than {RATE}.stepwise.boundaries ([])"),
    ([20, 10], [3.0, 2.0, 1.0], "boundaries is [20, 10]; accepted: steps in rising order"),
    ([10, 10], [3.0, 2.0, 1.0], "boundaries is [10, 10]; accepted: steps in rising order"),
  ],
)
def test_stepwise(boundaries, values, accepted):
  assert message(learning_rate=stepwise(boundaries, values)).startswith(
    f"{RATE}.stepwise.{accepted}"
  )
  schedules.check(trainer(learning_rate=stepwise([10, 20], [3.0, 2.0, 1.0])))
  schedules.check(trainer(learning_rate=stepwise([], [3.0])))


def cosine_steps(boundaries, values, offset=0):
  return {
    "type": "step_cosine_with_offset",
    "step_cosine_with_offset": {"boundaries": boundaries, "values": values, "offset": offset},
  }


def test_cosine_in_steps():
  path = f"{RATE}.step_cosine_with_offset"
  assert message(learning_rate=cosine_steps([0, 100], [1.0, 0.5, 0.1])) == (
    f"{path}.values is [1.0, 0.5, 0.1]; accepted: 2 rates, as many as {path}.boundaries ([0, 100])"
  )
  for boundaries, offset in (([0, 99], 0), ([0], 200)):
    values = [0.5] * len(boundaries)
    assert message(learning_rate=cosine_steps(boundaries, values, offset)) == (
      f"{path}.boundaries is {boundaries}; accepted: at least two, the last one, plus offset "
      f"({offset}), at least trainer.train_steps (100), as the rate is not a number from there on"
    )
  schedules.check(trainer(learning_rate=cosine_steps([0, 90], [1.0, 0.5], offset=10)))


def test_cosine_in_steps_has_no_rate_behind_its_last_boundary():
  # Why that is refused: of Model Garden's own schedule.
  config = trainer(learning_rate=cosine_steps([0, 90], [1.0, 0.5])).optimizer_config
  rate = optimization.OptimizerFactory(config).build_learning_rate()
  assert float(rate(89)) == pytest.approx(0.5, abs=1e-3)
  assert not float(rate(91)) < 1.0
