"""Detections of a run and of folds; trainings are a stand-in but for one."""

import json
import pathlib
import re

import numpy as np
import pytest
import yaml

from mtl_ssl_tf import audit_labels
from mtl_ssl_tf.auditing import detectors, inputs
from mtl_ssl_tf.comparison import processes
from mtl_ssl_tf.data.ground_truth import coco_truth, detection_files, truth_readers
from tests.auditing import made_up
from tests.serving import tiny_run as tiny_run_lib


@pytest.fixture(name="world")
def _world(tmp_path):
  return tmp_path, made_up.write(tmp_path)


@pytest.fixture(name="trainings")
def _trainings(monkeypatch):
  """Commands that were carried out; they leave a detection an image, its score that of the fold."""
  calls = []

  def stand_in(command, log, processor, *, cwd):
    flags = [flag.split("=", 1) for flag in command if flag.startswith("--")]
    (model_dir,) = (pathlib.Path(value) for name, value in flags if name == "--model_dir")
    files = [value for name, value in flags if name == "--config_file"]
    (fold,) = (file for file in files if re.search(r"/fold\d+\.yaml$", file))
    task = yaml.safe_load(pathlib.Path(fold).read_text())["task"]
    overlay = yaml.safe_load(pathlib.Path(files[-1]).read_text())
    number = int(re.search(r"fold(\d+)\.yaml", fold)[1])
    calls.append((number, overlay["task"]["seed"], overlay["trainer"]["train_steps"]))
    part = truth_readers.read_records(task["validation_data"]["input_path"], task["label_map"])
    others = truth_readers.read_records(task["train_data"]["input_path"], task["label_map"])
    assert not {one.image_id for one in part.images} & {one.image_id for one in others.images}
    steps = overlay["trainer"]["train_steps"]
    results = pathlib.Path(overlay["task"]["evaluation"]["results_dir"]) / f"step_{steps}"
    results.mkdir(parents=True)
    found = [
      made_up.detections(
        [[1, 2, 30, 40 + int(one.image_id.split('"')[0])]], [0.1 + 0.2 * number], [1]
      )
      for one in part.images
    ]
    detection_files.write_coco_results(
      results / detection_files.COCO_RESULTS_FILE,
      zip(part.coco_image_ids, found, strict=True),
      part.category_ids,
    )
    coco_truth.write_coco(part, results / detection_files.COCO_GROUND_TRUTH_FILE)
    model_dir.mkdir(parents=True)
    (model_dir / f"evaluation-{steps}.json").write_text(
      json.dumps({"step": steps, "voc/mAP50_area": 0.5})
    )
    log.write_text("")
    return processes.Usage(0, 60.0, 60.0, [])

  monkeypatch.setattr(processes, "run", stand_in)
  return calls


def test_parts_are_equal_and_do_not_depend_on_the_order():
  names = [str(number) for number in range(23)]
  parts = detectors.parts_of(names, 4, 0)
  assert sorted(np.bincount(parts).tolist()) == [5, 6, 6, 6]
  np.testing.assert_array_equal(detectors.parts_of(names[::-1], 4, 0), parts[::-1])
  assert (detectors.parts_of(names, 4, 1) != parts).any()


def _call(folder, *flags):
  (folder / "tiny.yaml").write_text(yaml.safe_dump({"trainer": {"train_steps": 10}}))
  given = [f"--data={folder / 'train.tfrecord'}", f"--output_dir={folder / 'audit'}", "--folds=3"]
  return audit_labels.main([*given, f"--config_file={folder / 'tiny.yaml'}", "--jobs=1", *flags])


