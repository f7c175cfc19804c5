"""Co-mining on the tiny detector: what is mined, who learns from it, and what no loss can see."""

import contextlib
from unittest import mock

import numpy as np
import pytest
import tensorflow as tf

from mtl_ssl_tf.configs import data as data_config
from mtl_ssl_tf.configs import experiments
from mtl_ssl_tf.data import schema
from mtl_ssl_tf.labels import mining, roi_targets, rpn_targets
from mtl_ssl_tf.modeling import mining_scores
from mtl_ssl_tf.tasks import co_mining, mining_measures, training_losses
from mtl_ssl_tf.training import determinism, stopping
from mtl_ssl_tf.training import task as task_lib
from tests import fixtures
from tests.modeling import small, small_backbones
from tests.tasks import tiny

NUM_IMAGES, NUM_ROWS, NUM_SLOTS = 2, 4, 3
# A new network's scores are next to a third: every proposal that is an object's is mined.
SETTINGS = {"score_threshold": 0.2, "num_slots": NUM_SLOTS, "augmentation": {"probability": 0.0}}
# In the right half of an image of 60 × 80 pixels, where no annotation is.
MINED_BOX = [2.0, 50.0, 30.0, 78.0]
STEP = tf.constant(4)


@pytest.fixture(name="backbones", autouse=True, scope="module")
def _backbones():
  with small_backbones.registered():
    yield


def make_task(folder, mining=None, experiment=experiments.CO_MINING, **task):
  """A task of the smallest network, whose second view has the colours of the first."""
  fields = {"backbone": {"type": "blocks"}, "train_data": {"flip_probability": 0.0}, **task}
  if experiment == experiments.CO_MINING:
    fields["mining"] = {**SETTINGS, **(mining or {})}
  config = tiny.experiment(folder, {"task": fields}, experiment).task
  return task_lib.class_of(config)(config)


@pytest.fixture(name="task", scope="module")
def _task(folder):
  return make_task(folder)


@pytest.fixture(name="model", scope="module")
def _model(task):
  return make_model(task)


@pytest.fixture(name="batch", scope="module")
def _batch(task):
  return next(iter(task.build_inputs(task.task_config.train_data)))


def make_model(task):
  """A detector with random weights, the same every time, to which some places are objects."""
  model = task.build_model()
  small.randomize(model)
  return model


class Run:
  """A detector with its optimizer and data, the same every time, with what it logs.

  Steps are taken without a graph, which would take longer to trace than a step or two.
  """

  def __init__(self, task, folder):
    experiment = tiny.experiment(folder)
    self._task, self.model, self.metrics = task, make_model(task), task.build_metrics()
    self._optimizer = task.create_optimizer(experiment.trainer.optimizer_config, experiment.runtime)
    self.batch = next(iter(task.build_inputs(task.task_config.train_data)))

  def step(self, batch=None) -> dict[str, float]:
    logs = self._task.train_step(batch or self.batch, self.model, self._optimizer, self.metrics)
    return {name: float(value) for name, value in logs.items()}


def losses(logs: dict[str, float]) -> dict[str, float]:
  return {name: value for name, value in logs.items() if name not in mining_measures.NAMES}


def negative(images, *others):
  """Stands in for the change of colours."""
  del others
  return 255.0 - images


@pytest.mark.parametrize("carries_erased", [False, True])
def test_every_setting_of_the_data_reaches_the_reader(folder, monkeypatch, carries_erased):
  given = {}
  for name, stand_in in (
    ("make_dataset", lambda data, **options: given.update(options, data=data)),
    ("carries_erased", lambda input_path: carries_erased),
  ):
    monkeypatch.setattr(co_mining.reader, name, stand_in)
  data = data_config.Data(input_path="records", seed=3, is_training=True)
  make_task(folder).build_inputs(data, "context", first_batch=4, skipped_batches=[5])
  assert given == {
    "data": data,
    "first_batch": 4,
    "skipped_batches": [5],
    "input_context": "context",
    "with_erased": carries_erased,
    "num_classes": 3,
  }


