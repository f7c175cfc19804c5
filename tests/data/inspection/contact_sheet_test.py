"""Tests of the page of worst images: pictures by their pixels, text by what a parser reads."""

import base64
import html.parser
import io
import re

import numpy as np
import pytest
from PIL import Image

from mtl_ssl_tf.data.inspection import checks, contact_sheet, statistics
from tests.data import costly_images, voc_files
from tests.data.inspection import limits


def _finding(value="v", level=checks.FAULT, **others) -> checks.Finding:
  return checks.Finding("kind", level, "a.xml", "field", value, "accepted", **others)


def _grey(height=40, width=80, image_format="PNG") -> bytes:
  return voc_files.image_bytes(Image.new("RGB", (width, height), (128, 128, 128)), image_format)


def _pixels(encoded, boxes=None, levels=None) -> np.ndarray:
  content = contact_sheet.thumbnail(encoded, boxes or {}, levels or {})
  with Image.open(io.BytesIO(content)) as image:
    assert image.format == "JPEG"
    return np.asarray(image).astype(int)


def _is_colour(pixel, colour) -> bool:
  return np.abs(pixel - np.array(colour)).max() < 90


_RED, _ORANGE, _GREEN, _GREY = (255, 40, 40), (255, 170, 0), (40, 200, 90), (128, 128, 128)


class TestThumbnail:
  @pytest.mark.parametrize(
    ("size", "shown"),
    [
      ((400, 800), (200, 400)),
      ((800, 100), (400, 50)),
      ((40, 80), (160, 320)),
      ((1, 5000), (1, 400)),
    ],
  )
  @pytest.mark.parametrize("image_format", ["JPEG", "PNG"])
  def test_size(self, size, shown, image_format):
    assert _pixels(_grey(*size, image_format)).shape == (*shown, 3)

  # Shown four times as large: the box is 40 … 120 by 80 … 240.
  @pytest.mark.parametrize(
    ("levels", "colour"),
    [({}, _GREEN), ({1: checks.WARNING}, _ORANGE), ({1: checks.FAULT}, _RED)],
  )
  def test_box_in_the_colour_of_its_level(self, levels, colour):
    pixels = _pixels(_grey(), {1: (10, 20, 30, 60)}, levels)
    for y, x in ((40, 200), (120, 200), (80, 80), (80, 240)):
      assert _is_colour(pixels[y, x], colour)
    assert _is_colour(pixels[80, 160], _GREY)
    assert _is_colour(pixels[20, 300], _GREY)

  def test_a_jpeg_decoded_at_a_fraction_has_its_boxes_in_place(self):
    pixels = _pixels(_grey(1600, 3200, "JPEG"), {1: (400, 800, 1200, 2400)}, {1: checks.FAULT})
    assert pixels.shape == (200, 400, 3)
    for y, x in ((50, 200), (150, 200), (100, 100), (100, 300)):
      assert _is_colour(pixels[y, x], _RED)

  def test_a_remarkable_box_lies_on_top(self):
    boxes = {1: (10, 20, 30, 60), 2: (10, 20, 30, 60)}
    assert _is_colour(_pixels(_grey(), boxes, {1: checks.FAULT})[120, 200], _RED)

  @pytest.mark.parametrize(
    "box", [(20, 40, 20, 40), (20, 40, 20.1, 40.1), (20.5, 40, 19.5, 40), (20, 41, 20, 39)]
  )
  def test_a_box_too_small_or_turned_around_is_seen(self, box):
    pixels = _pixels(_grey(), {1: box}, {1: checks.FAULT})
    # Below the middle of the box, 80, and so below its number, which is red too.
    below = pixels[80:90, 150:172].reshape(-1, 3)
    assert np.sum([_is_colour(pixel, _RED) for pixel in below]) >= 16

  def test_a_box_partly_outside_is_cut(self):
    pixels = _pixels(_grey(), {1: (10, 20, 30, 90)}, {1: checks.FAULT})
    assert _is_colour(pixels[80, 318], _RED)

  @pytest.mark.parametrize(
    "box",
    [
      (float("nan"), 0, 10, 10),
      (0, 0, float("inf"), 10),
      (0, 0, 1e9, 10),
      (-1e9, 0, 10, 10),
    ],
  )
  def test_a_box_that_is_nowhere_near_is_left_out(self, box):
    pixels = _pixels(_grey(), {1: box}, {1: checks.FAULT})
    assert np.abs(pixels - 128).max() < 10

  def test_an_image_of_one_pixel(self):
    assert _pixels(_grey(1, 1), {1: (0, 0, 1, 1)}, {1: checks.FAULT}).shape == (4, 4, 3)

  @pytest.mark.parametrize("encoded", [None, b"", b"<html>", _grey()[:60], _grey(20, 20, "GIF")])
  def test_no_picture(self, encoded):
    assert contact_sheet.thumbnail(encoded, {}, {}) is None

  def test_too_many_pixels(self, monkeypatch):
    monkeypatch.setattr(contact_sheet.thumbnails.image_files, "MAX_PIXELS", 40 * 80 - 1)
    assert contact_sheet.thumbnail(_grey(), {}, {}) is None


