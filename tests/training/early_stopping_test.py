"""Evaluations in a row that bring nothing, counted by hand."""

import pytest
import tensorflow as tf

from mtl_ssl_tf.configs import experiments
from mtl_ssl_tf.training import early_stopping


def make(patience=2, comparison="higher", first_step=0):
  return early_stopping.EarlyStopping(patience, comparison, first_step)


def ended_at(stopping, figures) -> int | None:
  """Step of the evaluation that ended the run, the first one being at step 10."""
  for i, figure in enumerate(figures):
    stopping.update(figure, 10 * (i + 1))
    if stopping.is_over:
      return 10 * (i + 1)
  return None


@pytest.mark.parametrize(
  ("figures", "comparison", "step"),
  [
    ([0.1, 0.2, 0.2, 0.2], "higher", 40),
    ([0.1, 0.2, 0.1, 0.3, 0.2, 0.1], "higher", 60),
    ([0.1, 0.2, 0.3, 0.4], "higher", None),
    ([0.4, 0.3, 0.2, 0.3], "lower", None),
    ([0.4, 0.5, 0.6], "lower", 30),
    ([float("nan"), float("nan")], "higher", 20),
    ([0.1, float("nan"), 0.2], "higher", None),
  ],
)
def test_patience_of_two(figures, comparison, step):
  assert ended_at(make(2, comparison), figures) == step


def test_patience_of_zero_never_ends():
  assert ended_at(make(0), [0.5] * 20) is None


def test_evaluations_up_to_the_first_step_end_nothing():
  # At 10, 20 and 30 nothing counts; 40 and 50 are the two in a row.
  assert ended_at(make(2, first_step=30), [0.5] * 10) == 50


def test_an_evaluation_that_is_repeated_counts_once():
  stopping = make()
  for step in (10, 20, 20, 20):
    stopping.update(0.5, step)
  assert not stopping.is_over


def test_a_checkpoint_knows_everything(tmp_path):
  before = make(3)
  for step, figure in ((10, 0.5), (20, 0.4), (30, 0.3)):
    before.update(figure, step)
  path = tf.train.Checkpoint(early_stopping=before).save(str(tmp_path / "x"))
  after = make(3)
  tf.train.Checkpoint(early_stopping=after).restore(path)
  assert after.last_step == 30
  assert (
    after.state()
    == before.state()
    == ("early stopping: 2 of 3 evaluations without improvement since step 10")
  )
  after.update(0.45, 40)
  assert after.is_over


def test_stepwise_rates_are_lived_to_their_end():
  trainer = experiments.mtl_frcnn().trainer
  assert early_stopping.first_counted_step(trainer) == 280_000
  trainer.best_checkpoint_eval_metric = "mAP"
  assert early_stopping.describe(trainer) == (
    "best/: the 3 best checkpoints by mAP (higher is better); early stopping: after 10 evaluations "
    "without improvement, counted after step 280000, the last drop of the rate; the run has too "
    "few and never ends early"
  )
  trainer.optimizer_config.learning_rate.type = "cosine"
  trainer.early_stopping_patience = 0
  assert early_stopping.first_counted_step(trainer) == 0
  assert early_stopping.describe(trainer).endswith("; early stopping: off")


def trainer_of(patience, train_steps=100, interval=10, boundaries=()):
  trainer = experiments.mtl_frcnn().trainer
  trainer.best_checkpoint_eval_metric = "mAP"
  trainer.early_stopping_patience = patience
  trainer.train_steps, trainer.validation_interval = train_steps, interval
  trainer.optimizer_config.learning_rate.stepwise.boundaries = list(boundaries)
  return trainer


@pytest.mark.parametrize(
  ("patience", "settings", "can_act"),
  [
    # At 10, 20 … 90: the first is the best one so far, eight can be without improvement.
    (8, {}, True),
    (9, {}, False),
    # Also where the last step is no multiple.
    (9, {"train_steps": 101}, True),
    # At 60, 70, 80 and 90, the best one lying before.
    (4, {"boundaries": [20, 55]}, True),
    (4, {"boundaries": [20, 60]}, False),
    (3, {"boundaries": [60]}, True),
    (1, {"boundaries": [95]}, False),
    (1, {"boundaries": [500]}, False),
    # At 60 alone, which is the first; at 40 and 80.
    (1, {"interval": 60, "boundaries": [20]}, False),
    (1, {"interval": 40, "boundaries": [20]}, True),
    (1, {"interval": 200}, False),
  ],
)
def test_what_can_never_act(patience, settings, can_act):
  trainer = trainer_of(patience, **settings)
  assert early_stopping.can_act(trainer) == can_act
  assert len(early_stopping.warnings(trainer)) == (not can_act)
  assert early_stopping.describe(trainer).endswith("never ends early") == (not can_act)


def test_warning():
  assert early_stopping.warnings(trainer_of(5, boundaries=[60])) == [
    "trainer.early_stopping_patience is 5, which never ends the run: one evaluation in 10 steps "
    "(trainer.validation_interval) is too few between step 60 and trainer.train_steps (100)"
  ]


def test_what_nobody_asked_for_is_not_warned_of():
  assert early_stopping.warnings(trainer_of(0)) == []
  assert early_stopping.warnings(trainer_of(10)) == []  # The default.
