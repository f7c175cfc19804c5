"""Brushes of the embedded data set: a textured object, or a cluttered background.

Everything is numpy and Pillow, colours are float32 in 0 … 1. An object is drawn on a patch of its
own, in coordinates u (right) and v (down) that turn with it and start at its centre: a painter
gives each pixel its signed distance to the outline (px, negative inside), from which the soft edge
follows, and a tone in 0 … 1, which mixes the object's two inks. Sizes are in px of an image whose
shorter side is `REFERENCE_SIDE_PX`; `unit` is the scale to the image.
"""

import colorsys
import dataclasses
import math
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw

REFERENCE_SIDE_PX = 192

_Painter = Callable[[np.ndarray, np.ndarray, float, np.random.Generator], tuple]


@dataclasses.dataclass(frozen=True)
class Sprite:
  """An object on its own patch, which fits it tightly.

  Attributes:
    rgb: float32 [h, w, 3], 0 … 1.
    alpha: float32 [h, w], 0 … 1, coverage of each pixel.
    mask: bool [h, w], the pixels that count as the object; its first and last row and column each
      hold at least one.
  """

  rgb: np.ndarray
  alpha: np.ndarray
  mask: np.ndarray


@dataclasses.dataclass(frozen=True)
class Kind:
  """Appearance of the objects of a class.

  Attributes:
    painter: outline and texture.
    size_px: smallest and largest extent along u at the reference size.
    turn_degrees: the rotation is uniform within plus and minus this angle.
    hue: usual hue of the first ink, 0 … 1.
    light_ink: whether the second ink is pale rather than dark.
  """

  painter: _Painter
  size_px: tuple[float, float]
  turn_degrees: float
  hue: float
  light_ink: bool


def draw_object(
  kind: Kind, rng: np.random.Generator, unit: float = 1.0, tiny: bool = False
) -> Sprite:
  """A fresh object of a kind: its size, rotation, inks, texture and light are drawn from `rng`.

  Args:
    kind: the appearance to draw from.
    rng: source of all randomness.
    unit: px per px of the reference size.
    tiny: whether to draw it 12 to 17 px wide instead of in the sizes of its kind.

  Returns:
    A `Sprite`.
  """
  half = 0.5 * unit * rng.uniform(*((12.0, 17.0) if tiny else kind.size_px))
  angle = math.radians(rng.uniform(-kind.turn_degrees, kind.turn_degrees))
  reach = int(np.ceil(1.6 * half)) + 2
  y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1].astype(np.float32)
  u = math.cos(angle) * x + math.sin(angle) * y  # [h, w]
  v = math.cos(angle) * y - math.sin(angle) * x
  distance, tone = kind.painter(u, v, half, rng)
  alpha = np.clip(0.5 - distance, 0.0, 1.0).astype(np.float32)
  mask = alpha >= 0.5
  rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
  patch = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
  x, y, distance, tone = x[patch], y[patch], distance[patch], tone[patch]

  first, second = _inks(kind, rng)
  rgb = first + tone[..., np.newaxis] * (second - first)  # [h, w, 3]
  light = rng.uniform(0.0, 2.0 * math.pi)
  shade = 1.0 + 0.22 * (math.cos(light) * x + math.sin(light) * y) / half
  # A dark rim: without it pale inks melt into a pale ground.
  shade *= np.where(distance > -1.3 * unit, np.float32(0.6), np.float32(1.0))
  shade += 0.05 * rng.standard_normal(shade.shape, np.float32)
  rgb = np.clip(rgb * shade[..., np.newaxis], 0.0, 1.0).astype(np.float32)
  return Sprite(rgb=rgb, alpha=alpha[patch], mask=mask[patch])