def test_identical_views_mine_the_same(task, model, batch):
  views = co_mining.mine_views(task.task_config, batch, model, STEP)
  assert np.any(views.pseudo.valid)
  for values in tf.nest.flatten((views.pseudo, views.counts)):
    assert values.shape[0] == 2 * NUM_IMAGES
    np.testing.assert_array_equal(values[:NUM_IMAGES], values[NUM_IMAGES:])


def test_each_view_is_mined_by_itself(folder, task, model, batch):
  with mock.patch.object(co_mining, "second_view", negative):
    views = co_mining.mine_views(task.task_config, batch, model, STEP)
  alone = make_task(folder, {"mode": "self_mining", "views": 1}).task_config
  images, labels = batch
  first, second = (
    co_mining.mine_views(alone, (pixels, labels), model, STEP).pseudo
    for pixels in (images, negative(images))
  )
  assert not np.array_equal(first.boxes_px, second.boxes_px)
  for found, *expected in zip(views.pseudo, first, second, strict=True):
    np.testing.assert_allclose(found, np.concatenate(expected), atol=1e-4)


@pytest.mark.parametrize(
  ("head", "num_proposals"), [("faster_rcnn", 0), ("faster_rcnn", 5), ("rfcn", 0)]
)
def test_predictions_are_those_of_inference(folder, batch, head, num_proposals):
  images, labels = batch
  roi_head = {"type": head, "rfcn": {"reduce_depth": 8}}
  task = make_task(folder, {"num_proposals": num_proposals}, roi_head=roi_head)
  model = make_model(task)
  with mock.patch.object(mining, "mine_pseudo_boxes", wraps=mining.mine_pseudo_boxes) as called:
    co_mining.mine_views(task.task_config, batch, model, STEP)
  class_logits, _, boxes_px, valid, annotations = called.call_args.args
  assert not num_proposals or class_logits.shape[1] == num_proposals
  outputs = model(images, labels["image_size_px"])
  kept = slice(num_proposals or None)
  for view in (slice(NUM_IMAGES), slice(NUM_IMAGES, None)):
    np.testing.assert_allclose(boxes_px[view], outputs["proposals_px"][:, kept], atol=1e-3)
    np.testing.assert_array_equal(valid[view], outputs["proposals_valid"][:, kept])
    np.testing.assert_array_equal(annotations["gt_classes"][view], labels["gt_classes"])
    if not num_proposals:  # Refinement goes by the mean over all proposals.
      np.testing.assert_allclose(class_logits[view], outputs["refined_logits"], atol=1e-4)


def test_pictures_change_nothing(folder, model, batch):
  task = make_task(folder)
  with mock.patch.object(co_mining, "mine_views", wraps=co_mining.mine_views) as called:
    views = task.mined_views(model, batch, STEP)
  assert called.call_args.args[0] is task.task_config
  assert called.call_args.kwargs == {"training": False}
  assert views.images.shape[0] == 2 * NUM_IMAGES


def test_the_task_watches_over_mining(folder):
  guard = {"steps": 10, "max_filled": 0.5}
  task = make_task(folder, {"score_threshold": 0.4, "guard": guard})
  assert task.nonfinite_advice.startswith("raise task.mining.score_threshold (0.4): ")
  assert make_task(folder, {"mode": "joint"}).nonfinite_advice == ""
  values = {mining_measures.BOXES: 2.0, "training_loss": 1.0, mining_measures.UNLABELLED: 0.4}
  task.check_logs(values, 100)
  with pytest.raises(stopping.RunError, match=r"^step 110: for 10 steps 2\.0 boxes are mined"):
    task.check_logs(values, 110)
  del values[mining_measures.BOXES]
  assert task.describe_logs(values) == "probably unlabelled 0.4 proposals a view"


