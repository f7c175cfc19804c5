"""A tiny detector learns one batch; a detector that knows the answers evaluates as perfect."""

import json

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from mtl_ssl_tf.configs import data as data_config
from mtl_ssl_tf.modeling import detector, proposals
from mtl_ssl_tf.tasks import mtl_detection
from tests.tasks import tiny


class Trained:
  """The task's model with an optimizer, a compiled step, and a batch of the training data."""

  def __init__(self, task: mtl_detection.MtlDetectionTask, folder):
    experiment = tiny.experiment(folder)
    self.model = task.build_model()
    # No loss depends on it.
    self.model.unused = tf.Variable(3.0)
    self.optimizer = task.create_optimizer(experiment.trainer.optimizer_config, experiment.runtime)
    self.metrics = task.build_metrics()
    self.batch = next(iter(task.build_inputs(task.task_config.train_data)))
    self._step = tf.function(
      lambda images, labels: task.train_step(
        (images, labels), self.model, self.optimizer, self.metrics
      ),
      autograph=False,
    )

  def step(self, batch=None) -> dict[str, float]:
    logs = self._step(*(batch or self.batch))
    return {name: float(value) for name, value in logs.items()}


@pytest.fixture(name="trained", scope="module")
def _trained(task, folder):
  return Trained(task, folder)


@pytest.fixture(name="model", scope="module")
def _model(task):
  """An untrained detector, the same for all tests; those that load weights put them back."""
  return task.build_model()


class Oracle:
  """Stands in for the detector, and knows the ground truth of its batch."""

  def __init__(self, labels, targets):
    self._labels = labels
    self._targets = targets
    self.multi_object_head = self.closeness_head = self.foreground_head = True
    self.foreground_stride = 16
    self.refiner = None

  def first_stage(self, images, image_size_px):
    del image_size_px
    boxes_px = self._detected()["detection_boxes_px"]
    # In reverse: the metric has to find the proposal that lies on an object.
    proposed = proposals.Proposals(tf.reverse(boxes_px, axis=[1]), None, None)
    return detector.FirstStage(tf.zeros([len(images), 4, 6, 1]), None, None, proposed)

  def score_proposals(self, first, image_size_px):
    del image_size_px
    outputs = {"features": first.features, "proposals_px": first.proposals.boxes_px}
    if self._targets is not None:
      labels = tf.reverse(self._targets.closeness_labels, axis=[1])
      outputs["closeness_logits"] = tf.math.log(labels)
    return outputs, None, None

  def detect(self, *args):
    del args
    return self._detected()

  def _detected(self):
    labels = self._labels
    padding = labels["gt_classes"] <= 0
    # Where there is nothing, it is wrong with full confidence.
    invented = padding & ~labels["example_valid"][:, tf.newaxis]
    boxes_px = tf.where(invented[..., tf.newaxis], [0.0, 0.0, 9.0, 9.0], labels["gt_boxes_px"])
    return {
      "detection_boxes_px": boxes_px,
      "detection_classes": tf.where(invented, 1, labels["gt_classes"]),
      "detection_scores": tf.where(invented, 2.0, tf.cast(~padding, tf.float32)),
    }

  def classify_windows(self, features, windows_px, image_size_px):
    del features, image_size_px
    np.testing.assert_array_equal(windows_px, self._targets.windows_px)
    return tf.math.log(self._targets.window_labels)

  def predict_foreground(self, features):
    # All is foreground.
    return tf.one_hot(tf.ones(features.shape[:3], tf.int32), 2)


def oracle_logs(task) -> list[dict[str, tuple]]:
  """What the strategy hands to `aggregate_logs` for each batch of the validation data."""
  steps = []
  for images, labels in task.build_inputs(task.task_config.validation_data):
    targets = None
    if task.task_config.evaluation.auxiliary_metrics:
      targets = task.auxiliary_targets(labels, tf.constant(mtl_detection.EVALUATION_STEP))
    logs = task.validation_step((images, labels), Oracle(labels, targets))
    steps.append({name: (value,) for name, value in logs.items()})
  return steps


def figures(task, steps: list[dict[str, tuple]]) -> dict[str, float]:
  state = None
  for logs in steps:
    state = task.aggregate_logs(state, logs)
  return task.reduce_aggregated_logs(state)


def test_label_map_gives_the_classes(task):
  assert task.class_names == tiny.CLASS_NAMES
  assert task.num_classes == 3


