"""The pages of the documentation: their blocks of code, headings and links."""

import functools
import pathlib
import re
from typing import NamedTuple

ROOT = pathlib.Path(__file__).parents[2]
# What a block without anything to check is, or what is checked of it.
LANGUAGES = ("sh", "console", "python", "yaml", "json", "text", "{autodoc2-object}")
# A line of its own next to a block.
NOT_RUN = re.compile(r"^\s*\*Not run by the tests: .+\.\*$")
_FENCE = re.compile(r"^(\s*)```(.*)$")
_HEADING = re.compile(r"^#{1,6} (.+)$")
_LINK = re.compile(r"!?\[(?:[^\[\]]|\[[^\]]*\])*\]\(([^()\s]+)\)")
_CODE = re.compile(r"(`+)(.+?)\1")


class Block(NamedTuple):
  """A fenced block.

  Attributes:
    page: path from the root of the repository.
    line: of its first fence, from 1.
    headings: text of the headings that it lies under, the page's title first.
    language: what stands behind the first fence.
    text: what it holds, less the indentation of the fence.
    is_marked: whether the page says that the tests do not run it.
  """

  page: str
  line: int
  headings: tuple[str, ...]
  language: str
  text: str
  is_marked: bool

  def __str__(self) -> str:
    return f"{self.page}:{self.line}"


def names() -> list[str]:
  """The pages, as paths from the root of the repository."""
  pages = [ROOT / "README.md", ROOT / "configs" / "README.md", *sorted(ROOT.glob("docs/**/*.md"))]
  return [str(path.relative_to(ROOT)) for path in pages if "_build" not in path.parts]


@functools.cache
def lines(page: str) -> list[str]:
  """The lines of a page."""
  return (ROOT / page).read_text(encoding="utf-8").split("\n")


def blocks(page: str, content: list[str] | None = None) -> list[Block]:
  """The blocks of a page; blocks by indentation alone are refused.

  Raises:
    ValueError: a block is not fenced, or does not end.
  """
  content = lines(page) if content is None else content
  found, headings, in_list, i = [], [], False, 0
  while i < len(content):
    line = content[i]
    if heading := _HEADING.match(line):
      level = line.index(" ")
      headings = [*headings[: level - 1], heading[1]]
    if line and line[0] != " ":
      in_list = bool(re.match(r"([*-]|\d+\.) ", line))
    if line.startswith("    ") and not in_list and not content[i - 1]:
      raise ValueError(f"{page}:{i + 1} is code by its indentation; accepted: a fenced block")
    if fence := _FENCE.match(line):
      end = next((j for j in range(i + 1, len(content)) if content[j].strip() == "```"), None)
      if end is None:
        raise ValueError(f"{page}:{i + 1}: the block does not end")
      text = "\n".join(one.removeprefix(fence[1]) for one in content[i + 1 : end])
      around = content[max(i - 2, 0) : i] + content[end + 1 : end + 3]
      is_marked = any(map(NOT_RUN.match, around))
      found.append(Block(page, i + 1, tuple(headings), fence[2], text, is_marked))
      i = end
    i += 1
  return found


def prose(page: str) -> list[tuple[int, str]]:
  """The lines outside of blocks, with their numbers."""
  found, inside = [], False
  for number, line in enumerate(lines(page), 1):
    if _FENCE.match(line):
      inside = not inside
    elif not inside:
      found.append((number, line))
  return found


def spans(page: str) -> list[tuple[int, str]]:
  """The code within sentences and tables, with the numbers of its lines."""
  text = "\n".join(line for _, line in prose(page))
  numbers = [number for number, _ in prose(page)]
  found = []
  for match in _CODE.finditer(text):
    found.append((numbers[text.count("\n", 0, match.start())], " ".join(match[2].split())))
  return found


def links(page: str) -> list[tuple[int, str]]:
  """The targets of the links and pictures of a page, with the numbers of their lines."""
  text = "\n".join(line for _, line in prose(page))
  numbers = [number for number, _ in prose(page)]
  # Code holds no links, but the text of a link may be code.
  text = _CODE.sub(lambda match: "x" * len(match[0]) if "\n" not in match[0] else match[0], text)
  return [(numbers[text.count("\n", 0, m.start())], m[1]) for m in _LINK.finditer(text)]


def anchors(page: str) -> set[str]:
  """What `#` of a link may name: the headings, as GitHub and the site of `make docs` call them."""
  found: dict[str, int] = {}
  result = set()
  for _, line in prose(page):
    if heading := _HEADING.match(line):
      words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading[1]).strip().lower()
      name = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
      result.add(name if name not in found else f"{name}-{found[name]}")
      found[name] = found.get(name, 0) + 1
  return result
