"""Names of the images and classes that the ids of a COCO results file stand for.

Ids are numbers that some tool gave out in its own order: the same number may be another image in
the ground truth. So a results file is read together with a COCO file that has its ids, images with
`file_name` and categories with `name`, and is joined with the ground truth by these names.

  <results>_ids.json        beside the results, as `predict` writes it
  coco_ground_truth.json    beside them, as evaluation in training writes it
  --ids_of FILE             any COCO file with these ids; `ground_truth` is the ground truth's own
"""

import collections
import os
import pathlib
import re
from collections.abc import Sequence
from typing import Any

from mtl_ssl_tf.data.ground_truth import coco_truth
from mtl_ssl_tf.data.ground_truth import objects as ground_truth
from mtl_ssl_tf.data.sources import coco_annotation

GROUND_TRUTH = "ground_truth"
SUFFIX = "_ids.json"
NAMED = ("images", "categories")
COCO_GROUND_TRUTH_FILE = "coco_ground_truth.json"
# COCO's own files are called by their ids: 000000000139.jpg.
_NUMBERED = re.compile(r"(?:.*\D)?(\d{6,})", re.ASCII)


def ids_file(results: str | os.PathLike[str]) -> pathlib.Path:
  """The path of the file with the ids of a results file."""
  path = pathlib.Path(results)
  return path.with_name(path.stem + SUFFIX)


def read(
  results: str, truth: ground_truth.GroundTruth, ids_of: str | None
) -> dict[str, list[dict[str, Any]]] | None:
  """Lists of images and categories with the ids of a results file; None: the ground truth's own.

  Args:
    results: the results file.
    truth: the ground truth.
    ids_of: see `--ids_of`.

  Raises:
    faults.FaultError: a file with ids is at fault.
    ValueError: nothing says which images the ids stand for.
  """
  if ids_of == GROUND_TRUTH:
    return None
  beside = pathlib.Path(results).with_name(COCO_GROUND_TRUTH_FILE)
  paths = [ids_of] if ids_of else [path for path in (ids_file(results), beside) if path.exists()]
  for path in paths:
    content = coco_truth.read_json(path)
    coco_truth.check_lists(content, NAMED, coco_truth.FaultList(str(path)))
    return {name: content[name] for name in NAMED}
  if _are_names(truth):
    return None
  raise ValueError(
    f"--predictions {results}: its ids are numbers, and nothing says which images they stand for;"
    f" accepted: {ids_file(results).name} beside it, as predict writes it, --ids_of FILE with the"
    f" COCO file that has these ids, or --ids_of {GROUND_TRUTH} if they are the ground truth's own"
  )


def places(
  rows: Sequence[Any], truth: ground_truth.GroundTruth, found: coco_truth.FaultList
) -> dict[str, tuple[int | None, Any]]:
  """Id -> place of the image in the ground truth, None where it has no such, and its name.

  An image is known by its path or, where no other entry has that path, by the last part of it. So
  two files of one last name in different folders are never taken for one image.

  Args:
    rows: entries of `images`.
    truth: the ground truth.
    found: takes the faults: an id or an image of the ground truth that comes twice.
  """
  # Place -> field and name of the entries that name it by its path, and of the others.
  by_path, by_part = collections.defaultdict(list), collections.defaultdict(list)
  result: dict[str, tuple[int | None, Any]] = {}
  names: dict[str, Any] = {}
  for number, row in enumerate(rows, start=1):
    field = f"images: entry {number}: "
    row = row if isinstance(row, dict) else {}
    own_id, name = coco_annotation.id_text(row.get("id")), row.get("file_name")
    if own_id is None:
      found.add(f"{field}id", row.get("id"), "a number or a name")
    elif own_id in result:
      both = " and of ".join(map(coco_annotation.show_value, (names[own_id], name)))
      value = f"{coco_annotation.show(row, 'id')} is that of {both}"
      found.describe(f"{field}id", value, "each id once")
    else:
      names[own_id], spelling = name, _spelling(name, truth)
      place = truth.by_name.get(spelling)
      result[own_id] = place, spelling if place is None else name
      if place is not None:
        image, path = truth.images[place], str(pathlib.PurePath(name.replace("\\", "/")))
        is_whole = {name, path} & {image.file_name, image.image_id}
        by = by_path if is_whole else by_part
        by[place].append((field, name, own_id))
  for place in sorted(by_path.keys() | by_part.keys()):
    named = by_path[place] or by_part[place]
    if named is by_path[place]:
      result |= {own_id: (None, name) for _, name, own_id in by_part[place]}
    for field, name, _ in named[1:]:
      both = " and ".join(map(coco_annotation.show_value, (named[0][1], name)))
      value = f"{both} are the same image of {truth.source}"
      found.describe(f"{field}file_name", value, "each image once")
  return result


def _spelling(name: Any, truth: ground_truth.GroundTruth) -> Any:
  """The path of a file, or the part of it, that the ground truth knows it by."""
  if not isinstance(name, str):
    return None
  path = pathlib.PurePath(name.replace("\\", "/"))
  spellings = (name, str(path), path.name, path.stem)
  return next((spelling for spelling in spellings if spelling in truth.by_name), path.stem)


def _are_names(truth: ground_truth.GroundTruth) -> bool:
  """Whether the ids of the ground truth name its images, and are not mere numbers."""
  if not all(isinstance(image_id, int) for image_id in truth.coco_image_ids):
    return True
  for image in truth.images:
    match = _NUMBERED.fullmatch(pathlib.PurePath(image.file_name).stem)
    if match is None or int(match.group(1)) != int(image.image_id):
      return False
  return True
