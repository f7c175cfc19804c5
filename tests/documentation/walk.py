"""The sections of the pages whose blocks are run, and a folder that has the names in them.

The blocks are run as they are written, one after the other, in one folder: `DATA` is a folder there
with the embedded data set, `train.json` its annotations in COCO's form, and so on.
"""

import importlib
import json
import pathlib
import shutil
import subprocess
import sys
from collections.abc import Sequence
from unittest import mock
from xml.etree import ElementTree

import cv2
import numpy as np
from PIL import Image

from mtl_ssl_tf import cli
from mtl_ssl_tf.data import synthetic
from mtl_ssl_tf.data.synthetic_scenes import scenes
from tests import terminal_lines
from tests.documentation import commands, pages

SECTIONS = (
  ("README.md", "Fine-tune on your own data"),
  ("docs/report.md", "Report: one page to look at"),
  ("docs/prediction.md", "From Python"),
  ("docs/prediction.md", "Files"),
  ("docs/serving.md", "Signatures"),
  ("docs/validation.md", "Validating a data set before training"),
  ("docs/sparse_annotations.md", "Erase annotations on purpose"),
  ("configs/README.md", "Records of VOC07 and VOC12"),
  ("configs/README.md", "Records of COCO 2017"),
)
SCENES = synthetic.DatasetArguments(num_train=6, num_val=3, height=96, width=128)
# What the training has besides the flags of the page: two steps of a small detector.
SHORT = {
  "task": {
    "init_checkpoint": "",
    "backbone": {
      "type": "mobilenet_v1",
      "depth_multiplier": 0.125,
      "freeze": [],
      "norm": {"type": "group"},
    },
    "fpn": {"depth": 16},
    "rpn": {"depth": 16, "pre_nms_top_k": 32, "num_proposals": 8},
    "roi_head": {"batch_size": 8, "fpn": {"dense_depth": 16}},
    "auxiliary": {
      "features": "main_head",
      "multi_object": {"loss_weight": 1.0, "num_windows": 4},
      "closeness": {"loss_weight": 0.3},
      "foreground": {"loss_weight": 1.0, "mask_size": 16},
    },
    "refinement": {"enabled": True, "train_rois": 4},
    "data": {"input_size": [96, 128], "short_side": 96, "long_side": 128},
    "train_data": {"global_batch_size": 2},
    "pictures": {"interval": 0},
  },
  "trainer": {
    "train_steps": 2,
    "steps_per_loop": 2,
    "validation_interval": 2,
    "checkpoint_interval": 2,
  },
}
# What the sentences around a block of Python say is there.
_NAMES_IN_PYTHON = "images = ['a.jpg', 'b.jpg']\n"


def blocks(page: str, heading: str) -> list[pages.Block]:
  """The blocks of a section that are run; trainings are only run on the first page."""
  return [
    block
    for block in pages.blocks(page)
    if heading in block.headings
    and block.language in ("sh", "python")
    and not block.is_marked
    and (page == "README.md" or "train.py" not in block.text)
  ]


