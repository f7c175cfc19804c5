"""Rate, memory and resumption of the VOC converter.

    python -m benchmarks.conversion [--data_dir BCCD] [--num_images 3000] [--many 30000]
    python -m benchmarks.conversion --coco_objects 250000 [--many 25000]

Makes data sets of any size from the images of a VOC folder (its `trainval` split), by hard links,
and converts them with the command that users call. With `--coco_objects`, that is one COCO file
with so many objects in `--many` images. Images a second are those of the whole command, start-up
included, and of the steady part alone: the time that further images add. Where other
programs share the cores, images for each second of processor time mean more than those of the
clock. Memory is the highest resident size of any process of the command.
"""

import argparse
import functools
import json
import os
import pathlib
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import numpy as np

_REPOSITORY = pathlib.Path(__file__).parents[1]
_CLASSES = ("Platelets", "RBC", "WBC")


def make_data_set(source: pathlib.Path, root: pathlib.Path, num_images: int) -> pathlib.Path:
  """A VOC folder of this many images with the contents of `source`'s, over and over."""
  pool = root.parent / "pool"
  for folder in ("Annotations", "JPEGImages"):
    if not (pool / folder).exists():
      shutil.copytree(source / folder, pool / folder)
    (root / folder).mkdir(parents=True)
  (root / "ImageSets/Main").mkdir(parents=True)
  stems = (source / "ImageSets/Main/trainval.txt").read_text().split()
  with open(root / "ImageSets/Main/train.txt", "w") as file:
    for number in range(num_images):
      stem, name = stems[number % len(stems)], f"{number:08d}"
      os.link(pool / f"Annotations/{stem}.xml", root / f"Annotations/{name}.xml")
      os.link(pool / f"JPEGImages/{stem}.jpg", root / f"JPEGImages/{name}.jpg")
      file.write(f"{name}\n")
  return root


def make_coco_file(data_dir: pathlib.Path, num_objects: int) -> pathlib.Path:
  """A COCO file with so many objects in the images of a VOC folder, the same number in each."""
  names = sorted(os.listdir(data_dir / "JPEGImages"))
  rng = np.random.default_rng(0)
  corners = rng.uniform(0.0, 300.0, [num_objects, 2]).round(2)
  sizes = rng.uniform(10.0, 180.0, [num_objects, 2]).round(2)  # Within 640 x 480.
  content = {
    "images": [
      {"id": number, "file_name": name, "height": 480, "width": 640}
      for number, name in enumerate(names)
    ],
    "annotations": [
      {
        "id": number,
        "image_id": number % len(names),
        "category_id": 1 + number % 3,
        "bbox": [*corners[number].tolist(), *sizes[number].tolist()],
        "area": float(sizes[number].prod()),
        "iscrowd": 0,
        "segmentation": [[10.0, 10.0, 30.0, 10.0, 30.0, 30.0, 10.0, 30.0]],
      }
      for number in range(num_objects)
    ],
    "categories": [{"id": 1 + number, "name": name} for number, name in enumerate(_CLASSES)],
  }
  path = data_dir / "instances.json"
  path.write_text(json.dumps(content))
  return path


def start_coco(data_dir: pathlib.Path, output_dir: pathlib.Path, workers: int) -> subprocess.Popen:
  """The conversion of the COCO file in a folder, as `start`."""
  source = [f"--annotations={data_dir}/instances.json", f"--image_dir={data_dir}/JPEGImages"]
  return _start("coco_json", source, output_dir, workers)


def start(data_dir: pathlib.Path, output_dir: pathlib.Path, workers: int) -> subprocess.Popen:
  """The command, under way, in a process group of its own."""
  return _start("pascal_voc", [f"--data_dir={data_dir}"], output_dir, workers)


def _start(
  module: str, source: list[str], output_dir: pathlib.Path, workers: int
) -> subprocess.Popen:
  command = [sys.executable, "-m", f"mtl_ssl_tf.data.{module}", "--split=train", *source]
  command += [f"--output_dir={output_dir}", f"--workers={workers}"]
  command += ["--on_error=skip"]
  return subprocess.Popen(
    command, cwd=_REPOSITORY, stderr=subprocess.DEVNULL, start_new_session=True
  )


def finish(process: subprocess.Popen) -> tuple[float, float, dict[str, float]]:
  """Seconds until it ends, by the clock and of processors, and the highest resident MiB of its main
  process and of a worker."""
  begin, begin_cpu = time.perf_counter(), _cpu_seconds()
  peaks = {"main": 0.0, "worker": 0.0}
  while process.poll() is None:
    for pid in _group(process.pid):
      kind = "main" if pid == process.pid else "worker"
      peaks[kind] = max(peaks[kind], _peak_mib(pid))
    time.sleep(0.1)
  if process.returncode:
    raise RuntimeError(f"the converter ended with status {process.returncode}")
  return time.perf_counter() - begin, _cpu_seconds() - begin_cpu, peaks


def _cpu_seconds() -> float:
  """Processor time of all processes that were started here and have ended."""
  usage = resource.getrusage(resource.RUSAGE_CHILDREN)
  return usage.ru_utime + usage.ru_stime


def _group(leader: int) -> list[int]:
  """The processes of a group."""
  found = []
  for path in pathlib.Path("/proc").glob("[0-9]*/stat"):
    try:
      fields = path.read_text().rsplit(")", 1)[1].split()
    except OSError:  # It has ended.
      continue
    if int(fields[2]) == leader:
      found.append(int(path.parent.name))
  return found


