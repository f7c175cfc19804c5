"""Tests of the converters' flags: each reaches the conversion, whose manifest tells of it."""

import json
import shutil

import pytest
import tensorflow as tf

from mtl_ssl_tf.command_line import convert_coco, convert_voc
from mtl_ssl_tf.data import coco_json, pascal_voc
from mtl_ssl_tf.data.records import conversion, converter_command, worker_pool
from mtl_ssl_tf.data.sources import voc_split
from tests.data import coco_files, voc_files


@pytest.fixture(name="flags")
def _flags(tmp_path):
  """Every flag that all converters have, with values that are none of the defaults."""
  (tmp_path / "classes.txt").write_text("dog\ncat\n")
  return [
    f"--output_dir={tmp_path / 'records'}",
    f"--label_map={tmp_path / 'classes.txt'}",
    "--on_error=skip",
    "--clip_px=7",
    "--no-ignore_faulty_boxes",
    "--num_shards=2",
    "--workers=1",
    "--annotated_classes=cat,dog",
  ]


@pytest.fixture(name="stated")
def _stated(tmp_path):
  """What a manifest says of these flags."""
  return {
    "label_map": str(tmp_path / "classes.txt"),
    "on_error": "skip",
    "clip_px": 7.0,
    "ignore_faulty_boxes": False,
    "annotated_classes": ["cat", "dog"],
    "num_shards": 2,
  }


@pytest.fixture(name="options")
def _options(monkeypatch):
  """The options of each conversion, which takes place."""
  given, convert = [], conversion.convert

  def note(open_source, split, options, **others):
    given.append(options)
    return convert(open_source, split, options, **others)

  monkeypatch.setattr(conversion, "convert", note)
  return given


def _check(options, tmp_path) -> None:
  (found,) = options
  assert found == conversion.Options(
    output_dir=str(tmp_path / "records"),
    label_map_file=str(tmp_path / "classes.txt"),
    on_error="skip",
    clip_px=7.0,
    ignore_faulty_boxes=False,
    num_shards=2,
    workers=1,
    annotated_classes=("cat", "dog"),
  )


def _manifest(tmp_path) -> dict:
  return json.loads((tmp_path / "records" / "manifest_train.json").read_text())


# The first box reaches 5 pixels out of the image, 40 wide; the second one 60.
_SIDES = {"a": 45, "b": 100, "c": 30}


def test_of_voc_folders(tmp_path, flags, stated, options):
  files = {
    f"{name}.xml": voc_files.annotation_xml([voc_files.object_xml("cat", {"xmax": xmax})])
    for name, xmax in _SIDES.items()
  }
  files["d.jpg"] = voc_files.image_bytes(voc_files.picture(8, 9))
  voc_files.write(tmp_path / "voc", files)
  shutil.rmtree(tmp_path / "voc" / "ImageSets")
  flags = [f"--data_dir={tmp_path / 'voc'}", "--split=train", *flags]
  flags += ["--split_share=train=1", "--seed=3", "--missing_annotation=background"]
  assert pascal_voc.main(flags) == 0
  _check(options, tmp_path)
  manifest = _manifest(tmp_path)
  assert manifest["options"] == {
    "data_dir": str(tmp_path / "voc"),
    "split_share": {"train": 1.0},
    "seed": 3,
    "missing_annotation": "background",
    **stated,
  }
  # The second image goes whole, as its box has no place.
  assert manifest["notes"]["boxes_clipped"]["first_images"] == ["a"]
  assert manifest["notes"]["annotation_missing"]["first_images"] == ["d"]
  assert manifest["skipped"]["num_images"] == 1
  assert manifest["classes"] == ["dog", "cat"]
  assert len(list((tmp_path / "records").glob("*.tfrecord"))) == 2
  arguments = pascal_voc.arguments(convert_voc.parser().parse_args(flags))
  assert arguments["shares"] == voc_split.Shares((("train", 1.0),), 3)


def test_of_coco_files(tmp_path, flags, stated, options):
  entries = [
    coco_files.annotation_entry(i, image_id=i, bbox=[2, 4, xmax - 2, 10])
    for i, xmax in enumerate(_SIDES.values())
  ]
  images = [coco_files.image_entry(i) for i in range(len(_SIDES))]
  text = coco_files.text(entries, images)
  coco_files.write(tmp_path, text, [f"{i}.jpg" for i in range(len(_SIDES))])
  sources = {"annotations": str(tmp_path / "train.json"), "image_dir": str(tmp_path / "images")}
  given = [f"--{name}={value}" for name, value in sources.items()]
  flags = [*given, "--split=train", *flags]
  assert coco_json.main(flags) == 0
  _check(options, tmp_path)
  manifest = _manifest(tmp_path)
  assert manifest["options"] == sources | stated
  assert manifest["notes"]["boxes_clipped"]["first_images"] == ["0"]
  assert manifest["skipped"]["num_images"] == 1
  assert manifest["classes"] == ["dog", "cat"]
  arguments = coco_json.arguments(convert_coco.parser().parse_args(flags))
  assert arguments["split"] == "train"


@pytest.mark.parametrize(
  ("error", "status", "said"),
  [
    (ValueError("why"), 1, "error: why\n"),
    (OSError("why"), 1, "error: why\n"),
    (worker_pool.WorkerError("why"), 1, "error: why\n"),
    (tf.errors.DataLossError(None, None, "why"), 1, "error: why\n"),
    (KeyboardInterrupt(), 130, "stopped; the same command continues from here\n"),
  ],
  ids=lambda value: type(value).__name__,
)
def test_what_stops_a_conversion_is_one_line(error, status, said, capsys):
  def convert():
    raise error

  assert converter_command.run(convert) == status
  assert capsys.readouterr().err == said
