"""What torchvision's detectors compute, for comparison; the first two need torch and torchvision.

    python -m tests.checkpoints.torchvision_detector_reference write FOLDER
    python -m tests.checkpoints.torchvision_detector_reference record
    python -m tests.checkpoints.torchvision_detector_reference compare FOLDER

`write` saves random weights of `fasterrcnn_resnet50_fpn` and of its second version, and what they
make of two images, from the pyramid to the detections. `compare` needs TensorFlow, loads the
weights and prints how far ours is from that. `record` writes the same of networks of one unit a
block and few channels to `torchvision_detector.npz`, which `torch_detector_whole_test.py` reads;
their weights are drawn again by name.
"""

import dataclasses
import pathlib
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np

from tests.checkpoints import torchvision_reference

RECORD = pathlib.Path(__file__).with_name("torchvision_detector.npz")
VERSIONS = ("v1", "v2")
# What `docs/fpn.md` says that makes the same detector.
SETTINGS = {
  "backbone": {"type": "resnet_50", "layout": "torchvision", "norm": {"type": "frozen"}},
  "fpn": {"depth": 256, "min_level": 2, "max_level": 6},
  "anchors": {"cells": 8.0, "level_scales": [1.0], "whole_px": True},
  "rpn": {"depth": 256, "pre_nms_top_k": 1000, "num_proposals": 1000},
  "roi_head": {"type": "fpn"},
  "detections": {"score_threshold": 0.05, "nms_iou": 0.5, "max_total": 100},
}
SECOND_VERSION = {
  "fpn": {"norm": "frozen"},
  "rpn": {"num_convs": 2},
  "roi_head": {"fpn": {"layers": "4conv1fc", "norm": "frozen"}},
}
FINEST_STRIDE = 4
# So that outputs are of the size that trained weights give, names' ends -> factor of what is drawn.
FACTORS = {
  ".bn3.weight": 0.3,
  "rpn.head.cls_logits.weight": 0.1,
  "rpn.head.bbox_pred.weight": 0.1,
  "roi_heads.box_predictor.cls_score.weight": 0.5,
  "roi_heads.box_predictor.bbox_pred.weight": 0.3,
}


@dataclasses.dataclass(frozen=True)
class Size:
  """Of a detector and its images.

  Attributes:
    units: of each block.
    depth: channels of pyramid and convolutions of RPN and head.
    dense: outputs of a fully connected layer.
    num_classes: with the background.
    image: height and width; multiples of 32, so that neither resizes nor pads.
    num_proposals: kept of a level before suppression, and of an image after it.
  """

  units: tuple[int, ...]
  depth: int
  dense: int
  num_classes: int
  image: tuple[int, int]
  num_proposals: int


SMALL = Size((1, 1, 1, 1), 8, 16, 4, (128, 160), 50)
WHOLE = Size((3, 4, 6, 3), 256, 1024, 91, (320, 416), 1000)


