"""Converts one split of a PASCAL VOC data set to records, after checking every file of it.

  python -m mtl_ssl_tf.data.pascal_voc --data_dir VOCdevkit/VOC2007 --split trainval \\
      --output_dir records

All faults are found in one go. With `--on_error=fail` they are listed and nothing is written; with
`skip` the object at fault is left out, or the image where the fault is not one object's alone.

Without `--label_map` the classes are those of a label map that `output_dir` already holds, from
another split, or else the ones found in this split, in alphabetical order.
"""

import argparse
import collections
import dataclasses
import os
import pathlib
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tensorflow as tf

from mtl_ssl_tf.data import (
  faults,
  record_writer,
  schema,
  sources,
  voc_source,
)
from mtl_ssl_tf.data import progress as progress_lines

_MAX_LISTED = 20


def convert_split(
  data_dir: str | os.PathLike[str],
  split: str,
  output_dir: str | os.PathLike[str],
  *,
  label_map_file: str | os.PathLike[str] | None = None,
  on_error: str = "fail",
  num_shards: int = 4,
  say: Callable[[str], None] = lambda line: print(line, file=sys.stderr, flush=True),
) -> dict[str, Any]:
  """Writes the records, label map and manifest of one split.

  Args:
    data_dir: folder with `Annotations`, `JPEGImages` and `ImageSets/Main`.
    split: name of a file in `ImageSets/Main`, without extension.
    output_dir: where the files go; those of an earlier conversion of this split are replaced.
    label_map_file: see module `label_map`; None as this module says at its top.
    on_error: "fail" or "skip".
    num_shards: number of record files, if there are as many images.
    say: takes lines about progress and outcome.

  Returns:
    The manifest.

  Raises:
    faults.FaultError: `on_error` is "fail" and there are faults.
    ValueError: an argument is wrong, or no image or no class is left.
    OSError: a file cannot be read or written.
  """
  if on_error not in ("fail", "skip"):
    raise ValueError(f"--on_error {on_error}: accepted: fail or skip")
  if not 1 <= num_shards < 100_000:
    raise ValueError(f"--num_shards {num_shards}: accepted: 1 … 99999")
  existing = pathlib.Path(output_dir) / schema.LABEL_MAP_FILE
  classes_file = existing if label_map_file is None and existing.exists() else label_map_file
  source = voc_source.open_split(data_dir, split, label_map_file=classes_file)
  if source.classes is None:
    names = set()
    progress = progress_lines.Progress(f"{split}: reading annotations", len(source), say)
    for position in range(len(source)):
      names.update(source.class_names(position))
      progress.step()
    source = sources.collect_classes(names, source)
  classes = list(source.classes)
  say(f"{split}: the classes {source.origin}: {faults.listing(classes)} ({len(classes)})")

  found, hashes = list(source.faults), dict(source.hashes)
  noted = collections.defaultdict(list)
  skipped = {"num_images": 0, "num_objects": 0}
  with record_writer.SplitWriter(
    output_dir, split, classes, num_images=len(source), num_shards=num_shards
  ) as writer:
    progress = progress_lines.Progress(f"{split}: converting images", len(source), say)
    for position in range(len(source)):
      converted = source.convert(position)
      if converted.example is None:
        skipped["num_images"] += 1
      else:
        writer.write(converted.example, position)
        skipped["num_objects"] += len({fault.object_number for fault in converted.faults})
      found.extend(converted.faults)
      hashes |= converted.hashes
      for note in converted.notes:
        noted[note].append(source.name(position))
      progress.step()
    if found and on_error == "fail":
      raise faults.FaultError(found)
    if not classes:
      raise ValueError(f"{split}: no object to collect classes from; accepted: --label_map FILE")
    manifest = writer.commit(
      sources={"sha256": record_writer.sources_digest(hashes), "num_files": len(hashes)},
      options={
        "data_dir": str(data_dir),
        "label_map": None if label_map_file is None else str(label_map_file),
        "on_error": on_error,
        "num_shards": num_shards,
      },
      skipped=skipped | {"faults": [dataclasses.asdict(fault) for fault in found]},
      notes={
        note: {"num_images": len(noted[note]), "first_images": noted[note][:_MAX_LISTED]}
        for note in sources.NOTES
        if note in noted
      },
    )
  _summarize(manifest, found, say)
  return manifest


def _summarize(
  manifest: Mapping[str, Any], found: Sequence[faults.Fault], say: Callable[[str], None]
) -> None:
  """Says what was written, per class, what is remarkable and what was left out."""
  split, skipped = manifest["split"], manifest["skipped"]
  for name, count in manifest["boxes_per_class"].items():
    say(f"{count:>9} {name}")
  say(
    f"{split}: {manifest['num_images']} images with {manifest['num_boxes']} boxes written;"
    f" at most {manifest['max_boxes_per_image']} boxes in an image"
  )
  for note, images in manifest["notes"].items():
    say(f"{split}: {sources.NOTES[note]}: {images['num_images']}")
  for fault in found[:_MAX_LISTED]:
    say(f"left out: {fault}")
  if found:
    say(
      f"{split}: left out: images {skipped['num_images']}, objects {skipped['num_objects']}; all"
      f" faults ({len(found)}) are listed in {schema.manifest_file(split)}"
    )


def main(argv: Sequence[str] | None = None) -> int:
  """Runs the command line; returns the exit status."""
  parser = argparse.ArgumentParser(
    prog="python -m mtl_ssl_tf.data.pascal_voc",
    description="Converts one split of a PASCAL VOC data set to TFRecord files.",
    allow_abbrev=False,
  )
  parser.add_argument(
    "--data_dir", required=True, help="folder with Annotations, JPEGImages and ImageSets/Main"
  )
  parser.add_argument("--split", required=True, help="name of a file in ImageSets/Main")
  parser.add_argument("--output_dir", required=True, help="where records and manifest go")
  parser.add_argument(
    "--label_map",
    help="text file with one class name a line; default: the one in --output_dir, if there is one,"
    " else the classes found in the split",
  )
  parser.add_argument(
    "--on_error",
    choices=("fail", "skip"),
    default="fail",
    help="on faults in the data: list them and write nothing, or leave out what is at fault",
  )
  parser.add_argument("--num_shards", type=int, default=4, help="number of record files")
  args = parser.parse_args(argv)
  try:
    convert_split(
      args.data_dir,
      args.split,
      args.output_dir,
      label_map_file=args.label_map,
      on_error=args.on_error,
      num_shards=args.num_shards,
    )
  except faults.FaultError as error:
    num_files = len({fault.file for fault in error.faults})
    print(
      f"{error}\nerror: faults: {len(error.faults)}, in files: {num_files}; nothing was written."
      " Mend them, or leave out what is at fault with --on_error=skip",
      file=sys.stderr,
    )
    return 1
  except (ValueError, OSError, tf.errors.OpError) as error:
    print(f"error: {error}", file=sys.stderr)
    return 1
  return 0


if __name__ == "__main__":
  tf.config.set_visible_devices([], "GPU")  # Decoding needs none, and would reserve its memory.
  sys.exit(main())
