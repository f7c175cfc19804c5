"""The study of pretraining: what a pretraining sees, arms that differ in their start, tables."""

import json
import shlex
import sys

import pytest
import yaml

from benchmarks import gain, insloc_study
from benchmarks.accuracy import data
from benchmarks.accuracy import runs as accuracy_runs
from benchmarks.pretraining import runs
from mtl_ssl_tf import compare
from mtl_ssl_tf.command_line import compare as compare_flags
from mtl_ssl_tf.comparison import arms as arms_lib
from mtl_ssl_tf.comparison import processes
from mtl_ssl_tf.configs import insloc as insloc_config
from mtl_ssl_tf.configs import loading


def options(*words: str):
  return insloc_study._parser().parse_args(["--output_dir", "out", *words])


def made(tmp_path, arm=runs.PUBLISHED, steps=400) -> runs.Pretraining:
  one = data.DataSet("bccd", tmp_path)
  one.coco("train").write_text(json.dumps({"images": list(range(205))}))
  return runs.Pretraining(one, arm, insloc_study.PRETRAINING, steps, seed=3)


def resolved(run: runs.Pretraining):
  """What the command of a pretraining trains with."""
  run.folder.mkdir(parents=True, exist_ok=True)
  (run.folder / "overlay.yaml").write_text(yaml.safe_dump(run.overlay()))
  command = run.command()
  assert command[:2] == [sys.executable, "train.py"]
  assert f"--model_dir={run.model_dir}" in command and "--mode=train_and_eval" in command
  files = [word.split("=", 1)[1] for word in command if word.startswith("--config_file=")]
  return loading.load_experiment("insloc", [str(data.ROOT / path) for path in files])


@pytest.mark.parametrize(
  ("arm", "expected"),
  [
    ("insloc", {}),
    ("exact_boxes", {"box_augmentation.enabled": False}),
    ("whole_image", {"box_augmentation.enabled": False, "pooling": "image"}),
    (
      "small_crops",
      {
        "train_data.composite.crop_area_max": 0.2,
        "train_data.composite.crop_area_min": 0.02,
      },
    ),
  ],
)
def test_pretrainings_differ_in_what_they_are_named_for(tmp_path, arm, expected):
  assert set(runs.arms()) == {"insloc", "exact_boxes", "whole_image", "small_crops"}
  published, params = resolved(made(tmp_path)), resolved(made(tmp_path, arm))
  insloc_config.check(params.task, params.trainer)
  found = {name: flat(config.task.as_dict()) for name, config in (("a", published), ("b", params))}
  assert {k: v for k, v in found["b"].items() if v != found["a"][k]} == expected
  task, trainer = params.task, params.trainer
  records = str(tmp_path / "records/train-*.tfrecord")
  assert task.train_data.input_path == records and task.train_data.image_dir == ""
  # Boxes of the images that are trained on, so that no other image has a say.
  assert task.validation_data.input_path == records
  assert (task.seed, task.train_data.seed) == (3, 3)
  assert (task.train_data.global_batch_size, task.queue_size) == (64, 128)
  assert (trainer.train_steps, trainer.validation_interval) == (400, 100)
  assert trainer.checkpoint_interval == 100 and trainer.steps_per_loop == 10
  assert trainer.optimizer_config.learning_rate.cosine.decay_steps == 400


@pytest.mark.parametrize(
  ("num_images", "keys"), [(205, 128), (3000, 2880), (191, 64), (10, 64), (100_000, 4032)]
)
def test_the_queue_ends_before_an_epoch(num_images, keys):
  assert runs.queue_size(num_images) == keys


def flat(fields, path=""):
  found = {}
  for name, value in fields.items():
    found |= flat(value, f"{path}{name}.") if isinstance(value, dict) else {path + name: value}
  return found


def test_the_detector_is_the_network_that_was_pretrained():
  task = resolved_detector(())
  pretrained = loading.load_experiment("insloc", [str(data.ROOT / insloc_study.PRETRAINING)]).task
  for group, names in (
    ("backbone", ("type", "depth_multiplier")),
    ("fpn", ("depth", "min_level", "norm")),
  ):
    for name in names:
      assert getattr(getattr(task, group), name) == getattr(getattr(pretrained, group), name)
  for name in ("layers", "dense_depth", "canonical_size_px", "samples"):
    assert getattr(task.roi_head.fpn, name) == getattr(pretrained.fpn_head, name)
  assert task.roi_head.crop_size == pretrained.crop_size
  assert task.backbone.norm.type == pretrained.backbone.norm.type == "batch"


