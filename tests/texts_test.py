"""Foreign text is harmless to terminals and spreadsheets."""

import pickle

import pytest

from mtl_ssl_tf import texts


@pytest.mark.parametrize(
  ("text", "expected"),
  [
    ("größe 5 × 7.jpg", "größe 5 × 7.jpg"),
    ("a\x1b[2J\nb\t", r"a\x1b[2J\nb\t"),
    ("gpj.\u202eexe", r"gpj.\u202eexe"),
    ("a\u2066\u200b\x9b\x7f", r"a\u2066\u200b\x9b\x7f"),
    ("a\udcff\u2028b", r"a\udcff\u2028b"),
    ("", ""),
  ],
)
def test_escaped(text, expected):
  assert texts.escaped(text) == expected


def test_a_block_keeps_its_lines():
  assert texts.block("a\x1b\nb\r\n") == "a\\x1b\nb\\r\n"


@pytest.mark.parametrize("text", ["=1+1", "+cat", "-cat", "@SUM(A1)", "\tcat", "\rcat", " =1"])
def test_a_formula_is_quoted(text):
  assert texts.cell(text) == f"'{text}"


@pytest.mark.parametrize("value", ["cat", "a=b", "", "-1.5", "+2e-3", ".5", -1.5, 3, None])
def test_numbers_and_names_stay(value):
  assert texts.cell(value) is value


@pytest.mark.parametrize("text", ["-1+1", "-1 ", "1e5=", "--1", "-١"])
def test_what_only_begins_like_a_number(text):
  assert texts.cell(text) == (text if text[0] == "1" else f"'{text}")


class TestErrors:
  def test_a_message_is_one_line(self):
    assert texts.error_text(ValueError("a\nerror: b\x1b[0m")) == r"a\nerror: b\x1b[0m"

  def test_unless_it_has_several(self):
    error = texts.LinesError("first", "second\nthird")
    assert str(error) == "first\nsecond\nthird"
    assert texts.error_text(error) == "first\nsecond\\nthird"
    assert pickle.loads(pickle.dumps(error)).lines == error.lines
