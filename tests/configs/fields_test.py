"""Fields are declared once: default, word and accepted values."""

import dataclasses
import math
import pathlib

import pytest
from official.modeling import hyperparams

from mtl_ssl_tf.configs import (
  auxiliary,
  co_mining,
  data,
  detector,
  experiments,
  fields,
  insloc,
  insloc_data,
  optimization,
  ranges,
  reference,
  training,
)

MODULES = (
  auxiliary,
  co_mining,
  data,
  detector,
  insloc,
  insloc_data,
  optimization,
  training,
)
OURS = [
  cls
  for module in MODULES
  for cls in vars(module).values()
  if dataclasses.is_dataclass(cls) and cls.__module__ == module.__name__
]
REFERENCE = pathlib.Path(__file__).parents[2] / "docs" / "configuration.md"


@dataclasses.dataclass
class Inner(hyperparams.Config):
  side: float = fields.setting(2.0, "side", bounds=ranges.Range(1.0, 4.0))
  mode: str | None = fields.setting(None, "mode", choices=(None, "a"))


@dataclasses.dataclass
class Outer(hyperparams.Config):
  count: int = fields.setting(3, "count", bounds=ranges.Range(1, 9))
  values: list[int] = fields.setting([1, 2], "values", bounds=ranges.ListOf(ranges.Range(1, 9)))
  inner: Inner = fields.group(Inner, "inner", side=3.0)
  other: Inner | None = fields.optional_group(Inner, "other")


def message(**changed) -> str:
  with pytest.raises(ValueError) as error:
    fields.check(Outer().replace(**changed), "task")
  return str(error.value)


def test_defaults_are_not_shared():
  first, second = Outer(), Outer()
  first.values.append(3)
  first.inner.side = 1.0
  assert (second.values, second.inner.side) == ([1, 2], 3.0)


def test_accepted():
  fields.check(Outer(), "task")
  fields.check(Outer(count=1, inner=Inner(side=4, mode="a")), "task")


@pytest.mark.parametrize(
  ("changed", "expected"),
  [
    ({"count": 0}, "task.count is 0; accepted: 1 to 9"),
    ({"count": 1.5}, "task.count is 1.5; accepted: a whole number, 1 to 9"),
    ({"count": True}, "task.count is True; accepted: a whole number, 1 to 9"),
    ({"values": [0]}, "task.values is [0]; accepted: a list of 1 to 20 whole numbers, each 1 to 9"),
    ({"inner": Inner(side="a")}, "task.inner.side is 'a'; accepted: a number, 1.0 to 4.0"),
    ({"inner": Inner(side=4.5)}, "task.inner.side is 4.5; accepted: 1.0 to 4.0"),
    ({"inner": Inner(side=math.nan)}, "task.inner.side is nan; accepted: 1.0 to 4.0"),
    ({"inner": Inner(mode="b")}, "task.inner.mode is 'b'; accepted: null, a"),
  ],
)
def test_refused(changed, expected):
  assert message(**changed) == expected


def test_a_value_without_a_path():
  fields.check_value(Inner, "mode", "a")
  with pytest.raises(ValueError, match=r"^mode is 'b'; accepted: null, a$"):
    fields.check_value(Inner(), "mode", "b")
  with pytest.raises(ValueError, match=r"^side is 0.5; accepted: 1.0 to 4.0$"):
    fields.check_value(Inner, "side", 0.5)


def test_walk():
  config = Outer()
  found = [(path, group, field.name) for path, group, field in fields.walk(config, "x.")]
  assert found == [
    ("x.count", config, "count"),
    ("x.values", config, "values"),
    ("x.inner.side", config.inner, "side"),
    ("x.inner.mode", config.inner, "mode"),
    ("x.other", config, "other"),
  ]


def test_a_group_that_is_null_unless_it_is_set():
  assert fields.optional_group_of(fields.field_of(Outer, "other")) is Inner
  assert fields.optional_group_of(fields.field_of(Outer, "inner")) is None
  config = Outer()
  config.override({"other": {"side": 9.0}})
  assert config.other == Inner(side=9.0)
  with pytest.raises(ValueError, match=r"^x\.other\.side is 9\.0; accepted: 1\.0 to 4\.0$"):
    fields.check(config, "x")


@pytest.mark.parametrize("cls", OURS, ids=lambda cls: cls.__name__)
def test_every_field_of_ours_has_a_word(cls):
  assert OURS
  for name in cls.__annotations__:
    text = fields.help_of(fields.field_of(cls, name))
    assert text, name
    assert text == " ".join(text.split()), name  # Parts of a string that were joined wrongly.
    assert not text.endswith("."), name
    assert "|" not in text, name  # It becomes a cell of a table.


@pytest.mark.parametrize("experiment", [experiments.mtl_frcnn, experiments.insloc_c4])
def test_defaults_are_accepted(experiment):
  params = experiment()
  for part in ("task", "trainer", "runtime"):
    fields.check(getattr(params, part), part)


def test_the_reference_is_current():
  # Write it with: python -m mtl_ssl_tf.configs.reference > docs/configuration.md
  assert REFERENCE.read_text() == reference.text()


def test_the_reference_has_every_field():
  text = reference.text()
  for cls in OURS:
    for name in cls.__annotations__:
      field = fields.field_of(cls, name)
      is_group = field.default is dataclasses.MISSING and not isinstance(
        field.default_factory(), list
      )
      assert is_group or f"| `{name}` | " in text, (cls, name)
