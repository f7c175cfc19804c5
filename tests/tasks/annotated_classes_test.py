"""What images that are annotated for some classes alone teach: losses, steps, whole trainings."""

import dataclasses
from unittest import mock

import numpy as np
import pytest
import tensorflow as tf

from mtl_ssl_tf.configs import data as data_config
from mtl_ssl_tf.data import coco_json, pascal_voc, schema, synthetic
from mtl_ssl_tf.data.ground_truth import coco_truth, truth_readers
from mtl_ssl_tf.labels import annotated_classes, mining, unlabelled_objects
from mtl_ssl_tf.losses import detection_losses
from mtl_ssl_tf.tasks import detection_evaluation, mtl_detection, training_losses
from tests import fixtures
from tests.modeling import small, small_backbones
from tests.tasks import compiled_step_test, tiny
from tests.tasks import training_losses_test as losses_test

LOG3 = float(np.log(3.0))
REGION = [8.0, 56.0, 64.0, 96.0]
# The image of `training_losses_test` with A alone, of class 2; class 1 is not annotated.
LABELS = {
  **losses_test._LABELS,
  "gt_classes": tf.constant([[2, -1, -1]]),
  "annotated_classes": tf.constant([[1.0, 0.0, 1.0]]),
}
COMPLETE = {name: values for name, values in LABELS.items() if name != "annotated_classes"}


def losses(model, config, proposed, labels=LABELS):
  targets = training_losses.make_auxiliary_targets(
    config, labels, losses_test._STEP, small.NUM_CLASSES
  )
  first = losses_test._first_stage(model, losses_test._proposals(*proposed))
  return losses_test._losses(model, config, first, targets, labels)


@pytest.fixture(name="silent")
def _silent():
  return losses_test._silent_detector()


def test_a_box_without_a_label_is_background_or_unannotated(silent):
  # Probabilities 1/4, 1/4, 1/2; A is of class 2, the other box has no label.
  silent.box_head.classifier.bias.assign([0.0, 0.0, float(np.log(2.0))])
  proposed = (losses_test._FAR, losses_test._A)
  config = losses_test._config()
  assert losses(silent, config, proposed)["roi_class"] == pytest.approx(np.log(2.0), rel=1e-5)
  of_all = losses(silent, config, proposed, COMPLETE)["roi_class"]
  assert of_all == pytest.approx((np.log(2.0) + np.log(4.0)) / 2, rel=1e-5)


def test_refined_scores_have_the_same_masks():
  # A composed image: the left half is annotated for class 2, the right half for class 1.
  model = losses_test._detector()
  labels = LABELS | {
    "annotated_classes": tf.constant([[1.0, 0.0, 0.0]]),
    "annotated_parts_px": tf.constant([[[0.0, 0, 64, 48], [0, 48, 64, 96]]]),
    "annotated_parts": tf.constant([[[1.0, 0.0, 1.0], [1.0, 1.0, 0.0]]]),
  }
  config = losses_test._config({"refinement": {"train_rois": 2}})
  calls = []

  def keep(logits, classes, valid, annotated):
    calls.append((classes.numpy(), annotated.numpy()))
    return tf.reduce_sum(logits) * 0.0

  with mock.patch.object(detection_losses, "roi_class_loss", side_effect=keep):
    losses(model, config, (losses_test._FAR, losses_test._A, losses_test._B), labels)
  (classes, masks), (refined_classes, refined_masks) = calls
  rows = training_losses.refinement_rows(4, 2).numpy()
  np.testing.assert_array_equal(refined_masks, masks[:, rows])
  np.testing.assert_array_equal(refined_classes, classes[:, rows])
  assert classes[0, 0] == 2 and masks[0, 0].tolist() == [1, 0, 1]  # A lies on the left.
  # B, on the right, and FAR, on the left, in the order that they were sampled in.
  assert sorted(mask.tolist() for mask in masks[0, 1:3]) == [[1, 0, 1], [1, 1, 0]]


