"""Patterns of our lines: what commands may show when nothing is wrong, and warnings."""

import os
import re

# Standard output of train.py: how the run goes, and the tables of its evaluations.
TRAINING = (
  r"restored from checkpoint: \S+",
  r"changed since the run began: \S+ .+ -> .+",
  r"learning rate \S+( x \d+/\d+ = \S+)? \(.+\), batch \d+.*",
  r"best/: the \d+ best checkpoints by .+; early stopping: .+",
  r"step \d+/\d+ \| loss [\d.]+ \(.+\) \| rate \S+ \| [\d.]+ images/s \| [\d:]+ left",
  r"saved checkpoint: \S+",
  r"evaluation at step \d+, [\d.]+ s",
  r"VOC average precision at IoU [\d.]+, percent",
  r"class +objects +difficult +detections .+",
  r"-+",
  r"\S+( of \d+)?( +([\d.]+|-)){5}",
  r"(multi_object|closeness|foreground)_\w+ +([\d.]+|nan)",
  r"voc/\w+ ([\d.]+|nan)( \(best [\d.]+\))?",
  r"best checkpoints: .+",
  r"early stopping: (off|\d+ of \d+ evaluations .+)",
  r"of [\d.]+ points of mAP lost, fixed alone would gain: .+",
  r"most are lost to .+; what helps: .+",
  r"confusion matrix: \S+",
  r"cost of the auxiliary tasks and refinement.*",
  r"part +parameters +ms an image",
  r"(multi_object|closeness|foreground|refinement) +[\d,]+ +([\d.]+|not measured)",
  r"refinement off \S+ [\d.]+, on [\d.]+: [+-][\d.]+ points, with the same weights",
  # Of a pretraining.
  r"probe: \d+ objects of \d+ classes by \d+ neighbours: .+",
  r"probe/\w+ ([\d.]+|nan)( \(best [\d.]+\))?",
  r"\S+: images read: \d+, left out: \d+",
)
# Standard output of export.py.
EXPORT = (
  r"checkpoint: \S+ \(.+\)",
  r"verifying: \d+/\d+, [\d.]+ a second, \d+ s left",
  r"export and checkpoint on \d+ images: largest difference .+",
  r"SavedModel: \S+ \(classes: \d+\)",
)
# Standard error of `mtl_ssl_tf.predict`.
PREDICTION = (
  r"checkpoint: \S+ \(.+\)",
  r"files: \d+, classes: .+",
  r"predicting: \d+/\d+, [\d.]+ a second, \d+ s left",
  r"\S+: \d+ images with \d+ detections of score \S+ and more",
)
WARNINGS = (r"warning: \S.*",)


def foreign(text: str, *ours: str) -> list[str]:
  """The lines that match none of the patterns."""
  return [
    line for line in text.splitlines() if not any(re.fullmatch(pattern, line) for pattern in ours)
  ]


def users_environment() -> dict[str, str]:
  """The variables of somebody who runs the commands without make, which sets some."""
  ours = ("TF_CPP_MIN_LOG_LEVEL", "TF_ENABLED_DEVICE_TYPES", "TF_USE_LEGACY_KERAS")
  return {name: value for name, value in os.environ.items() if name not in ours}
