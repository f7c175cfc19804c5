"""Makes a sparsely annotated split from a converted one: some objects lose their annotations.

  python -m mtl_ssl_tf.data.sparse_annotations --input_dir records --split train --protocol hard

The new split lies next to the old one or in `--output_dir`, is called e.g. `train_hard`, and holds
the same images, less those without any annotation left. What was erased stays in the records under
names that no decoder reads (`schema.ERASED_PREFIX`). Which annotations go follows from the seed and
from image and annotation ids alone; see `sparse_protocols` and docs/sparse_annotations.md.

Ranked, and so perhaps erased, are the objects that training uses: not crowds, which stay,
nor boxes without area, and difficult objects only with `--difficult=keep`, training's own default.
"""

import collections
import contextlib
import hashlib
import logging
import os
import pathlib
import re
import sqlite3
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import tensorflow as tf

from mtl_ssl_tf import terminal
from mtl_ssl_tf.command_line import sparse_annotations as sparse_annotations_flags
from mtl_ssl_tf.data import disk_index, faults, progress_lines, schema
from mtl_ssl_tf.data.records import writer as record_writer
from mtl_ssl_tf.data.sparse import erasing as sparse_erasing
from mtl_ssl_tf.data.sparse import protocols as sparse_protocols
from mtl_ssl_tf.reading import regular_files

# `__name__` is `__main__` in `python -m`.
_LOGGER = logging.getLogger("mtl_ssl_tf.data.sparse_annotations")
DIFFICULT = ("keep", "ignore", "drop")
_INTERRUPTED = 130  # As shells have it for a program that Ctrl-C ended.
_SPLIT_NAME = re.compile(r"\w[\w.+-]*")
# Key and name of what is ranked; sorted on disk, so that memory does not grow with the data set.
_TABLES = """
CREATE TABLE keys (class INTEGER, key BLOB);
CREATE TABLE names (name BLOB, kept INTEGER);
"""


def make_split(
  input_dir: str | os.PathLike[str],
  split: str,
  protocol: sparse_protocols.Protocol,
  *,
  output_dir: str | os.PathLike[str] | None = None,
  output_split: str | None = None,
  difficult: str = "keep",
  num_shards: int | None = None,
) -> dict[str, Any]:
  """Writes the records, label map and manifest of a sparsely annotated split.

  Args:
    input_dir: folder with the records and the manifest of `split`.
    split: the fully annotated split.
    protocol: selects the annotations to erase.
    output_dir: where the files go; None is `input_dir`.
    output_split: name of the new split; None is `split` and the protocol's title. One that
      this command wrote earlier is replaced, any other is not.
    difficult: `Data.difficult` of the training to come; difficult objects are ranked with `keep`.
    num_shards: number of record files; None is as many as `split` has.

  Returns:
    The manifest.

  Raises:
    faults.FaultError: a file or a record is not as converters write it.
    ValueError: an argument is wrong, or no image is left.
    OSError: a file cannot be read or written.
  """
  input_dir = pathlib.Path(input_dir)
  output_dir = input_dir if output_dir is None else pathlib.Path(output_dir)
  output_split = f"{split}_{protocol.title}" if output_split is None else output_split
  if difficult not in DIFFICULT:
    raise ValueError(f"--difficult is {difficult}; accepted: {', '.join(DIFFICULT)}")
  if num_shards is not None and not 1 <= num_shards < 100_000:
    raise ValueError(f"--num_shards is {num_shards}; accepted: 1 … 99999")
  source = sparse_erasing.find_split(input_dir, split)
  _check_output(input_dir, split, output_dir, output_split)

  def records(what: str) -> Iterator[tuple[tf.train.Example, sparse_erasing.Objects]]:
    progress = progress_lines.Progress(f"{output_split}: {what}", source.num_images, _LOGGER.info)
    for example, where in sparse_erasing.read(source.files):
      objects = sparse_erasing.ranked_objects(
        example, where, len(source.classes), rank_difficult=difficult == "keep"
      )
      yield example, objects
      progress.step()

  counts = _Counts(source.classes)
  with contextlib.closing(disk_index.create(None, _TABLES)) as index:
    last_erased = {}
    if protocol.name == "miss":
      last_erased = _last_erased(index, records("ranking annotations"), protocol)
    with record_writer.SplitWriter(
      output_dir,
      output_split,
      source.classes,
      num_images=source.num_images,
      num_shards=num_shards or len(source.files),
    ) as writer:
      for position, (example, objects) in enumerate(records("writing records")):
        erased = _erased(objects, protocol, last_erased)
        counts.add(objects, erased)
        kept = [(name, place not in erased) for place, name in enumerate(objects.names())]
        index.executemany("INSERT INTO names VALUES (?, ?)", kept)
        if len(erased) < len(objects.rows):
          rows = {objects.rows[place] for place in erased}
          writer.write(sparse_erasing.erase(example, rows), position)
      manifest = writer.commit(
        sparse_annotations={
          "protocol": protocol.name,
          "share": None if protocol.share is None else str(protocol.share),
          "seed": protocol.seed,
          "one_box": protocol.one_box,
          "difficult": difficult,
          **counts.summary(),
          **_digests(index, f"{input_dir}: split {split}"),
          "source_split": split,
        }
      )
  _log_summary(manifest)
  return manifest