def test_the_rpn_ignores_what_is_taken_for_an_unannotated_object(silent):
  # As `test_regions_to_be_ignored_add_nothing`, but the region is a proposal of class 1.
  silent.box_head.classifier.bias.assign([0.0, float(np.log(8.0)), 0.0])
  silent.rpn.objectness.bias.assign([LOG3, 0.0] * 2)
  config, proposed = losses_test._config(), (REGION, losses_test._A)
  first = losses_test._first_stage(silent)
  anchors = np.array(first.anchors.boxes_px)[np.array(first.anchors.is_candidate[0])]
  shared = np.minimum(anchors[:, 2:], REGION[2:]) - np.maximum(anchors[:, :2], REGION[:2])
  shared = np.prod(np.maximum(shared, 0.0), axis=1)
  area = np.prod(anchors[:, 2:] - anchors[:, :2], axis=1)
  num_inside = np.sum((shared >= 0.5 * area) | (shared / (area + 56 * 40 - shared) >= 0.3))
  for labels, num_counted in ((LABELS, 13 - num_inside), (COMPLETE, 13)):
    expected = (np.log(4.0) + (num_counted - 1) * np.log(4 / 3)) / num_counted
    found = losses(silent, config, proposed, labels)["rpn_objectness"]
    assert found == pytest.approx(expected, rel=1e-5)
  # Where the second stage is not sure of it, nothing is ignored.
  silent.box_head.classifier.bias.assign([0.0, float(np.log(1.9)), 0.0])
  expected = (np.log(4.0) + 12 * np.log(4 / 3)) / 13
  assert losses(silent, config, proposed)["rpn_objectness"] == pytest.approx(expected, rel=1e-5)


def test_it_ignores_what_is_probably_unlabelled_too(silent):
  silent.box_head.classifier.bias.assign([0.0, float(np.log(8.0)), 0.0])
  config, proposed = losses_test._config(), (REGION, losses_test._A)
  unlabelled = np.arange(48)[np.newaxis] % 5 == 0
  masks = []
  for labels in (LABELS, LABELS | {unlabelled_objects.ANCHORS: tf.constant(unlabelled)}):
    rpn_targets = training_losses.rpn_targets
    wrapped = mock.patch.object(rpn_targets, "rpn_targets", wraps=rpn_targets.rpn_targets)
    with wrapped as called:
      losses(silent, config, proposed, labels)
    masks.append(called.call_args.kwargs["never_negative"].numpy())
  assert (masks[0] & ~unlabelled).any() and (unlabelled & ~masks[0]).any()
  np.testing.assert_array_equal(masks[1], masks[0] | unlabelled)


def test_what_lies_there_is_said_by_the_iou_of_the_rpn_s_negatives(silent):
  silent.box_head.classifier.bias.assign([0.0, float(np.log(8.0)), 0.0])
  config = losses_test._config({"rpn": {"negative_iou": 0.2, "positive_iou": 0.6}})
  on_regions = annotated_classes.on_regions
  with mock.patch.object(annotated_classes, "on_regions", wraps=on_regions) as called:
    losses(silent, config, (REGION, losses_test._A))
  _, (regions_px, classes), iou = called.call_args.args
  assert iou == 0.2
  assert regions_px[0][classes[0] == 0].numpy().tolist() == [REGION]


def test_positives_are_no_unannotated_objects(silent):
  # A is of class 2, and the detector takes it for one of class 1, which is not annotated.
  silent.box_head.classifier.bias.assign([0.0, float(np.log(8.0)), 0.0])
  config, proposed = losses_test._config(), (REGION, losses_test._A)
  with mock.patch.object(
    annotated_classes, "unannotated_regions", wraps=annotated_classes.unannotated_regions
  ) as called:
    losses(silent, config, proposed)
  _, boxes_px, is_background, _ = called.call_args.args
  counted = boxes_px.numpy()[is_background.numpy()].tolist()
  assert counted == [REGION]


@pytest.mark.parametrize("flip_labels", [True, False])
@pytest.mark.parametrize("flipped", [False, True])
def test_the_foreground_mask_leaves_it_out(silent, flip_labels, flipped):
  silent.box_head.classifier.bias.assign([0.0, float(np.log(8.0)), 0.0])
  silent.foreground_head.conv.bias.assign([0.0, LOG3])
  config = losses_test._config({"auxiliary": {"flip_labels": flip_labels}})
  labels = LABELS | {"flipped": tf.constant([flipped])}
  targets = training_losses.make_auxiliary_targets(config, labels, losses_test._STEP, 3)
  mask = targets.foreground_mask[0].numpy()  # [8, 8]
  left, right = REGION[1] / 96, REGION[3] / 96
  if flipped and not flip_labels:  # The mask lies over the image as it was.
    left, right = 1.0 - right, 1.0 - left
  region = np.zeros([8, 8], bool)
  region[1:, int(8 * left) : int(8 * right + 0.99) + 1] = True
  background = np.sum((mask < 0.5) & ~region)
  assert 0 < background < np.sum(mask < 0.5)
  num = mask.sum() + background
  expected = (mask.sum() * np.log(4 / 3) + background * np.log(4.0)) / num
  found = losses(silent, config, (REGION, losses_test._A), labels)["foreground"]
  assert found == pytest.approx(expected, rel=1e-5)


