"""What a task hands on to its parts, and takes from a run: data, folders, steps, names."""

import types
from unittest import mock

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from mtl_ssl_tf.configs import experiments, training
from mtl_ssl_tf.tasks import co_mining, detection_settings, insloc, mtl_detection
from mtl_ssl_tf.training import hyperparameters, nonfinite, run_folder
from tests.modeling import small, small_backbones
from tests.tasks import insloc_tiny, tiny
from tests.tasks import training_losses_test as losses_test


@pytest.fixture(name="backbones", autouse=True, scope="module")
def _backbones():
  with small_backbones.registered():
    yield


def test_each_part_has_the_data_that_it_is_of(folder, monkeypatch):
  given = {}
  for module, name in (
    (mtl_detection.detection_evaluation, "DetectionEvaluation"),
    (mtl_detection.training_panels, "TrainingPanels"),
    (mtl_detection.validation_panels, "ValidationPanels"),
  ):
    monkeypatch.setattr(module, name, lambda *args, name=name: given.update({name: args}))
  params = tiny.experiment(folder).task
  task = mtl_detection.MtlDetectionTask(params)
  monkeypatch.setattr(task, "build_inputs", lambda data: data)
  validated, names = params.validation_data.input_path, tiny.CLASS_NAMES
  assert validated != params.train_data.input_path
  evaluation = given["DetectionEvaluation"]
  assert evaluation == (params.evaluation, names, validated, params.label_map)
  assert given["ValidationPanels"] == (params.pictures, names, validated)
  pictures, class_names, batches, *labels = given["TrainingPanels"]
  assert (pictures, class_names) == (params.pictures, names)
  assert batches() is params.train_data
  assert labels == [task.auxiliary_targets, task.mined_views]


def test_what_is_asked_of_a_task_reaches_its_parts(folder, monkeypatch):
  task, asked = mtl_detection.MtlDetectionTask(tiny.experiment(folder).task), []
  for part, name in (
    (task._evaluation, "prepare"),
    (task._evaluation, "closing_lines"),
    (task._panels, "draw"),
    (mtl_detection.reader, "image_ids"),
  ):
    monkeypatch.setattr(part, name, lambda *args, name=name: asked.append((name, *args)) or [name])
  task.prepare_evaluation(writes=False)
  task.prepare_evaluation()
  assert task.closing_lines("run") == ["closing_lines"]
  assert task.draw("model", 7) == ["draw"]
  assert task.image_ids("data", 4) == ["image_ids"]
  assert asked == [
    ("prepare", False),
    ("prepare", True),
    ("closing_lines", "run"),
    ("draw", "model", 7),
    ("image_ids", "data", 4),
  ]


@pytest.mark.parametrize("kind", [mtl_detection.MtlDetectionTask, insloc.InsLocTask])
@pytest.mark.parametrize(
  ("runtime", "crop_method", "precision"),
  [
    ({}, "native", "float32"),
    ({"enable_xla": True}, "matmul", "float32"),
    ({"mixed_precision_dtype": "float16"}, "native", "float16"),
  ],
)
def test_a_run_s_kernels_precision_and_folder_reach_the_task(
  kind, runtime, crop_method, precision, monkeypatch
):
  given = []
  monkeypatch.setattr(kind, "__init__", lambda self, *args, **others: given.append((args, others)))
  kind.for_run("config", training.Runtime(**runtime), logging_dir="run", compile_losses=True)
  expected = {"logging_dir": "run", "crop_method": crop_method, "precision": precision}
  assert given == [(("config",), expected | {"compile_losses": True})]


def test_kernels_and_precision_reach_the_network(folder, monkeypatch):
  built = []
  for module, name in ((mtl_detection.factory, "build_detector"), (insloc.insloc_model, "build")):
    monkeypatch.setattr(module, name, lambda *args: built.append(args))
  form = {"crop_method": "matmul", "precision": "bfloat16"}
  params = tiny.experiment(folder).task
  mtl_detection.MtlDetectionTask(params, **form).build_model()
  pretraining = insloc_tiny.experiment().task
  insloc.InsLocTask(pretraining, **form).build_model()
  assert built == [(params, 3, "matmul", "bfloat16"), (pretraining, "matmul", "bfloat16")]


@pytest.mark.parametrize(
  ("name", "mining"), [(experiments.DEFAULT, None), (experiments.CO_MINING, {"num_slots": 3})]
)
def test_what_is_no_loss_is_left_out_of_the_losses_of_the_progress_line(folder, name, mining):
  fields = {"backbone": {"type": "blocks"}}
  if mining is not None:
    unlabelled = {"mask_anchors": True, "consistency_loss_weight": 1.0}
    fields["mining"] = {**mining, "unlabelled": unlabelled}
  kind = mtl_detection.MtlDetectionTask if mining is None else co_mining.CoMiningTask
  task = kind(tiny.experiment(folder, {"task": fields}, name).task)
  names = [metric.name for metric in task.build_metrics()]
  losses = tiny.LOSSES if mining is None else [*tiny.LOSSES, "consistency"]
  assert {each for each in names if each not in task.counters} == set(losses)


