"""Commands on one processor each, their CPU seconds, and jobs side by side."""

import os
import sys
import threading

import pytest

from mtl_ssl_tf.comparison import processes


def test_a_command_has_one_processor_and_its_cpu_seconds_are_counted(tmp_path):
  program = """
import os, subprocess, sys, time
print("processors", len(os.sched_getaffinity(0)), os.environ["OMP_NUM_THREADS"])
subprocess.run([sys.executable, "-c", "import time\\nwhile time.process_time() < 0.3: pass"])
while time.process_time() < 0.2: pass
print("step 5/9 | loss 1")
print("a step 6/9 | is no line of progress")
sys.exit(3)
"""
  (processor, *_) = sorted(os.sched_getaffinity(0))
  command = [sys.executable, "-c", program]
  usage = processes.run(command, tmp_path / "log", processor, cwd=tmp_path)
  assert usage.status == 3
  assert "processors 1 1" in (tmp_path / "log").read_text()
  assert usage.cpu_s >= 0.5
  assert usage.wall_s >= 0.5
  assert [step for step, _ in usage.points] == [5]
  assert 0.4 <= usage.points[0][1] <= usage.cpu_s + 0.05


def test_a_command_ends_when_it_is_enough(tmp_path):
  program = (
    'import time\nfor i in range(1, 99): print(f"step {i}/99 |", flush=True); time.sleep(0.05)'
  )
  (processor, *_) = sorted(os.sched_getaffinity(0))
  usage = processes.run(
    [sys.executable, "-c", program],
    tmp_path / "log",
    processor,
    cwd=tmp_path,
    is_enough=lambda points: len(points) == 3,
  )
  assert usage.status == -15
  assert [step for step, _ in usage.points] == [1, 2, 3]


def test_jobs_run_one_on_each_processor_and_failures_are_named():
  together = threading.Barrier(2, timeout=10.0)
  said = []

  def good(processor):
    together.wait()  # Passes only if both jobs run at once.
    return f"on {processor}"

  def bad(processor):
    together.wait()
    raise processes.RunError("failed with 1: log")

  failures = processes.in_parallel(
    {"good": good, "bad": bad}, [3, 5], lambda *outcome: said.append(outcome)
  )
  assert failures == {"bad"}
  assert [number for number, *_ in said] == [1, 2]
  outcomes = {name: outcome for _, name, outcome in said}
  assert outcomes["bad"] == "failed with 1: log"
  assert outcomes["good"] in ("on 3", "on 5")


def test_a_processor_has_one_job_at_a_time():
  running, most = [], []

  def job(processor):
    running.append(processor)
    most.append(len(running))
    running.remove(processor)

  processes.in_parallel({str(i): job for i in range(8)}, [0], lambda *_: None)
  assert most == [1] * 8


def test_any_other_error_ends_all_jobs():
  def bad(processor):
    raise KeyError("x")

  with pytest.raises(KeyError):
    processes.in_parallel({"bad": bad}, [0], lambda *_: None)


def test_the_last_line_of_a_log_is_short(tmp_path):
  log = tmp_path / "log"
  log.write_text("first\n" + 400 * "x" + "\n\n")
  assert processes.last_line(log) == 300 * "x"
  log.write_text(100_000 * "y" + "\n" + "last\n")
  assert processes.last_line(log) == "last"
  log.write_text("")
  assert processes.last_line(log) == "no output"


def test_a_pipe_in_the_place_of_a_log_is_not_waited_for(tmp_path):
  os.mkfifo(tmp_path / "log")
  with pytest.raises(
    processes.RunError, match="log is a pipe and no regular file; accepted: a fil"
  ):
    processes.run([sys.executable, "-c", ""], tmp_path / "log", 0, cwd=tmp_path)
