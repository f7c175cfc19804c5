"""A page of training images as the network is fed them, with their labels in layers over them.

Letters: N ground-truth rows, S windows, C classes with background, P mined boxes.
"""

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np

from mtl_ssl_tf import web_page
from mtl_ssl_tf.visualization import canvas as canvas_lib
from mtl_ssl_tf.visualization import closeness_links, draw, html_figure, html_parts

_MAX_WINDOWS = 6
_TOP_CLASSES = 4
# Name, label, whether it is shown at first. All together would hide each other.
_LAYERS = {
  "boxes": ("boxes", True),
  "names": ("class names", True),
  "ignored": ("ignored regions", True),
  "crowds": ("crowds", True),
  "mined": ("mined boxes", True),
  "windows": ("windows and their labels", False),
  "closeness": ("closeness", False),
  "foreground": ("foreground mask", False),
}
_IGNORED_DASHES, _CROWD_DASHES, _MINED_DASHES = (7, 5), (1, 6), (5, 4)
_CROWD_COLOR: canvas_lib.Color = (255, 90, 255)
_STYLE = """
.card h3 { margin: 0 0 0.5rem; } .card h4 { margin: 1rem 0 0.5rem; }
.windows { display: flex; flex-wrap: wrap; gap: 0.5rem 1.5rem; align-items: start; }
.windows td { border: 0; padding: 0 0.5rem 0 0; }
.legend { padding: 0; list-style: none; display: flex; flex-wrap: wrap; gap: 0.2rem 1.2rem; }
"""


@dataclasses.dataclass(frozen=True)
class FedImage:
  """An image as the network is fed it, and what it is taught about it.

  A task that the detector does not learn has None.

  Attributes:
    name: of the image.
    place: where in the training it comes, text.
    image: uint8 [H, W, 3], without the padding of the network input.
    input_size: height and width of that input.
    boxes_px: float [N, 4].
    classes: int [N]; 0 is a region to be ignored, less is padding.
    is_crowd: bool [N].
    flipped: whether it was mirrored left to right.
    annotated_classes: int [m], the classes that it is annotated for, of a composed image in all of
      its parts; None is all of them.
    windows_px: float [S, 4], the windows that carry a label.
    window_labels: float [S, C].
    closeness_labels: float [N, C].
    foreground_mask: float [h, w] over the image.
    views: what else is fed of this image, and what was mined in each view; the first one is the
      image itself. Empty without Co-mining.
  """

  name: str
  place: str
  image: np.ndarray
  input_size: Sequence[int]
  boxes_px: np.ndarray
  classes: np.ndarray
  is_crowd: np.ndarray
  flipped: bool
  windows_px: np.ndarray | None = None
  window_labels: np.ndarray | None = None
  closeness_labels: np.ndarray | None = None
  foreground_mask: np.ndarray | None = None
  views: Sequence[draw.MinedView] = ()
  annotated_classes: np.ndarray | None = None


def page(
  title: str, about: Sequence[str], class_names: Sequence[str], images: Iterable[FedImage]
) -> bytes:
  """The page, an HTML file.

  Args:
    title: text.
    about: sentences on top.
    class_names: class 1 first.
    images: in the order that they are shown in.
  """
  images = list(images)
  switches, switches_style = html_parts.layer_switches(
    {name: _LAYERS[name] for name in _LAYERS if name in _layers_of(images)}
  )
  legend = [
    f"<li>{html_parts.swatch(html_parts.class_color(i))} {web_page.escape(name)}</li>"
    for i, name in enumerate(class_names, start=1)
  ]
  parts = [
    f"<h1>{web_page.escape(title)}</h1>",
    *(f"<p>{web_page.escape(sentence)}</p>" for sentence in about),
    f'<ul class="legend">{"".join(legend)}</ul>',
    switches,
    f'<div class="cards">{"".join(_card(image, class_names) for image in images)}</div>',
    *_explanations(images),
  ]
  style = html_parts.STYLE + html_figure.STYLE + _STYLE + switches_style
  return web_page.page(title, parts, style)


