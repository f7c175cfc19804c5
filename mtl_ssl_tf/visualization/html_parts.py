"""Small parts of HTML pages: bars, squares of colour, switches of layers, pictures; see `web_page`.

A page that has them needs `STYLE`.
"""

import io
from collections.abc import Mapping

import numpy as np
from PIL import Image

from mtl_ssl_tf import web_page
from mtl_ssl_tf.visualization import canvas as canvas_lib

STYLE = """
.cards { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fill, minmax(min(100%, 23rem),
  1fr)); }
.card { border: 1px solid var(--line); border-radius: 0.4rem; padding: 0.75rem; min-width: 0; }
.quiet { color: var(--faint); font-size: 0.9rem; }
.track { background: var(--line); display: inline-block; height: 0.7rem; width: 6rem; }
.track i { display: block; height: 100%; background: var(--accent); }
.signed { position: relative; width: 8rem; }
.signed i { position: absolute; } .signed .up { background: var(--good); left: 50%; }
.signed .down { background: var(--bad); right: 50%; }
.swatch { display: inline-block; width: 0.8rem; height: 0.8rem; border-radius: 0.2rem;
  border: 1px solid var(--line); }
.layers { position: sticky; top: 0; z-index: 2; background: var(--paper); display: flex;
  flex-wrap: wrap; gap: 0.1rem 1.1rem; border: 1px solid var(--line); border-radius: 0.4rem;
  margin: 0 0 1rem; padding: 0.2rem 0.75rem 0.4rem; min-width: 0; }
.layers label { white-space: nowrap; }
"""


def class_color(class_id: int) -> canvas_lib.Color:
  """The colour that a class has in all pictures; 0 is background and grey."""
  return canvas_lib.class_color(class_id)


def css_color(color: canvas_lib.Color) -> str:
  """The colour as CSS has it."""
  red, green, blue = color
  return f"#{red:02x}{green:02x}{blue:02x}"


def swatch(color: canvas_lib.Color) -> str:
  """A small square of a colour."""
  return f'<span class="swatch" style="background:{css_color(color)}"></span>'


def bar(share: float, color: canvas_lib.Color | None = None) -> str:
  """A bar as long as a share, cut to 0 … 1, of its track; without a colour it has the page's."""
  percent = 100.0 * min(max(share, 0.0), 1.0)
  background = "" if color is None else f";background:{css_color(color)}"
  return f'<span class="track"><i style="width:{percent:.1f}%{background}"></i></span>'


def signed_bar(value: float, largest: float) -> str:
  """A bar from the middle to the right, or to the left where the value is negative.

  Args:
    value: of the bar.
    largest: the amount that half of the track is long.
  """
  percent = 50.0 * min(abs(value) / largest, 1.0) if largest > 0.0 else 0.0
  side = "up" if value >= 0.0 else "down"
  return f'<span class="track signed"><i class="{side}" style="width:{percent:.1f}%"></i></span>'


def layer_switches(layers: Mapping[str, tuple[str, bool]]) -> tuple[str, str]:
  """Checkboxes that show and hide whatever has the class `layer-NAME`: HTML and CSS.

  Args:
    layers: name, of letters alone, to its label and whether it is shown at first.
  """
  boxes, style = [], []
  for name, (label, shown) in layers.items():
    checked = " checked" if shown else ""
    boxes.append(
      f'<label><input type="checkbox" id="show-{name}"{checked}> {web_page.escape(label)}</label>'
    )
    style.append(f"body:has(#show-{name}:not(:checked)) .layer-{name} {{ display: none; }}\n")
  html = f'<fieldset class="layers"><legend>Show</legend>{"".join(boxes)}</fieldset>'
  return html, "".join(style)


def jpeg(image: np.ndarray, longest_side: int | None = None, quality: int = 85) -> bytes:
  """An image uint8 [H, W, 3] as JPEG, reduced where its longer side is longer than asked for."""
  picture = Image.fromarray(canvas_lib.check_image(image))
  if longest_side is not None:
    picture.thumbnail((longest_side, longest_side), Image.Resampling.BILINEAR)
  content = io.BytesIO()
  picture.save(content, "JPEG", quality=quality)
  return content.getvalue()