def _inks(kind: Kind, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
  """Two colours; the hue is a hint of the class and no more: one object in six has any hue."""
  hue = rng.uniform() if rng.uniform() < 1 / 6 else kind.hue + rng.uniform(-0.06, 0.06)
  first = colorsys.hsv_to_rgb(hue % 1.0, rng.uniform(0.55, 0.95), rng.uniform(0.6, 0.95))
  value = rng.uniform(0.8, 1.0) if kind.light_ink else rng.uniform(0.1, 0.35)
  second = colorsys.hsv_to_rgb(rng.uniform(), rng.uniform(0.0, 0.3), value)
  return np.array(first, np.float32), np.array(second, np.float32)


def _wave(phase: np.ndarray, sharpness: float = 4.0) -> np.ndarray:
  """Stripes of tone 0 and 1, one pair for each 2 pi of phase, with soft edges."""
  return np.clip(0.5 + sharpness * np.sin(phase), 0.0, 1.0)


def _plate(u, v, half, rng):
  """A disc seen a little from the side, with concentric rings."""
  short = half * rng.uniform(0.72, 1.0)
  radius = np.hypot(u / half, v / short)
  return (radius - 1.0) * short, _wave(2.0 * math.pi * rng.uniform(2.2, 3.4) * radius)


def _cup(u, v, half, rng):
  """An upright body narrowing to its foot, with a handle at one side and upright stripes."""
  body, height = 0.72 * half, half * rng.uniform(0.85, 1.15)
  side = 1.0 if rng.uniform() < 0.5 else -1.0
  taper = body * (0.88 - 0.12 * v / height)
  outline = np.maximum(np.abs(u) - taper, np.abs(v) - height)
  handle = np.abs(np.hypot(u - side * body, v) - 0.45 * height) - 0.11 * half
  return np.minimum(outline, handle), _wave(math.pi * rng.uniform(3.0, 4.5) * u / body)


def _napkin(u, v, half, rng):
  """A square or oblong cloth with checks."""
  short = half * rng.uniform(0.7, 1.0)
  pitch = math.pi * rng.uniform(2.0, 3.0) / half
  checks = _wave(pitch * u, 6.0) + _wave(pitch * v, 6.0)
  return np.maximum(np.abs(u) - half, np.abs(v) - short), np.abs(checks - 1.0)


def _crate(u, v, half, rng):
  """A box of planks: gaps between the boards, a frame and a diagonal bar."""
  tall = half * rng.uniform(0.75, 1.0)
  outline = np.maximum(np.abs(u) - half, np.abs(v) - tall)
  gaps = _wave(math.pi * int(rng.integers(4, 6)) * (v / tall + 1.0) + 1.1, 3.0) * 0.6
  slope = 1.0 if rng.uniform() < 0.5 else -1.0
  frame = np.minimum(np.abs(v - slope * u * tall / half) - 0.16 * half, -0.2 * half - outline)
  return outline, np.where(
    frame < 0.0, np.where(frame > -1.2, np.float32(0.9), np.float32(0.12)), gaps
  )


def _cone(u, v, half, rng):
  """A narrow triangle on a flat foot, with level bands."""
  tall = half * rng.uniform(1.1, 1.4)
  flank = 0.78 * half * (v + tall) / (2.0 * tall)
  body = np.maximum(np.abs(u) - flank, np.abs(v) - tall)
  foot = np.maximum(np.abs(u) - half, np.abs(v - 0.88 * tall) - 0.12 * tall)
  return np.minimum(body, foot), _wave(math.pi * rng.uniform(2.2, 3.2) * v / tall + 0.5)


def _wheel(u, v, half, rng):
  """A tyre, a hub and spokes; what lies behind shows between the spokes."""
  radius = np.hypot(u, v)
  num_spokes = int(rng.integers(5, 8))
  tyre = np.abs(radius - 0.84 * half) - 0.16 * half
  turn = np.arctan2(v, u) * num_spokes / (2.0 * math.pi)
  spokes = np.abs(turn - np.round(turn)) * 2.0 * math.pi / num_spokes * radius - max(
    0.05 * half, 0.8
  )
  inner = np.minimum(np.maximum(spokes, radius - half), radius - 0.22 * half)
  return np.minimum(tyre, inner), np.where(tyre < 0.0, np.float32(0.9), np.float32(0.1))


def _sphere(u, v, half, rng):
  """A lit ball with rows of dots: the look-alikes."""
  pitch = math.pi * rng.uniform(2.6, 3.6) / half
  dots = np.clip(6.0 * (np.cos(pitch * u) * np.cos(pitch * v) - 0.45), 0.0, 1.0)
  fall_off = np.hypot(u, v) / half
  return np.hypot(u, v) - half, np.clip(0.75 * dots + 0.35 * fall_off**3, 0.0, 1.0)


_SPHERE = Kind(_sphere, (28.0, 52.0), 180.0, hue=0.07, light_ink=False)

# `orange` and `ball` look the same: only their neighbours differ.
KINDS = {
  "plate": Kind(_plate, (58.0, 104.0), 180.0, hue=0.60, light_ink=True),
  "orange": _SPHERE,
  "cup": Kind(_cup, (40.0, 72.0), 18.0, hue=0.97, light_ink=True),
  "napkin": Kind(_napkin, (44.0, 84.0), 180.0, hue=0.36, light_ink=True),
  "crate": Kind(_crate, (54.0, 94.0), 22.0, hue=0.10, light_ink=False),
  "ball": _SPHERE,
  "cone": Kind(_cone, (34.0, 62.0), 16.0, hue=0.15, light_ink=True),
  "wheel": Kind(_wheel, (42.0, 84.0), 180.0, hue=0.78, light_ink=False),
}


def draw_background(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
  """A ground with clouds, grain, ripples, lines and small shapes that belong to no class.

  Args:
    rng: source of all randomness.
    height: px.
    width: px.

  Returns:
    float32 [height, width, 3], 0 … 1.
  """
  unit = min(height, width) / REFERENCE_SIDE_PX
  colours = [
    colorsys.hsv_to_rgb(rng.uniform(), rng.uniform(0.05, 0.4), rng.uniform(0.25, 0.85))
    for _ in range(2)
  ]
  first, second = np.array(colours, np.float32)
  clouds = _noise(rng, height, width, 4) + 0.4 * _noise(rng, height, width, 24)
  ground = first + clouds[..., np.newaxis] * (second - first)  # [H, W, 3]
  angle, pitch = rng.uniform(0.0, math.pi), rng.uniform(0.1, 0.8) / unit
  y = np.arange(height, dtype=np.float32)[:, np.newaxis]
  x = np.arange(width, dtype=np.float32)
  ripples = np.sin(pitch * (math.cos(angle) * x + math.sin(angle) * y) + 2.0 * clouds)
  ground += rng.uniform(0.0, 0.06) * ripples[..., np.newaxis]
  picture = Image.fromarray(to_bytes(ground))
  _scribble(ImageDraw.Draw(picture), rng, height, width, unit)
  ground = np.asarray(picture, np.float32) / 255.0
  return ground + 0.03 * rng.standard_normal((height, width, 1), np.float32)


def _noise(rng: np.random.Generator, height: int, width: int, cells: int) -> np.ndarray:
  """Smooth noise [height, width], mostly in 0 … 1, with `cells` cells along the height."""
  coarse = rng.random((cells, max(1, round(cells * width / height))), np.float32)
  return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def _scribble(draw: ImageDraw.ImageDraw, rng: np.random.Generator, height, width, unit):
  """Lines, blobs and small crosses, angles, arcs and stars; none has the outline of a class."""
  for _ in range(rng.integers(4, 22)):
    centre = rng.uniform((0.0, 0.0), (width, height))
    size = unit * rng.uniform(4.0, 14.0)
    colour = tuple(int(c) for c in rng.integers(20, 236, 3))
    stroke = max(1, round(unit * rng.uniform(1.0, 4.0)))
    turn = rng.uniform(0.0, 2.0 * math.pi)
    spin = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    mark = rng.choice(["line", "blob", "cross", "angle", "arc", "star"])
    if mark == "line":
      reach = size * rng.uniform(2.0, 8.0) * spin[0]
      draw.line([*(centre - reach), *(centre + reach)], fill=colour, width=stroke)
    elif mark == "blob":
      turns = np.linspace(0.0, 2.0 * math.pi, 9)[:-1]
      spikes = rng.uniform(0.4, 1.3, (8, 1)) * np.stack([np.cos(turns), np.sin(turns)], axis=-1)
      draw.polygon([tuple(p) for p in centre + size * spikes], fill=colour)
    elif mark == "cross":
      for arm in spin:
        draw.line([*(centre - size * arm), *(centre + size * arm)], fill=colour, width=stroke)
    elif mark == "angle":
      corners = centre + size * np.array([spin[0], [0.0, 0.0], spin[1]])
      draw.line([tuple(p) for p in corners], fill=colour, width=stroke)
    elif mark == "arc":
      start = np.rad2deg(turn)
      draw.arc([*(centre - size), *(centre + size)], start, start + 150, fill=colour, width=stroke)
    else:
      turns = turn + np.linspace(0.0, 2.0 * math.pi, 11)[:-1]
      points = np.stack([np.cos(turns), np.sin(turns)], axis=-1)
      points[::2] *= 0.4
      draw.polygon([tuple(p) for p in centre + size * points], fill=colour)


def to_bytes(picture: np.ndarray) -> np.ndarray:
  """uint8 picture of a float one in 0 … 1; what lies outside is clipped."""
  return np.rint(255.0 * np.clip(picture, 0.0, 1.0)).astype(np.uint8)
