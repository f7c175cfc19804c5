"""Parts that all our pages share: one HTML file each, which fetches nothing.

Names, texts and pictures come from outside: `escape` makes text of them, and the policy in the head
lets a browser load nothing and run nothing but the script of the page itself.
"""

import base64
import hashlib
import html
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

# Longer texts of tables are broken into lines.
_MAX_WORDS = 28
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
code { white-space: nowrap; }
/* A shade at an edge beyond which a table goes on; it is covered where it ends. */
.wide { overflow-x: auto; margin: 1rem 0; background:
  linear-gradient(to right, var(--paper) 40%, transparent) left / 2rem 100% no-repeat local,
  linear-gradient(to left, var(--paper) 40%, transparent) right / 2rem 100% no-repeat local,
  linear-gradient(to right, #7f7f8a66, transparent) left / 0.8rem 100% no-repeat scroll,
  linear-gradient(to left, #7f7f8a66, transparent) right / 0.8rem 100% no-repeat scroll; }
.wide table { overflow-wrap: normal; }
.wide td { white-space: nowrap; }
.wide td.prose { white-space: normal; min-width: min(16rem, 60vw); overflow-wrap: anywhere; }
table { border-collapse: collapse; }
th, td { border-bottom: 1px solid var(--line); padding: 0.3rem 0.9rem 0.3rem 0; text-align: left;
  vertical-align: top; }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.meter { display: inline-block; width: 6rem; height: 0.7rem; background: var(--panel);
  border: 1px solid var(--line); margin-left: 0.6rem; vertical-align: middle; }
.meter span { display: block; height: 100%; background: var(--accent); }
.bar { display: inline-block; height: 0.6rem; background: var(--accent); }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
"""


class Number(NamedTuple):
  """A cell that is set right, and by whose value its column is sorted.

  Attributes:
    text: of the cell.
    value: NaN for none.
    share: length of a bar behind the text, 0 to 1; None draws none.
  """

  text: str
  value: float
  share: float | None = None


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
    prose = ' class="prose"' if len(cell) > _MAX_WORDS else ""
    return f"<td{prose}>{escape(cell)}</td>"
  value = "" if math.isnan(cell.value) else f"{cell.value:.9g}"
  bar = ""
  if cell.share is not None:
    width = 100.0 * min(max(cell.share, 0.0), 1.0)
    bar = f'<span class="meter"><span style="width: {width:.1f}%"></span></span>'
  return f'<td class="number" data-value="{value}">{escape(cell.text)}{bar}</td>'


def _class(is_number: bool) -> str:
  return ' class="number"' if is_number else ""


def filters(
  identifier: str, options: Mapping[str, tuple[str, Mapping[str, str]]], text_label: str
) -> str:
  """Returns fields that filter cards, hidden until a script makes them work.

  Args:
    identifier: of the element that holds the cards.
    options: key of a card's data -> label of its field, and what can be chosen: value -> text.
    text_label: of the field for any text.
  """
  fields = "".join(
    f'<label>{escape(label)}<select data-key="{key}">'
    + "".join(
      f'<option value="{escape(value)}">{escape(text)}</option>' for value, text in choices.items()
    )
    + "</select></label>"
    for key, (label, choices) in options.items()
  )
  return (
    f'<div class="controls" data-filters="{identifier}" hidden>{fields}'
    f'<label>{escape(text_label)}<input type="search"></label>'
    '<output aria-live="polite"></output></div>'
  )


def image(content: bytes, kind: str, alternative: str) -> str:
  """Returns a picture that is part of the page.

  Args:
    content: of the file.
    kind: `jpeg` or `png`.
    alternative: says what it shows; empty where the text next to it does.
  """
  data = base64.b64encode(content).decode()
  return f'<img alt="{escape(alternative)}" src="data:image/{kind};base64,{data}">'
