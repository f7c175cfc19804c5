"""Known colours at known places, and pictures of borderline cases."""

import numpy as np
import pytest

from mtl_ssl_tf.visualization import canvas as canvas_lib
from mtl_ssl_tf.visualization import draw

NAMES = ["cat", "dog"]
CAT, DOG = canvas_lib.class_color(1), canvas_lib.class_color(2)
NO_BOXES, NO_CLASSES = np.zeros((0, 4), np.float32), np.zeros(0, np.int32)


def grey_image(height=120, width=160, value=90):
  return np.full((height, width, 3), value, np.uint8)


def has(image, color):
  return bool((image == np.array(color)).all(axis=-1).any())


class TestDrawBoxes:
  def test_outlines_have_the_colours_of_their_classes(self):
    boxes = np.array([[40, 10, 100, 60], [40, 90, 100, 150], [5, 5, 20, 20]], np.float32)
    picture = draw.draw_boxes(grey_image(), boxes, np.array([1, 2, -1]))
    assert picture.shape == (120, 160, 3) and picture.dtype == np.uint8
    assert tuple(picture[40, 30]) == CAT and tuple(picture[99, 30]) == CAT
    assert tuple(picture[70, 10]) == CAT and tuple(picture[70, 59]) == CAT
    assert tuple(picture[70, 90]) == DOG
    assert (picture[70, 30] == 90).all()  # Within a box the image stays.
    assert (picture[:30] == 90).all()  # Padding is skipped, and without names there is no text.

  def test_names_and_scores_are_written(self):
    boxes, classes = np.array([[40, 10, 100, 60]]), np.array([1])
    arguments = grey_image(), boxes, classes
    plain = draw.draw_boxes(*arguments)
    named = draw.draw_boxes(*arguments, NAMES)
    scored = draw.draw_boxes(*arguments, scores=np.array([0.5]))
    both = draw.draw_boxes(*arguments, NAMES, np.array([0.5]))
    plates = [(image[:40] == CAT).all(axis=-1).any(axis=0).sum() for image in (named, scored, both)]
    assert not has(plain[:40], CAT)
    assert 0 < plates[0] < plates[2] and 0 < plates[1] < plates[2]

  def test_a_class_without_a_name_is_numbered(self):
    box = np.array([[40, 10, 100, 60]])
    unnamed = draw.draw_boxes(grey_image(), box, np.array([2]), ["cat"])
    np.testing.assert_array_equal(
      unnamed, draw.draw_boxes(grey_image(), box, np.array([2]), ["cat", "class 2"])
    )

  def test_low_scores_are_left_out_and_high_ones_drawn_last(self):
    boxes = np.array([[40, 10, 100, 60], [40, 10, 100, 60], [40, 90, 100, 150]])
    scores = np.array([0.9, 0.5, 0.2])
    picture = draw.draw_boxes(grey_image(), boxes, np.array([1, 2, 2]), None, scores, 0.3)
    assert tuple(picture[70, 10]) == CAT
    # The label of the better one, on top of the box, is nearer to it than that of the other.
    assert has(picture[:40], CAT)
    assert (picture[:, 90:] == 90).all()

  def test_content_is_cut_from_the_padding(self):
    picture = draw.draw_boxes(
      grey_image(), np.array([[40, 10, 100, 60]]), np.array([1]), image_size_px=(80.0, 50.0)
    )
    assert picture.shape == (80, 50, 3)
    assert tuple(picture[79, 30]) == CAT and tuple(picture[70, 49]) == CAT

  @pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1), (8, 8), (192, 256)])
  def test_boxes_at_and_beyond_the_borders(self, shape):
    height, width = shape
    boxes = np.array(
      [
        [0, 0, height, width],
        [-10, -10, height + 10, width + 10],
        [height - 1, width - 1, height, width],
        [0, 0, 0, 0],
        [height, width, height + 5, width + 5],
        [-9, -9, -3, -3],
        [np.nan, 0, 1, 1],
      ],
      np.float32,
    )
    classes = np.arange(1, 8)
    picture = draw.draw_boxes(grey_image(*shape), boxes, classes, ["name"] * 7, np.ones(7))
    assert picture.shape == (height, width, 3)

  def test_no_boxes(self):
    picture = draw.draw_boxes(grey_image(), NO_BOXES, NO_CLASSES, NAMES, np.zeros(0))
    np.testing.assert_array_equal(picture, grey_image())

  def test_regions_to_be_ignored_lie_below_the_boxes(self):
    boxes, regions = np.array([[10, 10, 60, 60]]), np.array([[10, 10, 60, 60], [80, 90, 110, 150]])
    picture = draw.draw_boxes(grey_image(), boxes, np.array([1]), ignored_boxes_px=regions)
    assert tuple(picture[59, 10]) == CAT and tuple(picture[30, 59]) == CAT
    assert tuple(picture[80, 90]) == canvas_lib.GREY and tuple(picture[109, 90]) == canvas_lib.GREY
    assert (picture[80, 94:98] == 90).all()
    # They are named where boxes are.
    named = draw.draw_boxes(grey_image(), boxes, np.array([1]), NAMES, ignored_boxes_px=regions)
    plates = [(image == canvas_lib.GREY).all(axis=-1).sum() for image in (named, picture)]
    assert plates[0] > plates[1] + 100