def _layers_of(images: Sequence[FedImage]) -> set[str]:
  """Names of the layers that some image has something in."""
  found = {"boxes", "names"}
  for image in images:
    is_region = image.classes == 0
    found |= {"ignored"} if (is_region & ~image.is_crowd).any() else set()
    found |= {"crowds"} if (image.is_crowd & (image.classes >= 0)).any() else set()
    found |= {"windows"} if image.windows_px is not None else set()
    found |= {"closeness"} if image.closeness_labels is not None else set()
    found |= {"foreground"} if image.foreground_mask is not None else set()
    found |= {"mined"} if any((view.classes >= 0).any() for view in image.views) else set()
  return found


def _card(image: FedImage, class_names: Sequence[str]) -> str:
  height, width = image.image.shape[:2]
  flipped = ", mirrored" if image.flipped else ""
  size = f"{height} × {width} pixels in an input of {image.input_size[0]} × {image.input_size[1]}"
  figure = html_figure.Figure(
    html_parts.jpeg(image.image), (height, width), f"Training image {image.name}"
  )
  if image.foreground_mask is not None:
    figure.mask("foreground", image.foreground_mask, draw.FOREGROUND_COLOR)
  _add_ground_truth(figure, image, class_names)
  if image.closeness_labels is not None:
    _add_closeness(figure, image)
  windows = ""
  if image.windows_px is not None:
    windows = _add_windows(figure, image, class_names)
  views = ""
  if image.views:
    _add_mined(figure, image.views[0], class_names)
    views = "".join(_view(view, image, class_names) for view in image.views[1:])
  return (
    f'<section class="card"><h3>{web_page.escape(image.name)}</h3>{figure.html()}'
    f'<p class="quiet">{web_page.escape(image.place)}; {size}{flipped}</p>'
    f"{_annotated_for(image, class_names)}{windows}{views}"
    "</section>"
  )


def _annotated_for(image: FedImage, class_names: Sequence[str]) -> str:
  """A line with the classes that an image is annotated for, HTML; empty where it is for all."""
  if image.annotated_classes is None:
    return ""
  names = [draw.class_name(class_id, class_names) for class_id in image.annotated_classes]
  return f'<p class="quiet">annotated for {web_page.escape(", ".join(names) or "no class")}</p>'


def _add_ground_truth(
  figure: html_figure.Figure, image: FedImage, class_names: Sequence[str]
) -> None:
  objects, regions, crowds = [], [], []
  for box_px, class_id, is_crowd in zip(image.boxes_px, image.classes, image.is_crowd, strict=True):
    if class_id < 0:
      continue
    name = draw.class_name(class_id, class_names)
    color = html_parts.class_color(class_id)
    if is_crowd:
      label = "crowd, ignored" if class_id == 0 else f"crowd, taught as {name}"
      crowds.append(html_figure.Box(box_px, _CROWD_COLOR, label, _CROWD_DASHES, class_id == 0))
    elif class_id == 0:
      regions.append(html_figure.Box(box_px, color, "ignored", _IGNORED_DASHES, True))
    else:
      objects.append(html_figure.Box(box_px, color, name))
  # Objects last, so that they lie on top.
  figure.boxes("ignored", regions)
  figure.boxes("crowds", crowds)
  figure.boxes("boxes", objects, "names")


def _add_mined(
  figure: html_figure.Figure, view: draw.MinedView, class_names: Sequence[str]
) -> None:
  boxes = []
  # The best last, so that it lies on top.
  for row in np.argsort(view.scores, kind="stable"):
    class_id = view.classes[row]
    if class_id >= 0:
      name = draw.class_name(class_id, class_names) if class_id else "doubtful, ignored"
      label = f"mined: {name} {view.scores[row]:.2f}"
      color = html_parts.class_color(class_id)
      boxes.append(html_figure.Box(view.boxes_px[row], color, label, _MINED_DASHES))
  figure.boxes("mined", boxes)


