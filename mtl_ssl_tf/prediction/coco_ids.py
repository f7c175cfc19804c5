"""The ids that a COCO annotation file gives to images and classes, so that results fit it."""

import collections
import dataclasses
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mtl_ssl_tf.data import faults
from mtl_ssl_tf.data.sources import coco_annotation, coco_stream


@dataclasses.dataclass(frozen=True, slots=True)
class CocoIds:
  """The ids of images and classes in the results.

  Attributes:
    image_ids: by our names of the files; None numbers images from 1.
    category_ids: of class 1, class 2, …
  """

  image_ids: Mapping[str, int | str] | None
  category_ids: Sequence[int | str]


def own_ids(class_names: Sequence[str]) -> CocoIds:
  """Numbers from 1 for images, lines of the label map for classes."""
  return CocoIds(None, range(1, len(class_names) + 1))


def read_image_ids(path: str | os.PathLike[str], names: Sequence[str]) -> dict[str, int | str]:
  """The id of each image, by `names`.

  An image is known by its whole name or, where the file has no such, by the name without folders.

  Args:
    path: of the annotation file, which may be of any size.
    names: of the images, with `/` between their folders.

  Raises:
    ValueError: the file is not what it should be, or an image is not in it, or not once only.
  """
  wanted = set(names)
  by_base = collections.defaultdict(set)
  for name in names:
    by_base[_base(name)].add(name)
  exact, candidates = {}, collections.defaultdict(list)
  for image_id, name in _items(path, "images", "file_name"):
    if name in wanted:
      if name in exact:
        raise _error(path, f"images: {faults.quote(name)} is there twice", "each image once")
      exact[name] = image_id
    elif _base(name) in by_base:
      candidates[_base(name)].append(image_id)
  ids, missing, unclear = dict(exact), [], []
  for name in names:
    found = candidates[_base(name)]
    if name in exact:
      continue
    if len(found) == 1 and len(by_base[_base(name)]) == 1:
      ids[name] = found[0]
    else:
      (unclear if found else missing).append(name)
  for left, what in ((missing, "no"), (unclear, "more than one")):
    if left:
      raise _error(
        path,
        f"images: {what} file_name for {faults.listing(left)} ({len(left)} of {len(names)})",
        "one entry for each image of --input",
      )
  return ids


def read_categories(path: str | os.PathLike[str]) -> dict[str, int | str]:
  """The id of each class that the file knows, by its name.

  Raises:
    ValueError: the file is not what it should be.
  """
  found = {}
  for category_id, name in _items(path, "categories", "name"):
    if name in found:
      value = f"categories: {faults.quote(name)} is there twice"
      raise _error(path, value, "each name once")
    found[name] = category_id
  return found


def choose_categories(
  path: str | os.PathLike[str], categories: Mapping[str, int | str], class_names: Sequence[str]
) -> list[int | str]:
  """The ids of a detector's classes; `path` is where they come from, for the message.

  Raises:
    ValueError: a class is not among the categories.
  """
  missing = [name for name in class_names if name not in categories]
  if missing:
    raise _error(
      path,
      f"categories: no {faults.listing(missing)}; there: {faults.listing(list(categories))}",
      "the detector's classes, by name",
    )
  return [categories[name] for name in class_names]


def _items(path: str | os.PathLike[str], section: str, name: str) -> list[tuple[int | str, str]]:
  """Id and name of each entry of a list, by the reader and the rules of the converter."""
  try:
    try:
      entries = list(_entries(path, section))
    except ValueError as error:
      try:
        entries = list(_entries(path, section, quote_odd_numbers=True))
      except ValueError:
        raise error from None
  except OSError as error:
    raise _error(path, f"cannot be read ({error.strerror})", "a COCO annotation file") from error
  except ValueError as error:
    value, _, accepted = str(error).partition("; accepted: ")
    raise _error(path, value, accepted) from error
  found = []
  for number, entry in entries:
    entry = entry if isinstance(entry, dict) else {}
    own_id = coco_annotation.whole_number(entry.get("id"))
    if own_id is None:
      own_id = coco_annotation.id_text(entry.get("id"))
    if own_id is None:
      value = f"{section} {number}: id: {coco_annotation.show(entry, 'id')}"
      raise _error(path, value, "a number or a name")
    text = coco_annotation.image_name(entry) if section == "images" else entry.get(name)
    if not isinstance(text, str):
      value = f"{section} {number}: {name}: {coco_annotation.show(entry, name)}"
      raise _error(path, value, "text")
    found.append((own_id, text.strip()))
  if not found:
    raise _error(path, f"{section}: nothing", "a COCO annotation file")
  return found


def _entries(
  path: str | os.PathLike[str], section: str, quote_odd_numbers: bool = False
) -> Iterator[tuple[int, Any]]:
  for name, number, entry in coco_stream.read_entries(
    pathlib.Path(path), quote_odd_numbers=quote_odd_numbers
  ):
    if name == section:
      yield number, entry


def _base(name: str) -> str:
  return pathlib.PurePosixPath(name).name


def _error(path: str | os.PathLike[str], value: str, accepted: str) -> ValueError:
  return ValueError(f"--coco_annotations {os.fspath(path)!r}: {value}; accepted: {accepted}")
