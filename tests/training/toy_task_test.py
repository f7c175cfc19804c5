"""The run knows a task by its protocol alone: one that shares nothing with detection is run too."""

import json
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow as tf

from mtl_ssl_tf.training import driver, pictures, stopping, strategies
from mtl_ssl_tf.training import task as task_lib
from tests.training import pictures_test, toy_task

_ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(name="folder")
def _folder(tmp_path):
  toy_task.write_records(tmp_path)
  return tmp_path


@pytest.mark.parametrize("ema", [None, {"average_decay": 0.99}])
def test_a_killed_run_ends_like_one_that_was_not(folder, ema):
  many = {
    "trainer": {
      "train_steps": 20_000,
      "validation_interval": 20_000,
      "optimizer_config": {"ema": ema},
    }
  }
  process = subprocess.Popen(
    [sys.executable, "-m", "tests.training.toy_task", str(folder), json.dumps(many)],
    cwd=_ROOT,
    stdout=subprocess.DEVNULL,
  )
  deadline = time.monotonic() + 120.0
  # Written last: an index may still be in the making.
  while not (folder / "run" / "checkpoint").exists() and time.monotonic() < deadline:
    time.sleep(0.01)
  process.kill()
  assert process.wait() == -signal.SIGKILL
  steps = [int(path.stem.split("-")[1]) for path in (folder / "run").glob("ckpt-*.index")]
  last = 50 * (max(steps) // 50 + 2)

  # To an end that lies beyond, evaluating on the way; the killed run had none.
  override = {
    "trainer": {**many["trainer"], "train_steps": last, "validation_interval": 50},
  }
  resumed = toy_task.run(folder, "run", override)
  assert toy_task.run(folder, "whole", override).tobytes() == resumed.tobytes()
  # So do both kinds of weights in its checkpoint, where there are averages.
  readers = [
    tf.train.load_checkpoint(str(folder / name / f"ckpt-{last}")) for name in ("run", "whole")
  ]
  keys = [key for key in readers[0].get_variable_to_shape_map() if "_weights/" in key]
  keys += [key for key in readers[0].get_variable_to_shape_map() if key.startswith("model/")]
  assert len(keys) == (6 if ema is None else 8)  # Adam has two slots for each.
  for key in keys:
    ours, theirs = (reader.get_tensor(key).tobytes() for reader in readers)
    assert ours == theirs, key
  # It was trained on the way.
  first = toy_task.run(folder, "first", {"trainer": {"train_steps": 50}})
  target = [2.0, 2.0, 2.0, 0.0]
  assert np.linalg.norm(resumed - target) < np.linalg.norm(first - target)


def test_a_run_trains_at_the_scaled_rate(folder):
  # Half the batch is the base, so that the rate is twice the 0.01 of the configuration.
  scaled = {"learning_rate_scaling": "linear", "base_batch_size": 2}
  found = toy_task.run(folder, "scaled", {"trainer": {"train_steps": 20, **scaled}})
  rate = {"learning_rate": {"constant": {"learning_rate": 0.02}}}
  twice = {"trainer": {"train_steps": 20, "optimizer_config": rate}}
  np.testing.assert_array_equal(found, toy_task.run(folder, "twice", twice))


def test_early_stopping_waits_for_the_last_drop_of_the_rate(folder, monkeypatch):
  monkeypatch.setattr(toy_task.ToyTask, "reduce_aggregated_logs", lambda *_, **__: {"error": 1.0})
  rate = {"type": "stepwise", "stepwise": {"boundaries": [100], "values": [0.01, 0.001]}}
  trainer = {
    "train_steps": 200,
    "validation_interval": 20,
    "early_stopping_patience": 1,
    "optimizer_config": {"learning_rate": rate},
  }
  toy_task.run(folder, "run", {"trainer": trainer})
  evaluations = [path.stem for path in (folder / "run").glob("evaluation-*.json")]
  assert max(int(name.split("-")[1]) for name in evaluations) == 120


def test_the_first_evaluation_comes_long_after_the_checkpoint_of_the_start(folder):
  # The run resumes from step 50, and of the next four checkpoints three are kept.
  for last in (50, 250):
    trainer = {"train_steps": last, "validation_interval": 250, "max_to_keep": 3}
    toy_task.run(folder, "run", {"trainer": trainer})
  assert not (folder / "run" / "ckpt-50.index").exists()
  assert (folder / "run" / "evaluation-250.json").exists()


def _gone(folder):
  files = [str(folder / "gone.tfrecord")]
  return tf.data.TFRecordDataset(files).map(lambda _: tf.zeros([4, 4]))


def _no_examples(content):
  def parse(record):
    parsed = tf.io.parse_single_example(record, {"x": tf.io.FixedLenFeature([], tf.string, "")})
    return tf.zeros([4, 4]) + tf.strings.to_number(parsed["x"])

  return tf.data.Dataset.from_tensors(content).map(parse)


@pytest.mark.parametrize("loop", ["by steps", "in a graph"])
@pytest.mark.parametrize("split", ["train_data", "validation_data"])
@pytest.mark.parametrize(
  ("records", "reason"),
  [
    (_gone, "{folder}/gone.tfrecord; No such file or directory"),
    (lambda _: _no_examples(b"<html></html>"), "a record is no tf.Example"),
    # TensorFlow quotes what is no text, and Python cannot read its message.
    (lambda _: _no_examples(b"\xff\x01"), "a record is no tf.Example"),
  ],
  ids=["gone", "text", "no text"],
)
def test_records_that_cannot_be_read_end_the_run_with_one_line(
  folder, monkeypatch, records, reason, split, loop
):
  build = toy_task.ToyTask.build_inputs

  def build_with_end(self, params, *args, **kwargs):
    batches = build(self, params, *args, **kwargs)
    if params.is_training != (split == "train_data"):
      return batches
    return batches.take(1).concatenate(records(folder))

  monkeypatch.setattr(toy_task.ToyTask, "build_inputs", build_with_end)
  with pytest.raises(stopping.RunError) as error:
    toy_task.run(folder, "run", {"trainer": _loops_of_both(loop == "in a graph")})
  what = "a batch of the evaluation"
  if split == "train_data":
    # The graph reads ahead, and does not tell how far it was.
    what = "the batch of step 2" if loop == "by steps" else "a batch of the steps 1 to 20"
  assert str(error.value) == (
    f"{what} cannot be read ({reason.format(folder=folder)}); the same command resumes from the"
    " last checkpoint once it can"
  )


def test_an_error_of_the_step_itself_is_not_taken_for_one_of_the_records(folder, monkeypatch):
  def train_step(self, inputs, model, optimizer, metrics=None):
    tf.debugging.assert_less(inputs, -100.0, "too large")
    return {self.loss: tf.reduce_sum(inputs)}

  monkeypatch.setattr(toy_task.ToyTask, "train_step", train_step)
  with pytest.raises(tf.errors.InvalidArgumentError, match="too large"):
    toy_task.run(folder, "run", {"trainer": _loops_of_both(True)})


def _loops_of_both(in_a_graph: bool) -> dict[str, int | bool]:
  loops = dict.fromkeys(("train_tf_while_loop", "eval_tf_while_loop"), in_a_graph)
  return {"train_steps": 50, "validation_interval": 50, "validation_steps": 2, **loops}


def test_the_best_checkpoints_are_kept(folder, capsys):
  toy_task.run(folder, "run")
  names = {path.name for path in (folder / "run" / "best").glob("*.index")}
  assert names == {f"best_ckpt-{step}.index" for step in (200, 400, 600)}
  figures = [
    json.loads((folder / "run" / f"evaluation-{step}.json").read_text())["error"]
    for step in (200, 400, 600)
  ]
  assert figures == sorted(figures, reverse=True)
  assert f"error {figures[-1]:.4f} (best {figures[-1]:.4f})" in capsys.readouterr().out


def test_a_run_that_no_longer_gets_better_ends(folder, capsys):
  no_rate = {"constant": {"learning_rate": 0.0}}
  trainer = {"early_stopping_patience": 2, "optimizer_config": {"learning_rate": no_rate}}
  toy_task.run(folder, "run", {"trainer": {**trainer, "train_steps": 5_000}})
  assert "the run ends early, at step 600" in capsys.readouterr().out


def test_the_progress_line_reports_what_the_task_warns_of(folder, monkeypatch, capsys):
  monkeypatch.setattr(toy_task.ToyTask, "count_warning", lambda self, values: "too many rows")
  toy_task.run(folder, "run", {"trainer": {"train_steps": 40}})
  assert capsys.readouterr().err.splitlines() == [
    "warning: trainer.optimizer_config.learning_rate.type is 'constant': the rate never drops; "
    "stepwise and cosine rates do",
    "warning: too many rows",
  ]


def test_the_task_has_its_words_on_each_loop_and_may_end_the_run(folder, monkeypatch, capsys):
  checked = []

  def check(self, values, step):
    checked.append((set(values), step))
    if step == 60:
      raise stopping.RunError("enough")

  monkeypatch.setattr(toy_task.ToyTask, "check_logs", check)
  monkeypatch.setattr(toy_task.ToyTask, "describe_logs", lambda self, values: f"rows {len(values)}")
  with pytest.raises(stopping.RunError, match=r"^enough$"):
    toy_task.run(folder, "run", {"trainer": {"train_steps": 100}})
  # At 50 a loop ends for a checkpoint.
  assert checked == [({"training_loss", "learning_rate"}, step) for step in (20, 40, 50, 60)]
  assert " | rows 2 | rate 0.01 | " in capsys.readouterr().out


def test_a_loss_that_is_not_finite_ends_with_the_advice_of_the_task(folder, monkeypatch):
  bound = {"trainer": {"train_steps": 20, "loss_upper_bound": 0.0}}
  texts = []
  for advice in ("", "change that"):
    monkeypatch.setattr(toy_task.ToyTask, "nonfinite_advice", advice)
    with pytest.raises(stopping.RunError) as error:
      toy_task.run(folder, f"run {advice}", bound)
    texts.append(str(error.value).splitlines())
  plain, advised = texts
  assert set(advised) - {"change that"} >= set(plain[:2])
  assert "change that" in advised and "change that" not in plain
  assert len(advised) == len(plain) + 1


@pytest.mark.parametrize("mode", ["train", "train_and_eval"])
def test_weights_that_are_not_finite_end_the_run_unsaved(folder, monkeypatch, mode):
  step = toy_task.ToyTask.train_step

  def spoil(self, inputs, model, optimizer, metrics=None):
    logs = step(self, inputs, model, optimizer)
    bias = model.trainable_variables[1]
    # Of finite gradients, in the last step of all: no loss is computed with what comes of it.
    bias.assign(tf.where(optimizer.iterations == 60, tf.fill([1], np.nan), bias))
    return logs

  monkeypatch.setattr(toy_task.ToyTask, "train_step", spoil)
  run = str(folder / "run")
  with pytest.raises(stopping.RunError) as error:
    driver.run(toy_task.experiment(folder, {"trainer": {"train_steps": 60}}), mode, run)
  assert str(error.value).startswith(
    f"checkpoint {run}/ckpt-60 is not saved, as 1 of 2 variables hold numbers that are not finite, "
    "such as model/"
  )
  assert sorted(path.name for path in (folder / "run").rglob("*.index")) == ["ckpt-50.index"]


def test_a_step_after_weights_that_are_not_finite_is_not_blamed_on_its_batch(folder, monkeypatch):
  def spoil(self, model):
    model.trainable_variables[1].assign([np.inf])

  monkeypatch.setattr(toy_task.ToyTask, "initialize", spoil)
  with pytest.raises(stopping.RunError) as error:
    toy_task.run(folder, "run", {"trainer": {"train_steps": 20}})
  lines = str(error.value).splitlines()
  assert lines[0].startswith("step 1 (batch 0) has a loss that is not finite")
  (line,) = [line for line in lines if line.startswith("the weights before it")]
  assert "1 of 2 variables hold numbers that are not finite, such as model/" in line
  assert "To change: the start weights, task.init_checkpoint or --init" in lines


def test_an_early_stopping_that_cannot_act_is_warned_of(folder, capsys):
  toy_task.run(folder, "run", {"trainer": {"train_steps": 40, "early_stopping_patience": 3}})
  assert "warning: trainer.early_stopping_patience is 3, which never" in capsys.readouterr().err


@pytest.mark.parametrize("is_chief", [True, False])
def test_the_chief_alone_writes_what_an_evaluation_leaves(folder, monkeypatch, is_chief):
  asked = []
  monkeypatch.setattr(
    toy_task.ToyTask, "prepare_evaluation", lambda self, writes: asked.append(writes)
  )
  monkeypatch.setattr(strategies, "is_chief", lambda strategy: is_chief)
  toy_task.run(folder, "run", {"trainer": {"train_steps": 20}})
  assert asked == [is_chief]


def test_a_run_ends_with_the_lines_of_its_task(folder, monkeypatch, capsys):
  asked, drawn, written = [], [], []
  monkeypatch.setattr(
    toy_task.ToyTask, "closing_lines", lambda self, folder: asked.append(folder) or ["last words"]
  )
  monkeypatch.setattr(
    pictures.ValidationPictures, "__call__", lambda self, step: drawn.append(step)
  )
  monkeypatch.setattr(pictures, "write_configuration", lambda *args: written.append(args))
  toy_task.run(folder, "run")
  assert capsys.readouterr().out.splitlines()[-1] == "last words"
  # Drawn after each evaluation.
  assert drawn == [200, 400, 600]
  ((text, model_dir, step),) = written
  assert "train_steps: 600" in text
  assert (model_dir, step) == (str(folder / "run"), 0)
  # Evaluation alone leaves the files of the training as they are.
  driver.run(toy_task.experiment(folder), "eval", str(folder / "run"))
  assert asked == [str(folder / "run"), None]
  assert len(written) == 1
  monkeypatch.setattr(strategies, "is_chief", lambda strategy: False)
  driver.run(toy_task.experiment(folder), "eval", str(folder / "run"))
  assert len(asked) == 2


def test_a_training_ends_with_the_table_of_its_task(folder, monkeypatch, capsys):
  asked = []

  def closing_table(self, model):
    asked.append((model, tf.distribute.has_strategy()))
    return task_lib.ClosingTable("costs", ["dear", "worth it"], "| a |", {"parts": {"a": 1}})

  monkeypatch.setattr(toy_task.ToyTask, "closing_lines", lambda self, folder: ["last words"])
  monkeypatch.setattr(toy_task.ToyTask, "closing_table", closing_table)
  settings = {"trainer": {"train_steps": 20}, "runtime": {"distribution_strategy": "one_device"}}
  settings["runtime"]["num_gpus"] = 0
  model, _ = driver.run(
    toy_task.experiment(folder, settings), "train_and_eval", str(folder / "run")
  )
  assert capsys.readouterr().out.splitlines()[-3:] == ["last words", "dear", "worth it"]
  assert asked == [(model, True)]
  path = folder / "run" / "costs.json"
  assert json.loads(path.read_text()) == {"step": 20, "parts": {"a": 1}}
  assert pictures_test.tags(folder / "run" / "costs") == [(20, "costs")]
  path.unlink()
  # Evaluation alone leaves the table of the training as it is.
  driver.run(toy_task.experiment(folder), "eval", str(folder / "run"))
  assert len(asked) == 1 and not path.exists()
