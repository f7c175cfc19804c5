"""Work on shards that is over at once, for tests of worker processes."""

import os
import signal
import time
from collections.abc import Callable


def square(shard: int, step: Callable[[], None]) -> int | bool:
  """The square; shard 0 had been done before."""
  if not shard:
    return False
  for _ in range(shard):
    step()
  return shard**2


def process_id(shard: int, step: Callable[[], None]) -> int:
  """The process that works."""
  time.sleep(0.3)
  return os.getpid()


def environment(shard: int, step: Callable[[], None]) -> tuple[str, bool]:
  """Which GPUs there are, and whether Ctrl-C is ignored."""
  return os.environ["CUDA_VISIBLE_DEVICES"], signal.getsignal(signal.SIGINT) == signal.SIG_IGN


def fail(shard: int, step: Callable[[], None]) -> None:
  """An error as on a full disk; all other shards go on until they are told to stop."""
  if shard == 1:
    raise OSError(28, "No space left on device")
  while True:
    step()
    time.sleep(0.01)


def die(shard: int, step: Callable[[], None]) -> None:
  """A process that is killed."""
  os.kill(os.getpid(), signal.SIGKILL)


def wait(shard: int, step: Callable[[], None]) -> None:
  """Says who works, and never ends."""
  print(f"{os.getpid()}\n", end="", flush=True)  # In one piece, as two processes write.
  time.sleep(1000)
