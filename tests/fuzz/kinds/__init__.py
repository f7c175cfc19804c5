"""The kinds of input, one module each."""

import importlib

from tests.fuzz.kinds import base

# Name -> module, which is imported when it is asked for.
MODULES = {
  "xml": "voc_xml",
  "json": "coco",
  "images": "images",
  "records": "records",
  "manifests": "manifests",
  "checkpoints": "checkpoints",
  "weights": "weights",
  "configs": "configurations",
  "label_maps": "label_maps",
  "requests": "requests",
}
# Cases that end in each of the ways that a case must not; for the test of the campaign.
FAULTY = {"faulty": "faulty"}


def load(name: str) -> type[base.Kind]:
  """The kind of that name.

  Raises:
    ValueError: there is none.
  """
  modules = {**MODULES, **FAULTY}
  if name not in modules:
    raise ValueError(f"--kinds holds {name!r}; accepted: {', '.join(MODULES)}")
  return importlib.import_module(f"{__name__}.{modules[name]}").Cases
