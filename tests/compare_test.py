"""The command: arms side by side, resumed, reported; and equal initial weights of shared parts."""

import json
import os
import pathlib

import numpy as np
import pytest
import yaml

from mtl_ssl_tf import compare
from mtl_ssl_tf.comparison import processes
from mtl_ssl_tf.tasks import mtl_detection
from tests.tasks import tiny

# mAP after the last step, by arm and seed; the figure before it is 10 points lower.
FIGURES = {("a", 0): 0.50, ("a", 1): 0.54, ("b", 0): 0.60, ("b", 1): 0.65}


@pytest.fixture
def trainings(monkeypatch, tmp_path):
  """Commands that were carried out; each leaves figures, unless its arm is in `failing`."""
  calls, failing = [], set()

  def stand_in(command, log, processor, *, cwd):
    flags = dict(flag.split("=", 1) for flag in command if flag.startswith("--"))
    folder = pathlib.Path(flags["--model_dir"])
    arm, seed = folder.parts[-3], int(folder.parts[-2].removeprefix("seed_"))
    calls.append((arm, seed, command))
    log.write_text(f"error: {arm} is broken\n")
    if arm in failing:
      return processes.Usage(1, 1.0, 1.0, [])
    folder.mkdir(parents=True, exist_ok=True)
    for step, less in ((5, 0.1), (10, 0.0)):
      figures = {"step": step, "voc/mAP50_area": FIGURES[arm, seed] - less, "voc/AP50_area/x": None}
      (folder / f"evaluation-{step}.json").write_text(json.dumps(figures))
    return processes.Usage(0, 120.0, 130.0, [])

  monkeypatch.setattr(processes, "run", stand_in)
  calls_and_failing = calls, failing
  for name, depth in (("a", 16), ("b", 32)):
    (tmp_path / f"{name}.yaml").write_text(
      yaml.safe_dump({"task": {"rpn": {"depth": depth}}, "trainer": {"train_steps": 10}})
    )
  return calls_and_failing


def call(tmp_path, *flags):
  configs = [str(tmp_path / f"{name}.yaml") for name in "ab"]
  output_dir = f"--output_dir={tmp_path / 'out'}"
  given = ["--configs", *configs, "--seeds", "0", "1", "--evaluations", "2", "--jobs", "1"]
  return compare.main([*given, output_dir, *flags])


def test_report(trainings, tmp_path, capsys):
  assert call(tmp_path) == 0
  calls, _ = trainings
  assert [(arm, seed) for arm, seed, _ in calls] == [("a", 0), ("b", 0), ("a", 1), ("b", 1)]
  found = json.loads((tmp_path / "out" / compare.JSON_FILE).read_text())
  assert found["figures"]["10"]["b"] == {"0": pytest.approx(60.0), "1": pytest.approx(65.0)}
  assert found["figures"]["5"]["a"]["1"] == pytest.approx(44.0)
  difference = found["differences"]["b"]
  assert difference["mean"] == pytest.approx(10.5)
  assert difference["word"] == "better"
  assert difference["count"] == 2
  assert found["what_differs"] == {"task.rpn.depth": {"a": 16, "b": 32}}
  assert found["cpu_minutes"] == {"a": [2.0, 2.0], "b": [2.0, 2.0]}
  text = (tmp_path / "out" / compare.MARKDOWN_FILE).read_text()
  assert text in capsys.readouterr().out
  assert "| a | 0, 1 | 52.0 ± 2.8 | 50.0, 54.0 | 2.0 |" in text
  assert "| b | +10.50 | +4.15 to +16.85 |  | better | " in text
  assert "| 5 | 42.0 ± 2.8 | 52.5 ± 3.5 |" in text
  page = (tmp_path / "out" / compare.PAGE_FILE).read_text()
  assert "data:image/png;base64," in page and "<td>+10.50</td>" in page


def test_a_run_has_its_seed_and_the_schedule_of_all(trainings, tmp_path):
  call(tmp_path, "--init", "weights.h5", "--params_override", "task.rpn.nms_iou=0.6")
  calls, _ = trainings
  command = calls[1][2]
  folder = tmp_path / "out/b/seed_0"
  assert command[3:6] == [
    "--experiment=mtl_frcnn",
    "--mode=train_and_eval",
    f"--model_dir={folder / 'model'}",
  ]
  assert command[6:] == [
    f"--config_file={tmp_path / 'b.yaml'}",
    f"--config_file={folder / 'overlay.yaml'}",
    "--params_override=task.rpn.nms_iou=0.6",
    "--init=weights.h5",
  ]
  overlay = yaml.safe_load((tmp_path / "out/b/seed_1/overlay.yaml").read_text())
  assert overlay["task"]["seed"] == overlay["task"]["train_data"]["seed"] == 1
  assert overlay["trainer"] == {
    "train_steps": 10,
    "validation_interval": 5,
    "checkpoint_interval": 5,
  }