def weights(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
  """Random weights and statistics that depend on their names, so that none can be mixed up."""
  # Dense weights are drawn as convolutions are.
  drawn = torchvision_reference.weights(
    {name: (*shape, 1, 1) if len(shape) == 2 else shape for name, shape in shapes.items()}
  )
  found = {}
  for name, array in drawn.items():
    (factor,) = [f for end, f in FACTORS.items() if name.endswith(end)] or [1.0]
    found[name] = array.reshape(shapes[name]) * np.float32(factor)
  return found


def images(size: Size) -> np.ndarray:
  """Noise in patches of 16 pixels, RGB of 0 ... 255: float32 [2, height, width, 3]."""
  height, width = size.image
  patches = np.random.default_rng(0).uniform(0.0, 255.0, [2, height // 16, width // 16, 3])
  return patches.repeat(16, axis=1).repeat(16, axis=2).astype(np.float32)


def settings(version: str, size: Size, backbone: str = "resnet_50") -> tuple[dict[str, Any], ...]:
  """Returns settings that make our detector of a version and size, each over those before."""
  of_size = {
    "backbone": {"type": backbone},
    "fpn": {"depth": size.depth},
    "rpn": {
      "depth": size.depth,
      "pre_nms_top_k": size.num_proposals,
      "num_proposals": size.num_proposals,
    },
    "roi_head": {"fpn": {"dense_depth": size.dense, "conv_depth": size.depth}},
    # Main heads alone.
    "auxiliary": {
      task: {"loss_weight": 0.0} for task in ("multi_object", "closeness", "foreground")
    },
    "refinement": {"enabled": False},
  }
  return (SETTINGS, of_size) if version == "v1" else (SETTINGS, of_size, SECOND_VERSION)


def network(version: str, size: Size):
  """Returns torchvision's detector with drawn weights; needs torch."""
  import torch
  from torchvision.models import resnet
  from torchvision.models.detection import backbone_utils, faster_rcnn
  from torchvision.ops import misc

  norm = misc.FrozenBatchNorm2d if version == "v1" else torch.nn.BatchNorm2d
  body = resnet.ResNet(resnet.Bottleneck, list(size.units), norm_layer=norm)
  names = {f"layer{i}": str(i - 1) for i in range(1, 5)}
  pyramid = backbone_utils.BackboneWithFPN(
    body,
    names,
    [256, 512, 1024, 2048],
    size.depth,
    norm_layer=None if version == "v1" else norm,
  )
  options = {}
  if version == "v2":
    options["rpn_head"] = faster_rcnn.RPNHead(size.depth, 3, conv_depth=2)
    options["box_head"] = faster_rcnn.FastRCNNConvFCHead(
      (size.depth, 7, 7), [size.depth] * 4, [size.dense], norm_layer=norm
    )
  else:
    options["box_head"] = faster_rcnn.TwoMLPHead(size.depth * 7**2, size.dense)
  model = faster_rcnn.FasterRCNN(
    pyramid,
    min_size=size.image[0],
    max_size=size.image[1],
    rpn_anchor_generator=faster_rcnn._default_anchorgen(),
    rpn_pre_nms_top_n_test=size.num_proposals,
    rpn_post_nms_top_n_test=size.num_proposals,
    box_predictor=faster_rcnn.FastRCNNPredictor(size.dense, size.num_classes),
    **options,
  )
  shapes = {n: tuple(v.shape) for n, v in model.state_dict().items() if "num_batches" not in n}
  model.load_state_dict({n: torch.from_numpy(a) for n, a in weights(shapes).items()}, strict=False)
  return model.eval()


def outputs(model, size: Size) -> dict[str, np.ndarray]:
  """Returns what torchvision's detector makes of `images`, boxes [x, y, x, y]; needs torch."""
  import torch

  kept = {}
  hooked = {
    "maps": model.backbone,
    "proposals": model.rpn,
    "crops": model.roi_heads.box_roi_pool,
    "scored": model.roi_heads.box_predictor,
  }
  for name, module in hooked.items():
    module.register_forward_hook(lambda *call, name=name: kept.update({name: call[2]}))
  with torch.no_grad():
    detections = model(list(torch.from_numpy(images(size).transpose(0, 3, 1, 2) / 255.0)))
  found = {f"p{i + 2}": value.permute(0, 2, 3, 1) for i, value in enumerate(kept["maps"].values())}
  found["crops"] = kept["crops"].permute(0, 2, 3, 1)
  found["class_logits"] = kept["scored"][0]
  for i, (boxes, detected) in enumerate(zip(kept["proposals"][0], detections, strict=True)):
    found[f"{i}/proposals"] = boxes
    found |= {f"{i}/{name}": value for name, value in detected.items()}
  return {name: value.numpy() for name, value in found.items()}


def record() -> None:
  """Writes `RECORD`."""
  found = {}
  for version in VERSIONS:
    model = network(version, SMALL)
    found[f"{version}/names"] = np.array(
      [f"{n} {' '.join(map(str, v.shape))}" for n, v in model.state_dict().items()]
    )
    for name, value in outputs(model, SMALL).items():
      if name != "crops":
        found[f"{version}/{name}"] = value
  np.savez_compressed(RECORD, **found)


def write(folder: pathlib.Path) -> None:
  """Writes weights and outputs of both versions."""
  import torch

  folder.mkdir(parents=True, exist_ok=True)
  for version in VERSIONS:
    model = network(version, WHOLE)
    torch.save(model.state_dict(), folder / f"{version}.pth")
    found = outputs(model, WHOLE)
    np.savez(folder / f"{version}.npz", **found)
    print(f"{version}: {', '.join(f'{n} {m.shape}' for n, m in found.items())}")


def differences(model, theirs: Mapping[str, np.ndarray], size: Size) -> dict[str, float]:
  """Returns how far our detector is from torchvision's outputs.

  Scores that differ by rounding alone change the order of boxes, and which of two is suppressed. So
  each proposal and detection is looked for among all of the other side. Logits are of the proposals
  that both have and that are at least a cell of the finest map high and wide: torchvision crops
  zeros for smaller ones at the right and lower border.

  Returns:
    Name -> largest difference of maps and of logits, over the largest value. Of `proposals` and
    `detections` the share that only one side has: others have all sides within 0.01 pixels, or for
    detections within 0.1 pixels, with the same class and scores within 1e-3.
  """
  import tensorflow as tf

  image_size_px = tf.constant([size.image] * 2, tf.float32)
  ours = model(tf.constant(images(size)), image_size_px)
  found = {}
  for i, maps in enumerate(ours["features"].maps):
    found[f"p{i + 2}"] = _relative(maps.numpy(), theirs[f"p{i + 2}"])
  num_before = 0
  for i in range(2):
    valid = ours["proposals_valid"][i].numpy()
    boxes, logits = ours["proposals_px"][i].numpy()[valid], ours["class_logits"][i].numpy()[valid]
    expected = theirs[f"{i}/proposals"][:, [1, 0, 3, 2]]
    rows = theirs["class_logits"][num_before : num_before + len(expected)]
    num_before += len(expected)
    distances = np.abs(boxes[:, np.newaxis] - expected).max(axis=-1)  # [ours, theirs]
    same = distances < 0.01
    found[f"{i}/proposals"] = _alone(same)
    compared = same.any(axis=1) & np.all(boxes[:, 2:] - boxes[:, :2] >= FINEST_STRIDE, axis=1)
    nearest = rows[distances.argmin(axis=1)]
    found[f"{i}/class_logits"] = _relative(logits[compared], nearest[compared])

    num = int(ours["num_detections"][i])
    names = ("detection_boxes_px", "detection_scores", "detection_classes")
    boxes, scores, classes = (ours[name][i, :num].numpy() for name in names)
    expected = theirs[f"{i}/boxes"][:, [1, 0, 3, 2]]
    same = np.abs(boxes[:, np.newaxis] - expected).max(axis=-1) < 0.1
    same &= np.abs(scores[:, np.newaxis] - theirs[f"{i}/scores"]) < 1e-3
    same &= classes[:, np.newaxis] == theirs[f"{i}/labels"]
    found[f"{i}/detections"] = _alone(same)
  return found


def _alone(same: np.ndarray) -> float:
  """The share of rows, or of columns if more, without any of the other side."""
  return 1.0 - float(min(same.any(axis=0).mean(), same.any(axis=1).mean()))


def _relative(ours: np.ndarray, theirs: np.ndarray) -> float:
  if ours.shape != theirs.shape:
    return float("inf")
  return float(np.max(np.abs(ours - theirs)) / np.max(np.abs(theirs)))


def compare(folder: pathlib.Path) -> None:
  """Prints how far our detectors are from what `write` saved."""
  from mtl_ssl_tf.checkpoints import pretrained
  from mtl_ssl_tf.configs import detector
  from mtl_ssl_tf.modeling import factory

  for version in VERSIONS:
    config = detector.MtlDetection()
    for override in settings(version, WHOLE):
      config.override(override, is_strict=True)
    model = factory.build_detector(config, WHOLE.num_classes)
    report = pretrained.load(model, str(folder / f"{version}.pth"), "FOLDER:")
    print(f"{version}: loaded {len(report.loaded)}, unused {report.unused}")
    with np.load(folder / f"{version}.npz") as theirs:
      for name, difference in differences(model, theirs, WHOLE).items():
        print(f"  {name}: {difference:.2e}")


if __name__ == "__main__":
  command, *arguments = sys.argv[1:]
  {"write": write, "record": record, "compare": compare}[command](*map(pathlib.Path, arguments))
