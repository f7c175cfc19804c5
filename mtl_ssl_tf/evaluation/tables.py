"""Aligned text tables for terminals."""

from collections.abc import Sequence

import numpy as np

from mtl_ssl_tf import texts


def text_table(
  title: str,
  header: Sequence[str],
  body: Sequence[Sequence[str]],
  footer: Sequence[str] | None = None,
) -> str:
  """A title line, a header, rows under it and, below a rule, a last row.

  Args:
    title: the first line.
    header: names of the columns; the first column is set left, all others right.
    body: rows with a cell for each column.
    footer: a last row, such as totals.
  """
  rows = [
    [texts.escaped(cell) for cell in row] for row in (header, *body, *([footer] if footer else []))
  ]
  widths = [max(len(row[column]) for row in rows) for column in range(len(header))]
  lines = [
    "  ".join(
      cell.rjust(width) if column else cell.ljust(width)
      for column, (cell, width) in enumerate(zip(row, widths, strict=True))
    )
    for row in rows
  ]
  rule_line = "-" * len(lines[0])
  last = [rule_line, lines.pop()] if footer else []
  return "\n".join([title, lines[0], rule_line, *lines[1:], *last])


def percent(value: float) -> str:
  """A fraction in percent with one digit after the point; a dash for NaN."""
  return "-" if np.isnan(value) else f"{100.0 * value:.1f}"
