"""Tests of saved_model_detector.py."""

import os
import shutil

import numpy as np
import pytest
import tensorflow as tf

from mtl_ssl_tf.serving import saved_model_detector, score_thresholds
from tests.serving import tiny_run


@pytest.fixture(name="loaded_folders")
def _loaded_folders(tiny_loaded, monkeypatch):
  """Folders that are asked to be loaded; instead of each of them, `tiny_export` is there."""
  folders = []

  def load(folder):
    folders.append(folder)
    return tiny_loaded

  monkeypatch.setattr(saved_model_detector.tf.saved_model, "load", load)
  return folders


def test_arrays_in_and_out(tiny_detector):
  assert tiny_detector.class_names == tiny_run.CLASS_NAMES
  outputs = tiny_detector(np.stack([tiny_run.images()[0]] * 2))
  assert outputs.keys() == set(tiny_run.OUTPUTS)
  assert isinstance(outputs["detection_boxes_px"], np.ndarray)
  assert outputs["detection_boxes_px"].shape == (2, 40, 4)


def test_encoded_images_of_any_sizes(tiny_detector):
  images = tiny_run.images()
  outputs = tiny_detector.detect_encoded([tf.io.encode_png(image).numpy() for image in images])
  for i, image in enumerate(images):
    expected = tiny_detector(image[np.newaxis])
    for name in tiny_run.OUTPUTS:
      np.testing.assert_allclose(outputs[name][i], expected[name][0], atol=1e-3, err_msg=name)


def test_the_highest_version(tiny_export, loaded_folders, tmp_path):
  for version in ("2", "10"):
    shutil.copytree(tiny_export[0], tmp_path / version)
  (tmp_path / "10" / "assets" / "label_map.txt").write_text("a\nb\nc\n")
  assert saved_model_detector.SavedModelDetector(tmp_path).class_names == ["a", "b", "c"]
  two = saved_model_detector.SavedModelDetector(tmp_path / "2")
  assert two.class_names == tiny_run.CLASS_NAMES
  assert loaded_folders == [str(tmp_path / "10"), str(tmp_path / "2")]


def test_score_thresholds(tiny_export, tiny_detector, loaded_folders, tmp_path):
  assert tiny_detector.score_thresholds is None
  shutil.copytree(tiny_export[0], tmp_path / "1")
  path = tmp_path / "1" / "assets.extra" / score_thresholds.FILE
  thresholds = dict.fromkeys(tiny_run.CLASS_NAMES, 0.5)
  path.write_text(score_thresholds.as_json(thresholds))
  assert saved_model_detector.SavedModelDetector(tmp_path).score_thresholds == thresholds
  path.write_text("{}")
  with pytest.raises(ValueError, match=r"score_thresholds\.json: no score_thresholds; accepted"):
    saved_model_detector.SavedModelDetector(tmp_path)


def test_fingerprint(tiny_export, tiny_detector, loaded_folders, tmp_path):
  folder = tmp_path / "export"
  shutil.copytree(tiny_export[0], folder)
  assert saved_model_detector.SavedModelDetector(folder).fingerprint == tiny_detector.fingerprint
  found = {tiny_detector.fingerprint}
  # Other classes, other weights, and another graph of the same weights.
  for file in ("assets/label_map.txt", "variables/variables.index", "saved_model.pb"):
    content = (folder / file).read_bytes()
    (folder / file).write_bytes(content + b"a\n")
    found.add(saved_model_detector.SavedModelDetector(folder).fingerprint)
    (folder / file).write_bytes(content)
  assert len(found) == 4
  assert loaded_folders == [str(folder)] * 4


@pytest.mark.parametrize("missing", ["assets/label_map.txt", "variables/variables.index"])
def test_incomplete_folder(tiny_export, tmp_path, missing):
  folder = tmp_path / "export"
  shutil.copytree(tiny_export[0], folder)
  (folder / missing).unlink()
  with pytest.raises(ValueError, match="is no exported detector") as caught:
    saved_model_detector.SavedModelDetector(folder)
  assert str(caught.value).endswith(f"{str(folder / missing)!r} does not exist")


def test_a_pipe_among_its_weights_is_not_waited_for(tiny_export, loaded_folders, tmp_path):
  folder = tmp_path / "export [1]"
  shutil.copytree(tiny_export[0], folder)
  os.mkfifo(folder / "variables" / "variables.data-00001-of-00002")
  with pytest.raises(ValueError, match=r"is no exported detector \(.*a pipe and no regular file"):
    saved_model_detector.SavedModelDetector(folder)
  assert loaded_folders == []


def test_no_saved_model(tmp_path):
  with pytest.raises(ValueError, match="is no exported detector"):
    saved_model_detector.SavedModelDetector(tmp_path)


def test_damaged_file(tiny_export, tmp_path):
  folder = tmp_path / "export"
  shutil.copytree(tiny_export[0], folder)
  (folder / "saved_model.pb").write_bytes(b"no protocol buffer")
  with pytest.raises(ValueError, match="is no exported detector"):
    saved_model_detector.SavedModelDetector(folder)


def test_a_saved_model_of_another_kind(tiny_export, tmp_path):
  folder = tmp_path / "export"
  shutil.copytree(tiny_export[0] / "assets", folder / "assets")
  tf.saved_model.save(tf.Module(), folder)
  with pytest.raises(ValueError, match=r"is no exported detector .*serving_default"):
    saved_model_detector.SavedModelDetector(folder)
