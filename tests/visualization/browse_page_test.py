"""The page of training images: what is on it, and what a reader sees of it in a browser."""

import dataclasses
import re

import numpy as np
import pytest

from mtl_ssl_tf.visualization import browse_page, draw
from tests import fixtures, web_page_test

NAMES = ["cat", "dog"]
# A cat, a dog, an ignored region, an ignored crowd, a crowd that is kept, padding.
BOXES = np.float32(
  [[0, 0, 20, 20], [30, 60, 50, 90], [5, 30, 20, 50], [20, 0, 40, 30], [45, 0, 60, 40], [-1] * 4]
)
CLASSES = np.array([1, 2, 0, 0, 2, -1])
IS_CROWD = np.array([False, False, False, True, True, False])


def fed_image(**others) -> browse_page.FedImage:
  """A whole image of 60 × 100 pixels."""
  closeness = np.zeros([6, 3], np.float32)
  closeness[:2] = [[0.0, 0.25, 0.75], [0.0, 1.0, 0.0]]
  image = browse_page.FedImage(
    name="first",
    place="batch 0, row 1",
    image=fixtures.noise_image(60, 100),
    input_size=(64, 128),
    boxes_px=BOXES,
    classes=CLASSES,
    is_crowd=IS_CROWD,
    flipped=True,
    windows_px=np.tile(np.float32([[0, 0, 30, 50]]), [8, 1]),
    window_labels=np.tile(np.float32([[0.5, 0.3, 0.2]]), [8, 1]),
    closeness_labels=closeness,
    foreground_mask=np.eye(4, dtype=np.float32),
  )
  return dataclasses.replace(image, **others)


def bare_image(**others) -> browse_page.FedImage:
  """The same of a detector without auxiliary tasks, and with a single cat."""
  nothing = dict.fromkeys(
    ("windows_px", "window_labels", "closeness_labels", "foreground_mask"), None
  )
  return fed_image(
    boxes_px=BOXES[:1], classes=CLASSES[:1], is_crowd=IS_CROWD[:1], **nothing, **others
  )


def mined_views() -> list[draw.MinedView]:
  image = fixtures.noise_image(60, 100)
  found = (BOXES[1:4], np.array([2, 0, -1]), np.float32([0.75, 0.4, 0.0]))
  return [draw.MinedView("The image", image, *found), draw.MinedView("A copy", image, *found)]


def page(*images, names=NAMES, title="Images", about=("From batch 0 on.",)) -> str:
  return browse_page.page(title, about, names, images).decode()


def shown_layers(html: str) -> list[str]:
  return re.findall(r'id="show-(\w+)"', html)


def tags_of(html: str) -> list[str]:
  return re.findall(r'<span class="tag [^"]*"[^>]*>([^<]*)</span>', html)


def test_layers_are_those_that_images_have_something_in():
  assert shown_layers(page(bare_image())) == ["boxes", "names"]
  assert shown_layers(page(fed_image())) == [
    "boxes", "names", "ignored", "crowds", "windows", "closeness", "foreground",
  ]  # fmt: skip
  assert "mined" in shown_layers(page(bare_image(views=mined_views())))
  nothing = [view._replace(classes=np.array([-1] * 3)) for view in mined_views()]
  assert "mined" not in shown_layers(page(bare_image(views=nothing)))


def test_regions_and_crowds_are_told_apart():
  html = page(fed_image())
  tags = tags_of(html)
  assert tags.count("ignored") == 1
  assert tags.count("crowd, ignored") == 1
  assert tags.count("crowd, taught as dog") == 1
  assert tags.count("cat") == tags.count("dog") == 1
  assert html.count('<g class="layer-crowds">') == 2
  assert html.count('<g class="layer-ignored">') == 1
  assert html.count('<g class="layer-boxes">') == 2


