"""Checkpoints of a run, and the arrays that were saved in them."""

import pathlib
import random
import shutil

import numpy as np
import tensorflow as tf

from mtl_ssl_tf.checkpoints import reading
from mtl_ssl_tf.training import checkpointing, run_folder
from tests.fuzz import mutations, outcomes
from tests.fuzz.kinds import base

_STEPS = (1, 2, 3)
_SHAPES = ((3, 4), (50, 7), (1000,), ())
_INDEX, _DATA, _STATE = ".index", ".data-00000-of-00001", "checkpoint"


class Cases(base.Kind):
  """See above."""

  name = "checkpoints"
  about = "checkpoints of a run"

  @classmethod
  def prepare(cls, folder: pathlib.Path) -> None:
    rng = np.random.default_rng(0)
    model = tf.Module()
    model.weights = [tf.Variable(rng.normal(size=shape), dtype=tf.float32) for shape in _SHAPES]
    step = tf.Variable(0, dtype=tf.int64)
    checkpoint = tf.train.Checkpoint(model=model, global_step=step)
    manager = tf.train.CheckpointManager(checkpoint, folder, 3, checkpoint_name="ckpt")
    for number in _STEPS:
      step.assign(number)
      for variable in model.weights:
        variable.assign_add(tf.ones_like(variable))
      manager.save(checkpoint_number=number)
    for number in _STEPS:
      reader = tf.train.load_checkpoint(str(folder / f"ckpt-{number}"))
      names = reader.get_variable_to_shape_map()
      arrays = {name: reader.get_tensor(name) for name in names}
      np.savez(
        folder / f"{number}.npz", **{name.replace("/", "|"): a for name, a in arrays.items()}
      )

  def __init__(self, prepared, scratch):
    super().__init__(prepared, scratch)
    self._arrays = []
    for step in _STEPS:
      with np.load(prepared / f"{step}.npz") as saved:
        self._arrays.append({name.replace("|", "/"): saved[name] for name in saved.files})
    self._files = {
      path.name: path.read_bytes() for path in sorted(prepared.iterdir()) if path.suffix != ".npz"
    }

  def seeds(self) -> list[base.Files]:
    return [{}]

  def make(self, rng: random.Random) -> base.Files:
    step = rng.choice((3, 3, 2))
    ending = rng.choice((_INDEX, _INDEX, _DATA, _DATA, _STATE))
    names = [name for name in self._files if name.endswith(ending)]
    name = _STATE if ending == _STATE else f"ckpt-{step}{ending}"
    if rng.random() < 0.1:  # The file of another step.
      return {name: self._files[rng.choice(names)]}
    if rng.random() < 0.1:
      return {name: b""}
    seeds = [self._files[name], *(self._files[other] for other in names[:1])]
    words = (b"ckpt-3", b"/etc/passwd", b"model_checkpoint_path: ", b"model/weights/0")
    return {name: mutations.mutate(rng, seeds, words)}

  def check(self, files: base.Files) -> bool:
    shutil.rmtree(self.scratch)
    self.write(self._files | files)
    folder = str(self.scratch)
    # Training, which takes the newest one that is whole.
    newest = run_folder.find_checkpoint(folder)
    whole = [step for step in _STEPS if self._is_whole(f"{folder}/ckpt-{step}")]
    outcomes.check_equal(newest, f"{folder}/ckpt-{whole[-1]}", "newest whole checkpoint")
    checkpointing.tidy(folder, newest)
    latest = tf.train.latest_checkpoint(folder)
    outcomes.check_equal(latest, newest, "the latest one after tidying")
    # Start weights: the one that is named.
    self._compare(f"{folder}/ckpt-3")
    return True

  def _is_whole(self, path: str) -> bool:
    try:
      self._compare(path)
    except ValueError as error:
      if not outcomes.is_own(error):
        raise
      return False
    return True

  def _compare(self, path: str) -> None:
    """Reads a checkpoint as start weights, and compares it with those that were saved."""
    found = reading.arrays(reading.find(path, "--init"), "--init")
    outcomes.check_equal(reading.names(path, "--init"), sorted(found), "names")
    outcomes.check(
      any(_are_equal(found, arrays) for arrays in self._arrays), "weights that nobody saved"
    )


def _are_equal(found: dict[str, np.ndarray], arrays: dict[str, np.ndarray]) -> bool:
  return found.keys() == arrays.keys() and all(
    np.asarray(found[name]).tobytes() == arrays[name].tobytes()
    for name in arrays
    if name != reading.OBJECT_GRAPH
  )
