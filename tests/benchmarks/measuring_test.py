"""Time and memory of a call, and load of other processes."""

import subprocess
import sys
import time

import pytest

from benchmarks.cost import measuring


def test_times_the_calls_after_the_warm_up():
  calls = []

  def call():
    time.sleep(0.02 if len(calls) == 0 else 0.002)
    calls.append(None)

  found = measuring.timed(call, repeats=3)
  assert len(calls) == 5
  assert len(found["seconds"]) == 3
  assert found["first_s"] >= 0.02
  assert min(found["seconds"]) >= 0.002
  assert found["other_cores"] >= 0.0


def test_three_long_calls_are_enough():
  def call():
    time.sleep(0.01)

  assert len(measuring.timed(call, repeats=5, budget_s=0.001)["seconds"]) == 3
  assert len(measuring.timed(call, repeats=5, budget_s=60.0)["seconds"]) == 5


def test_own_work_is_nobody_elses(monkeypatch):
  # In 2 s both cores were busy for 3 s, 2 of them with this process.
  moments = iter([(0.0, 10.0, 5.0), (2.0, 13.0, 7.0)])
  monkeypatch.setattr(measuring.OtherCores, "_now", staticmethod(lambda: next(moments)))
  assert measuring.OtherCores()() == 0.5


_MEMORY = """
import numpy as np
from benchmarks.cost import measuring

MIB = 2**20
kept = np.ones(32 * MIB, np.uint8)
assert np.ones(256 * MIB, np.uint8).all()  # An older peak.

before = measuring.resident_mib()
assert before > kept.nbytes / MIB
measuring.restart_peak()
assert np.ones(64 * MIB, np.uint8).all()
print(measuring.peak_mib() - before)
"""


def test_memory_that_comes_and_goes_in_a_call():
  # In a process of its own: one that has run other tests may give their memory back meanwhile.
  printed = subprocess.run(
    [sys.executable, "-c", _MEMORY], capture_output=True, text=True, check=True
  ).stdout
  assert float(printed) == pytest.approx(64.0, abs=8.0)
