"""Scores detections by cleanlab's own `compute_overlooked_box_scores`, for `benchmarks.audit`.

    python -m benchmarks.audit ... --cleanlab ENVIRONMENT/bin/python

runs it in an environment with cleanlab: `python -m benchmarks.peers.cleanlab_scores IN OUT`. IN is
JSON with `num_classes`, `least_score` (null is cleanlab's own bound) and `images`, each with the
annotated `boxes` and `classes` and the detections' `found_boxes`, `found_classes` and
`found_scores`; boxes are xmin, ymin, xmax, ymax in pixels, classes from 0. OUT has `version` and
`values`, for each image one of each detection, null where cleanlab gives none.
"""

import importlib.metadata
import json
import math
import pathlib
import sys

import numpy as np
from cleanlab.object_detection import rank


def main() -> None:
  source, target = map(pathlib.Path, sys.argv[1:])
  content = json.loads(source.read_text())
  labels, predictions, orders = [], [], []
  for image in content["images"]:
    labels.append(
      {
        "bboxes": np.array(image["boxes"], np.float64).reshape(-1, 4),
        "labels": np.array(image["classes"], np.int64),
      }
    )
    classes = np.array(image["found_classes"], np.int64)
    rows = np.column_stack(
      [np.array(image["found_boxes"], np.float64).reshape(-1, 4), image["found_scores"]]
    )
    # An array of rows for each class.
    of_image = np.empty(content["num_classes"], object)
    for number in range(content["num_classes"]):
      of_image[number] = rows[classes == number]
    predictions.append(of_image)
    orders.append(np.argsort(classes, kind="stable"))
  scores = rank.compute_overlooked_box_scores(
    labels=labels, predictions=predictions, high_probability_threshold=content["least_score"]
  )
  values = []
  for order, of_image in zip(orders, scores, strict=True):
    own = np.empty(len(order))
    own[order] = of_image
    values.append([None if math.isnan(value) else float(value) for value in own])
  version = importlib.metadata.version("cleanlab")
  target.write_text(json.dumps({"version": version, "values": values}))


if __name__ == "__main__":
  main()
