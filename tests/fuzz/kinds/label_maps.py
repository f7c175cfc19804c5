"""Label maps, and what Python's own text reading makes of them."""

import random
import re

from mtl_ssl_tf.data import label_map
from tests.fuzz import mutations, odd_values, outcomes
from tests.fuzz.kinds import base

_SEEDS = (b"cat\ndog\n", b"\xef\xbb\xbfcat\r\ndog\r\n", "größe\n猫".encode(), b"a b\nc-d\ne")


class Cases(base.Kind):
  """See above."""

  name = "label_maps"
  about = "label_map.txt"

  def seeds(self) -> list[base.Files]:
    return [{"label_map.txt": content} for content in _SEEDS]

  def make(self, rng: random.Random) -> base.Files:
    if rng.random() < 0.5:
      return {"label_map.txt": mutations.mutate(rng, _SEEDS)}
    lines = [rng.choice(odd_values.TEXTS) for _ in range(rng.randint(1, 4))]
    text = rng.choice(("\n", "\n", "\r\n", "\r", "\x85", "\u2028", "\x0b")).join(lines)
    return {"label_map.txt": odd_values.encode(rng, text)}

  def check(self, files: base.Files) -> bool:
    self.write(files)
    classes = label_map.read_label_map(self.scratch / "label_map.txt")
    text = files["label_map.txt"].removeprefix(b"\xef\xbb\xbf").decode("utf-8")
    lines = re.split("\r\n|\r|\n", text)
    outcomes.check_equal(classes, lines[:-1] if lines[-1] == "" else lines, "class names")
    outcomes.check(len(set(classes)) == len(classes), "a class is there twice")
    for name in classes:
      outcomes.check(name == name.strip() and name.isprintable(), f"class {name!r}")
    # What is written from it is read as the same.
    written = label_map.label_map_text(classes)
    outcomes.check_equal(written.split("\n")[:-1], classes, "the label map written again")
    return True
