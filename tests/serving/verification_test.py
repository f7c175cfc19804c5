"""Tests of verification.py: differences worked by hand, and a tiny export and checkpoints."""

import dataclasses
import functools

import numpy as np
import pytest
import tensorflow as tf

from mtl_ssl_tf.configs import detector
from mtl_ssl_tf.data.pipeline import reader
from mtl_ssl_tf.serving import detection_module, export_lib, verification
from tests import fixtures

BOXES = np.array([[0.0, 0.0, 10.0, 20.0], [5.0, 5.0, 30.0, 40.0], [50.0, 50.0, 60.0, 60.0]])
SCORES, CLASSES = np.array([0.9, 0.8, 0.1]), np.array([1, 2, 1])


def _differences(boxes=BOXES, scores=SCORES, classes=CLASSES):
  return verification.largest_differences((BOXES, SCORES, CLASSES), (boxes, scores, classes), 100.0)


class TestLargestDifferences:
  def test_the_same_in_another_order(self):
    assert _differences() == (0.0, 0.0, 0.0)
    assert _differences(BOXES[::-1], SCORES[::-1], CLASSES[::-1]) == (0.0, 0.0, 0.0)

  def test_a_coordinate_and_a_score(self):
    boxes, scores = BOXES.copy(), SCORES.copy()
    boxes[1, 2] += 0.5
    scores[2] -= 0.03
    np.testing.assert_allclose(_differences(boxes, scores), (0.5, 0.005, 0.03))

  def test_another_class(self):
    assert _differences(classes=np.array([1, 3, 1])) == (np.inf, np.inf, np.inf)

  def test_one_missing_and_one_too_many(self):
    # The nearest of class 1 to the box that is missing is 50 px away.
    assert _differences(BOXES[:2], SCORES[:2], CLASSES[:2])[0] == 50.0
    found = (
      np.concatenate([BOXES, BOXES[:1] + 7.0]),
      np.append(SCORES, 0.9),
      np.append(CLASSES, 1),
    )
    assert _differences(*found)[0] == 7.0

  def test_none_at_all(self):
    none = (np.zeros([0, 4]), np.zeros(0), np.zeros(0, int))
    some = (BOXES, SCORES, CLASSES)
    assert verification.largest_differences(none, none, 1.0) == (0.0, 0.0, 0.0)
    for pair in ((none, some), (some, none)):
      assert verification.largest_differences(*pair, 1.0) == (np.inf, np.inf, np.inf)

  def test_of_alike_ones_each_has_its_own(self):
    # Two that score the same, and two in the same place.
    for boxes, scores in ((BOXES[:2], SCORES[[0, 0]]), (BOXES[[0, 0]], SCORES[:2])):
      expected = (boxes, scores, CLASSES[[0, 0]])
      found = (boxes[::-1], scores[::-1], CLASSES[[0, 0]])
      assert verification.largest_differences(expected, found, 100.0) == (0.0, 0.0, 0.0)


class TestReport:
  SOUND = verification.Comparison(20, 1e-3, 1e-5, 1e-6, 0, "mAP", 0.5, 0.5)

  def test_agrees(self):
    assert self.SOUND.agrees
    assert dataclasses.replace(self.SOUND, checkpoint_map=np.nan, export_map=np.nan).agrees
    assert str(self.SOUND) == (
      "export and checkpoint on 20 images: largest difference 0.001 px, score 1e-06; mAP 0.5000"
      " and 0.5000"
    )

  def test_names_other_counts_and_the_export_first(self):
    report = dataclasses.replace(self.SOUND, num_other_counts=2, checkpoint_map=0.25)
    assert str(report).endswith("score 1e-06; other counts: 2 images; mAP 0.5000 and 0.2500")

  @pytest.mark.parametrize(
    "change",
    [
      {"box_fraction": 1.1e-4},
      {"score": 1.1e-4},
      {"num_other_counts": 1},
      {"export_map": 0.4989},
      {"checkpoint_map": 0.4989},
    ],
  )
  def test_differs(self, change):
    assert not dataclasses.replace(self.SOUND, **change).agrees

  @pytest.mark.parametrize(
    "change", [{"box_fraction": 1e-4}, {"score": 1e-4}, {"export_map": 0.4991}, {"box_px": 99.0}]
  )
  def test_agrees_within_tolerance(self, change):
    assert dataclasses.replace(self.SOUND, **change).agrees


