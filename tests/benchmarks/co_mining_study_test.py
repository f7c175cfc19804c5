"""The study of Co-mining: equal views, sparse sets, runs that are done once, tables."""

import json
import pathlib

import pytest
import tensorflow as tf
import yaml

from benchmarks import co_mining_study
from benchmarks.accuracy import data
from benchmarks.mining import arms, runs, tables
from mtl_ssl_tf.comparison import processes
from mtl_ssl_tf.configs import experiments, loading, validation
from mtl_ssl_tf.data.sparse import protocols


def options(*words: str):
  return co_mining_study._parser().parse_args(["--output_dir", "out", *words])


def made(tmp_path: pathlib.Path, arm: arms.Arm, set_name="hard", **changed) -> runs.Run:
  fields = {"steps": 400, "num_views": 4, "seed": 3, **changed}
  config = co_mining_study.CONFIGS["bccd"]
  return runs.Run(data.DataSet("bccd", tmp_path), set_name, arm, config, **fields)


def resolved(run: runs.Run):
  """What the command of a run trains with."""
  overlay = run.data.folder / "overlay.yaml"
  overlay.write_text(yaml.safe_dump(run.overlay()))
  command = run.command(overlay, run.data.folder / "model")
  given = dict(word.removeprefix("--").split("=", 1) for word in command if word[:2] == "--")
  files = [word.split("=", 1)[1] for word in command if word.startswith("--config_file=")]
  files = [str(data.ROOT / path) for path in files]
  return loading.load_experiment(given["experiment"], files, given.get("params_override"))


@pytest.mark.parametrize("name", arms.named())
def test_all_arms_see_as_many_views_and_differ_in_what_they_are_named_for(tmp_path, name):
  arm = arms.named(0.7)[name]
  params = resolved(made(tmp_path, arm))
  validation.check_task(params.task)
  validation.check_trainer(params.trainer)
  task, trainer = params.task, params.trainer
  mining = getattr(task, "mining", None)
  num_views = 1 if mining is None else mining.views
  assert task.train_data.global_batch_size * num_views == 4
  jitter = task.train_data.augmentation.color_jitter
  assert (jitter.brightness, jitter.hue) == ((0.8, 0.2) if name == "augmented" else (0.0, 0.0))
  expected = {
    "plain": None,
    "augmented": None,
    "joint": ("joint", 0.8),
    "self_mining": ("self_mining", 0.7),
    "co_mining": ("co_mining", 0.7),
    **dict.fromkeys(arms.UNLABELLED, ("joint", 0.8)),
  }[name]
  assert (mining and (mining.mode, mining.score_threshold)) == expected
  if mining:
    unlabelled = mining.unlabelled
    parts = (unlabelled.mask_proposals, unlabelled.consistency_loss_weight, unlabelled.mask_anchors)
    assert parts == {
      "masking": (True, 0.0, False),
      "consistency": (False, 1.0, False),
      "masking_consistency": (True, 1.0, False),
      "masking_anchors": (True, 0.0, True),
    }.get(name, (False, 0.0, False))
  assert (task.seed, task.train_data.seed) == (3, 3)
  assert task.train_data.input_path == str(tmp_path / "records/train_hard-*.tfrecord")
  assert task.validation_data.input_path == str(tmp_path / "records/test-*.tfrecord")
  assert (trainer.train_steps, trainer.validation_interval) == (400, 400)
  assert trainer.checkpoint_interval == 50
  assert trainer.optimizer_config.learning_rate.cosine.decay_steps == 400
  assert task.evaluation.metrics == ["voc", "coco"]
  # All else is the row's.
  assert task.anchors.base_size_px == 160.0


def test_further_arms(tmp_path):
  chosen = co_mining_study.chosen_arms(
    options(
      *("--arms", "joint", "--threshold", "0.75", "--thresholds", "0.6", "0.9", "--label_arms"),
      *("--variant", "late=co_mining;task.mining.start_step=300"),
    )
  )
  assert [arm.name for arm in chosen] == [
    "joint",
    "co_mining_tau0.6",
    "co_mining_tau0.9",
    "co_mining_labels_of_annotations",
    "late",
  ]
  mining = [resolved(made(tmp_path, arm)).task.mining for arm in chosen]
  assert [each.score_threshold for each in mining] == [0.8, 0.6, 0.9, 0.75, 0.75]
  assert [each.labels_from for each in mining] == ["completed"] * 3 + ["annotations", "completed"]
  assert [each.start_step for each in mining] == [0] * 4 + [300]