def test_mined_boxes_are_in_both_views_with_their_scores():
  tags = tags_of(page(bare_image(views=mined_views())))
  assert tags.count("mined: dog 0.75") == 2
  assert tags.count("mined: doubtful, ignored 0.40") == 2
  assert tags.count("cat") == 2


def test_windows_are_the_first_ones_with_their_largest_classes():
  html = page(fed_image())
  assert [tag for tag in tags_of(html) if tag.startswith("window")] == [
    f"window {i}" for i in range(1, 7)
  ]
  texts = web_page_test.Reader(html).texts
  assert "the first 6 of 8 windows" in texts
  place = texts.index("background")
  assert texts[place : place + 6] == ["background", "0.50", "cat", "0.30", "dog", "0.20"]


def test_closeness_is_half_a_line_to_each_neighbour():
  html = page(fed_image())
  assert html.count('<path class="layer-closeness" d="M') == 2 + 2 * 3  # Links; dots of objects.
  assert {"0.75", "1.00"} <= set(tags_of(html))


def test_where_an_image_comes_from():
  place = "batch 0, row 1; 60 × 100 pixels in an input of 64 × 128"
  for flipped, text in ((True, f"{place}, mirrored"), (False, place)):
    assert text in web_page_test.Reader(page(fed_image(flipped=flipped))).texts


def test_outside_text_is_only_text():
  evil, views = web_page_test.EVIL, mined_views()
  image = fed_image(views=views, name=evil, place=evil)
  reader = web_page_test.Reader(page(image, names=[evil, evil], title=evil, about=[evil]))
  sound = web_page_test.Reader(page(fed_image(views=views)))
  assert [tag for tag, _ in reader.tags] == [tag for tag, _ in sound.tags]
  assert not {"script", "link", "a"} & {tag for tag, _ in reader.tags}


@pytest.fixture(name="file")
def _file(tmp_path):
  path = tmp_path / "page.html"
  long_name = fed_image(name="an_image_with_a_name_that_never_ends_" * 4, views=mined_views())
  path.write_bytes(
    browse_page.page("Images", ["about " * 30], NAMES, [long_name, fed_image(), bare_image()])
  )
  return path


@pytest.mark.parametrize("width", [390, 1280])
def test_a_browser_shows_all_of_it(browser, file, width):
  browser.open(file, width, 800)
  browser.check()
  for name in ("windows", "closeness", "foreground"):
    browser.evaluate(f"document.getElementById('show-{name}').click()")
  browser.check()


# Whether some of a layer can be seen.
_VISIBLE = "[...document.querySelectorAll('.layer-{}')].some(e => e.getClientRects().length)"


def test_keys_switch_a_layer(browser, file):
  browser.open(file, 390, 800)
  assert browser.evaluate(_VISIBLE.format("crowds"))
  assert not browser.evaluate(_VISIBLE.format("windows"))
  for layer in ("crowds", "windows"):
    browser.evaluate(f"document.getElementById('show-{layer}').focus()")
    browser.press(" ", " ")
  assert not browser.evaluate(_VISIBLE.format("crowds"))
  assert browser.evaluate(_VISIBLE.format("windows"))


def test_a_dark_screen_has_a_dark_page(browser, file):
  color = "getComputedStyle(document.body).backgroundColor"
  browser.open(file, 390, scheme="dark")
  assert browser.evaluate(color) == "rgb(22, 23, 27)"
  browser.open(file, 390, scheme="light")
  assert browser.evaluate(color) == "rgb(255, 255, 255)"


def test_classes_that_an_image_is_annotated_for():
  assert "annotated for" not in page(fed_image())
  names = ["cat", "<b>dog</b>", "cow"]
  text = page(fed_image(annotated_classes=np.array([1, 2])), names=names)
  assert "annotated for cat, &lt;b&gt;dog&lt;/b&gt;</p>" in text
  assert "annotated for no class</p>" in page(fed_image(annotated_classes=np.array([], int)))