def test_a_finished_run_is_not_repeated_and_a_failed_one_is(trainings, tmp_path, capsys):
  calls, failing = trainings
  failing.add("b")
  assert call(tmp_path) == 1
  assert "b seed 0: failed with 1: " in (said := capsys.readouterr().err)
  assert "error: b is broken" in said
  failing.clear()
  calls.clear()
  assert call(tmp_path) == 0
  assert [(arm, seed) for arm, seed, _ in calls] == [("b", 0), ("b", 1)]
  calls.clear()
  assert call(tmp_path, "--only_report") == 0
  assert not calls


def test_runs_of_other_settings_are_not_taken(trainings, tmp_path, capsys):
  assert call(tmp_path) == 0
  (tmp_path / "b.yaml").write_text(
    yaml.safe_dump({"task": {"rpn": {"depth": 64}}, "trainer": {"train_steps": 10}})
  )
  assert call(tmp_path) == 1
  assert "error: arm 'b': " in (said := capsys.readouterr().err)
  assert "holds runs of other settings; accepted: " in said


def damage(path, content):
  path.unlink(missing_ok=True)
  if content is None:
    os.mkfifo(path)
  else:
    path.write_text(content if isinstance(content, str) else json.dumps(content))


RECORD = {
  "arm": "b",
  "seed": 0,
  "is_resumed": False,
  "cpu_minutes": 2.0,
  "figures": {"10": {"voc/mAP50_area": 0.5}},
}


@pytest.mark.parametrize(
  ("name", "content", "problem"),
  [
    ("run.json", None, ": cannot be read (a pipe and no regular file); "),
    ("run.json", "{", ": no JSON (Expecting property name enclosed in double quotes"),
    ("run.json", "[" * 100_000, ": no JSON (objects and lists in each other; at most 32 levels)"),
    ("run.json", [], " is []; accepted: an object; "),
    ("run.json", {**RECORD, "arm": "../x\n"}, r": arm is '../x\n'; accepted: 'b'; "),
    ("run.json", {**RECORD, "seed": 1}, ": seed is 1; accepted: 0; "),
    ("run.json", {**RECORD, "cpu_minutes": "2"}, ": cpu_minutes is '2'; accepted: a finite number"),
    ("run.json", {**RECORD, "figures": {}}, ": figures is {}; accepted: figures by step; "),
    ("run.json", {**RECORD, "figures": {"x": {}}}, ": figures: step is 'x'; accepted: a whole num"),
    ("run.json", {**RECORD, "figures": {"5": []}}, ": figures: 5 is []; accepted: an object; "),
    (
      "run.json",
      {**RECORD, "figures": {"5": {"a": float("inf")}}},
      ": figures: 5: a is inf; accepted: a finite number; ",
    ),
    (
      "run.json",
      {**RECORD, "figures": {"5": {"a": 1e300}}},
      ": figures: a is 1e+300; accepted: at most 1e+12; ",
    ),
    ("ablation_refinement_off.json", None, ": cannot be read (a pipe and no regular file); "),
    ("ablation_refinement_off.json", "[1]", " is [1]; accepted: an object; "),
    ("ablation_refinement_off.json", {"a": "x"}, ": a is 'x'; accepted: a finite number; "),
  ],
)
def test_what_an_earlier_call_left_is_damaged(trainings, tmp_path, capsys, name, content, problem):
  assert call(tmp_path) == 0
  capsys.readouterr()
  path = tmp_path / "out/b/seed_0" / name
  damage(path, content)
  assert call(tmp_path) == 1
  (line,) = capsys.readouterr().err.splitlines()[1:]  # The first one counts what is there.
  assert line.startswith(f"error: {path}{problem}")
  assert line.endswith("; delete the file, and the same command makes it again")
  path.unlink()
  assert call(tmp_path) == 0