def test_folds(world, trainings, capsys):
  folder, truth = world
  assert _call(folder, "--seed=5", "--steps=8") == 0
  assert trainings == [(number, 5, 8) for number in range(3)]
  parts = detectors.parts_of([image.image_id for image in truth.images], 3, 5)
  listed = json.loads((folder / "audit" / "audit.json").read_text())["candidates"]
  places = {image.image_id: place for place, image in enumerate(truth.images)}
  proposed = [row for row in listed if row["kind"] == "missing"]
  assert proposed
  for row in proposed:
    place = places[row["image_id"]]
    assert abs(row["score"] - (0.1 + 0.2 * parts[place])) < 1e-6
    assert row["bbox"] == [2, 1, 38 + place, 29]
  # What all folds found is one file, which any later audit takes.
  found = detection_files.read_predictions(
    str(folder / "audit" / "folds" / "coco_results.json"), truth, "ground_truth"
  )
  scores = [one.scores.tolist() for one in found]
  np.testing.assert_allclose(scores, [[0.1 + 0.2 * part] for part in parts])
  # The parts have all that the data have.
  written = {}
  for number in range(3):
    files = sorted(str(path) for path in (folder / "audit/folds/records").glob(f"part{number}-*"))
    part = truth_readers.read_records(files)
    assert {one.image_id for one in part.images} == {
      image.image_id for image, of in zip(truth.images, parts, strict=True) if of == number
    }
    written |= {one.image_id: one for one in part.images}
  for image in truth.images:
    np.testing.assert_array_equal(written[image.image_id].boxes.corners, image.boxes.corners)
    np.testing.assert_array_equal(written[image.image_id].classes, image.classes)
  manifest = json.loads((folder / "audit/folds/records/manifest_part0.json").read_text())
  assert sum(manifest["boxes_per_class"].values()) > 0


def test_finished_folds_are_not_trained_again(world, trainings, capsys):
  folder, _ = world
  assert _call(folder) == 0
  records = sorted((folder / "audit/folds/records").glob("*.tfrecord"))
  before = [path.stat().st_mtime_ns for path in records]
  trainings.clear()
  assert _call(folder) == 0
  assert trainings == []
  assert [path.stat().st_mtime_ns for path in records] == before
  capsys.readouterr()
  assert _call(folder, "--steps=20") == 1
  assert "holds runs of other settings" in capsys.readouterr().err


def test_a_fold_that_fails(world, monkeypatch, capsys):
  folder, _ = world

  def fail(command, log, processor, *, cwd):
    log.write_text("error: broken\n")
    return processes.Usage(1, 1.0, 1.0, [])

  monkeypatch.setattr(processes, "run", fail)
  assert _call(folder) == 1
  assert "error: broken" in capsys.readouterr().err
  assert not (folder / "audit" / "audit.json").exists()


def test_a_run(tiny_run, tmp_path, capsys):
  records = tiny_run / "records.tfrecord"
  flags = [f"--data={records}", f"--model_dir={tiny_run}", f"--output_dir={tmp_path / 'audit'}"]
  assert audit_labels.main(flags) == 0
  listed = json.loads((tmp_path / "audit" / "audit.json").read_text())
  truth = truth_readers.read_records(str(records))
  data = inputs.obtain(str(records), tmp_path)
  found = detectors.of_run(str(tiny_run), None, data, tmp_path / "audit" / "detections")
  assert [len(one.scores) > 0 for one in found] == [True] * 3
  scores = np.concatenate([one.scores for one in found])
  listed_scores = [row["score"] for row in listed["candidates"] if row["score"] is not None]
  assert listed_scores
  assert all(np.abs(scores - score).min() < 1e-4 for score in listed_scores)
  assert listed["about"]["images"] == len(truth.images) == 3
  # The second time nothing is evaluated.
  capsys.readouterr()
  assert audit_labels.main(flags) == 0
  assert "detections of an earlier report" in capsys.readouterr().err


def test_a_run_of_other_classes(tiny_run, world, capsys):
  folder, _ = world
  flags = [f"--data={folder / 'train.tfrecord'}", f"--model_dir={tiny_run}"]
  assert audit_labels.main([*flags, f"--output_dir={folder / 'audit'}"]) == 1
  *_, line = capsys.readouterr().err.splitlines()
  assert line.startswith(f"error: --model_dir {str(tiny_run)!r} has the classes disc, ring, ")


@pytest.mark.slow
def test_folds_are_trained(tiny_run, tmp_path):
  """Two real trainings of two steps, from records to page."""
  params = tiny_run_lib.params(tiny_run).as_dict()
  task = {
    name: params["task"][name]
    for name in ("backbone", "anchors", "rpn", "detections", "evaluation")
  }
  sizes = {name: params["task"]["validation_data"][name] for name in ("input_size", "short_side")}
  task["data"] = sizes | {"long_side": 160, "max_num_boxes": 4, "global_batch_size": 1}
  (tmp_path / "tiny.yaml").write_text(yaml.safe_dump({"task": task}))
  flags = [f"--data={tiny_run / 'records.tfrecord'}", f"--output_dir={tmp_path / 'audit'}"]
  flags += ["--folds=2", "--steps=2", f"--config_file={tmp_path / 'tiny.yaml'}", "--jobs=1"]
  assert audit_labels.main(flags) == 0
  assert (tmp_path / "audit" / "audit.html").exists()