def make_folder(folder: pathlib.Path) -> None:
  """Fills a folder with what the blocks take for given."""
  data = folder / "DATA"
  synthetic.write_dataset(data, SCENES)
  shutil.copy(data / "ImageSets" / "Main" / "val.txt", data / "ImageSets" / "Main" / "test.txt")
  shutil.copytree(pages.ROOT / "configs", folder / "configs")
  for name, target in {
    "IMAGES": "DATA/JPEGImages",
    "train2017": "DATA/JPEGImages",
    "val2017": "DATA/JPEGImages",
    "VOCdevkit/VOC2007": "../DATA",
    "VOCdevkit/VOC2012": "../DATA",
    "records": "data/mine",
    "runs/baseline": "mine",
  }.items():
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).symlink_to(target)
  annotations = {split: _coco(data, split) for split in synthetic.SPLITS}
  (folder / "annotations").mkdir()
  for name, split in {
    "train.json": "train",
    "val.json": "val",
    "instances_val.json": "val",
    "annotations/instances_train2017.json": "train",
    "annotations/instances_val2017.json": "val",
  }.items():
    (folder / name).write_text(json.dumps(annotations[split]))
  (folder / "results.json").write_text(
    json.dumps(
      [
        {name: one[name] for name in ("image_id", "category_id", "bbox")} | {"score": 0.9}
        for one in annotations["val"]["annotations"]
      ]
    )
  )
  images = sorted((data / "JPEGImages").iterdir())[:2]
  for name in ("a.jpg", "b.jpg", "street.jpg", "image.jpg", "IMAGE"):
    shutil.copy(images[0], folder / name)
  for name in ("images", "IMAGE_OR_FOLDER"):
    (folder / name).mkdir()
    for image in images:
      shutil.copy(image, folder / name)
  (folder / "more" / "one").mkdir(parents=True)
  Image.open(images[1]).save(folder / "more" / "one" / "x.png")
  _write_video(folder / "clip.mp4", images)


def _coco(data: pathlib.Path, split: str) -> dict:
  """A split of a VOC folder in COCO's form."""
  images, annotations = [], []
  themes = (scenes.TABLE, scenes.YARD)
  classes = [name for one in themes for name in (one.anchor, one.look_alike, *one.companions)]
  names = {name: number for number, name in enumerate(classes, start=1)}
  listed = (data / "ImageSets" / "Main" / f"{split}.txt").read_text().split()
  size = {"width": SCENES.width, "height": SCENES.height}
  for number, name in enumerate(listed):
    root = ElementTree.parse(data / "Annotations" / f"{name}.xml").getroot()
    images.append({"id": number + 1, "file_name": f"{name}.jpg", **size})
    for found in root.iter("object"):
      box = [float(found.findtext(f"bndbox/{side}")) for side in ("xmin", "ymin", "xmax", "ymax")]
      width, height = box[2] - box[0], box[3] - box[1]
      annotations.append(
        {
          "id": len(annotations) + 1,
          "image_id": number + 1,
          "category_id": names[found.findtext("name")],
          "bbox": [box[0], box[1], width, height],
          "area": width * height,
          "iscrowd": 0,
        }
      )
  return {
    "images": images,
    "annotations": annotations,
    "categories": [{"id": number, "name": name} for name, number in names.items()],
  }


def _write_video(path: pathlib.Path, images: Sequence[pathlib.Path]) -> None:
  size = (SCENES.width, SCENES.height)
  writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 5.0, size)
  for image in images:
    writer.write(np.ascontiguousarray(np.asarray(Image.open(image).convert("RGB"))[..., ::-1]))
  writer.release()


def run(block: pages.Block) -> None:
  """Runs a block in the current folder.

  Raises:
    RuntimeError: a command of it failed.
  """
  if block.language == "python":
    with mock.patch.object(Image.Image, "show"):  # It would open a window.
      exec(compile(_NAMES_IN_PYTHON + block.text, str(block), "exec"), {})
    return
  for command in commands.split(block.text):
    status = _run(command.words)
    if status:
      raise RuntimeError(f"{block}: {' '.join(command.words)}: exit status {status}")


def _run(words: Sequence[str]) -> int:
  """Runs a command; all but trainings run in this process, which has loaded TensorFlow."""
  program, script, *rest = words
  if script == "train.py":
    return _train(rest)
  if (program, script) == ("python", "-m"):
    module, *rest = rest
  elif program == "mtl-ssl":
    module = cli.COMMANDS[script][0]
  else:
    module = {"export.py": "mtl_ssl_tf.export"}[script]
  try:
    return importlib.import_module(module).main(rest)
  except SystemExit as end:
    return end.code or 0


def _train(flags: Sequence[str]) -> int:
  short = f"--params_override={json.dumps(SHORT)}"
  command = [sys.executable, str(pages.ROOT / "train.py"), *flags, short]
  return subprocess.run(command, env=terminal_lines.users_environment(), check=False).returncode
