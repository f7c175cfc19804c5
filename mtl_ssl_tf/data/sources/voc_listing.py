"""Images of a split of a PASCAL VOC data set: from its lists, or where it has none, from its files.

These are the names in `ImageSets/Main/<split>.txt`, or else in the lists of single classes,
`<class>_<split>.txt`, as VoTT leaves them. Without the folder `ImageSets/Main` they are those of
all images and annotations, or the share of them that is drawn for the split.
"""

import dataclasses
import hashlib
import os
from collections.abc import Iterator, Mapping

from mtl_ssl_tf.data import faults
from mtl_ssl_tf.data.sources import split_source, voc_folder, voc_split

# In the place of a list's path.
_NO_LIST = "(names of all images)"
_MAX_NAMED = 3


@dataclasses.dataclass(frozen=True, slots=True)
class SplitList:
  """A split as it is listed; `VocFolder.stem` returns the names themselves.

  Attributes:
    num_images: how many names it lists.
    faults: of the lines that are left out.
    hashes: SHA-256 of the lists, hexadecimal, by path inside the data set.
    origin: the lists in words.
    remarks: see `split_source.SplitSource`.
  """

  num_images: int
  faults: tuple[faults.Fault, ...]
  hashes: Mapping[str, str]
  origin: str
  remarks: tuple[split_source.Remark, ...] = ()


def list_split(
  folder: voc_folder.VocFolder, split: str, shares: voc_split.Shares | None = None
) -> SplitList:
  """Finds the names of a split's images and writes them to the folder's index.

  Args:
    folder: the data set; where it has no lists, `claim` comes before.
    split: its name.
    shares: into which all images are drawn; None takes all where there are no lists.

  Raises:
    ValueError: there is no such split, or its list is no UTF-8 text or names no image.
    faults.FaultError: the list cannot be read.
  """
  if folder.layout.splits is None:
    return _list_all(folder, split, shares)
  if shares is not None:
    where = folder.layout.splits or folder.root.name
    raise ValueError(
      f"--split_share has no use here, as {where} lists the splits; accepted: --split with one of"
      f" {faults.listing(sorted(_lists(folder)))}"
    )
  files = split_files(folder, split)
  is_of_class = files[0] != _lists(folder).get(split)
  hashes, found, ends = {}, [], _Ends()

  def lines() -> Iterator[tuple[int, str]]:
    for file in files:
      content = folder.read(file)
      hashes[file] = hashlib.sha256(content).hexdigest()
      images = folder.layout.images
      for number, name, is_end in voc_split.names(
        content, folder.is_known, images, every=is_of_class, by_end=folder.stem_at_end
      ):
        if voc_split.problem(name):
          accepted = "the name of an image inside the data set"
          found.append(faults.Fault(file, f"line {number}", faults.quote(name), accepted))
        else:
          if is_end:
            ends.add(name)
          yield number, name

  try:
    for number, name, first in folder.write_split(lines()):
      if not is_of_class:  # Each class lists all images.
        value = f"{faults.quote(name)} repeats line {first}"
        found.append(faults.Fault(files[0], f"line {number}", value, "each image once"))
  except UnicodeDecodeError as error:
    raise ValueError(
      f"{files[0]}: not a UTF-8 text file ({error.reason}); accepted: an image's name on each line"
    ) from error
  num_images = folder.num_in_split()
  if not num_images and not found:
    raise ValueError(f"{files[0]}: it names no image; accepted: the name of an image on each line")
  origin = f"in {faults.listing(files)}"
  return SplitList(num_images, tuple(found), hashes, origin, ends.remarks(files[0]))


class _Ends:
  """Names that only the ends of lines have led to: their number, and the first few."""

  def __init__(self):
    self._number, self._first = 0, []

  def add(self, name: str) -> None:
    self._number += 1
    if self._number <= _MAX_NAMED:
      self._first.append(name)

  def remarks(self, file: str) -> tuple[split_source.Remark, ...]:
    """A remark, if there are any."""
    if not self._number:
      return ()
    value = f"{self._number} lead elsewhere, and their ends count: {', '.join(self._first)}"
    fault = faults.Fault(file, "lines", value, "names of images inside the data set")
    return (split_source.Remark("names_by_end", False, fault),)


def split_files(folder: voc_folder.VocFolder, split: str) -> list[str]:
  """The file that lists a split's images, or those that do so for single classes.

  Raises:
    ValueError: there is none.
  """
  lists = _lists(folder)
  if split in lists:
    return [lists[split]]
  of_classes = [file for stem, file in lists.items() if split and stem.endswith(f"_{split}")]
  if of_classes and all(voc_split.has_flags_only(folder.read(file)) for file in of_classes):
    return of_classes
  file = folder.layout.file(folder.layout.splits, f"{split}.txt")
  raise ValueError(
    f"--split {split}: no file {file}; accepted, as there are: {faults.listing(sorted(lists))}"
  )


def _lists(folder: voc_folder.VocFolder) -> dict[str, str]:
  """The files with lists by the names of their splits."""
  lists = {}
  for name in sorted(os.listdir(folder.root / folder.layout.splits)):
    stem, extension = os.path.splitext(name)
    if extension.lower() == ".txt":
      lists.setdefault(stem, folder.layout.file(folder.layout.splits, name))
  return lists


def _list_all(
  folder: voc_folder.VocFolder, split: str, shares: voc_split.Shares | None
) -> SplitList:
  """The names of all images and annotations, or those that are drawn for the split."""
  origin = "all images and annotations"
  if shares is not None:
    names = [name for name, _ in shares.shares]
    if split not in names:
      raise ValueError(f"--split is {split}; accepted: one of --split_share: {', '.join(names)}")
    origin = f"drawn by name from all images and annotations, with seed {shares.seed}"
  digest = hashlib.sha256()

  def names_of_split() -> Iterator[tuple[int, str]]:
    for number, stem in enumerate(folder.all_stems(), start=1):
      # An image that the annotation of another name means comes by that name.
      is_other = folder.is_claimed(stem) and not folder.is_annotated(stem)
      if not is_other and (shares is None or shares.split(stem) == split):
        digest.update(os.fsencode(stem) + b"\0")
        yield number, stem

  for _ in folder.write_split(names_of_split()):
    raise AssertionError("names of files are unique")
  num_images = folder.num_in_split()
  if not num_images:
    raise ValueError(f"--split {split}: no image is drawn for it; accepted: a larger share")
  return SplitList(num_images, (), {_NO_LIST: digest.hexdigest()}, origin)
