"""Parts that all our pages share: one HTML file each, which fetches nothing.

Names, texts and pictures come from outside: `escape` makes text of them, and the policy in the head
lets a browser load nothing and run nothing but the script of the page itself.
"""

import base64
import hashlib
import html
import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

# Colours by what they are for, so that pages follow the reader's choice of a light or dark screen.
_STYLE = """
:root { color-scheme: light dark; --ink: #1c1c20; --paper: #fff; --faint: #5f5f68; --line: #d3d3da;
  --panel: #f5f5f8; --accent: #1b66c9; --good: #14773a; --bad: #b3261e; --warning: #9a5700; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e9e9ee; --paper: #16171b; --faint: #a3a3ad; --line: #3c3d45; --panel: #202127;
    --accent: #74aefc; --good: #5fce8c; --bad: #ff8a80; --warning: #f2b45c; } }
* { box-sizing: border-box; }
body { font: 1rem/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 72rem; padding: 1rem;
  color: var(--ink); background: var(--paper); overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; line-height: 1.25; } h2 { font-size: 1.2rem; margin-top: 2.5rem; }
img { max-width: 100%; }
.wide { overflow-x: auto; margin: 1rem 0; }
.wide table { overflow-wrap: normal; }
table { border-collapse: collapse; }
th, td { border-bottom: 1px solid var(--line); padding: 0.3rem 0.9rem 0.3rem 0; text-align: left;
  vertical-align: top; }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.bar { display: inline-block; height: 0.6rem; background: var(--accent); }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
"""


class Number(NamedTuple):
  """A cell that is set right, and by whose value its column is sorted.

  Attributes:
    text: of the cell.
    value: NaN for none.
  """

  text: str
  value: float


def page(title: str, parts: Iterable[str], style: str = "", script: str = "") -> bytes:
  """Returns the file.

  Args:
    title: text.
    parts: of the body, HTML.
    style: CSS, after that of all pages.
    script: JavaScript, the only one that runs.
  """
  policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
  if script:
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy += f"; script-src 'sha256-{digest}'"
  lines = [
    '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">',
    f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
    '<meta name="viewport" content="width=device-width, initial-scale=1">',
    f"<title>{escape(title)}</title><style>{_STYLE}{style}</style></head><body>",
    *parts,
    f"<script>{script}</script>" if script else "",
    "</body></html>\n",
  ]
  # File names are bytes, which need not be text.
  return "\n".join(lines).encode("utf-8", "backslashreplace")


def escape(text: str) -> str:
  """Returns text that no browser takes for anything else, control characters made visible."""
  visible = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
  return html.escape(visible)


def table(
  header: Sequence[str],
  body: Iterable[Sequence[str | Number]],
  label: str,
  *,
  identifier: str = "",
) -> str:
  """Returns a table that scrolls within itself where it is wider than the page.

  Args:
    header: text of the columns.
    body: cells of each row.
    label: says what the table is, to those who do not see it.
    identifier: id; the headers of a table with one are buttons, for a script that sorts.
  """
  rows = list(body)
  is_number = [
    bool(rows) and any(isinstance(row[column], Number) for row in rows)
    for column in range(len(header))
  ]
  heads = []
  for text, right in zip(header, is_number, strict=True):
    shown = escape(text)
    if identifier and text:
      shown = f'<button type="button">{shown}</button>'
    heads.append(f'<th scope="col"{_class(right)}>{shown}</th>')
  lines = [f"<thead><tr>{''.join(heads)}</tr></thead><tbody>"]
  lines += [f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows]
  name = f' id="{identifier}" class="sortable"' if identifier else ""
  return (
    f'<div class="wide" tabindex="0" role="region" aria-label="{escape(label)}">'
    f"<table{name}>{chr(10).join(lines)}</tbody></table></div>"
  )


def _cell(cell: str | Number) -> str:
  if not isinstance(cell, Number):
    return f"<td>{escape(cell)}</td>"
  value = "" if math.isnan(cell.value) else f"{cell.value:.9g}"
  return f'<td class="number" data-value="{value}">{escape(cell.text)}</td>'


def _class(is_number: bool) -> str:
  return ' class="number"' if is_number else ""


def image(content: bytes, kind: str, alternative: str) -> str:
  """Returns a picture that is part of the page.

  Args:
    content: of the file.
    kind: `jpeg` or `png`.
    alternative: says what it shows; empty where the text next to it does.
  """
  data = base64.b64encode(content).decode()
  return f'<img alt="{escape(alternative)}" src="data:image/{kind};base64,{data}">'