class _Counts:
  """Counts of the images and annotations that were read, kept and erased."""

  def __init__(self, classes: Sequence[str]):
    self._classes = classes
    self._images = collections.Counter()
    self._ranked, self._erased = collections.Counter(), collections.Counter()
    self._num_erased_without_image = 0

  def add(self, objects: sparse_erasing.Objects, erased: set[int]) -> None:
    """Counts an image, of whose ranked objects some are erased."""
    self._ranked.update(objects.classes)
    self._erased.update(objects.classes[place] for place in erased)
    outcome = "kept" if len(erased) < len(objects.rows) else "emptied"
    self._images[outcome if objects.rows else "without_annotations"] += 1
    if outcome == "emptied":
      self._num_erased_without_image += len(erased)

  def summary(self) -> dict[str, Any]:
    """The manifest's figures; of the images, only those kept are in the records."""
    ids = {name: class_id for class_id, name in enumerate(self._classes, start=1)}
    erased = {name: self._erased[class_id] for name, class_id in ids.items()}
    kept = {name: self._ranked[class_id] - erased[name] for name, class_id in ids.items()}
    return {
      "images": {name: self._images[name] for name in ("kept", "emptied", "without_annotations")},
      "annotations": {
        "ranked": self._ranked.total(),
        "kept": self._ranked.total() - self._erased.total(),
        "erased": self._erased.total(),
        "erased_with_their_image": self._num_erased_without_image,
      },
      "kept_per_class": kept,
      "erased_per_class": erased,
    }


def _erased(
  objects: sparse_erasing.Objects,
  protocol: sparse_protocols.Protocol,
  last_erased: Mapping[int, bytes],
) -> set[int]:
  """Places of the objects to erase; of `miss`, those up to their class's key in `last_erased`."""
  keys = objects.keys(protocol.seed)
  if protocol.name != "miss":
    return protocol.erased_in_image(keys, objects.classes)
  ranked = zip(keys, objects.classes, strict=True)
  return {place for place, (key, class_id) in enumerate(ranked) if key <= last_erased[class_id]}


