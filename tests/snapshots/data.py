"""What the converters write, what the pipeline makes of it, and composites for pretraining."""

import contextlib
import io
import json
import pathlib
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from mtl_ssl_tf.configs import data as data_config
from mtl_ssl_tf.configs import insloc_data
from mtl_ssl_tf.data import coco_json, pascal_voc, sparse_annotations, synthetic
from mtl_ssl_tf.data.composites import reader as composites_reader
from mtl_ssl_tf.data.pipeline import reader
from tests.data import coco_files, voc_files
from tests.snapshots import records, summary

_AUGMENTED = {
  "input_size": [64, 96],
  "short_side": 56,
  "long_side": 90,
  "max_num_boxes": 4,
  "global_batch_size": 5,
  "seed": 5,
  "flip_probability": 0.5,
  "vertical_flip_probability": 0.4,
  "scale_min": 0.6,
  "scale_max": 1.7,
  "augmentation": {
    "mosaic": 0.5,
    "copy_paste": 0.7,
    "rotate_90": 0.5,
    "color_jitter": {"brightness": 0.3, "contrast": 0.4, "saturation": 0.5, "hue": 0.1},
  },
}


def voc(folder: pathlib.Path) -> dict[str, Any]:
  """A VOC folder with odd images, converted with faults left out."""
  picture = voc_files.picture
  _, palette = picture(30, 50), picture(24, 36).quantize(16)
  several = [
    voc_files.object_xml("cat", difficult=1, truncated=1, pose="Left"),
    voc_files.object_xml("dog", {"xmax": 43, "ymin": 0}),
    voc_files.object_xml("cow", {"xmin": 30, "xmax": 20}),
    voc_files.object_xml("dog", {"xmin": 7.5, "xmax": 19.25, "ymax": 18}, occluded=1),
  ]
  files = {
    "a.xml": voc_files.annotation_xml(several),
    "b.xml": voc_files.annotation_xml([voc_files.object_xml("cow")], (50, 30), "other.png"),
    "b.jpg": voc_files.image_bytes(picture(30, 50), exif=voc_files.exif(6)),
    "c.xml": voc_files.annotation_xml([], (24, 36)),
    "c.png": voc_files.image_bytes(palette, "PNG", transparency=3),
    "d.xml": voc_files.annotation_xml([voc_files.object_xml("cat")], None),
    "d.png": voc_files.image_bytes(picture(20, 40).convert("L"), "PNG"),
    "e.xml": voc_files.annotation_xml([voc_files.object_xml("cat", {"xmax": 90})]),
  }
  voc_files.write(folder / "voc", files)
  flags = ["--split=train", "--on_error=skip", "--num_shards=2", "--clip_px=4"]
  status = _run(
    pascal_voc.main,
    [f"--data_dir={folder / 'voc'}", f"--output_dir={folder / 'out'}", *flags],
  )
  kept = [f"--data_dir={folder / 'voc'}", f"--output_dir={folder / 'whole'}", *flags]
  _run(pascal_voc.main, [*kept, "--no-ignore_faulty_boxes"])
  return {
    **_folder(folder / "out", "out"),
    **_folder(folder / "whole", "whole"),
    "status": status,
  }


def coco(folder: pathlib.Path) -> dict[str, Any]:
  """A COCO file with crowds, outlines and unused categories."""
  crowd = {"size": [20, 40], "counts": [100, 50, 650]}
  annotations = [
    coco_files.annotation_entry(),
    coco_files.annotation_entry(101, category_id=90, bbox=[20, 1, 15, 12.5], area=None),
    coco_files.annotation_entry(102, iscrowd=1, segmentation=crowd, bbox=[5, 0, 3, 20], area=50),
    coco_files.annotation_entry(103, image_id=9, category_id=90, bbox=[-2, 3, 12, 9], area=7),
    coco_files.annotation_entry(
      104, image_id=9, segmentation=[[1, 1, 9, 1, 9, 8, 1, 8]], bbox=None
    ),
    coco_files.annotation_entry(105, image_id=9, bbox=[30, 3, 12, 9]),
  ]
  images = [
    coco_files.image_entry(7),
    coco_files.image_entry(9, file_name="deep/9.jpg"),
    coco_files.image_entry(3),
  ]
  coco_files.write(folder, coco_files.text(annotations, images), ("7.jpg", "deep/9.jpg", "3.jpg"))
  flags = [f"--annotations={folder / 'train.json'}", f"--image_dir={folder / 'images'}"]
  flags += ["--split=val", f"--output_dir={folder / 'out'}", "--on_error=skip"]
  status = _run(coco_json.main, flags)
  return {**_folder(folder / "out", "out"), "status": status}


