"""Kills a training run at random moments and compares its end with that of a straight run.

    python -m tests.training.kill_training [--num_kills 20] [--train_steps 400] [--optimizer adam]

The tiny detector is trained by `train.py` itself, with checkpoints every 5 steps and evaluations
every 40. Half of the kills come at any moment, the start included, the others while a checkpoint is
being written. Weights, slots, steps and counters must be the same to the last bit.
"""

import argparse
import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time

import numpy as np
import tensorflow as tf
import yaml

from mtl_ssl_tf.checkpoints import run_checkpoints
from tests.tasks import tiny

_REPOSITORY = pathlib.Path(__file__).parents[2]
_SECONDS_TO_START = 600
# How often something was saved is the one thing that may differ.
_OWN = ("save_counter", "_CHECKPOINTABLE_OBJECT_GRAPH")


def tensors(model_dir: pathlib.Path) -> dict[str, np.ndarray]:
  """All that the last checkpoint of a run holds, by name."""
  reader = tf.train.load_checkpoint(run_checkpoints.newest_usable(str(model_dir)))
  names = [name for name in reader.get_variable_to_shape_map() if not name.startswith(_OWN)]
  return {name: reader.get_tensor(name) for name in names}


def differences(one: pathlib.Path, other: pathlib.Path) -> list[str]:
  """Names of the tensors of two runs that are not equal bit for bit."""
  first, second = tensors(one), tensors(other)
  names = sorted(first.keys() | second.keys())
  return [
    name
    for name in names
    if name not in first
    or name not in second
    or np.asarray(first[name]).tobytes() != np.asarray(second[name]).tobytes()
  ]


class Training:
  """Runs of one configuration, each in a process of its own."""

  def __init__(self, root: pathlib.Path, train_steps: int, optimizer: str):
    """Writes data and configuration into an empty folder."""
    tiny.write_records(root)
    settings = tiny.settings(root)
    settings["task"]["pictures"] = {"interval": 0}
    settings["trainer"] |= {
      "train_steps": train_steps,
      "checkpoint_interval": 5,
      "validation_interval": 40,
      "early_stopping_patience": 0,
    }
    settings["trainer"]["optimizer_config"] |= {"optimizer": {"type": optimizer}}
    self._root, self._config = root, root / "tiny.yaml"
    self._config.write_text(yaml.safe_dump(settings))

  def start(self, name: str, mode: str = "train_and_eval") -> subprocess.Popen:
    """Starts a process that trains in the folder `name`, or resumes there."""
    command = [sys.executable, "train.py", "--experiment=mtl_frcnn", f"--mode={mode}"]
    command += [f"--config_file={self._config}", f"--model_dir={self._root / name}"]
    with (self._root / f"{name}.log").open("a") as log:
      return subprocess.Popen(command, cwd=_REPOSITORY, stdout=log, stderr=log)

  def finish(self, name: str) -> None:
    """Trains to the end."""
    with self.start(name) as process:
      if process.wait():
        raise RuntimeError((self._root / f"{name}.log").read_text()[-3000:])

  def kill(self, name: str, rng: random.Random, while_saving: bool) -> str | None:
    """Trains and sends SIGKILL at a random moment; says when, None if the run was over before."""
    folder = self._root / name
    with self.start(name) as process:
      begin = time.monotonic()
      try:
        if while_saving:
          step, count = last_step(folder), rng.randrange(6)
          while last_step(folder) < step + 5 * count and _runs(process, begin):
            time.sleep(0.01)
          while not list(folder.glob("ckpt-*_temp")) and _runs(process, begin):
            time.sleep(0.0002)
          time.sleep(rng.uniform(0.0, 0.02))
        else:
          time.sleep(rng.uniform(0.0, 30.0))
        if process.poll() is not None:
          if process.returncode:
            raise RuntimeError((self._root / f"{name}.log").read_text()[-3000:])
          return None
      finally:
        process.send_signal(signal.SIGKILL)
    left = sorted(path.name for path in folder.glob("ckpt-*") if _is_part(path))
    return f"after {time.monotonic() - begin:.1f} s at step {last_step(folder)}+, left {left}"


def last_step(folder: pathlib.Path) -> int:
  """Number of the newest checkpoint that has an index, 0 without any."""
  return next(iter(run_checkpoints.numbered(str(folder))), 0)


def _runs(process: subprocess.Popen, begin: float) -> bool:
  return process.poll() is None and time.monotonic() < begin + _SECONDS_TO_START


def _is_part(path: pathlib.Path) -> bool:
  name = path.name.split(".")[0]
  return name.endswith("_temp") or not (path.parent / f"{name}.index").exists()


def kill_and_resume(root: pathlib.Path, num_kills: int, train_steps: int, optimizer: str) -> bool:
  """Whether a run that was killed again and again ended as one that was not."""
  training = Training(root, train_steps, optimizer)
  training.finish("straight")
  rng, num_killed, num_runs, same = random.Random(0), 0, 0, True
  while num_killed < num_kills:
    name = f"killed{num_runs}"
    num_runs += 1
    while num_killed < num_kills:
      outcome = training.kill(name, rng, while_saving=num_killed % 2 == 1)
      if outcome is None:
        break
      num_killed += 1
      print(f"kill {num_killed}: {outcome}", flush=True)
    training.finish(name)
    found = differences(root / "straight", root / name)
    same = same and not found
    print(f"{name}: {len(tensors(root / name))} tensors, different: {found or 'none'}", flush=True)
  return same


def main() -> int:
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--num_kills", type=int, default=20)
  parser.add_argument("--train_steps", type=int, default=400)
  parser.add_argument("--optimizer", default="adam")
  flags = parser.parse_args()
  with tempfile.TemporaryDirectory() as folder:
    same = kill_and_resume(
      pathlib.Path(folder), flags.num_kills, flags.train_steps, flags.optimizer
    )
  print(f"{flags.num_kills} kills: the same end" if same else "DIFFERENT")
  return 0 if same else 1


if __name__ == "__main__":
  os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
  sys.exit(main())
