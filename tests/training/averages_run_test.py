"""Runs with averaged weights: what is evaluated, trained on, and there after faults."""

import json
import pathlib

import numpy as np
import pytest
import tensorflow as tf
from official.core import train_utils

from mtl_ssl_tf.training import averaged_weights, driver, nonfinite, reproduction, stopping, trainer
from tests.training import toy_task

EMA = {"average_decay": 0.98, "dynamic_decay": False}
WITH_EMA = {"optimizer_config": {"ema": EMA}}


@pytest.fixture(name="folder")
def _folder(tmp_path):
  toy_task.write_records(tmp_path)
  return tmp_path


def weights(path: pathlib.Path, prefix: str) -> np.ndarray:
  """All weights of a checkpoint that lie under a prefix, but not their slots; kernel first."""
  reader = tf.train.load_checkpoint(str(path))
  keys = sorted(
    key
    for key in reader.get_variable_to_shape_map()
    if key.startswith(prefix) and "OPTIMIZER_SLOT" not in key
  )
  values = sorted((reader.get_tensor(key) for key in keys), key=np.size, reverse=True)
  return np.concatenate([value.ravel() for value in values])


def averaged(path: pathlib.Path) -> np.ndarray:
  return weights(path, "model/layer")


def trained(path: pathlib.Path) -> np.ndarray:
  return weights(path, "training_weights/")


def error_of(folder: pathlib.Path, found: np.ndarray) -> float:
  """What the toy's evaluation measures, of a kernel of three and a bias."""
  records = tf.data.TFRecordDataset(str(folder / "rows.tfrecord"))
  rows = np.stack([tf.io.parse_tensor(record, tf.float32) for record in records])
  return float(np.mean((rows[:, :-1] @ found[:3] + found[3] - rows[:, -1]) ** 2))


def figure(run: pathlib.Path, step: int) -> float:
  return json.loads((run / f"evaluation-{step}.json").read_text())["error"]


def test_evaluations_measure_the_averages(folder, capsys):
  override = {"trainer": {**WITH_EMA, "train_steps": 100, "validation_interval": 50}}
  final = toy_task.run(folder, "run", override)
  run = folder / "run"
  out = capsys.readouterr().out
  assert out.count("evaluated: the averaged weights\n") == 2
  assert "averaged weights: decay 0.98, from step 0 on" in out
  # Adam's step is 0.01, so that after 100 of them an average is some 50 steps behind.
  for step in (50, 100):
    now, behind = trained(run / f"ckpt-{step}"), averaged(run / f"ckpt-{step}")
    assert np.abs(now - behind).max() > 0.1
    assert figure(run, step) == pytest.approx(error_of(folder, behind), rel=1e-5)
    assert abs(error_of(folder, now) - error_of(folder, behind)) > 0.1
    best = run / "best" / f"best_ckpt-{step}"
    assert averaged(best).tobytes() == behind.tobytes()
    assert trained(best).tobytes() == now.tobytes()
  # What was trained last, not what was evaluated, is what the run ends with.
  assert sorted(final) == sorted(trained(run / "ckpt-100"))

  (run / "evaluation-100.json").unlink()
  params = toy_task.experiment(folder, {"trainer": {"train_steps": 100}})
  model, _ = driver.run(params, "eval", str(run))
  assert figure(run, 100) == pytest.approx(error_of(folder, averaged(run / "ckpt-100")), rel=1e-5)
  assert "evaluated: the averaged weights\n" in capsys.readouterr().out
  found = np.concatenate([value.numpy().ravel() for value in model.variables])
  assert found.tobytes() == averaged(run / "ckpt-100").tobytes()


def test_without_averages_nothing_is_kept_of_them(folder, capsys):
  toy_task.run(folder, "run", {"trainer": {"train_steps": 50}})
  keys = dict(tf.train.list_variables(str(folder / "run" / "ckpt-50")))
  assert not [key for key in keys if "training_weights" in key]
  assert "averaged" not in capsys.readouterr().out


