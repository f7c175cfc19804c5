"""Converts a split of any format to records, label map and manifest, in several processes.

A conversion that was stopped, for whatever reason, resumes with the same call: finished shards are
kept where their source files are unchanged. The result does not depend on the number of workers,
nor on how often it was stopped.

The calls from a VOC file to a record; other formats differ in the source alone:

    pascal_voc.convert_split
      convert
        voc_source.open_split                       lists the images
        _write_shards                               shards to worker processes, or to this one
          shards.WriteShard                         all images of a shard
            examples.convert                        one image
              VocSource.read_image
                voc_annotation.parse_annotation     XML to boxes, numbers as in the file
              annotated.clip_box                    a little outside the image is cut off
              image_files.upright_box               pixels of the upright image
              writer.make_example                   fractions of the image, float32
        _finish                                     manifest; all files appear together
"""

import contextlib
import dataclasses
import logging
import os
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, BinaryIO

import PIL
import tensorflow as tf

from mtl_ssl_tf import files
from mtl_ssl_tf.data import disk_index, faults, progress_lines, schema
from mtl_ssl_tf.data.records import pictures, shards, summaries, worker_pool, workspace
from mtl_ssl_tf.data.records import writer as record_writer
from mtl_ssl_tf.data.sources import annotated, split_source

_LOGGER = logging.getLogger(__name__)
# Raised when the same source gives other records, so that shards of both are not mixed.
_FORMAT_VERSION = 6
_IMAGES_PER_SHARD = 512
_MIN_SHARDS, _MAX_SHARDS = 4, 1024
# Fewer are converted sooner than a worker process has started.
_MIN_IMAGES_PER_WORKER = 2000
_INDEX = "index"
_HASHES = "CREATE TABLE hashes (file BLOB PRIMARY KEY, sha256 TEXT) WITHOUT ROWID;"


@dataclasses.dataclass(frozen=True)
class Options:
  """Settings of a conversion.

  Attributes:
    output_dir: folder of the files; those of an earlier conversion of this split are replaced.
    label_map_file: see module `label_map`; None takes the one that `output_dir` holds, from
      another split, or else the classes that the source has by itself.
    on_error: "fail" lists the faults and writes nothing; "skip" leaves out the image at fault, or,
      where the fault is one object's alone and its place is known, makes the place a region to be
      ignored.
    clip_px, ignore_faulty_boxes, annotated_classes: see `annotated.BoxRules`.
    num_shards: number of record files, if there are as many images; None is one for 512 images, at
      least 4 and at most 1024.
    workers: number of processes; None is one for each core, or fewer where there are less than
      2000 images for each. 1 is this process alone.
  """

  output_dir: str | os.PathLike[str]
  label_map_file: str | os.PathLike[str] | None = None
  on_error: str = "fail"
  clip_px: float | None = None
  ignore_faulty_boxes: bool = True
  num_shards: int | None = None
  workers: int | None = None
  annotated_classes: tuple[str, ...] | None = None

  def __post_init__(self):
    if self.on_error not in ("fail", "skip"):
      raise ValueError(f"--on_error is {self.on_error}; accepted: fail or skip")
    if self.num_shards is not None and not 1 <= self.num_shards < 100_000:
      raise ValueError(f"--num_shards is {self.num_shards}; accepted: 1 … 99999")
    if self.workers is not None and not 1 <= self.workers <= 1024:
      raise ValueError(f"--workers is {self.workers}; accepted: 1 … 1024")
    _ = self.rules  # Checks it.

  @property
  def rules(self) -> annotated.BoxRules:
    """The rules for boxes that are not as they should be."""
    return annotated.BoxRules(self.clip_px, self.ignore_faulty_boxes, self.annotated_classes)


