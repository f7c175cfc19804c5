"""Places of outlines and text, and that nothing falls outside."""

import numpy as np
import pytest

from mtl_ssl_tf.visualization import canvas as canvas_lib

RED = (255, 0, 0)


def blank(height, width, value=0):
  return np.full((height, width, 3), value, np.uint8)


def changed(canvas, before):
  """Bool [H, W], pixels that differ from the blank image."""
  return (canvas.pixels() != before).any(axis=-1)


class TestClassColor:
  def test_colours_of_many_classes_differ(self):
    colors = [canvas_lib.class_color(class_id) for class_id in range(91)]
    assert len(set(colors)) == 91
    first = np.array(colors[:13], float)
    distances = np.linalg.norm(first[:, np.newaxis] - first, axis=-1) + 1000.0 * np.eye(13)
    assert distances.min() > 75.0

  def test_background_is_grey(self):
    assert canvas_lib.class_color(0) == canvas_lib.GREY


class TestImages:
  @pytest.mark.parametrize(
    "image",
    [
      np.zeros((4, 4, 3), np.float32),
      np.zeros((4, 4), np.uint8),
      np.zeros((4, 4, 4), np.uint8),
      np.zeros((0, 4, 3), np.uint8),
    ],
  )
  def test_others_than_uint8_rgb_are_refused(self, image):
    with pytest.raises(ValueError, match=r"image is .* accepted: uint8 \[height, width, 3\]"):
      canvas_lib.Canvas(image)

  def test_the_given_image_stays_as_it_was(self):
    image = blank(10, 10)
    canvas = canvas_lib.Canvas(image)
    canvas.fill(0, 0, 9, 9, RED)
    assert (image == 0).all() and (canvas.pixels() == RED).all()

  def test_lines_and_text_grow_with_the_image(self):
    small, large = canvas_lib.Canvas(blank(192, 256)), canvas_lib.Canvas(blank(1024, 1024))
    assert small.line_width == 1 and large.line_width == 4
    assert small.text_height < large.text_height
    assert small.text_width("cat") < large.text_width("cat")


class TestDashedOutline:
  def test_dashes_and_gaps_of_four_pixels(self):
    canvas = canvas_lib.Canvas(blank(12, 24))
    canvas.dashed_outline([1, 2, 10, 20], RED)
    expected = np.zeros((12, 24), bool)
    for row in (1, 9):
      expected[row, [2, 3, 4, 5, 10, 11, 12, 13, 18, 19]] = True
    for column in (2, 19):
      expected[[1, 2, 3, 4, 9], column] = True
    np.testing.assert_array_equal(changed(canvas, 0), expected)

  @pytest.mark.parametrize(
    "box", [[0, 0, 1, 1], [-9, -9, 900, 900], [-1] * 4, [float("nan")] * 4, [3, 3, 3, 3]]
  )
  @pytest.mark.parametrize("side", [1, 30, 1000])
  def test_any_box_on_any_image(self, box, side):
    canvas = canvas_lib.Canvas(blank(side, side))
    canvas.dashed_outline(box, RED)
    assert canvas.pixels().shape == (side, side, 3)

  def test_lines_grow_with_the_image_but_not_beyond_the_box(self):
    canvas = canvas_lib.Canvas(blank(1000, 1000))
    canvas.dashed_outline([100, 100, 500, 500], RED)
    assert changed(canvas, 0)[100:500, 105].sum() == 2 * canvas.line_width
    canvas = canvas_lib.Canvas(blank(1000, 1000))
    canvas.dashed_outline([100, 100, 102, 102], RED)
    assert changed(canvas, 0).sum() == 4


class TestPixelBox:
  @pytest.mark.parametrize(
    ("box", "expected"),
    [
      ([2, 3, 6, 9], (2, 3, 5, 8)),
      ([2.5, 3.5, 5.5, 8.5], (2, 3, 5, 8)),
      ([-5, -5, 30, 40], (0, 0, 9, 19)),
      ([3, 3, 3, 3], (3, 3, 3, 3)),
      ([0, 0, 0, 0], (0, 0, 0, 0)),
      ([9.9, 19.9, 12, 25], (9, 19, 9, 19)),
      ([10, 0, 12, 5], None),
      ([0, 20, 5, 25], None),
      ([-4, 0, 0, 5], None),
      ([0, -4, 5, 0], None),
      ([-1, -1, -1, -1], None),
      ([6, 3, 2, 9], None),
      ([2, 9, 6, 3], None),
      ([float("nan"), 3, 6, 9], None),
      ([2, 3, float("inf"), 9], None),
    ],
  )
  def test_on_ten_by_twenty_pixels(self, box, expected):
    assert canvas_lib.Canvas(blank(10, 20)).pixel_box(box) == expected


