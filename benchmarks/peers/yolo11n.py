"""Trains ultralytics' YOLO11n from scratch (`yolo11n.yaml`) with its defaults, for a CPU budget.

    --peer 'yolo11n=ENVIRONMENT/bin/python -m benchmarks.peers.yolo11n --train {train}
        --test {test} --images {images} --work_dir {work_dir} --arm_dir {arm_dir}
        --minutes {minutes} --seed {seed}'

in one line; ultralytics needs an environment of its own. Epochs are whole, so that a budget is
filled to the last epoch that fits. Images are loaded in the training process, and nothing is
evaluated during training; all else is ultralytics' default (input of 640, batch of 16, mosaic).
Writes `results.json` and `report.json`, see `benchmarks.time_to_accuracy`.
"""

import json
import math
import os
import pathlib
import sys
import time
from typing import Any

from benchmarks.accuracy import budget
from benchmarks.peers import common

BATCH = 16
# As in ultralytics' own evaluation.
MIN_SCORE, NMS_IOU = 0.001, 0.7
CALIBRATION_EPOCHS = 1


def write_data(split: common.Split, folder: pathlib.Path) -> pathlib.Path:
  """Writes links to the images, their labels as text, and the YAML file that names them."""
  images, labels = folder / "images", folder / "labels"
  for path in (images, labels):
    path.mkdir(parents=True, exist_ok=True)
  for image in split.images:
    link = images / image.path.name
    link.unlink(missing_ok=True)
    link.symlink_to(image.path.resolve())
    lines = [
      f"{number} {values}\n"
      for number, values in zip(
        image.classes, (label_values(box, image.size) for box in image.boxes), strict=True
      )
    ]
    (labels / image.path.with_suffix(".txt").name).write_text("".join(lines))
  # Ultralytics wants something to evaluate on after the last epoch; nothing is chosen by it.
  (folder / "few.txt").write_text(f"{images / split.images[0].path.name}\n")
  file = folder / "data.yaml"
  content = {"path": str(folder), "train": "images", "val": "few.txt", "names": split.names}
  file.write_text(json.dumps(content))
  return file


def label_values(box: tuple[float, float, float, float], size: tuple[int, int]) -> str:
  """Returns centre and size of a box (xmin, ymin, xmax, ymax), in fractions of the image."""
  (x0, y0, x1, y1), (height, width) = box, size
  x0, x1 = (min(max(x, 0.0), width) for x in (x0, x1))
  y0, y1 = (min(max(y, 0.0), height) for y in (y0, y1))
  values = ((x0 + x1) / 2 / width, (y0 + y1) / 2 / height, (x1 - x0) / width, (y1 - y0) / height)
  return " ".join(f"{value:.6f}" for value in values)


def train(options: Any, data: pathlib.Path, epochs: int) -> tuple[Any, dict[str, Any]]:
  """Trains; returns the detector, and points, CPU and wall seconds up to the last step."""
  os.environ["YOLO_CONFIG_DIR"] = str(options.work_dir / "settings")
  os.environ["YOLO_OFFLINE"] = "true"
  import ultralytics

  start, points, ends = time.monotonic(), [], []
  model = ultralytics.YOLO("yolo11n.yaml")
  model.add_callback(
    "on_train_batch_end",
    lambda trainer: points.append((len(points) + 1, common.cpu_seconds())),
  )
  model.add_callback(
    "on_train_epoch_end",
    lambda trainer: ends.append((common.cpu_seconds(), time.monotonic() - start)),
  )
  model.train(
    data=str(data),
    epochs=epochs,
    imgsz=options.size,
    batch=BATCH,
    device="cpu",
    workers=0,
    seed=options.seed,
    val=False,
    plots=False,
    project=str(options.work_dir),
    name="model",
    exist_ok=True,
  )
  cpu_s, wall_s = ends[-1]
  return model, {"points": points, "cpu_s": cpu_s, "wall_s": wall_s}


def detect(model: Any, test: common.Split, size: int) -> list[dict[str, Any]]:
  """Returns the rows of the result file of all test images."""
  rows = []
  for image in test.images:
    (found,) = model.predict(
      str(image.path), imgsz=size, conf=MIN_SCORE, iou=NMS_IOU, device="cpu", verbose=False
    )
    boxes = found.boxes
    classes = [int(number) for number in boxes.cls.tolist()]
    rows += common.result_rows(test, image, boxes.xyxy.tolist(), boxes.conf.tolist(), classes)
  return rows


def main() -> None:
  options = common.parser(__doc__, image_size=640).parse_args()
  options.work_dir = options.work_dir.resolve()
  train_split, test_split = (
    common.read_coco(path, options.images) for path in (options.train, options.test)
  )
  if not options.calibrate:
    rate = common.measured_rate("benchmarks.peers.yolo11n", options.arm_dir, sys.argv[1:])
  data = write_data(train_split, options.work_dir / "data")
  if options.calibrate:
    _, found = train(options, data, CALIBRATION_EPOCHS)
    print(json.dumps(found["points"]))
    return
  batches = math.ceil(len(train_split.images) / BATCH)
  epochs = max(1, rate.steps(60.0 * options.minutes) // batches)
  model, found = train(options, data, epochs)
  before = common.cpu_seconds()
  rows = detect(model, test_split, options.size)
  steps, step_s = len(found["points"]), (budget.rate(found["points"]) or rate).step_s
  report = {
    "steps": steps,
    "train_cpu_s": found["cpu_s"],
    "train_wall_s": found["wall_s"],
    "step_s": step_s,
    "start_up_s": max(0.0, found["cpu_s"] - steps * step_s),
    "evaluation_cpu_s": common.cpu_seconds() - before,
  }
  common.write_results(options.work_dir, rows, report)


if __name__ == "__main__":
  main()
