"""Two runs on the same images: how sure their difference is, and where one corrects the other."""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

from mtl_ssl_tf.comparison import outcomes, statistics
from mtl_ssl_tf.reporting import findings as findings_lib
from mtl_ssl_tf.reporting import judged as judged_lib

# Of the bootstrap, whatever the rule of the run's main figure.
METRIC = "voc/mAP50_area"


class ImagePair(NamedTuple):
  """One image as two runs see it."""

  first: judged_lib.JudgedImage
  other: judged_lib.JudgedImage

  @property
  def gain(self) -> int:
    """Errors that the first run makes less."""
    return self.other.num_errors - self.first.num_errors


@dataclasses.dataclass(frozen=True, eq=False)
class Comparison:
  """A run against another one.

  Attributes:
    first: the run that the page is about.
    other: the one that it is compared with.
    interval: of the difference first - other of `METRIC` under resampling of the images, in per
      cent; 95 %.
    images: each image.
  """

  first: findings_lib.Findings
  other: findings_lib.Findings
  interval: tuple[float, float]
  images: Sequence[ImagePair]

  @property
  def word(self) -> str:
    """`better` or `worse` where the interval leaves zero out, else `no difference shown`."""
    low, high = self.interval
    return "better" if low > 0.0 else "worse" if high < 0.0 else "no difference shown"

  def corrected_by_first(self, count: int) -> list[ImagePair]:
    """Returns the images with the largest gain, at most so many."""
    ordered = sorted((pair for pair in self.images if pair.gain > 0), key=lambda pair: -pair.gain)
    return ordered[:count]

  def corrected_by_other(self, count: int) -> list[ImagePair]:
    """Returns the images with the largest loss, at most so many."""
    ordered = sorted((pair for pair in self.images if pair.gain < 0), key=lambda pair: pair.gain)
    return ordered[:count]


def compare(first: findings_lib.Findings, other: findings_lib.Findings) -> Comparison:
  """Returns the comparison of two runs on the same images, in one order."""
  by_run = [{0: outcomes.collect(first.source.truth, one.source.found)} for one in (other, first)]
  images = [ImagePair(*pair) for pair in zip(first.images, other.images, strict=True)]
  return Comparison(first, other, statistics.bootstrap_difference(*by_run), images)
