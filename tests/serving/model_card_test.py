"""Tests of model_card.py."""

import importlib.metadata
import json
import platform

import pytest

from mtl_ssl_tf.serving import export_lib, model_card
from tests.serving import tiny_run as tiny_run_lib


@pytest.fixture(name="card")
def _card(tiny_run, tmp_path):
  """Makes the card of the tiny run, whose evaluations lie in `tmp_path`."""
  run = export_lib.read_run(str(tiny_run))

  def make(**changes):
    facts = {
      "name": "cells",
      "version": 4,
      "model_dir": str(tmp_path),
      "best_subdir": run.best_subdir,
      "checkpoint": run.checkpoint,
      "choice": run.choice,
      "step": run.step,
      "is_averaged": run.is_averaged,
      "class_names": run.class_names,
      "task": run.task,
      "params_text": "task: {seed: 0}\n",
      "signatures": "one",
      "verification": "compared",
      "license_text": "CC0",
    }
    return model_card.model_card(**facts | changes)

  return make


def test_what_it_tells(card):
  text = card()
  assert text.startswith("# cells, version 4\n")
  for line in (
    *(f"{i}. {name}" for i, name in enumerate(tiny_run_lib.CLASS_NAMES, start=1)),
    "- checkpoint: `best_ckpt-1` (best)",
    f"- step: {tiny_run_lib.BEST_STEP}",
    "- seed: 0",
    "- start weights: none: trained from random weights",
    "- tensorflow: 2.20.0",
    "- mtl_ssl_tf: 0.1.0",
    f"- python: {platform.python_version()}",
    *(
      f"- {name}: {importlib.metadata.version(name)}"
      for name in ("tf-models-official", "tf-keras", "numpy")
    ),
    "one",
    "compared",
    "CC0",
    "task: {seed: 0}",
    "The run left no evaluation of this step.",
  ):
    assert line in text.splitlines(), line


def test_what_it_does_not_know(card):
  lines = card(step=None).splitlines()
  assert "- step: not recorded" in lines
  assert "The run left no evaluation of this step." in lines


def test_start_weights_and_what_it_detects_with(card, tiny_run):
  task = export_lib.read_run(str(tiny_run)).task
  task.init_checkpoint = "/weights/resnet"
  text = card(task=task, params_text="\n  a: 1\n\n")
  assert "- start weights: /weights/resnet\n" in text
  assert text.endswith("## Configuration\n\n```yaml\na: 1\n```\n")
  kind = f"{task.roi_head.type}, {task.backbone.type}"
  assert f"An object detector ({kind}) with 3 classes, exported by mtl_ssl_tf." in text


def test_thresholds(card):
  assert "Score thresholds" not in card()
  text = card(thresholds={"disc": 0.25, "ring": 0.123456})
  assert "## Score thresholds" in text.splitlines()
  assert "| disc | 0.25 |\n| ring | 0.1235 |\n" in text


@pytest.mark.parametrize(
  ("file", "key"), [("evaluation-5.json", "step"), ("best/info.json", "best_ckpt_global_step")]
)
def test_figures_of_the_step(card, tmp_path, file, key):
  path = tmp_path / file
  path.parent.mkdir(exist_ok=True)
  path.write_text(json.dumps({key: 5.0, "voc/mAP50_area": 0.5, "best_voc": 0.7, "none": None}))
  assert "|---|---|\n| voc/mAP50_area | 0.5000 |\n\n" in card()
  assert "0.5000" not in card(step=6)
  assert "0.5000" not in card(step=None)


def test_figures_of_the_best_checkpoint_where_the_evaluation_is_of_another_step(card, tmp_path):
  (tmp_path / "evaluation-5.json").write_text(json.dumps({"step": 4.0, "voc": 0.25}))
  (tmp_path / "best").mkdir()
  best = {"best_ckpt_global_step": 5.0, "step_time": 0.125, "voc": 0.5, "images": 3}
  (tmp_path / "best" / "info.json").write_text(json.dumps(best))
  assert "|---|---|\n| voc | 0.5000 |\n\n" in card()


def test_figures_are_of_the_evaluation_rather_than_of_the_best_checkpoint(card, tmp_path):
  (tmp_path / "evaluation-5.json").write_text(json.dumps({"step": 5.0, "voc": 0.25}))
  (tmp_path / "best").mkdir()
  best = {"best_ckpt_global_step": 5.0, "voc": 0.5}
  (tmp_path / "best" / "info.json").write_text(json.dumps(best))
  assert "|---|---|\n| voc | 0.2500 |\n\n" in card()


def test_many_figures(card, tmp_path):
  figures = {f"figure{i}": 0.5 for i in range(33)}
  (tmp_path / "evaluation-5.json").write_text(json.dumps({"step": 5, **figures}))
  text = card()
  assert "| figure29 | 0.5000 |\n\n3 more: `evaluation-5.json`" in text
  assert "figure30" not in text
  figures = {f"figure{i}": 0.5 for i in range(30)}
  (tmp_path / "evaluation-5.json").write_text(json.dumps({"step": 5, **figures}))
  assert "| figure29 | 0.5000 |\n\ncompared" in card()


class TestData:
  def _text(self, card, tiny_run, path):
    task = export_lib.read_run(str(tiny_run)).task
    task.train_data.input_path = str(path)
    return card(task=task)

  def test_manifest(self, card, tiny_run, tmp_path):
    for split in ("train", "val"):
      (tmp_path / f"{split}-00000-of-00001.tfrecord").write_bytes(b"")
      manifest = {
        "split": split,
        "num_images": 12,
        "num_images_without_boxes": 2,
        "num_boxes": 30,
        "boxes_per_class": {"disc": 10, "ring": 20},
        "shards": [{"file": f"{split}-00000-of-00001.tfrecord"}],
        "sources": {"sha256": "abc"},
      }
      (tmp_path / f"manifest_{split}.json").write_text(json.dumps(manifest))
    text = self._text(card, tiny_run, tmp_path / "train-*")
    assert "- split: train\n- images: 12\n- images without boxes: 2\n- boxes: 30\n" in text
    assert "- sha256 of the sources: abc\n\n| class | boxes |\n|---|---|\n| disc | 10 |" in text
    assert "split: val" not in text

  def test_what_manifests_leave_out(self, card, tiny_run, tmp_path):
    for name in ("a", "b"):
      (tmp_path / f"{name}.tfrecord").write_bytes(b"")
      manifest = {"split": name, "shards": [{"file": f"{name}.tfrecord"}]}
      (tmp_path / f"manifest_{name}.json").write_text(json.dumps(manifest))
    text = self._text(card, tiny_run, tmp_path / "*.tfrecord")
    unknown = ("images", "images without boxes", "boxes", "sha256 of the sources")
    for name in ("a", "b"):
      facts = [f"- split: {name}", *(f"- {fact}: not recorded" for fact in unknown)]
      assert "\n".join(facts) + "\n\n| class | boxes |\n|---|---|\n\n" in text

  def test_no_manifest_and_no_records(self, card, tiny_run, tmp_path):
    path = tmp_path / "a.tfrecord"
    assert f"Records `{path}`, which were not available" in self._text(card, tiny_run, path)
    path.write_bytes(b"")
    assert f"1 record files `{path}` without a manifest." in self._text(card, tiny_run, path)


def test_averaged_weights(card):
  assert "averaged" not in card()
  text = card(is_averaged=True)
  assert "- averaged: over the steps of training, see `ema` below\n- seed: 0" in text