def test_a_detector_s_hyperparameters_are_in_the_table_of_runs(folder, task, monkeypatch, tmp_path):
  begun = []
  monkeypatch.setattr(hyperparameters.Trial, "begin", lambda self, values: begun.append(values))
  hyperparameters.start(tiny.experiment(folder), task, str(tmp_path))
  assert set(detection_settings.HYPERPARAMETERS) <= set(begun[0])


def test_the_loss_that_bounds_hold_for_is_not_scaled(folder):
  fields = {"backbone": {"type": "blocks"}}
  task = mtl_detection.MtlDetectionTask(tiny.experiment(folder, {"task": fields}).task)
  optimizer = tf_keras.mixed_precision.LossScaleOptimizer(
    tf_keras.optimizers.legacy.SGD(0.0), dynamic=False, initial_scale=64.0
  )
  batch = next(iter(task.build_inputs(task.task_config.train_data)))
  with mock.patch.object(nonfinite, "apply_gradients") as applied:
    logs = task.train_step(batch, task.build_model(), optimizer)
  guard, given, _, loss = applied.call_args.args
  assert guard is task.guard and given is optimizer
  assert float(loss) == float(logs["loss"]) > 0.0


def test_the_label_map_goes_with_a_detector_s_run(folder, tmp_path):
  run_folder.copy_files(tiny.experiment(folder).task, str(tmp_path))
  assert (tmp_path / "label_map.txt").read_text() == (folder / "label_map.txt").read_text()


@pytest.mark.parametrize("interval", [0, 7])
def test_pictures_are_drawn_as_often_as_configured(folder, interval):
  fields = {"task": {"pictures": {"interval": interval}}}
  task = mtl_detection.MtlDetectionTask(tiny.experiment(folder, fields).task)
  assert task.picture_interval == interval
  fields = {"task": {"picture_interval": interval}}
  assert insloc.InsLocTask(insloc_tiny.experiment(fields).task).picture_interval == interval


def test_pictures_are_of_the_last_evaluation_alone(folder):
  evaluation = {"auxiliary_metrics": False, "auxiliary_costs": False}
  fields = {"backbone": {"type": "blocks"}, "evaluation": evaluation}
  task = mtl_detection.MtlDetectionTask(tiny.experiment(folder, {"task": fields}).task)
  model = task.build_model()
  steps = [
    {name: (values,) for name, values in task.validation_step(batch, model).items()}
    for batch in task.build_inputs(task.task_config.validation_data)
  ]
  for logs, state in zip(steps, (None, True), strict=True):
    task.aggregate_logs(state, logs)
  assert len(task.draw_evaluation()) == tiny.NUM_VAL == 3
  task.aggregate_logs(None, steps[1])
  assert len(task.draw_evaluation()) == 1


def test_detections_lie_in_the_file_by_the_scale_of_each_side(task):
  outputs = {
    "detection_boxes_px": tf.constant([[[2.0, 4.0, 6.0, 8.0]]]),
    "detection_scores": None,
    "detection_classes": None,
  }
  labels = {
    "image_size_px": None,
    # Sides in the file, in the input, their scale, the shift.
    "image_info": tf.constant([[[6.0, 2.0], [12.0, 8.0], [2.0, 4.0], [0.0, 0.0]]]),
  }
  first = types.SimpleNamespace(proposals=types.SimpleNamespace(valid=None))
  model = types.SimpleNamespace(
    first_stage=lambda *_: first,
    score_proposals=lambda *_: ({"proposals_px": None}, None, None),
    detect=lambda *_: outputs,
    refiner=None,
  )
  step = mtl_detection.validation_outputs.validation_outputs
  logs = step(model, task.task_config, (None, labels), None)
  np.testing.assert_array_equal(logs["detection_boxes_orig"], [[[1.0, 1.0, 3.0, 2.0]]])


@pytest.mark.parametrize("make", [small.make_shared_map_detector, small.make_rfcn_detector])
def test_score_maps_are_made_as_in_training(make):
  model = make()
  first = losses_test._first_stage(model)
  heads = (model.box_head, model.closeness_head, model.multi_object_head)
  for head in heads:
    head.stage2.seen = []
  losses_test._losses(model, losses_test._config(), first)
  # Those of the windows of refinement are as at inference.
  modes = [[mode for _, mode in head.stage2.seen] for head in heads]
  assert modes == [[True], [True], [True, False]]