class TestDrawWindows:
  def test_labelled_windows_and_their_bars(self):
    windows = np.array([[10, 10, 60, 60], [0, 0, 30, 30], [50, 80, 110, 150], [20, 20, 50, 50]])
    labels = np.array([[0.5, 0.5, 0.0], [0.0, 0.0, 0.0], [0.1, 0.0, 0.9], [0.0, 1.0, 0.0]])
    weights = np.array([1.0, 1.0, 1.0, 0.0])
    picture = draw.draw_windows_with_labels(grey_image(), windows, labels, NAMES, weights)
    white, yellow = (255, 255, 255), (255, 230, 0)
    assert tuple(picture[30, 10]) == white
    assert tuple(picture[80, 80]) == yellow
    assert (picture[80, 79] == 0).all() and (picture[80, 81] == 0).all()
    assert (picture[25, 12:55] == 90).all()  # Neither the empty nor the weightless window.
    legend = picture[:, 165:]
    counts = {
      name: int((legend == np.array(color)).all(axis=-1).sum())
      for name, color in [("none", canvas_lib.GREY), ("cat", CAT), ("dog", DOG)]
    }
    # Bars as long as the labels: background 0.5 and 0.1, cat 0.5, dog 0.9.
    assert counts["none"] / counts["cat"] == pytest.approx(0.6 / 0.5, rel=0.1)
    assert counts["dog"] / counts["cat"] == pytest.approx(0.9 / 0.5, rel=0.1)

  def test_only_so_many_windows_and_classes(self):
    windows, labels = np.tile([[10, 10, 60, 60]], (9, 1)), np.tile([[0.2, 0.3, 0.5]], (9, 1))
    few = draw.draw_windows_with_labels(
      grey_image(), windows, labels, NAMES, max_windows=1, top_classes=2
    )
    assert has(few[:, 165:], DOG) and has(few[:, 165:], CAT)
    assert not has(few[:, 165:], canvas_lib.GREY)
    assert few.shape[0] == 120
    # More windows than colours start over; the legend makes the picture higher.
    many = draw.draw_windows_with_labels(grey_image(), windows, labels, NAMES, max_windows=9)
    assert many.shape[0] > 120 and many.shape[1] > 160

  @pytest.mark.parametrize("num_windows", [0, 2])
  def test_an_image_without_labelled_windows_says_so(self, num_windows):
    picture = draw.draw_windows_with_labels(
      grey_image(), np.full((num_windows, 4), 5.0), np.zeros((num_windows, 3)), NAMES
    )
    assert (picture[:120, :160] == 90).all()
    assert (picture[:, 165:] > 200).any()

  def test_background_has_its_own_name(self):
    arguments = grey_image(), np.array([[10, 10, 60, 60]]), np.array([[1.0, 0.0, 0.0]])
    np.testing.assert_array_equal(
      draw.draw_windows_with_labels(*arguments, ["cat", "dog"]),
      draw.draw_windows_with_labels(*arguments, ["cat", "god"]),
    )

  def test_a_bar_shorter_than_a_pixel_is_left_out(self):
    picture = draw.draw_windows_with_labels(
      grey_image(), np.array([[10, 10, 60, 60]]), np.array([[0.999, 0.001, 0.0]]), NAMES
    )
    assert not has(picture[:, 165:], CAT)

  def test_one_pixel(self):
    picture = draw.draw_windows_with_labels(
      grey_image(1, 1), np.array([[0, 0, 1, 1]]), np.array([[0.0, 1.0, 0.0]]), NAMES
    )
    assert has(picture, CAT)


