"""A split in a COCO file as a `split_source.SplitSource`."""

import contextlib
import dataclasses
import functools
import logging
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, Self

from mtl_ssl_tf import texts
from mtl_ssl_tf.data import faults, label_map, progress_lines
from mtl_ssl_tf.data.sources import (
  annotated,
  coco_annotation,
  coco_index,
  image_folder,
  safe_files,
  split_source,
)

_LOGGER = logging.getLogger(__name__)
_MIB = 1 << 20


def open_split(
  annotations: str | os.PathLike[str],
  image_dir: str | os.PathLike[str],
  split: str,
  *,
  label_map_file: str | os.PathLike[str] | None = None,
  index_file: str | os.PathLike[str] | None = None,
) -> "CocoSource":
  """The images of a COCO file, listed but not read.

  Args:
    annotations: the file; one without `annotations`, as of COCO's test sets, lists images alone.
    image_dir: the folder that its file names start from.
    split: name of the split.
    label_map_file: see module `label_map`; None takes the categories in the order of their ids.
    index_file: a file to be made, or one made earlier of the same content; None is a temporary
      one, with which the source cannot be pickled.

  Raises:
    ValueError: it is no COCO file, holds no image or no category, or the label map is faulty.
    OSError: a file or folder cannot be read or written.
  """
  folder = pathlib.Path(image_dir)
  if not folder.is_dir():
    raise ValueError(f"--image_dir {image_dir}: no folder; accepted: the folder with the images")
  if not os.path.isfile(annotations):
    raise ValueError(f"--annotations {annotations}: no file; accepted: a COCO file")
  total = os.path.getsize(annotations) // _MIB
  name = pathlib.Path(annotations).name
  reading = _CountedMib(
    progress_lines.Progress(f"{split}: reading {name}, MiB", total, _LOGGER.info)
  )
  index = coco_index.open_index(annotations, index_file, reading)
  if not len(index):
    raise ValueError(f"{index.file}: it lists no image; accepted: at least one entry in images")
  if label_map_file is not None:
    classes, origin = label_map.read_label_map(label_map_file), f"of {label_map_file}"
  elif index.categories:
    classes, origin = list(index.categories.values()), f"of {index.file}"
  else:
    raise texts.LinesError(
      f"{index.file}: no sound category; accepted: a list of categories, or --label_map FILE",
      *map(str, index.faults),
    )
  return CocoSource(index, folder.resolve(), split, tuple(classes), origin)


