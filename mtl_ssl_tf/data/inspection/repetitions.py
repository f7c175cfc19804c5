"""Images that a data set has twice: under one name, under two, or in two splits."""

import dataclasses
import hashlib
import sqlite3
from collections.abc import Iterable, Iterator

from mtl_ssl_tf.data import disk_index, faults
from mtl_ssl_tf.data.inspection import checks, validation_report
from mtl_ssl_tf.data.records import pictures

_SEEN = """
CREATE TABLE ids (digest BLOB PRIMARY KEY, place TEXT, split TEXT) WITHOUT ROWID;
CREATE TABLE images (digest BLOB PRIMARY KEY, place TEXT, split TEXT) WITHOUT ROWID;
"""
_MAX_NAMED = 3


class Repetitions:
  """Finds names and pictures that were there before.

  Names repeat within one call of `add_findings`, pictures within a split; those that two splits
  share are counted.

  What was seen is kept on the disk, so that memory does not grow with the number of images.
  """

  def __init__(self):
    """Starts with nothing."""
    self._seen, self._num_calls = disk_index.create(None, _SEEN), 0
    # First split and second split -> number of pictures, and the first few pairs of names.
    self._shared: dict[tuple[str, str], tuple[int, tuple[tuple[str, str], ...]]] = {}

  def add_findings(
    self, images: Iterable[validation_report.Inspected]
  ) -> Iterator[validation_report.Inspected]:
    """The images, with findings added where a name or a picture was there before."""
    self._num_calls += 1
    for inspected in images:
      found = [] if inspected.facts is None else self._findings(inspected, inspected.facts)
      if found:
        inspected = dataclasses.replace(inspected, findings=(*inspected.findings, *found))
      yield inspected

  def shared_pictures(self) -> list[checks.Finding]:
    """A warning for each two splits with pictures of the same content."""
    return [
      checks.Finding(
        "picture_in_two_splits",
        checks.WARNING,
        split,
        "pictures",
        f"that are in {first} too, by content: {number}: {pictures.Shared(number, names)}",
        "each picture in one split",
      )
      for (first, split), (number, names) in self._shared.items()
    ]

  def _findings(
    self, inspected: validation_report.Inspected, facts: checks.ImageFacts
  ) -> list[checks.Finding]:
    found = []
    split = _text(inspected.split)
    file_id = f"{self._num_calls} {facts.source_id}".encode("utf-8", "surrogatepass")
    before = self._seen_before("ids", file_id, _text(inspected.name), split)
    if before is not None and facts.source_id:
      level, value = checks.FAULT, f"is that of {faults.quote(before[0])} too"
      found.append(
        _of_image(facts, level, "duplicate_source_id", "source_id", value, "each name once")
      )
    before = self._seen_before("images", inspected.encoded, _text(inspected.name), split)
    if before is not None and before[1] == split:
      level, value = checks.WARNING, f"is that of {faults.quote(before[0])} too, bit by bit"
      found.append(_of_image(facts, level, "duplicate_image", "image", value, "each image once"))
    elif before is not None:
      number, names = self._shared.get((before[1], split), (0, ()))
      pair = _text(inspected.name), before[0]
      self._shared[before[1], split] = number + 1, (*names, pair)[:_MAX_NAMED]
    return found

  def _seen_before(
    self, table: str, content: bytes, place: str, split: str
  ) -> tuple[str, str] | None:
    """Returns where this content was first seen; records it and returns None if it is new."""
    digest = hashlib.sha256(content).digest()[:16]
    try:
      self._seen.execute(f"INSERT INTO {table} VALUES (?, ?, ?)", (digest, place, split))
    except sqlite3.IntegrityError:
      rows = self._seen.execute(f"SELECT place, split FROM {table} WHERE digest = ?", (digest,))
      return rows.fetchone()
    return None


def _text(name: str) -> str:
  return name.encode("utf-8", "backslashreplace").decode()


def _of_image(
  facts: checks.ImageFacts, level: str, kind: str, field: str, value: str, accepted: str
) -> checks.Finding:
  return checks.Finding(
    kind, level, facts.file, field, value, accepted, facts.record, facts.source_id
  )
