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
    "without improvement, counted after step 280000, the last drop of the rate"
  )
  trainer.optimizer_config.learning_rate.type = "cosine"
  trainer.early_stopping_patience = 0
  assert early_stopping.first_counted_step(trainer) == 0
  assert early_stopping.describe(trainer).endswith("; early stopping: off")
