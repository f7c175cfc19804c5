"""A detector, records and settings small enough to train in a test."""

import pathlib
from typing import Any

import yaml

from mtl_ssl_tf import registry_imports  # noqa: F401
from mtl_ssl_tf.training import driver
from tests import fixtures

CLASS_NAMES = ["cat", "dog"]
# Both lie in the left half of an image of 48 × 64 pixels, and the first one holds all cells of the
# foreground mask there: its columns up to floor(16 · 28/64 + 0.99) = 7 of 16.
BOXES = [[0, 0, 48, 28], [12, 8, 36, 24]]
CLASSES = [1, 2]
NUM_VAL = 3
# Five quarters of the images' size, in an input that is larger still.
DATA = {
  "global_batch_size": 2,
  "input_size": [64, 96],
  "short_side": 60,
  "long_side": 96,
  "max_num_boxes": 4,
}
LOSSES = [
  "rpn_objectness",
  "rpn_box",
  "roi_class",
  "roi_box",
  "multi_object",
  "closeness",
  "foreground",
  "refinement",
  "weight_decay",
]


def write_records(folder: pathlib.Path) -> None:
  """Writes `train.tfrecord`, `val.tfrecord` and the label map."""
  for split, num_images in (("train", 8), ("val", NUM_VAL)):
    fixtures.write_noise_records(folder / f"{split}.tfrecord", num_images, BOXES, CLASSES)
  (folder / "label_map.txt").write_text("".join(f"{name}\n" for name in CLASS_NAMES))


def settings(folder: pathlib.Path) -> dict[str, Any]:
  """What makes the default experiment tiny, with the data of `write_records`."""
  return {
    "task": {
      "label_map": str(folder / "label_map.txt"),
      "backbone": {"type": "mobilenet_v1", "depth_multiplier": 0.125, "norm": {"type": "batch"}},
      "anchors": {"base_size_px": 64.0, "scales": [0.5, 1.0]},
      "rpn": {"depth": 16, "pre_nms_top_k": 32, "num_proposals": 8, "batch_size": 16},
      "roi_head": {"batch_size": 8, "append_ground_truth": True},
      "auxiliary": {"multi_object": {"num_windows": 4}, "foreground": {"mask_size": 16}},
      "refinement": {"train_rois": 4},
      "detections": {"max_per_class": 5, "max_total": 10},
      "train_data": {**DATA, "input_path": str(folder / "train.tfrecord")},
      "validation_data": {**DATA, "input_path": str(folder / "val.tfrecord")},
      "pictures": {"num_images": 3},
    },
    "trainer": {
      "steps_per_loop": 2,
      "summary_interval": 2,
      "checkpoint_interval": 4,
      "optimizer_config": {
        "learning_rate": {"type": "constant", "constant": {"learning_rate": 0.01}}
      },
    },
  }


def experiment(
  folder: pathlib.Path, override: dict[str, Any] | None = None, name: str = "mtl_frcnn"
):
  """The experiment of that name with `settings`, and then `override`."""
  path = folder / "tiny.yaml"
  path.write_text(yaml.safe_dump(settings(folder)))
  return driver.load_experiment(name, [str(path)], yaml.safe_dump(override or {}))
