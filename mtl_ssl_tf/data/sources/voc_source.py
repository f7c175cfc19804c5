"""A split of a PASCAL VOC data set as a `split_source.SplitSource`."""

import contextlib
import dataclasses
import hashlib
import logging
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self

from mtl_ssl_tf.data import faults, label_map
from mtl_ssl_tf.data.sources import (
  annotated,
  split_source,
  voc_annotation,
  voc_folder,
  voc_listing,
  voc_split,
)

_LOGGER = logging.getLogger(__name__)
MISSING_ANNOTATION = ("fault", "background")
_ONE_ANNOTATION = (
  "one annotation for each image, or --missing_annotation=background where it has no object"
)
_OWN_ANNOTATION = "its own annotation, as one without an image of its name may be meant for it"


def open_split(
  data_dir: str | os.PathLike[str],
  split: str,
  *,
  shares: voc_split.Shares | None = None,
  missing_annotation: str = "fault",
  label_map_file: str | os.PathLike[str] | None = None,
  index_file: str | os.PathLike[str] | None = None,
) -> "VocSource":
  """The images of a split, listed but not read.

  Args:
    data_dir: the data set, in one of the layouts of module `voc_layout`.
    split: name of a split, see module `voc_listing`, or of a folder in `data_dir` that is one.
    shares: the splits that all images are drawn into, for a data set without lists.
    missing_annotation: "fault", or "background" where an image without one has no object.
    label_map_file: see module `label_map`; None leaves the classes to be collected.
    index_file: a file to be made, for the lists of names; None is a temporary one, with which the
      source cannot be pickled.

  Raises:
    ValueError: there is no such split, it lists no image, or the label map is faulty.
    OSError: the index file cannot be written.
  """
  if missing_annotation not in MISSING_ANNOTATION:
    accepted = " or ".join(MISSING_ANNOTATION)
    raise ValueError(f"--missing_annotation is {missing_annotation}; accepted: {accepted}")
  folder = voc_folder.VocFolder(data_dir, index_file, split=None if shares else split)
  if folder.layout.splits is None or missing_annotation == "background":
    folder.claim(_other_names(folder))
  listed = voc_listing.list_split(folder, split, shares)
  if folder.layout.splits is None:
    _LOGGER.info(f"{split}: {listed.num_images} images, {listed.origin}")
  source = VocSource(
    folder,
    split,
    num_images=listed.num_images,
    faults=listed.faults,
    hashes=listed.hashes,
    missing_annotation=missing_annotation,
    remarks=listed.remarks,
  )
  if label_map_file is None:
    return source
  return source.with_classes(label_map.read_label_map(label_map_file), f"of {label_map_file}")


def _other_names(folder: voc_folder.VocFolder) -> Iterator[str]:
  """Names that annotations without an image of their own name may mean an image by."""
  for stem, file in folder.unpaired_annotations():
    yield stem
    with contextlib.suppress(faults.FaultError):  # Told when the image is read.
      filename = voc_annotation.parse_annotation(folder.read(file), file).filename
      if filename is not None:
        yield os.path.splitext(filename)[0]


@dataclasses.dataclass(frozen=True)
class VocSource:
  """See `split_source.SplitSource`; made by `open_split`."""

  folder: voc_folder.VocFolder
  split: str
  num_images: int
  faults: tuple[faults.Fault, ...]
  hashes: Mapping[str, str]
  missing_annotation: str = "fault"
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
    stem = self.name(position)
    try:  # The image is not looked for, which would take a third of the time.
      file = _annotation_file(self.folder, stem, _ONE_ANNOTATION)
      objects = voc_annotation.parse_annotation(self.folder.read(file), file).objects
    except faults.FaultError:  # Told when the image is read; it may have no annotation.
      return []
    return [voc_object.name for voc_object in objects]

  def with_classes(self, classes: Sequence[str], origin: str) -> Self:
    return dataclasses.replace(self, classes=tuple(classes), origin=origin)

  def read_image(self, position: int) -> annotated.AnnotatedImage:
    return read_image(self.folder, self.name(position), self.missing_annotation)

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
      image = self.read_image(position).image_file
      images = [image] if image else []
    files = [*self.folder.annotation_files(stem), *images]
    paths = {file: self.folder.path(file) for file in files}
    return split_source.files_signature(paths, stem, self.missing_annotation)

  def manifest_entries(self) -> dict[str, Any]:
    return {}


def read_image(
  folder: voc_folder.VocFolder, stem: str, missing_annotation: str = "fault"
) -> annotated.AnnotatedImage:
  """Reads the annotation of one image and finds the image; for the arguments see `open_split`."""
  if missing_annotation == "background" and not folder.annotation_files(stem):
    return _background(folder, stem)
  annotation_file = annotation = image_file = None
  found, notes, hashes = [], [], {}
  try:
    annotation_file = _annotation_file(folder, stem, _ONE_ANNOTATION)
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
    own_path = pathlib.PurePath(stem)
    if folder.image_stem(image_file) != stem:
      notes.append("image_named_by_annotation")
    elif filename is not None and own_path.name not in (filename, pathlib.PurePath(filename).stem):
      others = folder.image_files(str(own_path.with_name(pathlib.PurePath(filename).stem)))
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


def _annotation_file(folder: voc_folder.VocFolder, stem: str, accepted: str) -> str:
  try:
    return folder.annotation_file(stem)
  except faults.FaultError as error:
    found = [dataclasses.replace(fault, accepted=accepted) for fault in error.faults]
    raise faults.FaultError(found) from error


def _background(folder: voc_folder.VocFolder, stem: str) -> annotated.AnnotatedImage:
  """An image without an annotation, which has no object unless another annotation means it."""
  image_file, found = None, []
  try:
    if folder.is_claimed(stem):
      _annotation_file(folder, stem, _OWN_ANNOTATION)  # Its fault is that there is none.
    image_file = folder.image_file(stem, None)
  except faults.FaultError as error:
    found.extend(error.faults)
  return annotated.AnnotatedImage(
    source_id=stem,
    annotation_file=None,
    size=None,
    objects=None if found else (),
    image_file=image_file,
    faults=tuple(found),
    notes=() if found else ("annotation_missing",),
    hashes={},
  )