@pytest.fixture(name="task")
def _task(tmp_path):
  """The configuration of images of 40 x 60, twice as large in the input, with three objects."""
  path = fixtures.write_records(
    tmp_path / "val.tfrecord",
    [
      fixtures.serialized_example(
        fixtures.solid_image(40, 60, number),
        [[0, 0, 20, 30], [20, 0, 40, 30], [0, 30, 20, 60]],
        [1, 1, 1],
        difficult=[0, 1, 0],
        is_crowd=[0, 0, 1],
        source_id=str(number),
      )
      for number in (1, 2)
    ],
  )
  task = detector.MtlDetection()
  data = {"input_path": path, "input_size": [80, 128], "short_side": 80, "long_side": 128}
  task.override({"validation_data": data})
  return task


def _detections(box_px):
  """One object of class 1, as a detector or an export gives it, with padding."""
  return {
    "detection_boxes_px": tf.constant([[box_px, [0.0] * 4]]),
    "detection_scores": tf.constant([[0.75, 0.0]]),
    "detection_classes": tf.constant([[1.0, 0.0]]),
    "num_detections": tf.constant([1.0]),
  }


class TestCompare:
  def compare(self, task, found_px, asked=None):
    """A checkpoint that finds the first object, 12 px too narrow in the input, and an export."""

    def ask(record, *inputs):
      if asked is not None:
        asked.append((record.numpy(), *(values.numpy() for values in inputs)))
      return _detections(found_px)

    checkpoint = lambda images, sizes_px: _detections([0.0, 0.0, 40.0, 48.0])  # noqa: E731
    return verification.compare(checkpoint, ask, task, ["cat"], num_images=9)

  def test_figures_are_those_of_an_evaluation(self, task):
    # Neither the difficult object nor the crowd has to be found.
    report = self.compare(task, [0.0, 0.0, 20.0, 24.0])
    assert (report.num_images, report.box_px, report.num_other_counts) == (2, 0.0, 0)
    assert report.checkpoint_map == report.export_map == 1.0
    assert report.map_name == "voc/mAP50_area"
    # IoU 24 / 30, and with the last pixels 25 / 31.
    task.override({"evaluation": {"iou_threshold": 0.803, "voc_ap": "11point"}})
    report = self.compare(task, [0.0, 0.0, 20.0, 27.0])
    assert (report.checkpoint_map, report.export_map) == (0.0, 1.0)
    assert report.map_name.endswith("_11point")
    task.override({"evaluation": {"voc_inclusive_pixels": True}})
    assert self.compare(task, [0.0, 0.0, 20.0, 24.0]).export_map == 1.0

  def test_differences_are_in_pixels_of_the_image_and_shares_of_its_longer_side(self, task):
    report = self.compare(task, [0.0, 0.0, 20.0, 24.6])
    assert report.box_px == pytest.approx(0.6, rel=1e-4)
    assert report.box_fraction == pytest.approx(0.01, rel=1e-4)

  def _answered(self, task, *answers, num_images=9):
    """A checkpoint that finds the first object, and an export with these answers in turn."""
    checkpoint = lambda *_: _detections([0.0, 0.0, 40.0, 60.0])  # noqa: E731
    rest = iter(answers)
    report = verification.compare(
      checkpoint, lambda *_: next(rest), task, ["cat"], num_images=num_images
    )
    assert next(rest, None) is None  # All were asked for.
    return report

  @pytest.mark.parametrize("order", [1, -1])
  def test_the_worst_image_counts(self, task, order):
    same = _detections([0.0, 0.0, 20.0, 30.0])
    other = _detections([0.0, 0.0, 20.0, 30.6]) | {"detection_scores": tf.constant([[0.5, 0.0]])}
    report = self._answered(task, *(same, other)[::order])
    assert report.box_px == pytest.approx(0.6, rel=1e-4)
    assert report.score == pytest.approx(0.25)
    assert report.num_other_counts == 0

  def test_images_with_another_number_of_detections_add_up(self, task):
    none = _detections([0.0] * 4) | {"num_detections": tf.constant([0.0])}
    two = _detections([0.0, 0.0, 20.0, 30.0]) | {"num_detections": tf.constant([2.0])}
    assert self._answered(task, none, two).num_other_counts == 2

  def test_no_more_images_than_asked_for(self, task):
    report = self._answered(task, _detections([0.0, 0.0, 20.0, 30.0]), num_images=1)
    assert report.num_images == 1

  def test_who_is_asked_is_given_the_image_in_every_form(self, task):
    asked = []
    self.compare(task, [0.0, 0.0, 20.0, 24.0], asked)
    for number, (record, images, size_px, original_size) in enumerate(asked, start=1):
      features = tf.train.Example.FromString(record).features.feature
      assert features["image/source_id"].bytes_list.value[0] == str(number).encode()
      assert images.shape == (1, 80, 128, 3)
      assert np.all(images[:, :, :120] == number) and not images[:, :, 120:].any()
      assert (size_px.tolist(), original_size.tolist()) == ([[80.0, 120.0]], [[40.0, 60.0]])
    assert len(asked) == 2