def test_averages_begin_late_and_stay(folder):
  short, longer = ({"trainer": {"train_steps": steps}} for steps in (50, 100))
  toy_task.run(folder, "run", short)
  toy_task.run(folder, "run", {"trainer": {**longer["trainer"], **WITH_EMA}})
  run = folder / "run"
  # What is trained is what would have been without.
  toy_task.run(folder, "plain", longer)
  assert trained(run / "ckpt-100").tobytes() == averaged(folder / "plain" / "ckpt-100").tobytes()
  assert averaged(run / "ckpt-100").tobytes() != trained(run / "ckpt-100").tobytes()
  with pytest.raises(
    ValueError, match=r"trainer\.optimizer_config\.ema\.average_decay 0\.98 -> No"
  ):
    toy_task.run(folder, "run", {"trainer": {"train_steps": 150}})


def test_a_compiled_run_is_the_same(folder):
  trainer_override = {**WITH_EMA, "train_steps": 50}
  toy_task.run(folder, "plain", {"trainer": trainer_override})
  toy_task.run(folder, "xla", {"trainer": trainer_override, "runtime": {"enable_xla": True}})
  for read in (trained, averaged):
    ours, theirs = (read(folder / name / "ckpt-50") for name in ("xla", "plain"))
    np.testing.assert_allclose(ours, theirs, atol=1e-6)


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, stopping.StoppedError])
def test_an_evaluation_that_ends_early_leaves_the_trained_weights(folder, monkeypatch, error):
  params = toy_task.experiment(folder, {"trainer": WITH_EMA})
  task = toy_task.ToyTask(params.task)
  optimizer = train_utils.create_optimizer(task, params)
  made = trainer.TaskTrainer(params, task, task.build_model(), optimizer)
  made.initialize()
  made.train(tf.constant(20))
  before = [weight.numpy() for weight in made.model.trainable_variables]
  seen = []

  def aggregate_logs(state, step_logs):
    seen.append([weight.numpy() for weight in made.model.trainable_variables])
    raise error

  monkeypatch.setattr(task, "aggregate_logs", aggregate_logs)
  with pytest.raises(error):
    made.evaluate(tf.constant(-1))
  assert not np.array_equal(seen[0][0], before[0])
  for weight, expected in zip(made.model.trainable_variables, before, strict=True):
    assert weight.numpy().tobytes() == expected.tobytes()


def test_new_weights_are_averaged_from_their_start_on(folder, monkeypatch):
  params = toy_task.experiment(folder, {"trainer": WITH_EMA})
  task = toy_task.ToyTask(params.task)
  optimizer = train_utils.create_optimizer(task, params)
  made = trainer.TaskTrainer(params, task, task.build_model(), optimizer)
  monkeypatch.setattr(task, "initialize", lambda model: model.variables[1].assign([7.0]))
  made.initialize()
  assert [float(value[0]) for value in made.averages.variables.values() if value.shape == [1]] == [
    7.0
  ]


@pytest.mark.parametrize(
  # Up to the first step averages are the weights. The second step's decay is 3 / 12.
  ("settings", "behind"),
  [({"start_step": 2}, 0.98), ({"dynamic_decay": True}, 0.25)],
)
def test_the_decay_is_that_of_the_step_that_is_taken(folder, settings, behind):
  ema = {**EMA, **settings}
  params = toy_task.experiment(folder, {"trainer": {"optimizer_config": {"ema": ema}}})
  task = toy_task.ToyTask(params.task)
  optimizer = train_utils.create_optimizer(task, params)
  made = trainer.TaskTrainer(params, task, task.build_model(), optimizer)
  made.train(tf.constant(1))
  before = [average.numpy() for average in made.averages.variables.values()]
  made.train(tf.constant(1))
  for was, weight, average in zip(
    before, made.model.trainable_variables, made.averages.variables.values(), strict=True
  ):
    assert np.all(was != weight.numpy())
    expected = behind * was + (1.0 - behind) * weight.numpy()
    np.testing.assert_allclose(average.numpy(), expected, rtol=1e-5)


