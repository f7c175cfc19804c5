"""Tests of reading/quoting.py."""

import pytest

from mtl_ssl_tf.reading import quoting


def _alias_bomb():
  value = ["lol"] * 10
  for _ in range(6):
    value = [value] * 10
  return value


@pytest.mark.parametrize(
  ("value", "expected"),
  [
    ("a\nb", r"'a\nb'"),
    ({"a": [1, None, 2.5]}, "{'a': [1, None, 2.5]}"),
    ({1: "x", "y": ()}, "{1: 'x', 'y': ()}"),
    (10**400, "an integer of 1329 bits"),
    (-(10**20), "-100000000000000000000"),
  ],
)
def test_a_value_is_shown_on_one_line(value, expected):
  assert quoting.shown(value) == expected


@pytest.mark.parametrize(
  "value",
  ["x" * 1000, "\n" * 1000, list(range(1000)), {i: i for i in range(1000)}, _alias_bomb()],
)
def test_a_large_value_is_cut(value):
  text = quoting.shown(value)
  assert len(text) <= quoting.MAX_CHARACTERS
  assert "…" in text or "..." in text


def test_a_text_loses_its_line_ends_and_controls():
  assert quoting.one_line("a  a\n\n  b\t\x1b[31m\udc80\n") == r"a  a b\t\x1b[31m\udc80"
  assert quoting.one_line("process 7 on host\n") == "process 7 on host"
  assert len(quoting.one_line("a" * 10**6)) == quoting.MAX_CHARACTERS
  assert quoting.one_line("a" * quoting.MAX_CHARACTERS) == "a" * quoting.MAX_CHARACTERS