def test_few_are_refined(folder, model, batch):
  settings = make_task(folder, {"max_refined": 5}).task_config
  scores = mining_scores.mining_scores
  with mock.patch.object(mining_scores, "mining_scores", wraps=scores) as called:
    co_mining.mine_views(settings, batch, model, STEP)
  given, first, size, max_refined = called.call_args.args
  assert given is model
  assert first.proposals.valid.shape == [2 * NUM_IMAGES, 8]
  np.testing.assert_array_equal(size[:NUM_IMAGES], batch[1]["image_size_px"])
  assert max_refined == 5


def test_every_setting_reaches_the_miner(folder, model, batch):
  values = {
    "score_threshold": 0.61,
    "ignore_band": 0.11,
    "nms_iou": 0.52,
    "same_class_iou": 0.43,
    "any_class_iou": 0.74,
    "num_slots": 6,
    "min_size_px": 7.0,
  }
  config = make_task(folder, values).task_config
  with mock.patch.object(mining, "mine_pseudo_boxes", wraps=mining.mine_pseudo_boxes) as called:
    co_mining.mine_views(config, batch, model, STEP)
  assert called.call_args.kwargs == {**values, "nms_method": "native"}


@contextlib.contextmanager
def mined_in(row: int):
  """Inside, a box of class 2 is mined in one of the views, and nothing else."""

  def mine(class_logits, *args, **kwargs):
    del args, kwargs
    nothing, counts = mining.nothing_mined(class_logits.shape[0], NUM_SLOTS)
    boxes, classes = nothing.boxes_px.numpy(), nothing.classes.numpy()
    boxes[row, 1], classes[row, 1] = MINED_BOX, 2
    found = nothing._replace(
      boxes_px=tf.constant(boxes), classes=tf.constant(classes), valid=tf.constant(classes > 0)
    )
    return found, counts

  with mock.patch.object(mining, "mine_pseudo_boxes", mine):
    yield


@pytest.mark.parametrize(
  ("settings", "row", "taught"),
  [
    # Rows 0 and 1 are the images, rows 2 and 3 their second views.
    ({}, 0, 2),
    ({}, 3, 1),
    ({"mode": "self_mining"}, 0, 0),
    ({"mode": "self_mining"}, 3, 3),
    ({"mode": "self_mining", "views": 1}, 1, 1),
    ({"mode": "joint"}, 0, None),
  ],
)
def test_a_detection_is_a_target_of_the_other_view_alone(
  folder, model, batch, settings, row, taught
):
  with mined_in(row):
    labels = make_task(folder, settings).supervise(batch, model, STEP).labels
  annotated = batch[1]["gt_boxes_px"]
  for number, (boxes, classes) in enumerate(
    zip(labels["gt_boxes_px"].numpy(), labels["gt_classes"].numpy(), strict=True)
  ):
    np.testing.assert_array_equal(boxes[:NUM_ROWS], annotated[number % NUM_IMAGES])
    assert classes[NUM_ROWS:].tolist() == ([-1, 2, -1] if number == taught else [-1] * NUM_SLOTS)
    if number == taught:
      assert boxes[NUM_ROWS + 1].tolist() == MINED_BOX


def _box_targets(task, batch, model):
  """Anchors, and sampled regions, that have a box loss, and those that mined boxes are matched to.

  Of both stages, after one another: bool [V, ...] each.
  """
  found = {}

  def keep(module, name):
    function = getattr(module, name)

    def call(*args, **kwargs):
      result = function(*args, **kwargs)
      found[name] = (args, result)
      return result

    return mock.patch.object(module, name, call)

  losses = training_losses.detection_losses
  with (
    mined_in(0),
    keep(losses, "rpn_losses"),
    keep(losses, "roi_box_loss"),
    keep(rpn_targets, "rpn_targets"),
    keep(roi_targets, "roi_targets"),
  ):
    task._compute_replica_losses(batch, model, STEP)
  return [
    (found[loss][0][place].numpy(), found[name][1].gt_indices.numpy() >= NUM_ROWS)
    for name, loss, place in (("rpn_targets", "rpn_losses", 5), ("roi_targets", "roi_box_loss", 3))
  ]