def test_an_object_alone_has_no_closeness_loss(silent):
  config, proposed = losses_test._config(), (losses_test._FAR, losses_test._A)
  assert losses(silent, config, proposed)["closeness"] == 0.0
  assert losses(silent, config, proposed, COMPLETE)["closeness"] == pytest.approx(0.3 * LOG3)


def test_closeness_is_among_the_annotated_classes(silent):
  # Near A, of class 2, is B, of class 1: with both annotated, B's class has a third of all three.
  silent.closeness_head.classifier.bias.assign([LOG3, 0.0, 0.0])
  labels = losses_test._LABELS | {"annotated_classes": tf.constant([[1.0, 1.0, 0.0]])}
  config, proposed = losses_test._config(), (losses_test._FAR, losses_test._A)
  # Class 1 is the only one that is annotated, so that nothing else could be near.
  assert losses(silent, config, proposed, labels)["closeness"] == pytest.approx(0.0, abs=1e-6)
  labels = losses_test._LABELS
  found = losses(silent, config, proposed, labels)["closeness"]
  assert found == pytest.approx(0.3 * np.log(5.0), rel=1e-5)


def test_what_of_a_window_has_no_box_is_background_or_unannotated(silent):
  silent.multi_object_head.classifier.bias.assign([float(np.log(2.0)), 0.0, 0.0])
  config, proposed = losses_test._config(), (losses_test._FAR, losses_test._A)
  targets = training_losses.make_auxiliary_targets(config, LABELS, losses_test._STEP, 3)
  share = np.mean(targets.window_labels[0, :, 0])
  expected = share * np.log(4 / 3) + (1.0 - share) * np.log(4.0)
  assert losses(silent, config, proposed)["multi_object"] == pytest.approx(expected, rel=1e-5)


def test_an_image_of_all_classes_has_the_losses_that_it_had():
  model, config = losses_test._detector(), losses_test._config()
  proposed = (losses_test._FAR, losses_test._B, losses_test._A)
  labels = losses_test._LABELS
  found = losses(model, config, proposed, labels | {"annotated_classes": tf.ones([1, 3])})
  assert found == pytest.approx(losses(model, config, proposed, labels), rel=1e-6)


def test_without_the_field_nothing_of_it_is_computed():
  names = ("of_boxes", "unannotated_regions", "on_regions", "closeness_labels")
  model, config = losses_test._detector(), losses_test._config()
  patches = [mock.patch.object(annotated_classes, name, return_value=None) for name in names]
  with patches[0], patches[1] as regions, patches[2] as on_regions, patches[3] as closeness:
    losses(model, config, (losses_test._FAR, losses_test._A), COMPLETE)
  assert not (regions.called or on_regions.called or closeness.called)


def test_mined_boxes_do_not_hide_the_annotated_classes():
  pseudo, _ = mining.nothing_mined(1, 2)
  labels = LABELS | {
    "annotated_parts_px": tf.zeros([1, 1, 4]),
    "annotated_parts": tf.ones([1, 1, 3]),
  }
  completed = mining.complete_ground_truth(labels, pseudo)
  for name in annotated_classes.NAMES:
    assert completed[name] is labels[name]


def _state(path, ids, every=1):
  """Gives some records of a file annotated classes."""
  records = []
  for number, record in enumerate(tf.data.TFRecordDataset([str(path)]).as_numpy_iterator()):
    example = tf.train.Example.FromString(record)
    if number % every == 0:
      example.features.feature[schema.ANNOTATED_CLASSES].int64_list.value.extend(ids)
    records.append(example.SerializeToString())
  fixtures.write_records(path, records)


@pytest.fixture(name="partly")
def _partly(tmp_path):
  """The tiny records, every other one of them annotated for class 1 alone."""
  tiny.write_records(tmp_path)
  for split in ("train", "val"):
    _state(tmp_path / f"{split}.tfrecord", [1], every=2)
  return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("augmentation", [{}, {"mosaic": 1.0, "copy_paste": 1.0}])
