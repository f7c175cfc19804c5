"""Tests of reading/json_text.py."""

import json
import os

import pytest

from mtl_ssl_tf.reading import json_text


@pytest.mark.parametrize(
  "value", [None, 3, -(10**20), 2.5e-300, "a", {"a": [1, {"b": True}]}, [[]] * 3]
)
def test_json_is_read_as_python_reads_it(value, tmp_path):
  path = tmp_path / "a.json"
  path.write_text(json.dumps(value))
  assert json_text.read(path) == value
  assert json_text.loads(json.dumps(value)) == value


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "[" * 33 + "]" * 33])
def test_deep_text_is_refused(text):
  with pytest.raises(ValueError, match="objects and lists in each other; at most 32 levels"):
    json_text.loads(text)


def test_text_up_to_the_depth_is_read():
  assert json_text.loads("[" * 32 + "]" * 32) is not None


@pytest.mark.parametrize(
  ("text", "message"),
  [
    ("1" * 101, "a number of 101 characters, 11111111111111111111…; at most 100"),
    ('{"a": [-' + "1" * 5000 + "]}", "a number of 5001 characters"),
    ("0." + "1" * 400, "a number of 402 characters"),
    ("1" + "0" * 200 + "e-200", "a number of 206 characters"),
  ],
)
def test_long_numbers_are_refused(text, message):
  with pytest.raises(ValueError, match=message):
    json_text.loads(text)


@pytest.mark.parametrize("text", [b"", b"{", b"\xff", b'{"a" 1}', b"[1]x"])
def test_the_message_of_malformed_text_names_the_file(text, tmp_path):
  path = tmp_path / "a.json"
  path.write_bytes(text)
  with pytest.raises(ValueError) as raised:
    json_text.read(path)
  assert str(raised.value).startswith(f"{path}: no JSON (")
  assert str(raised.value).endswith("); accepted: a JSON file in UTF-8")
  assert "\n" not in str(raised.value)


def test_files_are_bounded_regular_files(tmp_path):
  path = tmp_path / "a.json"
  path.write_text("[1, 2]")
  assert json_text.read(path, 6) == [1, 2]
  with pytest.raises(OSError, match="at least 6 bytes; accepted here: at most 5"):
    json_text.read(path, 5)
  os.mkfifo(tmp_path / "pipe")
  with pytest.raises(OSError, match="a pipe and no regular file"):
    json_text.read(tmp_path / "pipe")


_PATTERN = {
  "shards": [{"file": str, "num_images": int}],
  "boxes?": {str: int},
  "score?": (float, None),
  "size?": ([int], None),
}


@pytest.mark.parametrize(
  "value",
  [
    {"shards": []},
    {"shards": [{"file": "a", "num_images": 2, "more": []}], "boxes": {"cat": 1}},
    {"shards": [], "score": 3, "size": [1]},
    {"shards": [], "score": None, "size": None},
  ],
)
def test_values_of_a_pattern_are_accepted(value):
  json_text.check(value, _PATTERN, "a.json")


@pytest.mark.parametrize(
  ("value", "message"),
  [
    (3, "a.json is 3; accepted: an object"),
    (None, "a.json is null; accepted: an object"),
    ({}, "a.json: shards is missing; accepted: a list"),
    ({"shards": "x"}, "a.json: shards is 'x'; accepted: a list"),
    ({"shards": [None]}, "a.json: shards: entry 1 is null; accepted: an object"),
    (
      {"shards": [{"file": "a", "num_images": 2}, {"file": 1}]},
      "a.json: shards: entry 2: file is 1; accepted: text",
    ),
    (
      {"shards": [{"file": "a", "num_images": True}]},
      "a.json: shards: entry 1: num_images is True; accepted: a whole number of 64 bits",
    ),
    (
      {"shards": [{"file": "a", "num_images": 2**63}]},
      f"a.json: shards: entry 1: num_images is {2**63}; accepted: a whole number of 64 bits",
    ),
    (
      {"shards": [], "boxes": {"c\nat": 1.5}},
      "a.json: boxes: c at is 1.5; accepted: a whole number of 64 bits",
    ),
    (
      {"shards": [], "score": float("nan")},
      "a.json: score is nan; accepted: a finite number or null",
    ),
    ({"shards": [], "score": "1"}, "a.json: score is '1'; accepted: a finite number or null"),
    (
      {"shards": [], "size": ["1"]},
      "a.json: size: entry 1 is '1'; accepted: a whole number of 64 bits",
    ),
  ],
)
def test_values_of_other_types_are_named(value, message):
  with pytest.raises(ValueError) as raised:
    json_text.check(value, _PATTERN, "a.json")
  assert str(raised.value) == message


def test_numbers_beyond_float64_are_none():
  assert json_text.is_number(10**300)
  assert not json_text.is_number(10**400)
  assert not json_text.is_number(True)
  assert not json_text.is_number(float("inf"))
