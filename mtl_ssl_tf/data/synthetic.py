"""The embedded data set: drawn scenes in VOC layout, in which an object's neighbours matter.

  python -m mtl_ssl_tf.data.synthetic --output_dir DIR [--num_train 600] [--num_val 150] [--seed 0]

writes Annotations/*.xml, JPEGImages/*.jpg, ImageSets/Main/{train,val,trainval}.txt and, last of
all, dataset.json. The rules of a scene, lengths in sides (the shorter side of the image):

* Eight classes, four in each of two themes. Table: plate, orange, cup, napkin. Yard: crate, ball,
  cone, wheel. A scene holds 1 to 8 objects of one theme, or of both (about one in four), each theme
  in a cluster of its own; about one object in twenty strays in from the other theme. One scene in
  33 is empty.
* **Look-alikes.** An orange and a ball are drawn by the same code from the same distributions. An
  orange has a plate at most 1/8 side away and no crate nearer than 1/4 side; a ball has a crate at
  most 1/8 side away and no plate nearer than 1/4. Distances are between boxes. No other box touches
  the box of a look-alike, so a crop of it does not show which of them it is. With
  `--context_percent` below 100 only so many of them have the class that their neighbours say; that
  of the others is drawn by lot, so that at 0 nothing in the image tells it.
* Objects overlap. A box is that of the *visible* part of an object, as in VOC; every object shows
  at least 0.55 of its full extent. `truncated` is 1 where the box is not that of the full extent
  (border or occlusion alike, as in VOC2007), `difficult` where less than 0.6 of the object shows,
  or its box is less than 1/12 side wide or high.
* Coordinates are pixel edges: xmin is the number of columns left of the box and xmax - xmin its
  width, so that xmin / width needs no -1. The image is 0 to width.
* The same arguments give the same bytes (under the same numpy and Pillow). Image i of a split
  depends on seed, split, i, height and width only, not on how many images there are.

A run that was killed leaves dataset.json.partial in place of dataset.json; the same command
finishes it.
"""

import dataclasses
import json
import logging
import os
import pathlib
import sys
import time
from collections.abc import Sequence
from xml.etree import ElementTree

import numpy as np
from PIL import Image

from mtl_ssl_tf import files, terminal
from mtl_ssl_tf.command_line import synthetic as synthetic_flags
from mtl_ssl_tf.data.synthetic_scenes import scenes
from mtl_ssl_tf.reading import json_text, quoting, regular_files

_LOGGER = logging.getLogger("mtl_ssl_tf.data.synthetic")  # `__name__` is `__main__` in `-m`.
# Raised when a rule or a brush changes, so that an old data set is not taken for a new one.
VERSION = 1
SPLITS = ("train", "val")
# Of the random numbers that classes are drawn by.
_LOTS = 1

_WHOLE = "dataset.json"
_UNFINISHED = "dataset.json.partial"
_SECONDS_BETWEEN_REPORTS = 2.0


@dataclasses.dataclass(frozen=True)
class DatasetArguments:
  """Arguments that determine a data set; the defaults are the demo's."""

  num_train: int = 600
  num_val: int = 150
  seed: int = 0
  height: int = 192
  width: int = 256
  context_percent: int = 100

  def __post_init__(self):
    counts, lengths = (1, 999_999), (96, 2048)
    accepted = {
      "num_train": counts,
      "num_val": counts,
      "seed": (0, 2**63 - 1),
      "height": lengths,
      "width": lengths,
      "context_percent": (0, 100),
    }
    for name, (low, high) in accepted.items():
      if not low <= getattr(self, name) <= high:
        raise ValueError(f"--{name} is {getattr(self, name)}; accepted: {low} to {high}")

  def card(self) -> dict[str, int]:
    """Returns what tells the data set from others; a card without context has all of it."""
    fields = dataclasses.asdict(self)
    if self.context_percent == 100:
      del fields["context_percent"]
    return fields

  def stems(self, split: str) -> list[str]:
    """Names of the images of a split, without folder and extension."""
    count = {"train": self.num_train, "val": self.num_val}[split]
    return [f"{split}_{i:06d}" for i in range(count)]


def draw_image(arguments: DatasetArguments, split: str, index: int) -> scenes.Scene:
  """The scene of one image of the data set, whatever the number of images.

  The themes take turns, so that oranges and balls are about equally many in small sets too.
  """
  place = [arguments.seed, SPLITS.index(split), index]
  theme = (scenes.TABLE, scenes.YARD)[index % 2]
  scene = scenes.draw_scene(np.random.default_rng(place), arguments.height, arguments.width, theme)
  if arguments.context_percent == 100:
    return scene
  # Numbers of their own, so that the pictures are the same whatever the classes.
  return scenes.with_less_context(
    scene, np.random.default_rng([*place, _LOTS]), arguments.context_percent / 100
  )