def sparse(folder: pathlib.Path) -> dict[str, Any]:
  """Splits of which annotations are erased, by each protocol."""
  drawing = [f"--output_dir={folder / 'drawn'}", "--num_train=6", "--num_val=2", "--seed=4"]
  _run(synthetic.main, [*drawing, "--height=96", "--width=128"])
  converted = [f"--data_dir={folder / 'drawn'}", "--split=train", f"--output_dir={folder / 'out'}"]
  _run(pascal_voc.main, [*converted, "--num_shards=1"])
  found = _folder(folder / "out", "train")
  for protocol in ("easy", "hard", "extreme", "keep1", "miss"):
    place = folder / protocol
    flags = [f"--input_dir={folder / 'out'}", "--split=train", f"--output_dir={place}", "--seed=3"]
    flags += [f"--protocol={protocol}", "--difficult=drop"]
    found[f"{protocol}/status"] = _run(
      sparse_annotations.main, flags + (["--share=0.4"] if protocol == "miss" else [])
    )
    kept = ("erased", "class/label", "object/id", ".json")
    found |= {
      name: value
      for name, value in _folder(place, protocol).items()
      if any(part in name for part in kept)
    }
  return found


def batches(folder: pathlib.Path) -> dict[str, Any]:
  """Batches with every augmentation, in both layouts, of training and of validation."""
  records.write(folder)
  layouts = {
    "single": {},
    "input": {"scale_crop": "input", "difficult": "ignore", "crowd": "keep"},
    "by_orientation": {"input_layout": "by_orientation", "input_size": [72, 96], "crowd": "drop"},
  }
  found = {}
  for name, fields in layouts.items():
    settings = {**_AUGMENTED, **fields, "input_path": str(folder / "train.tfrecord")}
    settings["is_training"] = True
    params = data_config.Data()
    params.override(settings, is_strict=True)
    for number, batch in enumerate(reader.make_dataset(params, first_batch=2).take(3)):
      found |= _batch(f"{name}/{number}", batch)
    found[f"{name}/ids"] = reader.image_ids(params, 3)
  params = data_config.Data()
  params.override(
    {**_AUGMENTED, "input_path": str(folder / "val.tfrecord"), "is_training": False}, is_strict=True
  )
  for number, batch in enumerate(reader.make_dataset(params)):
    found |= _batch(f"validation/{number}", batch)
  return found


def composites(folder: pathlib.Path) -> dict[str, Any]:
  """Pairs of composites with their boxes."""
  (folder / "images").mkdir()
  for number in range(5):
    image = voc_files.picture(50 + 9 * number, 90 - 7 * number).rotate(50 * number)
    image.save(folder / "images" / f"{number}.png")
  params = insloc_data.InsLocData()
  params.override(
    {
      "image_dir": str(folder / "images"),
      "store_dir": str(folder / "store"),
      "global_batch_size": 4,
      "is_training": True,
      "seed": 2,
      "composite": {"size": 48, "crop_area_min": 0.3, "paste_side_max": 0.8},
      "colors": {"blur_probability": 0.6, "grey_probability": 0.4},
    },
    is_strict=True,
  )
  found = {}
  with contextlib.redirect_stderr(io.StringIO()):
    for number, batch in enumerate(composites_reader.make_dataset(params, first_batch=1).take(2)):
      found |= {f"{number}/{name}": value for name, value in batch.items()}
    found["ids"] = composites_reader.image_ids(params, 2)
  return found


SCENARIOS: dict[str, Callable[[pathlib.Path], dict[str, Any]]] = {
  "voc": voc,
  "coco": coco,
  "sparse": sparse,
  "batches": batches,
  "composites": composites,
}


def numbers(name: str, folder: pathlib.Path) -> dict[str, Any]:
  """What a scenario writes or makes, in a folder of its own."""
  return summary.of(SCENARIOS[name](folder))


def _batch(name: str, batch: tuple[tf.Tensor, dict[str, tf.Tensor]]) -> dict[str, Any]:
  images, labels = batch
  return {f"{name}/images": images} | {f"{name}/{key}": value for key, value in labels.items()}


def _folder(folder: pathlib.Path, name: str) -> dict[str, Any]:
  """Every feature of every record, and the texts of the other files."""
  found: dict[str, Any] = {}
  for path in sorted(folder.rglob("*")):
    place = f"{name}/{path.relative_to(folder)}"
    if path.suffix == ".tfrecord":
      for number, record in enumerate(tf.data.TFRecordDataset(str(path))):
        features = tf.train.Example.FromString(record.numpy()).features.feature
        for key, feature in features.items():
          found[f"{place}/{number}/{key}"] = _feature(key, feature)
    elif path.suffix == ".txt":
      found[place] = path.read_text()
    elif path.suffix == ".json":
      found[place] = _manifest(path.read_text().replace(str(folder.parent), ""))
    elif path.is_file():
      found[place] = "a file"
  return found


def _feature(key: str, feature: tf.train.Feature) -> Any:
  if key == "image/encoded":
    return tf.io.decode_image(feature.bytes_list.value[0])
  kind = feature.WhichOneof("kind")
  values = list(getattr(feature, kind).value) if kind else []
  if kind == "bytes_list":
    return [value.decode() for value in values]
  return np.array(values, np.float64)


def _manifest(text: str) -> str:
  """The text of a manifest without digests, which the records' features stand for."""
  return re.sub(r"[0-9a-f]{16,}", "", json.dumps(json.loads(text), sort_keys=True))


def _run(main: Callable[[list[str]], int], flags: list[str]) -> float:
  """The status of a command."""
  with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
    return float(main(flags))
