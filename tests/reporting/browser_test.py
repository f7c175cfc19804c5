"""The page in a headless Chromium, where there is one: pictures, sorting, filters, width."""

import time

import pytest

from tests.reporting import made_up

_COLUMN = "Array.from(document.querySelectorAll('#classes tbody tr'), row => row.cells[{}].{})"
_SHOWN = "Array.from(document.querySelectorAll('#{} {}')).filter(item => item.offsetParent).length"


@pytest.fixture(name="opened")
def _opened(browser, page):
  browser.open(page, 1280)
  yield browser
  browser.evaluate("1")  # Events come before the answer.
  assert browser.messages == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_every_picture_is_there_and_nothing_is_wider_than_the_page(browser, page, width, scheme):
  browser.open(page, width, scheme=scheme)
  browser.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")
  sizes = browser.evaluate("Array.from(document.images, image => image.naturalWidth)")
  assert len(sizes) > 6 and min(sizes) > 0
  assert browser.evaluate("document.documentElement.scrollWidth") == width
  assert browser.evaluate("innerWidth") == width
  paper = browser.evaluate("getComputedStyle(document.body).backgroundColor")
  assert paper == {"light": "rgb(255, 255, 255)", "dark": "rgb(22, 23, 27)"}[scheme]
  assert browser.messages == []


def test_a_fault_would_be_noticed(browser, page, tmp_path):
  """What the other tests rely on: errors and pictures that are refused come out as messages."""
  text = page.read_text().replace("<main>", "<main><img src='https://example.org/a.png'>")
  (tmp_path / "changed.html").write_text(text)
  browser.open(tmp_path / "changed.html", 1280)
  browser.evaluate("setTimeout(() => document.none(), 0), 0")
  for wanted in ("document.none is not a function", "Content Security Policy"):
    limit = time.monotonic() + 20.0
    while not any(wanted in text for text in browser.messages) and time.monotonic() < limit:
      browser.evaluate("1")
    assert any(wanted in text for text in browser.messages), browser.messages


def test_tables_sort_by_the_buttons_in_their_headers(opened):
  names = _COLUMN.format(0, "textContent")
  counts = _COLUMN.format(1, "dataset.value")
  press = "document.querySelectorAll('#classes thead button')[{}].click()"
  order = "document.querySelectorAll('#classes thead th')[{}].getAttribute('aria-sort')"
  assert opened.evaluate(names) == list(made_up.NAMES)
  opened.evaluate(press.format(1))
  values = [int(value) for value in opened.evaluate(counts)]
  assert values == sorted(values, reverse=True) and len(set(values)) > 1
  assert opened.evaluate(order.format(1)) == "descending"
  opened.evaluate(press.format(1))
  assert [int(value) for value in opened.evaluate(counts)] == values[::-1]
  # What has no value is last in either order: nothing is an owl.
  for _ in range(2):
    opened.evaluate(press.format(4))
    assert opened.evaluate(names)[-1] == "owl"
  opened.evaluate(press.format(0))
  assert opened.evaluate(names) == [made_up.EVIL, "cat", "owl"]
  assert opened.evaluate(order.format(1)) is None
  assert opened.evaluate(order.format(0)) == "ascending"


def test_keys_reach_buttons_and_show_where_they_are(opened):
  opened.evaluate("document.querySelector('#classes thead button').focus()")
  opened.press("Tab", code=9)
  assert opened.evaluate("document.activeElement.textContent") == "objects"
  assert opened.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
  opened.press("Enter", "\r", 13)
  assert (
    opened.evaluate("document.activeElement.closest('th').getAttribute('aria-sort')")
    == "descending"
  )


def test_filters_have_labels_and_work(opened):
  unlabelled = (
    "Array.from(document.querySelectorAll('input, select')).filter(x => !x.labels.length)"
  )
  assert opened.evaluate(f"{unlabelled}.length") == 0
  choose = """(() => {{ const field = document.querySelector("[data-filters={}] {}");
    field.value = "{}"; field.dispatchEvent(new Event("input")); }})()"""
  told = "document.querySelector('[data-filters={}] output').textContent"
  opened.evaluate(choose.format("classes", "input", "SCRIPT"))
  assert opened.evaluate(_SHOWN.format("classes", "tbody tr")) == 1
  assert opened.evaluate(told.format("classes")) == "1 of 3"
  all_cards = opened.evaluate(_SHOWN.format("images", ".card"))
  opened.evaluate(choose.format("images", "select[data-key=group]", "worst"))
  worst = opened.evaluate(_SHOWN.format("images", ".card"))
  assert 0 < worst < all_cards
  opened.evaluate(choose.format("images", "select[data-key=kinds]", "missed"))
  missed = opened.evaluate(_SHOWN.format("images", ".card"))
  expected = opened.evaluate(
    "document.querySelectorAll('#images [data-group=worst][data-kinds~=missed]').length"
  )
  assert missed == expected > 0
  assert opened.evaluate(told.format("images")) == f"{missed} of {all_cards}"
