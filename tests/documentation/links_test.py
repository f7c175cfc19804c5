"""Links of the pages lead somewhere: to a file of the repository, and to a heading in it."""

import os
import pathlib

import pytest

from tests.documentation import pages

NEW = "docs/new.md"
_ELSEWHERE = ("http://", "https://", "mailto:")


def dead(page: str) -> list[str]:
  """Returns a line for each link of a page whose file or heading is not there."""
  found = []
  for number, target in pages.links(page):
    if target.startswith(_ELSEWHERE):
      continue
    path, _, anchor = target.partition("#")
    file = os.path.normpath(os.path.join(os.path.dirname(page), path)) if path else page
    if path and not (pages.ROOT / file).exists():
      found.append(f"{page}:{number}: {target}: no file {file}")
    elif anchor and anchor not in pages.anchors(file):
      found.append(f"{page}:{number}: {target}: no heading #{anchor} in {file}")
  return found


@pytest.mark.parametrize("page", pages.names())
def test_links(page):
  assert not dead(page), "\n".join(dead(page))


def test_every_page_is_in_the_index():
  index = {
    os.path.normpath(os.path.join("docs", target.partition("#")[0]))
    for _, target in pages.links("docs/README.md")
  }
  assert set(pages.names()) - {"docs/README.md"} <= index


def test_a_dead_link_is_found(monkeypatch):
  content = ["# A", "", "[x](nowhere.md), [y](#a) and [`z`](#b),", "[w](fpn.md#the-parts)."]
  lines = pages.lines
  monkeypatch.setattr(pages, "lines", lambda page: content if page == NEW else lines(page))
  assert dead(NEW) == [
    "docs/new.md:3: nowhere.md: no file docs/nowhere.md",
    "docs/new.md:3: #b: no heading #b in docs/new.md",
  ]


def test_pictures_can_be_read_in_the_dark():
  """Drawings change their colours with the reader's, as no page behind them is white."""
  drawings = sorted(pathlib.Path(pages.ROOT, "docs").glob("**/*.svg"))
  for path in drawings:
    assert "prefers-color-scheme: dark" in path.read_text(), path
