"""What a worker beside the chief may touch; how workers work together: see replicas_test.py."""

import os
import tempfile
import types

import pytest
import tensorflow as tf

from mtl_ssl_tf.tasks import strategies, workers


def fake(is_chief: bool):
  """A strategy as far as the folder depends on it."""
  return types.SimpleNamespace(extended=types.SimpleNamespace(should_checkpoint=is_chief))


def test_the_chief_has_the_folder_of_the_run(tmp_path, capsys):
  with workers.own_folder(fake(True), str(tmp_path), "best") as folder:
    assert folder == str(tmp_path)
    print("heard")
  assert capsys.readouterr().out == "heard\n"


def test_another_worker_has_a_folder_for_a_while(tmp_path, capsys):
  usual = tempfile.gettempdir()
  with workers.own_folder(fake(False), str(tmp_path), "best") as folder:
    assert os.listdir(folder) == []
    # Where Model Garden would leave checkpoints behind.
    assert os.path.dirname(tempfile.mkdtemp()) == folder
    print("not heard")
  assert not os.path.exists(folder)
  assert tempfile.gettempdir() == usual
  assert os.listdir(tmp_path) == []
  assert not capsys.readouterr().out


def test_another_worker_knows_the_best_figure(tmp_path):
  (tmp_path / "best").mkdir()
  (tmp_path / "best" / "info.json").write_text("{}")
  with workers.own_folder(fake(False), str(tmp_path), "best") as folder:
    assert os.listdir(os.path.join(folder, "best")) == ["info.json"]
  with workers.own_folder(fake(False), str(tmp_path), "") as folder:
    assert os.listdir(folder) == []


@pytest.mark.parametrize("error", [tf.errors.UnavailableError, tf.errors.AbortedError])
def test_a_worker_that_is_gone(monkeypatch, error):
  for several, expected, message in (
    (True, ValueError, "^another worker of the run has stopped, .*\\(socket closed\\)$"),
    (False, error, "socket closed"),
  ):
    monkeypatch.setattr(strategies, "is_multi_worker", lambda _, several=several: several)
    with pytest.raises(expected, match=message), workers.losing_none(fake(True)):
      raise error(None, None, "socket closed\nat a place")
