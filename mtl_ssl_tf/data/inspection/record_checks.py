"""One record to the facts about its image, with each fault named by field and object."""

import dataclasses
import hashlib
import io
import os
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import tensorflow as tf
from PIL import Image

from mtl_ssl_tf.data import faults, schema
from mtl_ssl_tf.data.inspection import checks
from mtl_ssl_tf.data.records import contents
from mtl_ssl_tf.data.sources import image_cost, image_files, jpeg_segments, whole_jpeg

_BORDER_TOLERANCE = 1e-6  # Rounding of float32.


@dataclasses.dataclass(frozen=True, slots=True)
class CheckedRecord:
  """Content and findings of one record.

  Attributes:
    facts: of the sound objects only; None if image or lists are unusable.
    findings: faults and warnings.
    source_id: the image's name, if the record states it.
    encoded: the image, if there is one, sound or not.
    boxes_orig: number of an object to its box in pixels of the image, faulty ones included.
  """

  facts: checks.ImageFacts | None
  findings: tuple[checks.Finding, ...]
  source_id: str | None
  encoded: bytes | None
  boxes_orig: Mapping[int, Sequence[float]]


def check_record(
  content: bytes, file: str, record: int, classes: Sequence[str] | None
) -> CheckedRecord:
  """Checks one record.

  Args:
    content: a serialized tf.Example.
    file: name of the record file, for messages.
    record: its number there.
    classes: class 1 first; None where no label map says what the labels mean.
  """
  return _Check(classes, file, record).run(content)


