"""Steps and runs of pretraining by instance localisation."""

import json
import pathlib
import re
import signal
import subprocess
import sys
import time
import types
from unittest import mock

import numpy as np
import pytest
import tensorflow as tf

from mtl_ssl_tf.modeling.pretraining import insloc_model
from mtl_ssl_tf.ops import seed_ops, shuffle_ops
from mtl_ssl_tf.tasks import insloc, insloc_settings
from mtl_ssl_tf.training import driver, reproduction, stopping
from mtl_ssl_tf.visualization import composites
from tests.tasks import insloc_tiny, tiny
from tests.training import kill_training

_ROOT = pathlib.Path(__file__).parents[2]
# Every image by itself, so that nothing depends on the order of the batch.
ALONE = {"group_size": 1, "box_augmentation": {"enabled": False}}


class Step:
  """A task with its model and optimizer, whose steps can be taken."""

  def __init__(
    self, jit_compile: bool = False, precision: str = "float32", decay_steps: int = 8, **task
  ):
    rate = {"learning_rate": {"cosine": {"decay_steps": decay_steps}}}
    params = insloc_tiny.experiment({"task": task, "trainer": {"optimizer_config": rate}})
    method = "matmul" if jit_compile else "native"
    self.task = insloc_tiny.RandomInsLocTask(params.task, crop_method=method, precision=precision)
    self.model = self.task.build_model()
    self.optimizer = self.task.create_optimizer(params.trainer.optimizer_config, params.runtime)
    self.optimizer._create_all_weights(self.model.trainable_variables)
    self._step = tf.function(
      lambda batch: self.task.train_step(batch, self.model, self.optimizer),
      jit_compile=jit_compile,
      autograph=False,
    )

  def __call__(self, number: int = 0) -> dict[str, float]:
    batch = insloc_tiny.random_batch(tf.constant(number, tf.int64), (0, insloc_tiny.BATCH_SIZE))
    return {name: float(value) for name, value in self._step(batch).items()}


def test_a_step_is_what_the_method_says():
  step = Step(**ALONE)
  model, task = step.model, step.task
  before = [variable.numpy() for variable in model.query_encoder.trainable_weights]
  rng = np.random.default_rng(0)
  for own in model.key_encoder.averages:
    own.assign(own + 0.01 * rng.normal(size=own.shape))
  key_before = [own.numpy() for own in model.key_encoder.averages]
  queue = model.queue.keys.numpy()
  batch = insloc_tiny.random_batch(tf.constant(0, tf.int64), (0, 4))
  logs = step(0)

  # The same by hand, with another model that has the weights from before.
  other = insloc_model.build(task.task_config)
  for variable, value in zip(other.query_encoder.trainable_weights, before, strict=True):
    variable.assign(value)
  for variable, was, query in zip(other.key_encoder.averages, key_before, before, strict=True):
    variable.assign(0.9 * was + 0.1 * query)
  queries, keys = (
    encoder(batch[f"{role}_images"], batch[f"{role}_boxes"][:, tf.newaxis], training=True).numpy()
    for role, encoder in (("query", other.query_encoder), ("key", other.key_encoder))
  )
  queries, keys = queries[:, 0], keys[:, 0]
  similarities = np.concatenate(
    [np.sum(queries * keys, axis=1)[:, None], queries @ queue.T], axis=1
  )
  exponents = np.exp(similarities / 0.2)
  loss = np.mean(-np.log(exponents[:, 0] / exponents.sum(axis=1)))
  assert logs["contrastive"] == pytest.approx(loss, rel=1e-4)
  assert logs["accuracy"] == np.mean(np.argmax(similarities, axis=1) == 0)
  decay = 1e-3 * 0.5 * sum(float(np.sum(value.astype(np.float64) ** 2)) for value in before)
  assert logs["weight_decay"] == pytest.approx(decay, rel=1e-5)
  assert logs["loss"] == pytest.approx(loss + decay, rel=1e-4)
  # Keys lie in the order of the batch, the oldest ones are gone.
  np.testing.assert_allclose(model.queue.keys[:4], keys, atol=1e-5)
  np.testing.assert_array_equal(model.queue.keys[4:], queue[4:])
  assert (logs["queue_age"], logs["queue_filled"]) == (0.0, 0.0)
  logs = step(1)
  assert (logs["queue_age"], logs["queue_filled"]) == (1.0, 0.5)
  # Both encoders have moved.
  assert any(
    np.any(now.numpy() != was)
    for now, was in zip(model.query_encoder.trainable_weights, before, strict=True)
  )


