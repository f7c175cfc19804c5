"""The comparison of accuracy against CPU minutes: budgets, data, arms, runs, tables, peers."""

import json
import os
import pathlib

import numpy as np
import pytest
import yaml

from benchmarks import time_to_accuracy
from benchmarks.accuracy import (
  arms,
  budget,
  data,
  inspection,
  picture,
  runs,
  tables,
)
from benchmarks.peers import common, yolo11n
from mtl_ssl_tf.comparison import processes
from mtl_ssl_tf.configs import experiments, loading

OWN_DATA = "configs/own_data.yaml"
# 2 CPU seconds a step, 10 of start-up.
POINTS = [(10, 30.0), (20, 50.0), (40, 90.0)]


def test_a_rate_leaves_start_up_out_of_the_steps():
  rate = budget.rate(POINTS)
  assert rate == budget.Rate(start_up_s=10.0, step_s=2.0)
  assert rate.steps(60.0) == 25
  assert rate.steps(61.9) == 25
  assert rate.steps(5.0) == 1
  assert budget.rate(POINTS[:1]) is None
  assert budget.rate([(10, 30.0), (10, 31.0)]) is None
  assert budget.rate([(10, 3.0), (20, 23.0)]).start_up_s == 0.0


def test_a_calibration_needs_three_points_and_its_seconds():
  assert not budget.is_enough(POINTS[:2], 5.0)
  assert budget.is_enough(POINTS, 60.0)
  assert not budget.is_enough(POINTS, 60.1)


# Data.


def voc_folder(folder: pathlib.Path, **lists: list[str]) -> pathlib.Path:
  for name in ("Annotations", "JPEGImages", "ImageSets/Main"):
    (folder / name).mkdir(parents=True)
  for name, stems in lists.items():
    (folder / "ImageSets/Main" / f"{name}.txt").write_text("\n".join(stems))
  return folder


@pytest.fixture
def converted(monkeypatch):
  """Arguments of the converters, none of which is started."""
  calls = []
  monkeypatch.setattr(data, "run_module", lambda *arguments: calls.append(arguments))
  monkeypatch.setattr(data, "_write_coco", lambda result: result.coco("test").write_text("{}"))
  return calls


def test_a_part_is_split_off_for_choosing():
  stems = [f"{i:02}" for i in range(8)]
  train, validation = data.split_off(stems, 0.25)
  assert len(validation) == 2
  assert sorted(train + validation) == stems
  assert data.split_off(stems[::-1], 0.25) == (train, validation)
  assert len(data.split_off(["a", "b"], 0.1)[1]) == 1


def test_the_test_images_are_read_in_the_final_comparison_alone(tmp_path, converted):
  folder = voc_folder(tmp_path / "mine", all=list("abcdefgh"), last=list("xy"))
  choosing = data.voc(folder, "all", "last", final=False, validation_part=0.25)
  made = data.prepare(choosing, tmp_path / "choosing")
  lists = tmp_path / "choosing/voc/ImageSets/Main"
  found = {path.stem: path.read_text().split() for path in lists.iterdir()}
  assert sorted(found["train"] + found["test"]) == list("abcdefgh")
  assert made.images.resolve() == folder / "JPEGImages"
  assert [call[0] for call in converted] == ["mtl_ssl_tf.data.pascal_voc"] * 2
  assert [call[2] for call in converted] == ["--split=train", "--split=test"]

  final = data.voc(folder, "all", "last", final=True, validation_part=0.25)
  data.prepare(final, tmp_path / "final")
  lists = tmp_path / "final/voc/ImageSets/Main"
  assert (lists / "test.txt").read_text().split() == list("xy")
  assert (lists / "train.txt").read_text().split() == list("abcdefgh")
  data.prepare(final, tmp_path / "final")
  assert len(converted) == 4


def test_splits_of_the_known_sets():
  folder = pathlib.Path("bccd")
  choosing, final = (data.bccd(folder, final=value) for value in (False, True))
  assert (choosing.train, choosing.test) == ("train", "val")
  assert (final.train, final.test) == ("trainval", "test")
  assert data.scenes(60, final=False).drawing != data.scenes(60, final=True).drawing == 0
  assert data.scenes(60, final=True).num_images == 60


