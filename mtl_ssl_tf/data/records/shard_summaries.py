"""The file beside a shard of an unfinished conversion that says what the shard holds.

It has the shard's SHA-256 and one of its own content, so that a stopped conversion takes neither
where a disk or another program has changed it since.
"""

import hashlib
import json
import pathlib
from collections.abc import Mapping
from typing import Any

from mtl_ssl_tf import files
from mtl_ssl_tf.reading import json_text

SUFFIX = ".json"
_DIGEST = "digest"
_TYPES = {
  "signature": str,
  "sha256": str,
  "hashes": {str: str},
  "pictures": [str],
  "summary": dict,
}


def path_of(shard: pathlib.Path) -> pathlib.Path:
  """Returns the path of a shard's summary."""
  return shard.with_name(shard.name + SUFFIX)


def write(shard: pathlib.Path, content: Mapping[str, Any]) -> None:
  """Writes the summary of a shard, which with that is whole.

  Args:
    shard: its path.
    content: `signature` of its sources, its `sha256`, the `hashes` of its files by name, the lines
      of its `pictures` and its `summary`.

  Raises:
    OSError: it cannot be written.
  """
  text = json.dumps({**content, _DIGEST: _digest(content)}).encode() + b"\n"
  files.write_bytes(path_of(shard), text)


def read(shard: pathlib.Path) -> dict[str, Any] | None:
  """The summary of a shard as it was written; None if there is none, or it has changed since."""
  path = path_of(shard)
  try:
    content = json_text.read(path, json_text.MAX_DATA_BYTES)
    json_text.check(content, _TYPES, path)
  except (OSError, ValueError):
    return None
  digest = content.pop(_DIGEST, None)
  return content if digest == _digest(content) else None


def is_of(content: Mapping[str, Any], shard: pathlib.Path) -> bool:
  """Whether a shard is there as its summary has it."""
  return shard.is_file() and not shard.is_symlink() and content["sha256"] == files.sha256(shard)


def _digest(content: Mapping[str, Any]) -> str:
  return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
