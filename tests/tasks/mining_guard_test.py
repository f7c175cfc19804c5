"""Runs that end because of their mined boxes, and runs that do not."""

from mtl_ssl_tf.configs import co_mining
from mtl_ssl_tf.tasks import mining_guard, mining_measures
from mtl_ssl_tf.training import stopping

ADVICE = (
  "raise task.mining.score_threshold (0.4): the published 0.4 diverges, and softmax scores need a"
  " higher one than the sigmoid scores that the published values are of"
)


FOUND = {"mining/annotated": 4.0, "mining/annotated_found": 0.5}


def guard(mode="co_mining", **limits) -> mining_guard.MiningGuard:
  """A guard over 20 slots: at most 10 boxes, and a loss of 8, for less than 30 steps."""
  settings = co_mining.Mining(mode=mode, num_slots=20, score_threshold=0.4)
  settings.guard.override({"steps": 30, "max_filled": 0.5, "max_loss": 8.0, **limits})
  return mining_guard.MiningGuard(settings)


def run(guarded, boxes, losses=None, first_step=10, **others) -> int | None:
  """Checks a loop of 10 steps for each value; returns the step that ends the run, if one does."""
  losses = losses or [1.0] * len(boxes)
  for i, (number, loss) in enumerate(zip(boxes, losses, strict=True)):
    step = first_step + 10 * i
    values = {mining_measures.BOXES: number, "training_loss": loss, **FOUND, **others}
    try:
      guarded.check(values, step)
    except stopping.RunError as error:
      guarded.message = str(error)
      return step
  return None


def test_too_many_boxes_for_too_long():
  guarded = guard()
  # Beyond the limit from step 20 on, 30 steps are over at 50.
  assert run(guarded, [3.0, 10.0, 10.1, 15.0, 19.96, 20.0]) == 50
  assert guarded.message == (
    "step 50: for 30 steps 20.0 boxes are mined in a view of 20 slots; accepted: at most 10"
    f" (task.mining.guard.max_filled); {ADVICE}"
  )


def test_steps_count_in_a_row():
  crowded = [11.0, 11.0, 10.0]
  assert run(guard(), crowded * 5) is None


def test_losses():
  guarded = guard()
  assert run(guarded, [0.0] * 5, [1.0, 9.0, 90.0, 1234567.0, 1.0]) == 40
  assert guarded.message == (
    "step 40: for 30 steps the loss is 1.235e+06; accepted: at most 8 (task.mining.guard.max_loss);"
    f" {ADVICE}"
  )
  assert run(guard(), [0.0] * 8, [1.0, 9.0, 9.0, 8.0] * 2) is None


def test_boxes_that_find_no_annotated_object():
  guarded = guard()
  found = {"mining/annotated": 2.0, "mining/annotated_found": 0.02}  # 0.04 in each view.
  assert run(guarded, [3.0, 4.0, 4.1, 9.0, 9.0, 9.0], **found) == 50
  assert guarded.message == (
    "step 50: for 30 steps 9.0 boxes are mined in a view, and by the same score and class 0.04"
    " annotated objects are found there; accepted: at most 100 times as many"
    f" (task.mining.guard.max_per_annotated_found); {ADVICE}"
  )
  assert run(guard(), [4.0] * 9, **found) is None
  assert run(guard(max_per_annotated_found=99.0), [4.0] * 9, **found) == 40
  # One box a view is not much.
  assert run(guard(), [1.0] * 9, **{**found, "mining/annotated_found": 0.0}) is None
  assert run(guard(), [1.1] * 9, **{**found, "mining/annotated_found": 0.0}) == 40


def test_each_limit_has_its_own_steps():
  # By turns too many boxes and too large a loss.
  assert run(guard(), [11.0, 0.0] * 5, [1.0, 9.0] * 5) is None


def test_the_first_loop_of_a_process_has_no_length():
  # Resumed at step 500, the guard does not know for how long that has been so.
  assert run(guard(), [15.0] * 9, first_step=500) == 530


def test_without_a_guard_or_mining():
  assert run(guard(steps=0), [20.0] * 9, [99.0] * 9) is None
  joint = guard(mode="joint")
  assert run(joint, [20.0] * 9, [99.0] * 9) is None
  assert joint.advice == ""
  assert guard().advice == ADVICE


def test_the_default_leaves_room():
  settings = co_mining.Mining()
  assert settings.guard.max_filled * settings.num_slots == 40.0
