"""What all pages share: text stays text, nothing is fetched, tables scroll by themselves."""

import base64
import hashlib
import html.parser
import re

from mtl_ssl_tf import web_page

EVIL = "<script>alert(1)</script>\"'&\x1b\n\udcff"


class Reader(html.parser.HTMLParser):
  """Collects the tags with their attributes, and the texts of a page."""

  def __init__(self, content: str):
    super().__init__()
    self.tags: list[tuple[str, dict[str, str]]] = []
    self.texts: list[str] = []
    self.feed(content)

  def handle_starttag(self, tag, attrs):
    self.tags.append((tag, dict(attrs)))

  def handle_data(self, data):
    self.texts.append(data)


def read(content: bytes) -> Reader:
  return Reader(content.decode())


def test_text_is_only_text():
  table = web_page.table(["a"], [[EVIL]], EVIL)
  evil, sound = (
    read(web_page.page(title, [part, web_page.image(b"", "png", title)]))
    for title, part in ((EVIL, table), ("b", web_page.table(["a"], [["b"]], "b")))
  )
  assert [tag for tag, _ in evil.tags] == [tag for tag, _ in sound.tags]
  shown = "<script>alert(1)</script>\"'&\\x1b\\n\\udcff"
  assert evil.texts.count(shown) == 2
  assert [of["alt"] for tag, of in evil.tags if tag == "img"] == [shown]
  assert [of["aria-label"] for _, of in evil.tags if "aria-label" in of] == [shown]


def test_only_the_page_s_own_script_may_run():
  script = "document.title = 'x';"
  tags = read(web_page.page("t", [], script=script)).tags
  (policy,) = (of["content"] for _, of in tags if "http-equiv" in of)
  digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
  assert policy == (
    f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
  )
  without = web_page.page("t", [])
  assert b"script" not in without
  assert ("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}) in read(
    without
  ).tags


def test_a_table_is_a_region_that_scrolls_and_that_keys_reach():
  tags = read(web_page.page("t", [web_page.table(["a"], [["b"]], "what it is")])).tags
  region = {"class": "wide", "tabindex": "0", "role": "region", "aria-label": "what it is"}
  assert ("div", region) in tags
  assert "button" not in [tag for tag, _ in tags]


def test_headers_are_buttons_where_a_table_can_be_sorted():
  rows = [["x", web_page.Number("50.0", 0.5)], ["y", web_page.Number("-", float("nan"))]]
  text = web_page.table(["name", "AP"], rows, "l", identifier="classes")
  assert re.findall(r"<th .*?</th>", text) == [
    '<th scope="col"><button type="button">name</button></th>',
    '<th scope="col" class="number"><button type="button">AP</button></th>',
  ]
  assert 'data-value="0.5">50.0<' in text and 'data-value="">-<' in text
