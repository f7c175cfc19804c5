"""Arms of a comparison: configurations, or variants of one; what differs between them."""

import dataclasses
import hashlib
import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from mtl_ssl_tf.reading import quoting

# Fields that every run gets from the comparison, so that arms cannot differ in them.
_SET_BY_RUN = (
  "task.seed",
  "task.train_data.seed",
  "task.pictures.interval",
  "task.evaluation.results_dir",
  "trainer.train_steps",
  "trainer.validation_interval",
  "trainer.checkpoint_interval",
)


@dataclasses.dataclass(frozen=True)
class Arm:
  """One of the things compared.

  Attributes:
    name: of the arm and its folder.
    config_files: YAML files, later ones win.
    overrides: fields over those of the files, as `--params_override` takes them.
  """

  name: str
  config_files: tuple[str, ...]
  overrides: str = ""


def parse(
  configs: Sequence[str], variants: Sequence[str], override: str | None = None
) -> list[Arm]:
  """Returns the arms of a command line.

  Args:
    configs: `FILE.yaml`, which is called `FILE`, or `NAME=FILE.yaml[+FILE.yaml]`.
    variants: `NAME=OVERRIDES` of the only configuration, which is the first arm itself.
    override: fields of all arms.

  Raises:
    ValueError: a text has another form, a file is missing, or there are fewer than two arms.
  """
  arms = [_parse_config(text) for text in configs]
  if variants and len(arms) != 1:
    raise ValueError(
      f"--variants are of one configuration, and --configs names {len(arms)}; accepted: one"
    )
  for text in variants:
    name, equals, fields = text.partition("=")
    if not (_is_name(name) and equals and fields):
      raise ValueError(
        f"--variants is {quoting.shown(text)}; accepted: NAME=FIELD=VALUE[,FIELD=VALUE]"
      )
    arms.append(Arm(name, arms[0].config_files, fields))
  names = [arm.name for arm in arms]
  repeated = sorted({name for name in names if names.count(name) > 1})
  if repeated:
    raise ValueError(
      f"arms are called {', '.join(names)}; accepted: each name once, as in NAME=FILE.yaml"
    )
  if len(arms) < 2:
    raise ValueError("there is one arm; accepted: at least two of --configs and --variants")
  if override:
    arms = [
      dataclasses.replace(arm, overrides=",".join(filter(None, (override, arm.overrides))))
      for arm in arms
    ]
  return arms


def _parse_config(text: str) -> Arm:
  name, equals, files = text.partition("=")
  if not equals:
    name, files = pathlib.Path(text).stem, text
  paths = tuple(files.split("+"))
  for path in paths:
    if not os.path.isfile(path):
      raise ValueError(f"--configs {text}: {path!r} is missing; accepted: a YAML file")
  if not _is_name(name):
    raise ValueError(
      f"--configs is {quoting.shown(text)}; accepted: FILE.yaml, or NAME=FILE.yaml[+FILE.yaml]"
    )
  return Arm(name, paths)


def _is_name(text: str) -> bool:
  return bool(text) and text[0] != "." and all(c.isalnum() or c in "_-." for c in text)


def differences(resolved: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
  """Returns the fields that are not the same in all arms.

  Args:
    resolved: all fields of each arm by their path with dots, by the arm's name.

  Returns:
    Field -> arm -> value; those that the comparison sets itself are left out.
  """
  fields = sorted(set().union(*resolved.values()) - set(_SET_BY_RUN))
  values = {field: {name: arm.get(field) for name, arm in resolved.items()} for field in fields}
  return {
    field: by_arm
    for field, by_arm in values.items()
    if any(value != next(iter(by_arm.values())) for value in by_arm.values())
  }


def equal_steps(resolved: Mapping[str, Mapping[str, Any]], steps: int | None) -> int:
  """Returns the training steps of all arms.

  Args:
    resolved: as in `differences`.
    steps: asked for; None takes those of the configurations.

  Raises:
    ValueError: the configurations differ and no number is asked for, or it is below 1.
  """
  if steps is not None:
    if steps < 1:
      raise ValueError(f"--steps is {steps}; accepted: at least 1")
    return steps
  found = {name: fields["trainer.train_steps"] for name, fields in resolved.items()}
  if len(set(found.values())) > 1:
    told = ", ".join(f"{name} {value}" for name, value in found.items())
    raise ValueError(
      f"trainer.train_steps differs: {told}; accepted: equal steps, or --steps for all of them"
    )
  return next(iter(found.values()))


def digest(fields: Mapping[str, Any]) -> str:
  """Returns a digest of all fields of an arm but those that the comparison sets."""
  kept = {name: value for name, value in fields.items() if name not in _SET_BY_RUN}
  text = json.dumps(kept, sort_keys=True, default=str)
  return hashlib.sha256(text.encode()).hexdigest()[:16]
