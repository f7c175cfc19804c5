"""One image of a PASCAL VOC data set, with its annotation, to one record, its faults named.

`read_source` and `convert_example` keep nothing between calls, so that images can be converted in
any order and in several processes.
"""

import dataclasses
import hashlib
import pathlib
from collections.abc import Mapping, Sequence

from mtl_ssl_tf.data import (
  faults,
  image_files,
  record_writer,
  sources,
  voc_annotation,
  voc_folder,
)


@dataclasses.dataclass(frozen=True, slots=True)
class Source:
  """One image of the split: its annotation has been read, its image found but not read.

  Attributes:
    stem: the name in the split file.
    annotation_file: path inside the data set; None if there is none.
    annotation: None if it is at fault as a whole.
    image_file: path inside the data set; None if there is none.
    faults: found so far.
    notes: keys of `sources.NOTES`.
    hashes: SHA-256 of the files read so far, by path.
  """

  stem: str
  annotation_file: str | None
  annotation: voc_annotation.Annotation | None
  image_file: str | None
  faults: tuple[faults.Fault, ...]
  notes: tuple[str, ...]
  hashes: Mapping[str, str]


def read_source(folder: voc_folder.VocFolder, stem: str) -> Source:
  """Reads the annotation of one image and finds the image."""
  annotation_file = annotation = image_file = None
  found, notes, hashes = [], [], {}
  try:
    annotation_file = folder.annotation_file(stem)
    content = folder.read(annotation_file)
    hashes[annotation_file] = hashlib.sha256(content).hexdigest()
    annotation = voc_annotation.parse_annotation(content, annotation_file)
    found.extend(annotation.faults)
  except faults.FaultError as error:
    found.extend(error.faults)
  filename = annotation.filename if annotation else None
  try:
    image_file = folder.image_file(stem, filename)
    image_stem = pathlib.PurePath(image_file).stem
    if image_stem != stem:
      notes.append("image_named_by_annotation")
    elif filename is not None and stem not in (filename, pathlib.PurePath(filename).stem):
      notes.append("filename_differs")
  except faults.FaultError as error:
    found.extend(error.faults)
  return Source(stem, annotation_file, annotation, image_file, tuple(found), tuple(notes), hashes)


def convert_example(
  folder: voc_folder.VocFolder, source: Source, class_ids: Mapping[str, int], origin: str
) -> sources.Converted:
  """Checks one image and its boxes and makes the record.

  Args:
    folder: of the source.
    source: from `read_source`.
    class_ids: class name to its line in the label map, counted from 1.
    origin: where the classes come from, for messages.
  """
  found, notes, hashes = list(source.faults), list(source.notes), dict(source.hashes)
  # Known or not is told before the image is looked at, so that no fault hides behind another.
  objects = _known_objects(source, class_ids, origin, found)
  example = None
  try:
    if source.image_file is not None:
      content = folder.read(source.image_file)
      hashes[source.image_file] = hashlib.sha256(content).hexdigest()
      image = image_files.prepare_image(content, source.image_file)
      if source.annotation is not None:
        objects, boxes = _place_objects(source, objects, image, found, notes)
        example = record_writer.make_example(
          encoded=image.encoded,
          image_format=image.format,
          height=image.height,
          width=image.width,
          filename=pathlib.PurePath(source.image_file).name,
          source_id=source.stem,
          boxes_orig=boxes,
          class_ids=[class_ids[voc_object.name] for voc_object in objects],
          class_names=[voc_object.name for voc_object in objects],
          difficult=[voc_object.difficult for voc_object in objects],
          truncated=[voc_object.truncated for voc_object in objects],
        )
  except faults.FaultError as error:
    found.extend(error.faults)
  if any(fault.object_number is None for fault in found):
    example = None
  return sources.Converted(example, tuple(found), tuple(notes), hashes)


def _known_objects(
  source: Source, class_ids: Mapping[str, int], origin: str, found: list[faults.Fault]
) -> list[voc_annotation.VocObject]:
  """The annotation's objects of known classes; the others become faults."""
  known = []
  for voc_object in source.annotation.objects if source.annotation else ():
    if voc_object.name in class_ids:
      known.append(voc_object)
    else:
      value = f"{faults.quote(voc_object.name)} is no known class"
      accepted = f"the classes {origin}: {faults.listing(list(class_ids))}"
      found.append(voc_object.fault(source.annotation_file, "name", value, accepted))
  return known


def _place_objects(
  source: Source,
  objects: Sequence[voc_annotation.VocObject],
  image: image_files.StoredImage,
  found: list[faults.Fault],
  notes: list[str],
) -> tuple[list[voc_annotation.VocObject], list[tuple[float, float, float, float]]]:
  """The objects that lie in the image, and their boxes in pixels of the upright image.

  Where EXIF turns an image by a quarter, the size in the annotation tells which raster its boxes
  refer to. A square image, a half turn and a mirror image have one size either way, and some
  annotations give none: those boxes are taken to be of the image as viewers display it.

  Raises:
    faults.FaultError: the size in the annotation is not that of the image.
  """
  file = source.annotation_file
  upright_size = image.height, image.width
  stored_size = upright_size if image.orientation < 5 else upright_size[::-1]
  size = source.annotation.size or upright_size
  if size not in (upright_size, stored_size):
    value = f"{size[1]} x {size[0]} (width x height)"
    accepted = f"{image.width} x {image.height}, the size of {source.image_file}"
    raise faults.FaultError([faults.Fault(file, "size", value, accepted)])
  turn = size != upright_size
  if source.annotation.size is None:
    notes.append("size_missing")
  if image.reencoded:
    notes.append("image_reencoded")
  if image.orientation != 1:
    notes.append("boxes_turned_upright" if turn else "boxes_taken_as_upright")

  placed, boxes, clipped = [], [], False
  for voc_object in objects:
    try:
      box = voc_annotation.clip_box(voc_object, *size, file)
    except faults.FaultError as error:
      found.extend(error.faults)
      continue
    clipped = clipped or box != voc_object.box
    placed.append(voc_object)
    boxes.append(image_files.upright_box(box, image.orientation, *size) if turn else box)
  if clipped:
    notes.append("boxes_clipped")
  return placed, boxes