class _Check:
  """The check of one record."""

  def __init__(self, classes: Sequence[str] | None, file: str, record: int):
    self._classes, self._file, self._record = classes, file, record
    self._source_id = None
    self._findings = []
    self._values = {}

  def run(self, content: bytes) -> CheckedRecord:
    self._values, found = contents.read(content)
    if not self._values:
      self._tell(found)
      return CheckedRecord(None, tuple(self._findings), None, None, {})
    self._source_id = _text(self._values[schema.IMAGE_SOURCE_ID])
    self._tell(found)
    lists_sound = not any(problem.kind in ("wrong_type", "several_values") for problem in found)
    size = self._check_image()
    num_objects = self._check_lengths() if lists_sound else None
    facts, boxes_orig = None, {}
    if num_objects is not None:
      # Also without an image, so that no fault hides behind another.
      facts, boxes_orig = self._place_objects(num_objects, *(size or (1, 1)))
      self._check_annotated_classes()
      for box_norm in zip(*(self._values[key] for key in schema.IGNORED_BOX), strict=True):
        self._check_box(None, schema.IGNORED_BOX, box_norm)
    return CheckedRecord(
      facts if size else None,
      tuple(self._findings),
      self._source_id,
      next(iter(self._values[schema.IMAGE_ENCODED]), None),
      boxes_orig if size else {},
    )

  def _fault(self, kind: str, field: str, value: str, accepted: str, row: int | None = None):
    self._report(checks.FAULT, kind, field, value, accepted, row)

  def _warn(self, kind: str, field: str, value: str, accepted: str):
    self._report(checks.WARNING, kind, field, value, accepted, None)

  def _tell(self, found: Iterable[contents.Problem]):
    for problem in found:
      # Training takes the size from the image.
      is_harmless = problem.kind == "missing_field" and problem.field in contents.SIZE
      level = checks.WARNING if is_harmless else checks.FAULT
      self._report(level, problem.kind, problem.field, problem.value, problem.accepted, problem.row)

  def _report(self, level, kind, field, value, accepted, row):
    self._findings.append(
      checks.Finding(
        kind,
        level,
        self._file,
        field,
        value,
        accepted,
        self._record,
        self._source_id,
        None if row is None else row + 1,
        None if row is None else self._quoted_name(row),
      )
    )

  def _check_image(self) -> tuple[int, int] | None:
    """Height and width of the decoded image; None where it is unusable."""
    encoded = b"".join(self._values[schema.IMAGE_ENCODED][:1])
    if not encoded:
      return None
    key = schema.IMAGE_ENCODED
    digests = self._values[schema.IMAGE_SHA256]
    if digests and digests[0] != hashlib.sha256(encoded).hexdigest().encode():
      value = "is not the SHA-256 of the image"
      self._fault("digest_differs", schema.IMAGE_SHA256, value, "the image that was written")
    problem = image_cost.problem(encoded)
    if problem is not None:
      self._fault("image", key, *problem)
      return None
    try:
      # Pillow reads the header alone, so that a bomb is found before anything decodes it.
      with Image.open(io.BytesIO(encoded), formats=("JPEG", "PNG", "GIF", "BMP")) as image:
        image_format = "JPEG" if image.format == "MPO" else image.format
        mode, size = image.mode, (image.height, image.width)
    except Image.DecompressionBombError:
      size = None
    except Exception as error:  # A reader of damaged bytes may raise nearly anything.
      value = f"damaged, or no image at all ({type(error).__name__})"
      self._fault("image", key, value, "a JPEG or PNG image")
      return None
    if size is None or size[0] * size[1] > image_files.MAX_PIXELS:
      limit = image_files.MAX_PIXELS
      self._fault("image", key, f"more than {limit} pixels", f"at most {limit} pixels")
      return None
    if image_format not in ("JPEG", "PNG"):
      self._fault("image", key, f"a {image_format} image", "a JPEG or PNG image")
      return None
    try:
      if image_format == "JPEG":
        whole_jpeg.check(encoded)
      else:  # As the reader of training does.
        tf.io.decode_image(encoded, channels=3, expand_animations=False)
    except (jpeg_segments.DamageError, tf.errors.OpError) as error:
      is_jpeg = isinstance(error, jpeg_segments.DamageError)
      reason = str(error) if is_jpeg else "TensorFlow cannot decode it"
      self._fault("image", key, f"damaged or truncated ({reason})", "a whole JPEG or PNG image")
      return None
    bits = encoded[image_files.PNG_BIT_DEPTH] if image_format == "PNG" else 8
    if mode != "RGB" or bits != 8:
      value = f"{image_format} with pixels of mode {mode}, {bits} bits a channel"
      self._warn("image_not_rgb", key, value, "RGB of 8 bits, as the converters store it")
    orientation = _orientation(encoded)
    if orientation not in (0, 1):
      value = f"EXIF orientation {orientation}, which training does not follow"
      self._warn("image_not_upright", key, value, "an upright image")
    formats = self._values[schema.IMAGE_FORMAT]
    if formats and formats[0].lower().replace(b"jpg", b"jpeg") != image_format.lower().encode():
      value = f"{faults.quote(os.fsdecode(formats[0]))}, but the image is {image_format}"
      self._warn("format_differs", schema.IMAGE_FORMAT, value, "the image's format")
    self._tell(contents.size_problems(self._values, size))
    return size

  def _check_lengths(self) -> int | None:
    """The number of objects; None where the lists disagree about it."""
    found = list(contents.length_problems(self._values))
    self._tell(found)
    return None if found else len(self._values[schema.OBJECT_LABEL])

  def _place_objects(
    self, num_objects: int, height: int, width: int
  ) -> tuple[checks.ImageFacts, dict[int, Sequence[float]]]:
    """The sound objects, the others being reported as faults; and the boxes of all by number."""
    boxes_norm = np.array([self._values[key] for key in contents.BOX], np.float64).T  # [N, 4]
    boxes_orig = boxes_norm * [height, width, height, width]
    num_classes = None if self._classes is None else len(self._classes)
    unknown = {
      problem.row: problem for problem in contents.label_problems(self._values, num_classes)
    }
    rows = []
    for row in range(num_objects):
      num_findings = len(self._findings)
      if row in unknown:
        self._tell([unknown[row]])
      else:
        self._check_text(row)
      self._check_box(row, contents.BOX, boxes_norm[row])
      for key in contents.FLAGS:
        if self._values[key] and self._values[key][row] not in (0, 1):
          self._fault("flag", key, str(self._values[key][row]), "0 or 1", row)
      for area in self._values[schema.OBJECT_AREA][row : row + 1]:
        if not 0.0 <= area < float("inf"):  # NaN is none of these.
          self._fault("area", schema.OBJECT_AREA, f"{area:g}", "a finite number from 0 on", row)
      if len(self._findings) == num_findings:
        rows.append(row)
    texts = self._values[schema.OBJECT_TEXT]
    difficult, crowd = (
      self._values[key] or [0] * num_objects
      for key in (schema.OBJECT_DIFFICULT, schema.OBJECT_IS_CROWD)
    )
    facts = checks.ImageFacts(
      file=self._file,
      source_id=self._source_id or "",
      height=height,
      width=width,
      boxes_orig=boxes_orig[rows],
      class_names=[
        self._classes[self._values[schema.OBJECT_LABEL][row] - 1]
        if self._classes
        else os.fsdecode(texts[row])
        if texts
        else f"class {self._values[schema.OBJECT_LABEL][row]}"
        for row in rows
      ],
      object_numbers=[row + 1 for row in rows],
      difficult=[bool(difficult[row]) for row in rows],
      is_crowd=[bool(crowd[row]) for row in rows],
      record=self._record,
      annotated_classes=self._annotated_names(num_classes),
    )
    return facts, {row + 1: box for row, box in enumerate(boxes_orig.tolist())}

  def _annotated_names(self, num_classes: int | None) -> list[str] | None:
    """Names of the sound annotated classes; None where the record does not say."""
    stated = self._values[schema.ANNOTATED_CLASSES]
    if not stated:
      return None
    at_fault = {
      int(problem.value) for problem in contents.annotated_class_problems(self._values, num_classes)
    }
    texts = self._values[schema.ANNOTATED_CLASSES_TEXT]
    return [
      self._classes[label - 1]
      if self._classes
      else os.fsdecode(texts[place])
      if texts
      else f"class {label}"
      for place, label in enumerate(stated)
      if label not in at_fault
    ]

  def _check_annotated_classes(self) -> None:
    """Reports annotated classes that are none, are called otherwise, or lack those of boxes."""
    num_classes = None if self._classes is None else len(self._classes)
    found = list(contents.annotated_class_problems(self._values, num_classes))
    self._tell(found)
    stated = self._values[schema.ANNOTATED_CLASSES]
    if not stated or found:
      return
    for label, text in zip(stated, self._values[schema.ANNOTATED_CLASSES_TEXT], strict=False):
      if self._classes and text != self._classes[label - 1].encode():
        value = f"{faults.quote(os.fsdecode(text))}, but the label is {label}"
        accepted = f"{faults.quote(self._classes[label - 1])}, line {label} of the label map"
        self._fault("text_contradicts_label", schema.ANNOTATED_CLASSES_TEXT, value, accepted)
    others = sorted(set(self._values[schema.OBJECT_LABEL]) - set(stated))
    if others:
      value = f"has boxes of class {', '.join(map(str, others))}, which is not among them"
      self._warn(
        "box_not_annotated", schema.ANNOTATED_CLASSES, value, "the classes of all its boxes"
      )

  def _check_text(self, row: int) -> None:
    """Reports a class name that is not the label's."""
    label, texts = self._values[schema.OBJECT_LABEL][row], self._values[schema.OBJECT_TEXT]
    if self._classes and texts and texts[row] != self._classes[label - 1].encode():
      value = f"{faults.quote(os.fsdecode(texts[row]))}, but the label is {label}"
      accepted = f"{faults.quote(self._classes[label - 1])}, line {label} of the label map"
      self._fault("text_contradicts_label", schema.OBJECT_TEXT, value, accepted, row)

  def _check_box(self, row: int | None, keys: Sequence[str], box_norm: Sequence[float]) -> None:
    """Reports each wrong coordinate, and where these are sound, an empty box; of an object by its
    row, of a region by None."""
    sound = True
    for key, value in zip(keys, box_norm, strict=True):
      if not -_BORDER_TOLERANCE <= value <= 1.0 + _BORDER_TOLERANCE:  # NaN is none of these.
        self._fault("box_outside", key, f"{value:g}", "0 … 1, a fraction of the image", row)
        sound = False
    for low, high in ((0, 2), (1, 3)):
      if sound and box_norm[high] <= box_norm[low]:
        accepted = f"more than {keys[low].rsplit('/', 1)[1]} {box_norm[low]:g}"
        self._fault("empty_box", keys[high], f"{box_norm[high]:g}", accepted, row)

  def _quoted_name(self, row: int) -> str | None:
    texts = self._values[schema.OBJECT_TEXT]
    return faults.quote(os.fsdecode(texts[row])) if texts else None


def _text(values: Sequence[bytes]) -> str | None:
  return os.fsdecode(values[0]) if values else None


def _orientation(encoded: bytes) -> int:
  """The EXIF orientation of a sound image; 1 is upright."""
  with Image.open(io.BytesIO(encoded), formats=("JPEG", "PNG")) as image:
    return image_files.stated_orientation(image, encoded)