def write_dataset(output_dir: str | os.PathLike, arguments: DatasetArguments) -> bool:
  """Draws a data set into a folder that is new, empty, or holds an unfinished run of the same.

  Args:
    output_dir: folder to write to; made if missing.
    arguments: what to draw.

  Returns:
    Whether anything was written: False if the folder already holds exactly this data set.

  Raises:
    ValueError: if the folder holds anything else; nothing is changed then.
    OSError: if the folder cannot be written.
  """
  root = pathlib.Path(output_dir)
  card = {"generator": "mtl_ssl_tf.data.synthetic", "version": VERSION}
  card |= arguments.card()
  if _is_whole(root, card, arguments):
    return False
  root.mkdir(parents=True, exist_ok=True)
  files.write_text(root / _UNFINISHED, json.dumps(card, indent=2) + "\n")
  for folder in ("Annotations", "JPEGImages", "ImageSets/Main"):
    (root / folder).mkdir(parents=True, exist_ok=True)

  started = reported = time.monotonic()
  num_images, num_done, num_objects = arguments.num_train + arguments.num_val, 0, 0
  for split in SPLITS:
    for i, stem in enumerate(arguments.stems(split)):
      scene = draw_image(arguments, split, i)
      image = Image.fromarray(scene.image)
      image.save(root / "JPEGImages" / f"{stem}.jpg", quality=92)
      (root / "Annotations" / f"{stem}.xml").write_bytes(annotation_xml(stem, scene))
      num_done, num_objects = num_done + 1, num_objects + len(scene.objects)
      now = time.monotonic()
      if now - reported >= _SECONDS_BETWEEN_REPORTS or num_done == num_images:
        reported = now
        rate = num_done / (now - started)
        _LOGGER.info(
          f"synthetic: {num_done}/{num_images} images, {num_objects} objects, {rate:.0f} images/s"
        )
  lists = {split: arguments.stems(split) for split in SPLITS}
  lists["trainval"] = lists["train"] + lists["val"]
  for name, stems in lists.items():
    files.write_text(root / f"ImageSets/Main/{name}.txt", "".join(f"{s}\n" for s in stems))
  files.publish(root / _UNFINISHED, root / _WHOLE)
  return True


def annotation_xml(stem: str, scene: scenes.Scene) -> bytes:
  """The VOC annotation of a scene whose image is JPEGImages/`stem`.jpg."""
  height, width, depth = scene.image.shape
  root = ElementTree.Element("annotation")
  _append(root, folder="JPEGImages", filename=f"{stem}.jpg")
  _append(ElementTree.SubElement(root, "source"), database="mtl_ssl_tf synthetic scenes")
  _append(ElementTree.SubElement(root, "size"), width=width, height=height, depth=depth)
  _append(root, segmented=0)
  for item in scene.objects:
    element = ElementTree.SubElement(root, "object")
    _append(element, name=item.name, pose="Unspecified")
    _append(element, truncated=int(item.truncated), difficult=int(item.difficult))
    ymin, xmin, ymax, xmax = item.box_orig
    box = ElementTree.SubElement(element, "bndbox")
    _append(box, xmin=xmin, ymin=ymin, xmax=xmax, ymax=ymax)
  ElementTree.indent(root)
  return ElementTree.tostring(root) + b"\n"


def _append(parent: ElementTree.Element, **fields):
  for name, value in fields.items():
    ElementTree.SubElement(parent, name).text = str(value)


def _is_whole(root: pathlib.Path, card: dict, arguments: DatasetArguments) -> bool:
  """Whether the folder already holds the data set; False if it may be written to."""
  if not root.exists() or not any(root.iterdir()):
    return False
  names = [name for name in (_WHOLE, _UNFINISHED) if (root / name).exists()]
  if not names:
    raise ValueError(
      f"{root} is not empty and holds no {_WHOLE}; accepted: a new or empty --output_dir"
    )
  found = _read_card(root / names[0])
  differing = [key for key in sorted({*card, *found}) if card.get(key) != found.get(key)]
  if differing:
    raise ValueError(
      f"{root} holds another data set, its {names[0]} says "
      + ", ".join(f"{key} {found.get(key)} and not {card.get(key)}" for key in differing)
      + "; accepted: a new or empty --output_dir"
    )
  if names[0] == _UNFINISHED:
    return False
  _check_complete(root, arguments)
  return True


def _read_card(path: pathlib.Path) -> dict:
  try:
    card = json_text.loads(regular_files.read_bytes(path))
  except ValueError as error:
    raise ValueError(f"{path} cannot be read as JSON ({error}); accepted: a JSON object") from error
  if not isinstance(card, dict):
    raise ValueError(f"{path} holds {quoting.shown(card)}; accepted: a JSON object")
  return card


def _check_complete(root: pathlib.Path, arguments: DatasetArguments):
  stems = [stem for split in SPLITS for stem in arguments.stems(split)]
  names = [f"ImageSets/Main/{name}.txt" for name in (*SPLITS, "trainval")]
  names += [f"JPEGImages/{stem}.jpg" for stem in stems]
  names += [f"Annotations/{stem}.xml" for stem in stems]
  missing = [name for name in names if not (root / name).exists()]
  if missing:
    raise ValueError(
      f"{root} lacks {len(missing)} files of its data set, the first is {missing[0]};"
      " accepted: a whole data set; delete this one and draw it again"
    )


def main(argv: Sequence[str] | None = None) -> int:
  """Runs the command line; returns the exit status."""
  parser = synthetic_flags.parser()
  flags = vars(parser.parse_args(argv))
  output_dir = flags.pop("output_dir")
  terminal.set_up()
  try:
    written = write_dataset(output_dir, DatasetArguments(**flags))
  except (ValueError, OSError) as error:
    parser.error(str(error))
  terminal.show(f"synthetic: {'wrote' if written else 'already there:'} {output_dir}")
  return 0


if __name__ == "__main__":
  sys.exit(main())