class _Reader(html.parser.HTMLParser):
  """Collects texts and tags."""

  def __init__(self, content: str):
    super().__init__()
    self.texts, self.tags, self.attributes = [], [], []
    self.feed(content)

  def handle_data(self, data):
    self.texts.append(data)

  def handle_starttag(self, tag, attrs):
    self.tags.append(tag)
    self.attributes += attrs


def _page(worst=(), kinds=None, general=(), title="a data set", classes=("cat",), **others) -> str:
  gathered = statistics.DataStatistics(limits.make(), classes)
  gathered.add(
    checks.ImageFacts(
      "a.xml", "a", 100, 100, np.array([[0.0, 0, 50, 50]]), classes[:1], [1], [False], [False]
    )
  )
  summary = gathered.summary()
  return contact_sheet.page(title, kinds or {}, general, worst, summary, **others).decode()


def _sampled(name="s", class_names=("cat", "cat", "cat")) -> contact_sheet.SampledImage:
  boxes = np.array([[4.0, 8.0, 36.0, 72.0], [0, 0, 20, 20], [0, 0, 10, 10]])
  return contact_sheet.SampledImage(
    name,
    contact_sheet.thumbnail(_grey(), {}, {}),
    (40, 80),
    boxes,
    class_names,
    [False, True, False],
    [False, False, True],
  )


