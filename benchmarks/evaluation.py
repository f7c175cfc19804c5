"""Time of the VOC and COCO metrics, of errors and of result files, next to pycocotools by itself.

    python -m benchmarks.evaluation [--images 5000] [--pycocotools_images 500]

Images hold 7 objects on average and 100 detections each: some on objects, shifted, doubled or of
another class, the rest anywhere. pycocotools takes part with fewer images, next to our time for
as many; the figures on these are compared as well.
"""

import argparse
import contextlib
import io
import tempfile
import time

import numpy as np
from pycocotools import coco as pycoco
from pycocotools import cocoeval

from mtl_ssl_tf.data.ground_truth import detection_files, result_ids
from mtl_ssl_tf.data.ground_truth import objects as ground_truth
from mtl_ssl_tf.evaluation import (
  coco_evaluator,
  confusion_matrix,
  error_analysis,
  voc_evaluator,
)

CLASSES = (20, 80)
DETECTIONS = 100
OBJECTS = 7
SIZE = 600.0


def make_images(num_images: int, num_classes: int) -> list[tuple[np.ndarray, ...]]:
  """Returns for each image objects' boxes, classes; detections' boxes, scores, classes. As xywh."""
  rng = np.random.default_rng(0)
  images = []
  for _ in range(num_images):
    n = rng.poisson(OBJECTS)
    sides = np.exp(rng.uniform(np.log(12), np.log(300), [n, 2]))
    gt_boxes = np.concatenate([rng.uniform(0, SIZE - sides), sides], axis=1)
    gt_classes = rng.integers(1, num_classes + 1, n)
    sides = np.exp(rng.uniform(np.log(12), np.log(300), [DETECTIONS, 2]))
    boxes = np.concatenate([rng.uniform(0, SIZE - sides), sides], axis=1)
    classes = rng.integers(1, num_classes + 1, DETECTIONS)
    scores = rng.beta(0.3, 3.0, DETECTIONS)
    if n:
      near = np.flatnonzero(rng.uniform(size=DETECTIONS) < 0.4)
      rows = rng.integers(0, n, len(near))
      noise = rng.normal(0, 0.15, [len(near), 4]) * np.tile(gt_boxes[rows, 2:], 2)
      boxes[near] = np.maximum(gt_boxes[rows] + noise, 1.0)
      right = rng.uniform(size=len(near)) < 0.7
      classes[near] = np.where(right, gt_classes[rows], classes[near])
      scores[near] = rng.beta(2.0, 2.0, len(near))
    images.append((gt_boxes, gt_classes, boxes, scores, classes))
  return images


def corners(boxes_xywh: np.ndarray) -> np.ndarray:
  left, top, width, height = boxes_xywh.T
  return np.stack([top, left, top + height, left + width], axis=1)


def voc_figures(images: list[tuple[np.ndarray, ...]], names: list[str]) -> dict[str, float]:
  evaluator = voc_evaluator.VOCEvaluator(names)
  for number, (gt_boxes, gt_classes, boxes, scores, classes) in enumerate(images):
    evaluator.update(corners(gt_boxes), gt_classes, None, corners(boxes), scores, classes, number)
  return evaluator.result()


def coco_figures(images: list[tuple[np.ndarray, ...]], names: list[str]) -> dict[str, float]:
  evaluator = coco_evaluator.COCOEvaluator(names)
  for number, (gt_boxes, gt_classes, boxes, scores, classes) in enumerate(images):
    evaluator.update(
      image_id=number,
      gt_boxes_xywh=gt_boxes,
      gt_classes=gt_classes,
      detection_boxes_xywh=boxes,
      detection_scores=scores,
      detection_classes=classes,
    )
  return evaluator.result()


def error_figures(images: list[tuple[np.ndarray, ...]], names: list[str]) -> dict[str, float]:
  """Kinds of error with their costs, and confusions."""
  analyzer = error_analysis.ErrorAnalyzer(names)
  confusion = confusion_matrix.ConfusionMatrix(names)
  for gt_boxes, gt_classes, boxes, scores, classes in images:
    objects = corners(gt_boxes), gt_classes, np.zeros(len(gt_classes), bool)
    for evaluator in (analyzer, confusion):
      evaluator.update(*objects, corners(boxes), scores, classes)
  return analyzer.result()


