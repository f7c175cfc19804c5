"""Writes detections as PASCAL VOC annotations, to be corrected in a labelling tool.

Coordinates are whole pixels: many tools read no others. A box keeps at least a pixel a side. Each
object carries its `score`, which VOC has no element for.
"""

import re
from collections.abc import Sequence
from xml.etree import ElementTree  # For writing; nothing is parsed here.

from mtl_ssl_tf.data import faults
from mtl_ssl_tf.prediction import image_detections

# What XML 1.0 cannot hold, and line ends, which its readers change.
_UNWRITABLE = re.compile("[\x00-\x1f\x7f\ud800-\udfff\ufffe\uffff]")


def name_problem(file_name: str) -> str | None:
  """Returns why an image of this name can have no annotation, or None if it can."""
  if _UNWRITABLE.search(file_name):
    return f"its name {faults.quote(file_name)} cannot be written in XML"
  return None


def annotation(
  file_name: str,
  height: int,
  width: int,
  detections: image_detections.Detections,
  class_names: Sequence[str],
) -> bytes:
  """The content of an annotation file, which `data.voc_annotation` reads.

  Args:
    file_name: of the image, with `/` between its folders, one for which there is no `name_problem`.
    height, width: of the upright image, pixels.
    detections: the objects.
    class_names: class 1 first.
  """
  folder, _, name = file_name.rpartition("/")
  root = ElementTree.Element("annotation")
  _add(root, folder=folder, filename=name)
  _add(ElementTree.SubElement(root, "size"), width=width, height=height, depth=3)
  _add(root, segmented=0)
  rows = zip(detections.boxes_px, detections.scores, detections.class_ids, strict=True)
  for (ymin, xmin, ymax, xmax), score, class_id in rows:
    element = ElementTree.SubElement(root, "object")
    _add(element, name=class_names[class_id - 1], pose="Unspecified", truncated=0, difficult=0)
    top, bottom = _whole_pixels(float(ymin), float(ymax), height)
    left, right = _whole_pixels(float(xmin), float(xmax), width)
    box = ElementTree.SubElement(element, "bndbox")
    _add(box, xmin=left, ymin=top, xmax=right, ymax=bottom)
    _add(element, score=f"{score:.6f}")
  ElementTree.indent(root)
  return ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)


def _whole_pixels(low: float, high: float, side: int) -> tuple[int, int]:
  """Returns the nearest whole pixels inside the image, at least one apart."""
  start = min(max(round(low), 0), side - 1)
  return start, min(max(round(high), start + 1), side)


def _add(parent: ElementTree.Element, **texts: object) -> None:
  for tag, text in texts.items():
    ElementTree.SubElement(parent, tag).text = str(text)
