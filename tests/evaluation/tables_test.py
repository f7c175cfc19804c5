"""Text tables, character by character."""

from mtl_ssl_tf.evaluation import tables


def test_columns_are_aligned():
  text = tables.text_table("Title", ["class", "AP"], [["a", "1"], ["longer", "22.2"]], ["all", "3"])
  assert text.split("\n") == [
    "Title",
    "class     AP",
    "------------",
    "a          1",
    "longer  22.2",
    "------------",
    "all        3",
  ]


def test_without_footer_and_rows():
  assert tables.text_table("T", ["a", "bb"], []).split("\n") == ["T", "a  bb", "-----"]


def test_names_are_harmless():
  table = tables.text_table("T", ["class", "objects"], [["a\x1b[2J\nb", "3"]])
  assert table.split("\n")[-1] == r"a\x1b[2J\nb        3"


def test_percent():
  assert [tables.percent(value) for value in (0.12345, 1.0, float("nan"), -0.01)] == [
    "12.3",
    "100.0",
    "-",
    "-1.0",
  ]
