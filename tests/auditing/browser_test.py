"""The page in a headless Chromium, where there is one: pictures, keys, decisions kept and saved."""

import json
import time

import pytest

from mtl_ssl_tf.auditing import listing

_CARDS = "[...document.querySelectorAll('#candidates .card')]"
_DECISIONS = f"{_CARDS}.map(card => card.dataset.decision)"
_SHOWN = f"{_CARDS}.filter(card => card.offsetParent).length"
_CURRENT = f"{_CARDS}.findIndex(card => card.hasAttribute('aria-current'))"
_COUNTS = "document.getElementById('counts').textContent"


@pytest.fixture(name="opened")
def _opened(browser, page):
  browser.open(page, 1280)
  browser.evaluate("localStorage.clear()")
  browser.open(page, 1280)
  yield browser
  browser.evaluate("1")  # Events come before the answer.
  assert browser.messages == []


def _choose(browser, key, value):
  browser.evaluate(
    f"""(() => {{ const field = document.querySelector("select[data-key={key}]");
    field.value = "{value}"; field.dispatchEvent(new Event("input")); }})()"""
  )


def _press(browser, *keys):
  for key in keys:
    browser.press(key, key if len(key) == 1 else "", ord(key.upper()) if len(key) == 1 else 39)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_every_picture_is_there_and_nothing_is_wider_than_the_page(browser, page, width, scheme):
  browser.open(page, width, scheme=scheme)
  browser.check()
  assert browser.evaluate("document.images.length") == 12 == browser.evaluate(_SHOWN)
  paper = browser.evaluate("getComputedStyle(document.body).backgroundColor")
  assert paper == {"light": "rgb(255, 255, 255)", "dark": "rgb(22, 23, 27)"}[scheme]
  # Large enough for fingers.
  heights = "[...document.querySelectorAll('.choice button')].map(one => one.offsetHeight)"
  assert min(browser.evaluate(heights)) >= 44


def test_names_are_text(opened):
  assert opened.evaluate("document.querySelectorAll('#candidates script').length") == 0
  assert opened.evaluate("document.querySelectorAll('img:not([src^=\"data:\"])').length") == 0
  text = opened.evaluate("document.getElementById('candidates').textContent")
  assert "<script>alert(1)</script>" in text and "<img src=x onerror=alert(2)>" in text


def test_keys_decide_and_move_on(opened):
  assert opened.evaluate(_CURRENT) == -1
  _press(opened, "j")
  assert opened.evaluate(_CURRENT) == 0
  _press(opened, "a", "r", "j", "a")
  assert opened.evaluate(_DECISIONS)[:5] == ["accept", "reject", "open", "accept", "open"]
  assert opened.evaluate(_CURRENT) == 4
  assert opened.evaluate(_COUNTS) == "2 accepted, 1 rejected, 9 open"
  # What is decided so already stays so.
  _press(opened, "k", "a")
  assert opened.evaluate(_COUNTS) == "2 accepted, 1 rejected, 9 open"
  _press(opened, "k", "u", "ArrowLeft")
  assert opened.evaluate(_DECISIONS)[3] == "open"
  assert opened.evaluate(_CURRENT) == 2
  # Typing a name decides nothing.
  opened.evaluate("document.querySelector('input[type=search]').focus()")
  _press(opened, "a")
  assert opened.evaluate(_COUNTS) == "1 accepted, 1 rejected, 10 open"


def test_buttons_decide_and_take_back(opened):
  press = "document.querySelectorAll('#candidates .card')[{}].querySelector('[data-decision={}]')"
  opened.evaluate(f"{press.format(2, 'accept')}.click()")
  opened.evaluate(f"{press.format(3, 'reject')}.click()")
  assert opened.evaluate(_DECISIONS)[2:4] == ["accept", "reject"]
  assert opened.evaluate(f"{press.format(2, 'accept')}.getAttribute('aria-pressed')") == "true"
  assert opened.evaluate(f"{press.format(2, 'reject')}.getAttribute('aria-pressed')") == "false"
  opened.evaluate(f"{press.format(2, 'accept')}.click()")
  assert opened.evaluate(_DECISIONS)[2] == "open"


