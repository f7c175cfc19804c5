"""What torchvision's ResNets compute, for comparison; the first two need torch and torchvision.

    python -m tests.checkpoints.torchvision_reference write FOLDER
    python -m tests.checkpoints.torchvision_reference record
    python -m tests.checkpoints.torchvision_reference compare FOLDER

`write` saves random weights of ResNet-18, -34, -50 and -101 and what they make of an image;
`compare` needs TensorFlow and prints how far our stages are from that. `record` does the same for
networks of one unit a block into `torchvision_resnet.npz`, which `torch_weights_test.py` reads:
their weights are drawn again by name, and of the maps each 32nd channel is kept.
"""

import pathlib
import sys
import zlib
from collections.abc import Mapping

import numpy as np

RECORD = pathlib.Path(__file__).with_name("torchvision_resnet.npz")
SMALL = ("basic", "bottleneck")
EVERY = 32
NAMES = ("resnet18", "resnet34", "resnet50", "resnet101")
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def weights(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
  """Random weights and statistics that depend on their names, so that none can be mixed up."""
  arrays = {}
  for name, shape in shapes.items():
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    if len(shape) == 4:
      array = rng.normal(0.0, np.sqrt(2.0 / np.prod(shape[1:])), shape)
    elif name.endswith(("running_var", "weight")):
      array = rng.uniform(0.5, 1.0, shape)
    else:
      array = rng.normal(0.0, 0.1, shape)
    arrays[name] = array.astype(np.float32)
  return arrays


def image(height: int, width: int) -> np.ndarray:
  """Noise, RGB of 0 ... 255: [1, height, width, 3]."""
  return np.random.default_rng(0).uniform(0.0, 255.0, [1, height, width, 3]).astype(np.float32)


def outputs(network, images: np.ndarray) -> dict[str, np.ndarray]:
  """The maps after `layer3` and, without its stride, `layer4`, channels last; needs torch."""
  import torch

  shapes = {name: tuple(value.shape) for name, value in network.state_dict().items()}
  drawn = weights({name: shape for name, shape in shapes.items() if "num_batches" not in name})
  network.load_state_dict({n: torch.from_numpy(a) for n, a in drawn.items()}, strict=False)
  network.eval()
  # As here: block 4 does not stride.
  for module in network.layer4[0].modules():
    if isinstance(module, torch.nn.Conv2d):
      module.stride = (1, 1)
  maps = {}
  network.layer3.register_forward_hook(lambda *a: maps.update(layer3=a[2]))
  network.layer4.register_forward_hook(lambda *a: maps.update(layer4=a[2]))
  normalized = (images / np.float32(255.0) - np.float32(MEAN)) / np.float32(DEVIATION)
  with torch.no_grad():
    network(torch.from_numpy(normalized.transpose(0, 3, 1, 2)))
  return {name: value.permute(0, 2, 3, 1).numpy() for name, value in maps.items()}


def record() -> None:
  """Writes `RECORD`."""
  from torchvision.models import resnet

  found = {}
  for name, unit in zip(SMALL, (resnet.BasicBlock, resnet.Bottleneck), strict=True):
    network = resnet.ResNet(unit, [1, 1, 1, 1], num_classes=3)
    found[f"{name}/names"] = np.array(
      [f"{n} {' '.join(map(str, v.shape))}" for n, v in network.state_dict().items()]
    )
    for stage, value in outputs(network, image(64, 49)).items():
      found[f"{name}/{stage}"] = value[..., ::EVERY]
  np.savez_compressed(RECORD, **found)


def write(folder: pathlib.Path) -> None:
  """Writes weights and maps of the four depths; ResNet-34's weights in the form before 1.6."""
  import torch
  import torchvision

  folder.mkdir(parents=True, exist_ok=True)
  for name in NAMES:
    network = getattr(torchvision.models, name)(weights=None)
    maps = outputs(network, image(97, 128))
    zipped = name != "resnet34"
    torch.save(network.state_dict(), folder / f"{name}.pth", _use_new_zipfile_serialization=zipped)
    np.savez(folder / f"{name}.npz", **maps)
    print(f"{name}: {', '.join(f'{n} {m.shape}' for n, m in maps.items())}")


def compare(folder: pathlib.Path) -> None:
  """Prints the largest difference of our stages, also over the largest value of the map."""
  from mtl_ssl_tf.checkpoints import pretrained
  from mtl_ssl_tf.configs import detector
  from mtl_ssl_tf.modeling import factory

  for name in NAMES:
    config = detector.MtlDetection()
    kind = {"type": name.replace("resnet", "resnet_"), "layout": "torchvision"}
    config.override({"backbone": kind, "auxiliary": {"closeness": {"loss_weight": 0.0}}})
    model = factory.build_detector(config, 3)
    report = pretrained.load(model, str(folder / f"{name}.pth"), "FOLDER:")
    golden = np.load(folder / f"{name}.npz")
    stage1 = model.stage1(model.backbone.preprocess(image(97, 128)))
    maps = {"layer3": stage1, "layer4": model.box_head.stage2(golden["layer3"])}
    maps["whole"] = model.box_head.stage2(stage1)
    print(f"{name}: loaded {len(report.loaded)}, unused {report.unused}")
    for stage, ours in maps.items():
      theirs = golden["layer4" if stage == "whole" else stage]
      difference = np.max(np.abs(ours - theirs))
      print(f"  {stage}: {difference:.2e}, over the largest {difference / np.max(theirs):.2e}")


if __name__ == "__main__":
  command, *arguments = sys.argv[1:]
  {"write": write, "record": record, "compare": compare}[command](*map(pathlib.Path, arguments))
