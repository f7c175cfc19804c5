"""Pictures of what the detector is taught and what it answers, from numpy to numpy.

Images are uint8 [H, W, 3] RGB. Boxes are pixels of the image given. Where an image is a
padded input, `image_size_px` (height, width) cuts it to its content, which lies top left. Rows with
class 0 or less are no objects and are skipped. Class id i is called `class_names[i - 1]`.

Letters: N ground-truth boxes, D detections, P mined boxes, S windows, C classes with background.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from mtl_ssl_tf.visualization import canvas as canvas_lib
from mtl_ssl_tf.visualization import closeness_links as links_lib
from mtl_ssl_tf.visualization import sheets

FOREGROUND_COLOR = (0, 210, 120)
_FOREGROUND_STRENGTH = 0.5
WINDOW_COLORS = (
  (255, 255, 255),
  (255, 230, 0),
  (0, 230, 255),
  (255, 90, 255),
  (255, 140, 60),
  (130, 255, 130),
)
_TRACK_COLOR = (70, 70, 70)
# Beyond this many, the values of closeness would hide the lines they belong to.
MAX_CLOSENESS_TEXTS = 16


def draw_boxes(
  image: np.ndarray,
  boxes_px: np.ndarray,
  classes: np.ndarray,
  class_names: Sequence[str] | None = None,
  scores: np.ndarray | None = None,
  min_score: float = 0.0,
  image_size_px: Sequence[float] | None = None,
  ignored_boxes_px: np.ndarray | None = None,
) -> np.ndarray:
  """The image with boxes in the colours of their classes, each with its name and score.

  Args:
    image: uint8 [H, W, 3].
    boxes_px: float [N, 4]; parts outside the image are cut off.
    classes: int [N].
    class_names: names of the object classes; without them, boxes carry no name.
    scores: float [N]; better scores are drawn over worse ones.
    min_score: boxes below it are left out.
    image_size_px: [2] or None.
    ignored_boxes_px: float [M, 4], regions to be ignored: dashed and grey, below the boxes.

  Returns:
    uint8, the size of the image or its content.
  """
  canvas = canvas_lib.Canvas(_content(image, image_size_px))
  regions_px = () if ignored_boxes_px is None else ignored_boxes_px
  for box_px in regions_px:
    canvas.dashed_outline(box_px, canvas_lib.GREY)
  shown = classes > 0
  if scores is not None:
    shown &= scores >= min_score
  rows = np.flatnonzero(shown)
  if scores is not None:
    rows = rows[np.argsort(scores[rows], kind="stable")]
  for row in rows:
    canvas.outline(boxes_px[row], canvas_lib.class_color(classes[row]))
  # Labels come after all outlines, which would cross them, and the best takes the best place.
  for row in rows[::-1]:
    words = [] if class_names is None else [class_name(classes[row], class_names)]
    words += [] if scores is None else [f"{scores[row]:.2f}"]
    if words:
      canvas.label_box(boxes_px[row], " ".join(words), canvas_lib.class_color(classes[row]))
  for box_px in () if class_names is None else regions_px:
    canvas.label_box(box_px, "ignored", canvas_lib.GREY)
  return canvas.pixels()


class MinedView(NamedTuple):
  """A view of an image, and the boxes that were mined in it for lack of annotations.

  Attributes:
    caption: of the picture.
    image: uint8 [H, W, 3].
    boxes_px: float [P, 4].
    classes: int [P]; 0 is a doubtful one, whose place is ignored, and less is none.
    scores: float [P].
  """

  caption: str
  image: np.ndarray
  boxes_px: np.ndarray
  classes: np.ndarray
  scores: np.ndarray


def draw_mined(
  view: MinedView,
  gt_boxes_px: np.ndarray,
  gt_classes: np.ndarray,
  class_names: Sequence[str],
  image_size_px: Sequence[float] | None = None,
) -> np.ndarray:
  """A view with its mined boxes, dashed and with name and score; annotations are plain outlines.

  Both have the colours of their classes. Doubtful boxes are dashed and grey.

  Args:
    view: the image and its mined boxes.
    gt_boxes_px: float [N, 4], the annotations.
    gt_classes: int [N].
    class_names: names of the object classes.
    image_size_px: [2] or None.

  Returns:
    uint8, the size of the view or its content.
  """
  canvas = canvas_lib.Canvas(_content(view.image, image_size_px))
  for row in np.flatnonzero(gt_classes > 0):
    canvas.outline(gt_boxes_px[row], canvas_lib.class_color(gt_classes[row]))
  rows = np.flatnonzero(view.classes >= 0)
  rows = rows[np.argsort(view.scores[rows], kind="stable")]
  for row in rows:
    canvas.dashed_outline(view.boxes_px[row], canvas_lib.class_color(view.classes[row]))
  for row in rows[::-1]:
    if view.classes[row] > 0:
      words = f"{class_name(view.classes[row], class_names)} {view.scores[row]:.2f}"
      canvas.label_box(view.boxes_px[row], words, canvas_lib.class_color(view.classes[row]))
  return canvas.pixels()


def draw_windows_with_labels(
  image: np.ndarray,
  windows_px: np.ndarray,
  window_labels: np.ndarray,
  class_names: Sequence[str],
  window_weights: np.ndarray | None = None,
  max_windows: int = 4,
  top_classes: int = 3,
  image_size_px: Sequence[float] | None = None,
) -> np.ndarray:
  """The image with numbered windows, and on its right the soft label of each as bars.

  Args:
    image: uint8 [H, W, 3].
    windows_px: float [S, 4].
    window_labels: float [S, C], background first.
    class_names: names of the object classes.
    window_weights: float [S]; windows of weight 0 carry no label and are skipped.
    max_windows: the first so many windows are shown.
    top_classes: the first so many classes of each label are shown, the largest first.
    image_size_px: [2] or None.

  Returns:
    uint8, wider than the image by the legend; also higher where the legend needs it.
  """
  canvas = canvas_lib.Canvas(_content(image, image_size_px))
  labelled = (window_labels > 0.0).any(axis=1)  # [S]
  if window_weights is not None:
    labelled &= window_weights > 0.0
  shown = np.flatnonzero(labelled)[:max_windows]
  for order, window in enumerate(shown):
    canvas.outline(windows_px[window], WINDOW_COLORS[order % len(WINDOW_COLORS)], shadow=True)
  for order, window in enumerate(shown):
    color = WINDOW_COLORS[order % len(WINDOW_COLORS)]
    canvas.label_box(windows_px[window], f"{order + 1}", color)

  legend = _window_legend(window_labels[shown], class_names, top_classes, canvas)
  return sheets.in_a_row([canvas.pixels(), legend])


def _window_legend(
  labels: np.ndarray, class_names: Sequence[str], top_classes: int, canvas: canvas_lib.Canvas
) -> np.ndarray:
  """A block of text for each label: the window's number, then its largest classes with bars."""
  line = canvas.text_height
  margin = line // 2
  names = [class_name(class_id, class_names) for class_id in range(labels.shape[1])]
  name_width = min(max(canvas.text_width(name) for name in names), 8 * line)
  bar_left, bar_width = margin + name_width + margin, 4 * line
  value_width = canvas.text_width("0.00")
  height = max(len(labels), 1) * ((top_classes + 1) * line + margin)
  width = bar_left + bar_width + value_width
  legend = canvas_lib.Canvas(
    np.full((height, width, 3), sheets.SHEET_COLOR, np.uint8), canvas.font_px
  )
  if not len(labels):
    legend.text(0, margin, "no labelled window", canvas_lib.WHITE, width - margin)
  top = 0
  for order, label in enumerate(labels):
    color = WINDOW_COLORS[order % len(WINDOW_COLORS)]
    legend.text(top, margin, f"window {order + 1}", color, width - margin)
    largest = np.argsort(-label, kind="stable")[:top_classes]
    for class_id in largest[label[largest] > 0.0]:
      top += line
      legend.text(top, margin, names[class_id], canvas_lib.WHITE, name_width)
      bar_top, bar_bottom = top + 2, top + line - 2
      legend.fill(bar_top, bar_left, bar_bottom, bar_left + bar_width - 1, _TRACK_COLOR)
      filled = round(float(label[class_id]) * bar_width)
      if filled:
        color = canvas_lib.class_color(class_id)
        legend.fill(bar_top, bar_left, bar_bottom, bar_left + filled - 1, color)
      value = f"{label[class_id]:.2f}"
      legend.text(top, bar_left + bar_width, value, canvas_lib.WHITE, value_width)
    top += line + margin
  return legend.pixels()


