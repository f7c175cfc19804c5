"""Evaluation with places of probably missing objects, against annotations that have them."""

import json

import numpy as np
import pytest

from mtl_ssl_tf import evaluate
from mtl_ssl_tf.auditing import ignoring
from mtl_ssl_tf.data.ground_truth import coco_truth, detection_files
from tests.auditing import made_up


def _row(image_id, box, class_name, probability=0.8, kind="missing"):
  empty = dict.fromkeys(("score", "overlap", "given_class", "given_bbox", "given_object"))
  kinds = dict.fromkeys(("missing", "wrong_class", "badly_placed", "nothing"), 0.0)
  return {
    "id": f"{image_id}{box}",
    "image_id": image_id,
    "file_name": f"{image_id}.png",
    "kind": kind,
    "probability": probability,
    **kinds,
    **empty,
    "class": class_name,
    "bbox": box,
  }


def _write(path, rows):
  path.write_text(json.dumps({"annotations": "0", "candidates": rows}))
  return path


@pytest.fixture(name="world")
def _world(tmp_path):
  """A cat and a dog, of which the dog has no box, and another dog; all are detected."""
  cat, dog = [0, 0, 10, 10], [50, 60, 70, 100]
  images = [made_up.image([cat], [1], image_id="a"), made_up.image([dog], [2], image_id="b")]
  truth = made_up.truth(images)
  found = [made_up.detections([cat, dog, [20, 20, 30, 30]], [0.5, 0.9, 0.8], [1, 2, 1])]
  found.append(made_up.detections([dog], [0.7], [2]))
  return tmp_path, truth, found


def test_places_become_difficult_objects(world):
  folder, truth, _ = world
  rows = [
    _row("a", [60, 50, 40, 20], "dog"),
    _row("b", [1, 2, 3, 4], "cat", 0.5),
    _row("b", [5, 6, 7, 8], "cat", 0.49),
    _row("b", [5, 6, 7, 8], "cat", kind="wrong_class"),
  ]
  changed, count = ignoring.with_places(truth, _write(folder / "audit.json", rows))
  assert count == 2
  first, second = changed.images
  np.testing.assert_array_equal(first.boxes.corners, [[0, 0, 10, 10], [50, 60, 70, 100]])
  assert first.classes.tolist() == [1, 2] and first.difficult.tolist() == [False, True]
  assert first.areas.tolist() == [100, 800] and not first.is_crowd.any()
  assert second.boxes.xywh.tolist() == [[60, 50, 40, 20], [1, 2, 3, 4]]
  assert second.difficult.tolist() == [False, True]


@pytest.mark.parametrize("metric", ["voc", "coco"])
def test_figures_are_those_without_the_detections_on_these_places(world, capsys, metric):
  folder, truth, found = world
  coco_truth.write_coco(truth, folder / "truth.json")
  rows = zip(truth.coco_image_ids, found, strict=True)
  detection_files.write_coco_results(folder / "results.json", rows, truth.category_ids)
  path = _write(folder / "audit.json", [_row("a", [60, 50, 40, 20], "dog")])
  flags = [f"--predictions={folder / 'results.json'}", f"--ground_truth={folder / 'truth.json'}"]
  flags += [f"--metric={metric}", f"--output_dir={folder / 'out'}"]
  assert evaluate.main([*flags, f"--ignore_probably_missing={path}"]) == 0
  assert "detections on 1 probably missing objects counted neither way" in capsys.readouterr().out
  plain = json.loads((folder / "out" / "figures.json").read_text())
  without = json.loads((folder / "out" / "figures_ignoring_probably_missing.json").read_text())
  kept = [0, 2]
  less = made_up.detections(
    found[0].boxes.corners[kept], found[0].scores[kept], found[0].classes[kept]
  )
  rows = zip(truth.coco_image_ids, [less, found[1]], strict=True)
  detection_files.write_coco_results(folder / "results.json", rows, truth.category_ids)
  assert evaluate.main([*flags[:3], f"--output_dir={folder / 'less'}"]) == 0
  expected = json.loads((folder / "less" / "figures.json").read_text())
  assert without == expected
  assert plain.keys() == without.keys() and plain != without


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"image_id": "c", "file_name": "c.png"}, "image_id is 'c'; accepted: an image of made up"),
    (
      {"class": "owl"},
      "class is 'owl'; accepted: a box of one of the classes of made up: cat, dog",
    ),
    ({"bbox": None}, "accepted: a box of one of the classes"),
    ({"bbox": [1, 2, 3]}, "bbox is [1, 2, 3]; accepted: four numbers: left, top, width, height"),
    ({"probability": "1"}, "probability is '1'; accepted: a finite number"),
  ],
)
def test_faulty_lists(world, change, message):
  folder, truth, _ = world
  path = _write(folder / "audit.json", [_row("a", [60, 50, 40, 20], "dog") | change])
  with pytest.raises(ValueError) as error:
    ignoring.with_places(truth, path)
  assert str(error.value).startswith(f"{path}: ") and message in str(error.value)