BAD_BATCH, LATER_BAD_BATCH = 60, 80


def _poisoned(build_inputs):
  """The toy's batches, two of them with NaN."""

  def build(self, params, input_context=None, first_batch=0, skipped_batches=()):
    rows = build_inputs(self, params, input_context, first_batch, skipped_batches)
    if not params.is_training:
      return rows
    skipped = tf.constant([*skipped_batches], tf.int64)
    numbers = tf.data.Dataset.counter(first_batch).filter(
      lambda number: tf.reduce_all(number != skipped)
    )
    return tf.data.Dataset.zip(rows, numbers).map(
      lambda rows, number: tf.where(
        (number == BAD_BATCH) | (number == LATER_BAD_BATCH), np.nan, rows
      )
    )

  return build


def _without_bad_batches(build_inputs):
  def build(self, params, input_context=None, first_batch=0, skipped_batches=()):
    skipped_batches = [*skipped_batches, BAD_BATCH, LATER_BAD_BATCH]
    return build_inputs(self, params, input_context, first_batch, skipped_batches)

  return build


def test_a_run_that_recovers_has_the_averages_of_one_without_the_batches(folder, monkeypatch):
  usual = toy_task.ToyTask.build_inputs
  override = {"trainer": {**WITH_EMA, "train_steps": 100, "nonfinite": "recover"}}
  monkeypatch.setattr(toy_task.ToyTask, "build_inputs", _poisoned(usual))
  toy_task.run(folder, "recovered", override)
  monkeypatch.setattr(toy_task.ToyTask, "build_inputs", _without_bad_batches(usual))
  toy_task.run(folder, "clean", override)
  for read in (trained, averaged):
    ours, theirs = (read(folder / name / "ckpt-100") for name in ("recovered", "clean"))
    assert ours.tobytes() == theirs.tobytes()
    assert np.all(np.isfinite(ours))

  # What repeats the step has the weights that it was taken with.
  monkeypatch.setattr(toy_task.ToyTask, "build_inputs", usual)
  toy_task.run(folder, "short", {"trainer": {**WITH_EMA, "train_steps": BAD_BATCH}})
  seen = []
  monkeypatch.setattr(nonfinite, "take_apart", lambda task, model, *_, **__: seen.append(model))
  reproduction.repeat(
    toy_task.experiment(folder, override), str(folder / "recovered" / f"nonfinite-{BAD_BATCH + 1}")
  )
  found = np.concatenate([variable.numpy().ravel() for variable in seen[0].variables])
  before = folder / "short" / f"ckpt-{BAD_BATCH}"
  assert found.tobytes() == trained(before).tobytes()
  # Nor did the averages move any further until the fault was seen, twenty steps later.
  kept = folder / "recovered" / f"nonfinite-{BAD_BATCH + 1}" / "weights"
  assert averaged(kept).tobytes() == averaged(before).tobytes()


def test_averages_that_are_not_finite_end_the_run_unsaved(folder, monkeypatch):
  update = averaged_weights.AveragedWeights.update

  def spoil(self, step, is_bad=False):
    update(self, step, is_bad)
    bias = list(self.variables.values())[1]
    bias.assign(tf.where(step == 60, tf.fill([1], np.nan), tf.convert_to_tensor(bias)))

  monkeypatch.setattr(averaged_weights.AveragedWeights, "update", spoil)
  params = toy_task.experiment(folder, {"trainer": {**WITH_EMA, "train_steps": 60}})
  with pytest.raises(stopping.RunError) as error:
    driver.run(params, "train", str(folder / "run"))
  assert "1 of 4 variables hold numbers that are not finite, such as averages/" in str(error.value)
  assert sorted(path.name for path in (folder / "run").glob("*.index")) == ["ckpt-50.index"]