@pytest.mark.parametrize(
  ("is_training", "module"), [(True, insloc.composite_reader), (False, insloc.reader)]
)
def test_every_setting_of_the_data_reaches_its_reader(monkeypatch, is_training, module):
  given = {}
  monkeypatch.setattr(
    module, "make_dataset", lambda params, **options: given.update(options, params=params)
  )
  monkeypatch.setattr(insloc.composite_reader, "num_images", lambda params: 1000)
  task = insloc.InsLocTask(insloc_tiny.experiment().task)
  params = types.SimpleNamespace(is_training=is_training)
  task.build_inputs(params, "context", first_batch=4, skipped_batches=[5])
  assert given == {
    "params": params,
    "first_batch": 4,
    "skipped_batches": [5],
    "input_context": "context",
  }


def test_every_setting_of_the_boxes_reaches_their_augmentation(monkeypatch):
  settings = {"min_iou": 0.4, "cells": 5, "scales": [1.0, 2.0], "aspect_ratios": [0.5]}
  task = insloc.InsLocTask(
    insloc_tiny.experiment({"task": {"box_augmentation": settings, "seed": 2}}).task
  )
  boxes_px = tf.constant([[0.0, 0.0, 40.0, 40.0]] * 4)
  with mock.patch.object(insloc.box_augmentation, "augment_boxes") as augment_boxes:
    task._query_boxes(boxes_px, 64, tf.constant(3))
  given, seeds, side = augment_boxes.call_args.args
  assert (given is boxes_px, side, augment_boxes.call_args.kwargs) == (True, 64, settings)
  expected = seed_ops.image_seeds(2, seed_ops.BOX_AUGMENTATION, 3, tf.range(4))
  np.testing.assert_array_equal(seeds, expected)


@pytest.mark.parametrize("shuffle", ["batch", "replica"])
def test_shuffling_loses_nothing_and_boxes_follow_their_images(shuffle):
  plain, shuffled = Step(shuffle="none", **ALONE), Step(shuffle=shuffle, **ALONE)
  for number in range(3):
    assert shuffled(number) == pytest.approx(plain(number), rel=1e-4, abs=1e-5)
  np.testing.assert_allclose(plain.model.queue.keys, shuffled.model.queue.keys, atol=1e-4)


def test_key_images_are_normalised_in_mixed_company():
  """The keys of a step are those of the groups that its order makes."""
  step = Step(momentum=1.0, box_augmentation={"enabled": False})
  for number in range(20):
    seed = seed_ops.step_seed(0, seed_ops.KEY_SHUFFLE, tf.constant(number))
    order = shuffle_ops.random_order(4, seed).numpy()
    if sorted(order[:2]) not in ([0, 1], [2, 3]):
      break
  step.optimizer.iterations.assign(number)
  batch = insloc_tiny.random_batch(tf.constant(0, tf.int64), (0, 4))
  other = insloc_model.build(step.task.task_config)
  other.set_weights(step.model.get_weights())
  boxes = batch["key_boxes"][:, tf.newaxis]
  mixed = other.key_encoder(
    tf.gather(batch["key_images"], order), tf.gather(boxes, order), training=True
  ).numpy()[:, 0]
  step(0)
  expected = np.empty_like(mixed)
  expected[order] = mixed
  np.testing.assert_allclose(step.model.queue.keys[:4], expected, atol=1e-5)
  unmixed = other.key_encoder(batch["key_images"], boxes, training=True).numpy()[:, 0]
  assert np.abs(unmixed - expected).max() > 1e-3


def test_no_gradient_goes_through_keys():
  step = Step(**ALONE)
  model = step.model
  batch = insloc_tiny.random_batch(tf.constant(0, tf.int64), (0, 4))
  boxes = [batch[f"{role}_boxes"][:, tf.newaxis] for role in ("query", "key")]
  with tf.GradientTape() as tape:
    tape.watch([*boxes, *model.key_encoder.averages])
    queries, keys, _ = step.task._encode(
      model, batch["query_images"], boxes[0], batch["key_images"], boxes[1]
    )
    loss = tf.reduce_sum(queries[..., 0]) + tf.reduce_sum(keys[..., 0])
  variables = model.trainable_variables
  by_boxes, by_key_boxes, *by_own = tape.gradient(loss, [*boxes, *model.key_encoder.averages])
  assert float(tf.norm(by_boxes)) > 0.0
  assert by_key_boxes is None
  assert by_own == [None] * len(by_own)
  assert len(variables) == len(by_own)


