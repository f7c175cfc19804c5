"""Detections of one image for programs: a dict that can be drawn and read."""

from collections.abc import Sequence
from typing import Any

from PIL import Image

from mtl_ssl_tf.serving import image_inputs

_MAX_LINES = 20


class Detections(dict[str, Any]):
  """The n detections of an image, best first, by name.

  Its entries are `boxes_px`, float32 [n, 4], ymin, xmin, ymax, xmax in pixels of the image;
  `scores`, float32 [n]; `class_ids`, int32 [n], from 1; and `class_names`, a list of n names.
  """

  def __init__(
    self,
    entries: dict[str, Any],
    image: image_inputs.ImageInput,
    all_names: Sequence[str],
  ):
    """Takes the entries.

    Args:
      entries: as above.
      image: that the objects are in.
      all_names: of all classes, class 1 first.
    """
    super().__init__(entries)
    self._image, self._all_names = image, all_names

  def draw(self, *, score_threshold: float = 0.0) -> Image.Image:
    """The image with the boxes, names and scores of its detections.

    Args:
      score_threshold: detections below it are left out.

    Raises:
      ValueError: the image was given as a file, which can no longer be read.
    """
    # Here, as detection does without Matplotlib, whose font is used.
    from mtl_ssl_tf.visualization import draw

    return Image.fromarray(
      draw.draw_boxes(
        self._image.pixels(),
        self["boxes_px"],
        self["class_ids"],
        self._all_names,
        self["scores"],
        score_threshold,
      )
    )

  def __repr__(self) -> str:
    count = len(self["scores"])
    file = f" in {self._image.path}" if self._image.path else ""
    lines = [f"{count} detection{'' if count == 1 else 's'}{file}"]
    width = max(map(len, self["class_names"][:_MAX_LINES]), default=0)
    for name, score, box in zip(self["class_names"], self["scores"], self["boxes_px"], strict=True):
      if len(lines) > _MAX_LINES:
        lines.append(f"  and {count - _MAX_LINES} more")
        break
      ymin, xmin, ymax, xmax = (f"{side:.0f}" for side in box)
      place = f"ymin {ymin}, xmin {xmin}, ymax {ymax}, xmax {xmax}"
      lines.append(f"  {name:{width}}  {score:.2f}  {place}")
    return "\n".join(lines)
