"""Every number that a configuration can hold has a range, and nothing outside of it passes."""

import dataclasses
import math
import types
import typing
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from official.core import config_definitions as cfg
from official.core import exp_factory
from official.modeling import hyperparams

from mtl_ssl_tf.configs import data_validation, experiments, fields, insloc, insloc_data, validation
from mtl_ssl_tf.reading import quoting

NAMES = [
  name
  for name, factory in exp_factory._REGISTERED_CONFIGS.items()
  if factory.__module__ == experiments.__name__
]
PARTS = ("task", "trainer", "runtime")
NO_NUMBERS = (math.nan, math.inf, -math.inf)
HUGE = (10**30, -(10**30))
# Those of the others that a range has no place for.
NEGATIVE = (-1, -0.5)


class Number(NamedTuple):
  """A field that holds a number or several, or would if it were set.

  Attributes:
    path: its whole name.
    group: that it lies in.
    field: its declaration.
    is_list: whether it holds several.
  """

  path: str
  group: hyperparams.Config
  field: dataclasses.Field
  is_list: bool


def options(hint: Any) -> tuple:
  is_union = typing.get_origin(hint) in (typing.Union, types.UnionType)
  return typing.get_args(hint) if is_union else (hint,)


def set_groups(config: hyperparams.Config) -> None:
  """Sets the groups that are null by default, such as averages, so that their fields are there."""
  hints = typing.get_type_hints(type(config))
  for field in dataclasses.fields(config):
    group = fields.optional_group_of(field)
    for option in options(hints[field.name]):
      is_group = isinstance(option, type) and issubclass(option, hyperparams.Config)
      if getattr(config, field.name) is None and is_group and option is not hyperparams.Config:
        setattr(config, field.name, (group or option)())
    if isinstance(getattr(config, field.name), hyperparams.Config):
      set_groups(getattr(config, field.name))


def experiment(name: str) -> cfg.ExperimentConfig:
  """A configuration that is accepted, with all of its groups."""
  params = exp_factory.get_exp_config(name)
  set_groups(params)
  if isinstance(params.task, insloc.InsLoc):
    params.task.train_data.image_dir = "images"
    params.trainer.optimizer_config.learning_rate.cosine.decay_steps = 1000
  else:
    params.task.label_map = "labels.txt"
  return params


def numbers(params: cfg.ExperimentConfig) -> Iterator[Number]:
  for part in PARTS:
    for path, group, field in fields.walk(getattr(params, part), f"{part}."):
      hint = typing.get_type_hints(type(group))[field.name]
      elements = [typing.get_args(option) for option in options(hint)]
      if {int, float} & {kind for kinds in elements for kind in kinds}:
        yield Number(path, group, field, is_list=True)
      elif {int, float} & set(options(hint)):
        yield Number(path, group, field, is_list=False)


def is_unused(number: Number) -> bool:
  """Whether a field of the data has no effect, and is only accepted as it is."""
  used = insloc_data.USED if isinstance(number.group, insloc_data.InsLocData) else None
  used = used or data_validation.USED
  return isinstance(number.group, cfg.DataConfig) and number.field.name not in used


def check(params: cfg.ExperimentConfig, part: str) -> None:
  if part == "trainer":
    validation.check_trainer(params.trainer)
  elif part == "runtime":
    validation.check_runtime(params.runtime)
  elif isinstance(params.task, insloc.InsLoc):
    insloc.check(params.task, params.trainer)
  else:
    validation.check_task(params.task)


def refused(number: Number) -> list:
  """Values for a field that it must not accept."""
  bounds = fields.bounds_of(number.group, number.field)
  if not number.is_list:
    # The fields that have no effect have no bounds.
    return [*NO_NUMBERS, *HUGE, *(one for one in NEGATIVE if bounds is None or bounds.refusal(one))]
  negative = [one for one in NEGATIVE if bounds.each.refusal(one)]
  return [*([one, one] for one in (*NO_NUMBERS, *HUGE, *negative)), [1] * 2000, ["a", "b"], "ab"]


@pytest.mark.parametrize("name", NAMES)
def test_a_configuration_with_all_groups_is_accepted(name):
  for part in PARTS:
    check(experiment(name), part)


@pytest.mark.parametrize("name", NAMES)
def test_every_number_has_a_range(name):
  found = list(numbers(experiment(name)))
  assert len(found) > 200
  without = [
    number.path
    for number in found
    if fields.bounds_of(number.group, number.field) is None and not is_unused(number)
  ]
  assert not without


def test_what_is_outside_of_a_range_is_refused():
  seen, passed = set(), []
  for name in NAMES:
    params = experiment(name)
    for number in numbers(params):
      # The experiments share most of their groups.
      if (type(number.group), number.field.name) in seen:
        continue
      seen.add((type(number.group), number.field.name))
      before = getattr(number.group, number.field.name)
      for value in refused(number):
        setattr(number.group, number.field.name, value)
        try:
          check(params, number.path.partition(".")[0])
        except ValueError as error:
          if not str(error).startswith(f"{number.path} is {quoting.shown(value)}; accepted: "):
            passed.append(f"{number.path} = {value!r}: {error}")
          assert "\n" not in str(error)
        else:
          passed.append(f"{number.path} = {value!r}: accepted")
      setattr(number.group, number.field.name, before)
  assert not passed, "\n".join(passed)
