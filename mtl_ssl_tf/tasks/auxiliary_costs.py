"""Costs of the auxiliary tasks and of refinement, and what refinement is worth: a run's last table.

costs = measure(model, first_image)    parameters and milliseconds of each
table(costs, worth, device)            lines, JSON and Markdown
"""

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import tensorflow as tf

from mtl_ssl_tf.evaluation import tables
from mtl_ssl_tf.modeling import detector
from mtl_ssl_tf.training import task as task_lib

NAME = "auxiliary_costs"
# No further head is measured once the measurement has taken so long, in seconds.
MAX_SECONDS = 5.0
# Nor is any where the first stage takes so long: all that follows takes several times as long.
MAX_FIRST_STAGE_SECONDS = 1.5
# A head that takes so many seconds is called once, without a graph, whose gain is small then.
_SLOW_SECONDS = 1.0
# Of another one: so many calls of the graph, unless they take longer than so many seconds.
_NUM_CALLS, _CALL_SECONDS = 10, 0.5


class Cost(NamedTuple):
  """Of an auxiliary task's head, or of the refinement layer.

  Attributes:
    parameters: trained numbers, its own alone; parts share features, but no weights.
    milliseconds: at inference, of one image; 0 where inference does without it, None unmeasured.
  """

  parameters: int
  milliseconds: float | None


class Worth(NamedTuple):
  """The main figure of the same weights and images without refinement and with it.

  Attributes:
    metric: its name.
    unrefined: fraction, by the main head's scores alone; NaN without objects.
    refined: fraction.
  """

  metric: str
  unrefined: float
  refined: float


def count_parameters(model: detector.Detector) -> dict[str, int]:
  """Returns the trained parameters of each auxiliary task and of refinement, by name.

  Those that are not there are left out; none are left without auxiliary tasks.
  """
  parts = {
    "multi_object": model.multi_object_head,
    "closeness": model.closeness_head,
    "foreground": model.foreground_head,
    "refinement": model.refiner,
  }
  return {
    name: sum(variable.shape.num_elements() for variable in part.trainable_variables)
    for name, part in parts.items()
    if part is not None
  }


def measure_milliseconds(
  model: detector.Detector,
  images: tf.Tensor,
  image_size_px: tf.Tensor,
  clock: Callable[[], float] = time.perf_counter,
) -> dict[str, float | None]:
  """Returns milliseconds an image that each part adds to inference, by name.

  Heads run one after the other, so what a head takes by itself is what inference takes less
  without it. Each is built as a graph, not compiled, and called on the proposals of these images;
  the median counts. Detection asks for auxiliary heads only to refine: without refinement, and for
  the foreground head, that is 0. After `MAX_SECONDS` the parts left are None, and all of them where
  the first stage takes longer than `MAX_FIRST_STAGE_SECONDS`.

  Args:
    model: trained; its variables must be those of one replica.
    images: float32 [B, H, W, 3], RGB 0 ... 255.
    image_size_px: float32 [B, 2].
    clock: seconds.
  """
  found: dict[str, float | None] = dict.fromkeys(count_parameters(model), 0.0)
  if model.refiner is None:
    return found
  begin = clock()
  first = model.first_stage(images, image_size_px)
  boxes_px, valid, _ = first.proposals
  valid.numpy()  # Waits for the device.
  if clock() - begin > MAX_FIRST_STAGE_SECONDS:
    return {name: 0.0 if name == "foreground" else None for name in found}
  second = model.box_stage(first.features, boxes_px, image_size_px)
  selected = model.select_refined(second.class_logits, valid)
  windows = _any_windows(model, second)

  def refine() -> tf.Tensor:
    closeness = model.mean_closeness(second.closeness_logits, valid)
    return model.refiner(second.class_logits, windows, closeness)

  parts = {
    "refinement": refine,
    "closeness": lambda: model.classify_closeness(
      first.features, second.boxes_px, image_size_px, second.box_features
    ),
    "multi_object": lambda: model.proposal_windows(first, second, image_size_px, selected),
  }
  for name, part in parts.items():
    if name in found:
      is_over = clock() - begin > MAX_SECONDS
      found[name] = None if is_over else _milliseconds(part, clock) / images.shape[0]
  return found


