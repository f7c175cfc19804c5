"""Every block of commands or Python in the pages is run, or says that it is not; all are parsed.

* Run: `walk_test.py` and `walk_pages_test.py` run blocks on the embedded data set, and a test that
  `walk.ELSEWHERE` names runs those that need more than a folder, such as an installation.
* Not run: a block that needs a cloud, an accelerator or a program of others has a line next to it,
  `*Not run by the tests: needs a TPU.*`.
* Parsed, here: all commands, run or not, go through the parser of their own program, down to the
  value of each flag. Of a training, the flagfiles, the configurations and the fields that they
  change are loaded, so that a misspelt field or a file that is not there is found. Python is
  compiled, and its names of this package are looked up; YAML and JSON are read, YAML of `task`,
  `trainer` and `runtime` into an experiment.

A block that says none of this, because it has no language or another program, fails.
"""

import ast
import importlib
import json
import pathlib
import re
from collections.abc import Collection

import pytest
import yaml

from mtl_ssl_tf import cli
from tests.documentation import commands, pages, walk, walk_pages_test, walk_test

ALL = [block for page in pages.names() for block in pages.blocks(page)]
SHELL = [block for block in ALL if block.language in ("sh", "console")]


def _of(language: str) -> list[pages.Block]:
  return [block for block in ALL if block.language == language]


@pytest.fixture(autouse=True)
def _in_the_repository(monkeypatch):
  monkeypatch.chdir(pages.ROOT)


def check_shell(block: pages.Block) -> None:
  """Refuses commands that would not be taken, and foreign ones in a block without the mark."""
  text = block.text
  if block.language == "console":  # Commands with what they print.
    text = "\n".join(commands.of_console(text)[0])
  for command in commands.split(text):
    try:
      commands.check(command.words)
    except commands.ForeignError:
      if not block.is_marked:
        raise


@pytest.mark.parametrize("block", ALL, ids=str)
def test_a_block_is_of_a_known_kind(block):
  kind = block.language.split(" ")[0]
  assert kind in pages.LANGUAGES, f"accepted behind ```: {', '.join(pages.LANGUAGES)}"


@pytest.mark.parametrize("block", SHELL, ids=str)
def test_commands(block):
  check_shell(block)


@pytest.mark.parametrize("block", _of("python"), ids=str)
def test_python(block):
  check_python(block.text)


def check_python(text: str) -> None:
  """Refuses what is no Python, and names that a module of the package does not have."""
  for node in ast.walk(ast.parse(text)):
    if isinstance(node, ast.ImportFrom) and node.module.startswith("mtl_ssl_tf"):
      for alias in node.names:
        _check_name(node.module, alias.name)
    elif isinstance(node, ast.Import):
      for alias in node.names:
        if alias.name.startswith("mtl_ssl_tf"):
          importlib.import_module(alias.name)


def _check_name(module: str, name: str) -> None:
  try:
    importlib.import_module(f"{module}.{name}")
  except ModuleNotFoundError:
    assert hasattr(importlib.import_module(module), name), f"{module} has no {name}"


def test_the_api_has_what_is_there():
  for block in ALL:
    if block.language.startswith("{autodoc2-object} "):
      module, _, name = block.language.split(" ")[1].rpartition(".")
      _check_name(module, name)


@pytest.mark.parametrize("block", _of("yaml"), ids=str)
def test_yaml(block, tmp_path):
  check_yaml(block.text, tmp_path)


def check_yaml(text: str, folder: pathlib.Path) -> None:
  """Refuses what is no YAML, and fields that no experiment has."""
  from mtl_ssl_tf import registry_imports  # noqa: F401
  from mtl_ssl_tf.configs import loading

  fields = yaml.safe_load(text)
  fields.pop("base", None)  # Of paths from the folder of a file of one's own.
  for name in fields:
    assert name in ("task", "trainer", "runtime", "input_path"), name
  if "input_path" in fields:
    fields = {"task": {"train_data": fields}}
  path = folder / "block.yaml"
  path.write_text(yaml.safe_dump(fields))
  task = fields.get("task", {})
  name = "mtl_frcnn_co_mining" if "mining" in task else "mtl_frcnn"
  if "image_dir" in task.get("train_data", {}) or "head_type" in task:
    name = "insloc"
  loading.load_experiment(name, [str(path)])


@pytest.mark.parametrize("block", _of("json"), ids=str)
def test_json(block):
  json.loads(block.text)


@pytest.mark.parametrize("page", pages.names())
def test_commands_in_sentences(page):
  wrong = [
    f"{page}:{number}: {span}: {error}"
    for number, span in pages.spans(page)
    if (error := _wrong_in_span(span))
  ]
  assert not wrong, "\n".join(wrong)


def _wrong_in_span(span: str) -> str:
  """Says which module, command or flag of a command in a sentence is not there."""
  words = span.replace("|", " ").split()
  if words[:2] == ["python", "-m"] and len(words) > 2:
    module = words[2]
    names = [name for name, (path, _) in cli.COMMANDS.items() if path == module]
    if not names:
      return _wrong_in_module(module, words[3:])
    name, rest = names[0], words[3:]
  elif words[:1] == ["mtl-ssl"] and len(words) > 1:
    name, *rest = words[1:]
  elif words[:2] in (["python", "train.py"], ["python", "export.py"]):
    name, rest = words[1].removesuffix(".py"), words[2:]
  elif len(words) > 1 and words[0] in cli.COMMANDS and words[1].startswith("--"):
    name, *rest = words
  else:
    return ""
  if name in cli._ABOUT or name == "COMMAND":
    return ""
  if name not in cli.COMMANDS:
    return f"no command {name}"
  text = cli._parser(name).format_help()
  return ", ".join(f"no flag {flag}" for flag in _flags(rest) if not _has(text, flag))


