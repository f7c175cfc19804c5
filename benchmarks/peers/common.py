"""Shared by the peers' programs: flags, COCO files, the budget. Needs Python alone."""

import argparse
import json
import os
import pathlib
import subprocess
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

from benchmarks.accuracy import budget


class Image(NamedTuple):
  """An image of a COCO annotation file.

  Attributes:
    image_id: as result files name it.
    path: of the file.
    size: height and width, pixels.
    boxes: (xmin, ymin, xmax, ymax) of the objects, pixels of the file.
    classes: of the objects, from 0 in the order of the categories.
  """

  image_id: Any
  path: pathlib.Path
  size: tuple[int, int]
  boxes: list[tuple[float, float, float, float]]
  classes: list[int]


class Split(NamedTuple):
  """Images and categories of a COCO annotation file."""

  images: list[Image]
  category_ids: list[int]
  names: list[str]


def parser(description: str, image_size: int) -> argparse.ArgumentParser:
  """Returns the flags that every peer takes."""
  result = argparse.ArgumentParser(description=description, allow_abbrev=False)
  for flag in ("--train", "--test", "--images", "--work_dir", "--arm_dir"):
    result.add_argument(flag, type=pathlib.Path, required=True)
  result.add_argument("--minutes", type=float, required=True, help="CPU minutes of training")
  result.add_argument("--seed", type=int, default=0)
  result.add_argument("--size", type=int, default=image_size, help="side of the network's input")
  result.add_argument("--calibrate", action="store_true", help="measure the rate alone")
  return result


def read_coco(path: pathlib.Path, images: pathlib.Path) -> Split:
  """Reads a COCO annotation file whose image files are in a folder."""
  content = json.loads(path.read_text())
  category_ids = [category["id"] for category in content["categories"]]
  objects = {image["id"]: ([], []) for image in content["images"]}
  for row in content["annotations"]:
    left, top, width, height = row["bbox"]
    boxes, classes = objects[row["image_id"]]
    boxes.append((left, top, left + width, top + height))
    classes.append(category_ids.index(row["category_id"]))
  found = [
    Image(row["id"], images / row["file_name"], (row["height"], row["width"]), *objects[row["id"]])
    for row in content["images"]
  ]
  return Split(found, category_ids, [category["name"] for category in content["categories"]])


def result_rows(
  split: Split, image: Image, boxes: Sequence, scores: Sequence, classes: Sequence[int]
) -> list[dict[str, Any]]:
  """Returns the rows of a COCO result file for one image.

  Args:
    split: of the image.
    image: that the detections are of.
    boxes: (xmin, ymin, xmax, ymax) of the detections, pixels of the file.
    scores: of the detections.
    classes: of the detections, from 0.
  """
  return [
    {
      "image_id": image.image_id,
      "category_id": split.category_ids[number],
      "bbox": [float(value) for value in (x0, y0, x1 - x0, y1 - y0)],
      "score": float(score),
    }
    for (x0, y0, x1, y1), score, number in zip(boxes, scores, classes, strict=True)
  ]


def cpu_seconds() -> float:
  """Returns user and system seconds of this process."""
  times = os.times()
  return times.user + times.system


def measured_rate(module: str, arm_dir: pathlib.Path, arguments: Sequence[str]) -> budget.Rate:
  """Returns the rate of a peer's training, measured once for all of its runs.

  Args:
    module: of the peer; with `--calibrate`, its last line is a JSON list of (step, CPU seconds).
    arm_dir: folder that keeps the rate.
    arguments: of the command line; `--work_dir` in it is overridden.
  """
  path = arm_dir / "calibration.json"
  if not path.exists():
    folder = arm_dir / f"calibration_{os.getpid()}"
    folder.mkdir(parents=True)
    command = [sys.executable, "-m", module, *arguments, f"--work_dir={folder}", "--calibrate"]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    part = folder / "points.json"
    part.write_text(output.strip().splitlines()[-1])
    os.replace(part, path)
  found = budget.rate(json.loads(path.read_text()))
  if found is None:
    raise ValueError(f"{path} holds no rate; accepted: none, so that it is measured again")
  return found


def write_results(
  work_dir: pathlib.Path, rows: Sequence[dict[str, Any]], report: dict[str, Any]
) -> None:
  """Writes what `benchmarks.time_to_accuracy` reads."""
  (work_dir / "report.json").write_text(json.dumps(report))
  (work_dir / "results.json").write_text(json.dumps(list(rows)))