def test_every_setting_of_the_data_reaches_the_reader(task, monkeypatch):
  given = {}
  monkeypatch.setattr(
    mtl_detection.reader, "make_dataset", lambda data, **options: given.update(options, data=data)
  )
  params = data_config.Data(input_path="records", seed=3, cache=True, is_training=True)
  task.build_inputs(params, "context", first_batch=4, skipped_batches=[5])
  assert given == {
    "data": params,
    "first_batch": 4,
    "skipped_batches": [5],
    "input_context": "context",
    "num_classes": 3,
  }


def test_unacceptable_setting(folder):
  params = tiny.experiment(folder).task
  params.rpn.nms_iou = 2.0
  with pytest.raises(ValueError, match=r"^task.rpn.nms_iou is 2.0; accepted: 0.0 to 1.0$"):
    mtl_detection.MtlDetectionTask(params)


def test_seed_draws_the_model(task, model, folder):
  again = task.build_model().get_weights()
  other_task = mtl_detection.MtlDetectionTask(tiny.experiment(folder, {"task": {"seed": 1}}).task)
  other = other_task.build_model().get_weights()
  drawn = model.get_weights()
  assert all(np.array_equal(a, b) for a, b in zip(drawn, again, strict=True))
  assert not all(np.array_equal(a, b) for a, b in zip(drawn, other, strict=True))


def test_losses_have_the_names_of_the_metrics(trained):
  for metric in trained.metrics:
    metric.reset_states()
  logs = trained.step()
  names = [metric.name for metric in trained.metrics]
  assert names == [*tiny.LOSSES, "dropped_boxes"]
  assert set(logs) == {"loss", *names}
  assert logs["loss"] == pytest.approx(sum(logs[name] for name in tiny.LOSSES), rel=1e-5)
  for metric in trained.metrics:
    assert float(metric.result()) == logs[metric.name]


def test_training_fits_one_batch(trained):
  before = trained.step()
  for _ in range(20):
    after = trained.step()
  for name in ("loss", "rpn_objectness", "roi_class", "foreground", "refinement"):
    assert after[name] < 0.9 * before[name], name


def test_variable_without_gradient_stays(trained):
  before = [value.copy() for value in trained.model.get_weights()]
  trained.step()
  assert any(variable is trained.model.unused for variable in trained.model.trainable_variables)
  assert float(trained.model.unused) == 3.0
  changed = [
    not np.array_equal(a, b) for a, b in zip(before, trained.model.get_weights(), strict=True)
  ]
  assert sum(changed) > 0.9 * len(changed)


def test_batch_without_boxes_trains(trained):
  images, labels = trained.batch
  empty = {
    **labels,
    "gt_boxes_px": -tf.ones_like(labels["gt_boxes_px"]),
    "gt_classes": -tf.ones_like(labels["gt_classes"]),
  }
  logs = trained.step((images, empty))
  assert all(np.isfinite(value) for value in logs.values())
  # Nothing to place, nothing to be near to; no window shows anything.
  assert [logs[name] for name in ("rpn_box", "roi_box", "multi_object", "closeness")] == [0.0] * 4
  assert logs["rpn_objectness"] > 0.0
  assert all(np.isfinite(value).all() for value in trained.model.get_weights())


def test_dropped_boxes_are_counted(trained):
  images, labels = trained.batch
  logs = trained.step((images, {**labels, "num_dropped_boxes": tf.constant([2, 3])}))
  assert logs["dropped_boxes"] == 5.0


def test_loss_weight_of_zero_removes_the_loss(folder):
  off = {"loss_weight": 0.0}
  auxiliary = {"multi_object": off, "closeness": off, "foreground": off}
  override = {"task": {"auxiliary": auxiliary, "refinement": {"enabled": False}}}
  task = mtl_detection.MtlDetectionTask(tiny.experiment(folder, override).task)
  model, batch = task.build_model(), next(iter(task.build_inputs(task.task_config.train_data)))
  optimizer = tf_keras.optimizers.legacy.SGD(0.01)
  metrics = task.build_metrics()
  step = tf.function(
    lambda *batch: task.train_step(batch, model, optimizer, metrics), autograph=False
  )
  logs = step(*batch)
  left = ["rpn_objectness", "rpn_box", "roi_class", "roi_box", "weight_decay"]
  assert [metric.name for metric in metrics] == [*left, "dropped_boxes"]
  assert set(logs) == {"loss", "dropped_boxes", *left}


