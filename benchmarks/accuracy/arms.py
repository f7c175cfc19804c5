"""Arms of the comparison: configurations of ours, and commands of other detectors."""

import dataclasses
import hashlib
import json
import pathlib
import shlex
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from benchmarks.accuracy import data as data_lib

# Steps between two looks at the CPU seconds of a training.
_STEPS_PER_LOOP = 10
RESULTS_FILE = "results.json"
REPORT_FILE = "report.json"
PLACES = ("work_dir", "arm_dir", "minutes", "seed", "train", "test", "images")


@dataclasses.dataclass(frozen=True)
class Ours:
  """A configuration of this project.

  Attributes:
    name: of the arm.
    config_files: YAML files, later ones win.
    overrides: fields over those of the files, as `--params_override` takes them.
    init: start weights, as `--init` takes them; empty is from scratch.
  """

  name: str
  config_files: tuple[str, ...]
  overrides: str = ""
  init: str = ""

  def signature(self) -> str:
    """Returns a digest of all fields that the arm sets, its bases included."""
    # TensorFlow comes with it.
    from mtl_ssl_tf.configs import yaml_files

    layers = [
      layer.fields
      for path in self.config_files
      for layer in yaml_files.read(str(data_lib.ROOT / path))
    ]
    return _digest([layers, self.overrides, self.init])

  def command(self, mode: str, model_dir: pathlib.Path, overlay: pathlib.Path) -> list[str]:
    """Returns the command that trains or evaluates with the settings of a run in `overlay`."""
    files = [*self.config_files, str(overlay)]
    command = [sys.executable, "train.py", f"--mode={mode}", f"--model_dir={model_dir}"]
    command += [f"--config_file={path}" for path in files]
    if self.overrides:
      command.append(f"--params_override={self.overrides}")
    if self.init:
      command.append(f"--init={self.init}")
    return command


@dataclasses.dataclass(frozen=True)
class Peer:
  """Another detector: a command that trains for a budget and leaves its results.

  Attributes:
    name: of the arm.
    template: shell command with `PLACES` in braces.
  """

  name: str
  template: str

  def signature(self) -> str:
    """Returns a digest of the command."""
    return _digest([self.template])

  def command(self, values: Mapping[str, Any]) -> list[str]:
    """Returns the command of a run."""
    text = self.template
    for name, value in values.items():
      text = text.replace(f"{{{name}}}", shlex.quote(str(value)))
    return ["bash", "-c", text]


def overlay(
  data: data_lib.DataSet, seed: int, steps: int, results_dir: pathlib.Path, falling_rate: str = ""
) -> dict[str, Any]:
  """Returns the fields of a run that its arm does not set: data, seeds, schedule.

  Args:
    data: to train on and to evaluate on.
    seed: of weights, order of images and augmentation.
    steps: of the training.
    results_dir: folder that evaluation writes the result files to.
    falling_rate: `cosine` or `polynomial` where the learning rate is to fall until the last step.
  """
  trainer = {
    "train_steps": steps,
    "validation_interval": steps,
    "checkpoint_interval": steps,
    "steps_per_loop": _STEPS_PER_LOOP,
    "summary_interval": 10 * _STEPS_PER_LOOP,
  }
  if falling_rate:
    trainer["optimizer_config"] = {"learning_rate": {falling_rate: {"decay_steps": steps}}}
  return {
    "task": {
      "seed": seed,
      "label_map": str(data.folder / "records" / "label_map.txt"),
      "train_data": {"input_path": data.records("train"), "seed": seed},
      "validation_data": {"input_path": data.records("test")},
      "pictures": {"interval": 0},
      "evaluation": {"results_dir": str(results_dir), "auxiliary_metrics": False},
    },
    "trainer": trainer,
  }


def write_overlay(path: pathlib.Path, fields: Mapping[str, Any]) -> None:
  """Writes the fields as a YAML file."""
  path.write_text(yaml.safe_dump(dict(fields), sort_keys=False))


def parse_ours(text: str, inits: Mapping[str, str]) -> Ours:
  """Returns the arm of `NAME=CONFIG.yaml[+CONFIG.yaml][;OVERRIDES]`.

  Raises:
    ValueError: it has another form, or a file is missing.
  """
  name, equals, rest = text.partition("=")
  files, _, overrides = rest.partition(";")
  if not (is_name(name) and equals and files):
    raise ValueError(f"--arm is {text!r}; accepted: NAME=CONFIG.yaml[+CONFIG.yaml][;OVERRIDES]")
  config_files = tuple(files.split("+"))
  for path in config_files:
    if not (data_lib.ROOT / path).is_file():
      raise ValueError(f"--arm {name}: {path} is missing; accepted: a YAML file")
  return Ours(name, config_files, overrides, inits.get(name, ""))


def parse_peer(text: str) -> Peer:
  """Returns the arm of `NAME=COMMAND`.

  Raises:
    ValueError: it has another form, or lacks a place that every command needs.
  """
  name, equals, template = text.partition("=")
  missing = [place for place in ("work_dir", "minutes", "seed") if f"{{{place}}}" not in template]
  if not (is_name(name) and equals and template) or missing:
    places = ", ".join(f"{{{place}}}" for place in PLACES)
    raise ValueError(
      f"--peer is {text!r}; accepted: NAME=COMMAND with {{work_dir}}, {{minutes}} and {{seed}}; all"
      f" places are {places}"
    )
  return Peer(name, template)


def parse_pairs(flag: str, texts: Sequence[str]) -> dict[str, str]:
  """Returns the mapping of `NAME=VALUE` texts.

  Raises:
    ValueError: one has another form.
  """
  pairs = {}
  for text in texts:
    name, equals, value = text.partition("=")
    if not (name and equals and value):
      raise ValueError(f"{flag} is {text!r}; accepted: NAME=VALUE")
    pairs[name] = value
  return pairs


def is_name(text: str) -> bool:
  """Returns whether a text can name an arm and its folder."""
  return bool(text) and all(letter.isalnum() or letter in "_-." for letter in text)


def _digest(content: Any) -> str:
  text = json.dumps(content, sort_keys=True, default=str)
  return hashlib.sha256(text.encode()).hexdigest()[:16]