def _peak_mib(pid: int) -> float:
  try:
    lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
  except OSError:
    return 0.0
  return max((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")), default=0)


def stages(data_dir: pathlib.Path, num_images: int = 1000) -> None:
  """Prints where the time of one image goes, in one process."""
  import tensorflow as tf

  from mtl_ssl_tf.data.records import examples
  from mtl_ssl_tf.data.records import writer as record_writer
  from mtl_ssl_tf.data.sources import image_files, voc_source

  source = voc_source.open_split(data_dir, "train").with_classes(_CLASSES, "")
  total = min(num_images, len(source))
  class_ids = {name: number for number, name in enumerate(source.classes, start=1)}
  seconds = dict.fromkeys(("annotation", "read", "decode check", "record", "write"), 0.0)
  with tempfile.TemporaryDirectory() as folder:
    path = str(pathlib.Path(folder) / "records")
    with tf.io.TFRecordWriter(path) as writer:
      for position in range(total):
        times = [time.perf_counter()]
        image = voc_source.read_image(source.folder, source.name(position))
        times.append(time.perf_counter())
        content = source.folder.read(image.image_file)
        times.append(time.perf_counter())
        image_files.prepare_image(content, image.image_file)
        times.append(time.perf_counter())
        converted = examples.convert_example(
          source.folder.read,
          image,
          class_ids,
          "",
          stated_boxes=functools.partial(source.stated_boxes, position),
        )
        times.append(time.perf_counter())
        writer.write(record_writer.serialize(converted.example))
        times.append(time.perf_counter())
        for name, begin, end in zip(seconds, times[:-1], times[1:], strict=True):
          seconds[name] += end - begin
  # What makes the record reads and checks the image once more.
  seconds["record"] -= seconds["read"] + seconds["decode check"]
  print(f"stages of one image, ms, mean of {total}:")
  for name, value in seconds.items():
    print(f"  {name:<14}{1000 * value / total:8.3f}")
  print(f"  {'all':<14}{1000 * sum(seconds.values()) / total:8.3f}")


def measure_coco(
  source: pathlib.Path, root: pathlib.Path, num_images: int, num_objects: int
) -> None:
  """Prints rate and memory of converting one COCO file, with one worker and with two."""
  data_dir = make_data_set(source, root / "coco", num_images)
  mib = make_coco_file(data_dir, num_objects).stat().st_size / 2**20
  print(f"COCO file: {num_objects} objects in {num_images} images, {mib:.0f} MiB")
  for workers in (1, 2):
    output_dir = root / "records"
    seconds, cpu_seconds, peaks = finish(start_coco(data_dir, output_dir, workers))
    shutil.rmtree(output_dir)
    print(
      f"{workers} workers: {seconds:.1f} s, {num_images / seconds:.0f} images/s, CPU"
      f" {cpu_seconds:.1f} s; MiB: main {peaks['main']:.0f}, worker {peaks['worker']:.0f}",
      flush=True,
    )


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__)
  default = _REPOSITORY / "../shared/data/bccd"
  parser.add_argument("--data_dir", type=pathlib.Path, default=default)
  parser.add_argument("--num_images", type=int, default=3000)
  parser.add_argument("--few", type=int, default=1000)
  parser.add_argument("--many", type=int, default=30_000)
  parser.add_argument("--coco_objects", type=int, help="convert a COCO file with so many instead")
  flags = parser.parse_args()
  load, cores = os.getloadavg()[0], len(os.sched_getaffinity(0))
  print(f"load before: {load:.2f}; cores: {cores}", flush=True)
  with tempfile.TemporaryDirectory() as folder:
    root = pathlib.Path(folder)
    if flags.coco_objects:
      measure_coco(flags.data_dir, root, flags.many, flags.coco_objects)
      return
    data_sets = {}
    for size in sorted({flags.few, flags.num_images, flags.many}):
      data_sets[size] = make_data_set(flags.data_dir, root / f"voc_{size}", size)
    stages(data_sets[flags.num_images])

    seconds, cpu_seconds = {}, {}
    print(
      f"{'images':>7} {'workers':>7} {'seconds':>8} {'images/s':>9} {'CPU s':>7}  MiB: main, worker"
    )
    for size, workers in (
      (flags.num_images, 1),
      (flags.num_images, 2),
      (flags.few, 2),
      (flags.many, 2),
    ):
      output_dir, case = root / "records", (size, workers)
      seconds[case], cpu_seconds[case], peaks = finish(start(data_sets[size], output_dir, workers))
      shutil.rmtree(output_dir)
      print(
        f"{size:7} {workers:7} {seconds[case]:8.1f} {size / seconds[case]:9.0f}"
        f" {cpu_seconds[case]:7.1f}  {peaks['main']:9.0f} {peaks['worker']:7.0f}",
        flush=True,
      )
    few, many, added = (flags.few, 2), (flags.many, 2), flags.many - flags.few
    steady = added / (seconds[many] - seconds[few])
    of_cpu = added / (cpu_seconds[many] - cpu_seconds[few])
    print(f"steady with 2 workers: {steady:.0f} images/s; {of_cpu:.0f} for a second of one core")

    killed = start(data_sets[flags.many], root / "records", 2)
    time.sleep(seconds[flags.many, 2] / 2)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    rest, *_ = finish(start(data_sets[flags.many], root / "records", 2))
    whole = seconds[flags.many, 2]
    print(
      f"killed after {whole / 2:.1f} s and resumed: {rest:.1f} s more;"
      f" overhead {whole / 2 + rest - whole:.1f} s of {whole:.1f} s"
    )


if __name__ == "__main__":
  main()
