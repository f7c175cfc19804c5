"""Images that a data set has twice: under one name, or under two."""

import dataclasses
import hashlib
import sqlite3
from collections.abc import Iterable, Iterator

from mtl_ssl_tf.data import disk_index, faults
from mtl_ssl_tf.data.inspection import checks, validation_report

_SEEN = """
CREATE TABLE ids (digest BLOB PRIMARY KEY, place TEXT) WITHOUT ROWID;
CREATE TABLE images (digest BLOB PRIMARY KEY, place TEXT) WITHOUT ROWID;
"""


def add_findings(
  images: Iterable[validation_report.Inspected],
) -> Iterator[validation_report.Inspected]:
  """The images, with findings added where a name or a picture was there before.

  What was seen is kept on the disk, so that memory does not grow with the number of images.
  """
  seen = disk_index.create(None, _SEEN)
  for inspected in images:
    found = []
    if inspected.facts is not None:
      facts = inspected.facts
      place = inspected.name.encode("utf-8", "backslashreplace").decode()
      file_id = facts.source_id.encode("utf-8", "surrogatepass")
      before = _seen_before(seen, "ids", file_id, place)
      if before is not None and facts.source_id:
        level, value = checks.FAULT, f"is that of {faults.quote(before)} too"
        found.append(
          _of_image(facts, level, "duplicate_source_id", "source_id", value, "each name once")
        )
      before = _seen_before(seen, "images", inspected.encoded, place)
      if before is not None:
        level, value = checks.WARNING, f"is that of {faults.quote(before)} too, bit by bit"
        found.append(_of_image(facts, level, "duplicate_image", "image", value, "each image once"))
    if found:
      inspected = dataclasses.replace(inspected, findings=(*inspected.findings, *found))
    yield inspected
  seen.close()


def _seen_before(
  connection: sqlite3.Connection, table: str, content: bytes, place: str
) -> str | None:
  """Returns where this content was first seen; records it and returns None if it is new."""
  digest = hashlib.sha256(content).digest()[:16]
  try:
    connection.execute(f"INSERT INTO {table} VALUES (?, ?)", (digest, place))
  except sqlite3.IntegrityError:
    rows = connection.execute(f"SELECT place FROM {table} WHERE digest = ?", (digest,))
    return rows.fetchone()[0]
  return None


def _of_image(
  facts: checks.ImageFacts, level: str, kind: str, field: str, value: str, accepted: str
) -> checks.Finding:
  return checks.Finding(
    kind, level, facts.file, field, value, accepted, facts.record, facts.source_id
  )