def test_decisions_are_kept(opened, page):
  _press(opened, "j", "a", "r")
  before = opened.evaluate(_DECISIONS)
  opened.open(page, 390)
  assert opened.evaluate(_DECISIONS) == before
  assert before[:3] == ["accept", "reject", "open"]


def test_filters(opened):
  _press(opened, "j", "a", "r")
  _choose(opened, "decision", "open")
  assert opened.evaluate(_SHOWN) == 10
  # What is decided leaves the list, and the next one is current.
  _press(opened, "j", "a")
  assert opened.evaluate(_SHOWN) == 9
  assert opened.evaluate(_CURRENT) == 4
  _choose(opened, "decision", "accept")
  assert opened.evaluate(_SHOWN) == 2
  _choose(opened, "decision", "")
  kinds = opened.evaluate(f"{_CARDS}.map(card => card.dataset.kinds)")
  _choose(opened, "kinds", kinds[0])
  assert opened.evaluate(_SHOWN) == kinds.count(kinds[0])


def test_decisions_are_saved_and_loaded(opened, page, tmp_path):
  opened.call("Page.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
  _press(opened, "j", "a", "r")
  opened.evaluate("document.getElementById('save').click()")
  path, limit = tmp_path / "decisions.json", time.monotonic() + 60.0
  while not path.exists() and time.monotonic() < limit:
    time.sleep(0.05)
  content = json.loads(path.read_text())
  ids = opened.evaluate(f"{_CARDS}.map(card => card.dataset.id)")
  assert content["decisions"] == {ids[0]: "accept", ids[1]: "reject"}
  # The command reads it.
  listed = listing.read(page.with_name("audit.json"), content["annotations"])
  accepted = listing.read_accepted(str(path), listed, content["annotations"])
  assert [row["id"] for row in accepted] == ids[:1]
  opened.evaluate("localStorage.clear()")
  opened.open(page, 1280)
  assert opened.evaluate(_COUNTS) == "0 accepted, 0 rejected, 12 open"
  _load(opened, path)
  assert opened.evaluate(_COUNTS) == "1 accepted, 1 rejected, 10 open"
  assert opened.evaluate("document.getElementById('message').textContent") == "2 decisions loaded."


@pytest.mark.parametrize(
  ("text", "message"),
  [
    ("{", "This is no file of decisions."),
    ('{"annotations": "0", "decisions": {}}', "These decisions are about other annotations."),
  ],
)
def test_other_files_are_refused(opened, tmp_path, text, message):
  (tmp_path / "other.json").write_text(text)
  _load(opened, tmp_path / "other.json")
  assert opened.evaluate("document.getElementById('message').textContent") == message


def _load(browser, path):
  found = browser.call("Runtime.evaluate", expression="document.getElementById('load')")
  files = {"files": [str(path)], "objectId": found["result"]["objectId"]}
  browser.call("DOM.setFileInputFiles", **files)
  shown = "document.getElementById('message').textContent"
  limit = time.monotonic() + 20.0
  while not browser.evaluate(shown) and time.monotonic() < limit:
    time.sleep(0.05)


def test_a_browser_that_keeps_nothing(browser, page):
  """Some refuse pages from files a storage: decisions last as long as the page does."""
  script = "Object.defineProperty(window, 'localStorage', {get() { throw new Error('no'); }});"
  added = browser.call("Page.addScriptToEvaluateOnNewDocument", source=script)
  try:
    browser.open(page, 1280)
    _press(browser, "j", "a")
    assert browser.evaluate(_DECISIONS)[:2] == ["accept", "open"]
    assert browser.messages == []
  finally:
    browser.call("Page.removeScriptToEvaluateOnNewDocument", identifier=added["identifier"])