def _any_windows(model: detector.Detector, second: detector.BoxStage) -> tf.Tensor | None:
  """Zeros [B, P, Q, C] in the place of the windows' logits: the linear map takes as long."""
  if model.multi_object_head is None:
    return None
  batch_size, num_proposals, num_classes = second.class_logits.shape
  num_sources = model.refiner.linear.kernel.shape[0] // num_classes
  num_windows = num_sources - 1 - int(second.closeness_logits is not None)
  return tf.zeros([batch_size, num_proposals, num_windows, num_classes])


def _milliseconds(part: Callable[[], tf.Tensor], clock: Callable[[], float]) -> float:
  """Returns the median time of a call, as a graph whose inputs are not known when it is built."""
  # A sum: waiting for its value waits for the device.
  first = _seconds(lambda: tf.reduce_sum(part()), clock)
  if first >= _SLOW_SECONDS:
    return 1000.0 * first
  run = tf.function(lambda: tf.reduce_sum(part()), autograph=False)
  run().numpy()
  seconds: list[float] = []
  while len(seconds) < _NUM_CALLS and sum(seconds) < _CALL_SECONDS:
    seconds.append(_seconds(run, clock))
  return 1000.0 * statistics.median(seconds)


def _seconds(call: Callable[[], tf.Tensor], clock: Callable[[], float]) -> float:
  start = clock()
  call().numpy()
  return clock() - start


def measure(
  model: detector.Detector, batch: Callable[[], tuple[tf.Tensor, tf.Tensor]] | None
) -> dict[str, Cost]:
  """Returns the costs by name; see `count_parameters` and `measure_milliseconds`.

  Args:
    model: trained.
    batch: returns images and `image_size_px` to measure time on; None measures none.
  """
  parameters = count_parameters(model)
  times: Mapping[str, float | None] = dict.fromkeys(parameters)
  if batch is not None:
    times = measure_milliseconds(model, *batch())
  return {name: Cost(number, times[name]) for name, number in parameters.items()}


def table(
  costs: Mapping[str, Cost], worth: Worth | None, device: str, reason: str = ""
) -> task_lib.ClosingTable:
  """Returns the table of a run's end.

  Args:
    costs: by name.
    worth: of refinement; None where there is none.
    device: that the time was measured on, such as `CPU`.
    reason: why no time was measured; empty where it was.
  """
  rows = [(name, f"{cost.parameters:,}", _shown(cost.milliseconds)) for name, cost in costs.items()]
  header = ("part", "parameters", "ms an image")
  if reason:
    title = f"cost of the auxiliary tasks and refinement (no time measured: {reason})"
  else:
    title = f"cost of the auxiliary tasks and refinement, at inference on the {device}"
  lines = tables.text_table(title, header, rows).splitlines()
  content: dict[str, Any] = {
    "parts": {name: cost._asdict() for name, cost in costs.items()},
    "device": None if reason else device,
  }
  sentence = ""
  if worth is not None and worth.unrefined == worth.unrefined:
    points = 100.0 * (worth.refined - worth.unrefined)
    sentence = (
      f"refinement off {worth.metric} {worth.unrefined:.4f}, on {worth.refined:.4f}:"
      f" {points:+.1f} points, with the same weights"
    )
    lines.append(sentence)
    content |= worth._asdict()
  markdown = [f"| {' | '.join(row)} |" for row in (header, ("---", "---:", "---:"), *rows)]
  return task_lib.ClosingTable(
    NAME, lines, "\n".join([title, "", *markdown, "", sentence]), content
  )


def _shown(milliseconds: float | None) -> str:
  return "not measured" if milliseconds is None else f"{milliseconds:.2f}"