class TestDrawCloseness:
  # Two cats and a dog in one line, their centres at columns 40, 160 and 280; a row of padding.
  BOXES = np.array(
    [[100, 20, 140, 60], [100, 140, 140, 180], [100, 260, 140, 300], [-1, -1, -1, -1]], np.float32
  )
  CLASSES = np.array([1, 1, 2, -1])

  def test_half_lines_lead_to_the_nearest_object_of_each_class(self):
    labels = np.array([[0, 1, 0], [0, 0, 1], [1, 0, 0], [0, 0, 0]], np.float32)
    picture = draw.draw_closeness(grey_image(240, 320), self.BOXES, self.CLASSES, labels)
    # The left cat's half line ends midway, at column 100; the middle cat's leads to the dog.
    assert tuple(picture[120, 98]) == CAT
    assert tuple(picture[120, 218]) == DOG
    assert (picture[120, 104:138] == 90).all()
    assert (picture[120, 224:258] == 90).all()
    # The dog is labelled as being alone.
    assert tuple(picture[120, 275]) == canvas_lib.GREY
    assert not has(picture[:, :270], canvas_lib.GREY)

  def test_larger_values_make_thicker_lines(self):
    labels = np.array([[0, 0.1, 0], [0, 0, 0.9], [0, 0, 0], [0, 0, 0]], np.float32)
    picture = draw.draw_closeness(grey_image(240, 320), self.BOXES, self.CLASSES, labels)
    thin = (picture[:, 98] == CAT).all(axis=-1).sum()
    thick = (picture[:, 218] == DOG).all(axis=-1).sum()
    assert 0 < thin < thick

  def test_of_several_objects_of_a_class_the_nearest_counts(self):
    labels = np.zeros((3, 3), np.float32)
    labels[0, 2] = 1.0
    picture = draw.draw_closeness(grey_image(240, 320), self.BOXES[:3], np.array([1, 2, 2]), labels)
    assert tuple(picture[120, 98]) == DOG
    assert (picture[120, 104:138] == 90).all()

  def test_larger_values_lie_on_top(self):
    # From the left, half lines to the dog in the middle and to the owl behind it share a stretch.
    labels = np.zeros((3, 4), np.float32)
    labels[0, 2:] = [0.8, 0.2]
    picture = draw.draw_closeness(grey_image(240, 320), self.BOXES[:3], np.array([1, 2, 3]), labels)
    assert tuple(picture[120, 50]) == DOG

  def test_of_many_values_the_largest_of_each_object_is_written(self):
    # Twelve cats and twelve dogs in two rows; every object sees both classes, 48 values.
    columns = np.arange(12) * 60.0 + 10.0
    boxes = np.concatenate(
      [np.stack([np.full(12, y), columns, np.full(12, y + 10), columns + 10], 1) for y in (20, 200)]
    )
    classes = np.repeat([1, 2], 12)
    labels = np.tile([[0.0, 0.7, 0.3]], (24, 1))
    crowded = draw.draw_closeness(grey_image(240, 740), boxes, classes, labels)
    labels[:, 2] = 0.0
    one_value = draw.draw_closeness(grey_image(240, 740), boxes, classes, labels)

    def num_ink(picture):
      return (picture == 0).all(axis=-1).sum()

    assert num_ink(crowded) == num_ink(one_value) > 0

  def test_a_label_for_a_class_that_is_not_there_draws_no_line(self):
    labels = np.array([[0, 0, 1]], np.float32)
    picture = draw.draw_closeness(grey_image(), np.array([[50, 10, 70, 30]]), np.array([1]), labels)
    assert not has(picture, DOG)

  def test_no_objects(self):
    picture = draw.draw_closeness(grey_image(), NO_BOXES, NO_CLASSES, np.zeros((0, 3)))
    np.testing.assert_array_equal(picture, grey_image())

  def test_objects_in_one_place_and_one_pixel(self):
    boxes, classes = np.array([[0, 0, 1, 1]] * 2), np.array([1, 2])
    labels = np.array([[0, 0, 1], [0, 1, 0]], np.float32)
    assert draw.draw_closeness(grey_image(1, 1), boxes, classes, labels).shape == (1, 1, 3)


