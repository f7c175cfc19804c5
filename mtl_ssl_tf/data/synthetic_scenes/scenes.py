"""Scenes of the embedded data set: which objects, where, and what of each can be seen.

The rules are stated at the head of `synthetic.py`. Objects are placed one after another, each at
the first of a few random places and depths that leaves every rule of the scene unbroken; one that
finds no place is left out.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from mtl_ssl_tf.data.synthetic_scenes import brushes as drawing

_NEAR_SIDES = 1 / 8
_FAR_SIDES = 1 / 4
_MIN_VISIBLE = 0.55
_DIFFICULT_VISIBLE = 0.6
_DIFFICULT_SIDES = 1 / 12
_NUM_TRIES = 30


@dataclasses.dataclass(frozen=True)
class Theme:
  """Classes that occur together: a look-alike, the neighbour that names it, and companions."""

  anchor: str
  look_alike: str
  companions: tuple[str, ...]


TABLE = Theme(anchor="plate", look_alike="orange", companions=("cup", "napkin"))
YARD = Theme(anchor="crate", look_alike="ball", companions=("cone", "wheel"))
_OTHER = {TABLE: YARD, YARD: TABLE}
_LOOK_ALIKES = {theme.look_alike: _OTHER[theme].look_alike for theme in (TABLE, YARD)}
_FRIEND = {theme.look_alike: theme.anchor for theme in (TABLE, YARD)}
_FOE = {theme.look_alike: _OTHER[theme].anchor for theme in (TABLE, YARD)}


@dataclasses.dataclass(frozen=True)
class SceneObject:
  """An annotated object; `box_orig` is [ymin, xmin, ymax, xmax] in pixel edges of the image."""

  name: str
  box_orig: tuple[int, int, int, int]
  truncated: bool
  difficult: bool


@dataclasses.dataclass(frozen=True)
class Scene:
  """A drawn scene.

  Attributes:
    image: uint8 [H, W, 3].
    objects: the N objects, the rearmost first.
    masks: bool [N, H, W], the visible pixels of each object.
  """

  image: np.ndarray
  objects: tuple[SceneObject, ...]
  masks: np.ndarray


@dataclasses.dataclass
class Placed:
  """An object of a scene in the making: its sprite and where its upper left corner lies."""

  name: str
  sprite: drawing.Sprite
  top: int
  left: int

  def windows(self, height: int, width: int):
    """The part of the image that the sprite covers, and the part of the sprite inside the image."""
    rows, columns = self.sprite.mask.shape
    y0, x0 = max(self.top, 0), max(self.left, 0)
    y1, x1 = max(y0, min(self.top + rows, height)), max(x0, min(self.left + columns, width))
    inside = np.s_[y0 - self.top : y1 - self.top, x0 - self.left : x1 - self.left]
    return np.s_[y0:y1, x0:x1], inside

  @property
  def full_box(self) -> tuple[int, int, int, int]:
    rows, columns = self.sprite.mask.shape
    return self.top, self.left, self.top + rows, self.left + columns


def draw_scene(
  rng: np.random.Generator, height: int = 192, width: int = 256, theme: Theme = TABLE
) -> Scene:
  """One scene by the rules at the head of `synthetic.py`.

  Args:
    rng: source of all randomness.
    height: px of the image.
    width: px of the image.
    theme: theme of the first, perhaps the only, cluster of objects.

  Returns:
    A `Scene`.
  """
  pixels = drawing.draw_background(rng, height, width)
  placed = _arrange(rng, height, width, theme)
  for item in placed:
    window, inside = item.windows(height, width)
    alpha = item.sprite.alpha[inside][..., np.newaxis]
    pixels[window] += alpha * (item.sprite.rgb[inside] - pixels[window])
  pixels *= rng.uniform(0.85, 1.1, 3).astype(np.float32)  # the colour of the light

  boxes, fractions, masks = visible_parts(placed, height, width)
  side = min(height, width)
  objects = []
  for item, box, fraction in zip(placed, boxes, fractions, strict=True):
    extent = min(box[2] - box[0], box[3] - box[1])
    objects.append(
      SceneObject(
        name=item.name,
        box_orig=box,
        truncated=box != item.full_box,
        difficult=fraction < _DIFFICULT_VISIBLE or extent < _DIFFICULT_SIDES * side,
      )
    )
  return Scene(image=drawing.to_bytes(pixels), objects=tuple(objects), masks=masks)


def with_less_context(scene: Scene, rng: np.random.Generator, share: float) -> Scene:
  """The scene with look-alikes of which only a share have the class that their neighbours say.

  Args:
    scene: as `draw_scene` draws it.
    rng: source of all randomness.
    share: 0 to 1, the probability of a look-alike to keep its class for certain; else its class is
      either with equal probability.

  Returns:
    The same picture with other classes.
  """
  objects = []
  for item in scene.objects:
    lot, other = rng.uniform(size=2)
    if item.name in _LOOK_ALIKES and lot >= share and other < 0.5:
      item = dataclasses.replace(item, name=_LOOK_ALIKES[item.name])
    objects.append(item)
  return dataclasses.replace(scene, objects=tuple(objects))


def _arrange(rng: np.random.Generator, height: int, width: int, first: Theme) -> list[Placed]:
  """Objects of a scene with their places, the rearmost first; none in an empty scene."""
  if rng.uniform() < 0.03:
    return []
  side = min(height, width)
  num_objects = 1 + rng.binomial(7, 0.53)
  shares = {first: num_objects}
  if num_objects >= 4 and rng.uniform() < 0.3:
    shares = {first: (num_objects + 1) // 2, _OTHER[first]: num_objects // 2}
  placed = []
  for theme, share in shares.items():
    centre = rng.uniform((0.25 * height, 0.2 * width), (0.75 * height, 0.8 * width))
    for name in _choose_classes(rng, theme, share):
      tiny = name in theme.companions and rng.uniform() < 0.04
      sprite = drawing.draw_object(
        drawing.KINDS[name], rng, side / drawing.REFERENCE_SIDE_PX, tiny=tiny
      )
      for _ in range(_NUM_TRIES):
        item = _try_place(rng, name, sprite, placed, centre, height, width)
        depth = int(rng.integers(len(placed) + 1))
        candidate = [*placed[:depth], item, *placed[depth:]]
        if is_legal(candidate, height, width):
          placed = candidate
          break
  return placed


def _choose_classes(rng: np.random.Generator, theme: Theme, num_objects: int) -> list[str]:
  """Classes of a cluster in the order of placing: a look-alike needs its neighbour first."""
  names = []
  if num_objects >= 2 and rng.uniform() < 0.85:
    num_look_alikes = 2 if num_objects >= 4 and rng.uniform() < 0.5 else 1
    names = [theme.anchor] + [theme.look_alike] * num_look_alikes
  while len(names) < num_objects:
    source = _OTHER[theme] if rng.uniform() < 1 / 8 else theme
    choices = (source.anchor, *source.companions)
    names.append(choices[rng.choice(3, p=(0.1, 0.45, 0.45))])
  return names


def _try_place(rng, name, sprite, placed, centre, height, width) -> Placed:
  """A place to try: next to its neighbour for a look-alike, else around the cluster's centre."""
  size = np.array(sprite.mask.shape)
  friends = [item for item in placed if item.name == _FRIEND.get(name)]
  if friends:
    friend = friends[rng.integers(len(friends))]
    reach = size / 2 + _NEAR_SIDES * min(height, width)
    low, high = np.reshape(friend.full_box, (2, 2))
    middle = rng.uniform(low - reach, high + reach)
  else:
    middle = rng.normal(centre, 0.25 * min(height, width))
  top, left = np.rint(middle - size / 2).astype(int)
  return Placed(name, sprite, int(top), int(left))