def _wrong_in_module(module: str, words: list[str]) -> str:
  if module in ("MODULE", "venv", "pytest", "mtl_ssl_tf", "mtl_ssl_tf..."):
    return ""
  path = pages.ROOT / module.replace(".", "/")
  path = path / "__main__.py" if path.is_dir() else path.with_suffix(".py")
  if not path.exists():
    return f"no module {module}"
  text = path.read_text()
  return ", ".join(f"no flag {flag}" for flag in _flags(words) if f'"{flag}"' not in text)


def _flags(words: list[str]) -> list[str]:
  return [word.split("=")[0] for word in words if word.startswith("--")]


def _has(help_text: str, flag: str) -> bool:
  return flag == "--help" or re.search(rf"(?<![\w-]){flag}(?![\w-])", help_text) is not None


class TestWhatIsWrongIsFound:
  """Planted errors."""

  @pytest.mark.parametrize(
    ("text", "error"),
    [
      ("python -m mtl_ssl_tf.report --model_dir=x --num_imges=3", "num_imges"),
      ("python -m mtl_ssl_tf.predcit --help", "no module"),
      ("python -m benchmarks.run --onyl steps", "--onyl"),
      ("mtl-ssl predct --help", "no command predct"),
      ("make demos", "no target demos"),
      ("pip install '.[servings]'", "no extra servings"),
      ("python train.py --flagfile=configs/flags/none.flags --model_dir=x", "does not exist"),
      ("python train.py --flagfile=configs/flags/demo.flags --model_dri=x", "model_dri"),
      (
        "python train.py --flagfile=configs/flags/demo.flags --model_dir=x \\\n"
        "  --params_override='{task: {rpn: {num_proposal: 3}}}'",
        "num_proposal",
      ),
      ("python train.py ... --model_dir=x", "not whole"),
      ("docker run x", "no program of ours"),
    ],
  )
  def test_in_a_block(self, text, error):
    block = pages.Block("docs/new.md", 1, ("New",), "sh", text, False)
    with pytest.raises((ValueError, commands.ForeignError), match=re.escape(error)):
      check_shell(block)

  def test_a_mark_excuses_foreign_programs_alone(self):
    block = pages.Block("docs/new.md", 1, ("New",), "sh", "docker run x", True)
    check_shell(block)
    with pytest.raises(ValueError, match="no command"):
      check_shell(block._replace(text="docker run x\nmtl-ssl predct"))

  def test_a_block_of_no_kind(self):
    (block,) = pages.blocks("docs/new.md", ["# New", "", "```", "ls", "```"])
    with pytest.raises(AssertionError, match="accepted behind ```"):
      test_a_block_is_of_a_known_kind(block)
    with pytest.raises(ValueError, match="by its indentation"):
      pages.blocks("docs/new.md", ["# New", "", "    ls"])

  def test_the_mark_is_found(self):
    content = ["# New", "", "```sh", "ls", "```", "", "*Not run by the tests: needs a TPU.*", ""]
    (block,) = pages.blocks("docs/new.md", content)
    assert block.is_marked and block.headings == ("New",)

  @pytest.mark.parametrize(
    ("span", "error"),
    [
      ("mtl-ssl validate --recrods x", "no flag --recrods"),
      ("python -m benchmarks.nothing", "no module benchmarks.nothing"),
      ("import-any --formt yolo", "no flag --formt"),
      ("python train.py ... --initt=x", "no flag --initt"),
      ("mtl-ssl validate", ""),
    ],
  )
  def test_in_a_sentence(self, span, error):
    assert _wrong_in_span(span) == error

  def test_in_python_and_yaml(self, tmp_path):
    with pytest.raises(SyntaxError):
      check_python("load(a=…)")
    with pytest.raises(AssertionError, match="has no laod"):
      check_python("from mtl_ssl_tf import laod")
    with pytest.raises(ValueError, match="num_proposal"):
      check_yaml("task: {rpn: {num_proposal: 3}}", tmp_path)


def not_covered(found: Collection[pages.Block], run: Collection[pages.Block]) -> list[str]:
  """The blocks of programs that no test runs, and that do not say so."""
  elsewhere = {(page, heading) for page, heading in walk.ELSEWHERE}
  return [
    str(block)
    for block in found
    if block.language in walk.LANGUAGES
    and block not in run
    and not block.is_marked
    and not elsewhere.intersection((block.page, heading) for heading in block.headings)
  ]


def test_every_block_is_run_or_says_that_it_is_not():
  assert not not_covered(ALL, {*walk_test.BLOCKS, *walk_pages_test.BLOCKS})


@pytest.mark.parametrize("language", ["sh", "console", "python"])
def test_a_block_that_is_neither_run_nor_marked_is_found(language):
  block = pages.Block("docs/new.md", 1, ("New",), language, "make demo", False)
  assert not_covered([block], walk_test.BLOCKS) == ["docs/new.md:1"]
  assert not not_covered([block], [block])
  assert not not_covered([block._replace(is_marked=True)], [])
  installs = block._replace(page="README.md", headings=("mtl_ssl_tf", "Install"))
  assert not not_covered([installs], [])


def test_what_pages_take_for_given_is_of_their_blocks():
  for page, words, _ in walk.BEFORE:
    assert any(words in block.text for block in walk.blocks(page)), f"{page}: {words}"


@pytest.mark.parametrize(("section", "test"), walk.ELSEWHERE.items())
def test_the_tests_of_other_files_are_there(section, test):
  page, heading = section
  assert any(block.page == page and heading in block.headings for block in ALL)
  path, name = test.split("::")
  assert f"\ndef {name}(" in (pages.ROOT / path).read_text()
