"""Kills conversions at random moments, continues them and compares the bytes.

    python -m tests.data.kill_conversion [--num_kills 20] [--num_images 3000]

The conversions that are killed run with two workers in a process group of their own, which gets
SIGKILL; one process continues them. Half of the kills are aimed at the last part, in which the
files are made visible.
"""

import argparse
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from tests.data import coco_files, voc_files

_REPOSITORY = pathlib.Path(__file__).parents[2]
_CLASSES = ("cat", "dog")


def make_data(root: pathlib.Path, num_images: int) -> None:
  """A VOC folder with some faults, and the same boxes in COCO's form."""
  files = {
    f"{i:06d}.xml": voc_files.annotation_xml([voc_files.object_xml(_CLASSES[i % 2])] * (i % 4))
    for i in range(num_images)
  }
  voc = voc_files.write(root / "voc", files)
  content = coco_files.from_voc(voc, "train", _CLASSES)
  (root / "train.json").write_text(json.dumps(content))
  (voc / "JPEGImages/000005.jpg").write_bytes(b"")


def command(root: pathlib.Path, kind: str, workers: int) -> list[str]:
  """The converter's."""
  flags = [f"--output_dir={root / 'records'}", "--split=train", "--on_error=skip"]
  flags.append(f"--workers={workers}")
  if kind == "voc":
    module, places = "pascal_voc", [f"--data_dir={root / 'voc'}"]
  else:
    images = root / "voc/JPEGImages"
    module, places = (
      "coco_json",
      [f"--annotations={root / 'train.json'}", f"--image_dir={images}"],
    )
  return [sys.executable, "-m", f"mtl_ssl_tf.data.{module}", *flags, *places]


def content(root: pathlib.Path) -> dict[str, bytes]:
  return {path.name: path.read_bytes() for path in (root / "records").iterdir()}


def run(root: pathlib.Path, kind: str, workers: int) -> float:
  """Converts to the end; the seconds from the first file in the hidden folder on."""
  with _start(root, kind, workers) as process:
    _wait_for_folder(root, process)
    begin = time.monotonic()
    process.wait()
  if process.returncode:
    raise RuntimeError(f"the converter ended with status {process.returncode}")
  return time.monotonic() - begin


def kill_and_resume(
  root: pathlib.Path, kind: str, num_kills: int, num_images: int, seed: int = 0
) -> int:
  """The number of kills after which the result was that of an undisturbed conversion.

  Args:
    root: an empty folder.
    kind: "voc" or "coco".
    num_kills: how often to kill; a conversion that ended before it was killed does not count.
    num_images: size of the data set.
    seed: of the moments.
  """
  make_data(root, num_images)
  seconds = run(root, kind, workers=2)
  expected = content(root)
  rng, num_same, num_killed = random.Random(seed), 0, 0
  while num_killed < num_kills:
    shutil.rmtree(root / "records")
    moment = rng.uniform(0.0, seconds) if num_killed % 2 else None
    with _start(root, kind, workers=2) as process:
      _wait_for_folder(root, process)
      begin = time.monotonic()
      if moment is None:
        moment = rng.uniform(0.0, 0.03)
        _wait_for_commit(root, process)
        time.sleep(moment)
      else:
        time.sleep(moment)
      where = "after" if process.poll() is not None else "at"
      killed_at = time.monotonic() - begin
      if where == "at":
        os.killpg(process.pid, signal.SIGKILL)
        num_killed += 1
    if where == "after":
      continue
    left = sorted(path.name for path in (root / "records").iterdir())
    done = len(list((root / "records").glob(".incomplete_train/*.tfrecord.json")))
    run(root, kind, workers=1)
    same = content(root) == expected
    num_same += same
    print(
      f"{kind}: kill {num_killed} at {killed_at:.2f} of {seconds:.2f} s: {done} shards with a"
      f" summary, {len(left) - 1} files visible; {'identical' if same else 'DIFFERENT'}",
      flush=True,
    )
  return num_same


def _start(root: pathlib.Path, kind: str, workers: int) -> subprocess.Popen:
  return subprocess.Popen(
    command(root, kind, workers), cwd=_REPOSITORY, stderr=subprocess.DEVNULL, start_new_session=True
  )


def _wait_for_folder(root: pathlib.Path, process: subprocess.Popen) -> None:
  while process.poll() is None and not (root / "records/.incomplete_train").exists():
    time.sleep(0.005)


def _wait_for_commit(root: pathlib.Path, process: subprocess.Popen) -> None:
  marker = root / "records/.incomplete_train/committing.json"
  while process.poll() is None and not marker.exists():
    time.sleep(0.0005)


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--num_kills", type=int, default=20)
  parser.add_argument("--num_images", type=int, default=3000)
  flags = parser.parse_args()
  for kind in ("voc", "coco"):
    with tempfile.TemporaryDirectory() as folder:
      num_same = kill_and_resume(pathlib.Path(folder), kind, flags.num_kills, flags.num_images)
    print(f"{kind}: {num_same} of {flags.num_kills} resumed conversions are byte-identical")


if __name__ == "__main__":
  main()