def test_queries_are_pooled_from_other_boxes():
  step = Step(box_augmentation={"min_iou": 0.3})
  boxes = tf.constant([[0.0, 0.0, 40.0, 40.0]] * 4)
  first = step.task._query_boxes(boxes, 64, tf.constant(0)).numpy()
  assert len({tuple(box) for box in first}) == 4
  np.testing.assert_array_equal(step.task._query_boxes(boxes, 64, tf.constant(0)), first)
  assert np.any(step.task._query_boxes(boxes, 64, tf.constant(1)) != first)
  for off in (Step(box_augmentation={"enabled": False}), Step(pooling="image")):
    np.testing.assert_array_equal(off.task._query_boxes(boxes, 64, tf.constant(0)), boxes)


@pytest.mark.parametrize(
  "task",
  [{}, {"pooling": "image", "shuffle": "replica"}, {"backbone": {"norm": {"type": "group"}}}],
)
def test_the_compiled_step_is_the_same(task):
  plain, compiled = Step(**task), Step(jit_compile=True, **task)
  for number in range(2):
    assert compiled(number) == pytest.approx(plain(number), rel=1e-3, abs=1e-3)
  for one, other in zip(plain.model.variables, compiled.model.variables, strict=True):
    np.testing.assert_allclose(one, other, atol=2e-3, err_msg=one.name)


@pytest.mark.parametrize("precision", ["bfloat16"])
def test_mixed_precision(precision):
  plain, half = Step(), Step(precision=precision)
  assert half(0)["contrastive"] == pytest.approx(plain(0)["contrastive"], rel=0.05)
  assert half.model.trainable_variables[0].dtype == tf.float32


def test_steps_on_one_batch_lower_its_loss():
  step = Step(decay_steps=1000, momentum=1.0, weight_decay=0.0)
  queue, losses = step.model.queue.keys.numpy(), []
  for _ in range(8):
    losses.append(step(0)["contrastive"])
    # The same choices against the same keys.
    step.model.queue.keys.assign(queue)
    step.optimizer.iterations.assign(0)
  assert losses[-1] < losses[0] - 0.05


@pytest.fixture(name="folder", scope="module")
def _folder(tmp_path_factory):
  folder = tmp_path_factory.mktemp("insloc")
  tiny.write_records(folder)
  return folder


def test_a_killed_run_ends_like_one_that_was_not(folder):
  rate = {"learning_rate": {"cosine": {"decay_steps": 3000}}}
  many = {"trainer": {"train_steps": 3000, "optimizer_config": rate}}
  process = subprocess.Popen(
    [sys.executable, "-m", "tests.tasks.insloc_tiny", str(folder), json.dumps(many)],
    cwd=_ROOT,
    stdout=subprocess.DEVNULL,
  )
  deadline = time.monotonic() + 240.0
  while not (folder / "run" / "checkpoint").exists() and time.monotonic() < deadline:
    assert process.poll() is None
    time.sleep(0.01)
  process.kill()
  assert process.wait() == -signal.SIGKILL
  last = kill_training.last_step(folder / "run") + 3
  override = {"trainer": {"train_steps": last, "optimizer_config": rate}}
  insloc_tiny.run(folder, "run", override)
  insloc_tiny.run(folder, "whole", override)
  names = kill_training.tensors(folder / "whole")
  for part in ("stage1", "key_encoder", "queue/keys", "queue/num_enqueued", "projection"):
    assert any(part in name for name in names), part
  assert kill_training.differences(folder / "run", folder / "whole") == []


def test_the_probe_chooses_the_best_checkpoint(folder, capsys):
  insloc_tiny.run(folder, "probed", mode="train_and_eval")
  out = capsys.readouterr().out
  figures = json.loads((folder / "probed" / "evaluation-8.json").read_text())
  # Three images of noise with two objects each.
  assert figures["probe/objects"] == 6.0
  (line, *_) = re.findall(r"^probe: 6 objects of 2 classes by 1 neighbours: .+$", out, re.M)
  assert "% right, mean of the classes (chance 50.0)" in line
  info = json.loads((folder / "probed" / "best" / "info.json").read_text())
  assert {kept["step"] for kept in info["kept"]} == {4, 8}
  assert re.search(r"^step 8/8 \| loss [\d.]+ \(contrastive [\d.]+ .*accuracy [\d.]+ ", out, re.M)
  assert "queue_filled" not in out


