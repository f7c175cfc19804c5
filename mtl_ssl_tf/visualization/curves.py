"""Draws the losses and metrics that a training run wrote for TensorBoard into one picture.

python -m mtl_ssl_tf.visualization.curves --model_dir runs/demo --output curves.png
"""

import itertools
import logging
import math
import os
import pathlib
import sys
from collections.abc import Iterator, Mapping, MutableMapping, Sequence

import matplotlib

matplotlib.use("Agg")

import numpy as np
from google.protobuf import message
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from tensorboard.backend.event_processing import event_file_loader
from tensorboard.compat import tf
from tensorboard.compat.proto import tensor_pb2
from tensorboard.util import tensor_util

from mtl_ssl_tf import terminal
from mtl_ssl_tf.command_line import curves as curves_flags
from mtl_ssl_tf.reading import regular_files

_LOGGER = logging.getLogger(__name__)
Series = tuple[Sequence[int], Sequence[float]]

# Subfolders that say where a figure was measured, not what it is.
_RUNS = ("train", "validation", "eval")
# Folder that repeats figures for another purpose, see `training/hyperparameters.py`.
_LEFT_OUT = "hyperparameters"
# Figures about the run itself; they come last and are never smoothed.
_BOOKKEEPING = ("learning_rate", "steps_per_second", "time/step_ms", "dropped_boxes")
_COLUMNS = 4
_MIN_STEPS_TO_SMOOTH = 20
_LOG_SCALE_FROM_RATIO = 50.0
_MAX_LEGEND_ROWS = 24
_SCALARS = "scalars"  # The plug-in that shows them; pictures and texts are tensors, too.
# Of a record, around its content.
_HEADER_BYTES, _FOOTER_BYTES = 12, 4


def read_scalars(model_dir: str) -> dict[str, Series]:
  """Reads every scalar in the event files of a folder and its subfolders.

  Where a restarted run wrote a step again, the later value counts. Files that cannot be read are
  left out, with a warning.

  Args:
    model_dir: the folder given to training as `--model_dir`.

  Returns:
    (steps, values) by name. The name is the path of the event file's folder below `model_dir` and
    the scalar's own name, such as `train/total_loss` or `validation/voc/mAP50_area`.

  Raises:
    ValueError: if there is no event file, or none holds a scalar.
  """
  root = pathlib.Path(model_dir)
  paths = sorted(
    path
    for path in root.rglob("*.tfevents.*")
    if not path.is_dir() and path.parent.name != _LEFT_OUT
  )
  if not paths:
    raise ValueError(f"{model_dir} holds no event files; accepted: TensorBoard's (*.tfevents.*)")
  found: dict[str, dict[int, float]] = {}
  plugins: dict[pathlib.Path, dict[str, str]] = {}
  for path in paths:
    prefix = path.parent.relative_to(root).parts
    for tag, step, value in _scalars(path, plugins.setdefault(path.parent, {})):
      found.setdefault("/".join([*prefix, tag]), {})[step] = value
  if not found:
    raise ValueError(f"{model_dir} holds no scalars; accepted: event files with losses or metrics")
  return {
    name: (sorted(values), [values[step] for step in sorted(values)])
    for name, values in found.items()
  }


def _scalars(
  path: pathlib.Path, plugins: MutableMapping[str, str]
) -> Iterator[tuple[str, int, float]]:
  """Yields name, step and value of each scalar in an event file, as far as that can be read.

  Args:
    path: of the file; where it is cut short, as a run may be writing it, nothing is missed.
    plugins: of the folder, by scalar; an event may leave out what an earlier one said.
  """
  try:
    num_whole, num_read = _num_whole_records(path), 0
    # Not one more, whose length may say anything: TensorFlow would make room for it.
    loader = event_file_loader.LegacyEventFileLoader(str(path))
    for event in itertools.islice(loader.Load(), num_whole):
      num_read += 1
      for value in event.summary.value:
        plugin = plugins.setdefault(value.tag, value.metadata.plugin_data.plugin_name)
        number = _number(value.tensor) if plugin == _SCALARS else None
        if number is not None:
          yield value.tag, event.step, number
  except OSError as error:
    _LOGGER.warning(f"left out of the curves: {path}: {error.strerror}")
    return
  except (message.DecodeError, tf.errors.OpError):
    pass
  if num_read < num_whole or not num_whole:
    _LOGGER.warning(f"left out of the curves: {path}: damaged after {num_read} events")


def _num_whole_records(path: pathlib.Path) -> int:
  """Number of records before the end of the file, or before one that the file does not hold whole.

  Raises:
    OSError: it is no regular file, or cannot be read.
  """
  with regular_files.open_file(path, buffering=0) as file:
    size = os.fstat(file.fileno()).st_size
    number = start = 0
    while start < size:
      file.seek(start)
      start += _HEADER_BYTES + int.from_bytes(file.read(8), "little") + _FOOTER_BYTES
      number += start <= size
  return number


def _number(tensor: tensor_pb2.TensorProto) -> float | None:
  """The value of a scalar; None of another tensor, whose shape may ask for any amount of memory."""
  if any(side.size != 1 for side in tensor.tensor_shape.dim):
    return None
  try:
    return float(tensor_util.make_ndarray(tensor).item())
  except (TypeError, ValueError):
    return None


