"""Writes the model card of an export, as Markdown (Mitchell et al., 2019)."""

import importlib.metadata
import os
import pathlib
import platform
from collections.abc import Mapping
from typing import Any

from mtl_ssl_tf import __version__
from mtl_ssl_tf.checkpoints import run_checkpoints
from mtl_ssl_tf.data.records import manifests
from mtl_ssl_tf.data.records import paths as record_paths
from mtl_ssl_tf.reading import json_text

FILE = "model_card.md"
UNKNOWN_LICENSE = (
  "not stated. The code is under Apache-2.0; the weights come under what their owner and the owners"
  " of the training data say."
)
_PACKAGES = ("tensorflow", "tf-models-official", "tf-keras", "numpy")
_FIGURES = 30
_UNKNOWN = "not recorded"


def model_card(
  *,
  name: str,
  version: int,
  model_dir: str,
  best_subdir: str,
  checkpoint: str,
  choice: str,
  step: int | None,
  is_averaged: bool,
  class_names: list[str],
  task: Any,
  params_text: str,
  signatures: str,
  verification: str,
  license_text: str,
  thresholds: Mapping[str, float] | None = None,
) -> str:
  """Returns the text of the card.

  Args:
    name, version: of the export.
    model_dir: of the run, where its figures are read.
    best_subdir, checkpoint, choice, step, is_averaged: as in `export_lib.TrainedRun`.
    class_names: class 1 first.
    task: the configuration, of which data and seed are listed.
    params_text: the whole configuration, YAML.
    signatures: how the export is called; a line.
    verification: whether it was compared with the checkpoint; a line.
    license_text: under which the weights may be used.
    thresholds: smallest scores by class that the export is used with by default; None for none.
  """
  detector = f"{task.roi_head.type}, {task.backbone.type}"
  sections = [
    f"# {name}, version {version}",
    f"An object detector ({detector}) with {len(class_names)} classes, exported by mtl_ssl_tf.",
    "## Classes\n\n" + "\n".join(f"{i}. {text}" for i, text in enumerate(class_names, start=1)),
    f"## Use\n\n{signatures}",
    *([] if thresholds is None else [f"## Score thresholds\n\n{_thresholds(thresholds)}"]),
    "## Weights\n\n"
    + _list(
      {
        "checkpoint": f"`{os.path.basename(checkpoint)}` ({choice})",
        "step": _UNKNOWN if step is None else step,
        **({"averaged": "over the steps of training, see `ema` below"} if is_averaged else {}),
        "seed": task.seed,
        "start weights": task.init_checkpoint or "none: trained from random weights",
      }
    ),
    f"## Figures\n\n{_figures(model_dir, best_subdir, step)}\n\n{verification}",
    f"## Training data\n\n{_data(task.train_data.input_path)}",
    "## Versions\n\n" + _list(_versions()),
    f"## Licence\n\n{license_text}",
    f"## Configuration\n\n```yaml\n{params_text.strip()}\n```",
  ]
  return "\n\n".join(sections) + "\n"


def _thresholds(thresholds: Mapping[str, float]) -> str:
  rows = (f"| {name} | {value:.4g} |" for name, value in thresholds.items())
  return (
    "`mtl_ssl_tf.load` and `mtl_ssl_tf.predict` leave out what scores less, unless they are given"
    " another score. The signatures return all detections.\n\n"
    + "\n".join(["| class | smallest score |", "|---|---|", *rows])
  )


def _figures(model_dir: str, best_subdir: str, step: int | None) -> str:
  """A table of the figures that the run's evaluation of this step left behind."""
  for file in (f"evaluation-{step}.json", os.path.join(best_subdir, run_checkpoints.INFO_FILE)):
    path = pathlib.Path(model_dir, file)
    if not path.is_file():
      continue
    figures = json_text.read(path)
    json_text.check(figures, dict, path)
    if step is not None and step in (figures.get("step"), figures.get("best_ckpt_global_step")):
      rows = [
        f"| {name} | {value:.4f} |"
        for name, value in figures.items()
        if isinstance(value, float) and not name.startswith(("best_", "step"))
      ]
      more = f"\n\n{len(rows) - _FIGURES} more: `{file}`" if len(rows) > _FIGURES else ""
      return "\n".join(["| figure | value |", "|---|---|", *rows[:_FIGURES]]) + more
  return "The run left no evaluation of this step."


def _data(input_path: Any) -> str:
  """Returns what the manifests next to the records say of them."""
  try:
    files = record_paths.match_files(input_path)
  except ValueError:
    return f"Records `{input_path}`, which were not available at the export."
  parts = [_manifest(manifest) for manifest in manifests.read(files)]
  return "\n\n".join(parts) or f"{len(files)} record files `{input_path}` without a manifest."


def _manifest(manifest: dict[str, Any]) -> str:
  facts = {
    "split": manifest.get("split", _UNKNOWN),
    "images": manifest.get("num_images", _UNKNOWN),
    "images without boxes": manifest.get("num_images_without_boxes", _UNKNOWN),
    "boxes": manifest.get("num_boxes", _UNKNOWN),
    "sha256 of the sources": manifest.get("sources", {}).get("sha256", _UNKNOWN),
  }
  counts = manifest.get("boxes_per_class", {})
  classes = (f"| {name} | {count} |" for name, count in counts.items())
  return _list(facts) + "\n\n" + "\n".join(["| class | boxes |", "|---|---|", *classes])


def _versions() -> dict[str, str]:
  found = {"mtl_ssl_tf": __version__, "python": platform.python_version()}
  return found | {name: importlib.metadata.version(name) for name in _PACKAGES}


def _list(facts: dict[str, Any]) -> str:
  return "\n".join(f"- {name}: {value}" for name, value in facts.items())