def test_the_probe_measures_features_of_objects(folder):
  params = insloc_tiny.experiment(folder=folder)
  task = insloc_tiny.RandomInsLocTask(params.task)
  model = task.build_model()
  state = None
  features = []
  for batch in task.build_inputs(params.task.validation_data):
    outputs = task.validation_step(batch, model)
    images, labels = batch
    for row in range(2):
      if labels["example_valid"][row]:
        boxes = labels["gt_boxes_px"][row : row + 1, :2]
        sizes = labels["image_size_px"][row : row + 1]
        features.append(model.query_encoder.box_features(images[row : row + 1], boxes, sizes)[0])
    state = task.aggregate_logs(state, {name: (value,) for name, value in outputs.items()})
  collected = np.concatenate(task._probe._features)
  np.testing.assert_allclose(collected, np.concatenate(features), rtol=1e-4, atol=1e-4)
  assert np.concatenate(task._probe._classes).tolist() == [1, 2] * tiny.NUM_VAL
  assert np.concatenate(task._probe._images).tolist() == [0, 0, 1, 1, 2, 2]


def test_a_step_that_is_not_applied_leaves_all_of_the_state(monkeypatch, tmp_path):
  built = {}
  real = insloc_model.build

  def build(*args, **kwargs):
    built["model"] = real(*args, **kwargs)
    return built["model"]

  monkeypatch.setattr(insloc_model, "build", build)
  # From the sixth step on no loss is small enough.
  bound = {"loss_upper_bound": 1e-6, "recovery_begin_steps": 5}
  with pytest.raises(stopping.RunError, match=r"step 6 \(batch 5\) has a loss above") as error:
    driver.run(insloc_tiny.experiment({"trainer": bound}), "train", str(tmp_path))
  assert "noise 5" in str(error.value)
  model = built["model"]
  assert int(model.queue.num_enqueued) == 5 * insloc_tiny.BATCH_SIZE
  step = Step()
  for number in range(5):
    step(number)
  for variable, expected in zip(model.variables, step.model.variables, strict=True):
    np.testing.assert_allclose(variable, expected, atol=1e-3, err_msg=variable.name)
  # The folder that was left repeats the step.
  losses, gradients = reproduction.repeat(insloc_tiny.experiment(), str(tmp_path / "nonfinite-6"))
  assert f"contrastive {losses['contrastive']:.4g} " in str(error.value)
  assert gradients == {}


def test_a_collapse_is_told_in_one_line():
  task = Step().task
  healthy = {"spread": 0.6, "queue_filled": 1.0}
  assert task.count_warning(healthy) is None
  assert task.count_warning({"spread": 0.01, "queue_filled": 0.5}) is None
  line = task.count_warning({"spread": 0.01, "queue_filled": 1.0})
  assert line.startswith("the network has collapsed: its vectors spread over 0.010 of what they")
  assert "\n" not in line


def test_a_collapsed_network_is_found(folder, capsys):
  # Weights of 0 and a bias: every image has the same vector.
  override = {"task": {"weight_decay": 0.0}, "trainer": {"train_steps": 6}}
  real = insloc_model.build

  def build(*args, **kwargs):
    model = real(*args, **kwargs)
    for encoder in (model.query_encoder, model.key_encoder):
      encoder.projection.last.kernel.assign(tf.zeros_like(encoder.projection.last.kernel))
      encoder.projection.last.bias.assign(tf.ones_like(encoder.projection.last.bias))
    return model

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(insloc_model, "build", build)
    zero = {"optimizer_config": {"learning_rate": {"cosine": {"initial_learning_rate": 1e-9}}}}
    override["trainer"] |= zero
    insloc_tiny.run(folder, "collapsed", override)
  lines = [line for line in capsys.readouterr().err.splitlines() if "collapsed" in line]
  assert len(lines) == 1


def test_pictures_show_pairs_with_their_boxes():
  step = Step(box_augmentation={"min_iou": 0.3})
  pictures = step.task.draw(step.model, 2)
  assert len(pictures) == 4
  # The stream's first batch, with the boxes that step 2 would pool from.
  batch = insloc_tiny.random_batch(tf.constant(0, tf.int64), (0, 4))
  pooled = step.task._query_boxes(batch["query_boxes"], 64, tf.constant(2)).numpy()
  expected = composites.draw_pairs(batch, pooled)
  np.testing.assert_array_equal(pictures, expected)
  # The next ones are of the next batch.
  batch = insloc_tiny.random_batch(tf.constant(1, tf.int64), (0, 4))
  pooled = step.task._query_boxes(batch["query_boxes"], 64, tf.constant(5)).numpy()
  expected = composites.draw_pairs(batch, pooled)
  np.testing.assert_array_equal(step.task.draw(step.model, 5), expected)


