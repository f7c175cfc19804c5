"""Protocols that choose the erased annotations of a sparsely annotated training set.

Every annotation has a rank key that depends on the seed and on its own name alone: not on the order
of files, on the machine or on a library's random numbers. Erasing always takes the smallest keys,
so that of one seed `extreme` is a subset of `hard`, and that of `easy`.

Reference: Zhang et al., "Solving Missing-Annotation Object Detection with Background Recalibration
Loss", ICASSP 2020, whose sets Wang et al., "Co-mining", AAAI 2021 train on; keep1 is that of Li et
al., "SIOD", CVPR 2022. Neither seeds nor rounding are published; those here are ours.
"""

import dataclasses
import fractions
import hashlib
from collections.abc import Sequence

PROTOCOLS = ("easy", "hard", "extreme", "keep1", "miss")
ONE_BOX = ("keep-one", "strict")


@dataclasses.dataclass(frozen=True)
class Protocol:
  """A rule, checked.

  Attributes:
    name: one of `PROTOCOLS`. Of an image's n annotations `easy` erases 1, `hard` ⌊n/2⌋, `extreme`
      n-1, and `keep1` all but one of each class. `miss` erases a share of each class's annotations
      in the whole set.
    share: of `miss`, as text, e.g. 0.5; read exactly, so that 0.29 of 100 are 29.
    seed: a whole number from 0 on.
    one_box: `keep-one` never takes the last annotation of an image; `strict` lets `easy` do so.
  """

  name: str
  share: str | None = None
  seed: int = 0
  one_box: str = "keep-one"

  def __post_init__(self):
    if self.name not in PROTOCOLS:
      raise ValueError(f"--protocol is {self.name}; accepted: {', '.join(PROTOCOLS)}")
    if isinstance(self.seed, bool) or not isinstance(self.seed, int) or self.seed < 0:
      raise ValueError(f"--seed is {self.seed}; accepted: a whole number from 0 on")
    if self.one_box not in ONE_BOX:
      raise ValueError(f"--one_box is {self.one_box}; accepted: {', '.join(ONE_BOX)}")
    if self.one_box == "strict" and self.name != "easy":
      raise ValueError(
        f"--one_box is strict; accepted: --protocol easy; {self.name} has no use for it"
      )
    if self.name != "miss" and self.share is not None:
      raise ValueError(f"--share is {self.share}; accepted: --protocol miss, not {self.name}")
    if self.name == "miss":
      _read_share(self.share)

  @property
  def title(self) -> str:
    """A name for files, e.g. `hard`, `easy_strict`, `50miss`; with the seed where that is not 0."""
    title = self.name
    if self.name == "miss":
      title = f"{float(100 * _read_share(self.share)):g}miss"
    if self.one_box == "strict":
      title += "_strict"
    return f"{title}_seed{self.seed}" if self.seed else title

  def num_missing(self, num_annotations: int) -> int:
    """Returns how many of a class's annotations in the whole set `miss` erases, rounded down."""
    return int(_read_share(self.share) * num_annotations)  # Not negative: cuts off.

  def erased_in_image(self, keys: Sequence[bytes], classes: Sequence[int]) -> set[int]:
    """Places of the annotations that are erased, among those of one image.

    Args:
      keys: rank keys.
      classes: their classes, for `keep1`.
    """
    ranked = sorted(range(len(keys)), key=keys.__getitem__)
    if self.name == "keep1":
      first = {}
      for place in ranked:
        first.setdefault(classes[place], place)
      return set(ranked) - set(first.values())
    count = {"easy": 1, "hard": len(keys) // 2, "extreme": len(keys) - 1}[self.name]
    if self.one_box == "keep-one":
      count = min(count, len(keys) - 1)
    return set(ranked[: max(count, 0)])


def rank_key(seed: int, image_id: bytes, annotation_id: int) -> bytes:
  """SHA-256 [32 bytes] of "<seed>/<image id>/<annotation id>"; sorts like its hexadecimal text."""
  return hashlib.sha256(b"%d/%s/%d" % (seed, image_id, annotation_id)).digest()


def _read_share(text: str | None) -> fractions.Fraction:
  """The share as an exact number from 0 to 1."""
  try:
    share = fractions.Fraction(str(text))
  except (ValueError, ZeroDivisionError):
    share = None
  if share is None or not 0 <= share <= 1:
    given = "is missing" if text is None else text
    raise ValueError(f"--share {given}: accepted with --protocol miss: 0 … 1, e.g. 0.5")
  return share