def test_a_run_lacks_the_last_step(trainings, tmp_path, capsys):
  assert call(tmp_path) == 0
  for seed in (0, 1):
    path = tmp_path / f"out/b/seed_{seed}"
    record = {**RECORD, "seed": seed, "figures": {"5": {"voc/mAP50_area": 0.5}}}
    damage(path / "run.json", record)
    damage(path / "ablation_refinement_off.json", {"voc/mAP50_area": 0.25})
  assert call(tmp_path, "--only_report") == 0
  assert "| b | refinement off | 25.0 ± 0.0 | " in capsys.readouterr().out
  damage(path / "ablation_refinement_off.json", {"coco/AP": 0.25})
  assert call(tmp_path, "--only_report") == 1
  assert "error: --metric is 'voc/mAP50_area', which b seed 1 with refinement_off lacks; " in (
    capsys.readouterr().err
  )


@pytest.mark.parametrize("content", [None, "{", "[]"])
def test_the_settings_of_an_arm_are_damaged(trainings, tmp_path, capsys, content):
  assert call(tmp_path) == 0
  capsys.readouterr()
  damage(tmp_path / "out/b/arm.json", content)
  assert call(tmp_path) == 1
  (line,) = capsys.readouterr().err.splitlines()
  assert line.startswith("error: arm 'b': ") and str(tmp_path / "out/b/arm.json") in line
  assert line.endswith("another name, or another --output_dir")


@pytest.mark.parametrize("content", [None, "{", '{"step": "\\n"}', '{"voc/mAP50_area": 0.5}'])
def test_an_evaluation_of_a_run_is_damaged(trainings, tmp_path, capsys, monkeypatch, content):
  stand_in = processes.run

  def run(command, log, processor, *, cwd):
    usage = stand_in(command, log, processor, cwd=cwd)
    path = log.parent / "model" / "evaluation-5.json"
    if path.parts[-4] == "b":
      damage(path, content)
    return usage

  monkeypatch.setattr(processes, "run", run)
  assert call(tmp_path) == 1
  lines = capsys.readouterr().err.splitlines()
  outcomes = sorted(line.split("] ", 1)[1] for line in lines if line.startswith("["))
  assert [outcome[:8] for outcome in outcomes] == ["a seed 0", "a seed 1", "b seed 0", "b seed 1"]
  for outcome in outcomes[2:]:
    assert outcome.startswith(
      f"{outcome[:8]}: {tmp_path}/out/b/seed_{outcome[7]}/model/evaluation-5"
    )
    assert "; accepted: as the training wrote it, or another --output_dir" in outcome


def test_detections_of_other_images_are_left_out(trainings, tmp_path, capsys):
  assert call(tmp_path) == 0
  for arm, names in (("a", "xy"), ("b", "x")):
    folder = tmp_path / f"out/{arm}/seed_0/results/step_10"
    folder.mkdir(parents=True)
    truth = {
      "images": [
        {"id": number, "file_name": name, "height": 9, "width": 9}
        for number, name in enumerate(names)
      ],
      "categories": [{"id": 1, "name": "cat"}],
      "annotations": [
        {"id": number, "image_id": number, "category_id": 1, "bbox": [1, 1, 4, 4], "area": 16}
        for number in range(len(names))
      ],
    }
    (folder / "coco_ground_truth.json").write_text(json.dumps(truth))
    (folder / "coco_results.json").write_text("[]")
  capsys.readouterr()
  assert call(tmp_path) == 0
  assert (
    f"warning: {folder}/coco_ground_truth.json: left out, as its images or objects are not those of"
    f" {tmp_path}/out/a/seed_0/results/step_10/coco_ground_truth.json" in capsys.readouterr().err
  )
  (folder / "coco_ground_truth.json").write_text(
    json.dumps({**truth, "images": [], "annotations": []})
  )
  assert call(tmp_path) == 1
  assert (
    capsys.readouterr().err.splitlines()[-1].startswith(f"error: {folder}/coco_ground_truth.json")
  )


@pytest.mark.parametrize("name", ["comparison.md", "b/notes.txt"])
def test_files_of_the_user_stay(trainings, tmp_path, capsys, name):
  path = tmp_path / "out" / name
  path.parent.mkdir(parents=True)
  path.write_text("mine")
  assert call(tmp_path) == 1
  assert capsys.readouterr().err.startswith(
    f"error: --output_dir '{tmp_path}/out': comparison.md cannot be written: it is there already"
    if name == "comparison.md"
    else f"error: arm 'b': {tmp_path}/out/b is not empty and holds no arm.json; accepted: another"
  )
  assert path.read_text() == "mine"
  assert not trainings[0]  # Before any work.
  path.unlink()
  assert call(tmp_path) == call(tmp_path) == 0


