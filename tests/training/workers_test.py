"""Folders of workers other than the chief; replicas_test.py has workers together."""

import logging
import os
import tempfile
import types

import pytest
import tensorflow as tf

from mtl_ssl_tf.training import stopping, strategies, workers


def fake(is_chief: bool):
  """A strategy as far as the folder depends on it."""
  return types.SimpleNamespace(extended=types.SimpleNamespace(should_checkpoint=is_chief))


def test_the_chief_has_the_folder_of_the_run(tmp_path, capsys):
  with workers.own_folder(fake(True), str(tmp_path)) as folder:
    assert folder == str(tmp_path)
    print("heard")
  assert capsys.readouterr().out == "heard\n"


def test_another_worker_has_a_folder_for_a_while(tmp_path, capsys):
  usual = tempfile.gettempdir()
  with workers.own_folder(fake(False), str(tmp_path)) as folder:
    assert os.listdir(folder) == []
    # Where Model Garden would leave checkpoints behind.
    assert os.path.dirname(tempfile.mkdtemp()) == folder
    print("not heard")
    logging.getLogger(workers.__name__).warning("the chief warns of it")
  assert not os.path.exists(folder)
  assert tempfile.gettempdir() == usual
  assert os.listdir(tmp_path) == []
  logging.getLogger(workers.__name__).warning("heard")
  assert capsys.readouterr() == ("", "warning: heard\n")


def test_one_process_decides_and_ends_by_itself():
  strategy = tf.distribute.get_strategy()
  assert workers.as_the_chief(strategy, True)
  assert not workers.as_the_chief(strategy, False)
  stop = stopping.StopRequest()
  workers.stop_together(strategy, stop)
  assert not stop.should_stop()
  stop.reason = "SIGTERM"
  assert stop.should_stop()


@pytest.mark.parametrize(
  ("chief", "worker", "decided"),
  [(True, False, True), (False, True, False), (True, True, True), (False, False, False)],
)
def test_of_several_the_chief_decides(monkeypatch, chief, worker, decided):
  monkeypatch.setattr(strategies, "is_multi_worker", lambda _: True)
  votes = []
  monkeypatch.setattr(workers, "_sum", lambda strategy, value: votes.append(value) or 0.0)
  for is_chief, decision in ((True, chief), (False, worker)):
    workers.as_the_chief(fake(is_chief), decision)
  total = float(sum(votes))
  monkeypatch.setattr(workers, "_sum", lambda strategy, value: total)
  for is_chief, decision in ((True, chief), (False, worker)):
    assert workers.as_the_chief(fake(is_chief), decision) == decided


@pytest.mark.parametrize("error", [tf.errors.UnavailableError, tf.errors.AbortedError])
def test_a_worker_that_is_gone(monkeypatch, error):
  for several, expected, message in (
    (True, ValueError, "^another worker of the run has stopped, .*\\(socket closed\\)$"),
    (False, error, "socket closed"),
  ):
    monkeypatch.setattr(strategies, "is_multi_worker", lambda _, several=several: several)
    with pytest.raises(expected, match=message), workers.losing_none(fake(True)):
      raise error(None, None, "socket closed\nat a place")