class TestOutline:
  def test_lies_on_the_inner_side_of_the_box(self):
    canvas = canvas_lib.Canvas(blank(10, 20))
    canvas.outline([2, 3, 7, 9], RED)
    expected = np.zeros((10, 20), bool)
    expected[2:7, 3:9] = True
    expected[3:6, 4:8] = False
    np.testing.assert_array_equal(changed(canvas, blank(10, 20)), expected)
    assert (canvas.pixels()[expected] == RED).all()

  def test_shadow_is_a_dark_line_on_both_sides(self):
    canvas = canvas_lib.Canvas(blank(10, 20, 200))
    canvas.outline([2, 3, 8, 12], RED, shadow=True)
    middle = canvas.pixels()[5]
    assert middle[2].tolist() == [0, 0, 0] and middle[4].tolist() == [0, 0, 0]
    assert middle[3].tolist() == list(RED)
    assert middle[1].tolist() == [200, 200, 200] and middle[5].tolist() == [200, 200, 200]

  def test_a_box_out_of_sight_draws_nothing(self):
    canvas = canvas_lib.Canvas(blank(10, 20))
    canvas.outline([-1, -1, -1, -1], RED)
    canvas.label_box([-1, -1, -1, -1], "cat", RED)
    assert not changed(canvas, blank(10, 20)).any()


class TestLabels:
  SHAPE = (100, 160)

  def plate(self, canvas, color=RED):
    """Rows and columns of the plate of one label, its text included."""
    rows, columns = np.nonzero((canvas.pixels() == color).all(axis=-1))
    return rows.min(), columns.min(), rows.max(), columns.max()

  def labelled(self, box, text="cat"):
    canvas = canvas_lib.Canvas(blank(*self.SHAPE))
    canvas.label_box(box, text, RED)
    return canvas, self.plate(canvas)

  def test_sits_on_the_box_if_there_is_room(self):
    canvas, (top, left, bottom, right) = self.labelled([40, 30, 90, 120])
    assert (bottom, left) == (39, 30)
    assert bottom - top + 1 == canvas.text_height
    assert right - left + 1 == canvas.text_width("cat")

  def test_moves_into_a_large_box_at_the_upper_border(self):
    _, (top, left, _, _) = self.labelled([0, 30, 90, 120])
    assert (top, left) == (0, 30)

  def test_moves_below_a_small_box_at_the_upper_border(self):
    _, (top, left, _, _) = self.labelled([0, 30, 10, 45])
    assert (top, left) == (10, 30)

  def test_moves_left_at_the_right_border(self):
    canvas, (_, left, bottom, right) = self.labelled([40, 155, 60, 160])
    assert (bottom, right) == (39, 159)
    assert right - left + 1 == canvas.text_width("cat")

  def test_moves_above_at_the_lower_border(self):
    _, (_, _, bottom, _) = self.labelled([95, 30, 100, 45])
    assert bottom == 94

  def test_a_second_label_keeps_clear_of_the_first(self):
    canvas, first = self.labelled([40, 30, 90, 120])
    green = (0, 255, 0)
    canvas.label_box([40, 30, 90, 120], "cat", green)
    assert self.plate(canvas) == first
    assert self.plate(canvas, green)[0] == 40

  def test_a_long_text_is_cut_to_the_width(self):
    canvas, (_, left, _, right) = self.labelled([40, 0, 60, 100], "w" * 200)
    assert left == 0 and 160 - canvas.text_width("w…") < right < 160

  def test_text_contrasts_with_its_plate(self):
    for color, ink in [((255, 255, 0), 0), ((0, 0, 120), 255)]:
      canvas = canvas_lib.Canvas(blank(50, 50, 128))
      canvas.label_point([25, 25], "H", color)
      assert (canvas.pixels() == ink).all(axis=-1).any()

  def test_label_at_a_point_is_centred_on_it(self):
    canvas = canvas_lib.Canvas(blank(*self.SHAPE))
    canvas.label_point([50, 80], "0.5", RED)
    top, left, bottom, right = self.plate(canvas)
    assert abs((top + bottom) / 2 - 50) <= 1 and abs((left + right) / 2 - 80) <= 1
    green = (0, 255, 0)
    canvas.label_point([50, 80], "0.5", green)
    # Half a line up would still hide it; next to it is free.
    assert self.plate(canvas, green)[3] == left - 1 or self.plate(canvas, green)[1] == right + 1

  @pytest.mark.parametrize("shape", [(1, 1), (1, 200), (200, 1), (5, 5)])
  def test_an_image_too_small_for_text_has_none(self, shape):
    canvas = canvas_lib.Canvas(blank(*shape))
    canvas.label_box([0, 0, *shape], "cat", RED)
    canvas.label_point([0, 0], "cat", RED)
    assert not changed(canvas, blank(*shape)).any()

  def test_letters_beyond_ascii_are_drawn(self):
    def drawn(text):
      canvas = canvas_lib.Canvas(blank(50, 50))
      canvas.text(10, 10, text, RED, 40)
      return canvas.pixels()

    # A missing letter is drawn as an empty frame, the same for all.
    missing = drawn("\uffff")
    assert len({drawn(text).tobytes() for text in ["ä", "ß", "ж", "…", "a"]}) == 5
    assert all((drawn(text) != missing).any() for text in ["ä", "ß", "ж", "…"])
