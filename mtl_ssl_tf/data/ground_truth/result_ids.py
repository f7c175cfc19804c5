"""Names of the images and classes that the ids of a COCO results file stand for.

Ids are numbers that some tool gave out in its own order: the same number may be another image in
the ground truth. So a results file is read together with a COCO file that has its ids, images with
`file_name` and categories with `name`, and is joined with the ground truth by these names.

  <results>_ids.json        beside the results, as `predict` writes it
  coco_ground_truth.json    beside them, as evaluation in training writes it
  --ids_of FILE             any COCO file with these ids; `ground_truth` is the ground truth's own
"""

import os
import pathlib
import re
from typing import Any

from mtl_ssl_tf.data.ground_truth import coco_truth
from mtl_ssl_tf.data.ground_truth import objects as ground_truth

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


def _are_names(truth: ground_truth.GroundTruth) -> bool:
  """Whether the ids of the ground truth name its images, and are not mere numbers."""
  if not all(isinstance(image_id, int) for image_id in truth.coco_image_ids):
    return True
  for image in truth.images:
    match = _NUMBERED.fullmatch(pathlib.PurePath(image.file_name).stem)
    if match is None or int(match.group(1)) != int(image.image_id):
      return False
  return True