class TestDrawForeground:
  def test_cells_spread_over_the_image(self):
    mask = np.array([[1, 0], [0, 0.5]])
    image = np.zeros((40, 60, 3), np.uint8)
    image[...] = (30, 60, 90)  # Its grey is 60.
    picture = draw.draw_foreground(image, mask)
    assert tuple(picture[0, 0]) == tuple(picture[19, 29]) == (30, 135, 90)  # Half grey, half green.
    assert tuple(picture[0, 30]) == tuple(picture[39, 0]) == (60, 60, 60)
    assert tuple(picture[39, 59]) == (45, 98, 75)  # A quarter.

  def test_values_beyond_0_and_1_are_cut(self):
    np.testing.assert_array_equal(
      draw.draw_foreground(grey_image(), np.array([[-1.0, 2.0]])),
      draw.draw_foreground(grey_image(), np.array([[0.0, 1.0]])),
    )

  def test_bool_mask_over_the_content_only(self):
    picture = draw.draw_foreground(
      grey_image(), np.array([[True, False]]), image_size_px=np.array([100.0, 80.0])
    )
    assert picture.shape == (100, 80, 3)
    assert picture[50, 39, 1] > 90 and picture[50, 40, 1] == 90

  def test_a_map_finer_than_the_image(self):
    assert draw.draw_foreground(grey_image(1, 1), np.ones((64, 64))).shape == (1, 1, 3)


class TestDrawMined:
  GT = np.array([[40, 10, 100, 60]], np.float32), np.array([1])

  def view(self, boxes, classes, scores, image=None):
    image = grey_image() if image is None else image
    return draw.MinedView(
      "mined", image, np.array(boxes, np.float32), np.array(classes), np.array(scores)
    )

  def test_mined_boxes_are_dashed_and_annotations_are_not(self):
    picture = draw.draw_mined(
      self.view([[40, 90, 100, 150], [-1] * 4], [2, -1], [0.9, 0.0]), *self.GT, NAMES
    )
    assert (picture[40:100, 10] == CAT).all()  # The left side of the annotation.
    dashes = (picture[40:100, 90] == DOG).all(axis=-1)
    assert 0.3 < dashes.mean() < 0.7
    # Above it are name and score; the annotation has neither.
    assert has(picture[:40, 80:], DOG) and not has(picture[:40], CAT)

  def test_better_boxes_are_drawn_over_worse_ones(self):
    box = [40, 90, 100, 150]
    picture = draw.draw_mined(
      self.view([box, box], [1, 2], [0.9, 0.8]), NO_BOXES, NO_CLASSES, NAMES
    )
    # Both have the same dashes; further up are the names.
    assert has(picture[65:95, 90:92], CAT) and not has(picture[65:95, 90:92], DOG)

  def test_doubtful_boxes_are_grey_and_have_no_name(self):
    picture = draw.draw_mined(
      self.view([[40, 90, 100, 150]], [0], [0.6]), NO_BOXES, NO_CLASSES, NAMES
    )
    dashes = (picture[40:100, 90] == canvas_lib.GREY).all(axis=-1)
    assert 0.3 < dashes.mean() < 0.7
    assert (picture[:40] == 90).all()

  def test_the_panel_shows_each_view_at_its_size(self):
    views = [
      self.view([[20, 10, 60, 50]], [2], [0.5], grey_image(96, 128, value))._replace(
        caption=caption
      )
      for value, caption in ((90, "one"), (40, "two"))
    ]
    padded = [
      view._replace(image=np.pad(view.image, [(0, 9), (0, 9), (0, 0)], constant_values=7))
      for view in views
    ]
    gt = np.array([[40, 70, 90, 120]], np.float32), np.array([1])
    panel = draw.training_panel(
      np.pad(grey_image(96, 128), [(0, 9), (0, 9), (0, 0)]),
      *gt,
      NAMES,
      mined_views=padded,
      image_size_px=(96.0, 128.0),
      cell_px=256,
    )
    # Ground truth and both views, 192 x 256 each, at twice the size of the image.
    assert panel.shape[1] == 3 * 256 + 2 * 4
    for left, value in ((260, 90), (520, 40)):
      cell = panel[-192:, left : left + 256]
      assert tuple(cell[10, 10]) == (value, value, value)
      assert (cell[82:178, 140] == CAT).all()
      assert 0.3 < (cell[42:118, 20] == DOG).all(axis=-1).mean() < 0.7
    assert not has(panel[-192:, :256], DOG)