class TestPage:
  def test_shows_each_image_with_its_texts_in_order(self):
    picture = contact_sheet.thumbnail(_grey(), {}, {})
    text = _page([("a", picture, [_finding("one"), _finding("two")]), ("b", None, [_finding()])])
    texts = _Reader(text).texts
    places = [
      texts.index(wanted)
      for wanted in (
        "a",
        "a.xml: field: one; accepted: accepted",
        "a.xml: field: two; accepted: accepted",
        "no picture",
        "b",
        "a.xml: field: v; accepted: accepted",
      )
    ]
    assert places == sorted(places)
    (encoded,) = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', text)
    assert base64.b64decode(encoded) == picture

  def test_faults_before_warnings_and_the_rest_counted(self):
    findings = [_finding("w", checks.WARNING)] * 12 + [_finding("f")]
    texts = _Reader(_page([("a", None, findings)])).texts
    told = [text for text in texts if text.startswith(("a.xml", "and "))]
    assert told[0] == "a.xml: field: f; accepted: accepted"
    assert len(told) == 13
    assert told[-1] == "and 1 more"

  def test_outside_text_is_only_text(self):
    evil = "<script>alert(1)</script>\"'&\x1b\n\udcff\u202e"
    finding = checks.Finding(evil, checks.FAULT, evil, evil, evil, evil, source_id=evil)
    kinds = {evil: {"level": checks.FAULT, "num_findings": 1, "num_images": 1}}
    text = _page([(evil, None, [finding])], kinds, [finding], evil, [evil])
    sound = _page([("a", None, [finding])], {"a": kinds[evil]}, [finding], "a", ["a"])
    assert _Reader(text).tags == _Reader(sound).tags
    shown = "<script>alert(1)</script>\"'&\\x1b\\n\\udcff\\u202e"
    assert _Reader(text).texts.count(shown) == 5
    assert "\x1b" not in text

  def test_a_sample_is_shown_with_the_classes_of_its_boxes(self):
    texts = _Reader(_page(sample=[_sampled()])).texts
    place = texts.index("1 images at random")
    labels = ["cat", "cat (difficult)", "cat (crowd)"]
    assert [text for text in texts[place:] if text in labels][:3] == labels
    text = _page(sample=[_sampled()])
    assert 'x="0.10000" y="0.10000" width="0.80000" height="0.80000"' in text
    assert text.count('stroke-dasharray="1 6"') == 2
    assert "at random" not in _page()

  def test_names_in_a_sample_are_only_text(self):
    evil = "<script>alert(1)</script>"
    named = _Reader(_page(sample=[_sampled(evil, [evil] * 3)], judged_by=evil))
    sound = _Reader(_page(sample=[_sampled()], judged_by="x"))
    assert named.tags == sound.tags
    assert len([text for text in named.texts if evil in text]) == 5

  def test_which_network_they_are_judged_by(self):
    assert "judged by x" in _Reader(_page(judged_by="judged by x")).texts

  @pytest.mark.parametrize("width", [390, 1280])
  def test_a_browser_shows_all_of_it(self, browser, tmp_path, width):
    picture = contact_sheet.thumbnail(_grey(), {}, {})
    long = _finding("v" * 300, source_id="s" * 100)
    kinds = {"k" * 40: {"level": checks.FAULT, "num_findings": 1, "num_images": 1}}
    worst = [("a" * 80, picture, [long] * 3), ("b", None, [])]
    content = _page(worst, kinds, [long], "t" * 90, ["c" * 30], sample=[_sampled("n" * 90)] * 3)
    (tmp_path / "page.html").write_text(content)
    browser.open(tmp_path / "page.html", width, 800)
    browser.check()
    assert browser.evaluate("document.images.length") == 4

  def test_refers_to_nothing_outside(self):
    picture = contact_sheet.thumbnail(_grey(), {}, {})
    reader = _Reader(_page([("a", picture, [_finding()])], sample=[_sampled()]))
    assert not {"script", "link", "iframe", "a"} & set(reader.tags)
    sources = [value for name, value in reader.attributes if name in ("src", "href")]
    assert all(source.startswith("data:") for source in sources)
    assert ("http-equiv", "Content-Security-Policy") in reader.attributes

  def test_table_of_kinds(self):
    kinds = {"label": {"level": checks.FAULT, "num_findings": 17, "num_images": 11}}
    texts = _Reader(_page(kinds=kinds)).texts
    place = texts.index("label")
    assert texts[place : place + 4] == ["label", "fault", "17", "11"]

  def test_nothing_found(self):
    texts = _Reader(_page()).texts
    assert "Nothing was found." in texts
    assert "None." in texts

  def test_general_findings(self):
    assert "a.xml: field: g; accepted: accepted" in _Reader(_page(general=[_finding("g")])).texts

  def test_figures(self):
    texts = _Reader(_page()).texts
    # Of a box of 50 x 50 in an image of 100 x 100: 300 x 300 in the network input.
    place = texts.index("side in the network input, pixels from")
    assert texts[place + 1 : place + 3] == ["256", "1"]
    assert texts[texts.index("cat") + 1] == "1"
    assert any(text.startswith("1 images, 0 of them without boxes; 1 boxes;") for text in texts)

  def test_each_table_has_its_own_figures(self):
    tables = {
      "boxes of each class": {"cat": 30, "dog": 15},
      "boxes in an image": {"0": 1, "7": 4},
      "size, as COCO has it": {"small": 8, "large": 2},
      "side in the file, pixels from": {"16": 3},
      "side in the network input, pixels from": {"32": 5},
      "width by height, from": {"0.5": 6},
      "best IoU with an anchor's shape, from": {"0.3": 9},
      "images annotated for each class": {"cat": 11},
    }
    figures = iter(tables.values())
    summary = {
      "num_images": 21,
      "num_images_without_boxes": 22,
      "num_boxes": 23,
      "classes": {name: {"num_boxes": count} for name, count in next(figures).items()},
      "boxes_per_image": {"most": 24, "max_num_boxes": 25, "histogram": next(figures)},
      "box_sizes": {
        "coco": next(figures),
        "side_in_file_log2": next(figures),
        "side_in_network_input_log2": next(figures),
      },
      "aspect_ratios_half_log2": next(figures),
      "anchors": {"num_boxes_smaller": 26, "share_smaller": 0.125, "best_shape_iou": next(figures)},
      "annotated_classes": {"images_per_class": next(figures)},
    }
    text = contact_sheet.page("t", {}, [], [], summary).decode()
    texts = _Reader(text).texts
    assert (
      "21 images, 22 of them without boxes; 23 boxes; at most 24 in an image, of max_num_boxes 25;"
      " 26 boxes (12.5 %) are smaller than the smallest anchor."
    ) in texts
    expected = [
      (title, *(str(cell) for row in rows.items() for cell in row))
      for title, rows in tables.items()
    ]
    shown = [text for text in texts[texts.index("boxes of each class") :] if text.strip()]
    assert shown[: sum(map(len, expected))] == [cell for table in expected for cell in table]
    # The longest bar of each table is as long as that of any other.
    widths = [int(width) for width in re.findall(r'class="bar" style="width:(\d+)px"', text)]
    assert widths == [120, 60, 30, 120, 120, 30, 120, 120, 120, 120, 120]

  def test_no_images(self):
    summary = statistics.DataStatistics(limits.make(), None).summary()
    assert b"0 images" in contact_sheet.page("t", {}, [], [], summary)


@pytest.mark.parametrize("name", costly_images.REFUSED)
def test_an_image_that_costs_too_much_is_not_shown(name, monkeypatch):
  opened = []
  monkeypatch.setattr(Image, "open", lambda *args, **options: opened.append(args))
  assert contact_sheet.thumbnail(costly_images.REFUSED[name][0], {}, {}) is None
  assert not opened