def draw_closeness(
  image: np.ndarray,
  gt_boxes_px: np.ndarray,
  gt_classes: np.ndarray,
  closeness_labels: np.ndarray,
  image_size_px: Sequence[float] | None = None,
) -> np.ndarray:
  """The image with what each object's closeness label says about its neighbours.

  From an object's centre, half a line leads towards the nearest other object of each class in its
  label. It has the colour of that class and is the thicker the larger the label's value, which is
  written on it; of many values, only each object's largest. Where two objects point at each
  other, the halves make a whole line. A grey ring marks an object labelled as having no neighbour.

  Args:
    image: uint8 [H, W, 3].
    gt_boxes_px: float [N, 4].
    gt_classes: int [N].
    closeness_labels: float [N, C].
    image_size_px: [2] or None.

  Returns:
    uint8, the size of the image or its content.
  """
  canvas = canvas_lib.Canvas(_content(image, image_size_px))
  objects = np.flatnonzero(gt_classes > 0)
  centers = 0.5 * (gt_boxes_px[:, :2] + gt_boxes_px[:, 2:])  # [N, 2]
  for row in objects:
    canvas.outline(gt_boxes_px[row], canvas_lib.class_color(gt_classes[row]))

  links = links_lib.closeness_links(gt_boxes_px, gt_classes, closeness_labels)
  for link in links:
    width = canvas.line_width + round(5.0 * canvas.line_width * link.value)
    canvas.line(link.start, link.end, canvas_lib.class_color(link.class_id), width)
  for row in objects:
    radius = 2.0 * canvas.line_width + 1.0
    if closeness_labels[row, 0] > 0.0:
      canvas.dot(centers[row], 2.0 * radius, canvas_lib.GREY)
    canvas.dot(centers[row], radius, canvas_lib.class_color(gt_classes[row]))
  few = len(links) <= MAX_CLOSENESS_TEXTS
  for link in links[::-1]:
    if few or link.is_largest:
      point = 0.4 * link.start + 0.6 * link.end
      canvas.label_point(point, f"{link.value:.2f}", canvas_lib.class_color(link.class_id))
  return canvas.pixels()