def test_refinement_ablation(trainings, tmp_path, monkeypatch):
  # Arm a lacks an input of refinement, b has all of them.
  auxiliary = {"closeness": {"loss_weight": 0.0}}
  (tmp_path / "a.yaml").write_text(
    yaml.safe_dump({"task": {"auxiliary": auxiliary}, "trainer": {"train_steps": 10}})
  )
  assert call(tmp_path) == 0
  evaluated = []

  def evaluate(command, log, processor, *, cwd):
    flags = dict(flag.split("=", 1) for flag in command if flag.startswith("--"))
    folder = pathlib.Path(flags["--model_dir"])
    assert flags["--mode"] == "eval"
    setting = flags["--params_override"].split(",")[0]
    evaluated.append((*folder.parts[-3:-1], setting))
    less = 0.2 if setting == "task.refinement.enabled=false" else 0.1
    arm, seed = folder.parts[-3], int(folder.parts[-2].removeprefix("seed_"))
    field, value = setting.split("=")
    changed = {field: value if less == 0.1 else False}
    # Others are of an earlier step, and of another evaluation at the same time.
    for step, settings, lost in (
      (1, changed, 0.4),
      (10, {"task.seed": 5}, 0.3),
      (10, changed, less),
    ):
      content = {"step": step, "voc/mAP50_area": FIGURES[arm, seed] - lost}
      path = folder / f"evaluation-{step}-{len(evaluated)}{lost}.json"
      path.write_text(json.dumps({**content, "changed_settings": settings}))
    return processes.Usage(0, 1.0, 1.0, [])

  monkeypatch.setattr(processes, "run", evaluate)
  assert call(tmp_path, "--refinement_ablation", "--params_override", "") == 0
  assert len(evaluated) == 2 * (3 + 4)
  assert ("b", "seed_1", "task.refinement.zeroed_input=closeness") in evaluated
  assert ("a", "seed_1", "task.refinement.zeroed_input=multi_object") in evaluated
  assert ("a", "seed_1", "task.refinement.zeroed_input=closeness") not in evaluated
  found = json.loads((tmp_path / "out" / compare.JSON_FILE).read_text())
  assert found["refinement_ablation"]["b"]["refinement_off"] == {
    "0": pytest.approx(40.0),
    "1": pytest.approx(45.0),
  }
  assert found["figures"]["10"]["b"]["0"] == pytest.approx(60.0)
  text = (tmp_path / "out" / compare.MARKDOWN_FILE).read_text()
  assert "| a | refinement off | 32.0 ± 2.8 | -20.00 | -20.00 to -20.00 | worse |" in text
  evaluated.clear()
  assert call(tmp_path, "--refinement_ablation") == 0
  assert not evaluated


@pytest.mark.parametrize(
  ("flags", "message"),
  [
    (["--seeds", "0", "0"], "error: --seeds is [0, 0]; accepted: each seed once"),
    (["--evaluations", "0"], "error: --evaluations is 0; accepted: at least 1"),
    (["--only_report"], "holds no complete run of these arms"),
    (["--metric", "coco/AP"], "error: --metric is 'coco/AP', which a seed 0 lacks; accepted: "),
  ],
)
def test_what_is_refused(trainings, tmp_path, capsys, flags, message):
  assert call(tmp_path, *flags) == 1
  assert message in capsys.readouterr().err


def test_arms_start_from_the_same_weights_of_the_parts_that_they_share(tmp_path):
  tiny.write_records(tmp_path)
  without = {name: {"loss_weight": 0.0} for name in ("multi_object", "closeness", "foreground")}
  baseline = {"auxiliary": without, "refinement": {"enabled": False}}
  weights = {}
  for name, override in (("full", {}), ("baseline", baseline)):
    params = tiny.experiment(tmp_path, {"task": {"seed": 3, **override}})
    model = mtl_detection.MtlDetectionTask.for_run(params.task, params.runtime).build_model()
    weights[name] = {variable.name: variable.numpy() for variable in model.variables}
  shared = weights["full"].keys() & weights["baseline"].keys()
  assert len(shared) == len(weights["baseline"]) < len(weights["full"])
  for name in shared:
    np.testing.assert_array_equal(weights["full"][name], weights["baseline"][name], name)
