"""Ends conversions and trainings at random moments, and in the ways that machines fail.

    python -m tests.fuzz.kills --conversions 20 --trainings 20 [--seed 0]

Each process gets SIGKILL and the same command is given again, until it comes to its end. Records
must then be those of an undisturbed conversion, byte for byte, and weights, slots and counters
those of an undisturbed training, bit for bit. The tiny detector is trained on drawn scenes.

After the kills each of these must end with one line, and lose nothing:

    two processes    the second one on a folder, of a conversion and of a training
    file size        a limit on the size of files (RLIMIT_FSIZE) comes into force during a training
    full disk        the folder of the run is a tmpfs that has room for one checkpoint, mounted in a
                     namespace of its own; left out where that is not allowed
    records gone     the records are moved away during a training, and come back

The exit status is 1 if anything differs.
"""

import argparse
import os
import pathlib
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence

import yaml

from mtl_ssl_tf.data import pascal_voc, synthetic
from tests.data import kill_conversion
from tests.training import kill_training

_REPOSITORY = pathlib.Path(__file__).parents[2]
_SCENES = {"num_train": 12, "num_val": 4, "height": 96, "width": 128}
_INPUT = {"input_size": [96, 128], "short_side": 96, "long_side": 128, "max_num_boxes": 12}
_MAX_FILE_BYTES = 2**16
_SECONDS = 900
_STRAIGHT = "straight"
_IN_NAMESPACE = "--full_disk_in"


class FailedError(Exception):
  """Something is not as it must be."""


class SceneTraining(kill_training.Training):
  """Runs of the tiny detector on drawn scenes, each in a process of its own."""

  def __init__(self, root: pathlib.Path, train_steps: int, seed: int = 0):
    """Draws and converts the scenes, and writes the configuration."""
    super().__init__(root, train_steps, "adam")
    self.records = root / "records"
    synthetic.write_dataset(root / "scenes", synthetic.DatasetArguments(seed=seed, **_SCENES))
    for split in synthetic.SPLITS:
      pascal_voc.convert_split(root / "scenes", split, self.records, num_shards=2)
    settings = yaml.safe_load(self._config.read_text())
    task = settings["task"]
    task["label_map"] = str(self.records / "label_map.txt")
    for data, split in (("train_data", "train"), ("validation_data", "val")):
      task[data] |= {**_INPUT, "input_path": str(self.records / f"{split}-*.tfrecord")}
    self._config.write_text(yaml.safe_dump(settings))

  def log(self, name: str) -> str:
    """What the processes of a run have printed."""
    return (self._root / f"{name}.log").read_text(errors="replace")

  def after_first_checkpoint(self, name: str) -> subprocess.Popen:
    """A process that has written a checkpoint since it was started.

    Raises:
      FailedError: it ended before.
    """
    before = kill_training.last_step(self._root / name)
    process = self.start(name)
    deadline = time.monotonic() + _SECONDS
    while kill_training.last_step(self._root / name) == before:
      if process.poll() is not None or time.monotonic() > deadline:
        process.kill()
        raise FailedError(f"{name}: no checkpoint was written\n{self.log(name)[-3000:]}")
      time.sleep(0.02)
    return process

  def check_refused(self, name: str, process: subprocess.Popen, words: str) -> str:
    """The one line that a process ended with.

    Raises:
      FailedError: it ended otherwise.
    """
    status = process.wait(_SECONDS)
    log = self.log(name)
    errors = [line for line in log.splitlines() if line.startswith("error: ")]
    if status != 1 or "Traceback" in log or len(errors) != 1 or words not in errors[0]:
      raise FailedError(
        f"{name}: exit status {status}, wanted one line with {words!r}\n{log[-3000:]}"
      )
    return errors[0]

  def check_same(self, name: str) -> None:
    """Trains to the end, and compares that with the undisturbed run.

    Raises:
      FailedError: they differ.
    """
    self.finish(name)
    found = kill_training.differences(self._root / _STRAIGHT, self._root / name)
    if found:
      raise FailedError(f"{name}: tensors that differ: {', '.join(found)}")


