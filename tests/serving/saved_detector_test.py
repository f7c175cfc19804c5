"""Tests of saved_detector.py."""

import shutil

import numpy as np
import pytest
import tensorflow as tf

from mtl_ssl_tf.serving import saved_detector
from tests.serving import tiny_run


def test_arrays_in_and_out(tiny_export):
  detector = saved_detector.SavedDetector(tiny_export[0])
  assert detector.class_names == tiny_run.CLASS_NAMES
  outputs = detector(np.stack([tiny_run.images()[0]] * 2))
  assert outputs.keys() == set(tiny_run.OUTPUTS)
  assert isinstance(outputs["detection_boxes_px"], np.ndarray)
  assert outputs["detection_boxes_px"].shape == (2, 40, 4)


@pytest.mark.parametrize("missing", ["saved_model.pb", "assets/label_map.txt"])
def test_incomplete_folder(tiny_export, tmp_path, missing):
  folder = tmp_path / "export"
  shutil.copytree(tiny_export[0], folder)
  (folder / missing).unlink()
  with pytest.raises(ValueError, match="is no exported detector") as caught:
    saved_detector.SavedDetector(folder)
  assert str(caught.value).endswith(f"{str(folder / missing)!r} does not exist")


def test_damaged_file(tiny_export, tmp_path):
  folder = tmp_path / "export"
  shutil.copytree(tiny_export[0], folder)
  (folder / "saved_model.pb").write_bytes(b"no protocol buffer")
  with pytest.raises(ValueError, match="is no exported detector"):
    saved_detector.SavedDetector(folder)


def test_a_saved_model_of_another_kind(tiny_export, tmp_path):
  folder = tmp_path / "export"
  shutil.copytree(tiny_export[0] / "assets", folder / "assets")
  tf.saved_model.save(tf.Module(), folder)
  with pytest.raises(ValueError, match=r"is no exported detector .*serving_default"):
    saved_detector.SavedDetector(folder)