def resolved_detector(files):
  paths = [str(data.ROOT / insloc_study.DETECTOR), *files]
  return loading.load_experiment("mtl_frcnn", paths).task


def test_what_is_pretrained_on():
  given = options("--bccd", "cells", "--unlabelled", "70")
  bccd = insloc_study.unlabelled("bccd", given)
  assert (bccd.train, bccd.test, bccd.num_images) == ("train", "val", None)
  scenes = insloc_study.unlabelled("scenes", given)
  annotated = gain.source("scenes:30", given)
  assert (scenes.num_images, scenes.drawing) == (70, annotated.drawing)
  final = options("--bccd", "cells", "--final")
  assert insloc_study.unlabelled("bccd", final).train == "trainval"
  assert insloc_study.unlabelled("scenes", final).drawing != scenes.drawing


def test_each_kind_of_data_is_pretrained_on_once(tmp_path, monkeypatch):
  monkeypatch.setattr(data, "prepare", lambda one, folder: data.DataSet(one.name, folder))
  given = options("--bccd", "b", "--pretrainings", "insloc", "whole_image")
  sources = [gain.source(text, given) for text in ("bccd:9", "scenes:9", "bccd:20")]
  planned = insloc_study.plan(sources, tmp_path, given)
  assert [run.name for run in planned] == [
    "bccd pretraining insloc",
    "bccd pretraining whole_image",
    "scenes pretraining insloc",
    "scenes pretraining whole_image",
  ]
  assert planned[0].folder == tmp_path / "bccd/pretrained/insloc"
  # Again the same, and never one of other settings.
  assert insloc_study.plan(sources, tmp_path, given) == planned
  given.pretrain_steps += 1
  with pytest.raises(ValueError, match="holds one of other settings"):
    insloc_study.plan(sources, tmp_path, given)


@pytest.mark.parametrize("with_mtl", [False, True])
def test_arms_differ_in_their_start_alone(tmp_path, monkeypatch, with_mtl):
  monkeypatch.chdir(data.ROOT)
  run = made(tmp_path)
  run.folder.mkdir(parents=True)
  run.start_file.write_text(yaml.safe_dump({"task": {"init_checkpoint": "PRETRAINED"}}))
  words = ["--seeds", "4", "7", "--jobs", "1", *(["--with_mtl"] if with_mtl else [])]
  one = data.DataSet("bccd", tmp_path / "set")
  command = insloc_study.comparison(one, [run], tmp_path / "bccd_9", 90, options(*words))
  args = compare_flags.parser().parse_args(command[3:])
  assert (args.seeds, args.steps, args.evaluations, args.jobs) == ([4, 7], 90, 2, 1)
  arms = arms_lib.parse(args.configs, args.variants, args.params_override)
  fields = {arm.name: compare.resolve(arm, args.experiment) for arm in arms}
  assert list(fields) == ["random", "insloc", *(["random_mtl", "insloc_mtl"] if with_mtl else [])]
  found = arms_lib.differences(fields)
  starts = found.pop("task.init_checkpoint")
  assert starts == {name: "PRETRAINED" * name.startswith("insloc") for name in fields}
  assert len(found) == (4 if with_mtl else 0)
  for by_arm in found.values():
    assert by_arm["random"] == by_arm["insloc"]
    assert not with_mtl or by_arm["random_mtl"] == by_arm["insloc_mtl"] != by_arm["random"]
  for of_arm in fields.values():
    assert of_arm["task.train_data.input_path"] == one.records("train")


def test_a_pretraining_is_carried_out(tmp_path, monkeypatch):
  calls = []

  def check(command, log, processor, cwd):
    calls.append((command, log.name, processor, cwd))
    return processes.Usage(0, 90.0, 100.0, [])

  measures = {"last": {"contrastive": 5.0}, "probe": {"8": 50.0}}
  monkeypatch.setattr(processes, "check", check)
  monkeypatch.setattr(runs, "read_measures", lambda folder: measures)
  run = made(tmp_path)
  runs.claim(run)
  record = runs.carry_out(run, 1)
  assert calls == [(run.command(), "train.log", 1, data.ROOT)]
  assert (record["arm"], record["steps"], record["cpu_minutes"]) == ("insloc", 400, 1.5)
  assert record["probe"] == {"8": 50.0}
  assert run.is_complete and accuracy_runs.read_json(run.folder / "run.json") == record
  start = yaml.safe_load(run.start_file.read_text())
  assert start == {"task": {"init_checkpoint": str(run.model_dir)}}
  # What its first part cost is not known.
  run.model_dir.mkdir()
  assert runs.carry_out(run, 0)["cpu_minutes"] is None


