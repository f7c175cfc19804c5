"""The benchmark of annotated classes: its training sets and its table."""

import numpy as np
import pytest

from benchmarks import annotated_classes
from benchmarks.accuracy import data as data_lib
from mtl_ssl_tf.data import pascal_voc, synthetic
from mtl_ssl_tf.data.ground_truth import coco_truth, truth_readers
from mtl_ssl_tf.data.ground_truth import objects as ground_truth


def _truth() -> ground_truth.GroundTruth:
  images = [
    ground_truth.ImageTruth(
      str(number),
      f"{number}.jpg",
      (10, 10),
      ground_truth.Boxes.from_corners([[0, 0, 1 + n, 1] for n in range(5)]),
      np.arange(1, 6),
      np.arange(5) == 0,
      np.arange(5) == 1,
      np.arange(5.0),
    )
    for number in range(2)
  ]
  return ground_truth.GroundTruth("x", tuple("abcde"), (1, 2, 3, 4, 5), tuple(images))


@pytest.mark.parametrize("is_stated", [True, False])
def test_each_image_has_one_half_of_the_classes(is_stated):
  first, second = annotated_classes.halved(_truth(), is_stated).images
  assert first.classes.tolist() == [1, 2, 3] and second.classes.tolist() == [4, 5]
  assert second.boxes.corners[:, 2].tolist() == [4, 5] and second.boxes.xywh[:, 3].tolist() == [
    4,
    5,
  ]
  assert first.difficult.tolist() == [True, False, False]
  assert first.is_crowd.tolist() == [False, True, False]
  assert second.areas.tolist() == [3, 4]
  stated = [image.annotated_classes for image in (first, second)]
  assert stated == ([[1, 2, 3], [4, 5]] if is_stated else [None, None])


def test_training_sets(tmp_path):
  arguments = synthetic.DatasetArguments(num_train=4, num_val=1)
  synthetic.write_dataset(tmp_path / "voc", arguments)
  records = tmp_path / "records"
  pascal_voc.convert_split(tmp_path / "voc", "train", records, num_shards=1, workers=1)
  data = data_lib.DataSet("scenes", tmp_path)
  full = truth_readers.read_records(data.records("train"))
  coco_truth.write_coco(full, data.coco("train"))
  numbers = []
  for set_name, is_stated in (("halves", True), ("unstated", False)):
    annotated_classes.make_set(data, set_name)
    truth = truth_readers.read_records(data.records(f"train_{set_name}"))
    assert truth.class_names == full.class_names
    assert [image.image_id for image in truth.images] == [image.image_id for image in full.images]
    assert [image.annotated_classes is not None for image in truth.images] == [is_stated] * 4
    numbers.append([len(image.classes) for image in truth.images])
  assert numbers[0] == numbers[1]
  assert 0 < sum(numbers[0]) < sum(len(image.classes) for image in full.images)


def test_the_table_compares_seeds():
  def run(set_name, seed, figure):
    return {
      "arm": "plain",
      "set": set_name,
      "seed": seed,
      "steps": 10,
      "mAP50": figure,
      "AP": figure / 2,
      "cpu_minutes": 1.0,
    }

  # Of seed 1 there is no run on complete annotations.
  found = [run("halves", 0, 78.5), run("halves", 1, 10.0), run("full", 0, 80.0)]
  text = annotated_classes.report([*found, run("unstated", 0, 50.0)])
  rows = [line.split(" | ") for line in text.splitlines() if line.startswith("| plain")]
  assert [row[1] for row in rows] == ["full", "halves", "unstated"]
  assert rows[1][6].startswith("1.5") and rows[2][6].startswith("30.0")
  assert "halves that state their classes are 1.5 below complete annotations: within 2" in text
  text = annotated_classes.report([run("full", 0, 80.0), run("halves", 0, 77.9)])
  assert "are 2.1 below complete annotations: not within 2" in text
