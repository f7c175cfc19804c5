"""Recovers from a loss or gradient that is not finite: reports it, saves it, resumes the run."""

import logging
import os
from collections.abc import Iterable
from typing import Any

import numpy as np
import tensorflow as tf

from mtl_ssl_tf import terminal
from mtl_ssl_tf.configs import training
from mtl_ssl_tf.data import faults
from mtl_ssl_tf.training import checkpointing, nonfinite, reproduction, stopping, strategies

_FREE = -1
_LOGGER = logging.getLogger(__name__)


class SkippedBatches(tf.Module):
  """Numbers of the training batches that are left out; part of the run's checkpoints."""

  def __init__(self):
    """Starts with no batch left out."""
    super().__init__()
    # Of one size for good, so that a checkpoint fits whatever the configuration says.
    size = training.MAX_SKIPPED_BATCHES
    self._numbers = tf.Variable([_FREE] * size, dtype=tf.int64, trainable=False)

  def numbers(self) -> list[int]:
    """Returns the numbers in order."""
    return sorted(int(number) for number in self._numbers.numpy() if number != _FREE)

  def assign(self, numbers: Iterable[int]) -> None:
    """Sets the batches that are left out."""
    values = sorted(set(numbers))
    self._numbers.assign(values + [_FREE] * (training.MAX_SKIPPED_BATCHES - len(values)))

  def batch_of_step(self, step: int) -> int:
    """Number of the batch that the step after `step` steps is trained on."""
    number = step
    for skipped in self.numbers():
      if skipped <= number:
        number += 1
    return number


class Recovery:
  """Reports and saves a faulty step, then ends the run or restores its last checkpoint."""

  def __init__(self, trainer: Any, model_dir: str, chief: bool = True):
    """Takes the trainer whose steps it repeats.

    Args:
      trainer: a `TaskTrainer`.
      model_dir: folder of the run.
      chief: whether what this worker writes stays.
    """
    self._trainer, self._model_dir, self._chief = trainer, model_dir, chief

  def __call__(
    self, error: nonfinite.NonFiniteError, manager: checkpointing.RunCheckpoints
  ) -> None:
    """Brings the run back to its last checkpoint, without the batch at fault.

    Raises:
      RunError: that is not asked for, or was done often enough.
    """
    trainer, config = self._trainer, self._trainer.config.trainer
    trainer.global_step.assign(error.step)
    trainer.guard.reset()
    skipped = trainer.skipped_batches.numbers()
    batch = trainer.skipped_batches.batch_of_step(error.step)
    text = self._tell(error.step, batch)
    if config.nonfinite != "recover":
      raise stopping.RunError(*text.split("\n"))
    if len(skipped) >= config.recovery_max_trials:
      raise stopping.RunError(
        *text.split("\n"),
        f"recoveries of the run before: {len(skipped)}, trainer.recovery_max_trials is "
        f"{config.recovery_max_trials}",
      )
    _LOGGER.warning(text, extra=terminal.LINES)
    with trainer.strategy.scope():
      path = manager.restore_or_initialize()
    trainer.skipped_batches.assign([*skipped, batch])
    trainer.rewind_inputs()
    _LOGGER.warning(
      f"batch {batch} is left out, the run resumes from {path} (recovery {len(skipped) + 1} of "
      f"{config.recovery_max_trials})"
    )

  def _tell(self, step: int, batch: int) -> str:
    trainer = self._trainer
    data = trainer.config.task.train_data
    trainer.rewind_inputs()
    with trainer.strategy.scope():
      losses, gradients = nonfinite.take_apart(
        trainer.task,
        trainer.model,
        trainer.optimizer,
        next(iter(trainer.train_dataset)),
        jit_compile=strategies.compiles_whole(trainer.config.runtime, trainer.strategy),
      )
    ids = trainer.task.image_ids(data, batch)
    text = describe(step + 1, batch, losses, gradients, ids)
    before = trainer.checkpoint.weights.fault()
    if before is not None:
      text += f"\nthe weights before it, which no batch is to blame for: {before}"
      text += f"\n{checkpointing.advice(step)}"
    if trainer.task.nonfinite_advice:
      text += f"\n{trainer.task.nonfinite_advice}"
    # Whole, that is for all replicas: it can be examined alone.
    inputs = next(iter(trainer.task.build_inputs(data, first_batch=batch)))
    folder = self._save(step + 1, batch, inputs, text)  # Takes all workers.
    if self._chief:
      text += f"\nto examine it: python -m mtl_ssl_tf.tasks.replay {folder}"
    return text

  def _save(self, step: int, batch: int, inputs: Any, text: str) -> str:
    """Writes the reproduction into a folder of its own; returns its path."""
    folder = os.path.join(self._model_dir, f"nonfinite-{step}")
    number = 1
    while tf.io.gfile.exists(folder):
      number += 1
      folder = os.path.join(self._model_dir, f"nonfinite-{step}-{number}")
    with checkpointing.writing(folder):
      reproduction.save(folder, self._trainer, inputs, {"step": step, "batch": batch}, text)
    return folder


def describe(
  step: int, batch: int, losses: dict[str, float], gradients: dict[str, int], ids: list[str]
) -> str:
  """Returns lines on what is wrong with a step: its losses, gradients and images."""
  bad = [f"{name} {value}" for name, value in losses.items() if not np.isfinite(value)]
  all_losses = " ".join(f"{name} {value:.4g}" for name, value in losses.items())
  lines = [f"step {step} (batch {batch}) has {_what(bad, gradients)}; it was not applied"]
  lines.append(f"losses: {all_losses}")
  if gradients:
    names = [f"{name} ({count} entries)" for name, count in gradients.items()]
    lines.append(f"gradients that are not finite: {faults.listing(names)}")
  lines.append(f"images: {faults.listing([faults.quote(name) for name in ids])}")
  return "\n".join(lines)


def _what(bad: list[str], gradients: dict[str, int]) -> str:
  if bad:
    return f"a loss that is not finite: {', '.join(bad)}"
  if gradients:
    return "finite losses, but gradients that are not"
  return "a loss above trainer.loss_upper_bound, or one that is not finite only where it ran"