@dataclasses.dataclass(frozen=True)
class CocoSource:
  """See `split_source.SplitSource`; made by `open_split`."""

  index: coco_index.CocoIndex
  image_dir: pathlib.Path
  split: str
  classes: tuple[str, ...]
  origin: str

  @property
  def faults(self) -> tuple[faults.Fault, ...]:
    return self.index.faults

  @property
  def remarks(self) -> tuple[split_source.Remark, ...]:
    return self.index.remarks

  @property
  def hashes(self) -> Mapping[str, str]:
    return {self.index.file: self.index.sha256}

  @property
  def location(self) -> str:
    return str(self.image_dir)

  @property
  def index_files(self) -> tuple[str, ...]:
    return (os.path.basename(self.index.index_file),) if self.index.index_file else ()

  def __len__(self) -> int:
    return len(self.index)

  def name(self, position: int) -> str:
    image_id, entry, _ = self.index.image(position)
    return str(entry.get("file_name", position) if image_id is None else image_id)

  def class_names(self, position: int) -> list[str]:
    return [found.name for found in self.read_image(position).objects or ()]

  def with_classes(self, classes: Sequence[str], origin: str) -> Self:
    return dataclasses.replace(self, classes=tuple(classes), origin=origin)

  def signature(self, position: int) -> str:
    # Annotations are part of the one file, whose hash identifies them.
    entry = self.index.image(position)[1]
    image = coco_annotation.parse_image(entry, position + 1, self.index.file)
    files = {}
    if image.file_name:
      with contextlib.suppress(faults.FaultError):
        file, _ = self._folder.find(image.file_name, self.index.num_names_ending)
        files = {file: self.image_dir / file}
    return split_source.files_signature(files, str(position))

  def manifest_entries(self) -> dict[str, Any]:
    ids = {
      name: coco_annotation.whole_number(category_id)
      for category_id, name in self.index.categories.items()
    }
    if None in ids.values():  # Names in the place of numbers, which no COCO results have.
      return {}
    return {"category_ids": {name: ids[name] for name in self.classes if name in ids}}

  def read_image(self, position: int) -> annotated.AnnotatedImage:
    """The entry of one image with its sound objects, and the faults of both."""
    image_id, entry, id_faults = self.index.image(position)
    image = coco_annotation.parse_image(entry, position + 1, self.index.file)
    found, objects, notes, image_file = [*id_faults], [], list(image.notes), None
    annotated_classes, of_field = _annotated_classes(self, entry, position + 1)
    found.extend(of_field)
    if entry:
      found.extend(image.faults)
    for number, annotation in () if image_id is None else self.index.annotations(image_id):
      parsed, of_object = coco_annotation.parse_object(
        annotation, number, self.index.categories, self.index.file, notes
      )
      if parsed is not None:
        objects.append(parsed)
      found.extend(of_object)
    if image.file_name is not None:
      try:
        image_file, by_name = self._folder.find(image.file_name, self.index.num_names_ending)
        notes += ["image_found_by_name"] * by_name
      except faults.FaultError as error:
        found.extend(error.faults)
    return annotated.AnnotatedImage(
      source_id=str(image_id),
      annotation_file=self.index.file,
      size=image.size,
      objects=tuple(objects),
      image_file=image_file,
      faults=tuple(found),
      notes=tuple(dict.fromkeys(notes)),
      hashes={},
      size_field=coco_annotation.image_field(position + 1, "width, height"),
      annotated_classes=annotated_classes,
    )

  def stated_boxes(self, position: int) -> dict[int, tuple[float, ...]]:
    image_id = self.index.image(position)[0]
    entries = () if image_id is None else self.index.annotations(image_id)
    boxes = {number: coco_annotation.stated_box(entry) for number, entry in entries}
    return {number: box for number, box in boxes.items() if box is not None}

  def read(self, file: str) -> bytes:
    return safe_files.read(self.image_dir / file, (self.image_dir,), file)

  @functools.cached_property
  def _folder(self) -> image_folder.ImageFolder:
    return image_folder.ImageFolder(self.image_dir)


def _annotated_classes(
  source: CocoSource, entry: Mapping[str, Any], number: int
) -> tuple[tuple[str, ...] | None, list[faults.Fault]]:
  """Those of an entry of `images` that the label map has, and the faults of the field.

  Categories that are no classes of the label map are passed over: no loss uses them.
  """
  index = source.index
  stated, found = coco_annotation.annotated_classes(entry, number, index.categories, index.file)
  if stated is None:
    return None, found
  names = tuple(name for name in stated if name in source.classes)
  if not names:  # Without a class, the record would say that all are annotated.
    field = coco_annotation.image_field(number, coco_annotation.ANNOTATED_CLASSES)
    value = f"{faults.listing(stated)}, of which none is a known class"
    accepted = f"some of the classes {source.origin}: {faults.listing(source.classes)}"
    found = [faults.Fault(index.file, field, value, accepted)]
  return names or None, found


class _CountedMib:
  """Counts bytes and reports whole MiB."""

  def __init__(self, line: progress_lines.Progress):
    self._line, self._bytes, self._num_reported = line, 0, 0

  def __call__(self, count: int) -> None:
    self._bytes += count
    num_mib = self._bytes // _MIB
    self._line.step(num_mib - self._num_reported)
    self._num_reported = num_mib
