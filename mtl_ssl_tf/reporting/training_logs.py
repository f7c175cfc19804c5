"""Losses and figures by training step, as a run has logged them."""

import logging
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from mtl_ssl_tf.reading import json_text
from mtl_ssl_tf.visualization import curves

_LOGGER = logging.getLogger(__name__)
_MAX_POINTS = 200
_TOTAL = ("training_loss", "loss")
_RATE = "learning_rate"
_OTHERS = ("steps_per_second", "dropped_boxes")
_TIMES = "time/"  # Begins the names of what steps spend their time on.


class Panel(NamedTuple):
  """Curves that belong together.

  Attributes:
    title: what they show.
    curves: steps and values by name.
  """

  title: str
  curves: Mapping[str, curves.Series]


class Logs(NamedTuple):
  """All curves of a run.

  Attributes:
    source: what was read.
    figures: of the evaluations, fractions; None without any.
    loss: of training, and of evaluation where it has one; None without any.
    rest: each single loss, and the learning rate.
  """

  source: str
  figures: Panel | None
  loss: Panel | None
  rest: list[Panel]


def read(model_dir: pathlib.Path) -> Logs | None:
  """Returns the curves in a run's TensorBoard files, or else in those of its evaluations.

  Files that cannot be read are left out, with a warning.

  Args:
    model_dir: folder of the run.

  Returns:
    None where there is neither.
  """
  try:
    series, source = curves.read_scalars(str(model_dir)), "TensorBoard event files"
  except ValueError:
    series, source = _of_evaluations(model_dir), "evaluation-STEP.json"
  series = {name: _thinned(values) for name, values in series.items()}
  evaluated, trained = {}, {}
  for name, values in series.items():
    split, _, tag = name.partition("/")
    if split == "train":
      trained[tag] = values
    elif split in ("validation", "eval"):
      evaluated[tag] = values
  figures = {tag: values for tag, values in evaluated.items() if _is_mean(tag)}
  loss = {f"training: {tag}": trained.pop(tag) for tag in _TOTAL if tag in trained}
  if "validation/loss" in evaluated:
    loss["validation: loss"] = evaluated.pop("validation/loss")
  rest = []
  losses = (tag for tag in trained if tag not in (*_OTHERS, _RATE) and not tag.startswith(_TIMES))
  for tag in sorted(losses):
    panel = {"training": trained[tag]}
    if f"validation/{tag}_loss" in evaluated:
      panel["validation"] = evaluated[f"validation/{tag}_loss"]
    rest.append(Panel(tag, panel))
  if _RATE in trained:
    rest.append(Panel(_RATE, {"training": trained[_RATE]}))
  if not (figures or loss or rest):
    return None
  return Logs(
    source,
    Panel("figures of the validation data", figures) if figures else None,
    Panel("loss", loss) if loss else None,
    rest,
  )


def _is_mean(tag: str) -> bool:
  """Whether a figure is a mean over classes that says how good the detector is."""
  metric, _, figure = tag.partition("/")
  if "/" in figure:
    return False
  return (metric == "voc" and figure.startswith("mAP")) or tag in ("coco/AP", "coco/AP50")


def _of_evaluations(model_dir: pathlib.Path) -> dict[str, curves.Series]:
  """The figures that evaluations have left, as if they were events."""
  found: dict[str, dict[int, float]] = {}
  for path in model_dir.glob("evaluation-*.json"):
    if not path.stem.removeprefix("evaluation-").isdigit():
      continue  # One with other settings.
    content = _read_evaluation(path)
    for name, value in content.items():
      if isinstance(value, float) and json_text.is_number(value):
        found.setdefault(f"validation/{name}", {})[content["step"]] = value
  return {
    name: (sorted(values), [values[step] for step in sorted(values)])
    for name, values in found.items()
  }


def _read_evaluation(path: pathlib.Path) -> dict[str, Any]:
  """The content of an evaluation's file; empty, with a warning, where it cannot be read."""
  try:
    content = json_text.read(path)
    json_text.check(content, {"step": int}, path)
    return content
  except OSError as error:
    problem = f"{path}: cannot be read ({error.strerror})"
  except ValueError as error:
    problem = str(error)
  _LOGGER.warning(f"left out of the curves: {problem}")
  return {}


def _thinned(series: curves.Series) -> curves.Series:
  """At most so many points, the last among them."""
  steps, values = series
  stride = -(-len(steps) // _MAX_POINTS)
  rows = range(len(steps) - 1, -1, -stride)[::-1]
  return [steps[row] for row in rows], [values[row] for row in rows]