def test_step_draws_the_windows(task, trained):
  _, labels = trained.batch
  first, again, later = (
    task.auxiliary_targets(labels, tf.constant(step)).windows_px.numpy() for step in (5, 5, 6)
  )
  np.testing.assert_array_equal(first, again)
  assert not np.array_equal(first, later)


def test_perfect_detections(task):
  steps = oracle_logs(task)
  # Three images in batches of two: the last row only fills up.
  assert [list(logs["example_valid"][0]) for logs in steps] == [[True, True], [True, False]]
  # In pixels of the file, though the network saw the image enlarged.
  np.testing.assert_allclose(steps[0]["detection_boxes_orig"][0][0, :2], tiny.BOXES, atol=1e-4)
  found = figures(task, steps)
  for name in ("voc/mAP50_area", "voc/mAP50_11point", "voc/AP50_area/cat", "voc/AP50_area/dog"):
    assert found[name] == 1.0
  assert found["auxiliary/multi_object_ranking_ap"] == 1.0
  assert found["auxiliary/multi_object_kl"] == pytest.approx(0.0, abs=1e-5)
  assert found["auxiliary/closeness_accuracy"] == 1.0
  # Half of each image is foreground (see `tiny.BOXES`), and all is said to be.
  assert found["auxiliary/foreground_pixel_accuracy"] == 0.5
  assert found["auxiliary/foreground_iou"] == 0.5
  assert found["dropped_boxes"] == 0.0
  assert str(tiny.NUM_VAL) in task.describe_evaluation(found)[0].splitlines()[3]


def test_auxiliary_figures_are_of_what_can_be_measured(task):
  images, labels = next(iter(task.build_inputs(task.task_config.validation_data)))
  # The second image has lost its objects, and no proposal lies on the dog of the first.
  lost = tf.constant([[False], [True]])
  labels["gt_classes"] = tf.where(lost, -1, labels["gt_classes"])
  labels["gt_boxes_px"] = tf.where(lost[..., tf.newaxis], -1.0, labels["gt_boxes_px"])
  targets = task.auxiliary_targets(labels, tf.constant(mtl_detection.EVALUATION_STEP))

  class Missing(Oracle):
    def score_proposals(self, first, image_size_px):
      outputs, *others = super().score_proposals(first, image_size_px)
      is_cat = tf.equal(labels["gt_classes"], 1)[:, ::-1, tf.newaxis]
      return outputs | {"proposals_px": tf.where(is_cat, outputs["proposals_px"], 0.0)}, *others

  logs = task.validation_step((images, labels), Missing(labels, targets))
  weights = logs["auxiliary/window_weights"].numpy()
  assert weights.tolist() == [[1.0] * 4, [0.0] * 4]
  valid = logs["auxiliary/closeness_valid"].numpy()
  assert valid.tolist() == [[True, False, False, False], [False] * 4]


@pytest.mark.parametrize(("positive_iou", "is_near"), [(0.55, True), (0.65, False)])
def test_closeness_is_measured_where_a_proposal_would_be_a_positive(folder, positive_iou, is_near):
  fields = {"roi_head": {"positive_iou": positive_iou}, "rpn": {"positive_iou": 0.6}}
  task = mtl_detection.MtlDetectionTask(tiny.experiment(folder, {"task": fields}).task)
  images, labels = next(iter(task.build_inputs(task.task_config.validation_data)))
  targets = task.auxiliary_targets(labels, tf.constant(mtl_detection.EVALUATION_STEP))

  class Near(Oracle):
    """Its proposals are the upper six tenths of the objects."""

    def score_proposals(self, first, image_size_px):
      outputs, *others = super().score_proposals(first, image_size_px)
      ymin, xmin, ymax, xmax = tf.unstack(outputs["proposals_px"], axis=-1)
      upper_px = tf.stack([ymin, xmin, ymin + 0.6 * (ymax - ymin), xmax], axis=-1)
      return outputs | {"proposals_px": upper_px}, *others

  logs = task.validation_step((images, labels), Near(labels, targets))
  assert logs["auxiliary/closeness_valid"].numpy().tolist() == [[is_near] * 2 + [False] * 2] * 2


