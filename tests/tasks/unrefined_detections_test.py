"""The figure without refinement follows the same rules as the evaluation's main figure."""

import numpy as np
import pytest

from mtl_ssl_tf.configs import data as data_config
from mtl_ssl_tf.data.ground_truth import detection_files, objects
from mtl_ssl_tf.evaluation import detection_metrics
from mtl_ssl_tf.tasks import unrefined_detections

CLASS_NAMES = ("cat", "dog")


def images():
  """Objects and detections that lie around them, some well and some badly."""
  rng = np.random.default_rng(5)
  for number in range(6):
    corners = rng.integers(0, 40, [7, 2]).astype(float)
    boxes = np.concatenate([corners, corners + rng.integers(3, 12, [7, 2])], axis=1)
    classes = rng.integers(1, 3, 7)
    image = objects.ImageTruth(
      image_id=str(number),
      file_name="",
      size=(60, 60),
      boxes=objects.Boxes.from_corners(boxes[:5]),
      classes=classes[:5],
      difficult=np.arange(5) == 1,
      is_crowd=np.zeros(5, bool),
      areas=np.full(5, 30.0),
    )
    moved = objects.Boxes.from_corners(boxes + rng.integers(-1, 2, [7, 4]))
    yield image, detection_files.Detections(moved, rng.uniform(0.1, 0.9, 7), classes)


@pytest.mark.parametrize(
  ("fields", "key"),
  [
    ({}, "voc/mAP50_area"),
    ({"voc_ap": "11point"}, "voc/mAP50_11point"),
    ({"iou_threshold": 0.75}, "voc/mAP75_area"),
    ({"voc_inclusive_pixels": True}, "voc/mAP50_area"),
    ({"metrics": ["coco", "voc"]}, "coco/AP"),
  ],
)
def test_the_figure_is_the_evaluation_s(fields, key):
  config = data_config.Evaluation(**fields)
  unrefined = unrefined_detections.UnrefinedDetections(config, CLASS_NAMES)
  assert unrefined.figure() is None
  metrics = detection_metrics.DetectionMetrics(
    CLASS_NAMES,
    ["voc", "coco"],
    iou_threshold=fields.get("iou_threshold", 0.5),
    ap_rule=fields.get("voc_ap", "area"),
    inclusive_pixels=fields.get("voc_inclusive_pixels", False),
  )
  for image, found in images():
    unrefined.add(image.image_id, image, found)
    arguments = detection_files.metric_arguments(image, found)
    metrics.update(image_id=image.image_id, **arguments)
  figures = metrics.result()
  assert unrefined.figure() == figures[key]
  unrefined.reset()
  assert unrefined.figure() is None


def test_rules_tell_these_detections_apart():
  """Else the test above would not notice a setting that is left out."""
  found = set()
  for fields in (
    {},
    {"voc_ap": "11point"},
    {"iou_threshold": 0.75},
    {"voc_inclusive_pixels": True},
  ):
    unrefined = unrefined_detections.UnrefinedDetections(
      data_config.Evaluation(**fields), CLASS_NAMES
    )
    for image, detections in images():
      unrefined.add(image.image_id, image, detections)
    found.add(round(unrefined.figure(), 6))
  assert len(found) == 4
