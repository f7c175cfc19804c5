"""The pace of a training from its lines of progress."""

import sys

import pytest

from mtl_ssl_tf.suggestion import timing


def test_pace_leaves_start_up_out_of_the_steps():
  pace = timing.pace([(5, 30.0), (10, 35.0), (15, 40.0)], "")
  assert pace == timing.Pace(start_up_s=25.0, step_s=1.0)
  assert pace.steps(60.0) == 35
  assert pace.steps(1.0) == 1


def test_a_training_that_ends_early_says_why():
  with pytest.raises(ValueError, match="ended early: error: no records"):
    timing.pace([(5, 30.0)], "error: no records")


def test_a_training_is_ended_once_it_has_shown_enough():
  program = (
    "import time\nprint('built')\n"
    'for i in range(1, 999): print(f"step {5 * i}/99 |", flush=True); time.sleep(0.02)'
  )
  points, last = timing._watch([sys.executable, "-c", program])
  assert [step for step, _ in points] == [5, 10, 15, 20, 25, 30]
  assert sorted(seconds for _, seconds in points) == [seconds for _, seconds in points]
  assert last == "step 30/99 |"


def test_what_a_failed_training_wrote_is_kept():
  points, last = timing._watch([sys.executable, "-c", "import sys; sys.exit('error: broken')"])
  assert points == [] and last == "error: broken"
