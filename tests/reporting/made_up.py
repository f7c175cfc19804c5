"""A run without a network: records with pictures, and detections that were made up."""

import pathlib

import numpy as np

from mtl_ssl_tf.configs import detector
from mtl_ssl_tf.data.ground_truth import coco_truth, detection_files, truth_readers
from mtl_ssl_tf.data.ground_truth import objects as ground_truth
from mtl_ssl_tf.reporting import evaluated
from mtl_ssl_tf.serving import export_lib
from tests import fixtures

EVIL = "<script>alert(1)</script>"
NAMES = ("cat", EVIL, "owl")
# A name of a file that is no text, markup, and quotes.
IMAGE_IDS = ("a", "b'\"><img src=x onerror=alert(2)>", "c&amp;", "d", "e", "f")
SIZE = (60, 80)
NUM_OBJECTS = 4


def write_records(folder: pathlib.Path) -> str:
  """Writes records of noise with objects of all sizes; returns their path."""
  rng = np.random.default_rng(5)
  examples = []
  for number, image_id in enumerate(IMAGE_IDS):
    corners = rng.integers(0, 30, [NUM_OBJECTS, 2])
    boxes = np.concatenate([corners, corners + rng.integers(8, 30, [NUM_OBJECTS, 2])], axis=1)
    # Nothing is an owl.
    classes = rng.integers(1, 3, NUM_OBJECTS)
    examples.append(
      fixtures.serialized_example(
        fixtures.noise_image(*SIZE, number),
        boxes,
        classes,
        difficult=[0, 0, 0, int(number == 0)],
        is_crowd=[int(number == 1), 0, 0, 0],
        source_id=image_id,
      )
    )
  fixtures.write_records(folder / "val.tfrecord", examples)
  (folder / "label_map.txt").write_text("".join(f"{name}\n" for name in NAMES))
  return str(folder / "val.tfrecord")


def detections(
  truth: ground_truth.GroundTruth, seed: int, shift_px: float
) -> list[detection_files.Detections]:
  """The objects, moved, some of another class, and clutter; the farther the less they score."""
  rng = np.random.default_rng(seed)
  found = []
  for image in truth.images:
    moves = rng.normal(0.0, shift_px, [len(image.classes), 1])
    clutter = rng.uniform(0, 20, [2, 2])
    corners = np.concatenate(
      [image.boxes.corners + moves, np.concatenate([clutter, clutter + 12.0], axis=1)]
    )
    classes = np.concatenate([image.classes, rng.integers(1, 4, 2)])
    classes[0] = rng.integers(1, 3)
    scores = np.concatenate([0.95 - 0.05 * np.abs(moves[:, 0]), rng.uniform(0.05, 0.4, 2)])
    boxes = ground_truth.Boxes.from_corners(corners)
    found.append(detection_files.Detections(boxes, np.clip(scores, 0.01, 1.0), classes))
  return found


def write_run(folder: pathlib.Path, name: str, seed: int, shift_px: float) -> evaluated.Evaluated:
  """Writes result files as an evaluation leaves them; the records lie in `folder`."""
  records = str(folder / "val.tfrecord")
  truth = truth_readers.read_records(records)
  results = folder / f"{name}_results"
  results.mkdir()
  found = zip(truth.coco_image_ids, detections(truth, seed, shift_px), strict=True)
  detection_files.write_coco_results(
    results / detection_files.COCO_RESULTS_FILE, found, truth.category_ids
  )
  coco_truth.write_coco(truth, results / detection_files.COCO_GROUND_TRUTH_FILE)
  model_dir = folder / name
  model_dir.mkdir()
  (model_dir / "params.yaml").write_text(f"task: {{label_map: '{EVIL}'}}\n")
  for step, value in ((5, 0.25), (10, 0.5)):
    (model_dir / f"evaluation-{step}.json").write_text(
      f'{{"step": {step}, "voc/mAP50_area": {value}, "voc/AP50_area/{EVIL}": 0.1}}'
    )
  task = detector.MtlDetection()
  run = export_lib.TrainedRun(
    task, str(folder / "label_map.txt"), list(NAMES), str(model_dir / "ckpt-10"), "latest", 10
  )
  return evaluated.read(str(model_dir), run, records, results)
