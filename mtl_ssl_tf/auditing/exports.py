"""Files that labelling tools import as annotations to start from, with scores.

  CVAT            "CVAT for images 1.1": boxes as given (`source="manual"`) and proposed ones
                  (`source="auto"`), these with the attributes `score` and `audit`. CVAT keeps
                  attributes that its labels have.
  Label Studio    tasks with given boxes in `annotations` and proposed ones in `predictions`, each
                  with its `score`; sides are per cent of the image

References: docs.cvat.ai, "XML annotation format"; labelstud.io, "Import pre-annotated data".
"""

import json
import urllib.parse
from collections.abc import Mapping, Sequence
from typing import Any
from xml.etree import ElementTree  # For writing; nothing is parsed here.

from mtl_ssl_tf.auditing import candidates, listing
from mtl_ssl_tf.data.ground_truth import objects as ground_truth
from mtl_ssl_tf.prediction import voc_xml

LOCAL_FILES = "/data/local-files/?d="
_MODEL = "mtl_ssl_tf audit"


def cvat(truth: ground_truth.GroundTruth, listed: Sequence[listing.Row]) -> tuple[bytes, list[str]]:
  """Returns the file for CVAT.

  Args:
    truth: the annotations.
    listed: rows of the audit.

  Returns:
    Its content, and the names of the images that are left out, as XML cannot hold their names.
  """
  root = ElementTree.Element("annotations")
  ElementTree.SubElement(root, "version").text = "1.1"
  task = ElementTree.SubElement(ElementTree.SubElement(root, "meta"), "task")
  labels = ElementTree.SubElement(task, "labels")
  for name in truth.class_names:
    label = ElementTree.SubElement(labels, "label")
    ElementTree.SubElement(label, "name").text = name
    attributes = ElementTree.SubElement(label, "attributes")
    for attribute in ("score", "audit"):
      element = ElementTree.SubElement(attributes, "attribute")
      for tag, text in (("name", attribute), ("mutable", "False"), ("input_type", "text")):
        ElementTree.SubElement(element, tag).text = text
  by_image, left_out = _by_image(listed), []
  for number, image in enumerate(truth.images):
    name = image.file_name or image.image_id
    if voc_xml.name_problem(name):
      left_out.append(name)
      continue
    height, width = image.size
    element = ElementTree.SubElement(
      root, "image", id=str(number), name=name, width=str(width), height=str(height)
    )
    rows = by_image.get(image.image_id, [])
    doubted = {row["given_object"]: row for row in rows if row["kind"] != candidates.MISSING}
    for place, (box, class_id) in enumerate(
      zip(image.boxes.xywh.tolist(), image.classes, strict=True)
    ):
      about = _about(doubted[place]) if place in doubted else {}
      _cvat_box(element, truth.class_names[class_id - 1], box, "manual", about)
    for row in rows:
      if row["kind"] == candidates.MISSING:
        _cvat_box(element, row["class"], row["bbox"], "auto", _about(row))
  ElementTree.indent(root)
  return ElementTree.tostring(root, encoding="utf-8", xml_declaration=True), left_out


def _about(row: listing.Row) -> dict[str, str]:
  text = row["kind"].replace("_", " ")
  if row["kind"] == candidates.WRONG_CLASS:
    text += f": {row['class']}"
  return {"score": f"{row['probability']:.4f}", "audit": text}


def _cvat_box(
  parent: ElementTree.Element,
  label: str,
  box: Sequence[float],
  source: str,
  attributes: Mapping[str, str],
) -> None:
  left, top, width, height = box
  sides = {"xtl": left, "ytl": top, "xbr": left + width, "ybr": top + height}
  element = ElementTree.SubElement(
    parent,
    "box",
    label=label,
    source=source,
    occluded="0",
    **{name: f"{value:.2f}" for name, value in sides.items()},
    z_order="0",
  )
  for name, text in attributes.items():
    ElementTree.SubElement(element, "attribute", name=name).text = text


def label_studio(
  truth: ground_truth.GroundTruth, listed: Sequence[listing.Row], url: str = LOCAL_FILES
) -> bytes:
  """Returns the file for Label Studio: a task for each image with a proposed box or a doubted one.

  Args:
    truth: the annotations.
    listed: rows of the audit.
    url: what is put before the name of each image.
  """
  by_image, tasks = _by_image(listed), []
  for image in truth.images:
    rows = by_image.get(image.image_id, [])
    if not rows:
      continue
    name = image.file_name or image.image_id
    given = [
      _rectangle(image, f"given-{place}", truth.class_names[class_id - 1], box)
      for place, (box, class_id) in enumerate(
        zip(image.boxes.xywh.tolist(), image.classes, strict=True)
      )
    ]
    proposed = [
      _rectangle(image, row["id"], row["class"], row["bbox"]) | {"score": row["probability"]}
      for row in rows
      if row["bbox"] is not None
    ]
    tasks.append(
      {
        # Names of files need not be UTF-8; `quote` takes bytes.
        "data": {"image": url + urllib.parse.quote(name.encode(errors="surrogateescape"))},
        "annotations": [{"result": given}],
        "predictions": [
          {
            "model_version": _MODEL,
            "score": max(row["probability"] for row in rows),
            "result": proposed,
          }
        ],
      }
    )
  return json.dumps(tasks, indent=1).encode() + b"\n"


def _rectangle(
  image: ground_truth.ImageTruth, identifier: str, label: str, box: Sequence[float]
) -> dict[str, Any]:
  height, width = image.size
  left, top, box_width, box_height = box
  value = {
    "x": 100.0 * left / width,
    "y": 100.0 * top / height,
    "width": 100.0 * box_width / width,
    "height": 100.0 * box_height / height,
  }
  return {
    "id": identifier,
    "type": "rectanglelabels",
    "from_name": "label",
    "to_name": "image",
    "original_width": width,
    "original_height": height,
    "image_rotation": 0,
    "value": {name: round(side, 4) for name, side in value.items()}
    | {"rotation": 0, "rectanglelabels": [label]},
  }


def _by_image(listed: Sequence[listing.Row]) -> dict[str, list[listing.Row]]:
  found: dict[str, list[listing.Row]] = {}
  for row in listed:
    found.setdefault(row["image_id"], []).append(row)
  return found
