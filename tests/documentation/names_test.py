"""Settings, files and messages that sentences of the pages name are there."""

import dataclasses
import functools
import glob
import re

import pytest
from official.core import exp_factory
from official.vision.configs import maskrcnn  # noqa: F401 - registers Model Garden's experiments

from mtl_ssl_tf import registry_imports  # noqa: F401
from mtl_ssl_tf.configs import experiments, fields
from tests.documentation import pages

# A setting, with or without its value.
_SETTING = re.compile(r"((?:task|trainer|runtime)(?:\.[a-z]\w*)+)(?:[:=].*)?")
_FILE = re.compile(r"(?:mtl_ssl_tf|tests|configs|examples|benchmarks)/[\w/.*-]+")
# What a run says, with … for what differs.
_MESSAGE = re.compile(r" (?:is|are|be|hold|match|that) ")
# What commands write.
_WRITTEN = ("configs/mine.yaml", "mtl_ssl_tf/images")
# Checkpoint items, protocols and so on that look like settings.
_NO_SETTINGS = ("task.checkpoint_items",)
# Some pages name files by their paths in the package.
_ROOTS = (pages.ROOT, pages.ROOT / "mtl_ssl_tf")
_OURS = ("mtl_frcnn", "mtl_frcnn_co_mining", "insloc")
_MODEL_GARDEN = "fasterrcnn_resnetfpn_coco"


@functools.cache
def _experiment(name: str):
  return exp_factory.get_exp_config(name)


def has(experiment: str, setting: str) -> bool:
  """Tells whether an experiment has a field of that path; `data` and `probe_data` are splits."""
  config = _experiment(experiment)
  for name in setting.replace("task.data", "task.train_data").split("."):
    if experiment == experiments.INSLOC and name == "probe_data":
      name = "validation_data"
    if not hasattr(config, name):
      return False
    declared = {field.name: field for field in dataclasses.fields(config)}
    value = getattr(config, name)
    if value is None and (optional := fields.optional_group_of(declared[name])):
      value = optional()
    config = value
    if not dataclasses.is_dataclass(config):
      config = _Leaf()
  return True


@dataclasses.dataclass
class _Leaf:
  """A value, which has no fields."""


def wrong(page: str, text: str) -> str:
  """Says what a piece of code names that is not there; empty if nothing."""
  if text in _WRITTEN:
    return ""
  if (match := _SETTING.fullmatch(text)) and not text.endswith((".py", ".md")):
    theirs = (_MODEL_GARDEN,) if page == "docs/coming_from.md" else ()
    setting = match[1]
    if setting not in _NO_SETTINGS and not any(has(name, setting) for name in (*_OURS, *theirs)):
      return f"no setting {setting}"
  elif _FILE.fullmatch(text) and not any(glob.glob(text, root_dir=folder) for folder in _ROOTS):
    return f"no file {text}"
  return ""


def test_messages_of_the_page_on_symptoms():
  sources = "\n".join(path.read_text() for path in (pages.ROOT / "mtl_ssl_tf").rglob("*.py"))
  sources = re.sub(r'"\s*\n\s*f?"', "", sources)  # Strings over several lines.
  spans = [text for _, text in pages.spans("docs/troubleshooting.md") if _MESSAGE.search(text)]
  assert len(spans) >= 8
  for text in spans:
    for part in text.split("…"):
      assert part.strip() in sources, text


@pytest.mark.parametrize("page", pages.names())
def test_names(page):
  found = [
    f"{page}:{number}: {reason}"
    for number, text in pages.spans(page)
    if (reason := wrong(page, text))
  ]
  assert not found, "\n".join(found)


@pytest.mark.parametrize(
  ("text", "reason"),
  [
    ("task.rpn.num_proposal", "no setting task.rpn.num_proposal"),
    ("task.rpn.num_proposals.more: 3", "no setting task.rpn.num_proposals.more"),
    ("task.rpn.num_proposals: 3", ""),
    ("task.data.input_size", ""),
    ("trainer.optimizer_config.ema.average_decay", ""),
    ("mtl_ssl_tf/labels/closness.py", "no file mtl_ssl_tf/labels/closness.py"),
    ("mtl_ssl_tf/labels/", ""),
    ("configs/experiments/voc0712_*.yaml", ""),
  ],
)
def test_what_is_not_there_is_found(text, reason):
  assert wrong("docs/new.md", text) == reason
