"""From the validation step's rows to figures and files, and back through the command."""

import json

import numpy as np
import pytest

from mtl_ssl_tf import evaluate
from mtl_ssl_tf.configs import data as data_config
from mtl_ssl_tf.data.ground_truth import coco_truth, truth_readers
from mtl_ssl_tf.tasks import detection_evaluation
from tests import fixtures
from tests.tasks import tiny

BOXES = np.array(tiny.BOXES, np.float32)


@pytest.fixture(name="records", scope="module")
def _records(tmp_path_factory):
  """Four images whose ids are numbers, not in the order of the file, in two shards."""
  folder = tmp_path_factory.mktemp("records")
  for shard, ids in enumerate((("30", "4"), ("111", "5"))):
    examples = [
      fixtures.serialized_example(
        fixtures.noise_image(48, 64), tiny.BOXES, tiny.CLASSES, [0, 1], source_id=image_id
      )
      for image_id in ids
    ]
    fixtures.write_records(folder / f"val-{shard:05d}-of-00002.tfrecord", examples)
  (folder / "label_map.txt").write_text("cat\ndog\n")
  return folder


def row(index, boxes=BOXES, scores=(0.9, 0.8), classes=(1, 2), num_rows=4):
  """An image's row as the validation step gives it: two objects, and detections, padded."""

  def pad(values, fill):
    values = np.asarray(values)
    rest = np.full([num_rows - len(values), *values.shape[1:]], fill, values.dtype)
    return np.concatenate([values, rest])

  return {
    "example_index": np.int32(index),
    "gt_boxes_orig": pad(BOXES, -1.0),
    "gt_classes": pad(np.array([1, 2], np.int32), -1),
    "gt_difficult": pad([False, True], False),
    "gt_is_crowd": pad([False, False], False),
    "gt_area_orig": pad(np.array([48.0 * 28.0, 24.0 * 16.0], np.float32), 0.0),
    "detection_boxes_orig": pad(np.asarray(boxes, np.float32), 7.0),
    "detection_scores": pad(np.array(scores, np.float32), 0.0),
    "detection_classes": pad(np.array(classes, np.int32), 0),
  }


def make(records, input_path=None, **fields):
  config = data_config.Evaluation()
  config.override(fields, is_strict=True)
  return detection_evaluation.DetectionEvaluation(
    config,
    ["cat", "dog"],
    input_path or str(records / "val-*.tfrecord"),
    str(records / "label_map.txt"),
  )


def shifted(pixels):
  return BOXES + np.array([0, pixels, 0, pixels], np.float32) / 3


def fill(evaluation):
  """Four images that the detector finds less and less well, with equal scores; unlike orders."""
  for index in (2, 0, 3, 1):
    evaluation.update(row(index, shifted(5.0 * index), (0.5, 0.5)))
  return evaluation.result(7)


def test_voc_metrics_need_no_names(tmp_path):
  evaluation = make(tmp_path, input_path="nowhere.tfrecord")
  evaluation.prepare()
  evaluation.update(row(0))
  assert evaluation.result()["voc/mAP50_area"] == 1.0  # Without the dog, which is difficult.


def test_settings_reach_the_metrics(tmp_path):
  # 17 of 28 columns: IoU 0.607; with inclusive pixels 18 of 29: 0.621.
  found = row(0, [[0, 0, 48, 17]], [0.4], [1])
  for fields, matches, confused in (
    ({"iou_threshold": 0.62, "score_threshold": 0.1}, 0, 1),
    ({"iou_threshold": 0.62, "score_threshold": 0.1, "voc_inclusive_pixels": True}, 1, 0),
    ({"score_threshold": 0.4, "voc_ap": "11point"}, 1, 0),
    ({"score_threshold": 0.5}, 1, 0),
  ):
    evaluation = make(tmp_path, input_path="nowhere.tfrecord", errors=True, **fields)
    evaluation.update(found)
    result = evaluation.result()
    assert result[evaluation.metrics.main_key] == matches
    assert evaluation.metrics.main_key.endswith(fields.get("voc_ap", "area"))
    assert result["errors/count/localisation"] == confused
    hits = evaluation.metrics.details()["confusion"][1, 1]
    assert hits == (matches if fields["score_threshold"] < 0.5 else 0)


