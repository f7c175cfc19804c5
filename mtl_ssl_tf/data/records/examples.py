"""One image with its annotation, of whatever format, to one record, with its faults named.

Nothing is kept between calls, so that images can be converted in any order and in several
processes.
"""

import dataclasses
import hashlib
import math
import pathlib
from collections.abc import Callable, Collection, Mapping, Sequence

from mtl_ssl_tf.data import faults
from mtl_ssl_tf.data.records import summaries
from mtl_ssl_tf.data.records import writer as record_writer
from mtl_ssl_tf.data.sources import annotated, image_files, split_source


def convert(
  source: split_source.SplitSource,
  position: int,
  rules: annotated.BoxRules = annotated.DEFAULT_RULES,
) -> summaries.Converted:
  """Checks one image of a split and its boxes and makes the record; needs the source's classes."""
  class_ids = {name: number for number, name in enumerate(source.classes, start=1)}
  return convert_example(
    source.read,
    source.read_image(position),
    class_ids,
    source.origin,
    rules,
    lambda: source.stated_boxes(position),
  )


def convert_example(
  read: Callable[[str], bytes],
  source: annotated.AnnotatedImage,
  class_ids: Mapping[str, int],
  origin: str,
  rules: annotated.BoxRules = annotated.DEFAULT_RULES,
  stated_boxes: Callable[[], Mapping[int, tuple[float, ...]]] = dict,
) -> summaries.Converted:
  """Checks one image and its boxes and makes the record.

  Args:
    read: the content of a file of the data set; raises `faults.FaultError` where there is none.
    source: the image and its objects.
    class_ids: class name to its line in the label map, counted from 1.
    origin: where the classes come from, for messages.
    rules: for boxes that are not as they should be.
    stated_boxes: see `split_source.SplitSource.stated_boxes`; called where an object is at fault.
  """
  found, notes, hashes = list(source.faults), list(source.notes), dict(source.hashes)
  annotated_classes = source.annotated_classes
  if annotated_classes is None:
    annotated_classes = rules.annotated_classes
  # Unknown classes are reported before the image is read, so that no fault hides behind another.
  objects = _known_objects(source, class_ids, origin, annotated_classes, found)
  example = None
  try:
    if source.image_file is not None:
      content = read(source.image_file)
      hashes[source.image_file] = hashlib.sha256(content).hexdigest()
      image = image_files.prepare_image(content, source.image_file)
      if source.objects is not None:
        placement = _placement(source, image, notes)
        objects, boxes = _place_objects(source, objects, placement, rules, found, notes)
        regions = _regions(placement, found, rules, stated_boxes, notes)
        example = record_writer.make_example(
          encoded=image.encoded,
          image_format=image.format,
          height=image.height,
          width=image.width,
          filename=pathlib.PurePath(source.image_file).name,
          source_id=source.source_id,
          boxes_orig=boxes,
          class_ids=[class_ids[item.name] for item in objects],
          class_names=[item.name for item in objects],
          difficult=[item.difficult for item in objects],
          truncated=[item.truncated for item in objects],
          is_crowd=[item.is_crowd for item in objects],
          areas=[item.area for item in objects],
          object_ids=[
            item.number - 1 if item.object_id is None else item.object_id for item in objects
          ],
          ignored_boxes_orig=regions,
          annotated_classes=annotated_classes
          and {class_ids[name]: name for name in annotated_classes},
        )
  except faults.FaultError as error:
    found.extend(error.faults)
  if "faulty_without_place" in notes or any(fault.object_number is None for fault in found):
    example = None
  return summaries.Converted(example, tuple(found), tuple(notes), hashes)


def _known_objects(
  source: annotated.AnnotatedImage,
  class_ids: Mapping[str, int],
  origin: str,
  annotated_classes: Collection[str] | None,
  found: list[faults.Fault],
) -> list[annotated.AnnotatedObject]:
  """The annotation's objects of known and annotated classes; the others become faults."""
  known = []
  for item in source.objects or ():
    if item.name not in class_ids:
      value = f"{faults.quote(item.name)} is no known class"
      accepted = f"the classes {origin}: {faults.listing(list(class_ids))}"
    elif annotated_classes is not None and item.name not in annotated_classes:
      value = f"{faults.quote(item.name)} is no annotated class of the image"
      accepted = f"its annotated classes: {faults.listing(list(annotated_classes))}"
    else:
      known.append(item)
      continue
    found.append(item.fault(source.annotation_file, item.name_field, value, accepted))
  return known


