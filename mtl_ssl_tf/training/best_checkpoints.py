"""Keeps the best checkpoints of a run, by a figure of its evaluations."""

import dataclasses
import json
import logging
import math
import os
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from mtl_ssl_tf import files
from mtl_ssl_tf.checkpoints import run_checkpoints
from mtl_ssl_tf.training import averaged_weights, checkpointing

INFO_FILE = run_checkpoints.INFO_FILE
_LOGGER = logging.getLogger(__name__)


def is_better(figure: float, than: float, comparison: str) -> bool:
  """Whether a figure beats another one by `higher` or `lower`; what is no number never does."""
  if math.isnan(figure) or math.isnan(than):
    return not math.isnan(figure)
  return figure > than if comparison == "higher" else figure < than


@dataclasses.dataclass(frozen=True)
class Kept:
  """One checkpoint of the folder: its name there, its step and its figure."""

  checkpoint: str
  step: int
  figure: float


class BestCheckpoints:
  """Keeps the k best checkpoints in a folder, the best one being its latest to TensorFlow.

  `info.json` there holds the figures of the best one's evaluation, its step as
  `best_ckpt_global_step`, and as `kept` all that are kept, the best first. Files come in an order
  such that a process may be killed anywhere: checkpoint, `info.json`, then TensorFlow's
  `checkpoint`; what is dropped goes last. Evaluating a step again changes nothing.
  """

  def __init__(
    self,
    folder: str,
    metric: str,
    comparison: str,
    num_kept: int,
    agree: Callable[[bool], bool] = bool,
  ):
    """Reads what an earlier process left, also if it was an earlier version.

    Args:
      folder: made with the first checkpoint.
      metric: name of the figure.
      comparison: `higher` or `lower` is better.
      num_kept: k.
      agree: asked at every worker whether a checkpoint is to be written, which takes them all;
        returns what holds for all of them.
    """
    self._folder, self._metric = folder, metric
    self._comparison, self._num_kept, self._agree = comparison, num_kept, agree
    self._figures: dict[str, Any] = {}
    self._kept: list[Kept] = []
    self._load()

  @property
  def kept(self) -> list[Kept]:
    """The checkpoints that are kept, the best first."""
    return list(self._kept)

  @property
  def best_ckpt_logs(self) -> dict[str, float]:
    """The best figure by its name; the name is Model Garden's, whose trainer asks for it."""
    return {self._metric: self._kept[0].figure if self._kept else math.nan}

  def maybe_export_checkpoint(
    self, checkpoint: averaged_weights.Checkpoint, eval_logs: dict[str, Any], global_step: int
  ) -> bool:
    """Saves the checkpoint if its figure is among the best; returns whether it did.

    Of equal figures the earlier step's is better. The name is Model Garden's, see above.

    Raises:
      RunError: weights are not finite, or a file cannot be written. The others are as they were.
    """
    step, figure = int(global_step), float(eval_logs[self._metric])
    name = f"{run_checkpoints.BEST_NAME}-{step}"
    others = [kept for kept in self._kept if kept.step != step]
    ranked = self._ranked([*others, Kept(name, step, figure)])
    path = os.path.join(self._folder, name)
    is_best = not math.isnan(figure) and name in [kept.checkpoint for kept in ranked]
    # The same step with another figure: its earlier weights were those of another course.
    is_there = Kept(name, step, figure) in self._kept and run_checkpoints.fault(path) is None
    with checkpointing.writing(path):
      if self._agree(is_best and not is_there):
        best = os.path.join(self._folder, others[0].checkpoint) if others else "none yet"
        checkpointing.check_finite(checkpoint, path, step, f"the best one so far is {best}")
        tf.io.gfile.makedirs(self._folder)
        checkpointing.remove(path)
        # Not `save`, which would count it as one of the run's own.
        checkpoint.write(path)
    # A worker that is not the chief may find so though it has nothing.
    if not is_best or not tf.io.gfile.exists(f"{path}.index"):
      return False
    dropped = [kept for kept in self._kept if kept not in ranked]
    self._kept = ranked
    if ranked[0].step == step:
      self._figures = {key: float(value) for key, value in eval_logs.items()}
    with checkpointing.writing(os.path.join(self._folder, INFO_FILE)):
      self._write()
      for kept in dropped:
        if kept.checkpoint != name:
          checkpointing.remove(os.path.join(self._folder, kept.checkpoint))
    return True

  def _ranked(self, kept: list[Kept]) -> list[Kept]:
    sign = -1.0 if self._comparison == "higher" else 1.0
    return sorted(kept, key=lambda one: (sign * one.figure, one.step))[: self._num_kept]

  def _write(self) -> None:
    """Writes `info.json` in one go, then names the best checkpoint the folder's latest."""
    figures = {key: value if value == value else None for key, value in self._figures.items()}
    figures[self._metric] = self._kept[0].figure
    info = {
      **figures,
      "best_ckpt_global_step": self._kept[0].step,
      "kept": [dataclasses.asdict(kept) for kept in self._kept],
    }
    files.write_text(os.path.join(self._folder, INFO_FILE), json.dumps(info, indent=2))
    names = [kept.checkpoint for kept in self._kept]
    checkpointing.note_checkpoints(self._folder, names[0], names[::-1])

  def _load(self) -> None:
    path = os.path.join(self._folder, INFO_FILE)
    if not tf.io.gfile.exists(path):
      return
    try:
      info = run_checkpoints.read_info(self._folder)
    except ValueError as error:
      _LOGGER.warning(f"{path} {error}; the best checkpoints start again")
      return
    kept, step = info.pop("kept", None), info.pop("best_ckpt_global_step", None)
    if step is None or self._metric not in info:
      _LOGGER.warning(f"{path} is by another figure; the best checkpoints start again")
      return
    if kept is None:  # Written by Model Garden, which numbers its checkpoint otherwise.
      latest = tf.train.latest_checkpoint(self._folder)
      name = os.path.basename(latest or "")
      figure = math.nan if info[self._metric] is None else info[self._metric]
      is_best = run_checkpoints.is_best_name(name)
      kept = [{"checkpoint": name, "step": int(step), "figure": figure}] if is_best else []
    found = [Kept(one["checkpoint"], one["step"], float(one["figure"])) for one in kept]
    self._figures = {key: math.nan if value is None else value for key, value in info.items()}
    self._kept = self._ranked(
      [
        one
        for one in found
        if not math.isnan(one.figure)
        and tf.io.gfile.exists(os.path.join(self._folder, f"{one.checkpoint}.index"))
      ]
    )