class TestPretraining:
  def _task(self, **fields):
    return insloc.InsLocTask(insloc_tiny.experiment({"task": fields}).task)

  def test_the_seed_draws_the_model(self):
    models = [self._task(seed=seed).build_model() for seed in (1, 1, 2)]
    first, again, other = (model.query_encoder.get_weights() for model in models)
    assert all(np.array_equal(one, two) for one, two in zip(first, again, strict=True))
    assert not all(np.array_equal(one, two) for one, two in zip(first, other, strict=True))

  def test_images_have_the_names_of_their_batch(self, monkeypatch):
    monkeypatch.setattr(
      insloc.composite_reader, "image_ids", lambda params, batch: [f"{params} {batch}"]
    )
    assert self._task().image_ids("data", 4) == ["data 4"]

  def test_the_probe_asks_so_many_neighbours_and_ranks_by_the_mean_of_classes(self):
    task = self._task(probe_neighbours=3)
    assert task._probe._num_neighbours == 3
    assert task.main_metric == "probe/accuracy"
    assert "probe/accuracy" in task.figures

  def test_groups_do_not_fit_the_shares_of_replicas(self, monkeypatch):
    strategy = types.SimpleNamespace(num_replicas_in_sync=4)
    monkeypatch.setattr(tf.distribute, "get_strategy", lambda: strategy)
    with pytest.raises(ValueError) as error:
      self._task(group_size=2)
    assert str(error.value) == (
      "task.group_size is 2; accepted with task.backbone.norm.type batch: a divisor of"
      " task.train_data.global_batch_size over 4 replicas, 1"
    )

  @pytest.mark.parametrize(("shuffle", "num_rows"), [("batch", 8), ("replica", 4)])
  def test_key_images_change_places_in_the_batch_or_in_a_replica(
    self, shuffle, num_rows, monkeypatch
  ):
    task = self._task(shuffle=shuffle)
    task._num_replicas = 2
    orders = []
    for number in range(2):
      context = types.SimpleNamespace(replica_id_in_sync_group=number)
      monkeypatch.setattr(tf.distribute, "get_replica_context", lambda context=context: context)
      orders.append(task._key_order(4, tf.constant(3)).numpy().tolist())
    assert [sorted(order) for order in orders] == [[*range(num_rows)]] * 2
    assert (orders[0] == orders[1]) == (shuffle == "batch")
    order = tf.constant([2, 0, 3, 1])
    with mock.patch.object(insloc.shuffle_ops, "take_rows", return_value="exchanged") as take_rows:
      found = task._exchange(tf.range(4), order)
    assert take_rows.called == (shuffle == "batch")
    assert found == "exchanged" if take_rows.called else np.array_equal(found, order)

  def test_normalisation_over_replicas_is_refused_where_the_encoders_are_compiled(self):
    for norm, is_refused in (("sync", True), ("batch", False), ("group", False)):
      fields = {"backbone": {"type": insloc_tiny.small.BACKBONE, "norm": {"type": norm}}}
      config = insloc_tiny.experiment({"task": fields}).task
      if is_refused:
        with pytest.raises(ValueError, match=r"norm\.type is 'sync'; accepted: group, batch x$"):
          insloc.InsLocTask.check_split(config, "x")
      else:
        insloc.InsLocTask.check_split(config, "x")

  def test_one_group_is_not_warned_of_where_nothing_is_shuffled(self, capsys):
    params = insloc_tiny.experiment({"task": {"group_size": 4, "shuffle": "none"}})
    insloc.InsLocTask.check(params)
    assert not capsys.readouterr().err

  def test_a_run_is_not_resumed_with_another_network(self, tmp_path):
    run_folder.describe_run(insloc_tiny.experiment(), str(tmp_path))
    other = insloc_tiny.experiment({"task": {"projection_depth": 8}})
    with pytest.raises(
      ValueError, match=r"depend on that: task\.projection_depth 4 -> 8; accepted"
    ):
      run_folder.compare(other, str(tmp_path))

  def test_it_has_no_start_weights(self):
    with pytest.raises(ValueError) as error:
      insloc.InsLocTask.start_from(insloc_tiny.experiment().task, "imagenet")
    assert str(error.value) == (
      "--init is 'imagenet'; accepted: none, as this task has no start weights"
    )

  def test_a_loss_scale_changes_no_step(self):
    updates = []
    for optimizer in (
      tf_keras.optimizers.legacy.SGD(0.1),
      tf_keras.mixed_precision.LossScaleOptimizer(
        tf_keras.optimizers.legacy.SGD(0.1), dynamic=False, initial_scale=64.0
      ),
    ):
      task = self._task(box_augmentation={"enabled": False})
      model = task.build_model()
      before = model.query_encoder.get_weights()
      batch = insloc_tiny.random_batch(tf.constant(0, tf.int64), (0, insloc_tiny.BATCH_SIZE))
      task.train_step(batch, model, optimizer)
      after = model.query_encoder.get_weights()
      pairs = zip(after, before, strict=True)
      updates.append(np.concatenate([np.ravel(new - old) for new, old in pairs]))
    assert np.linalg.norm(updates[0]) > 0.0
    error = np.linalg.norm(updates[1] - updates[0])
    assert error < 0.01 * np.linalg.norm(updates[0])