def test_everything_known_of_an_image_reaches_the_metrics_under_its_name(tmp_path, monkeypatch):
  evaluation, given = make(tmp_path, input_path="nowhere.tfrecord"), {}
  monkeypatch.setattr(evaluation.metrics, "update", lambda **arguments: given.update(arguments))
  found = row(3, boxes=shifted(3.0), scores=(0.75, 0.5), classes=(2, 1))
  # A crowd and, as in every row here, a difficult object.
  evaluation.update(found | {"gt_is_crowd": np.array([True, False, False, False])})
  assert {name: np.asarray(values).tolist() for name, values in given.items()} == {
    "image_id": 3,
    "gt_boxes": tiny.BOXES,
    "gt_boxes_xywh": [[0, 0, 28, 48], [8, 12, 16, 24]],
    "gt_classes": [1, 2],
    "gt_difficult": [False, True],
    "gt_is_crowd": [True, False],
    "gt_areas": [48 * 28, 24 * 16],
    "detection_boxes": [[0, 1, 48, 29], [12, 9, 36, 25]],
    "detection_boxes_xywh": [[1, 0, 28, 48], [9, 12, 16, 24]],
    "detection_scores": [0.75, 0.5],
    "detection_classes": [2, 1],
  }


def test_names_come_from_the_records(records):
  evaluation = make(records, metrics=["coco"])
  result = fill(evaluation)
  assert 0.1 < result["coco/AP"] < 1.0
  with pytest.raises(ValueError, match="image 30 was already added"):
    evaluation.update(row(0))


def test_faulty_records_are_told_before_the_evaluation(tmp_path):
  evaluation = make(tmp_path, input_path=str(tmp_path / "none"), metrics=["coco"])
  with pytest.raises(ValueError, match="no record files match"):
    evaluation.prepare()


def test_no_object_in_any_image_is_refused(records):
  evaluation = make(records)
  empty = row(0) | {"gt_classes": np.full([4], -1, np.int32)}
  evaluation.update(empty)
  with pytest.raises(ValueError, match=r"validation_data.input_path: no object in 1 images; acc"):
    evaluation.result()
  evaluation.reset()
  evaluation.update(empty)
  evaluation.update(row(1))
  assert evaluation.result()["voc/mAP50_area"] == 0.5
  evaluation.reset()
  evaluation.update(empty)
  with pytest.raises(ValueError, match="no object in 1 images"):
    evaluation.result()


def test_losses_and_auxiliary_figures_are_of_one_evaluation_alone(records):
  evaluation = make(records)
  for loss, share in ((4.0, 1.0), (8.0, 0.0)):
    evaluation.reset()
    logs = row(0) | {
      "example_valid": np.True_,
      "num_dropped_boxes": np.int32(0),
      "validation/loss": np.float32(loss),
      "auxiliary/foreground_probabilities": np.full([2, 2], 0.9, np.float32),
      "auxiliary/foreground_labels": np.full([2, 2], share, np.float32),
    }
    evaluation.update_batch({name: [values[np.newaxis]] for name, values in logs.items()})
    figures = evaluation.result()
    assert figures["validation/loss"] == loss
    assert figures["auxiliary/foreground_pixel_accuracy"] == share


def test_reset(records, tmp_path):
  evaluation = make(records, metrics=["coco"], results_dir=str(tmp_path))
  first = fill(evaluation)
  evaluation.reset()
  np.testing.assert_equal(fill(evaluation), first)
  evaluation.reset()
  evaluation.update(row(1))
  assert evaluation.result(9)["coco/AP"] == pytest.approx(1.0)
  assert len(json.loads((tmp_path / "step_9/coco_results.json").read_text())) == 2


@pytest.fixture(name="written", scope="module")
def _written(records, tmp_path_factory):
  """Folder of the results of an evaluation, and its figures."""
  folder = tmp_path_factory.mktemp("results")
  evaluation = make(records, metrics=["voc", "coco"], errors=True, results_dir=str(folder))
  return folder / "step_7", fill(evaluation)


