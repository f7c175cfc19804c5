"""A split of a PASCAL VOC data set as a `split_source.SplitSource`."""

import dataclasses
import hashlib
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, Self

from mtl_ssl_tf.data import faults, label_map
from mtl_ssl_tf.data.sources import annotated, split_source, voc_annotation, voc_folder


def open_split(
  data_dir: str | os.PathLike[str],
  split: str,
  *,
  label_map_file: str | os.PathLike[str] | None = None,
  index_file: str | os.PathLike[str] | None = None,
) -> "VocSource":
  """The images of a split, listed but not read.

  Args:
    data_dir: folder with `Annotations`, `JPEGImages` and `ImageSets/Main`.
    split: name of a file in `ImageSets/Main`, without extension.
    label_map_file: see module `label_map`; None leaves the classes to be collected.
    index_file: a file to be made, for the lists of names; None is a temporary one, with which the
      source cannot be pickled.

  Raises:
    ValueError: there is no such split, it lists no image, or the label map is faulty.
    OSError: the index file cannot be written.
  """
  folder = voc_folder.VocFolder(data_dir, index_file)
  listed = folder.list_split(split)
  source = VocSource(
    folder,
    split,
    num_images=listed.num_images,
    faults=listed.faults,
    hashes={listed.file: listed.sha256},
  )
  if label_map_file is None:
    return source
  return source.with_classes(label_map.read_label_map(label_map_file), f"of {label_map_file}")


@dataclasses.dataclass(frozen=True)
class VocSource:
  """See `split_source.SplitSource`; made by `open_split`."""

  folder: voc_folder.VocFolder
  split: str
  num_images: int
  faults: tuple[faults.Fault, ...]
  hashes: Mapping[str, str]
  classes: tuple[str, ...] | None = None
  origin: str = ""
  remarks: tuple[split_source.Remark, ...] = ()

  @property
  def location(self) -> str:
    return str(self.folder.root)

  @property
  def index_files(self) -> tuple[str, ...]:
    return (os.path.basename(self.folder.index_file),) if self.folder.index_file else ()

  def __len__(self) -> int:
    return self.num_images

  def name(self, position: int) -> str:
    return self.folder.stem(position)

  def class_names(self, position: int) -> list[str]:
    objects = read_image(self.folder, self.name(position)).objects or ()
    return [voc_object.name for voc_object in objects]

  def with_classes(self, classes: Sequence[str], origin: str) -> Self:
    return dataclasses.replace(self, classes=tuple(classes), origin=origin)

  def read_image(self, position: int) -> annotated.AnnotatedImage:
    return read_image(self.folder, self.name(position))

  def read(self, file: str) -> bytes:
    return self.folder.read(file)

  def stated_boxes(self, position: int) -> dict[int, tuple[float, ...]]:
    try:
      file = self.folder.annotation_file(self.name(position))
      return voc_annotation.stated_boxes(self.folder.read(file), file)
    except faults.FaultError:
      return {}

  def signature(self, position: int) -> str:
    stem = self.name(position)
    images = self.folder.image_files(stem)
    if not images:  # The annotation may name one.
      image = read_image(self.folder, stem).image_file
      images = [image] if image else []
    files = [*self.folder.annotation_files(stem), *images]
    return split_source.files_signature({file: self.folder.path(file) for file in files}, stem)

  def manifest_entries(self) -> dict[str, Any]:
    return {}


def read_image(folder: voc_folder.VocFolder, stem: str) -> annotated.AnnotatedImage:
  """Reads the annotation of one image and finds the image."""
  annotation_file = annotation = image_file = None
  found, notes, hashes = [], [], {}
  try:
    annotation_file = folder.annotation_file(stem)
    content = folder.read(annotation_file)
    hashes[annotation_file] = hashlib.sha256(content).hexdigest()
    annotation = voc_annotation.parse_annotation(content, annotation_file)
    found.extend(annotation.faults)
    notes.extend(annotation.notes)
  except faults.FaultError as error:
    found.extend(error.faults)
  filename = annotation.filename if annotation else None
  try:
    image_file = folder.image_file(stem, filename)
    image_stem = pathlib.PurePath(image_file).stem
    own_name = pathlib.PurePath(stem).name
    if image_stem != own_name:
      notes.append("image_named_by_annotation")
    elif filename is not None and own_name not in (filename, pathlib.PurePath(filename).stem):
      others = folder.image_files(pathlib.PurePath(filename).stem)
      if any(pathlib.PurePath(other).name == filename for other in others):
        value = f"{faults.quote(filename)} is another picture, which exists"
        found.append(faults.Fault(annotation_file, "filename", value, f"the name of {image_file}"))
      notes.append("filename_differs")
  except faults.FaultError as error:
    found.extend(error.faults)
  return annotated.AnnotatedImage(
    source_id=stem,
    annotation_file=annotation_file,
    size=annotation.size if annotation else None,
    objects=annotation.objects if annotation else None,
    image_file=image_file,
    faults=tuple(found),
    notes=tuple(notes),
    hashes=hashes,
  )
