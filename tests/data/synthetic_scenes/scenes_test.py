"""Tests of the scenes of the embedded data set: what a box holds, and who stands beside whom."""

import collections

import numpy as np
import pytest

from mtl_ssl_tf.data.synthetic_scenes import brushes as drawing
from mtl_ssl_tf.data.synthetic_scenes import scenes

_SIDE = 192


@pytest.fixture(scope="module")
def drawn():
  themes = (scenes.TABLE, scenes.YARD)
  return [
    scenes.draw_scene(np.random.default_rng([11, i]), theme=themes[i % 2]) for i in range(200)
  ]


def _square(name, top, left, height=10, width=10):
  mask = np.ones((height, width), bool)
  alpha = mask.astype(np.float32)
  sprite = drawing.Sprite(rgb=np.repeat(alpha[..., np.newaxis], 3, axis=-1), alpha=alpha, mask=mask)
  return scenes.Placed(name, sprite, top, left)


def _gap(a, b):
  """Distance of two boxes as that of their nearest corners or edges."""
  dy = max(b[0] - a[2], a[0] - b[2])
  dx = max(b[1] - a[3], a[1] - b[3])
  if dy <= 0 or dx <= 0:
    return max(dy, dx, 0)
  return (dy**2 + dx**2) ** 0.5


class TestVisibleParts:
  def test_front_object_hides_the_rear_one(self):
    # Two 10x10 squares; the front one covers the rightmost 4 columns of the rear one.
    boxes, fractions, masks = scenes.visible_parts(
      [_square("cup", 5, 5), _square("cone", 5, 11)], 30, 30
    )
    assert boxes == [(5, 5, 15, 11), (5, 11, 15, 21)]
    assert fractions == [0.6, 1.0]
    assert masks[0].sum() == 60 and masks[0, 5:15, 5:11].all()
    assert not (masks[0] & masks[1]).any()

  def test_border_hides_too(self):
    boxes, fractions, _ = scenes.visible_parts(
      [_square("cup", -3, -5), _square("cone", 28, 12)], 30, 20
    )
    assert boxes == [(0, 0, 7, 5), (28, 12, 30, 20)]
    assert fractions == [0.35, 0.16]

  @pytest.mark.parametrize(("top", "left"), [(-50, 5), (50, 5), (5, -50), (5, 50), (-11, 31)])
  def test_outside_nothing_is_seen(self, top, left):
    boxes, fractions, masks = scenes.visible_parts([_square("cup", top, left)], 30, 30)
    assert (boxes, fractions, masks.any()) == ([(0, 0, 0, 0)], [0.0], False)


class TestIsLegal:
  """On a 192x400 image near is 24 px and far is 48 px; the look-alike's right edge is at 30."""

  @pytest.mark.parametrize(
    ("others", "legal"),
    [
      ([], False),  # nothing names the orange
      ([_square("plate", 20, 54)], True),  # gap 24
      ([_square("plate", 20, 55)], False),  # gap 25
      ([_square("plate", 20, 30)], False),  # touches
      ([_square("crate", 20, 50)], False),  # that is what names a ball
      ([_square("plate", 20, 50), _square("crate", 20, 78)], True),  # crate at 48
      ([_square("plate", 20, 50), _square("crate", 20, 77)], False),  # crate at 47
      ([_square("plate", 20, 50), _square("cup", 29, 29)], False),  # overlaps
      ([_square("plate", 20, 50), _square("cup", 31, 29)], True),
    ],
  )
  def test_neighbours_of_an_orange(self, others, legal):
    assert scenes.is_legal([_square("orange", 20, 20), *others], 192, 400) == legal

  def test_every_object_must_show_enough(self):
    rear = _square("cup", 0, 0, width=20)
    assert scenes.is_legal([rear, _square("cone", 0, 11)], 192, 256)  # 11 of 20 columns show
    assert not scenes.is_legal([rear, _square("cone", 0, 10)], 192, 256)


@pytest.mark.parametrize("theme", [scenes.TABLE, scenes.YARD])
@pytest.mark.parametrize("number", range(1, 9))
def test_a_cluster_has_its_number_of_objects_and_a_look_alike_never_alone(theme, number):
  most = 0
  for seed in range(60):
    names = scenes._choose_classes(np.random.default_rng([3, seed]), theme, number)
    assert len(names) == number
    look_alikes = names.count(theme.look_alike)
    assert not look_alikes or names[: 1 + look_alikes] == [theme.anchor] + (
      [theme.look_alike] * look_alikes
    )
    most = max(most, look_alikes)
  # Of at least two objects one may be, and of at least four, two.
  assert most == (number >= 2) + (number >= 4)


