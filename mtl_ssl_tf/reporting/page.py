"""The page: its parts in their order, and the files next to it."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from mtl_ssl_tf import files, web_page
from mtl_ssl_tf.evaluation import tables
from mtl_ssl_tf.reporting import (
  cost_section,
  error_sections,
  figure_sections,
  image_sections,
  pairs,
  pictures,
  script,
  sections,
  style,
  training_logs,
)
from mtl_ssl_tf.reporting import findings as findings_lib
from mtl_ssl_tf.serving import score_thresholds
from mtl_ssl_tf.web_page import escape

# Of the paths next to the page: report.html has report_thresholds.json and report_files/.
_THRESHOLDS, _FILES = "_thresholds.json", "_files"


def thresholds_path(output: pathlib.Path) -> pathlib.Path:
  """Returns the file with the thresholds, which lies next to the page."""
  return output.with_name(output.stem + _THRESHOLDS)


def files_path(output: pathlib.Path) -> pathlib.Path:
  """Returns the folder with detections, which lies next to the page."""
  return output.with_name(output.stem + _FILES)


def write(
  output: pathlib.Path,
  findings: findings_lib.Findings,
  compared: pairs.Comparison | None,
  num_images: int,
  about: Mapping[str, Any],
) -> None:
  """Writes the page and the thresholds.

  Args:
    output: the page.
    findings: of the run.
    compared: with another run; None with none.
    num_images: images of each kind, at most.
    about: command, commit, versions and machine.

  Raises:
    OSError: a file cannot be written.
  """
  thresholds = thresholds_path(output)
  run = findings.source.run
  files.write_text(
    thresholds,
    score_thresholds.as_json(
      findings.thresholds,
      not_measured=[one.name for one in findings.classes if one.point is None],
      rule=f"highest F1 at an overlap of {findings.config.iou_threshold:g}",
      checkpoint=run.checkpoint,
      step=run.step,
      records=findings.source.records,
      num_images=len(findings.images),
    ),
  )
  # Each is two pictures, and there are pairs of two kinds.
  num_pairs = (num_images + 1) // 2
  shown = [
    *image_sections.worst(findings, num_images),
    *image_sections.best(findings, num_images),
  ]
  if compared is not None:
    for found in (compared.corrected_by_first, compared.corrected_by_other):
      shown += [pair.first for pair in found(num_pairs)]
  encoded = pictures.read(findings.source.records, {image.truth.image_id for image in shown})
  parts = [
    figure_sections.figures(findings),
    *([] if compared is None else [image_sections.comparison(compared, num_pairs, encoded)]),
    image_sections.images(findings, num_images, encoded),
    figure_sections.classes(findings, thresholds.name),
    error_sections.errors(findings),
    error_sections.confusion(findings),
    error_sections.groups(findings),
    error_sections.reliability(findings),
    figure_sections.training(training_logs.read(findings.source.model_dir)),
    *cost_section.costs(findings.source.model_dir),
    _about(findings, compared, about),
  ]
  title = f"Report on {findings.source.name}"
  content = web_page.page(
    title,
    [
      f"<header><h1>{escape(title)}</h1>{_summary(findings)}{_contents(parts)}</header><main>",
      *(part.html() for part in parts),
      "</main>",
    ],
    style.CSS,
    script.JAVASCRIPT,
  )
  files.write_bytes(output, content)


def _summary(findings: findings_lib.Findings) -> str:
  figures = findings.figures
  main = findings.main_key
  second = "coco/AP" if main != "coco/AP" else "voc/mAP50_area"
  shown = {main: tables.percent(figures[main])}
  if second in figures:
    shown[second] = tables.percent(figures[second])
  run = findings.source.run
  counts = {
    "images": f"{len(findings.images):,}",
    "objects": f"{findings.num_objects:,}",
    "classes": f"{len(findings.classes):,}",
    f"{run.choice} checkpoint": "step not recorded" if run.step is None else f"step {run.step:,}",
  }
  lines = "".join(
    f'<p class="lead">{escape(line[:1].upper() + line[1:])}.</p>' for line in findings.words[-1:]
  )
  return sections.tiles(shown | counts) + lines


def _contents(parts: Sequence[sections.Section]) -> str:
  links = "".join(f'<a href="#{part.identifier}">{escape(part.title)}</a>' for part in parts)
  return f'<nav aria-label="Parts of the page">{links}</nav>'


def _about(
  findings: findings_lib.Findings, compared: pairs.Comparison | None, about: Mapping[str, Any]
) -> sections.Section:
  rows = []
  both = [findings] if compared is None else [findings, compared.other]
  for one in both:
    source = one.source
    averaged = ", averaged weights" if source.run.is_averaged else ""
    rows += [
      (f"{source.name}: folder", str(source.model_dir)),
      (f"{source.name}: checkpoint", f"{source.run.checkpoint} ({source.run.choice}{averaged})"),
      (f"{source.name}: detections", str(source.folder)),
    ]
  rows.append(("images", str(findings.source.records)))
  for name, value in about.items():
    if isinstance(value, Mapping):
      value = ", ".join(f"{key} {text}" for key, text in value.items())
    rows.append((name, str(value)))
  body = web_page.table(["what", "value"], rows, "How it was made")
  try:
    settings = (findings.source.model_dir / "params.yaml").read_text(encoding="utf-8")
  except (OSError, UnicodeDecodeError):
    return sections.Section("about", "How it was made", body)
  # Lines of their own, which `escape` would join.
  lines = "\n".join(map(escape, settings.splitlines()))
  body += (
    "<details><summary>All settings of the run</summary>"
    f'<div class="wide" tabindex="0" role="region" aria-label="Settings"><pre>{lines}</pre></div>'
    "</details>"
  )
  return sections.Section("about", "How it was made", body)
