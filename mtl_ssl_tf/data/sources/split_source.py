"""Interface of a split of any annotation format, for the converter and the validator.

A source is opened once and then asked for its images by position, in any order and from any
process: it can be pickled, and what grows with the number of images lies in a file.
"""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, Self

from mtl_ssl_tf.data import faults
from mtl_ssl_tf.data.sources import annotated

# Remarks about an image that are no faults; the manifest counts these.
NOTES = {
  "filename_differs": "the annotation calls the image otherwise than the split does",
  "image_named_by_annotation": "image found by the annotation's file name alone",
  "annotation_missing": "image without an annotation, taken as background",
  "size_missing": "the annotation does not say how large the image is",
  "size_unreadable": "the annotation's size of the image is no whole number and is not used",
  "image_found_by_name": "image found by the end of its path alone",
  "end_marker_added": "JPEG without its end marker",
  "padding_left_out": "JPEG filled up before its end marker",
  "corners_swapped": "box whose corners were exchanged",
  "box_of_polygon": "box made from a polygon",
  "image_reencoded": "image converted to upright 8-bit RGB",
  "boxes_turned_upright": "EXIF-rotated image whose boxes were turned upright along with it",
  "boxes_taken_as_upright": "EXIF-rotated image whose boxes are taken to be upright already",
  "boxes_clipped": "box that sticks out a little, cut to fit the image",
  "regions_ignored": "place of a faulty object kept as a region to be ignored",
  "faulty_without_place": "left out whole, as an object in it is at fault and its place not kept",
}


@dataclasses.dataclass(frozen=True, slots=True)
class Remark:
  """Something about a split as a whole that is worth knowing and stops nothing.

  Attributes:
    kind: one word for all remarks of its like.
    is_warning: whether it looks like a mistake.
    fault: the place, what was found and what would have been expected.
  """

  kind: str
  is_warning: bool
  fault: faults.Fault


class SplitSource(Protocol):
  """The images of one split, each of which becomes a record or faults.

  Attributes:
    split: name of the split.
    classes: the class names, class 1 first; None until they have been collected.
    origin: where the classes come from, for messages, as in "the classes ORIGIN: cat, dog".
    faults: of the files that list images or classes; none of them is repeated by `read_image`.
    remarks: about the split as a whole.
    hashes: SHA-256 of these files, by path.
    location: where the data set is; with `split` and `hashes` it identifies a source.
    index_files: names of the files that the source made where its index was to go.
  """

  split: str
  classes: tuple[str, ...] | None
  origin: str
  faults: Sequence[faults.Fault]
  remarks: Sequence[Remark]
  hashes: Mapping[str, str]
  location: str
  index_files: tuple[str, ...]

  def __len__(self) -> int:
    """The number of images."""

  def name(self, position: int) -> str:
    """Returns the split's name of an image; `position` counts from 0."""

  def class_names(self, position: int) -> Sequence[str]:
    """The classes of an image's sound objects, for collecting them."""

  def with_classes(self, classes: Sequence[str], origin: str) -> Self:
    """The same source with these classes."""

  def read_image(self, position: int) -> annotated.AnnotatedImage:
    """Reads the annotation of one image and finds the image, which is not read yet."""

  def read(self, file: str) -> bytes:
    """The content of a file of the data set; raises `faults.FaultError` where there is none."""

  def stated_boxes(self, position: int) -> Mapping[int, tuple[float, ...]]:
    """The boxes as the annotation has them, right or wrong, by the number of the object."""

  def signature(self, position: int) -> str:
    """Returns a text that differs if the files of an image were changed, without reading them."""

  def manifest_entries(self) -> dict[str, Any]:
    """Returns the manifest entries that only this format has."""


def collect_classes(names: set[str], source: SplitSource) -> SplitSource:
  """The source with the classes that were found in its annotations, in alphabetical order."""
  return source.with_classes(sorted(names), "found in the annotations")


def remarks(source: SplitSource) -> list[Remark]:
  """All remarks about a split, those about its classes included."""
  alike: dict[str, list[str]] = {}
  for name in source.classes or ():
    alike.setdefault("".join(name.split()).casefold(), []).append(name)
  return [
    *source.remarks,
    *(
      Remark(
        "classes_alike",
        True,
        faults.Fault(
          source.split,
          "classes",
          f"{faults.listing([faults.quote(name) for name in names])} differ by case or blanks",
          "one spelling of each class",
        ),
      )
      for names in alike.values()
      if len(names) > 1
    ),
  ]


def files_signature(paths: Mapping[str, str | os.PathLike[str]], *about: str) -> str:
  """Returns names, sizes, times and rights of files as text; missing files are named so.

  Args:
    paths: where each file lies, by its name.
    *about: further parts of the text.
  """
  states = []
  for file, path in paths.items():
    try:
      status = os.stat(path)
      states.append((file, status.st_size, status.st_mtime_ns, status.st_mode))
    except OSError as error:
      states.append((file, error.errno))
  return repr((about, states))
