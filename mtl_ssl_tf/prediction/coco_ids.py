"""The ids that a COCO annotation file gives to images and classes, so that results fit it."""

import collections
import dataclasses
import os
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import ijson

from mtl_ssl_tf.data import faults


@dataclasses.dataclass(frozen=True, slots=True)
class CocoIds:
  """The ids of images and classes in the results.

  Attributes:
    image_ids: by our names of the files; None numbers images from 1.
    category_ids: of class 1, class 2, …
  """

  image_ids: Mapping[str, int] | None
  category_ids: Sequence[int]


def own_ids(class_names: Sequence[str]) -> CocoIds:
  """Numbers from 1 for images, lines of the label map for classes."""
  return CocoIds(None, range(1, len(class_names) + 1))


def read_image_ids(path: str | os.PathLike[str], names: Sequence[str]) -> dict[str, int]:
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
  for image in _items(path, "images", {"id": int, "file_name": str}):
    name = image["file_name"]
    if name in wanted:
      if name in exact:
        raise _error(path, f"images: {faults.quote(name)} is there twice", "each image once")
      exact[name] = image["id"]
    elif _base(name) in by_base:
      candidates[_base(name)].append(image["id"])
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


def read_categories(path: str | os.PathLike[str]) -> dict[str, int]:
  """The id of each class that the file knows, by its name.

  Raises:
    ValueError: the file is not what it should be.
  """
  found = {}
  for category in _items(path, "categories", {"id": int, "name": str}):
    if category["name"] in found:
      name = faults.quote(category["name"])
      raise _error(path, f"categories: {name} is there twice", "each name once")
    found[category["name"]] = category["id"]
  return found


def choose_categories(
  path: str | os.PathLike[str], categories: Mapping[str, int], class_names: Sequence[str]
) -> list[int]:
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


def _items(
  path: str | os.PathLike[str], field: str, types: Mapping[str, type]
) -> Iterable[dict[str, Any]]:
  """The entries of one list, which have the fields that are asked for, of their types."""
  number = 0
  try:
    with open(path, "rb") as file:
      for number, item in enumerate(ijson.items(file, f"{field}.item"), start=1):
        for name, kind in types.items():
          value = item.get(name) if isinstance(item, dict) else None
          if not isinstance(value, kind) or isinstance(value, bool):
            accepted = "a whole number" if kind is int else "text"
            raise _error(path, f"{field} {number}: {name}: {value!r}", accepted)
        yield item
  except OSError as error:
    raise _error(path, f"cannot be read ({error.strerror})", "a COCO annotation file") from error
  except (ijson.JSONError, UnicodeDecodeError) as error:
    raise _error(path, f"no JSON ({error})", "a COCO annotation file") from error
  if not number:
    raise _error(path, f"{field}: nothing", "a COCO annotation file")


def _base(name: str) -> str:
  return pathlib.PurePosixPath(name).name


def _error(path: str | os.PathLike[str], value: str, accepted: str) -> ValueError:
  return ValueError(f"--coco_annotations {os.fspath(path)!r}: {value}; accepted: {accepted}")