def test_images_are_taken_in_the_order_of_the_files(task, monkeypatch):
  seen = []
  monkeypatch.setattr(
    task._evaluation, "update", lambda logs: seen.append(int(logs["example_index"]))
  )
  logs = oracle_logs(task)[0]
  # Two replicas, the later image on the first.
  swapped = {name: (value[1:], value[:1]) for name, (value,) in logs.items()}
  task.aggregate_logs(None, swapped)
  assert seen == [0, 1]


def test_coco_metrics_and_result_files(folder, tmp_path):
  evaluation = {"metrics": ["coco", "voc"], "errors": True, "results_dir": str(tmp_path)}
  override = {"task": {"evaluation": {**evaluation, "auxiliary_metrics": False}}}
  task = mtl_detection.MtlDetectionTask(tiny.experiment(folder, override).task)
  task.prepare_evaluation()
  state = None
  for logs in oracle_logs(task):
    state = task.aggregate_logs(state, logs)
  found = task.reduce_aggregated_logs(state, tf.constant(40, tf.int64))
  assert task.main_metric == "coco/AP"
  assert found["coco/AP"] == pytest.approx(1.0)
  assert found["voc/mAP50_area"] == 1.0
  assert found["errors/count/background"] == 0.0
  assert set(found) == {*task.figures, "dropped_boxes"}
  assert task.describe_evaluation(found)[0].startswith("COCO metrics")
  rows = json.loads((tmp_path / "step_40/coco_results.json").read_text())
  # Two objects in each image; the row that only fills up is none.
  assert [row["image_id"] for row in rows] == [0, 0, 1, 1, 2, 2]
  truth = json.loads((tmp_path / "step_40/coco_ground_truth.json").read_text())
  assert [row["bbox"] for row in truth["annotations"]] == [row["bbox"] for row in rows]


def test_rows_that_fill_up_the_batch_do_not_count(task):
  steps = oracle_logs(task)
  steps[-1]["example_valid"] = (np.array([True, True]),)
  # The boxes invented for the blank row are now false alarms of class 1.
  assert figures(task, steps)["voc/AP50_area/cat"] < 1.0


def test_boxes_left_out_of_a_step_are_warned_of(task):
  assert task.count_warning({"dropped_boxes": 0.0}) is None
  assert task.count_warning({"dropped_boxes": 0.5}) == (
    "images hold more than 4 boxes, the rest is left out; raise task.train_data.max_num_boxes"
  )


def test_replicas_are_joined(task):
  steps = oracle_logs(task)
  joined = {name: (steps[0][name][0], steps[1][name][0]) for name in steps[0]}
  # The first batch seen by two replicas, one image each, gives the same figures.
  assert figures(task, [joined]) == figures(task, steps)


def test_each_evaluation_starts_again(task):
  steps = oracle_logs(task)
  steps[0]["num_dropped_boxes"] = (np.array([4, 0]),)
  steps[1]["num_dropped_boxes"] = (np.array([1, 9]),)  # The 9 belong to a row that fills up.
  first = figures(task, steps)
  assert first["dropped_boxes"] == 5.0
  assert figures(task, steps) == first


def test_auxiliary_figures_can_be_left_out(folder):
  override = {"task": {"evaluation": {"auxiliary_metrics": False, "voc_ap": "11point"}}}
  task = mtl_detection.MtlDetectionTask(tiny.experiment(folder, override).task)
  found = figures(task, oracle_logs(task))
  assert not any(name.startswith("auxiliary/") for name in found)
  assert task.main_metric == "voc/mAP50_11point"
  assert set(found) == {*task.figures, "dropped_boxes"}


def initialize(folder, path: str, model, **task_fields) -> None:
  override = {"task": {"init_checkpoint": path, **task_fields}}
  mtl_detection.MtlDetectionTask(tiny.experiment(folder, override).task).initialize(model)


@pytest.fixture(name="checkpoint", scope="module")
def _checkpoint(task, tmp_path_factory):
  """Path of a checkpoint as training writes it, and the weights that it holds."""
  model = task.build_model()
  model.set_weights([value + 1.0 for value in model.get_weights()])
  checkpoint = tf.train.Checkpoint(
    model=model, optimizer=tf_keras.optimizers.legacy.SGD(), global_step=tf.Variable(7)
  )
  folder = tmp_path_factory.mktemp("checkpoint")
  return checkpoint.save(str(folder / "ckpt")), model.get_weights()


