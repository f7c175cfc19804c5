"""Flags of `mtl_ssl_tf.data.sparse_annotations`."""

import argparse

from mtl_ssl_tf import command_line


def parser() -> argparse.ArgumentParser:
  """Returns the parser of the command's flags."""
  result = command_line.ArgumentParser(
    prog=command_line.prog("mtl_ssl_tf.data.sparse_annotations"),
    description="Makes a sparsely annotated split from a converted one.",
    allow_abbrev=False,
  )
  result.add_argument("--input_dir", required=True, help="folder with the converted split")
  result.add_argument("--split", required=True, help="name of the converted split, e.g. train")
  result.add_argument(
    "--protocol",
    required=True,
    help="easy: each image loses 1 annotation; hard: half of them; extreme: all but 1; keep1: all"
    " but 1 of each class; miss: each class loses --share of its annotations in the whole split",
  )
  result.add_argument("--share", help="of miss: 0 … 1, e.g. 0.5")
  result.add_argument("--seed", type=int, default=0, help="another seed, another choice; default 0")
  result.add_argument(
    "--one_box",
    default="keep-one",
    help="keep-one: an image keeps its last annotation; strict: easy takes that, too",
  )
  result.add_argument(
    "--difficult",
    default="keep",
    help="what training will do with difficult objects: keep ranks them with the others, ignore"
    " and drop leave them as they are",
  )
  result.add_argument("--output_dir", help="where records and manifest go; default: --input_dir")
  result.add_argument("--output_split", help="default: the split and the protocol, e.g. train_hard")
  result.add_argument("--num_shards", type=int, help="number of record files; default: as before")
  return result