def test_measures(monkeypatch):
  from mtl_ssl_tf.visualization import curves

  found = {
    "train/contrastive": ([10, 20], [9.0, 7.0]),
    "train/accuracy": ([10, 20], [0.1, 0.3]),
    "train/spread": ([10, 20], [0.9, 0.8]),
    "train/accuracy_p3": ([10], [0.7]),
    "validation/probe/accuracy": ([10, 20], [40.0, 60.0]),
  }
  monkeypatch.setattr(curves, "read_scalars", lambda folder: found if folder == "m" else {})
  assert runs.read_measures("m") == {
    "last": {"contrastive": 7.0, "accuracy": 0.3, "spread": 0.8},
    "probe": {"10": 40.0, "20": 60.0},
  }


PRETRAINED = {
  "data": "bccd",
  "arm": "insloc",
  "steps": 1200,
  "cpu_minutes": 20.04,
  "last": {"contrastive": 7.0, "accuracy": 0.305, "spread": 0.8},
  "probe": {"900": 60.0, "1200": 61.04},
}


def test_table_of_pretrainings():
  resumed = {**PRETRAINED, "cpu_minutes": None, "probe": {}}
  lines = runs.table([PRETRAINED, resumed]).splitlines()
  assert lines[2] == "| bccd | insloc | 1200 | 20.0 | 7.00 | 30.5 | 0.80 | 60.0, 61.0 |"
  assert lines[3] == "| bccd | insloc | 1200 |  | 7.00 | 30.5 | 0.80 |  |"


def test_a_study_to_its_report(tmp_path, monkeypatch, capsys):
  compared = []

  def carry_out(run, processor):
    if run.arm == "whole_image":
      raise processes.RunError("out of memory")
    run.start_file.write_text("")
    accuracy_runs.write_json(run.folder / runs.RUN_FILE, PRETRAINED)
    return PRETRAINED

  def run_comparison(command, cwd):
    args = compare_flags.parser().parse_args(command[3:])
    compared.append((args.configs, args.steps))
    args_dir = tmp_path / "choosing" / args.output_dir.rpartition("/")[2]
    args_dir.mkdir(parents=True)
    content = {
      "arms": ["random", "insloc"],
      "figures": {"50": {"random": {"0": 10.0}, "insloc": {"0": 30.0}}},
      "cpu_minutes": {"random": [2.0], "insloc": [2.0]},
      "refinement_ablation": {},
      "differences": {"insloc": {"mean": 20.0, "low": None, "high": None, "count": 1}},
    }
    (args_dir / "comparison.json").write_text(json.dumps(content))
    return type("Process", (), {"returncode": int(args.steps == 60)})

  monkeypatch.setattr(data, "prepare", lambda one, folder: data.DataSet(one.name, folder))
  monkeypatch.setattr(runs, "carry_out", carry_out)
  monkeypatch.setattr(insloc_study.subprocess, "run", run_comparison)
  words = shlex.split(
    f"--output_dir {tmp_path} --bccd b --sets bccd:9 --steps 50 60 --jobs 1"
    " --pretrainings insloc whole_image"
  )
  assert insloc_study.main(words) == 1
  shown = capsys.readouterr()
  assert "not complete: bccd pretraining whole_image, bccd_9_60steps\n" in shown.err
  assert "bccd pretraining insloc: loss 7.00, 30.5 % right" in shown.out
  start = tmp_path / "choosing/bccd/pretrained/insloc/start.yaml"
  files = f"insloc={insloc_study.DETECTOR}+{start}"
  assert compared == [([f"random={insloc_study.DETECTOR}", files], steps) for steps in (50, 60)]
  folder = tmp_path / "choosing"
  text = (folder / "report.md").read_text()
  assert "to random, 95 %" in text and "| bccd | 9 | 50 | insloc | 1 | 30.0 | +20.0 |" in text
  assert "| bccd | insloc | 1200 |" in text and (folder / "images.png").stat().st_size > 5_000
  assert len(json.loads((folder / "study.json").read_text())["detectors"]) == 2 * 2
  # What is complete is not repeated.
  monkeypatch.setattr(runs, "carry_out", lambda run, processor: 1 / 0)
  assert insloc_study.main([*words, "--only_report"]) == 0
  assert insloc_study.main(["--output_dir", str(tmp_path / "none"), "--only_report"]) == 1
  with pytest.raises(SystemExit):
    insloc_study.main(["--output_dir", str(tmp_path), "--sets", "bccd:9"])
  assert "--bccd names no folder" in capsys.readouterr().err
