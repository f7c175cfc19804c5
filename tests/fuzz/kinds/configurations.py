"""YAML files and overrides, and what PyYAML's safe loader alone merges from them."""

import copy
import random
import re
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from mtl_ssl_tf import registry_imports  # noqa: F401
from mtl_ssl_tf.configs import loading, renamed, validation, yaml_files
from mtl_ssl_tf.training import task as task_lib
from tests.fuzz import mutations, odd_values, outcomes
from tests.fuzz.kinds import base
from tests.tasks import tiny

_FILE, _BASE_FILE, _OVERRIDE, _EXPERIMENT = "run.yaml", "base.yaml", "override", "experiment"
# Of each of the settings below, and any.
_EXPERIMENTS = (
  ("mtl_frcnn", "mtl_frcnn_co_mining", "mtl_rfcn_co_mining"),
  ("mtl_frcnn", "mtl_frcnn_co_mining", "mtl_rfcn_co_mining"),
  ("mtl_frcnn_co_mining",),
  ("insloc",),
  ("mtl_frcnn", "insloc", "mtl_frcnn_co_mining", "retinanet", ""),
)
_TOKENS = (
  *("~", "null", "yes", "on", "Off", "0x1F", "0o17", "017", "1_000", "12:30:45", ".inf", "-.INF"),
  *(
    ".nan",
    "1e3",
    "1e-3",
    "1E+3",
    "1.e3",
    ".5",
    "+1",
    "2001-01-01",
    "2001-01-01 10:00:00",
    "!!x 1",
  ),
  *("!!str 1", "!!int '1'", "!!float 1", "!!binary aGk=", "!!set {a, b}", "!!omap [a: 1]"),
  *("!!python/tuple [1, 2]", "!!python/name:os.system", "!!python/object/apply:os.getcwd []"),
  *("!!python/complex 1j", "!!python/module:os", "!!python/object:os.X {}", "!!timestamp 1"),
  *("&a [1, 2]", "*a", "&a [*a]", "{<<: {a: 1}}", "[&b 1, *b]", "'a''b'", '"\\x41"', '"\\ud800"'),
  *("1e400", "9" * 40, "0." + "3" * 40, "{? [1]: 2}", "{1: 2}", "{null: 1}", "{1.5: 1}", "a: b"),
  *("|\n a\n b", "[1, 2", "{a", "%TAG", "@a", "`a`", "- 1", "# comment", "---", "...", "\t1"),
)
_OTHER_FIELDS = (
  *("task.train_data.short_side=64", "trainer.train_steps=5", "task.seed=1", "a=b", "=", "a=[1"),
  *("{task: {seed: 1}}", "task: {data: {short_side: 96}}", "{}", "[]", "null", "", " ", "1", "x y"),
  *("trainer.optimizer_config.learning_rate.type=cosine", "task.backbone.type='resnet_50'"),
  *("task.train_data.input_size=[64,96]", "task.init_checkpoint=None", "task.rpn.depth=1e3"),
)


