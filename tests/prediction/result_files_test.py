"""Tests of result_files.py."""

import json

import pytest

from mtl_ssl_tf import written_files
from mtl_ssl_tf.prediction import coco_ids, result_files

_ROW = {"category_id": 2, "bbox": [1.0, 2.0, 3.0, 4.5], "score": 0.5}
_RECORDS = [
  {"file": "a.jpg", "height": 8, "width": 9, "detections": [_ROW, _ROW | {"category_id": 1}]},
  {"file": "b.jpg", "failure": "no\nimage"},
  {"file": "clip.mp4", "num_frames": 3},
  {"file": "größe.jpg", "height": 4, "width": 5, "detections": [_ROW]},
  {"file": "half.mp4", "num_frames": 3, "failure": "truncated"},
  {"file": "empty.jpg", "height": 4, "width": 5, "detections": []},
]
_FILE_IDS = coco_ids.CocoIds({"a.jpg": 70, "größe.jpg": 30, "empty.jpg": 50}, [17, 18])
_OWN_IDS = coco_ids.own_ids(["cat", "dog"])
_BOTH = ("dataset", "results")


def _write(folder, records=_RECORDS, ids=_OWN_IDS, outputs=_BOTH):
  written = written_files.WrittenFiles(folder, "predict")
  summary = result_files.write_results(written, lambda: iter(records), ["cat", "dog"], ids, outputs)
  return summary, {path.name: json.loads(path.read_text()) for path in folder.glob("*.json")}


@pytest.mark.parametrize(
  ("ids", "images", "classes"), [(_OWN_IDS, (1, 2, 3), (1, 2)), (_FILE_IDS, (70, 30, 50), (17, 18))]
)
def test_content(tmp_path, ids, images, classes):
  _, files = _write(tmp_path, ids=ids)
  assert files["predictions.json"]["images"] == [
    {"id": images[0], "file_name": "a.jpg", "height": 8, "width": 9},
    {"id": images[1], "file_name": "größe.jpg", "height": 4, "width": 5},
    {"id": images[2], "file_name": "empty.jpg", "height": 4, "width": 5},
  ]
  assert files["predictions.json"]["categories"] == [
    {"id": classes[0], "name": "cat"},
    {"id": classes[1], "name": "dog"},
  ]
  box = {"bbox": [1.0, 2.0, 3.0, 4.5], "score": 0.5}
  results = [
    {"image_id": images[0], "category_id": classes[1], **box},
    {"image_id": images[0], "category_id": classes[0], **box},
    {"image_id": images[1], "category_id": classes[1], **box},
  ]
  assert files["coco_results.json"] == results
  assert files["coco_results_ids.json"] == {
    key: files["predictions.json"][key] for key in ("images", "categories")
  }
  assert files["predictions.json"]["annotations"] == [
    {"id": number, "area": 13.5, "iscrowd": 0, **row} for number, row in enumerate(results, start=1)
  ]


def test_summary_and_failures(tmp_path):
  summary, files = _write(tmp_path)
  failures = (("b.jpg", "no\nimage"), ("half.mp4", "truncated"))
  assert summary == result_files.Summary(3, 2, 3, 5, failures)
  assert files["failures.json"] == [
    {"file_name": name, "reason": reason} for name, reason in failures
  ]


def test_only_what_is_asked_for(tmp_path):
  assert set(_write(tmp_path, outputs=("results", "voc"))[1]) == {
    "coco_results.json",
    "coco_results_ids.json",
    "failures.json",
  }


def test_no_records(tmp_path):
  summary, files = _write(tmp_path, records=[])
  assert summary == result_files.Summary(0, 0, 0, 0, ())
  assert files["coco_results.json"] == []
  assert files["predictions.json"]["images"] == []


def test_failures_of_an_earlier_prediction_go(tmp_path):
  _write(tmp_path)
  assert "failures.json" not in _write(tmp_path, records=_RECORDS[:1])[1]