def test_compiled_step(partly, augmentation):
  # Normalisation by the batch blows up rounding, so that this compares the losses of a first step.
  fields = {"backbone": {"type": "blocks"}} if augmentation else {}
  with small_backbones.registered():
    found = []
    for is_compiled in (False, True):
      run = compiled_step_test.Run(partly, is_compiled, 2, **fields)
      run.task.task_config.train_data.augmentation.override(augmentation)
      run.batches = iter(run.task.build_inputs(run.task.task_config.train_data))
      images, labels = next(run.batches)
      assert ("annotated_parts" in labels) == bool(augmentation)
      assert labels["annotated_classes"].shape == (2, 3)
      found.append({name: float(value) for name, value in run.step(images, labels).items()})
  compiled_step_test.assert_same_losses(found[1], found[0])
  assert all(np.isfinite(value) for value in found[1].values())


class TestEvaluation:
  """Two images in which the detector finds a cat and a dog; the dog is annotated in one of them."""

  def _row(self, index, mask):
    boxes = np.array(tiny.BOXES, np.float32)
    shown = np.array([True, mask[2] > 0])
    return {
      "example_index": np.int32(index),
      "gt_boxes_orig": np.where(shown[:, np.newaxis], boxes, -1.0),
      "gt_classes": np.where(shown, [1, 2], -1),
      "gt_difficult": np.zeros(2, bool),
      "gt_is_crowd": np.zeros(2, bool),
      "gt_area_orig": np.array([48.0 * 28.0, 24.0 * 16.0], np.float32),
      # The dog of the second image is found with the better score.
      "detection_boxes_orig": boxes,
      "detection_scores": np.float32([0.9, 0.5 + 0.1 * index]),
      "detection_classes": np.array([1, 2]),
      **({} if mask is None else {"annotated_classes": np.float32(mask)}),
    }

  def _figures(self, folder, **fields):
    config = data_config.Evaluation()
    config.override({"metrics": ["voc", "coco"], "errors": True, **fields}, is_strict=True)
    return detection_evaluation.DetectionEvaluation(
      config, ["cat", "dog"], str(folder / "val.tfrecord"), str(folder / "label_map.txt")
    )

  def test_a_class_is_measured_where_it_is_annotated(self, tmp_path):
    tiny.write_records(tmp_path)
    for states, average_precision, num_background in ((True, 1.0, 0), (False, 0.5, 1)):
      evaluation = self._figures(tmp_path, score_threshold=0.1)
      for index, mask in enumerate(([1, 1, 1], [1, 1, 0])):
        row = self._row(index, mask)
        if not states:
          del row["annotated_classes"]
        evaluation.update(row)
      figures = evaluation.result()
      assert figures["voc/AP50_area/dog"] == pytest.approx(average_precision)
      assert figures["coco/AP/dog"] == pytest.approx(average_precision, abs=0.01)
      assert figures["voc/AP50_area/cat"] == figures["coco/AP/cat"] == pytest.approx(1.0)
      assert figures["errors/count/classification"] + figures["errors/count/background"] == (
        num_background
      )

  def test_result_files_hold_the_field(self, tmp_path):
    # So that `evaluate`, comparisons and reports give the same figures from them.
    tiny.write_records(tmp_path)
    evaluation = self._figures(tmp_path, results_dir=str(tmp_path / "results"))
    for index, mask in enumerate(([1, 1, 1], [1, 1, 0])):
      evaluation.update(self._row(index, mask))
    evaluation.result(3)
    truth = truth_readers.read(str(tmp_path / "results/step_3/coco_ground_truth.json"))
    assert truth.images[0].annotated_classes is None
    assert truth.images[1].annotated_classes.tolist() == [1]

  def test_official_annotations(self, tmp_path):
    tiny.write_records(tmp_path)
    truth = truth_readers.read_records(
      str(tmp_path / "val.tfrecord"), str(tmp_path / "label_map.txt")
    )
    # Categories in another order, and one that is no class of the label map.
    images = tuple(
      dataclasses.replace(
        image,
        classes=np.array([3, 1]),
        annotated_classes=np.array([2, 3]) if number else None,
      )
      for number, image in enumerate(truth.images)
    )
    official = dataclasses.replace(
      truth, class_names=("dog", "bird", "cat"), category_ids=(5, 6, 7), images=images
    )
    coco_truth.write_coco(official, tmp_path / "official.json")
    evaluation = self._figures(tmp_path, coco_annotations=str(tmp_path / "official.json"))
    evaluation.prepare()
    for index, mask in enumerate(([1, 1, 1], [1, 1, 1])):
      evaluation.update(self._row(index, mask))
    # The dog of the second image is neither an object nor an error.
    assert evaluation.result()["voc/AP50_area/dog"] == pytest.approx(1.0)
    lines = evaluation.metrics.tables().splitlines()
    dog = next(line for line in lines if line.startswith("dog "))
    assert dog.split()[1:4] == ["1", "0", "1"]  # Objects, difficult ones and detections.