def test_files(written):
  folder, figures = written
  assert {path.name for path in folder.iterdir()} == {
    "coco_results.json",
    "coco_ground_truth.json",
    "comp4_det_val_cat.txt",
    "comp4_det_val_dog.txt",
    "figures.json",
    "precision_recall.csv",
    "precision_recall.png",
    "errors.json",
    "errors.png",
    "confusion_matrix.json",
    "confusion_matrix.png",
  }
  rows = json.loads((folder / "coco_results.json").read_text())
  # In the order of the records, without padding.
  assert [entry["image_id"] for entry in rows] == [30, 30, 4, 4, 111, 111, 5, 5]
  np.testing.assert_allclose(rows[0]["bbox"], [0, 0, 28, 48])
  lines = (folder / "comp4_det_val_dog.txt").read_text().splitlines()
  assert lines[0] == "30 0.5 8.0 12.0 24.0 36.0"
  assert json.loads((folder / "figures.json").read_text())["coco/AP"] == figures["coco/AP"]


@pytest.mark.parametrize("predictions", ["coco_results.json", ""])
@pytest.mark.parametrize("truth", ["records", "coco_ground_truth.json"])
def test_the_command_gives_the_very_same_figures(records, written, tmp_path, predictions, truth):
  folder, figures = written[0], dict(written[1])
  truth = records / "val-*.tfrecord" if truth == "records" else folder / truth
  status = evaluate.main(
    [
      *("--predictions", str(folder / predictions), "--ground_truth", str(truth)),
      *("--metric", "voc", "coco", "--errors", "--output_dir", str(tmp_path)),
    ]
  )
  assert status == 0
  found = json.loads((tmp_path / "figures.json").read_text())
  assert figures.pop("dropped_boxes") == 0.0  # The command knows no training input.
  expected = {name: None if value != value else value for name, value in figures.items()}
  assert found == expected


def test_part_of_the_images(records, tmp_path):
  evaluation = make(records, results_dir=str(tmp_path))
  evaluation.update(row(2))
  evaluation.result()
  truth = coco_truth.read_coco(tmp_path / "evaluation/coco_ground_truth.json")
  (image,) = truth.images
  assert (image.image_id, image.file_name, image.size) == ("111", "111.png", (48, 64))


def test_only_the_process_that_writes_leaves_files(records, tmp_path):
  evaluation = make(records, results_dir=str(tmp_path / "none"))
  evaluation.prepare(writes=False)
  evaluation.update(row(2))
  assert "voc/mAP50_area" in evaluation.result()
  assert not (tmp_path / "none").exists()


def test_folder_that_cannot_be_written(records, tmp_path):
  (tmp_path / "file").write_text("")
  evaluation = make(records, results_dir=str(tmp_path / "file"))
  evaluation.update(row(2))
  with pytest.raises(
    ValueError, match=r"task.evaluation.results_dir is '.*file' \(.*; accepted: a folder that can"
  ):
    evaluation.result(1)


