"""Files of smallest scores by class, and what passes them."""

import json
import os

import numpy as np
import pytest

from mtl_ssl_tf.serving import export_paths, score_thresholds

CLASSES = ("cat", "dog")


def write(path, content):
  path.write_text(content if isinstance(content, str) else json.dumps(content))
  return path


def test_written_and_read_in_the_order_of_the_classes(tmp_path):
  text = score_thresholds.as_json({"dog": 0.25, "cat": 1}, step=7)
  path = write(tmp_path / "a.json", text)
  assert list(score_thresholds.read(path, CLASSES).items()) == [("cat", 1.0), ("dog", 0.25)]
  assert score_thresholds.read_all(path)["step"] == 7
  # A class a line, for people who change one.
  assert text.splitlines()[1:4] == ['  "score_thresholds": {', '    "dog": 0.25,', '    "cat": 1']


def test_thresholds_of_an_export(tmp_path):
  assert score_thresholds.of_export(str(tmp_path), CLASSES) is None
  folder = tmp_path / export_paths.EXTRA_FOLDER
  folder.mkdir()
  path = write(folder / score_thresholds.FILE, score_thresholds.as_json({"dog": 0.25, "cat": 1}))
  assert score_thresholds.of_export(str(tmp_path), CLASSES) == {"cat": 1.0, "dog": 0.25}
  with pytest.raises(ValueError, match="a class 'dog'") as caught:
    score_thresholds.of_export(str(tmp_path), ["cat"])
  assert str(caught.value).startswith(str(path))


@pytest.mark.parametrize(
  ("content", "message"),
  [
    ({"cat": 0.5}, "score_thresholds has no class 'dog'; accepted: each of cat, dog"),
    ({"cat": 0, "dog": 0, "o'wl": 0}, 'score_thresholds has a class "o\'wl"; accepted: each of'),
    ({"cat": 1.5, "dog": 0}, "score_thresholds: 'cat' is 1.5; accepted: 0 to 1"),
    ({"cat": 0, "dog": -0.1}, "score_thresholds: 'dog' is -0.1; accepted: 0 to 1"),
    ({"cat": True, "dog": 0}, "score_thresholds: 'cat' is true; accepted: 0 to 1"),
    ({"cat": 0, "dog": "0"}, "score_thresholds: 'dog' is \"0\"; accepted: 0 to 1"),
    ({"cat": float("nan"), "dog": 0}, "score_thresholds: 'cat' is NaN; accepted: 0 to 1"),
    ({"cat": "0" * 999, "dog": 0}, f"score_thresholds: 'cat' is \"{'0' * 198}…; accepted: 0 to 1"),
  ],
)
def test_faults_of_thresholds(tmp_path, content, message):
  path = write(tmp_path / "a.json", {"score_thresholds": content})
  with pytest.raises(ValueError) as caught:
    score_thresholds.read(path, CLASSES)
  assert str(caught.value).startswith(f"{path}: {message}")


@pytest.mark.parametrize(
  ("content", "message"),
  [
    (None, "cannot be read (No such file or directory)"),
    ("{", "no JSON ("),
    ("[" * 100_000, "no JSON (objects and lists in each other; at most 32 levels)"),
    (f'{{"step": {"9" * 5000}}}', "no JSON (a number of 5000 characters, "),
    ("[]", "no score_thresholds"),
    ({"cat": 0.5, "dog": 0.5}, "no score_thresholds"),
  ],
)
def test_faults_of_files(tmp_path, content, message):
  path = tmp_path / "a.json"
  if content is not None:
    write(path, content)
  with pytest.raises(ValueError) as caught:
    score_thresholds.read(path, CLASSES)
  assert str(caught.value).startswith(f"{path}: {message}")
  assert str(caught.value).endswith(
    "; accepted: JSON with score_thresholds, as mtl-ssl report writes it"
  )


def test_the_step_is_a_number(tmp_path):
  path = write(tmp_path / "a.json", {"score_thresholds": {}, "step": "7\n"})
  with pytest.raises(ValueError) as caught:
    score_thresholds.read_all(path)
  assert str(caught.value) == (
    rf"{path}: step is '7\n'; accepted: a whole number of 64 bits or null"
  )


def test_a_pipe_is_not_waited_for(tmp_path):
  folder = tmp_path / "assets.extra"
  folder.mkdir()
  os.mkfifo(folder / score_thresholds.FILE)
  for read in (
    lambda: score_thresholds.read_all(folder / score_thresholds.FILE),
    lambda: score_thresholds.of_export(str(tmp_path), CLASSES),
  ):
    with pytest.raises(
      ValueError, match=r"json: cannot be read \(a pipe and no regular file\); acc"
    ):
      read()


def test_each_class_has_its_own():
  scores, class_ids = np.float32([0.5, 0.5, 0.25]), np.int32([1, 2, 1])
  of_each = score_thresholds.in_order({"dog": 0.5, "cat": 0.25}, CLASSES)
  assert score_thresholds.passes(scores, class_ids, of_each).tolist() == [True, True, True]
  of_each = score_thresholds.in_order({"dog": 0.51, "cat": 0.26}, CLASSES)
  assert score_thresholds.passes(scores, class_ids, of_each).tolist() == [True, False, False]
  assert score_thresholds.passes(scores, class_ids, 0.5).tolist() == [True, True, False]