def test_scenes_are_drawn(tmp_path, converted, monkeypatch):
  monkeypatch.setattr(data, "_read_lists", lambda source, folder: {"train": ["a"], "test": ["b"]})
  data.prepare(data.scenes(60, final=False), tmp_path)
  assert converted[0][0] == "mtl_ssl_tf.data.synthetic"
  assert converted[0][2:] == ("--num_train=60", "--seed=1", "--context_percent=100")


def test_splits_with_a_common_image_are_refused(tmp_path, converted):
  folder = voc_folder(tmp_path / "mine", one=["a", "b"], two=["b", "c"])
  source = data.voc(folder, "one", "two", final=True, validation_part=0.5)
  with pytest.raises(ValueError, match="1 images are in both 'one' and 'two', the first is 'b'"):
    data.prepare(source, tmp_path / "x")
  source = data.voc(folder, "three", "two", final=True, validation_part=0.5)
  with pytest.raises(ValueError, match=r"split 'three': .* accepted: one of one, two"):
    data.prepare(source, tmp_path / "x")


# Arms.


def test_an_arm_of_ours_is_configured_as_it_says(tmp_path):
  arm = arms.parse_ours(f"fast={OWN_DATA};task.train_data.scale_min=0.5", {"fast": "weights.h5"})
  made = data.DataSet("mine", tmp_path)
  overlay = tmp_path / "overlay.yaml"
  fields = arms.overlay(made, 7, 250, tmp_path / "results", "cosine")
  arms.write_overlay(overlay, fields)
  command = arm.command("eval", tmp_path / "model", overlay)
  assert command[1:4] == ["train.py", "--mode=eval", f"--model_dir={tmp_path / 'model'}"]
  assert command[4:] == [
    f"--config_file={OWN_DATA}",
    f"--config_file={overlay}",
    "--params_override=task.train_data.scale_min=0.5",
    "--init=weights.h5",
  ]
  params = loading.load_experiment(experiments.DEFAULT, [OWN_DATA, str(overlay)], arm.overrides)
  assert params.task.seed == params.task.train_data.seed == 7
  assert params.task.train_data.scale_min == 0.5
  assert params.task.train_data.input_path == str(tmp_path / "records/train-*.tfrecord")
  assert params.task.validation_data.input_path == str(tmp_path / "records/test-*.tfrecord")
  assert params.task.label_map == str(tmp_path / "records/label_map.txt")
  assert params.task.evaluation.results_dir == str(tmp_path / "results")
  assert params.task.pictures.interval == 0
  assert not params.task.evaluation.auxiliary_metrics
  trainer = params.trainer
  assert trainer.train_steps == trainer.validation_interval == trainer.checkpoint_interval == 250
  assert trainer.optimizer_config.learning_rate.cosine.decay_steps == 250
  assert trainer.summary_interval % trainer.steps_per_loop == 0
  assert "optimizer_config" not in arms.overlay(made, 7, 250, tmp_path)["trainer"]


@pytest.mark.parametrize("text", ["fast", "=x.yaml", "fast=", "a/b=configs/own_data.yaml"])
def test_a_malformed_arm_is_refused(text):
  with pytest.raises(ValueError, match="--arm is "):
    arms.parse_ours(text, {})


def test_arms_that_cannot_be_are_refused():
  with pytest.raises(ValueError, match=r"--arm fast: no\.yaml is missing; accepted: a YAML file"):
    arms.parse_ours("fast=no.yaml", {})
  with pytest.raises(ValueError, match=r"accepted: NAME=COMMAND with \{work_dir\}, \{minutes\}"):
    arms.parse_peer("theirs=run {work_dir} {minutes}")
  with pytest.raises(ValueError, match="--init is 'fast'; accepted: NAME=VALUE"):
    arms.parse_pairs("--init", ["fast"])