class TestOfficialAnnotations:
  def write(self, records, tmp_path, change=lambda content: None):
    """The records' objects with ids of their own, the cat's box smaller, and an unused category."""
    path = tmp_path / "official.json"
    truth = truth_readers.read(str(records / "val-*.tfrecord"))
    coco_truth.write_coco(truth, path)
    content = json.loads(path.read_text())
    content["categories"] = [
      {"id": 90, "name": "dog"},
      {"id": 3, "name": "owl"},
      {"id": 18, "name": "cat"},
    ]
    for annotation in content["annotations"]:
      annotation["category_id"] = {1: 18, 2: 90}[annotation["category_id"]]
      annotation["ignore"] = 0
      if annotation["category_id"] == 18:
        annotation["bbox"] = [0.0, 0.0, 28.0, 24.0]
    change(content)
    path.write_text(json.dumps(content))
    return str(path)

  def test_take_the_place_of_the_records(self, records, tmp_path):
    path = self.write(records, tmp_path)
    options = {"metrics": ["coco", "voc"], "results_dir": str(tmp_path / "out")}
    evaluation = make(records, coco_annotations=path, **options)
    evaluation.update(row(0, [[0, 0, 24, 28], BOXES[1]]))
    result = evaluation.result(1)
    # The dog is not difficult here, and the cat ends where the annotations say.
    assert result["coco/AP/cat"] == result["coco/AP/dog"] == pytest.approx(1.0)
    assert result["voc/AP50_area/dog"] == 1.0
    rows = json.loads((tmp_path / "out/step_1/coco_results.json").read_text())
    assert [entry["category_id"] for entry in rows] == [18, 90]
    truth = coco_truth.read_coco(tmp_path / "out/step_1/coco_ground_truth.json")
    np.testing.assert_allclose(truth.images[0].boxes.xywh[0], [0, 0, 28, 24])

  @pytest.mark.parametrize(
    ("change", "message"),
    [
      (
        lambda content: content["categories"][2].update(name="lion"),
        "has no category 'cat'; accepted: the categories of the label map",
      ),
      (
        lambda content: content["annotations"][0].update(category_id=3),
        "has objects of category 'owl'; accepted: those of the label map, cat, dog",
      ),
      (
        lambda content: (content["images"].pop(), content["annotations"].clear()),
        "has no image '5'; accepted: the annotations that the records of task.validation_data",
      ),
    ],
  )
  def test_of_other_data(self, records, tmp_path, change, message):
    path = self.write(records, tmp_path, change)
    evaluation = make(records, metrics=["coco"], coco_annotations=path)
    with pytest.raises(ValueError) as error:
      evaluation.prepare()
    assert str(error.value).startswith(f"task.evaluation.coco_annotations {path!r} {message}")


def test_a_run_ends_with_words_and_the_confusion_matrix(records, tmp_path):
  evaluation = make(records)
  assert evaluation.closing_lines(str(tmp_path)) == []
  # The cat is taken for a dog, the dog is difficult.
  evaluation.update(row(0, classes=(2, 1)))
  first, second, third = evaluation.closing_lines(str(tmp_path))
  assert first.startswith(
    "of 100.0 points of mAP lost, fixed alone would gain: right classes 100.0"
  )
  assert "cat taken for dog 1 times" in second
  assert third == f"confusion matrix: {tmp_path / 'confusion_matrix.png'}"
  assert (tmp_path / "confusion_matrix.png").exists()
  matrix = json.loads((tmp_path / "confusion_matrix.json").read_text())
  assert matrix["rows_true_columns_detected"] == ["background", "cat", "dog"]
  assert matrix["counts"][1] == [0, 0, 1]
  assert evaluation.closing_lines(None) == [first, second]


def test_refinement_is_worth_the_difference_of_the_last_evaluation(records):
  evaluation = make(records)
  assert evaluation.worth() is None
  unrefined = {
    f"unrefined/{name}": value
    for name, value in row(0, classes=(2, 1)).items()
    if name.startswith("detection_")
  }
  evaluation.update(row(0) | unrefined)
  # Without refinement the cat is taken for a dog; the dog is difficult.
  key = evaluation.metrics.main_key
  assert evaluation.worth() == (key, 0.0, 1.0)
  assert evaluation.num_images == 1
  evaluation.reset()
  evaluation.update(row(0))  # As of a detector without refinement.
  assert evaluation.worth() is None


def test_unrefined_figures_follow_the_same_rules(records, tmp_path):
  """The main metric is COCO's, and boxes that overlap by half do not count at 0.9."""
  boxes = BOXES * 0.8
  for fields in (
    {"metrics": ["coco", "voc"]},
    {"iou_threshold": 0.9},
    {"voc_ap": "11point"},
    # The cat's IoU is 0.64, and with inclusive pixels 0.649.
    {"iou_threshold": 0.645, "voc_inclusive_pixels": True},
  ):
    evaluation = make(records, **fields)
    evaluation.prepare()
    detections = row(0, boxes=boxes)
    unrefined = {f"unrefined/{name}": value for name, value in detections.items()}
    evaluation.update(detections | unrefined)
    metric, unrefined, refined = evaluation.worth()
    assert metric == evaluation.metrics.main_key
    assert unrefined == refined == evaluation.metrics.result()[metric]
