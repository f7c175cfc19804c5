"""Cases that end in each of the ways that a case must not, for the test of the campaign."""

import mmap
import os
import random
import signal

from mtl_ssl_tf.data import label_map
from tests.fuzz import outcomes
from tests.fuzz.kinds import base

_MIB = 2**20


class Cases(base.Kind):
  """See above; the case says how it ends."""

  name = "faulty"
  about = "ends in every wrong way"
  max_cpu_s = 0.3
  max_growth_mib = 64.0

  def seeds(self) -> list[base.Files]:
    return [{"end": b"accepted"}]

  def make(self, rng: random.Random) -> base.Files:
    return {"end": rng.choice(sorted(_ENDS)).encode()}

  def check(self, files: base.Files) -> bool:
    return _ENDS[files["end"].decode()]()


def _hang() -> bool:
  while True:
    pass


def _grow() -> bool:
  with mmap.mmap(-1, 80 * _MIB) as memory:
    for _ in range(80):
      memory.write(b"x" * _MIB)
  return True


def _differ() -> bool:
  outcomes.check_equal(1, 2, "a number")
  return True


def _say() -> bool:
  outcomes.check_message("very " * 1000)
  return True


_ENDS = {
  "accepted": lambda: True,
  "refused": lambda: label_map.check_class_names([], "classes") is None,
  "traceback": lambda: {}["missing"],
  "hang": _hang,
  "memory": _grow,
  "memory error": lambda: bool(bytearray(2**43)),
  "crash": lambda: os.kill(os.getpid(), signal.SIGABRT) is None,
  "otherwise": _differ,
  "message": _say,
}