def written_and_read(images: list[tuple[np.ndarray, ...]], names: list[str]) -> dict[str, float]:
  """Detections as COCO results and comp4 files, read back. Returns the seconds of each."""
  none = ground_truth.Boxes.from_xywh([])
  flags = np.zeros(0, bool)
  truth = ground_truth.GroundTruth(
    "generated",
    tuple(names),
    tuple(range(1, len(names) + 1)),
    tuple(
      ground_truth.ImageTruth(
        str(number), "", None, none, np.zeros(0, int), flags, flags, np.zeros(0)
      )
      for number in range(len(images))
    ),
  )
  found = [
    detection_files.Detections(ground_truth.Boxes.from_xywh(boxes), scores, classes)
    for *_, boxes, scores, classes in images
  ]
  seconds = {}
  with tempfile.TemporaryDirectory() as folder:
    file = f"{folder}/results.json"
    for name, fn, *arguments in (
      (
        "write COCO",
        detection_files.write_coco_results,
        file,
        zip(truth.coco_image_ids, found, strict=True),
        truth.category_ids,
      ),
      ("read COCO", detection_files.read_predictions, file, truth, result_ids.GROUND_TRUTH),
      (
        "write VOC",
        detection_files.write_comp4,
        folder,
        "val",
        zip(truth.index, found, strict=True),
        names,
      ),
      ("read VOC", detection_files.read_predictions, folder, truth),
    ):
      seconds[name] = timed(fn, *arguments)[1]
  return seconds


def pycocotools_stats(images: list[tuple[np.ndarray, ...]], num_classes: int) -> np.ndarray:
  """The twelve figures by pycocotools alone."""
  truth, found = [], []
  for number, (gt_boxes, gt_classes, boxes, scores, classes) in enumerate(images):
    for box, cls in zip(gt_boxes.tolist(), gt_classes.tolist(), strict=True):
      row = {"id": len(truth) + 1, "image_id": number, "category_id": cls, "bbox": box}
      truth.append(row | {"area": box[2] * box[3], "iscrowd": 0})
    for box, score, cls in zip(boxes.tolist(), scores.tolist(), classes.tolist(), strict=True):
      found.append({"image_id": number, "category_id": cls, "bbox": box, "score": score})
  with contextlib.redirect_stdout(io.StringIO()):
    dataset = pycoco.COCO()
    dataset.dataset = {
      "info": {},
      "images": [{"id": number} for number in range(len(images))],
      "categories": [{"id": cls} for cls in range(1, num_classes + 1)],
      "annotations": truth,
    }
    dataset.createIndex()
    evaluation = cocoeval.COCOeval(dataset, dataset.loadRes(found), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
  return evaluation.stats


def timed(fn, *arguments):
  start = time.perf_counter()
  value = fn(*arguments)
  return value, time.perf_counter() - start


def main() -> None:
  parser = argparse.ArgumentParser(prog="python -m benchmarks.evaluation")
  parser.add_argument("--images", type=int, default=5000)
  parser.add_argument("--pycocotools_images", type=int, default=500)
  args = parser.parse_args()
  for num_classes in CLASSES:
    names = [f"class {number}" for number in range(1, num_classes + 1)]
    images = make_images(args.images, num_classes)
    print(f"{args.images} images, {DETECTIONS} detections each, {num_classes} classes")
    total = 0.0
    for name, fn, keys in (
      ("VOC metrics", voc_figures, ("voc/mAP50_area",)),
      ("COCO metrics", coco_figures, ("coco/AP",)),
    ):
      figures, seconds = timed(fn, images, names)
      total += seconds
      values = ", ".join(f"{key} {figures[key]:.3f}" for key in keys)
      print(f"  {name:<24}{seconds:8.1f} s   {values}")
    print(f"  {'VOC and COCO together':<24}{total:8.1f} s")
    figures, seconds = timed(error_figures, images, names)
    cost = f"errors/cost/localisation {figures['errors/cost/localisation']:.3f}"
    print(f"  {'errors and confusions':<24}{seconds:8.1f} s   {cost}")
    for name, seconds in written_and_read(images, names).items():
      print(f"  {name + ' result files':<24}{seconds:8.1f} s")
    few = images[: args.pycocotools_images]
    stats, slow = timed(pycocotools_stats, few, num_classes)
    figures, fast = timed(coco_figures, few, names)
    ours = np.nan_to_num([figures[f"coco/{name}"] for name in coco_evaluator.FIGURES], nan=-1.0)
    print(
      f"  pycocotools, {len(few)} images {slow:8.1f} s   {slow / fast:.1f} x ours ({fast:.1f} s),"
      f" largest difference {np.max(np.abs(ours - stats)):.1g}"
    )


if __name__ == "__main__":
  main()
