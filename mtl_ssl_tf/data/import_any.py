"""Converts data sets of further formats to records: YOLO, CVAT, KITTI, Open Images, WIDER, LabelMe.

  python -m mtl_ssl_tf.data.import_any --format yolo --input DATA --output_dir records \\
      --datumaro_python .venv-datumaro/bin/python

Datumaro reads them, except for the JSON files of labelme, which it does not know. The COCO files
that come of it are converted as `coco_json` converts any, with the same checks. They stay in
`output_dir/imported`, so that `validate --annotations` can examine them. Each split that the data
set has becomes one of records. What Datumaro loses, or COCO cannot hold, is listed.
`docs/data_formats.md` has the formats and how to install Datumaro.
"""

import json
import logging
import os
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from mtl_ssl_tf import files, written_files
from mtl_ssl_tf.command_line import import_any as import_any_flags
from mtl_ssl_tf.data import coco_json
from mtl_ssl_tf.data.records import converter_command
from mtl_ssl_tf.data.sources import datumaro_to_coco, labelme_json

_LOGGER = logging.getLogger(
  "mtl_ssl_tf.data.import_any"
)  # `__name__` is `__main__` in `python -m`.
FOLDER = "imported"
_FIND = "import importlib.util, sys; sys.exit(importlib.util.find_spec('datumaro') is None)"


def import_dataset(
  data_format: str,
  input_dir: str | os.PathLike[str],
  output_dir: str | os.PathLike[str],
  *,
  split: str | None = None,
  datumaro_python: str = sys.executable,
  on_error: str = "fail",
  **options: Any,
) -> list[dict[str, Any]]:
  """Writes the records, label map and manifests of a data set.

  Args:
    data_format: a key of `datumaro_to_coco.FORMATS`.
    input_dir: the data set.
    output_dir: where the files go; those of an earlier conversion of a split are replaced.
    split: converts this one only, or, of a data set with one split, is its name in the records.
    datumaro_python: an interpreter that has Datumaro.
    on_error, **options: see `conversion.Options`.

  Returns:
    The manifests of the splits.

  Raises:
    ValueError: Datumaro is missing or cannot read the data set, or leaves something out and
      `on_error` is "fail"; else as `conversion.convert`.
    OSError, worker_pool.WorkerError: see `conversion.convert`.
  """
  if not os.path.isdir(input_dir):
    raise ValueError(f"--input is {input_dir}; accepted: a folder with a data set")
  folder = pathlib.Path(output_dir) / FOLDER
  folder.mkdir(parents=True, exist_ok=True)
  with tempfile.TemporaryDirectory(prefix=".part-", dir=folder) as part:
    if data_format == "labelme" and labelme_json.is_there(pathlib.Path(input_dir)):
      datumaro_to_coco.write(*labelme_json.convert(pathlib.Path(input_dir)), pathlib.Path(part))
    else:
      _run(datumaro_python, data_format, input_dir, part)
    _move(pathlib.Path(part), folder)
  report = json.loads((folder / datumaro_to_coco.REPORT).read_text())
  for line in report["lost"]:
    _LOGGER.info(f"not imported: {line}")
  for line in report["faults"]:
    _LOGGER.info(f"fault: {line}")
  if report["faults"] and on_error == "fail":
    raise ValueError(
      f"--input {input_dir}: faults: {len(report['faults'])}; nothing was written. Fix them, or"
      " leave out what is at fault with --on_error=skip"
    )
  splits = list(report["splits"])
  if not splits:
    raise ValueError(
      f"--input {input_dir}: no image with its annotation was found as {data_format}; accepted: see"
      " docs/data_formats.md"
    )
  if split is not None and len(splits) > 1:
    if split not in splits:
      raise ValueError(f"--split is {split}; accepted: one of {', '.join(splits)}")
    splits = [split]
  return [
    coco_json.convert_split(
      folder / f"{name}.json",
      os.path.realpath(input_dir),
      split if split is not None else name,
      output_dir,
      on_error=on_error,
      **options,
    )
    for name in splits
  ]


def _move(part: pathlib.Path, folder: pathlib.Path) -> None:
  """Puts COCO files and report in place of those of an earlier import; raises as `check` does."""
  paths = sorted(part.iterdir())
  for path in paths:
    files.sync(path)
  written = written_files.WrittenFiles(folder, "import-any")
  with written.replacing_all([path.name for path in paths]):
    files.move_into(folder, paths)


def _run(python: str, data_format: str, input_dir: str | os.PathLike[str], folder: str) -> None:
  """Runs Datumaro, which leaves COCO files and the report in the folder.

  Raises:
    ValueError: it is missing, or fails.
  """
  try:
    has_datumaro = subprocess.run([python, "-I", "-c", _FIND], check=False).returncode == 0
  except OSError as error:
    raise ValueError(
      f"--datumaro_python is {python}: cannot be run ({error.strerror}); accepted: a Python"
      " interpreter"
    ) from error
  if not has_datumaro:
    raise ValueError(
      f"--datumaro_python is {python}, which has no Datumaro; accepted: an interpreter that has it,"
      " such as .venv-datumaro/bin/python after make datumaro in a clone"
    )
  # Isolated, so that the modules next to the script hide none of Datumaro's.
  command = [python, "-I", datumaro_to_coco.__file__]
  flags = [f"--format={data_format}", f"--input={input_dir}", f"--output_dir={folder}"]
  done = subprocess.run([*command, *flags], capture_output=True, text=True, check=False)
  if done.returncode:
    reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
    raise ValueError(
      f"--input {input_dir}: Datumaro cannot read it as {data_format} ({reason}); accepted: see"
      " docs/data_formats.md"
    )


def main(argv: Sequence[str] | None = None) -> int:
  """Runs the command line; returns the exit status."""
  flags = import_any_flags.parser().parse_args(argv)
  options = converter_command.options(flags)
  return converter_command.run(
    lambda: import_dataset(
      flags.format,
      flags.input,
      options.pop("output_dir"),
      split=flags.split,
      datumaro_python=flags.datumaro_python,
      **options,
    )
  )


if __name__ == "__main__":
  tf.config.set_visible_devices([], "GPU")  # Decoding needs none, and would reserve its memory.
  sys.exit(main())