@pytest.fixture(name="halves", scope="module")
def _halves(tmp_path_factory):
  """Records of scenes, each image annotated for one half of the classes."""
  folder = tmp_path_factory.mktemp("halves")
  arguments = synthetic.DatasetArguments(num_train=8, num_val=4)
  synthetic.write_dataset(folder / "scenes", arguments)
  for split in ("train", "val"):
    pascal_voc.convert_split(folder / "scenes", split, folder / "all", num_shards=1, workers=1)
    truth = truth_readers.read_records(str(folder / "all" / f"{split}-*.tfrecord"))
    half = np.array_split(np.arange(1, len(truth.class_names) + 1), 2)
    images = [
      dataclasses.replace(image, annotated_classes=half[number % 2]).of_annotated_classes()
      for number, image in enumerate(truth.images)
    ]
    path = folder / f"{split}.json"
    coco_truth.write_coco(dataclasses.replace(truth, images=tuple(images)), path)
    coco_json.convert_split(
      path,
      folder / "scenes" / "JPEGImages",
      split,
      folder / "records",
      label_map_file=folder / "all" / schema.LABEL_MAP_FILE,
      num_shards=1,
      workers=1,
    )
  return folder / "records"


@pytest.mark.slow
def test_two_halves_train_without_teaching_objects_as_background(halves, tmp_path):
  data = {"input_size": [96, 128], "short_side": 96, "long_side": 128, "max_num_boxes": 20}
  tiny.write_records(tmp_path)
  experiment = tiny.experiment(
    tmp_path,
    {
      "task": {
        "label_map": str(halves / schema.LABEL_MAP_FILE),
        "train_data": {**data, "input_path": str(halves / "train-*.tfrecord"), "seed": 3},
        "validation_data": {**data, "input_path": str(halves / "val-*.tfrecord")},
      }
    },
  )
  task = mtl_detection.MtlDetectionTask(experiment.task)
  model = task.build_model()
  optimizer = task.create_optimizer(experiment.trainer.optimizer_config, experiment.runtime)
  batches = iter(task.build_inputs(task.task_config.train_data))
  for _ in range(3):
    images, labels = next(batches)
    mask = labels["annotated_classes"].numpy()
    assert (mask[:, 1:].sum(axis=1) == 4).all()
    # No box is of a class that its image is not annotated for.
    for classes, one in zip(labels["gt_classes"].numpy(), mask, strict=True):
      assert all(one[number] for number in classes[classes > 0])
    logs = task.train_step((images, labels), model, optimizer)
    assert all(np.isfinite(float(value)) for value in logs.values())

  # Of images whose boxes have all been taken away, nothing is left but background.
  empty = labels | {"gt_classes": -tf.ones_like(labels["gt_classes"])}
  empty["gt_boxes_px"] = -tf.ones_like(labels["gt_boxes_px"])
  empty["annotated_classes"] = tf.tile(labels["annotated_classes"][:1], [2, 1])
  plain = {name: values for name, values in empty.items() if name != "annotated_classes"}
  unannotated = mask[0] < 0.5
  for batch, is_taught in ((empty, ~unannotated[1:]), (plain, np.ones(8, bool))):
    with tf.GradientTape() as tape:
      first = model.first_stage(images, batch["image_size_px"], training=True)
      targets = task.auxiliary_targets(batch, tf.constant(0))
      parts = training_losses.replica_losses(
        model, task.task_config, first, batch, targets, tf.constant(0)
      )
      loss = parts["roi_class"]
    gradient = tape.gradient(loss, model.box_head.classifier.bias).numpy()[1:]
    # A score that a step lowers has a gradient above 0.
    np.testing.assert_array_equal(gradient > 0.0, is_taught)

  state = None
  for inputs in task.build_inputs(task.task_config.validation_data):
    outputs = task.validation_step(inputs, model)
    assert outputs["annotated_classes"].shape[1] == 9
    state = task.aggregate_logs(state, {name: [values.numpy()] for name, values in outputs.items()})
  assert 0.0 <= task.reduce_aggregated_logs(state)[task.main_metric] <= 1.0