def convert(
  open_source: Callable[..., split_source.SplitSource],
  split: str,
  options: Options,
  *,
  about_source: Mapping[str, Any],
  runner: worker_pool.Runner | None = None,
) -> dict[str, Any]:
  """Writes the records, label map and manifest of one split.

  With more than one worker, the program that calls this must be importable (`if __name__ ==
  "__main__":` around what it does), as the workers import it.

  Args:
    open_source: makes the source, given `index_file`, a path for it to write, and
      `label_map_file` or None.
    split: name of the split, in the names of the files.
    options: see there.
    about_source: the manifest's options with the location of the source.
    runner: runs the work in the place of local processes.

  Returns:
    The manifest.

  Raises:
    faults.FaultError: `on_error` is "fail" and there are faults.
    ValueError: an argument is wrong, or no image or no class is left.
    OSError: a file cannot be read or written; what is done is kept.
    worker_pool.WorkerError: a worker was killed; what is done is kept.
  """
  if not split or "/" in split or "\0" in split:
    raise ValueError(f"--split is {split}; accepted: a name without folders")
  with workspace.Workspace(options.output_dir, split) as space:
    space.keep = not space.is_new
    source = open_source(index_file=space.folder / _INDEX, label_map_file=_label_map_file(options))
    num_shards = min(options.num_shards or _default_shards(len(source)), len(source))
    with _runner(options, len(source), num_shards, runner) as run:
      if source.classes is None:
        source = _collect_classes(source, num_shards, space, run)
      _LOGGER.info(
        f"{split}: the classes {source.origin}: {faults.listing(source.classes)}"
        f" ({len(source.classes)})"
      )
      options.rules.check_classes(source.classes, source.origin)
      for remark in split_source.remarks(source):
        if remark.is_warning:
          _LOGGER.warning(str(remark.fault))
        else:
          _LOGGER.info(f"note: {remark.fault}")
      workspace.check_label_map(options.output_dir, source.classes)
      if space.takes_up(_fingerprint(source, num_shards, options.rules), source.index_files):
        _LOGGER.info(f"{split}: continuing the conversion that was stopped")
      space.keep = True
      names = _write_shards(source, num_shards, space, run, options.rules)
    try:
      return _finish(source, names, space, options, about_source, num_shards)
    except ValueError:  # There is nothing to continue: the sources have to change.
      space.keep = False
      raise


def _write_shards(
  source: split_source.SplitSource,
  num_shards: int,
  space: workspace.Workspace,
  run: worker_pool.Runner,
  rules: annotated.BoxRules,
) -> list[str]:
  """Writes the shards that are not there; the names of all."""
  task = shards.WriteShard(source, num_shards, space.folder, rules)
  progress = progress_lines.Progress(
    f"{source.split}: converting images", len(source), _LOGGER.info
  )
  done = run(task, _images_by_shard(source, num_shards), progress)
  for name in sorted(result for result in done if isinstance(result, str)):
    _LOGGER.warning(
      f"{space.folder / name}: damaged since the conversion was stopped, and converted again"
    )
  return [schema.shard_file(source.split, shard, num_shards) for shard in range(num_shards)]


def _finish(
  source: split_source.SplitSource,
  names: Sequence[str],
  space: workspace.Workspace,
  options: Options,
  about_source: Mapping[str, Any],
  num_shards: int,
) -> dict[str, Any]:
  """Sums up the shards and puts them in place; the manifest."""
  total = summaries.Summary()
  total.faults.extend(source.faults)
  total.num_objects_left_out += summaries.num_objects(source.faults)
  hashes = disk_index.create(None, _HASHES)
  _insert_hashes(hashes, source.hashes)
  list_of_pictures = schema.pictures_file(source.split)
  with files.writing(space.folder / list_of_pictures) as file:
    listed = _add_shards(space.folder, names, total, hashes, file)
  if total.faults and options.on_error == "fail":
    raise faults.FaultError(total.faults)
  if not source.classes:
    _log_left_out(total.faults)
    raise ValueError(
      f"{source.split}: no object to collect classes from; accepted: --label_map FILE"
    )
  _check_anything_left(source.split, total)
  (num_files,) = hashes.execute("SELECT COUNT(*) FROM hashes").fetchone()
  rows = hashes.execute("SELECT file, sha256 FROM hashes ORDER BY file")
  about = {
    "sources": {"sha256": record_writer.sources_digest(rows), "num_files": num_files},
    "options": {
      **about_source,
      "label_map": None if options.label_map_file is None else str(options.label_map_file),
      "on_error": options.on_error,
      "clip_px": options.clip_px,
      "ignore_faulty_boxes": options.ignore_faulty_boxes,
      **_stated(annotated_classes=options.annotated_classes and list(options.annotated_classes)),
      "num_shards": num_shards if options.num_shards is None else options.num_shards,
    },
    **total.about_sources(),
    **source.manifest_entries(),
  }
  hashes.close()
  manifest = record_writer.make_manifest(source.split, source.classes, listed, total, about)
  space.commit([*names, list_of_pictures], source.classes, record_writer.manifest_bytes(manifest))
  space.keep = False
  _log_outcome(manifest, total.faults)
  for line in pictures.lines_on_shared(options.output_dir, source.split, names):
    _LOGGER.warning(line)
  return manifest


def _stated(**entries: Any) -> dict[str, Any]:
  """The entries that are not None."""
  return {name: value for name, value in entries.items() if value is not None}


def _add_shards(
  folder: pathlib.Path,
  names: Sequence[str],
  total: summaries.Summary,
  hashes: Any,
  list_of_pictures: BinaryIO,
) -> list[dict[str, Any]]:
  """Adds what the shards have to a summary, table of hashes and list; the manifest's `shards`."""
  listed = []
  for name in names:
    summary, of_shard, lines = shards.read_summary(folder / name)
    total.add(summary)
    listed.append({"file": name, "num_images": summary.num_images})
    _insert_hashes(hashes, of_shard)
    list_of_pictures.writelines(os.fsencode(f"{line}\n") for line in lines)
  return listed