def test_box_regression_from_annotations_alone(folder, model, batch):
  completed, annotations = (
    _box_targets(make_task(folder, {"boxes_from": boxes_from}), batch, model)
    for boxes_from in ("completed", "annotations")
  )
  for (all_of_them, _), (with_loss, is_mined) in zip(completed, annotations, strict=True):
    assert (all_of_them & is_mined).any()
    assert (all_of_them & ~is_mined).any()
    np.testing.assert_array_equal(with_loss, all_of_them & ~is_mined)


@pytest.mark.parametrize("labels_from", ["completed", "annotations"])
def test_all_targets_are_made_from_the_completed_set(folder, model, batch, labels_from):
  task = make_task(folder, {"labels_from": labels_from})
  with contextlib.ExitStack() as stack:
    stack.enter_context(mined_in(0))
    rpn, roi, losses = (
      stack.enter_context(mock.patch.object(module, name, wraps=getattr(module, name)))
      for module, name in (
        (training_losses.rpn_targets, "rpn_targets"),
        (training_losses.roi_targets, "roi_targets"),
        (training_losses, "replica_losses"),
      )
    )
    task._compute_replica_losses(batch, model, STEP)
  for called in (rpn, roi):
    _, _, boxes, classes, _ = called.call_args.args
    assert classes[2].numpy().tolist() == [1, 2, -1, -1, -1, 2, -1]
    assert boxes[2, NUM_ROWS + 1].numpy().tolist() == MINED_BOX
  targets = losses.call_args.args[4]
  is_used = labels_from == "completed"
  # Rows 0 and 2 are views of one image; the box belongs to the second one.
  masks = targets.foreground_mask.numpy()
  assert masks[0, :, 9:].sum() == 0.0
  assert bool(masks[2, :, 9:].sum() > 0.0) == is_used
  # The second object has a neighbour of its class, and the mined box has neighbours.
  closeness = targets.closeness_labels.numpy()
  assert bool(closeness[2, 1, 2] > 0.0) == is_used
  assert closeness[2, NUM_ROWS + 1].sum() == pytest.approx(float(is_used))
  assert not closeness[0, NUM_ROWS:].any()
  np.testing.assert_array_equal(targets.windows_px[2], targets.windows_px[0])
  is_same = np.array_equal(targets.window_labels[2], targets.window_labels[0])
  assert is_same != is_used


def test_no_gradient_comes_from_mining(task, model, batch):
  with tf.GradientTape() as tape:
    supervision = task.supervise(batch, model, STEP)
    total = tf.reduce_sum(supervision.labels["gt_boxes_px"])
    total += tf.add_n([measure.mean for measure in supervision.measures.values()])
  assert float(supervision.measures[mining_measures.BOXES].total) > 0.0
  assert set(tape.gradient(total, model.variables)) == {None}


def test_a_threshold_of_one_is_joint_training(folder):
  with determinism.deterministic(True), mock.patch.object(co_mining, "second_view", negative):
    runs = [
      Run(make_task(folder, settings), folder)
      for settings in ({"score_threshold": 1.0}, {"mode": "joint"}, {})
    ]
    never, joint, mined = (run.step() for run in runs)
  assert losses(never) == losses(joint) == joint
  for ours, theirs in zip(runs[0].model.get_weights(), runs[1].model.get_weights(), strict=True):
    np.testing.assert_array_equal(ours, theirs)
  assert mined[mining_measures.BOXES] > 0.0
  assert losses(mined) != losses(joint)