def kill_conversions(root: pathlib.Path, number: int, num_images: int, seed: int) -> Iterator[str]:
  """Yields a line for each format, of which each gets half of the kills."""
  for kind, num_kills in (("voc", (number + 1) // 2), ("coco", number // 2)):
    if num_kills:
      folder = root / kind
      folder.mkdir()
      same = kill_conversion.kill_and_resume(folder, kind, num_kills, num_images, seed)
      if same != num_kills:
        raise FailedError(f"{kind}: only {same} of {num_kills} conversions are byte-identical")
      yield f"conversions ({kind}): {same} of {num_kills} kills: byte-identical"


def kill_trainings(training: SceneTraining, number: int, seed: int) -> str:
  """Kills runs again and again until they end; a line."""
  rng, num_killed, num_runs = random.Random(seed), 0, 0
  while num_killed < number:
    name = f"killed{num_runs}"
    num_runs += 1
    while num_killed < number:
      outcome = training.kill(name, rng, while_saving=num_killed % 2 == 1)
      if outcome is None:
        break
      num_killed += 1
      print(f"training: kill {num_killed}: {outcome}", flush=True)
    training.check_same(name)
  return f"trainings: {number} kills in {num_runs} runs: bit-identical"


def two_conversions(root: pathlib.Path, num_images: int) -> str:
  """Gives the command a second time while the first is at work; a line."""
  root.mkdir()
  kill_conversion.make_data(root, num_images)
  kill_conversion.run(root, "voc", workers=1)
  expected = kill_conversion.content(root)
  shutil.rmtree(root / "records")
  command = kill_conversion.command(root, "voc", 1)
  with kill_conversion._start(root, "voc", 1) as first:
    kill_conversion._wait_for_folder(root, first)
    first.send_signal(signal.SIGSTOP)  # So that it cannot end before the second begins.
    try:
      second = subprocess.run(
        command, cwd=_REPOSITORY, capture_output=True, text=True, check=False, timeout=_SECONDS
      )
    finally:
      first.send_signal(signal.SIGCONT)
  (*_, line) = second.stderr.splitlines() or [""]
  if second.returncode != 1 or "another process is writing split train" not in line:
    raise FailedError(f"two conversions: {second.returncode}: {second.stderr[-2000:]}")
  if first.returncode or kill_conversion.content(root) != expected:
    raise FailedError("two conversions: the records of the first are not those of one alone")
  return f"two conversions: {line}"


def two_trainings(training: SceneTraining) -> str:
  """Starts a second process in the folder of a run; a line."""
  with training.after_first_checkpoint("two") as first:
    first.send_signal(signal.SIGSTOP)  # So that it cannot end before the second begins.
    try:
      with training.start("two") as second:
        line = training.check_refused("two", second, "is being trained in by another process")
    finally:
      first.send_signal(signal.SIGCONT)
    if first.wait(_SECONDS):
      raise FailedError(f"two trainings: the first one ended\n{training.log('two')[-3000:]}")
  training.check_same("two")
  return f"two trainings: {line}"


def file_size(training: SceneTraining) -> str:
  """Lets no file grow further during a training; a line."""
  with training.after_first_checkpoint("file_size") as process:
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (_MAX_FILE_BYTES, _MAX_FILE_BYTES))
    line = training.check_refused("file_size", process, "cannot be written")
  training.check_same("file_size")
  return f"file size: {line}"


def records_gone(training: SceneTraining) -> str:
  """Moves the records away during a training, and back; a line."""
  away = training.records.with_name("away")
  with training.after_first_checkpoint("gone") as process:
    training.records.rename(away)
    try:
      line = training.check_refused("gone", process, "tfrecord")
    finally:
      away.rename(training.records)
  training.check_same("gone")
  return f"records gone: {line}"


def full_disk(root: pathlib.Path) -> str:
  """Calls this program in a namespace in which it may mount a small disk; its last line."""
  command = ["unshare", "--map-root-user", "--mount", sys.executable, "-m", "tests.fuzz.kills"]
  if (
    not shutil.which("unshare")
    or subprocess.run([*command[:3], "true"], capture_output=True, check=False).returncode
  ):
    return "full disk: left out, as no disk may be mounted here"
  done = subprocess.run(
    [*command, _IN_NAMESPACE, str(root)],
    cwd=_REPOSITORY,
    capture_output=True,
    text=True,
    check=False,
  )
  if done.returncode:
    raise FailedError(f"full disk: {done.stdout[-2000:]}{done.stderr[-4000:]}")
  return done.stdout.splitlines()[-1]


def _full_disk_in_namespace(root: pathlib.Path) -> str:
  """Trains on a disk with room for one checkpoint, then on the same with room for all; a line."""
  training = SceneTraining.__new__(SceneTraining)
  training._root, training._config = root, root / "tiny.yaml"
  largest = max(path.stat().st_size for path in (root / _STRAIGHT).glob("ckpt-*.data-*"))
  folder = root / "full_disk"
  folder.mkdir()
  _mount(folder, f"size={largest * 7 // 4 + 2**18}")
  with training.start(folder.name) as process:
    line = training.check_refused(folder.name, process, "No space left on device")
  _mount(folder, "remount,size=100%")
  training.check_same(folder.name)
  return f"full disk: {line}"


def _mount(folder: pathlib.Path, options: str) -> None:
  command = ["mount", "-t", "tmpfs", "-o", options, "none", str(folder)]
  subprocess.run(command, check=True)


def run(flags: argparse.Namespace, root: pathlib.Path) -> Iterator[Callable[[], object]]:
  """Yields the parts of the campaign, each of which prints and raises."""
  if flags.conversions:
    yield lambda: _print_all(
      kill_conversions(root, flags.conversions, flags.num_images, flags.seed)
    )
    yield lambda: print(two_conversions(root / "two_conversions", flags.num_images), flush=True)
  if not flags.trainings:
    return
  folder = root / "training"
  folder.mkdir()
  training = SceneTraining(folder, flags.train_steps, flags.seed)
  yield lambda: training.finish(_STRAIGHT)
  yield lambda: print(kill_trainings(training, flags.trainings, flags.seed), flush=True)
  for part in (two_trainings, file_size, records_gone):
    yield lambda part=part: print(part(training), flush=True)
  yield lambda: print(full_disk(folder), flush=True)


def _print_all(lines: Iterator[str]) -> None:
  for line in lines:
    print(line, flush=True)


def main(argv: Sequence[str] | None = None) -> int:
  """Runs the command line; returns the exit status."""
  parser = argparse.ArgumentParser(
    prog="python -m tests.fuzz.kills",
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  parser.add_argument("--conversions", type=int, default=20, help="kills (default: 20)")
  parser.add_argument("--trainings", type=int, default=20, help="kills (default: 20)")
  parser.add_argument("--seed", type=int, default=0, help="of scenes and moments (default: 0)")
  parser.add_argument("--num_images", type=int, default=3000, help="of a conversion")
  parser.add_argument("--train_steps", type=int, default=200)
  parser.add_argument(_IN_NAMESPACE, type=pathlib.Path, help=argparse.SUPPRESS)
  flags = parser.parse_args(argv)
  if flags.full_disk_in:
    print(_full_disk_in_namespace(flags.full_disk_in))
    return 0
  num_failed = 0
  with tempfile.TemporaryDirectory() as folder:
    for part in run(flags, pathlib.Path(folder)):
      try:
        part()
      except (FailedError, RuntimeError) as error:
        num_failed += 1
        print(f"FAILED: {error}", flush=True)
  print("all as it must be" if not num_failed else f"FAILED: {num_failed}")
  return 1 if num_failed else 0


if __name__ == "__main__":
  os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
  sys.exit(main())
