"""Tests of checkpoint_detector.py."""

import shutil

import numpy as np
import pytest

from mtl_ssl_tf.serving import checkpoint_detector
from tests.serving import tiny_run as tiny_run_lib


@pytest.fixture(name="detector", scope="module")
def _detector(tiny_run):
  return checkpoint_detector.CheckpointDetector(tiny_run)


@pytest.fixture(name="runs_built")
def _runs_built(detector, monkeypatch):
  """Runs that are to be built; instead of each of them, `detector` is there."""
  runs = []

  def build_module(run, options):
    assert not options.raw_outputs
    runs.append(run)
    return detector._module

  monkeypatch.setattr(checkpoint_detector.export_lib, "build_module", build_module)
  return runs


def test_equals_the_export(detector, tiny_detector):
  assert detector.class_names == tiny_detector.class_names
  for image in tiny_run_lib.images():
    outputs, expected = detector(image[np.newaxis]), tiny_detector(image[np.newaxis])
    for name in tiny_run_lib.OUTPUTS:
      np.testing.assert_allclose(outputs[name], expected[name], atol=1e-3, err_msg=name)
    assert outputs["num_detections"][0] > 0


def test_the_best_checkpoint_or_another(detector, tiny_run, runs_built):
  assert (detector.choice, detector.checkpoint) == ("best", str(tiny_run / "best" / "best_ckpt-1"))
  other = checkpoint_detector.CheckpointDetector(tiny_run, str(tiny_run / "ckpt-10"))
  assert (other.choice, other.checkpoint) == ("given", str(tiny_run / "ckpt-10"))
  assert other.fingerprint != detector.fingerprint
  assert [run.checkpoint for run in runs_built] == [other.checkpoint]


def test_fingerprint_reports_settings_apart(detector, tiny_run, runs_built, tmp_path):
  run = tmp_path / "run"
  shutil.copytree(tiny_run, run)
  assert checkpoint_detector.CheckpointDetector(run).fingerprint == detector.fingerprint
  params = (run / "params.yaml").read_text()
  (run / "params.yaml").write_text(params.replace("max_total: 40", "max_total: 30"))
  assert checkpoint_detector.CheckpointDetector(run).fingerprint != detector.fingerprint
  assert [run.task.detections.max_total for run in runs_built] == [40, 30]


def test_fingerprint_reports_other_classes(detector, tiny_run, runs_built, tmp_path):
  run = tmp_path / "run"
  shutil.copytree(tiny_run, run)
  classes = tiny_run_lib.CLASS_NAMES[::-1]
  (run / "label_map.txt").write_text("".join(f"{name}\n" for name in classes))
  other = checkpoint_detector.CheckpointDetector(run)
  assert other.class_names == classes
  assert other.fingerprint != detector.fingerprint


def test_no_run(tmp_path):
  with pytest.raises(ValueError, match=r"--model_dir .* holds no params.yaml"):
    checkpoint_detector.CheckpointDetector(tmp_path)