def test_examples_are_those_of_an_evaluation(task):
  task.override({"validation_data": {"max_num_boxes": 2, "short_side": 50, "long_side": 100}})
  data = task.validation_data.replace(global_batch_size=1, is_training=False)
  found = list(verification._examples(task.validation_data))
  for (record, batch), expected in zip(found, reader.make_dataset(data), strict=True):
    assert tf.nest.map_structure(lambda values: values.numpy().tolist(), batch) == (
      tf.nest.map_structure(lambda values: values.numpy().tolist(), expected)
    )
    features = tf.train.Example.FromString(record.numpy()).features.feature
    number = int(features["image/source_id"].bytes_list.value[0])
    assert batch[0].numpy().max() == number
    assert batch[1]["gt_boxes_px"].shape == (1, 2, 4)
  assert len(found) == 2


def test_both_orientations_are_shown_in_one_input(task):
  task.override({"validation_data": {"input_layout": "by_orientation"}})
  shapes = [batch[0].shape for _, batch in verification._examples(task.validation_data)]
  assert shapes == [(1, 128, 128, 3)] * 2


@pytest.mark.parametrize(("batch_size", "sent"), [(None, 1), (3, 3)])
def test_images_go_to_the_signatures_in_turn(task, monkeypatch, batch_size, sent):
  records = [
    fixtures.serialized_example(fixtures.solid_image(40, 60, 10 * i), source_id=str(i))
    for i in range(4)
  ]
  fixtures.write_records(task.validation_data.input_path, records)
  asked = []

  class Loaded:
    def __init__(self, folder):
      assert folder == "exported"

    @property
    def signatures(self):
      return {name: functools.partial(self._call, name) for name in detection_module.INPUTS}

    def _call(self, name, **inputs):
      ((key, values),) = inputs.items()
      assert (key, len(values)) == (detection_module.INPUTS[name], sent)
      asked.append((name, values[-1].numpy()))
      return _detections([0.0, 0.0, 20.0, 24.0])

  monkeypatch.setattr(tf.saved_model, "load", Loaded)
  checkpoint = lambda images, sizes_px: _detections([0.0, 0.0, 40.0, 48.0])  # noqa: E731
  report = verification.verify(
    checkpoint, "exported", task, ["cat"], num_images=9, batch_size=batch_size
  )
  assert (report.num_images, report.box_px) == (4, 0.0)
  names = list(detection_module.INPUTS)
  assert [name for name, _ in asked] == [*names, names[0]]
  (_, first), (_, encoded), (_, record), (_, last) = asked
  np.testing.assert_array_equal(first, fixtures.solid_image(40, 60, 0))
  assert encoded.startswith(b"\x89PNG") and tf.io.decode_png(encoded)[0, 0, 0] == 10
  assert record == records[2]
  np.testing.assert_array_equal(last, fixtures.solid_image(40, 60, 30))


def test_sizes_that_records_do_not_name_are_left_out(tmp_path):
  sizes = [(30, 20), (0, 40), (40, 0), None, (10, 50)]
  records = []
  for size in sizes:
    example = tf.train.Example()
    for name, side in zip(("image/height", "image/width"), size or (), strict=False):
      example.features.feature[name].int64_list.value.append(side)
    records.append(example.SerializeToString())
  data = detector.MtlDetection().validation_data
  data.input_path = fixtures.write_records(tmp_path / "a.tfrecord", records)
  assert verification.image_sizes(data, 9) == [(30, 20), (10, 50)]


def test_has_records(tiny_run):
  data = export_lib.read_run(str(tiny_run)).task.validation_data
  assert verification.has_records(data)
  data.input_path += "gone"
  assert not verification.has_records(data)


@pytest.mark.slow
def test_an_export_of_other_weights_differs(tiny_run, tiny_export):
  run = export_lib.read_run(str(tiny_run), str(tiny_run))  # Not the best, which was exported.
  report = verification.verify(
    export_lib.build_model(run),
    str(tiny_export[0]),
    run.task,
    run.class_names,
    num_images=2,
  )
  assert report.num_images == 2
  assert not report.agrees
  assert report.score > 0.01