def test_metrics_are_those_of_the_log(folder):
  task = make_task(folder)
  run = Run(task, folder)
  logs = run.step()
  names = [metric.name for metric in run.metrics]
  measured = mining_measures.names(task.task_config.mining, with_erased=False)
  assert names == [*tiny.LOSSES, "dropped_boxes", *measured]
  assert set(logs) == {"loss", *names}
  for metric in run.metrics:
    assert float(metric.result()) == logs[metric.name]
  assert logs["loss"] == pytest.approx(sum(logs[name] for name in tiny.LOSSES), rel=1e-5)
  # Every candidate is mined, finds no slot or is dropped for one reason.
  counted = logs[mining_measures.BOXES] + logs[mining_measures.OVERFLOWED]
  shares = sum(logs[name] for name in names if name.startswith("mining/dropped_"))
  assert counted == pytest.approx((1.0 - shares) * logs[mining_measures.CANDIDATES], rel=1e-4)
  assert 0.2 < logs[mining_measures.SCORE] < 1.0


def test_metrics_are_means_over_steps_and_those_of_boxes_over_all_boxes(folder, monkeypatch):
  run = Run(make_task(folder), folder)
  # A score of 3 in 4 boxes, nothing mined, and 1 in 12.
  measured = iter([(3.0, 4.0), (0.0, 0.0), (1.0, 12.0)])
  measures = mining_measures.measures

  def with_score(*args):
    score = training_losses.Measure(*map(tf.constant, next(measured)))
    return measures(*args) | {mining_measures.SCORE: score}

  monkeypatch.setattr(mining_measures, "measures", with_score)
  logs = [run.step() for _ in range(3)]
  means = {metric.name: float(metric.result()) for metric in run.metrics}
  assert means[mining_measures.SCORE] == 0.25
  for name in (*tiny.LOSSES, "dropped_boxes"):
    assert means[name] == pytest.approx(np.mean([values[name] for values in logs]), rel=1e-5)


def test_identical_views_have_twice_the_loss(folder, model, batch):
  # All anchors and proposals are used in the loss, so that the views' samples are the same.
  everything = {
    "rpn": {"batch_size": 1000, "positive_fraction": 1.0},
    "roi_head": {"batch_size": 16, "positive_fraction": 1.0},
    "refinement": {"train_rois": 0},
  }
  joint, plain = (
    make_task(folder, {"mode": "joint"}, experiment, **everything)
    for experiment in (experiments.CO_MINING, experiments.DEFAULT)
  )
  found, expected = (
    training_losses.reduce_over_replicas(task._compute_replica_losses(batch, model, STEP)[0])
    for task in (joint, plain)
  )
  assert found.keys() == expected.keys()
  for name, loss in expected.items():
    factor = 1.0 if name == "weight_decay" else 2.0
    np.testing.assert_allclose(found[name], factor * loss, rtol=1e-4, err_msg=name)
  assert float(found["closeness"]) > 0.0


def test_a_batch_without_boxes_trains(folder):
  run = Run(make_task(folder), folder)
  images, labels = run.batch
  empty = {
    **labels,
    "gt_boxes_px": -tf.ones_like(labels["gt_boxes_px"]),
    "gt_classes": -tf.ones_like(labels["gt_classes"]),
  }
  logs = run.step((images, empty))
  assert logs[mining_measures.BOXES] > 0.0
  assert all(np.isfinite(value) for value in logs.values())
  assert all(np.isfinite(value).all() for value in run.model.get_weights())


def test_no_loss_sees_erased_annotations(folder, tmp_path):
  logs = []
  for erased in ([], [[30, 40, 46, 62]]):
    examples = []
    for seed in range(2):
      image = fixtures.noise_image(48, 64, seed)
      content = fixtures.serialized_example(image, tiny.BOXES, tiny.CLASSES, source_id=str(seed))
      example = tf.train.Example.FromString(content)
      hidden = fixtures.serialized_example(image, erased, [1] * len(erased))
      for name, feature in tf.train.Example.FromString(hidden).features.feature.items():
        if name.startswith(schema.OBJECT_PREFIX) and erased:
          name = name.replace(schema.OBJECT_PREFIX, schema.ERASED_PREFIX)
          example.features.feature[name].CopyFrom(feature)
      examples.append(example.SerializeToString())
    path = fixtures.write_records(tmp_path / f"{len(erased)}.tfrecord", examples)
    data = {"input_path": path, "flip_probability": 0.0}
    with determinism.deterministic(True):
      logs.append(Run(make_task(folder, train_data=data), folder).step())
  assert losses(logs[0]) == losses(logs[1])