def _view(view: draw.MinedView, image: FedImage, class_names: Sequence[str]) -> str:
  """Another view of the image, with its annotations and what was mined in it."""
  figure = html_figure.Figure(
    html_parts.jpeg(view.image), view.image.shape[:2], f"{view.caption}: {image.name}"
  )
  _add_ground_truth(figure, image, class_names)
  _add_mined(figure, view, class_names)
  return f"<h4>{web_page.escape(view.caption)}</h4>{figure.html()}"


def _add_closeness(figure: html_figure.Figure, image: FedImage) -> None:
  links = closeness_links.closeness_links(image.boxes_px, image.classes, image.closeness_labels)
  few = len(links) <= draw.MAX_CLOSENESS_TEXTS
  for link in links:
    label = f"{link.value:.2f}" if few or link.is_largest else ""
    color = html_parts.class_color(link.class_id)
    figure.line("closeness", link.start, link.end, color, 1.5 + 6.0 * link.value, label)
  for row in np.flatnonzero(image.classes > 0):
    center = 0.5 * (image.boxes_px[row, :2] + image.boxes_px[row, 2:])
    if image.closeness_labels[row, 0] > 0.0:
      figure.dot("closeness", center, canvas_lib.GREY, 18.0)
    figure.dot("closeness", center, html_parts.class_color(image.classes[row]), 8.0)


def _add_windows(figure: html_figure.Figure, image: FedImage, class_names: Sequence[str]) -> str:
  """Draws the first windows into the figure; returns their labels as bars, HTML."""
  shown = range(min(len(image.windows_px), _MAX_WINDOWS))
  colors = [draw.WINDOW_COLORS[i % len(draw.WINDOW_COLORS)] for i in shown]
  figure.boxes(
    "windows",
    [html_figure.Box(image.windows_px[i], colors[i], f"window {i + 1}") for i in shown],
  )
  tables = []
  for i in shown:
    label = image.window_labels[i]
    largest = np.argsort(-label, kind="stable")[:_TOP_CLASSES]
    rows = "".join(
      f"<tr><td>{web_page.escape(draw.class_name(class_id, class_names))}</td>"
      f"<td>{html_parts.bar(label[class_id], html_parts.class_color(class_id))}</td>"
      f'<td class="number">{label[class_id]:.2f}</td></tr>'
      for class_id in largest
      if label[class_id] > 0.0
    )
    head = f'<tr><td colspan="3">{html_parts.swatch(colors[i])} window {i + 1}</td></tr>'
    tables.append(f"<table>{head}{rows}</table>")
  count = len(image.windows_px)
  said = f"the first {len(shown)} of {count} windows" if count > len(shown) else f"windows: {count}"
  return (
    f'<div class="layer-windows"><div class="windows">{"".join(tables)}</div>'
    f'<p class="quiet">{said}</p></div>'
  )


def _explanations(images: Sequence[FedImage]) -> list[str]:
  """A list of what each layer shows, under a heading."""
  layers = _layers_of(images)
  texts = {
    "ignored": "<b>Ignored regions</b> are grey and dashed: what lies there is neither object nor"
    " background in the loss.",
    "crowds": "<b>Crowds</b> are dotted: one box around many objects. Where they are ignored, they"
    " are tinted.",
    "mined": "<b>Mined boxes</b> are dashed, with their scores: detections without an annotation in"
    " one view, which the other view is taught as objects.",
    "windows": "<b>Windows</b> are drawn at random in each step. The bars are the label of the"
    " multi-object task: the share of each class in the window.",
    "closeness": "<b>Closeness</b>: from each object a line leads half of the way to the nearest"
    " other object of each class, in that class's colour, the thicker the larger its share of the"
    " label. A grey ring marks an object whose label is background: it has no neighbour.",
    "foreground": "<b>The foreground mask</b> is green in the cells whose label is foreground.",
  }
  items = [f"<li>{text}</li>" for layer, text in texts.items() if layer in layers]
  return ["<h2>What is shown</h2>", f"<ul>{''.join(items)}</ul>"] if items else []