def test_a_peer_gets_its_places():
  peer = arms.parse_peer("theirs=run --to {work_dir} {minutes} {seed} {other}")
  command = peer.command({"work_dir": "a b", "minutes": "0.5", "seed": 3})
  assert command == ["bash", "-c", "run --to 'a b' 0.5 3 {other}"]


def test_a_folder_of_other_settings_is_refused(tmp_path):
  base, row = tmp_path / "base.yaml", tmp_path / "row.yaml"
  base.write_text("task: {seed: 1}")
  row.write_text("base: base.yaml")
  made, arm = data.DataSet("mine", tmp_path / "out"), arms.parse_ours(f"row={row}", {})
  runs.claim(made, arm)
  runs.claim(made, arm)
  base.write_text("task: {seed: 2}")
  with pytest.raises(ValueError, match=r"arm 'row': .* holds runs of other settings; accepted"):
    runs.claim(made, arm)
  base.write_text("task: {seed: 1}")
  with pytest.raises(ValueError, match="other settings"):
    runs.claim(made, arms.parse_ours(f"row={row}", {"row": "weights"}))


# Runs.


class Machine:
  """Stands in for all commands: writes what they would, and notes what was asked for."""

  def __init__(self):
    self.calls = []
    self.fails_at = ""

  def __call__(self, command, log, processor, *, cwd, is_enough=None):
    log.write_text("first\nthe cause\n")
    folder = log.parent
    self.calls.append(f"{folder.name} {log.stem}")
    if self.fails_at and self.fails_at in self.calls[-1]:
      return processes.Usage(1, 1.0, 1.0, [])
    if log.stem == "train" and folder.name == "calibration":
      assert is_enough(POINTS)
      (folder / "model").mkdir()
      rate = {"optimizer_config": {"learning_rate": {"type": "cosine"}}}
      (folder / "model/params.yaml").write_text(yaml.safe_dump({"trainer": rate}))
      return processes.Usage(0, 95.0, 100.0, POINTS)
    if log.stem == "eval":
      (folder / "results/step_25").mkdir(parents=True)
      (folder / "results/step_25/coco_results.json").write_text("[]")
      return processes.Usage(0, 12.0, 13.0, [])
    if log.stem == "judge":
      self._judge(folder / "figures", command)
    if command[0] == "bash":
      (folder / "results.json").write_text("[]")
      report = {"steps": 8, "train_cpu_s": 54.0, "step_s": 4.0, "start_up_s": 22.0}
      (folder / "report.json").write_text(json.dumps(report))
    return processes.Usage(0, 61.0, 66.0, POINTS)

  def _judge(self, folder, command):
    expected = "results.json" if "theirs" in str(folder) else "coco_results.json"
    assert any(word.startswith("--predictions=") and word.endswith(expected) for word in command)
    folder.mkdir(exist_ok=True)
    figures = {"voc/mAP50_area": 0.5, "coco/AP": 0.25}
    costs = dict.fromkeys(("localisation", "redundancy", "background"), 0.01)
    costs |= {"classification": 0.2, "false_negative": None}
    names, counts = ["background", "cat", "dog"], [[0, 1, 0], [2, 5, 4], [0, 3, 5]]
    confusion = {"rows_true_columns_detected": names, "counts": counts}
    (folder / "figures.json").write_text(json.dumps(figures))
    (folder / "errors.json").write_text(json.dumps({"costs": costs}))
    (folder / "confusion_matrix.json").write_text(json.dumps(confusion))


@pytest.fixture
def machine(monkeypatch):
  stand_in = Machine()
  monkeypatch.setattr(processes, "run", stand_in)
  return stand_in


@pytest.fixture
def command(tmp_path, converted):
  """Arguments of a comparison of one arm of ours with a peer on a folder of the user's."""
  folder = voc_folder(tmp_path / "mine", all=list("abcdefgh"), last=list("xy"))
  words = ["--output_dir", str(tmp_path / "out"), "--voc", str(folder), "--train", "all"]
  words += ["--test", "last", "--arm", f"ours={OWN_DATA}", "--budgets", "1", "--no_inspection"]
  words += ["--peer", "theirs=x {work_dir} {minutes} {seed}", "--jobs", "1", "--seeds", "0", "1"]
  return words