@pytest.mark.parametrize(
  ("words", "message"),
  [
    (
      ["--variant", "late"],
      "--variant is 'late'; accepted: NAME=ARM;OVERRIDES, with ARM one of plai",
    ),
    (["--variant", "x=none;task.seed=1"], "--variant is 'x=none;task.seed=1'; accepted: "),
    (["--variant", "joint=co_mining;task.seed=1"], "arms are plain, augmented, joint, self_mining"),
    (["--arms"], "arms are none; accepted: at least one, each once"),
  ],
)
def test_arms_that_are_refused(words, message):
  with pytest.raises(ValueError) as error:
    co_mining_study.chosen_arms(options(*words))
  assert str(error.value).startswith(message)


def test_sets_are_those_that_the_command_writes():
  for name, flags in runs.SETS.items():
    given = dict(flag.removeprefix("--").split("=") for flag in flags)
    if name != runs.FULL:
      assert protocols.Protocol(given["protocol"], given.get("share")).title == name


def test_a_set_is_made_once(tmp_path, monkeypatch):
  calls = []
  monkeypatch.setattr(data, "run_module", lambda *words: calls.append(words))
  made_up = data.DataSet("bccd", tmp_path)
  for name in (runs.FULL, "50miss"):
    runs.make_set(made_up, name)
  assert calls == [
    (
      "mtl_ssl_tf.data.sparse_annotations",
      f"--input_dir={tmp_path / 'records'}",
      "--split=train",
      "--protocol=miss",
      "--share=0.5",
    )
  ]
  (tmp_path / "records").mkdir()
  (tmp_path / "records/manifest_train_50miss.json").write_text("{}")
  runs.make_set(made_up, "50miss")
  assert len(calls) == 1


def test_the_curve_is_read_from_the_log(tmp_path):
  writer = tf.summary.create_file_writer(str(tmp_path / "train"))
  for step, boxes in ((100, 1.5), (200, 2.5)):
    with writer.as_default(step=step):
      tf.summary.scalar("mining/boxes", boxes)
      tf.summary.scalar("rpn_box", 9.0)
  writer.close()
  assert runs.read_curve(tmp_path) == [{"step": 100, "boxes": 1.5}, {"step": 200, "boxes": 2.5}]


# From beginning to end.


class Machine:
  """Stands in for the trainings: leaves figures, and notes what was asked for."""

  def __init__(self):
    self.calls, self.fails_at = [], ""

  def __call__(self, command, log, processor, *, cwd, is_enough=None):
    folder = log.parent
    self.calls.append("/".join(folder.parts[-4:]))
    log.write_text("the cause\n")
    (folder / "model").mkdir(exist_ok=True)
    if self.fails_at and self.fails_at in self.calls[-1]:
      return processes.Usage(1, 1.0, 1.0, [])
    seed = int(folder.name[-1])
    mean = {"joint": 0.5, "co_mining": 0.6}[folder.parent.name]
    results = folder / "results/step_20"
    results.mkdir(parents=True)
    figures = {"voc/mAP50_area": mean + 0.01 * seed, "coco/AP": 0.25}
    (results / "figures.json").write_text(json.dumps(figures))
    return processes.Usage(0, 120.0, 130.0, [])


@pytest.fixture
def machine(monkeypatch):
  stand_in = Machine()
  monkeypatch.setattr(processes, "run", stand_in)
  curve = [{"step": 10, "boxes": 1.0, "recall": 0.2}, {"step": 20, "boxes": 3.0, "recall": 0.4}]
  monkeypatch.setattr(
    runs, "read_curve", lambda folder: curve if "co_mining" in str(folder) else []
  )
  monkeypatch.setattr(data, "run_module", lambda *words: None)
  monkeypatch.setattr(data, "prepare", lambda source, folder: data.DataSet(source.name, folder))
  return stand_in


def command(tmp_path, *words: str) -> list[str]:
  return [
    *("--output_dir", str(tmp_path), "--bccd", "folder", "--sets", "bccd:extreme", "--steps", "20"),
    *("--arms", "joint", "co_mining", "--seeds", "0", "2", "--jobs", "1", *words),
  ]