class Cases(base.Kind):
  """See above."""

  name = "configs"
  about = "configurations: YAML files and overrides"

  def __init__(self, prepared, scratch):
    super().__init__(prepared, scratch)
    settings = tiny.settings(scratch)
    del settings["task"]["label_map"]
    for split in ("train_data", "validation_data"):
      settings["task"][split]["input_path"] = f"data/{split}.tfrecord"
    task, both = settings["task"], copy.deepcopy(settings)
    both["task"]["data"] = both["task"].pop("train_data")
    both["task"]["label_map"] = "label_map.txt"
    both["trainer"]["optimizer_config"]["ema"] = {"average_decay": 0.99}
    pretraining = {
      "task": {"train_data": {"input_path": "images/*", "global_batch_size": 2}},
      "trainer": {"train_steps": 10, "base_batch_size": 2},
    }
    mining = {"task": {**task, "mining": {"start_step": 3}, "init_checkpoint": "w.pth"}}
    self._settings = (settings, both, mining, pretraining)
    self._texts = [yaml.safe_dump(value).encode() for value in self._settings]
    self._texts += [yaml.safe_dump(both, default_flow_style=True).encode()]

  def seeds(self) -> list[base.Files]:
    return [
      {_EXPERIMENT: experiment, _FILE: yaml.safe_dump(settings).encode()}
      for experiment, settings in (
        (b"mtl_frcnn", self._settings[0]),
        (b"mtl_frcnn", self._settings[1]),
        (b"insloc", self._settings[3]),
      )
    ]

  def make(self, rng: random.Random) -> base.Files:
    number = rng.randrange(len(self._settings))
    experiments = _EXPERIMENTS[number] if rng.random() < 0.9 else _EXPERIMENTS[-1]
    files = {_EXPERIMENT: rng.choice(experiments).encode()}
    bases = None
    if rng.random() < 0.2:
      files[_BASE_FILE] = self._text(rng, number)
      odd = (_FILE, "[]", "7", "[7]", "no.yaml", ".")
      bases = rng.choice(odd) if rng.random() < 0.3 else rng.choice((_BASE_FILE, f"[{_BASE_FILE}]"))
    files[_FILE] = self._text(rng, number, bases)
    if rng.random() < 0.3:
      text = rng.choice(_OTHER_FIELDS) if rng.random() < 0.7 else rng.choice(odd_values.TEXTS)
      override = text.encode("utf-8", "ignore")
      if rng.random() < 0.3:
        override = mutations.mutate(rng, [override])
      files[_OVERRIDE] = override
    return files

  def _text(self, rng: random.Random, number: int, bases: str | None = None) -> bytes:
    if rng.random() < 0.2:
      words = [token.encode() for token in (*_TOKENS, ": ", "\n  ", "- ", "{", "}", "<<: *a")]
      text = mutations.mutate(rng, [self._texts[number], *self._texts], words)
      return text if bases is None else f"base: {bases}\n".encode() + text
    value = odd_values.as_members(copy.deepcopy(self._settings[number]))
    for _ in range(rng.randint(1, 3)):
      value = odd_values.mutate(rng, value, _TOKENS)
    if bases is not None and isinstance(value, odd_values.Members):
      value.insert(0, (yaml_files.BASE, odd_values.Token(bases)))
    return odd_values.encode(rng, odd_values.dumps(value, rng))

  def check(self, files: base.Files) -> bool:
    for name in (_FILE, _BASE_FILE):
      (self.scratch / name).unlink(missing_ok=True)
    self.write({name: files[name] for name in (_FILE, _BASE_FILE) if name in files})
    override = files.get(_OVERRIDE, b"").decode("utf-8", "replace").replace("\0", "")
    experiment = files[_EXPERIMENT].decode()
    params = loading.load_experiment(experiment, [str(self.scratch / _FILE)], override)
    layers = [_load(files[_FILE])]
    if isinstance(layers[0], dict) and layers[0].pop(yaml_files.BASE, None) not in (None, []):
      layers.insert(0, _load(files[_BASE_FILE]))
    if "=" not in override.split(":")[0] and override:
      layers.append(_load(override.encode()))
    merged: dict[str, Any] = {}
    for layer in layers:
      outcomes.check(isinstance(layer, Mapping), f"fields of {layer!r:.100}")
      _merge(merged, _spread(layer) if experiment != "insloc" else layer)
    if "=" not in override.split(":")[0]:
      for path, value in _leaves(merged):
        _check_field(params, path, value)
    try:
      task_lib.class_of(params.task).check(params)
      validation.check_trainer(params.trainer)
      validation.check_runtime(params.runtime)
    except ValueError as error:
      if not outcomes.is_own(error):
        raise
      outcomes.check_message(str(error))
    return True


class _Loader(yaml.SafeLoader):
  """Also takes 1e-3 for a number, as the reference of the configuration has it."""


_Loader.add_implicit_resolver(
  "tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def _load(content: bytes) -> Any:
  try:
    return yaml.load(content.decode("utf-8"), _Loader)
  except (yaml.YAMLError, ValueError) as error:
    raise outcomes.DisagreementError(f"read, though the safe loader refuses it: {error}") from error


def _spread(fields: Mapping[str, Any]) -> Mapping[str, Any]:
  """The fields of `task.data` in both splits, where these do not set their own."""
  task = fields.get("task")
  if not isinstance(task, Mapping) or "data" not in task:
    return fields
  splits = {
    name: {**task["data"], **task.get(name, {})} for name in ("train_data", "validation_data")
  }
  others = {name: value for name, value in task.items() if name != "data"}
  return {**fields, "task": {**others, **splits}}


def _merge(merged: dict[str, Any], layer: Mapping[str, Any]) -> None:
  for name, value in layer.items():
    if isinstance(value, Mapping) and isinstance(merged.get(name), dict):
      _merge(merged[name], value)
    else:
      merged[name] = copy.deepcopy(value)


def _leaves(fields: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple, Any]]:
  for name, value in fields.items():
    if isinstance(value, Mapping) and value:
      yield from _leaves(value, (*path, name))
    else:
      yield (*path, name), value


def _check_field(params: Any, path: tuple[str, ...], value: Any) -> None:
  if path[-1] in (*renamed._DATA, *renamed._AUXILIARY) or value == {}:
    return
  if path == ("task", "probe"):
    return
  if path[:2] == ("task", "probe"):  # Of a pretraining, which has it by another name.
    path = ("task", "validation_data", *path[2:])
  # These follow others where they are empty.
  follows = (path[-1] == "label_map" and not value) or (path[-1] == "decay_steps" and value is None)
  if follows:
    return
  read = params
  for name in path:
    read = read[name] if isinstance(read, Mapping) else getattr(read, name)
  plain = list(value) if isinstance(value, tuple) else value
  read = list(read) if isinstance(read, tuple) else read
  same = read == plain or (read != read and plain != plain)
  outcomes.check(
    same and isinstance(read, bool) == isinstance(plain, bool),
    f"{'.'.join(map(str, path))}: the package has {read!r:.100}, the safe loader {plain!r:.100}",
  )
