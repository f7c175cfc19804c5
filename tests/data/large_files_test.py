"""Images and files of a data set may be larger than those that settings are read from."""

import json

import numpy as np
import pytest

from mtl_ssl_tf.data.composites import image_sources
from mtl_ssl_tf.data.ground_truth import coco_truth, detection_files
from mtl_ssl_tf.data.ground_truth import objects as ground_truth
from mtl_ssl_tf.data.records import manifests, shard_summaries
from mtl_ssl_tf.data.sources import labelme_json, safe_files
from mtl_ssl_tf.prediction import images
from mtl_ssl_tf.reading import json_text, regular_files
from mtl_ssl_tf.serving import image_inputs
from tests.data import voc_files


@pytest.fixture(autouse=True)
def _few_bytes(monkeypatch):
  """Whoever names no limit is refused more than a few bytes."""
  monkeypatch.setattr(regular_files.read_bytes, "__defaults__", (4,))
  monkeypatch.setattr(regular_files.read_text, "__defaults__", (4,))
  monkeypatch.setattr(json_text.read, "__defaults__", (4,))


@pytest.fixture(name="image")
def _image(tmp_path):
  path = tmp_path / "a.png"
  path.write_bytes(voc_files.image_bytes(voc_files.picture(20, 40), "PNG"))
  return path


def test_the_limit_is_one(tmp_path):
  (tmp_path / "a").write_text("12345")
  for read in (regular_files.read_bytes, regular_files.read_text, json_text.read):
    with pytest.raises(OSError, match="5 bytes"):
      read(tmp_path / "a")


class _Detector:
  """Finds nothing."""

  class_names = ("cat",)

  def detect_encoded(self, contents):
    count = len(contents)
    return {
      "detection_boxes_px": np.zeros([count, 0, 4], np.float32),
      "detection_scores": np.zeros([count, 0], np.float32),
      "detection_classes": np.zeros([count, 0], np.float32),
      "num_detections": np.zeros([count], np.float32),
    }


def test_images(image):
  content = image.read_bytes()
  assert safe_files.read(image, (image.parent,), "a.png") == content
  assert image_inputs.of(image, "the image").pixels().shape == (20, 40, 3)
  assert image_sources.FolderImages(str(image.parent)).read(0) == ("a.png", content)
  (record,) = images.ImagePredictor(_Detector(), image.parent, 0.5)(["a.png"])
  assert "failure" not in record


def test_annotations_and_what_converters_leave(image):
  folder = image.parent
  (folder / "a.json").write_text(json.dumps({"shapes": [], "imagePath": "a.png"}))
  contents, report = labelme_json.convert(folder)
  assert report["faults"] == [] and len(contents["default"]["images"]) == 1
  assert coco_truth.read_json(folder / "a.json") == {"shapes": [], "imagePath": "a.png"}
  (folder / "manifest_train.json").write_text('{"shards": []}')
  assert manifests.load(folder / "manifest_train.json") == {"shards": []}
  summary = {"signature": "", "sha256": "", "hashes": {}, "pictures": [], "summary": {}}
  shard_summaries.write(folder / "a.tfrecord", summary)
  assert shard_summaries.read(folder / "a.tfrecord") == summary


def test_detections(tmp_path):
  nothing = np.zeros(0)
  one = ground_truth.ImageTruth(
    "a", "a.png", None, ground_truth.Boxes.from_corners(np.zeros([0, 4])), *[nothing] * 4
  )
  truth = ground_truth.GroundTruth("truth", ("cat",), (1,), (one,))
  (tmp_path / "comp4_det_val_cat.txt").write_text("a 0.5 1 2 3 4\n")
  (found,) = detection_files.read_predictions(str(tmp_path), truth)
  assert found.scores.tolist() == [0.5]