@pytest.mark.parametrize(
  ("settings", "expected"),
  [
    ({}, [0.8] * 5),
    ({"start_step": 2}, [mining.NEVER] * 2 + [0.8] * 3),
    ({"warmup_steps": 2, "warmup_score_threshold": 0.9}, [0.9, 0.85, 0.8, 0.8, 0.8]),
    (
      {"start_step": 2, "warmup_steps": 2, "warmup_score_threshold": 0.9},
      [mining.NEVER] * 2 + [0.9, 0.85, 0.8],
    ),
  ],
)
def test_score_threshold(settings, expected):
  config = experiments.mtl_frcnn_co_mining().task.mining
  config.override(settings)
  found = [float(co_mining.score_threshold(config, tf.constant(step))) for step in range(5)]
  np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_step_and_image_seed_the_second_view(folder, batch):
  config = make_task(folder).task_config
  seen = []

  def second_view(images, *others):
    seen.append(others)
    return images

  with mock.patch.object(co_mining, "second_view", second_view):
    for step in (4, 4, 5):
      images, labels = co_mining.make_views(config, batch, tf.constant(step))
  (size, first, settings), (_, again, _), (_, later, _) = seen
  assert images.shape[0] == 2 * NUM_IMAGES
  np.testing.assert_array_equal(size, batch[1]["image_size_px"])
  assert settings == config.mining.augmentation
  np.testing.assert_array_equal(first, again)
  assert not np.array_equal(first, later)
  assert not np.array_equal(first[0], first[1])
  keys = labels["view_key"].numpy()
  np.testing.assert_array_equal(keys[:NUM_IMAGES], batch[1]["image_key"])
  assert len(set(keys.tolist())) == 2 * NUM_IMAGES


def test_every_setting_of_the_second_view_reaches_its_colours(folder, batch):
  strengths = {"brightness": 0.1, "contrast": 0.2, "saturation": 0.3, "hue": 0.4}
  values = {
    "probability": 0.7,
    "blur_probability": 0.6,
    "blur_sigma_min": 0.5,
    "blur_sigma_max": 1.5,
    "color_jitter": strengths,
  }
  config = make_task(folder, {"augmentation": values}).task_config
  with mock.patch.object(co_mining.color_ops, "jitter_colors") as called:
    called.side_effect = lambda images, *_, **__: images
    co_mining.make_views(config, batch, STEP)
  images, sizes, _ = called.call_args.args
  assert images is batch[0] and sizes is batch[1]["image_size_px"]
  assert called.call_args.kwargs == {
    **strengths,
    "probability": 0.7,
    "blur_probability": 0.6,
    "blur_sigmas": (0.5, 1.5),
  }


def test_colours_and_blur_of_the_second_view_have_probabilities_of_their_own(folder):
  plain = tf.fill([4, 32, 32, 3], 100.0)
  noise = tf.random.stateless_uniform(plain.shape, [0, 1], 0.0, 255.0)
  sizes, seeds = tf.fill([4, 2], 32.0), tf.constant([[1, i] for i in range(4)])
  config = make_task(folder).task_config.mining.augmentation

  def change(images, probability, blur_probability):
    settings = config.replace(probability=probability, blur_probability=blur_probability)
    return np.abs(co_mining.second_view(images, sizes, seeds, settings) - images).max(
      axis=(1, 2, 3)
    )

  # A blur leaves an image of one colour as it is.
  np.testing.assert_allclose(change(plain, 0.0, 1.0), 0.0, atol=1e-2)
  assert (change(plain, 1.0, 0.0) > 1.0).all()
  np.testing.assert_array_equal(change(noise, 0.0, 0.0), 0.0)
  assert (change(noise, 0.0, 1.0) > 1.0).all()
