"""The site of `make docs`: README.md, configs/README.md, the pages of this folder and the API.

The source folder is the root of the repository, so that links between pages are those that GitHub
follows. The order of the pages in the sidebar is that of docs/README.md, the index.
"""

import os
import pathlib
import re
import sys

from sphinx import application

_DOCS = pathlib.Path(__file__).parent
_ROOT = _DOCS.parent
_INDEX = _DOCS / "README.md"
_REDIRECT = '<meta http-equiv="refresh" content="0; url=README.html">\n'
sys.path.insert(0, str(_DOCS))  # For `google_docstrings`.

project = html_title = "mtl_ssl_tf"
copyright = "Apache-2.0"
version = release = re.search(
  r'__version__ = "(.+)"', (_ROOT / "mtl_ssl_tf" / "__init__.py").read_text()
)[1]
root_doc = "README"
include_patterns = ["README.md", "configs/README.md", "docs/**.md"]
# Folders that need not be searched.
exclude_patterns = [
  *(".*", "*.egg-info", "build", "data", "dist", "exported", "mutants", "runs"),
  *("benchmarks", "mtl_ssl_tf", "tests", "docs/_build"),
]
extensions = ["myst_parser", "autodoc2"]
myst_heading_anchors = 4
html_theme = "furo"
html_copy_source = False

# Read from the sources, so that the build needs no TensorFlow.
autodoc2_packages = [{"path": "mtl_ssl_tf", "auto_mode": False}]
autodoc2_docstring_parser_regexes = [(r".*", "google_docstrings")]
autodoc2_render_plugin = "myst"
autodoc2_hidden_objects = {"inherited", "private"}


def setup(app: application.Sphinx) -> None:
  """Adds what Sphinx calls."""
  app.connect("source-read", _add_sidebar)
  app.connect("build-finished", _add_start)


def _add_sidebar(app: application.Sphinx, name: str, source: list[str]) -> None:
  """Gives the first page a table of contents, which GitHub would show as code."""
  if name != root_doc:
    return
  for heading, text in re.findall(r"^## (.+)\n((?:(?!^## ).*\n?)*)", _INDEX.read_text(), re.M):
    pages = [os.path.normpath(f"docs/{path}") for path in re.findall(r"\]\(([^)#]+\.md)", text)]
    pages = [page for page in dict.fromkeys(pages) if page != f"{root_doc}.md"]
    if pages:
      entries = "\n".join(pages)
      source[0] += f"\n```{{toctree}}\n:hidden:\n:caption: {heading}\n\n{entries}\n```\n"
  source[0] += "\n```{toctree}\n:hidden:\n\ndocs/README.md\n```\n"


def _add_start(app: application.Sphinx, error: Exception | None) -> None:
  """Lets the folder of the site open with its first page."""
  if error is None and app.builder.name == "html":
    (pathlib.Path(app.outdir) / "index.html").write_text(_REDIRECT)