def _last_erased(
  index: sqlite3.Connection,
  records: Iterable[tuple[tf.train.Example, sparse_erasing.Objects]],
  protocol: sparse_protocols.Protocol,
) -> dict[int, bytes]:
  """The largest rank key of each class that `miss` erases, empty where it erases none."""
  totals = collections.Counter()
  for _, objects in records:
    totals.update(objects.classes)
    keys = zip(objects.classes, objects.keys(protocol.seed), strict=True)
    index.executemany("INSERT INTO keys VALUES (?, ?)", keys)
  last = dict.fromkeys(totals, b"")
  places = collections.Counter()
  for class_id, key in index.execute("SELECT class, key FROM keys ORDER BY class, key"):
    places[class_id] += 1
    if places[class_id] == protocol.num_missing(totals[class_id]):
      last[class_id] = key
  return last


def _digests(index: sqlite3.Connection, where: str) -> dict[str, str]:
  """SHA-256 over the names of the ranked objects, in the order of their bytes, a line each.

  Of all of them, which identifies the data set, and of those that were kept.

  Raises:
    faults.FaultError: two objects have one name, so that they could not be distinguished.
  """
  all_names, kept_names, last = hashlib.sha256(), hashlib.sha256(), None
  for name, kept in index.execute("SELECT name, kept FROM names ORDER BY name"):
    if name == last:
      value = f"{faults.quote(os.fsdecode(name))} twice"
      accepted = "each image id and annotation id once"
      raise faults.FaultError([faults.Fault(where, schema.OBJECT_ID, value, accepted)])
    last = name
    all_names.update(name + b"\n")
    if kept:
      kept_names.update(name + b"\n")
  return {
    "ranked_ids_sha256": all_names.hexdigest(),
    "kept_ids_sha256": kept_names.hexdigest(),
  }


def _check_output(
  input_dir: pathlib.Path, split: str, output_dir: pathlib.Path, output_split: str
) -> None:
  """Refuses to write over records that this command did not write."""
  if not _SPLIT_NAME.fullmatch(output_split):
    raise ValueError(
      f"--output_split is {faults.quote(output_split)}; accepted: letters, digits and . _ + -"
    )
  if output_split == split and output_dir.resolve() == input_dir.resolve():
    raise ValueError(
      f"--output_split {output_split}: is the input; accepted: another name or --output_dir"
    )
  manifest = output_dir / schema.manifest_file(output_split)
  section = sparse_erasing.SECTION.encode()
  if manifest.exists() and section not in regular_files.read_bytes(manifest):
    raise ValueError(
      f"--output_split {output_split}: {manifest} is of another command, whose records would be"
      " lost; accepted: another name or --output_dir"
    )


def _log_summary(manifest: Mapping[str, Any]) -> None:
  """Logs the numbers of kept annotations, of each class and in all."""
  split, about = manifest["split"], manifest[sparse_erasing.SECTION]
  for name, kept in about["kept_per_class"].items():
    _LOGGER.info(f"{kept:>9} of {kept + about['erased_per_class'][name]} {name}")
  images, annotations = about["images"], about["annotations"]
  _LOGGER.info(
    f"{split}: {annotations['kept']} of {annotations['ranked']} annotations kept, in"
    f" {images['kept']} images; left out: images that lost all annotations"
    f" {images['emptied']}, images that had none {images['without_annotations']}"
  )


def main(argv: Sequence[str] | None = None) -> int:
  """Runs the command line; returns the exit status."""
  flags = sparse_annotations_flags.parser().parse_args(argv)
  terminal.set_up()
  try:
    make_split(
      flags.input_dir,
      flags.split,
      sparse_protocols.Protocol(flags.protocol, flags.share, flags.seed, flags.one_box),
      output_dir=flags.output_dir,
      output_split=flags.output_split,
      difficult=flags.difficult,
      num_shards=flags.num_shards,
    )
  except (ValueError, OSError) as error:
    terminal.show_error(error)
    return 1
  except KeyboardInterrupt:
    terminal.show("stopped; nothing was written", sys.stderr)
    return _INTERRUPTED
  return 0


if __name__ == "__main__":
  tf.config.set_visible_devices([], "GPU")  # Reading records needs none.
  sys.exit(main())