def test_a_comparison_from_beginning_to_end(command, machine, tmp_path, capsys):
  assert time_to_accuracy.main(command) == 0
  stages = ["train", "eval", "judge"]
  assert machine.calls == [
    "calibration train",
    *(f"1min_seed0 {stage}" for stage in stages),
    *(f"1min_seed0 {stage}" for stage in ("train", "judge")),
    *(f"1min_seed1 {stage}" for stage in stages),
    *(f"1min_seed1 {stage}" for stage in ("train", "judge")),
  ]
  folder = tmp_path / "out/choosing"
  assert (folder / "accuracy.png").stat().st_size > 1000
  found = json.loads((folder / "runs.json").read_text())
  ours, theirs = found[0], found[2]
  # 60 seconds, 10 of them start-up, 2 a step.
  assert ours["steps"] == 25
  assert ours["cpu_minutes"] == pytest.approx(61 / 60)
  assert ours["start_up_s"] == pytest.approx(61 - 25 * 2)
  assert ours["evaluation_cpu_s"] == 12.0
  assert (ours["mAP50"], ours["AP"]) == (50.0, 25.0)
  assert ours["confused"] == [["cat", "dog", 4], ["dog", "cat", 3]]
  assert ours["costs"]["classification"] == 20.0
  assert ours["costs"]["false_negative"] == 0.0
  assert theirs["steps"] == 8
  assert theirs["cpu_minutes"] == pytest.approx(0.9)
  report = (folder / "report.md").read_text()
  assert report in capsys.readouterr().out
  assert "| mine | ours | 1 | 2 | 50.0 ± 0.0 | 25.0 ± 0.0 | 1.0 ± 0.0 |" in report
  overlay = yaml.safe_load((folder / "mine/ours/1min_seed1/overlay.yaml").read_text())
  assert overlay["task"]["seed"] == 1
  rate = overlay["trainer"]["optimizer_config"]["learning_rate"]
  assert rate == {"cosine": {"decay_steps": 25}}


def test_what_is_finished_is_not_done_again(command, machine, tmp_path):
  machine.fails_at = "1min_seed1 eval"
  assert time_to_accuracy.main(command) == 1
  machine.calls.clear()
  machine.fails_at = ""
  assert time_to_accuracy.main(command) == 0
  # The training had come to its end.
  assert machine.calls == ["1min_seed1 eval", "1min_seed1 judge"]
  machine.calls.clear()
  assert time_to_accuracy.main(command) == 0
  assert machine.calls == []


def test_a_failed_command_is_reported_with_its_log(command, machine, capsys):
  machine.fails_at = "calibration"
  assert time_to_accuracy.main(command) == 1
  output = capsys.readouterr().out
  assert "mine ours: calibration: calibration failed with 1: " in output
  assert "train.log: the cause" in output
  # Of the arm that cannot be calibrated nothing is run; the other one is.
  assert [call for call in machine.calls if "eval" in call] == []
  assert "1min_seed1 judge" in machine.calls


def test_final_runs_have_a_folder_of_their_own(command, machine, tmp_path):
  assert time_to_accuracy.main([*command, "--final"]) == 0
  assert (tmp_path / "out/final/report.md").exists()
  assert not (tmp_path / "out/choosing").exists()
  lists = tmp_path / "out/final/mine/voc/ImageSets/Main"
  assert (lists / "test.txt").read_text().split() == ["x", "y"]


def test_longer_budgets_go_by_the_rate_of_the_longest_run(command, machine, tmp_path):
  assert time_to_accuracy.main([*command, "--seeds", "0"]) == 0
  words = [*command, "--seeds", "0", "--budgets", "2"]
  assert time_to_accuracy.main(words) == 0
  # Start-up of the run: 61 - 25 x 2 = 11 seconds.
  steps = json.loads((tmp_path / "out/choosing/mine/ours/steps.json").read_text())
  assert steps == {"1": 25, "2": 54}