def test_a_study_from_beginning_to_end(machine, tmp_path, capsys):
  assert co_mining_study.main(command(tmp_path)) == 0
  assert machine.calls == [
    f"bccd/extreme/{arm}/20steps_seed{seed}" for seed in (0, 2) for arm in ("joint", "co_mining")
  ]
  folder = tmp_path / "choosing"
  found = json.loads((folder / "study.json").read_text())
  assert len(found) == 4
  assert found[0].keys() >= {"data", "set", "arm", "seed", "steps", "views", "commit", "curve"}
  assert found[0]["cpu_minutes"] == 2.0
  report = (folder / "report.md").read_text()
  assert report in capsys.readouterr().out
  # 50 and 52 against 60 and 62.
  assert (
    "| bccd | extreme | joint | 2 | 20 | 51.0 ± 1.4 | 25.0 ± 0.0 |  |  |  |  | 2.0 ± 0.0 |"
    in (report)
  )
  assert (
    "| bccd | extreme | co_mining | 2 | 20 | 61.0 ± 1.4 | 25.0 ± 0.0 | 10.0 ± 0.0 | 3.0 ± 0.0 |  |"
    " 0.40 ± 0.00 | 2.0 ± 0.0 |"
  ) in report
  assert "| bccd | extreme | co_mining | recall |  | 0.20 | 0.20 | 0.40 |" in report
  assert (
    "* bccd extreme: Co-mining is above joint training by +10.0; two standard deviations, of the"
    " arm that varies more, are 2.8: shown"
  ) in report
  # The models are gone, and nothing is left to do.
  assert not list(folder.rglob("model"))
  machine.calls.clear()
  assert co_mining_study.main(command(tmp_path)) == 0
  assert not machine.calls


def test_a_run_that_failed_is_resumed(machine, tmp_path, capsys):
  machine.fails_at = "co_mining/20steps_seed2"
  assert co_mining_study.main(command(tmp_path)) == 1
  assert "bccd extreme co_mining seed 2: failed with 1: " in capsys.readouterr().out
  machine.fails_at = ""
  machine.calls.clear()
  assert co_mining_study.main(command(tmp_path, "--keep_models")) == 0
  assert [call.split("/")[-2:] for call in machine.calls] == [["co_mining", "20steps_seed2"]]
  record = json.loads(next(tmp_path.rglob("co_mining/20steps_seed2/run.json")).read_text())
  assert record["cpu_minutes"] is None
  assert list(tmp_path.rglob("co_mining/20steps_seed2/model"))


def test_runs_of_other_settings_are_refused(machine, tmp_path, capsys):
  assert co_mining_study.main(command(tmp_path)) == 0
  with pytest.raises(SystemExit):
    co_mining_study.main(command(tmp_path, "--threshold", "0.5"))
  assert "holds a run of other settings" in capsys.readouterr().err


@pytest.mark.parametrize(
  ("words", "message"),
  [
    (
      ["--sets", "bccd:none"],
      "--sets is 'bccd:none'; accepted: DATA:SET, with DATA bccd or scenes",
    ),
    (["--sets", "voc:hard"], "--sets is 'voc:hard'; accepted: "),
    (["--sets", "bccd:hard"], "--bccd names no folder; accepted: BCCD in VOC layout"),
    (["--views", "3"], "3; accepted: an even number from 2 on"),
    (["--steps", "0"], "0; accepted: at least 1"),
  ],
)
def test_options_that_are_refused(words, message, tmp_path, capsys):
  with pytest.raises(SystemExit):
    co_mining_study.main(["--output_dir", str(tmp_path), *words])
  assert message in capsys.readouterr().err


def test_nothing_finished(tmp_path, capsys):
  assert co_mining_study.main(["--output_dir", str(tmp_path), "--only_report"]) == 1
  assert "holds no finished run" in capsys.readouterr().err


# Tables.


def record(arm, seed, value, set_name="hard"):
  return {"data": "bccd", "set": set_name, "arm": arm, "seed": seed, "mAP50": value, "AP": 1.0} | {
    "steps": 20,
    "curve": [],
    "cpu_minutes": None,
  }


def test_a_gain_within_two_deviations_is_not_shown():
  found = [record("joint", seed, 50.0 + seed) for seed in range(3)]
  found += [record("co_mining", seed, 51.9 + seed) for seed in range(3)]
  groups = tables.grouped(found)
  assert tables.verdict(groups, "bccd", "hard") == (
    "bccd hard: Co-mining is above joint training by +1.9; two standard deviations, of the arm that"
    " varies more, are 2.0: not shown"
  )
  assert tables.verdict(tables.grouped(found[:1] + found[3:]), "bccd", "hard") == ""
  assert tables.verdict(groups, "bccd", "extreme") == ""


def test_differences_are_of_equal_seeds():
  joint = [record("joint", seed, value) for seed, value in ((0, 50.0), (2, 54.0))]
  others = [record("late", seed, value) for seed, value in ((2, 55.0), (1, 70.0), (0, 49.0))]
  assert tables.differences(others, joint) == [1.0, -1.0]


def test_arms_come_in_the_order_of_the_study():
  found = [record(arm, 0, 1.0) for arm in ("late", "co_mining", "joint", "a", "plain")]
  assert [arm for _, _, arm in tables.grouped(found)] == [
    "plain",
    "joint",
    "co_mining",
    "a",
    "late",
  ]


def test_experiments_of_the_arms_are_known():
  assert {arm.experiment for arm in arms.named().values()} == {
    experiments.DEFAULT,
    experiments.CO_MINING,
  }
