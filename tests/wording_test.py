"""Holds names and prose to the field's words, and docstrings to a first line that says the result.

A reader who knows detection should not have to learn words of this project. `BANNED` are those that
it once had; each line of sources, configurations and documents is searched for them.
"""

import ast
import pathlib
import re
import subprocess
from collections.abc import Iterator

_ROOT = pathlib.Path(__file__).parents[1]
_SUFFIXES = (".py", ".yaml", ".md", ".flags")
# The word -> what to write instead. Words are whole; of identifiers, each part is a word. A blank
# is any white space or an underscore.
BANNED = {
  "canvas": "input, input_size, padded input",
  "canvases": "inputs, input sizes",
  "trunk": "auxiliary.features, second stage",
  "trunks": "auxiliary.features, second stages",
  "neediest": "the image with the most",
  "anew": "again",
  "amiss": "wrong",
  "at hand": "available",
  "look where": "predict_selected",
  "looked at": "read, examined, processed",
  "no go": "refused",
  "stands for": "is matched to, names",
  "learnt": "used in the loss, trained",
  "fullest moment": "peak",
  "come to be whole": "atomic write",
  "in its midst": "during",
  "in the midst": "during",
  "goes on with": "continues, resumes",
  "goes on from": "continues, resumes",
  "teaches nothing": "is not used in the loss",
  "teach nothing": "is not used in the loss",
  "num told": "num_reported",
  "mend": "fix",
  "mended": "fixed",
  "mending": "fixing",
  "mends": "fixes",
  "suppression method": "NMS method",
}
# Where a word has another meaning, or is the name that users' files and programs have.
_ALLOWED = {
  "canvas": (
    "mtl_ssl_tf/visualization/",
    "tests/visualization/",
    "mtl_ssl_tf/configs/renamed.py",
    "tests/configs/",
    "tests/training/run_folder_test.py",
  ),
  "canvases": (
    "mtl_ssl_tf/serving/",
    "mtl_ssl_tf/command_line/export.py",
    "tests/serving/",
    "docs/serving.md",
  ),
  "trunk": ("mtl_ssl_tf/configs/renamed.py", "tests/configs/"),
}
# Still to be cleaned; to be emptied.
_LATER = ("README.md", "docs/")
_PATTERN = re.compile(
  r"(?<![a-z])(" + "|".join(word.replace(" ", r"[\s_]+") for word in BANNED) + r")(?![a-z])",
  re.IGNORECASE,
)
_CODE = ("mtl_ssl_tf", "benchmarks", "examples", "train.py", "export.py")
_QUESTIONS = {"What", "Which", "Where", "How"}


def banned(text: str, path: str) -> list[str]:
  """Returns a line for each banned word in a file's text."""
  found = []
  for match in _PATTERN.finditer(text):
    word = re.sub(r"[\s_]+", " ", match[0].lower())
    if not path.startswith(_ALLOWED.get(word, ())):
      number = text.count("\n", 0, match.start()) + 1
      found.append(f"{path}:{number}: {word!r}; accepted: {BANNED[word]}")
  return found


def questions(source: str, path: str) -> list[str]:
  """Returns a line for each docstring that begins like a question."""
  found = []
  for node in ast.walk(ast.parse(source)):
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
      first_line = (ast.get_docstring(node) or "").split("\n")[0]
      if first_line.split(" ")[0] in _QUESTIONS:
        number = getattr(node, "lineno", 1)
        accepted = "a verb or a noun phrase that says what comes out"
        found.append(f"{path}:{number}: docstring {first_line!r}; accepted: {accepted}")
  return found


def _files() -> Iterator[tuple[str, str]]:
  """Yields path and text of the files that git tracks, but for this one."""
  command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
  listed = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=True).stdout
  for path in listed.splitlines():
    file = _ROOT / path
    if path.endswith(_SUFFIXES) and file != pathlib.Path(__file__) and file.exists():
      yield path, file.read_text(encoding="utf-8")


def test_no_banned_word():
  found = [
    line for path, text in _files() if not path.startswith(_LATER) for line in banned(text, path)
  ]
  assert not found, "\n".join(found)


def test_docstrings_begin_with_what_comes_out():
  found = [
    line
    for path, text in _files()
    if path.endswith(".py") and path.startswith(_CODE)
    for line in questions(text, path)
  ]
  assert not found, "\n".join(found)


def test_a_banned_word_is_found():
  assert banned("x = 1\nself._canvas_size = y", "mtl_ssl_tf/a.py") == [
    "mtl_ssl_tf/a.py:2: 'canvas'; accepted: input, input_size, padded input"
  ]
  assert banned("the image at\nhand", "docs/a.md") == [
    "docs/a.md:1: 'at hand'; accepted: available"
  ]
  assert banned("NO_GO, no_go", "a.py") == ["a.py:1: 'no go'; accepted: refused"] * 2
  assert not banned("canvas = Canvas()", "mtl_ssl_tf/visualization/canvas.py")
  assert not banned("what handles canvaslike chat handles", "a.py")


def test_a_question_is_found():
  source = '"""What it does."""\nclass A:\n  """How."""\n  def f(self):\n    """Whether it is."""\n'
  assert [line.split(";")[0] for line in questions(source, "a.py")] == [
    "a.py:1: docstring 'What it does.'"
  ]