def is_legal(placed: list[Placed], height: int, width: int) -> bool:
  """Whether every object shows enough of itself and every look-alike has its proper neighbours."""
  boxes, fractions, _ = visible_parts(placed, height, width)
  if min(fractions) < _MIN_VISIBLE:
    return False
  near, far = (sides * min(height, width) for sides in (_NEAR_SIDES, _FAR_SIDES))
  names = [item.name for item in placed]
  for i, name in enumerate(names):
    if name not in _FRIEND:
      continue
    gaps = [(names[j], _gap(boxes[i], boxes[j])) for j in range(len(names)) if j != i]
    touched = any(gap == 0.0 for _, gap in gaps)
    named = any(other == _FRIEND[name] and gap <= near for other, gap in gaps)
    disputed = any(other == _FOE[name] and gap < far for other, gap in gaps)
    if touched or disputed or not named:
      return False
  return True


def _gap(a: Sequence[int], b: Sequence[int]) -> float:
  """Distance in px between two boxes; 0 where they touch or overlap."""
  vertical, horizontal = max(a[0] - b[2], b[0] - a[2], 0), max(a[1] - b[3], b[1] - a[3], 0)
  return float(np.hypot(vertical, horizontal))


def visible_parts(
  placed: list[Placed], height: int, width: int
) -> tuple[list[tuple[int, int, int, int]], list[float], np.ndarray]:
  """Returns the visible part of each object of a scene.

  Args:
    placed: the N objects, the rearmost first.
    height: px of the image.
    width: px of the image.

  Returns:
    boxes: N boxes of the visible parts, pixel edges; all 0 where nothing can be seen.
    fractions: N shares of an object, parts outside the image included, that can be seen.
    masks: bool [N, height, width], the visible pixels.
  """
  boxes, fractions = [], []
  masks = np.zeros((len(placed), height, width), bool)
  covered = np.zeros((height, width), bool)
  for item, mask in zip(reversed(placed), masks[::-1], strict=True):
    window, inside = item.windows(height, width)
    visible = item.sprite.mask[inside] & ~covered[window]
    covered[window] |= visible
    mask[window] = visible
    fractions.append(np.count_nonzero(visible) / np.count_nonzero(item.sprite.mask))
    if not fractions[-1]:
      boxes.append((0, 0, 0, 0))
      continue
    y0, x0 = window[0].start, window[1].start
    rows, columns = np.flatnonzero(visible.any(axis=1)), np.flatnonzero(visible.any(axis=0))
    box = (y0 + rows[0], x0 + columns[0], y0 + rows[-1] + 1, x0 + columns[-1] + 1)
    boxes.append(tuple(int(edge) for edge in box))
  return boxes[::-1], fractions[::-1], masks