def plot_curves(series: Mapping[str, Series], path: str) -> None:
  """Draws one small panel for each figure: losses, then metrics, then figures about the run.

  Curves of one figure share a panel whether measured in training (solid) or evaluation (dashed),
  and so do the members of a family, such as `voc/AP50_area/<class>`. A name with a slash is a
  metric. Long curves of a loss are drawn faintly, with a smoothed curve on top. Values that are
  not finite leave gaps.

  Args:
    series: (steps, values) by name; `train/`, `validation/` or `eval/`, in front or after folders,
      says where it was measured.
    path: the picture to write; its suffix chooses the format.

  Raises:
    ValueError: if there is nothing to draw or the format is unknown.
  """
  if not series:
    raise ValueError("series is empty; accepted: at least one curve")
  runs = sorted({_split_name(name)[0] for name in series})
  panels: dict[str, list[tuple[str, str, Series]]] = {}
  for name, values in series.items():
    run, title, member = _split_name(name)
    panels.setdefault(title, []).append((run, member, values))
  titles = sorted(panels, key=lambda title: (_group(title), "loss" not in title, title))

  columns = min(_COLUMNS, len(titles))
  rows = math.ceil(len(titles) / columns)
  figure, axes = plt.subplots(
    rows, columns, figsize=(4.2 * columns, 3.0 * rows), squeeze=False, layout="constrained"
  )
  try:
    for axis, title in zip(axes.flat, titles, strict=False):
      _draw_panel(axis, title, panels[title], runs)
    for axis in axes.flat[len(titles) :]:
      axis.set_axis_off()
    output = pathlib.Path(path)
    output.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(output, dpi=100)
  finally:
    plt.close(figure)


def smooth(values: np.ndarray) -> np.ndarray:
  """Centred running mean over about a twentieth of a curve; it is narrower at the ends.

  Args:
    values: float [n]; those that are not finite are passed over.

  Returns:
    float [n], NaN where no value is near.
  """
  finite = np.isfinite(values)
  window = np.ones(2 * max(1, len(values) // 40) + 1)
  total = np.convolve(np.where(finite, values, 0.0), window, mode="same")
  count = np.convolve(finite.astype(np.float64), window, mode="same")
  return np.divide(total, count, out=np.full(len(values), np.nan), where=count > 0.5)


def _split_name(name: str) -> tuple[str, str, str]:
  """Run, panel title and member of the family: `validation/voc/AP50_area/cat` has all three."""
  parts = name.split("/")
  named_runs = [index for index, part in enumerate(parts[:-1]) if part in _RUNS]
  start = named_runs[0] + 1 if named_runs else 0
  run, tag = "/".join(parts[:start]), parts[start:]
  if len(tag) > 2:
    return run, "/".join(tag[:-1]), tag[-1]
  return run, "/".join(tag), ""


def _group(title: str) -> int:
  """Returns the place of a panel: 0 for losses, 1 for metrics, 2 for figures about the run."""
  if title in _BOOKKEEPING:
    return 2
  return 1 if "/" in title else 0


def _draw_panel(
  axis: Axes, title: str, curves: Sequence[tuple[str, str, Series]], all_runs: Sequence[str]
) -> None:
  """Draws the curves (run, member of the family, series) of one figure."""
  runs = sorted({run for run, _, _ in curves})
  members = sorted({member for _, member, _ in curves})
  colors = plt.get_cmap("tab20" if len(members) > 10 else "tab10").colors
  everything = []
  for run, member, (steps, values) in curves:
    values = np.asarray(values, np.float64)
    everything.append(values[np.isfinite(values)])
    number = members.index(member) if len(members) > 1 else all_runs.index(run)
    style = {
      "color": colors[number % len(colors)],
      "linestyle": "--" if run.endswith(("validation", "eval")) else "-",
      "label": " ".join(word for word in (member, run if len(runs) > 1 else "") if word),
    }
    if _group(title) == 0 and len(steps) >= _MIN_STEPS_TO_SMOOTH:
      axis.plot(steps, values, color=style["color"], alpha=0.3, linewidth=0.8)
      axis.plot(steps, smooth(values), **style)
    else:
      # A single value, as of an evaluation after training, would be no line.
      marker = "o" if len(steps) < _MIN_STEPS_TO_SMOOTH else None
      axis.plot(steps, values, marker=marker, markersize=3, **style)
  finite = np.concatenate(everything)
  spread = finite.max() / finite.min() if len(finite) and finite.min() > 0.0 else 0.0
  if _group(title) == 0 and spread > _LOG_SCALE_FROM_RATIO:
    axis.set_yscale("log")
  axis.set_title(f"{title} ({runs[0]})" if len(runs) == 1 and runs[0] else title, fontsize=9)
  axis.set_xlabel("step", fontsize=8)
  axis.tick_params(labelsize=8)
  axis.grid(alpha=0.3)
  if len(members) > 1 and len(curves) <= _MAX_LEGEND_ROWS:
    axis.legend(fontsize=5.5, loc="upper left", bbox_to_anchor=(1.0, 1.0))
  elif len(members) == 1 and len(runs) > 1:
    axis.legend(fontsize=7)


def main(arguments: Sequence[str] | None = None) -> int:
  """Runs the command; returns its exit status."""
  options = curves_flags.parser().parse_args(arguments)
  terminal.set_up()
  try:
    series = read_scalars(options.model_dir)
    plot_curves(series, options.output)
  except (ValueError, OSError) as error:
    terminal.show_error(error)
    return 1
  terminal.show(f"{len(series)} curves drawn to {options.output}")
  return 0


if __name__ == "__main__":
  sys.exit(main())