def test_initialize(folder, model, checkpoint):
  path, weights = checkpoint
  drawn = model.get_weights()
  for given in (path, path.rpartition("/")[0]):
    model.set_weights(drawn)
    initialize(folder, given, model)
    for loaded, saved in zip(model.get_weights(), weights, strict=True):
      np.testing.assert_array_equal(loaded, saved)
  model.set_weights(drawn)
  initialize(folder, "", model)
  for kept, before in zip(model.get_weights(), drawn, strict=True):
    np.testing.assert_array_equal(kept, before)


def test_initialize_says_what_was_loaded(folder, model, checkpoint, tmp_path, capsys):
  path, weights = checkpoint
  override = {"task": {"init_checkpoint": path}}
  task = mtl_detection.MtlDetectionTask(
    tiny.experiment(folder, override).task, logging_dir=str(tmp_path / "run")
  )
  task.initialize(model)
  said = capsys.readouterr().out
  assert said.startswith(f"start weights {path}\nloaded: {len(weights)}\n")
  assert (tmp_path / "run" / "start_weights.txt").read_text() == said.removeprefix("start weights ")


def test_initialize_shows_some_names_and_leaves_all(folder, model, checkpoint, tmp_path, capsys):
  override = {"task": {"init_checkpoint": checkpoint[0], "init_modules": "backbone"}}
  task = mtl_detection.MtlDetectionTask(
    tiny.experiment(folder, override).task, logging_dir=str(tmp_path)
  )
  drawn = model.get_weights()
  task.initialize(model)
  model.set_weights(drawn)
  said = capsys.readouterr().out.splitlines()
  left = said.index(next(line for line in said if line.startswith("left as initialised: ")))
  number = int(said[left].split(": ")[1])
  assert [line[:2] for line in said[left + 1 : left + 5]] == ["  "] * 4
  assert said[left + 4] == f"  ... and {number - 3} more"
  written = (tmp_path / "start_weights.txt").read_text().splitlines()
  assert len([line for line in written if line.startswith("  ")]) == number > 4
  assert not [line for line in written if "more" in line]


@pytest.mark.parametrize("init_from", ["main_stage2", "random"])
def test_initialize_replicates_the_main_stage2_where_asked(folder, init_from, tmp_path):
  weightless = {"multi_object": {"loss_weight": 0.0}, "closeness": {"loss_weight": 0.0}}
  plain = {"task": {"auxiliary": weightless, "refinement": {"enabled": False}}}
  saved = mtl_detection.MtlDetectionTask(tiny.experiment(folder, plain).task).build_model()
  saved.set_weights([value + 1.0 for value in saved.get_weights()])
  path = tf.train.Checkpoint(model=saved).save(str(tmp_path / "ckpt"))
  fields = {"auxiliary": {"init_from": init_from}}
  task = mtl_detection.MtlDetectionTask(tiny.experiment(folder, {"task": fields}).task)
  model = task.build_model()
  initialize(folder, path, model, **fields)
  main = model.box_head.stage2.get_weights()
  for head in (model.multi_object_head, model.closeness_head):
    alike = [np.array_equal(a, b) for a, b in zip(head.stage2.get_weights(), main, strict=True)]
    assert all(alike) == (init_from == "main_stage2")


def test_initialize_the_backbone_alone(folder, model, checkpoint):
  path, weights = checkpoint
  drawn = model.rpn.conv.kernel.numpy()
  initialize(folder, path, model, init_modules="backbone")
  np.testing.assert_array_equal(model.rpn.conv.kernel, drawn)
  np.testing.assert_array_equal(model.stage1.get_weights()[0], weights[0])


def test_initialize_from_nothing(folder, model, tmp_path):
  path = str(tmp_path / "nothing")
  message = rf"^task.init_checkpoint: '{path}' does not exist"
  with pytest.raises(ValueError, match=message):
    initialize(folder, path, model)


def test_initialize_from_another_detector(folder, checkpoint):
  fields = {"backbone": {"depth_multiplier": 0.25}}
  override = {"task": fields}
  other = mtl_detection.MtlDetectionTask(tiny.experiment(folder, override).task).build_model()
  with pytest.raises(ValueError, match=r"^task.init_checkpoint: '.*': variable '.*': given shape"):
    initialize(folder, checkpoint[0], other, **fields)