@dataclasses.dataclass(frozen=True, slots=True)
class _Placement:
  """Leads from the boxes of an annotation to those of the upright image.

  Attributes:
    size: height and width of the raster that the boxes refer to.
    orientation: EXIF orientation by which boxes have to be turned; 1 turns nothing.
  """

  size: tuple[int, int]
  orientation: int

  def upright(self, box: tuple[float, ...]) -> tuple[float, ...]:
    """Returns a box of the annotation in pixels of the upright image."""
    if self.orientation == 1:
      return box
    return image_files.upright_box(box, self.orientation, *self.size)


def _placement(
  source: annotated.AnnotatedImage, image: image_files.StoredImage, notes: list[str]
) -> _Placement:
  """Finds the raster that an annotation's boxes refer to.

  Where EXIF turns an image by a quarter, the size in the annotation shows which raster its boxes
  refer to. A square image, a half turn and a mirror image have one size either way, and some
  annotations give none: those boxes are taken to be of the image as viewers display it.

  Raises:
    faults.FaultError: the size in the annotation is not that of the image.
  """
  upright_size = image.height, image.width
  stored_size = upright_size if image.orientation < 5 else upright_size[::-1]
  size = source.size or upright_size
  if size not in (upright_size, stored_size):
    value = f"{size[1]} x {size[0]} (width x height)"
    accepted = f"{image.width} x {image.height}, the size of {source.image_file}"
    fault = faults.Fault(source.annotation_file, source.size_field, value, accepted)
    raise faults.FaultError([fault])
  is_turned = size != upright_size
  if source.size is None and not {"size_unreadable", "annotation_missing"} & set(notes):
    notes.append("size_missing")
  if image.reencoded:
    notes.append("image_reencoded")
  if image.repair:
    notes.append(image.repair)
  if image.orientation != 1:
    notes.append("boxes_turned_upright" if is_turned else "boxes_taken_as_upright")
  return _Placement(size, image.orientation if is_turned else 1)


def _place_objects(
  source: annotated.AnnotatedImage,
  objects: Sequence[annotated.AnnotatedObject],
  placement: _Placement,
  rules: annotated.BoxRules,
  found: list[faults.Fault],
  notes: list[str],
) -> tuple[list[annotated.AnnotatedObject], list[tuple[float, ...]]]:
  """The objects that lie in the image, and their boxes in pixels of the upright image."""
  placed, boxes, clipped = [], [], False
  for item in objects:
    try:
      box = annotated.clip_box(item, *placement.size, source.annotation_file, rules)
    except faults.FaultError as error:
      found.extend(error.faults)
      continue
    clipped = clipped or box != item.box
    placed.append(item)
    boxes.append(placement.upright(box))
  if clipped:
    notes.append("boxes_clipped")
  return placed, boxes


def _regions(
  placement: _Placement,
  found: Sequence[faults.Fault],
  rules: annotated.BoxRules,
  stated_boxes: Callable[[], Mapping[int, tuple[float, ...]]],
  notes: list[str],
) -> list[tuple[float, ...]]:
  """The places of faulty objects in pixels of the upright image, so that they are no background.

  A box inside the image that encloses nothing, such as a stray click, marks no region. Where the
  place of an object is not known or not wanted, a note says that the image has to go.
  """
  numbers = {fault.object_number for fault in found if fault.object_number is not None}
  if not numbers:
    return []
  stated, regions = stated_boxes(), []
  height, width = placement.size
  for number in sorted(numbers):
    box = stated.get(number)
    ymin, xmin, ymax, xmax = annotated.ordered_box(box) if box else (math.nan,) * 4
    is_inside = ymin >= 0 and xmin >= 0 and ymax <= height and xmax <= width
    if is_inside and (ymin == ymax or xmin == xmax):
      continue
    region = None
    if box and not annotated.are_fractions((ymin, xmin, ymax, xmax), height, width):
      region = annotated.cut_to_image((ymin, xmin, ymax, xmax), height, width)
    if region is None or not rules.ignore_faulty:
      notes.append("faulty_without_place")
      return []
    regions.append(placement.upright(region))
  if regions:
    notes.append("regions_ignored")
  return regions