def _label_map_file(options: Options) -> pathlib.Path | None:
  """The label map that was given, or that another split left."""
  if options.label_map_file is not None:
    return pathlib.Path(options.label_map_file)
  existing = pathlib.Path(options.output_dir) / schema.LABEL_MAP_FILE
  return existing if existing.exists() else None


def _default_shards(num_images: int) -> int:
  return min(max(_MIN_SHARDS, -(-num_images // _IMAGES_PER_SHARD)), _MAX_SHARDS)


def _images_by_shard(source: split_source.SplitSource, num_shards: int) -> list[int]:
  return [len(shards.positions(shard, num_shards, len(source))) for shard in range(num_shards)]


@contextlib.contextmanager
def _runner(
  options: Options, num_images: int, num_shards: int, runner: worker_pool.Runner | None
) -> Iterator[worker_pool.Runner]:
  """Yields the runner of the work: the given one, this process or several."""
  cores = len(os.sched_getaffinity(0))
  num_workers = options.workers or min(cores, num_images // _MIN_IMAGES_PER_WORKER)
  num_workers = min(num_workers, num_shards)
  if runner is not None:
    yield runner
  elif num_workers <= 1:
    yield worker_pool.run_here
  else:
    with worker_pool.Pool(num_workers, num_shards) as pool:
      yield pool.run


def _collect_classes(
  source: split_source.SplitSource,
  num_shards: int,
  space: workspace.Workspace,
  run: worker_pool.Runner,
) -> split_source.SplitSource:
  """The source with the classes that its annotations have."""
  progress = progress_lines.Progress(
    f"{source.split}: reading annotations", len(source), _LOGGER.info
  )
  task = shards.CollectClasses(source, num_shards, space.folder)
  names = run(task, _images_by_shard(source, num_shards), progress)
  return split_source.collect_classes(set().union(*names), source)


def _fingerprint(
  source: split_source.SplitSource, num_shards: int, rules: annotated.BoxRules
) -> dict[str, Any]:
  """Everything that the records depend on except the files of their images and annotations."""
  return {
    "format": _FORMAT_VERSION,
    "decoders": [PIL.__version__, tf.__version__],
    "num_shards": num_shards,
    "rules": dataclasses.asdict(rules),
    "num_images": len(source),
    "classes": source.classes,
    "origin": source.origin,
    "lists": dict(source.hashes),
    "location": source.location,
  }


def _insert_hashes(connection: Any, hashes: Mapping[str, str]) -> None:
  rows = ((os.fsencode(file), sha256) for file, sha256 in hashes.items())
  connection.executemany("INSERT OR REPLACE INTO hashes VALUES (?, ?)", rows)


def _check_anything_left(split: str, total: summaries.Summary) -> None:
  """Raises a ValueError if faults have left no image or no box; logs them first."""
  if total.num_images and (total.num_boxes or not total.faults):
    return
  _log_left_out(total.faults)
  missing = "box" if total.num_images else "image"
  counts = f" (images left out: {total.num_images_left_out}, faults: {len(total.faults)})"
  raise ValueError(
    f"{split}: no {missing} is left to write{counts}; accepted: at least one sound {missing}"
  )


def _log_left_out(found: Sequence[faults.Fault]) -> None:
  for line in faults.digest(found):
    _LOGGER.info(f"left out: {line}")


def _log_outcome(manifest: Mapping[str, Any], found: Sequence[faults.Fault]) -> None:
  """Logs the numbers of boxes of each class, what is remarkable and what was left out."""
  split, skipped = manifest["split"], manifest["skipped"]
  for name, count in manifest["boxes_per_class"].items():
    _LOGGER.info(f"{count:>9} {name}")
  _LOGGER.info(
    f"{split}: {manifest['num_images']} images with {manifest['num_boxes']} boxes written;"
    f" at most {manifest['max_boxes_per_image']} boxes in an image"
  )
  if manifest["num_images_without_boxes"]:
    _LOGGER.info(f"{split}: images without objects: {manifest['num_images_without_boxes']}")
  unused = [name for name, count in manifest["boxes_per_class"].items() if not count]
  if unused:
    _LOGGER.info(f"{split}: classes without a box: {faults.listing(unused)}")
  for note, images in manifest["notes"].items():
    _LOGGER.info(f"{split}: {split_source.NOTES[note]}: {images['num_images']}")
  _log_left_out(found)
  if found:
    _LOGGER.info(
      f"{split}: left out: images {skipped['num_images']}, objects {skipped['num_objects']}; all"
      f" faults ({len(found)}) are listed in {schema.manifest_file(split)}"
    )
