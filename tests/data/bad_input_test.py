"""Every kind of broken input through converter and validator, as `docs/bad_input.md` says.

The tables there are what is tested: what converter and validator say, and what becomes of the data.
"""

import json
import pathlib
import re

import pytest

from mtl_ssl_tf.data import validate
from tests.data import bad_input_kinds

_DOCS = pathlib.Path(__file__).parents[2] / "docs/bad_input.md"
_NOTHING = "—"
# What becomes of the data with --on_error=skip -> images and objects that are left out.
_LEFT_OUT = {
  "image left out": (1, 0),
  "box left out": (0, 1),
  "place ignored": (0, 1),
  "places ignored": (0, 4),
  "line left out": (0, 0),
  "entry left out": (0, 0),
  "converted": (0, 0),
}


def _rows() -> dict[str, list[str]]:
  """Kind -> what the converter says, what becomes of the data, what the validator says."""
  rows = {}
  for line in _DOCS.read_text().splitlines():
    cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
    if len(cells) == 4 and cells[0] != "kind" and set(cells[0]) != {"-"}:
      assert cells[0] not in rows
      rows[cells[0]] = [cell.strip("`").replace("\\|", "|") for cell in cells[1:]]
  return rows


def test_table_and_makers_agree():
  assert list(_rows()) == list(bad_input_kinds.KINDS)
  assert len(_rows()) >= 50


@pytest.fixture(name="made")
def _made(request, tmp_path, capfd):
  (tmp_path / "data").mkdir()
  made = bad_input_kinds.KINDS[request.param](tmp_path / "data")
  capfd.readouterr()
  return made


def _run(main, flags, capfd, tmp_path) -> tuple[int, list[str]]:
  """Exit status and lines, among which there are no traces of where in the code something arose."""
  status = main(flags)
  captured = capfd.readouterr()
  assert captured.out == ""
  assert "Traceback" not in captured.err
  assert '.py", line' not in captured.err
  return status, captured.err.replace(f"{tmp_path}/", "").splitlines()


def _told(lines: list[str], words: str) -> list[str]:
  """The lines that begin with these words, and end there or go on to what is accepted."""
  return [
    line
    for line in lines
    if line == words or line.startswith((f"{words}; accepted", f"{words}; the nearest"))
  ]


def _kinds(column: int) -> list:
  return [
    pytest.param(kind, row[:2] if column == 0 else row[2], id=kind)
    for kind, row in _rows().items()
    if row[column] != _NOTHING or (column == 0 and row[1] != _NOTHING)
  ]


@pytest.mark.parametrize(("made", "said"), _kinds(0), indirect=["made"])
class TestConverter:
  def test_fail_names_it_and_writes_nothing(self, made, said, capfd, tmp_path):
    words, outcome = said
    output = tmp_path / "out"
    flags = [*made.flags, f"--output_dir={output}", *made.converter_flags]
    status, lines = _run(made.convert, flags, capfd, tmp_path)
    if outcome == "converted":
      assert status == 0
      assert words == _NOTHING or _told(lines, words)
    else:
      assert status == 1
      assert _told(lines, words)
      assert not output.exists()

  def test_skip_names_it_and_converts_the_rest(self, made, said, capfd, tmp_path):
    words, outcome = said
    output = tmp_path / "out"
    flags = [*made.flags, f"--output_dir={output}", *made.converter_flags, "--on_error=skip"]
    status, lines = _run(made.convert, flags, capfd, tmp_path)
    if outcome == "nothing converted":
      assert status == 1
      assert _told(lines, words)
      assert not output.exists()
      return
    assert status == 0
    manifest = json.loads((output / "manifest_train.json").read_text())
    skipped = manifest["skipped"]
    assert (skipped["num_images"], skipped["num_objects"]) == _LEFT_OUT[outcome]
    assert manifest["num_images"] + skipped["num_images"] == made.num_images
    assert bool(skipped["faults"]) == (outcome != "converted")
    if outcome != "converted":
      assert _told(lines, f"left out: {words}")
    elif words != _NOTHING:
      assert _told(lines, words)


@pytest.mark.parametrize(("made", "said"), _kinds(2), indirect=["made"])
def test_validator_names_it_and_looks_at_the_rest(made, said, capfd, tmp_path):
  report = tmp_path / "report.json"
  flags = [*made.flags, *made.validator_flags, f"--report={report}"]
  if not any(flag.startswith("--min_boxes") for flag in flags):
    flags.append("--min_boxes_per_class=0")
  status, lines = _run(validate.main, flags, capfd, tmp_path)
  assert _told(lines, said)
  level = said.split(":")[0]
  if level == "error":
    assert status == 2
    return
  parsed = json.loads(report.read_text())
  # Warnings may come with other warnings, but never hide behind or raise a fault.
  assert status == (1 if level == "fault" else 0) == (1 if parsed["num_faults"] else 0)
  assert parsed["num_images"] == made.num_images
  assert parsed["num_images"] - parsed["num_unusable_images"] >= min(made.num_images - 1, 2)
  (finding,) = [
    finding
    for finding in parsed["findings"]
    if finding["level"] == level and finding["field"] in said and finding["value"] in said
  ][:1]
  assert finding["kind"] in parsed["kinds"]