class TestDrawScene:
  def test_boxes_fit_the_visible_pixels_tightly(self, drawn):
    for scene in drawn:
      assert scene.image.shape == (192, 256, 3) and scene.image.dtype == np.uint8
      assert scene.masks.sum(axis=0).max(initial=0) <= 1
      for item, mask in zip(scene.objects, scene.masks, strict=True):
        y, x = np.nonzero(mask)
        assert item.box_orig == (y.min(), x.min(), y.max() + 1, x.max() + 1)

  def test_paint_is_where_the_masks_say(self, monkeypatch):
    # On a plain ground every changed pixel lies within 2 px of a mask (soft edges) or of the
    # border, beyond which an object may go on, and nearly every pixel of a mask has changed.
    monkeypatch.setattr(
      drawing, "draw_background", lambda rng, height, width: np.full((height, width, 3), 0.5, "f")
    )
    for seed in range(20):
      scene = scenes.draw_scene(np.random.default_rng(seed))
      colours, counts = np.unique(scene.image.reshape(-1, 3), axis=0, return_counts=True)
      changed = (scene.image != colours[counts.argmax()]).any(axis=-1)
      union = scene.masks.any(axis=0)
      padded = np.pad(union, 2, constant_values=True)
      around = np.any(
        [padded[y : y + 192, x : x + 256] for y in range(5) for x in range(5)], axis=0
      )
      assert not (changed & ~around).any()
      assert changed[union].mean() > 0.97

  def test_scenes_hold_all_classes_and_some_nothing(self, drawn):
    counts = collections.Counter(item.name for scene in drawn for item in scene.objects)
    assert set(counts) == set(drawing.KINDS)
    assert min(counts.values()) > 0.07 * counts.total()
    sizes = [len(scene.objects) for scene in drawn]
    assert 0.01 <= sizes.count(0) / len(sizes) <= 0.06
    assert max(sizes) <= 8
    assert 4.0 <= np.mean(sizes) <= 5.0

  def test_truncated_and_difficult_by_hand(self, monkeypatch):
    # On 192x256 a box under 16 px is tiny. A post hides the middle of a cup without moving its box.
    placed = [
      _square("napkin", 0, 0, 40, 40),
      _square("cup", 100, 0, 20, 40),
      _square("cone", 100, 10, 20, 17),
      _square("wheel", 60, 240, 20, 20),
      _square("cone", 150, 100, 30, 15),
      _square("cup", 150, 200, 50, 20),
      _square("napkin", 150, 199, 5, 30),
    ]
    monkeypatch.setattr(scenes, "_arrange", lambda *_: placed)
    scene = scenes.draw_scene(np.random.default_rng(0))
    assert [(item.truncated, item.difficult) for item in scene.objects] == [
      (False, False),  # all of it shows
      (False, True),  # 23 of 40 columns show, its box is the full one
      (False, False),
      (True, False),  # 16 of 20 columns, and a box 16 px wide
      (False, True),  # 15 px wide
      (True, False),  # rows 155 to 192 of 150 to 200
      (False, True),  # 5 px high
    ]
    assert scene.objects[5].box_orig == (155, 200, 192, 220)

  def test_flags_are_neither_rare_nor_common(self, drawn):
    items = [item for scene in drawn for item in scene.objects]
    assert 0.02 <= np.mean([item.difficult for item in items]) <= 0.1
    assert 0.2 <= np.mean([item.truncated for item in items]) <= 0.6

  def test_look_alikes_are_named_by_their_neighbours_alone(self, drawn):
    friend, foe = {"orange": "plate", "ball": "crate"}, {"orange": "crate", "ball": "plate"}
    seen, extents, mixed = collections.Counter(), collections.defaultdict(list), 0
    for scene in drawn:
      for i, item in enumerate(scene.objects):
        if item.name not in friend:
          continue
        seen[item.name] += 1
        extents[item.name].append(item.box_orig[2] - item.box_orig[0])
        gaps = collections.defaultdict(list)
        for j, other in enumerate(scene.objects):
          if j != i:
            gaps[other.name].append(_gap(item.box_orig, other.box_orig))
        assert min(min(values) for values in gaps.values()) > 0
        assert min(gaps[friend[item.name]]) <= _SIDE / 8
        assert min(gaps[foe[item.name]], default=np.inf) >= _SIDE / 4
        mixed += foe[item.name] in gaps
    # The difference of two fair counts has a standard deviation of the root of their sum.
    assert seen.total() > 200
    assert abs(seen["orange"] - seen["ball"]) < 4 * seen.total() ** 0.5
    # Same size: heights spread by about 8 px, so the means of 100 differ by about 1.
    assert abs(np.mean(extents["orange"]) - np.mean(extents["ball"])) < 4.0
    # The other neighbour is often in the image, so that the theme of the image is not the answer.
    assert mixed > 0.1 * seen.total()

  def test_classes_of_a_theme_occur_together(self, drawn):
    names = [{item.name for item in scene.objects} for scene in drawn]

    def share(first, second):
      return np.mean([second in scene for scene in names if first in scene])

    for first, same, other in [("cup", "plate", "crate"), ("wheel", "crate", "plate")]:
      assert share(first, same) > share(first, other) + 0.2

  @pytest.mark.parametrize(("height", "width"), [(96, 96), (100, 301), (384, 200)])
  def test_other_sizes(self, height, width):
    for seed in range(5):
      scene = scenes.draw_scene(np.random.default_rng(seed), height, width)
      assert scene.image.shape == (height, width, 3)
      for item in scene.objects:
        ymin, xmin, ymax, xmax = item.box_orig
        assert 0 <= ymin < ymax <= height and 0 <= xmin < xmax <= width
