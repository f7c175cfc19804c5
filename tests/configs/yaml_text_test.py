"""YAML of users within bounds."""

import pytest
import yaml

from mtl_ssl_tf.configs import yaml_text


def message(text) -> str:
  with pytest.raises(ValueError) as error:
    yaml_text.parse(text, "a.yaml")
  return str(error.value)


def bomb(form, count=7, inside="x"):
  """A text whose last line has ten of the line before, and so on."""
  lines = [f"v0: &v0 {inside}"]
  for number in range(1, count):
    lines.append(f"v{number}: &v{number} {form.format(*[f'*v{number - 1}'] * 10)}")
  return "\n".join(lines)


@pytest.mark.parametrize(
  "text",
  [
    "a: 1e-4",
    "a: [1, -2.5, 1E3, .5, 0x1f, true, null, ~, text, '1', 2020-01-02]",
    "a: &x {b: [1]}\nc: *x\nd: {<<: *x, e: 2}",
    "",
    "- 1\n- {}",
  ],
)
def test_plain_values_are_read_as_model_garden_reads_them(text):
  from official.modeling.hyperparams import params_dict

  assert yaml_text.parse(text, "a.yaml") == yaml.load(text, params_dict._LOADER)


@pytest.mark.parametrize(
  "text",
  [
    bomb("[{}, {}, {}, {}, {}, {}, {}, {}, {}, {}]"),
    bomb("{{<<: [{}, {}, {}, {}, {}, {}, {}, {}, {}, {}]}}", inside="{a: 1}"),
    bomb("[{}, {}, {}, {}, {}, {}, {}, {}, {}, {}]", count=5, inside="'" + "x" * 10_000 + "'"),
  ],
)
def test_aliases_are_counted_before_they_are_expanded(text):
  assert message(text) == (
    "a.yaml: too many values, those that aliases repeat included; accepted: at most 100000"
  )


def test_text_up_to_the_depth_is_read():
  assert yaml_text.parse("[" * 32 + "x" + "]" * 32, "a.yaml") is not None


def test_few_aliases_are_no_bomb():
  text = bomb("[{}, {}, {}, {}, {}, {}, {}, {}, {}, {}]", count=5)
  assert len(yaml_text.parse(text, "a.yaml")["v4"]) == 10


@pytest.mark.parametrize(
  "text", ["[" * 33 + "]" * 33, "[" * 100_000, "&a [*a]", "a: &a {b: {c: *a}}", "- " * 5_000]
)
def test_depth_is_bounded(text):
  assert message(text) == "a.yaml: values inside each other; accepted: at most 32 levels"


@pytest.mark.parametrize(
  "number", ["1" * 5000, "1:" * 1000 + "1", "1" * 300 + ".5", "0x" + "f" * 999]
)
def test_numbers_are_bounded(number):
  found = message(f"a: {number}")
  assert found.startswith(f"a.yaml: {number[:20]}… is a number of {len(number)} characters")


def test_a_field_is_there_once():
  # Readers of YAML take the last one, and the first is lost without a word.
  assert message("task: {seed: 1}\ntrainer: {}\ntask: {init: x}") == (
    "a.yaml: 'task' is there twice, in lines 1 and 3; accepted: each field once"
  )
  assert message("- {a: [{b: 1, 'b': 2}]}").startswith("a.yaml: 'b' is there twice, in lines 1 and")
  merged = "a: &a {x: 1}\nb: &b {x: 2}\nc: {<<: *a, <<: *b, x: 3}\n1: {'1': x, 1: y}"
  assert yaml_text.parse(merged, "a.yaml")["c"] == {"x": 3}


def test_the_text_is_bounded():
  assert message("#" * 500_001) == "a.yaml: 500001 characters; accepted: at most 500000"


@pytest.mark.parametrize(
  "text",
  [
    "a: !!python/name:os.system",
    "a: !!python/tuple [1, 2]",
    "a: !!python/object/apply:os.getcwd []",
    "a: 2001-99-99",
    "a: !!int ''",
    "a: !!bool x",
    "a: !!timestamp x",
    "a: !!float x",
    "a: \x00",
    "a: [",
    "a: 1\n---\nb: 2",
  ],
)
def test_what_is_no_plain_yaml_is_one_line(text):
  found = message(text)
  assert found.startswith("a.yaml: not YAML (")
  assert "\n" not in found
  assert len(found) < 250