class TestTrainingPanel:
  IMAGE = grey_image(96, 128)
  TRUTH = (np.array([[20, 10, 60, 50], [-1, -1, -1, -1]], np.float32), np.array([1, -1]))

  def everything(self, image, **options):
    return draw.training_panel(
      image,
      *self.TRUTH,
      NAMES,
      windows_px=np.array([[0, 0, 40, 40]]),
      window_labels=np.array([[0.3, 0.7, 0.0]]),
      window_weights=np.ones(1),
      closeness_labels=np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 0.0]]),
      foreground_mask=np.ones((64, 64)),
      detection_boxes_px=np.array([[30, 60, 80, 110], [0, 0, 20, 20], [-1, -1, -1, -1]]),
      detection_classes=np.array([2, 1, 0]),
      detection_scores=np.array([0.9, 0.1, 0.0]),
      **options,
    )

  def test_parts_lie_side_by_side_in_two_rows(self):
    # 96 x 128 px are scaled to 192 x 256: boxes, too. Rows: truth, predictions, foreground;
    # closeness, windows.
    panel = self.everything(self.IMAGE, cell_px=256)
    assert panel.shape[1] == 3 * 256 + 2 * 4
    caption = panel.shape[0] // 2 - 192
    truth, predictions = panel[caption:], panel[caption:, 260:]
    assert tuple(truth[80, 20]) == CAT
    assert tuple(predictions[120, 120]) == DOG
    assert not has(predictions[:192, :256], CAT)
    foreground = panel[caption : caption + 192, 520:]
    assert (foreground == foreground[0, 0]).all() and foreground[0, 0, 1] > 90
    windows = panel[panel.shape[0] // 2 + caption :, 260:]
    assert tuple(windows[60, 79]) == (255, 255, 255)

  def test_the_content_is_cut_before_scaling(self):
    padded = np.zeros((200, 200, 3), np.uint8)
    padded[:96, :128] = 90
    cut = self.everything(padded, cell_px=256, image_size_px=(96.0, 128.0))
    np.testing.assert_array_equal(cut, self.everything(self.IMAGE, cell_px=256))

  def test_regions_to_be_ignored_are_dashed_in_the_ground_truth_alone(self):
    boxes = np.array([[20, 10, 60, 50], [40, 60, 90, 120], [-1, -1, -1, -1]], np.float32)
    classes = np.array([1, 0, -1])
    panel = draw.training_panel(
      self.IMAGE,
      boxes,
      classes,
      NAMES,
      closeness_labels=np.zeros((3, 3)),
      detection_boxes_px=boxes,
      detection_classes=classes,
      detection_scores=np.ones(3),
      cell_px=256,
    )
    truth, predictions, near = (panel[-192:, left : left + 256] for left in (0, 260, 520))
    # The left side of the region at twice its size: about half of it is dashes.
    dashes = (truth[82:160, 120] == canvas_lib.GREY).all(axis=-1)
    assert 0.3 < dashes.mean() < 0.7
    assert dashes[:2].all() and not dashes[2:6].any() and dashes[6:8].all()
    for other in (predictions, near):
      assert (other[82:160, 120] == 90).all()
    assert tuple(truth[80, 20]) == CAT

  def test_parts_that_are_not_given_are_left_out(self):
    panel = draw.training_panel(self.IMAGE, *self.TRUTH, NAMES, cell_px=256)
    assert panel.shape[1] == 256 and panel.shape[0] < 2 * 192

  @pytest.mark.parametrize("shape", [(1, 1), (1, 500), (700, 500)])
  def test_nothing_to_show_at_any_size(self, shape):
    panel = draw.training_panel(
      grey_image(*shape),
      NO_BOXES,
      NO_CLASSES,
      NAMES,
      windows_px=np.zeros((4, 4)),
      window_labels=np.zeros((4, 3)),
      closeness_labels=np.zeros((0, 3)),
      foreground_mask=np.zeros((64, 64)),
      detection_boxes_px=NO_BOXES,
      detection_classes=NO_CLASSES,
      detection_scores=np.zeros(0),
      cell_px=128,
    )
    assert panel.dtype == np.uint8 and panel.shape[2] == 3