def draw_foreground(
  image: np.ndarray, foreground_mask: np.ndarray, image_size_px: Sequence[float] | None = None
) -> np.ndarray:
  """The image in grey, tinted green where the map says foreground.

  Args:
    image: uint8 [H, W, 3].
    foreground_mask: [h, w] from 0 to 1, labels or probabilities, spread over the whole content.
    image_size_px: [2] or None.

  Returns:
    uint8, the size of the image or its content.
  """
  image = _content(image, image_size_px)
  height, width = image.shape[:2]
  rows = (np.arange(height) + 0.5) * foreground_mask.shape[0] / height
  columns = (np.arange(width) + 0.5) * foreground_mask.shape[1] / width
  mask = foreground_mask[rows.astype(int)[:, np.newaxis], columns.astype(int)]  # [H, W]
  opacity = _FOREGROUND_STRENGTH * np.clip(mask, 0.0, 1.0)[..., np.newaxis]  # [H, W, 1]
  grey = image.mean(axis=-1, keepdims=True)  # [H, W, 1]
  tinted = (1.0 - opacity) * grey + opacity * np.array(FOREGROUND_COLOR)  # [H, W, 3]
  return np.round(tinted).astype(np.uint8)


def training_panel(
  image: np.ndarray,
  gt_boxes_px: np.ndarray,
  gt_classes: np.ndarray,
  class_names: Sequence[str],
  *,
  windows_px: np.ndarray | None = None,
  window_labels: np.ndarray | None = None,
  window_weights: np.ndarray | None = None,
  closeness_labels: np.ndarray | None = None,
  foreground_mask: np.ndarray | None = None,
  detection_boxes_px: np.ndarray | None = None,
  detection_classes: np.ndarray | None = None,
  detection_scores: np.ndarray | None = None,
  min_score: float = 0.3,
  mined_views: Sequence[MinedView] = (),
  image_size_px: Sequence[float] | None = None,
  cell_px: int = 512,
) -> np.ndarray:
  """One picture of an example: ground truth, predictions, and the auxiliary labels.

  A part whose arguments are not given is left out, so a detector without auxiliary tasks has a
  smaller picture. Regions to be ignored are dashed and grey in the ground truth.

  Args:
    image: uint8 [H, W, 3].
    gt_boxes_px: float [N, 4].
    gt_classes: int [N], 0 for a region to be ignored.
    class_names: names of the object classes.
    windows_px: float [S, 4], with `window_labels`.
    window_labels: float [S, C].
    window_weights: float [S]; windows of weight 0 are skipped.
    closeness_labels: float [N, C].
    foreground_mask: [h, w] over the content of the image.
    detection_boxes_px: float [D, 4], with their classes and scores.
    detection_classes: int [D].
    detection_scores: float [D].
    min_score: detections below it are left out.
    mined_views: views of the image, of its size, with what was mined in each.
    image_size_px: [2] or None.
    cell_px: the longer side of each image in the picture; the image is scaled to it.

  Returns:
    uint8 [any height, any width, 3].
  """
  image, scale = _scale_to(_content(image, image_size_px), cell_px)
  gt_boxes_px = gt_boxes_px * scale
  regions_px = gt_boxes_px[gt_classes == 0]
  cells = {
    "ground truth": draw_boxes(
      image, gt_boxes_px, gt_classes, class_names, ignored_boxes_px=regions_px
    )
  }
  if detection_boxes_px is not None:
    cells[f"predictions, score at least {min_score:g}"] = draw_boxes(
      image,
      detection_boxes_px * scale,
      detection_classes,
      class_names,
      detection_scores,
      min_score,
    )
  for view in mined_views:
    view_image, _ = _scale_to(_content(view.image, image_size_px), cell_px)
    scaled = view._replace(image=view_image, boxes_px=view.boxes_px * scale)
    cells[view.caption] = draw_mined(scaled, gt_boxes_px, gt_classes, class_names)
  if foreground_mask is not None:
    cells["label: foreground"] = draw_foreground(image, foreground_mask)
  if closeness_labels is not None:
    cells["label: closeness, lines in the neighbour's colour"] = draw_closeness(
      image, gt_boxes_px, gt_classes, closeness_labels
    )
  if windows_px is not None:
    cells["label: multi-object, some windows"] = draw_windows_with_labels(
      image, windows_px * scale, window_labels, class_names, window_weights
    )
  return sheets.contact_sheet(list(cells.values()), list(cells), columns=3)


def class_name(class_id: int, class_names: Sequence[str]) -> str:
  """Name of a class; 0 is the background."""
  if class_id == 0:
    return "background"
  return class_names[class_id - 1] if class_id <= len(class_names) else f"class {class_id}"


def _content(image: np.ndarray, image_size_px: Sequence[float] | None) -> np.ndarray:
  """The image without its padding, at least one pixel."""
  canvas_lib.check_image(image)
  if image_size_px is None:
    return image
  height, width = (max(1, round(float(size))) for size in image_size_px)
  return image[:height, :width]


def _scale_to(image: np.ndarray, longer_side: int) -> tuple[np.ndarray, np.ndarray]:
  """The image with its longer side changed, and the factors [4] that take boxes along."""
  height, width = image.shape[:2]
  factor = longer_side / max(height, width)
  new_height, new_width = max(1, round(height * factor)), max(1, round(width * factor))
  resized = Image.fromarray(image).resize((new_width, new_height), Image.Resampling.BILINEAR)
  scale = np.array([new_height / height, new_width / width] * 2, np.float32)  # [4]
  return np.array(resized), scale
