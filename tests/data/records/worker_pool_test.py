"""Tests of working on shards in this process and in others."""

import concurrent.futures
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from mtl_ssl_tf.data import progress_lines
from mtl_ssl_tf.data.records import worker_pool
from tests.data import light_tasks

_REPOSITORY = pathlib.Path(__file__).parents[3]


class _Counted(progress_lines.Progress):
  """Progress whose counts a test can see."""

  def __init__(self):
    super().__init__("working", 10, lambda line: None)

  @property
  def counts(self) -> tuple[int, int]:
    return self._done, self._skipped


def test_here():
  counted = _Counted()
  assert worker_pool.run_here(light_tasks.square, [4, 1, 2], counted) == [False, 1, 4]
  assert counted.counts == (7, 4)


def test_in_other_processes():
  counted = _Counted()
  with worker_pool.Pool(2, 5) as pool:
    assert sorted(pool.run(light_tasks.square, [4, 1, 2, 3], counted)) == [0, 1, 4, 9]
    assert counted.counts == (10, 4)
    counted = _Counted()  # A second round counts from zero.
    assert sorted(pool.run(light_tasks.square, [4, 1], counted)) == [0, 1]
    assert counted.counts == (5, 4)
    pids = set(pool.run(light_tasks.process_id, [1] * 4, _Counted()))
    assert len(pids) == 2
    assert os.getpid() not in pids
    assert set(pool.run(light_tasks.environment, [1], _Counted())) == {("-1", True)}
  assert signal.getsignal(signal.SIGINT) == signal.default_int_handler


def test_in_other_processes_from_a_thread():
  # Only the main thread decides on Ctrl-C.
  with (
    concurrent.futures.ThreadPoolExecutor(1) as threads,
    worker_pool.Pool(1, 1) as pool,
  ):
    work = threads.submit(pool.run, light_tasks.square, [4], _Counted())
    assert work.result(timeout=120) == [0]


def test_an_error_ends_the_work_of_all():
  with pytest.raises(OSError, match="No space left"), worker_pool.Pool(2, 2) as pool:
    pool.run(light_tasks.fail, [1, 1], _Counted())


def test_a_worker_that_is_killed():
  with (
    pytest.raises(worker_pool.WorkerError, match=r"was killed.*the same command continues"),
    worker_pool.Pool(2, 2) as pool,
  ):
    pool.run(light_tasks.die, [1, 1], _Counted())


def test_workers_end_with_the_process_that_started_them(tmp_path):
  program = tmp_path / "program.py"
  program.write_text(
    "from mtl_ssl_tf.data import progress_lines\n"
    "from mtl_ssl_tf.data.records import worker_pool\n"
    "from tests.data import light_tasks\n"
    "if __name__ == '__main__':\n"
    "  with worker_pool.Pool(2, 2) as pool:\n"
    "    pool.run(light_tasks.wait, [1, 1], progress_lines.Progress('', 2, print))\n"
  )
  environment = os.environ | {"PYTHONPATH": str(_REPOSITORY)}
  command = [sys.executable, str(program)]
  with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
    pids = [int(process.stdout.readline()) for _ in range(2)]
    process.kill()
  deadline = time.monotonic() + 20
  while any(pathlib.Path(f"/proc/{pid}").exists() for pid in pids):
    assert time.monotonic() < deadline
    time.sleep(0.05)
