"""Records what every row resolves to, for `resolved_rows_test.py`.

`python -m tests.configs.resolved_rows` writes the record again. Only a change of a published value
is a reason to: a field that is renamed, new or gone is listed in the test.
"""

import functools
import gzip
import json
import pathlib

from mtl_ssl_tf.configs import loading

REPOSITORY = pathlib.Path(__file__).parents[2]
CONFIGS = REPOSITORY / "configs"
RECORD = pathlib.Path(__file__).with_name("resolved_rows.json.gz")


def names() -> list[str]:
  """Every row, preset and overlay, applied after a row, by name."""
  flagfiles = [f"flags/{path.name}" for path in sorted(CONFIGS.glob("flags/*.flags"))]
  rows = [f"experiments/{path.name}" for path in sorted(CONFIGS.glob("experiments/*.yaml"))]
  overlays = ["overlays/released.yaml"]
  overlays += [
    f"overlays/released_schedules/{path.name}"
    for path in sorted(CONFIGS.glob("overlays/released_schedules/*.yaml"))
  ]
  return flagfiles + rows + overlays


def config_file(flagfile: pathlib.Path) -> str:
  """The configuration that a flagfile names."""
  (line,) = [
    line for line in flagfile.read_text().splitlines() if line.startswith("--config_file=")
  ]
  return str(REPOSITORY / line.removeprefix("--config_file="))


def resolve(name: str) -> dict:
  """Fields of the configuration, nested."""
  path = CONFIGS / name
  return _load(config_file(path) if path.suffix == ".flags" else str(path))


@functools.cache
def _load(file: str) -> dict:
  return loading.load_experiment("mtl_frcnn", [file]).as_dict()


def recorded() -> dict[str, dict]:
  """Name -> fields, as they were recorded."""
  with gzip.open(RECORD, "rt") as file:
    return json.load(file)


if __name__ == "__main__":
  text = json.dumps({name: resolve(name) for name in names()}, sort_keys=True)
  RECORD.write_bytes(gzip.compress(text.encode(), mtime=0))