@pytest.mark.parametrize(
  ("words", "message"),
  [
    (["--output_dir", "x", "--arm", f"a={OWN_DATA}"], "no data set is left"),
    (["--output_dir", "x", "--data", "scenes"], "arms are none; accepted: at least one"),
    (
      ["--output_dir", "x", "--data", "scenes", "--arm", f"a={OWN_DATA}", "--init", "b=x"],
      "--init names 'b'; accepted: names of --arm",
    ),
    (["--output_dir", "x", "--budgets", "0"], "0; accepted: above 0"),
    (["--output_dir", "x", "--validation_part", "1"], "1; accepted: above 0, below 1"),
  ],
)
def test_a_bad_command_is_refused(words, message, capsys, converted):
  with pytest.raises(SystemExit):
    time_to_accuracy.main(words)
  assert message in capsys.readouterr().err


def test_bccd_without_a_folder_is_left_out(capsys, converted):
  words = ["--output_dir", "x", "--data", "bccd", "--arm", f"a={OWN_DATA}"]
  with pytest.raises(SystemExit):
    time_to_accuracy.main(words)
  assert "bccd is left out: --bccd names no folder" in capsys.readouterr().err


def test_objects_have_the_overlap_of_their_best_proposal():
  objects = np.array([[0.0, 0.0, 10.0, 10.0], [20.0, 20.0, 30.0, 30.0]])
  proposals = np.array([[0.0, 0.0, 10.0, 5.0], [0.0, 0.0, 10.0, 1.0]])
  assert inspection.best_overlaps(objects, proposals).tolist() == [0.5, 0.0]
  assert inspection.best_overlaps(objects, proposals[:0]).tolist() == [0.0, 0.0]
  assert inspection.best_overlaps(objects[:0], proposals).tolist() == []


def test_an_inspection_knows_the_arm(tmp_path, monkeypatch):
  def measure(command, log, processor, *, cwd):
    assert command[1:] == ["-m", "benchmarks.accuracy.inspection", str(log.parent)]
    log.write_text('a notice\n{"input_s": 0.5}\n')
    return processes.Usage(status[0], 1.0, 1.0, [])

  status = [0]
  monkeypatch.setattr(processes, "run", measure)
  arm = arms.parse_ours(f"ours={OWN_DATA};task.seed=3", {"ours": "weights"})
  run = runs.Run(data.DataSet("mine", tmp_path), arm, 1.0, 0)
  run.folder.mkdir(parents=True)
  assert inspection.inspect(run, 0) == {"input_s": 0.5}
  request = json.loads((run.folder / "inspection.json").read_text())
  files = [OWN_DATA, str(run.folder / "overlay.yaml")]
  assert request == {"config_files": files, "overrides": "task.seed=3", "init": "weights"}
  status[0] = 1
  with pytest.raises(processes.RunError, match="inspection failed with 1: "):
    inspection.inspect(run, 0)


# Report.


def made_up(seed: int, minutes: float = 10.0, **fields):
  costs = dict.fromkeys(
    ("classification", "localisation", "redundancy", "background", "false_negative"), 1.0
  )
  run = {"data": "mine", "arm": "ours", "minutes": minutes, "seed": seed, "steps": 100}
  run |= {"mAP50": 50.0, "AP": 20.0, "cpu_minutes": minutes, "wall_minutes": 11.0}
  run |= {"step_s": 5.0, "start_up_s": 60.0, "evaluation_cpu_s": 30.0, "costs": costs}
  return run | {"confused": [["cat", "dog", 4]]} | fields


