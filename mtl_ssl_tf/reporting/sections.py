"""A part of the page, and what parts are made of."""

from collections.abc import Mapping
from typing import NamedTuple

from mtl_ssl_tf.evaluation import tables
from mtl_ssl_tf.web_page import Number, escape


class Section(NamedTuple):
  """A part of the page.

  Attributes:
    identifier: of its place.
    title: its heading, and in the list of sections.
    body: HTML.
  """

  identifier: str
  title: str
  body: str

  def html(self) -> str:
    """Returns the part with its heading."""
    heading = f'<h2 id="{self.identifier}">{escape(self.title)}</h2>'
    return f'<section aria-labelledby="{self.identifier}">{heading}{self.body}</section>'


def percent(value: float) -> Number:
  """Returns a fraction as a cell, in per cent."""
  return Number(tables.percent(value), value)


def tiles(values: Mapping[str, str], style: str = "") -> str:
  """Returns a few values that are seen first, by their names."""
  entries = "".join(
    f"<div{style}><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>"
    for name, value in values.items()
  )
  return f'<dl class="tiles">{entries}</dl>'


def lead(text: str) -> str:
  """Returns a paragraph that explains a section; `text` is HTML."""
  return f'<p class="lead">{text}</p>'


def number(count: int) -> Number:
  """Returns a count as a cell."""
  return Number(str(count), count)


def search(identifier: str, label: str) -> str:
  """Returns a field that shows those rows of a table alone that hold what is typed."""
  return (
    f'<div class="controls" data-filters="{identifier}" hidden><label>{escape(label)}'
    '<input type="search"></label><output aria-live="polite"></output></div>'
  )
