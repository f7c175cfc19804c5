"""Turns the docstrings of this project, in Google's style, into what Sphinx reads."""

import inspect
import re

from docutils import nodes
from docutils.parsers import rst
from sphinx.ext import napoleon

_CONFIG = napoleon.Config(napoleon_use_rtype=False, napoleon_use_ivar=True)


class Parser(rst.Parser):
  """Parses a docstring; text between single backticks is code."""

  def parse(self, inputstring: str, document: nodes.document) -> None:
    """Parses a docstring into `document`."""
    text = re.sub(r"`+([^`]+)`+(?=(\w?))", _literal, inspect.cleandoc(inputstring))
    # A list within a section needs a blank line before it.
    text = re.sub(r"^( +)(\S.*:)\n(?=\1 )", r"\1\2\n\n", text, flags=re.MULTILINE)
    super().parse(str(napoleon.GoogleDocstring(text, _CONFIG)), document)


def _literal(match: re.Match) -> str:
  """Returns code as reStructuredText has it, also where a letter follows, such as a plural's."""
  return f"``{match[1]}``" + ("\\ " if match[2] else "")