def test_tables():
  found = [made_up(0, mAP50=70.0), made_up(1, mAP50=74.0), made_up(0, 5.0, step_s=None)]
  found[0] |= {"input_s": 1.0, "proposal_recall_50": 90.0, "proposal_recall_70": 60.0}
  found[1] |= {"confused": [["cat", "dog", 2], ["dog", "cat", 8]]}
  found[1]["costs"] |= {"classification": 3.0}
  accuracy, costs, times = tables.report(found).split("\n\nWhere")
  assert accuracy.splitlines()[4:] == [
    "| mine | ours | 5 | 1 | 50.0 | 20.0 | 5.0 | 11.0 | 100 |  | 60 | 30 |",
    "| mine | ours | 10 | 2 | 72.0 ± 2.8 | 20.0 ± 0.0 | 10.0 ± 0.0 | 11.0 ± 0.0 | 100 | 5.000"
    " | 60 | 30 |",
  ]
  assert costs.splitlines()[-1] == (
    "| mine | ours | 10 | 72.0 ± 2.8 | 2.0 ± 1.4 | 1.0 ± 0.0 | 1.0 ± 0.0 | 1.0 ± 0.0 | 1.0 ± 0.0"
    " | 90.0 | 60.0 | dog > cat (4), cat > dog (3) |"
  )
  # 60 of 600 seconds are start-up; a fifth of the rest is the input.
  assert times.splitlines()[-1] == "| mine | ours | 10 | 10 | 18 | 72 |"
  assert tables.mean_deviation([None]) == ""


def test_a_curve_has_the_mean_of_each_budget():
  found = [made_up(0, mAP50=70.0, cpu_minutes=9.0), made_up(1, mAP50=74.0, cpu_minutes=11.0)]
  found.append(made_up(0, 5.0))
  points = picture.curve(tables.grouped(found), "mine", "ours", "mAP50")
  assert points == [(5.0, 50.0, 0.0), (10.0, 72.0, pytest.approx(8.0**0.5))]


# Peers.


def test_peers_read_and_write_coco(tmp_path):
  file = tmp_path / "train.json"
  content = {
    "images": [{"id": "a", "file_name": "a.jpg", "height": 100, "width": 200}],
    "annotations": [{"image_id": "a", "category_id": 9, "bbox": [20, 10, 40, 30]}],
    "categories": [{"id": 5, "name": "cat"}, {"id": 9, "name": "dog"}],
  }
  file.write_text(json.dumps(content))
  split = common.read_coco(file, tmp_path / "images")
  (image,) = split.images
  assert image.path == tmp_path / "images/a.jpg"
  assert image.size == (100, 200)
  assert (image.boxes, image.classes) == ([(20, 10, 60, 40)], [1])
  rows = common.result_rows(split, image, [(20, 10, 60, 40)], [0.5], [1])
  assert rows == [{"image_id": "a", "category_id": 9, "bbox": [20, 10, 40, 30], "score": 0.5}]


def test_yolo_labels_are_fractions(tmp_path):
  assert yolo11n.label_values((20, 10, 60, 40), (100, 200)) == "0.200000 0.250000 0.200000 0.300000"
  image = common.Image("a", tmp_path / "a.jpg", (100, 200), [(20, 10, 260, 40)], [1])
  file = yolo11n.write_data(common.Split([image], [5, 9], ["cat", "dog"]), tmp_path / "data")
  assert (tmp_path / "data/images/a.jpg").is_symlink()
  labels = (tmp_path / "data/labels/a.txt").read_text()
  assert labels == "1 0.550000 0.250000 0.900000 0.300000\n"
  assert json.loads(file.read_text())["names"] == ["cat", "dog"]


def test_a_peer_is_calibrated_once(tmp_path, monkeypatch):
  def measure(command, **_):
    assert command[-1] == "--calibrate"
    assert command[2:5] == [
      "peer",
      "--size=7",
      f"--work_dir={tmp_path / f'calibration_{os.getpid()}'}",
    ]
    (tmp_path / "calls").write_text("one")
    return type("Done", (), {"stdout": f"words\n{json.dumps(POINTS)}\n"})

  monkeypatch.setattr(common.subprocess, "run", measure)
  assert common.measured_rate("peer", tmp_path, ["--size=7"]).step_s == 2.0
  (tmp_path / "calls").unlink()
  assert common.measured_rate("peer", tmp_path, ["--size=7"]).start_up_s == 10.0
  assert not (tmp_path / "calls").exists()
