"""Work on the shards of a split, in this process or in several, and how far it has come."""

import concurrent.futures
import contextlib
import dataclasses
import multiprocessing
import os
import pathlib
import signal
import threading
from collections.abc import Callable, Iterator
from multiprocessing import connection
from typing import Any, Protocol

from mtl_ssl_tf.data import progress_lines

_SECONDS_BETWEEN_LOOKS = 0.3


class ShardTask(Protocol):
  """Work on one shard; can be pickled.

  Attributes:
    folder: for files that all workers can see.
  """

  folder: pathlib.Path

  def __call__(self, shard: int, step: Callable[[], None]) -> Any:
    """Returns the result, JSON-compatible; calls `step` after each image that took work."""


# Takes a task, the numbers of images of the shards, and the progress to report to; gives what came
# out of each shard, in any order.
Runner = Callable[[ShardTask, list[int], progress_lines.Progress], list[Any]]


class WorkerError(RuntimeError):
  """A worker process came to a sudden end."""


class StoppedError(Exception):
  """Raised in a worker whose work is not wanted any more."""


def run_here(
  task: ShardTask, num_images: list[int], progress: progress_lines.Progress
) -> list[Any]:
  """Works in this process, one shard after the other."""
  results = []
  for shard, count in enumerate(num_images):
    results.append(task(shard, progress.step))
    if results[-1] is False:
      progress.skip(count)
  return results


@dataclasses.dataclass(frozen=True)
class _Shared:
  """Memory that workers share with this process, without locks: a killed holder would keep one.

  Attributes:
    num_done: by shard, written by the worker that has it.
    stop: set when workers are to stop.
  """

  num_done: Any
  stop: Any


class Pool:
  """Works in processes of their own, which use no GPU; a context manager.

  The processes end with this one, even if it is killed. They are started rather than forked,
  as TensorFlow does not survive a fork, and so import it each: some seconds.
  """

  def __init__(self, num_workers: int, max_shards: int):
    context = multiprocessing.get_context("spawn")
    self._shared = _Shared(context.RawArray("q", max_shards), context.RawValue("b", 0))
    self._executor = concurrent.futures.ProcessPoolExecutor(
      num_workers, context, initializer=_start_worker, initargs=(self._shared,)
    )

  def __enter__(self):
    return self

  def __exit__(self, *unused_exception) -> None:
    self._shared.stop.value = 1
    self._executor.shutdown(cancel_futures=True)

  def run(
    self, task: ShardTask, num_images: list[int], progress: progress_lines.Progress
  ) -> list[Any]:
    """See `Runner`.

    Raises:
      WorkerError: a worker was killed.
    """
    self._shared.num_done[:] = [0] * len(self._shared.num_done)
    with _no_interrupts():  # The processes, started by the first calls, inherit this.
      futures = {
        self._executor.submit(_run_shard, task, shard): count
        for shard, count in enumerate(num_images)
      }
    pending, results, num_reported = set(futures), [], 0
    try:
      while pending:
        done, pending = concurrent.futures.wait(pending, _SECONDS_BETWEEN_LOOKS)
        for future in done:
          results.append(future.result())
          if results[-1] is False:
            progress.skip(futures[future])
        num_done = sum(self._shared.num_done)
        progress.step(num_done - num_reported)
        num_reported = num_done
    except concurrent.futures.process.BrokenProcessPool as error:
      raise WorkerError(
        "a worker process was killed, perhaps because memory ran out; the same command continues"
        " where it stopped, and --workers with a smaller number takes less memory"
      ) from error
    return results


def _start_worker(shared: _Shared) -> None:
  """Prepares a worker process."""
  global _shared
  _shared = shared
  parent = multiprocessing.parent_process().sentinel

  def end_with_parent() -> None:
    connection.wait([parent])
    os._exit(1)

  threading.Thread(target=end_with_parent, daemon=True).start()
  os.environ["CUDA_VISIBLE_DEVICES"] = "-1"  # Read when TensorFlow computes for the first time.


def _run_shard(task: ShardTask, shard: int) -> Any:
  """One piece of work in a worker."""

  def step() -> None:
    if _shared.stop.value:
      raise StoppedError
    _shared.num_done[shard] += 1

  return task(shard, step)


@contextlib.contextmanager
def _no_interrupts() -> Iterator[None]:
  """Lets new processes ignore Ctrl-C, which reaches all of a terminal's; this one decides."""
  if threading.current_thread() is not threading.main_thread():
    yield
    return
  before = signal.signal(signal.SIGINT, signal.SIG_IGN)
  try:
    yield
  finally:
    signal.signal(signal.SIGINT, before)
