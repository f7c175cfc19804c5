"""Tests of export_lib.py: what it takes from a run's folder, and what it leaves behind."""

import os
import pathlib
import shutil

import pytest
import tensorflow as tf

from mtl_ssl_tf.serving import export_lib
from tests.serving import tiny_run as tiny_run_lib


@pytest.fixture(name="run")
def _run(tiny_run, tmp_path):
  """A copy of the tiny run, which a test may change."""
  shutil.copytree(tiny_run, tmp_path / "run")
  return tmp_path / "run"


def _error(run, *, checkpoint=None) -> str:
  """What is said of a run that cannot be exported; it has to be one line, and nothing written."""
  target = run.parent / "exported"
  with pytest.raises(ValueError) as caught:
    export_lib.export_run(str(run), str(target), checkpoint=checkpoint)
  assert not target.exists()
  message = str(caught.value)
  assert "\n" not in message
  return message.replace(str(run.parent), "")


class TestCheckpoint:
  def test_the_best_comes_first(self, run):
    found = export_lib.read_run(str(run))
    assert found.checkpoint == str(run / "best" / "best_ckpt-1")
    assert (found.choice, found.step) == ("best", tiny_run_lib.BEST_STEP)
    assert found.class_names == tiny_run_lib.CLASS_NAMES

  def test_then_the_latest(self, run):
    shutil.rmtree(run / "best")
    found = export_lib.read_run(str(run))
    assert found.checkpoint == str(run / "ckpt-10")
    assert (found.choice, found.step) == ("latest", tiny_run_lib.LATEST_STEP)

  @pytest.mark.parametrize("given", ["ckpt-10", ""])
  def test_or_the_one_given(self, run, given):
    found = export_lib.read_run(str(run), os.path.join(run, given))
    assert found.checkpoint == str(run / "ckpt-10")
    assert (found.choice, found.step) == ("given", tiny_run_lib.LATEST_STEP)

  def test_without_a_step(self, run):
    path = tf.train.Checkpoint(model=tf.Module()).write(str(run / "weights"))
    assert export_lib.read_run(str(run), path).step is None

  @pytest.mark.parametrize("given", ["ckpt-11", "best/best_ckpt-1.index", "train"])
  def test_given_one_is_missing(self, run, given):
    (run / "train").mkdir()
    assert _error(run, checkpoint=str(run / given)) == (
      f"--checkpoint '/run/{given}' is no checkpoint; accepted: a path without ending such as"
      " '/run/ckpt-1000', or a folder with checkpoints"
    )

  def test_none_at_all(self, run):
    shutil.rmtree(run / "best")
    for file in run.glob("ckpt-*"):
      file.unlink()
    assert _error(run) == "--model_dir '/run' holds no checkpoint; is it the folder of a run?"

  def test_damaged(self, run):
    (run / "best" / "best_ckpt-1.index").write_bytes(b"nothing")
    assert _error(run).startswith("checkpoint '/run/best/best_ckpt-1' cannot be read (")

  def test_weights_cut_short(self, run):
    path = run / "best" / "best_ckpt-1.data-00000-of-00001"
    path.write_bytes(path.read_bytes()[:10_000])
    assert "'/run/best/best_ckpt-1' " in _error(run)

  @pytest.mark.parametrize("lines", ["disc\nring\n", "a\nb\nc\nd\n"])
  def test_of_other_classes(self, run, lines):
    (run / "label_map.txt").write_text(lines)
    assert _error(run).startswith(
      "checkpoint '/run/best/best_ckpt-1' does not fit the detector of params.yaml and"
      " label_map.txt ("
    )

  def test_of_another_architecture(self, run):
    text = (run / "params.yaml").read_text()
    (run / "params.yaml").write_text(text.replace("head: conv1x1", "head: conv3x3"))
    assert "does not fit the detector" in _error(run)


class TestFolder:
  def test_no_folder(self, tmp_path):
    assert _error(tmp_path / "run") == "--model_dir '/run' is no folder"

  @pytest.mark.parametrize("name", ["params.yaml", "label_map.txt"])
  def test_missing_file(self, run, name):
    (run / name).unlink()
    assert _error(run) == f"--model_dir '/run' holds no {name}, which training writes there"

  def test_unusable_label_map(self, run):
    (run / "label_map.txt").write_text("disc\n\nring\n")
    assert _error(run).startswith("/run/label_map.txt: line 2: ''; accepted")

  @pytest.mark.parametrize(
    ("text", "message"),
    [
      ("task: {", "/run/params.yaml: not YAML ("),
      ("", "/run/params.yaml: the whole is None; accepted: a mapping"),
      ("task: {anker: 1}", "/run/params.yaml: unknown field 'task.anker'; the nearest is"),
      ("task: {label_map: a, rpn: {depth: 0}}", "task.rpn.depth is 0; accepted: at least 1"),
    ],
  )
  def test_unusable_params(self, run, text, message):
    (run / "params.yaml").write_text(text)
    assert _error(run).startswith(message)

  def test_params_in_no_encoding(self, run):
    (run / "params.yaml").write_bytes(b"\xff")
    assert _error(run).startswith("/run/params.yaml: not YAML (")


class TestTarget:
  def _refusal(self, run, target) -> str:
    with pytest.raises(ValueError, match="--export_dir") as caught:
      export_lib.export_run(str(run), str(target))
    return str(caught.value).replace(str(target), "TARGET")

  def test_other_things_are_never_replaced(self, tiny_run, tmp_path):
    (tmp_path / "thesis.txt").write_text("")
    for overwrite in (False, True):
      with pytest.raises(ValueError, match="holds other things than an export; accepted"):
        export_lib.export_run(str(tiny_run), str(tmp_path), overwrite=overwrite)
    assert os.listdir(tmp_path) == ["thesis.txt"]

  def test_the_run_itself_is_safe(self, run):
    assert "other things" in self._refusal(run, run)

  def test_an_export_is_replaced_on_request_only(self, tiny_run, tiny_export, tmp_path):
    target = tmp_path / "export"
    shutil.copytree(tiny_export[0], target)
    (target / "assets" / "old").write_text("")
    assert self._refusal(tiny_run, target) == (
      "--export_dir 'TARGET' holds an export; replace it with --overwrite"
    )
    said = []
    latest = str(tiny_run / "ckpt-10")
    export_lib.export_run(
      str(tiny_run), str(target), checkpoint=latest, overwrite=True, say=said.append
    )
    assert said[0] == f"checkpoint: {latest} (given, step 10)"
    assert os.listdir(tmp_path) == ["export"]
    assert os.listdir(target / "assets") == ["label_map.txt"]
    assert set(tf.saved_model.load(target).signatures) == {"serving_default", "serving_bytes"}

  def test_a_failure_leaves_nothing_new(self, tiny_run, tiny_export, tmp_path, monkeypatch):
    target = tmp_path / "export"
    shutil.copytree(tiny_export[0], target)
    before = sorted(target.rglob("*"))

    def fail(module, folder, signatures):
      os.makedirs(folder)
      pathlib.Path(folder, "saved_model.pb").write_text("half")
      raise OSError("disk full")

    monkeypatch.setattr(tf.saved_model, "save", fail)
    for name in ("export", "other"):
      with pytest.raises(OSError, match="disk full"):
        export_lib.export_run(str(tiny_run), str(tmp_path / name), overwrite=True)
    assert os.listdir(tmp_path) == ["export"]
    assert sorted(target.rglob("*")) == before
