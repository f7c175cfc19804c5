"""Whole detectors equal torchvision's, whose outputs for small ones are recorded."""

import numpy as np
import pytest

from mtl_ssl_tf.checkpoints import pretrained, torch_files
from mtl_ssl_tf.configs import detector as config_lib
from mtl_ssl_tf.modeling import factory
from tests.checkpoints import torchvision_detector_reference as reference
from tests.modeling import small_backbones

# Of maps and logits over their largest value; the share of boxes that only one side has.
LARGEST = {"p": 1e-5, "proposals": 0.0, "class_logits": 1e-4, "detections": 0.0}


def recorded(version: str) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
  """Returns weights by torchvision's names, and its outputs."""
  with np.load(reference.RECORD) as file:
    found = {
      name.removeprefix(f"{version}/"): file[name]
      for name in file.files
      if name.startswith(f"{version}/")
    }
  lines = [line.split(" ") for line in found.pop("names")]
  shapes = {
    name: tuple(int(side) for side in sides if side)
    for name, *sides in lines
    if "num_batches" not in name
  }
  return reference.weights(shapes), found


@pytest.mark.parametrize("version", reference.VERSIONS)
def test_whole_detector(version, monkeypatch):
  arrays, outputs = recorded(version)
  monkeypatch.setattr(torch_files, "read_state_dict", {"net.pth": arrays}.__getitem__)
  config = config_lib.MtlDetection()
  for override in reference.settings(version, reference.SMALL, "small_resnet"):
    config.override(override, is_strict=True)
  with small_backbones.registered():
    model = factory.build_detector(config, reference.SMALL.num_classes)
  report = pretrained.load(model, "net.pth", "task.init_checkpoint:")
  assert report.loaded == sorted(arrays)

  assert len(outputs["0/labels"]) > 10
  found = reference.differences(model, outputs, reference.SMALL)
  for name, difference in found.items():
    kind = "p" if "/" not in name else name.split("/")[1]
    assert difference <= LARGEST[kind], (name, difference)
