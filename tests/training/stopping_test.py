"""Signals are noted, and heeded when asked about."""

import os
import signal
import threading

import pytest

from mtl_ssl_tf.training import stopping


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_noted_and_raised_later(number):
  before = signal.getsignal(number)
  with stopping.listening() as request:
    request.check()
    os.kill(os.getpid(), number)
    assert request.should_stop()
    with pytest.raises(stopping.StoppedError, match=signal.Signals(number).name):
      request.check()
  assert signal.getsignal(number) is before


def test_a_second_interrupt_acts_at_once():
  with pytest.raises(KeyboardInterrupt), stopping.listening():
    os.kill(os.getpid(), signal.SIGINT)
    os.kill(os.getpid(), signal.SIGINT)


def test_a_second_sigterm_changes_nothing():
  with stopping.listening() as request:
    os.kill(os.getpid(), signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGTERM)
    assert request.reason == "SIGTERM"


def test_another_worker_can_ask():
  request = stopping.StopRequest()
  request.should_stop = lambda: True
  with pytest.raises(stopping.StoppedError, match="another worker"):
    request.check()


def test_other_threads_leave_the_handlers_alone():
  before, seen = signal.getsignal(signal.SIGTERM), []

  def work():
    with stopping.listening() as request:
      request.check()
      seen.append(signal.getsignal(signal.SIGTERM))

  thread = threading.Thread(target=work)
  thread.start()
  thread.join()
  assert seen == [before]