class TestRefused:
  @pytest.mark.parametrize(
    ("task", "expected"),
    [
      ({"queue_size": 10}, "task.queue_size is 10; accepted: a multiple of "
                           "task.train_data.global_batch_size (4), "),
      ({"group_size": 3}, "task.group_size is 3; accepted with task.backbone.norm.type batch: "),
      ({"backbone": {"norm": {"type": "frozen"}}}, "task.backbone.norm.type is 'frozen'; accepted: "
                                                   "batch, sync, group"),
      ({"backbone": {"recompute": True}}, "task.backbone.recompute is true; accepted: false "),
      ({"temperature": 0.0}, "task.temperature is 0.0; accepted: 0.001 to 1,000.0"),
      ({"backbone": {"type": "resnet"}}, "task.backbone.type is 'resnet'; accepted: "),
      ({"shuffle": "all"}, "task.shuffle is 'all'; accepted: batch, replica, none"),
    ],
  )  # fmt: skip
  def test_settings(self, task, expected, tmp_path):
    with pytest.raises(ValueError) as error:
      driver.run(insloc_tiny.experiment({"task": task}), "train", str(tmp_path))
    assert str(error.value).startswith(expected)

  def test_a_probe_without_records(self, tmp_path):
    override = {"task": {"validation_data": {"input_path": ""}}}
    with pytest.raises(ValueError) as error:
      driver.run(insloc_tiny.experiment(override), "train_and_eval", str(tmp_path))
    assert str(error.value).startswith("task.probe_data.input_path is ''; accepted: records of a ")

  @pytest.mark.parametrize(
    ("data", "expected"),
    [
      ({"image_dir": "/nowhere"}, "task.train_data.image_dir is '/nowhere'; accepted: a folder "),
      ({"input_path": "/nowhere/x-*"}, "task.train_data.input_path: no record files match"),
    ],
  )
  def test_no_images(self, data, expected):
    config = insloc_tiny.experiment({"task": {"train_data": {"image_dir": "", **data}}}).task
    with pytest.raises(ValueError) as error:
      insloc.InsLocTask.check_data(config, "train_data")
    assert str(error.value).startswith(expected)

  def test_weight_decay_twice(self, tmp_path):
    optimizer = {"type": "adamw", "adamw": {"weight_decay_rate": 0.1}}
    override = {"trainer": {"optimizer_config": {"optimizer": optimizer}}}
    with pytest.raises(ValueError, match=r"adamw.weight_decay_rate is 0.1; accepted: 0, or 0 for"):
      driver.run(insloc_tiny.experiment(override), "train", str(tmp_path))

  def test_one_group_is_warned_of(self, capsys):
    insloc.InsLocTask.check(insloc_tiny.experiment({"task": {"group_size": 4}}))
    assert "all images of a batch are normalised together" in capsys.readouterr().err
    insloc.InsLocTask.check(insloc_tiny.experiment())
    assert not capsys.readouterr().err


class TestQueueOfTheOwnImage:
  @pytest.mark.parametrize(
    ("num_images", "expected"),
    [
      (12, None),  # Two batches in the queue, and the query's own.
      (11, "told from about 0.7 composites of its own image; a queue of at most 4 has none"),
      (7, "about 1.1 composites of its own image; smaller batches, and a queue shorter than an "),
    ],
  )
  def test_warning(self, num_images, expected, capsys):
    config = insloc_tiny.experiment({"task": {"queue_size": 8}}).task
    insloc_settings.warn_of_queue(config, num_images)
    printed = capsys.readouterr().err
    if expected is None:
      assert not printed
    else:
      assert f"task.queue_size is 8, and an epoch has {num_images} images: " in printed
      assert expected in printed

  def test_the_images_of_training_are_counted(self, monkeypatch, capsys):
    config = insloc_tiny.experiment({"task": {"queue_size": 8}}).task
    reader = insloc.composite_reader
    monkeypatch.setattr(reader, "make_dataset", lambda params, **_: params.image_dir)
    monkeypatch.setattr(reader, "num_images", lambda params: {"a": 11, "b": 12}[params.image_dir])
    task = insloc.InsLocTask(config)
    for folder, is_warned_of in (("a", True), ("b", False)):
      data = config.train_data.replace(image_dir=folder, is_training=True)
      assert task.build_inputs(data) == folder
      assert ("task.queue_size is 8" in capsys.readouterr().err) == is_warned_of
