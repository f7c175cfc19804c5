"""Names of a split's images: the lines of its list, or a draw from all of them."""

import dataclasses
import hashlib
import io
import math
import os
from collections.abc import Callable, Iterator

from mtl_ssl_tf.data.sources import voc_layout

_LEFT_OUT = "-1"
_FLAGS = (_LEFT_OUT, "0", "1")
_ENDINGS = (*voc_layout.IMAGE_EXTENSIONS, ".xml")


@dataclasses.dataclass(frozen=True)
class Shares:
  """Splits that all images are drawn into, each by a hash of its name.

  An image stays in its split when others are added or removed.

  Attributes:
    shares: name of each split and its share; they sum to 1.
    seed: another one gives another draw.
  """

  shares: tuple[tuple[str, float], ...]
  seed: int = 0

  @classmethod
  def parse(cls, text: str, seed: int = 0) -> "Shares":
    """The shares of a flag such as `train=0.8,val=0.2`, whose order does not matter.

    Raises:
      ValueError: it has another form, or the shares do not sum to 1.
    """
    shares = {}
    try:
      for part in text.split(","):
        name, share = part.split("=")
        if name.strip() in shares or not name.strip() or not 0.0 < float(share) <= 1.0:
          raise ValueError
        shares[name.strip()] = float(share)
      if not math.isclose(sum(shares.values()), 1.0, abs_tol=1e-6):
        raise ValueError
    except ValueError as error:
      raise ValueError(
        f"--split_share is {text}; accepted: splits with shares that sum to 1, as in"
        " train=0.8,val=0.2"
      ) from error
    return cls(tuple(sorted(shares.items())), seed)

  def split(self, name: str) -> str:
    """The split of the image with this name."""
    digest = hashlib.sha256(f"{self.seed} ".encode() + os.fsencode(name)).digest()
    place = int.from_bytes(digest[:8], "big") / 2**64
    for split, share in self.shares:
      if place < share:
        return split
      place -= share
    return self.shares[-1][0]


def names(
  content: bytes,
  is_known: Callable[[str], bool],
  image_folder: str,
  *,
  every: bool = False,
  by_end: Callable[[str], str | None] = lambda path: None,
) -> Iterator[tuple[int, str, bool]]:
  """Names of the lines of a list that name an image of the split.

  A line is a name, or a name and a flag as in VOC's lists for single classes: 1 (holds the class),
  0 (holds difficult objects of it only) or -1 (does not, and is left out). The name may have the
  ending of its image or annotation, and start with the folder of the images.

  Args:
    content: of the list.
    is_known: whether the data set has an annotation or image of a name.
    image_folder: as a name may start with it.
    every: whether names with -1 belong to the split too.
    by_end: the name of the data set that a path, perhaps of another machine, ends in; None where it
      ends in none.

  Yields:
    Number of the line, from 1; the name; whether only the end of the line has led to it.

  Raises:
    UnicodeDecodeError: it is no UTF-8 text.
  """
  for number, line in enumerate(io.BytesIO(content.removeprefix(b"\xef\xbb\xbf")), start=1):
    written = line.decode().strip()
    name, is_there = _name(written, is_known, image_folder)
    if not is_there:
      first, flag = _name_and_flag(written)
      if flag == _LEFT_OUT and not every:
        continue
      if flag is not None:
        name, is_there = _name(first, is_known, image_folder)
    end = None if is_there or "/" not in name else by_end(name)
    if name:
      yield number, end or name, end is not None


def has_flags_only(content: bytes) -> bool:
  """Whether each line of a list has a flag, as those for single classes do."""
  lines = [line.decode(errors="replace").strip() for line in content.splitlines()]
  flags = [_name_and_flag(line)[1] for line in lines if line]
  return bool(flags) and None not in flags


def problem(name: str) -> bool:
  """Whether a name cannot be that of an image inside the data set."""
  parts = [part for part in name.split("/") if part not in ("", ".")]
  return "\0" in name or name.startswith("/") or ".." in parts or not parts


def _name_and_flag(line: str) -> tuple[str, str | None]:
  first, *flag = line.rsplit(maxsplit=1) or [""]
  return (first, flag[0]) if flag and flag[0] in _FLAGS else (line, None)


def _name(written: str, is_known: Callable[[str], bool], image_folder: str) -> tuple[str, bool]:
  """The name of an image as the data set's files have it, and whether there is such a file."""
  if is_known(written):
    return written, True
  name = written.replace("\\", "/").removeprefix("./")
  if image_folder and name.startswith(f"{image_folder}/"):
    name = name.removeprefix(f"{image_folder}/")
  if name != written and is_known(name):
    return name, True
  stem, ending = os.path.splitext(name)
  return (stem, is_known(stem)) if ending.lower() in _ENDINGS else (name, False)
