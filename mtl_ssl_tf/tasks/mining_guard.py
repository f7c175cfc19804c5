"""Ends a run whose mined boxes confirm themselves: too many, most of them wrong, growing losses."""

from collections.abc import Mapping

from mtl_ssl_tf.configs import co_mining
from mtl_ssl_tf.tasks import mining_measures
from mtl_ssl_tf.training import progress, stopping

# A softmax head's scores are higher than a sigmoid's for the same certainty.
ADVICE = (
  "raise task.mining.score_threshold ({threshold:g}): the published 0.4 diverges, and softmax"
  " scores need a higher one than the sigmoid scores that the published values are of"
)


class MiningGuard:
  """Watches the measures of a run from loop to loop.

  Once mined boxes are mostly wrong, the detector learns to find more of them: their number rises
  until the slots are full, or losses rise. One crowded batch does the same, so that only steps in
  a row count.
  """

  def __init__(self, config: co_mining.Mining):
    """Starts to count.

    Args:
      config: limits, slots, and the threshold that the advice names.
    """
    self._config = config
    self._last_step: int | None = None
    # Of each limit the step from which on it has been exceeded.
    self._since: dict[str, int] = {}

  @property
  def advice(self) -> str:
    """Returns what to change; empty where nothing is mined."""
    if not self._config.mines:
      return ""
    return ADVICE.format(threshold=self._config.score_threshold)

  def check(self, values: Mapping[str, float], step: int) -> None:
    """Takes the logs of a loop.

    Args:
      values: by name, means over the steps of the loop; among them the total loss.
      step: at the end of the loop.

    Raises:
      RunError: a limit has been exceeded for too long; one line that says what to change.
    """
    config, guard = self._config, self._config.guard
    if not config.mines:
      return
    start = self._last_step if self._last_step is not None else step
    self._last_step = step
    most = guard.max_filled * config.num_slots
    found, loss = values.get(mining_measures.BOXES, 0.0), values[progress.TOTAL_LOSS]
    num_found = values.get(mining_measures.FOUND, 0.0) * values.get(mining_measures.ANNOTATED, 0.0)
    most_wrong = guard.max_per_annotated_found * num_found
    limits = {
      f"{found:.1f} boxes are mined in a view of {config.num_slots} slots; accepted: at most"
      f" {most:g} (task.mining.guard.max_filled)": ("boxes", found > most),
      f"{found:.1f} boxes are mined in a view, and by the same score and class {num_found:.2g}"
      " annotated objects are found there; accepted: at most"
      f" {guard.max_per_annotated_found:g} times as many"
      " (task.mining.guard.max_per_annotated_found)": ("found", found > 1.0 and found > most_wrong),
      f"the loss is {loss:.4g}; accepted: at most {guard.max_loss:g}"
      " (task.mining.guard.max_loss)": ("loss", loss > guard.max_loss),
    }
    for text, (limit, is_exceeded) in limits.items():
      if not is_exceeded:
        self._since.pop(limit, None)
        continue
      since = self._since.setdefault(limit, start)
      if guard.steps and step - since >= guard.steps:
        raise stopping.RunError(f"step {step}: for {step - since} steps {text}; {self.advice}")
