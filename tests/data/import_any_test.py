"""Tests of importing: with something in Datumaro's place, and with it where it is installed."""

import json
import os
import pathlib
import shutil
import sys

import pytest

from mtl_ssl_tf.data import import_any
from tests.data import layout_files

# An interpreter with Datumaro, which has pins of its own; `make datumaro` makes one.
_PYTHON = os.environ.get(
  "DATUMARO_PYTHON", str(pathlib.Path(__file__).parents[2] / ".venv-datumaro/bin/python")
)
# Called as an interpreter: finds Datumaro, and copies what it would have made.
_FAKE = """#!{python}
import shutil, sys
if "-c" in sys.argv:
  sys.exit({has_datumaro})
flags = dict(flag.split("=", 1) for flag in sys.argv if flag.startswith("--"))
if flags["--format"] == "kitti":
  sys.exit("first line\\nno such thing")
with open("{made}/../flags", "w") as file:
  file.write("\\n".join(sys.argv[1:]))
shutil.copytree("{made}", flags["--output_dir"], dirs_exist_ok=True)
"""


@pytest.fixture(name="run")
def _run(tmp_path, capsys):
  layout_files.coco(tmp_path / "data")
  content = json.loads((tmp_path / "data/train.json").read_text())
  for entry in content["images"]:
    entry["file_name"] = f"images/{entry['file_name']}"

  def run(
    *flags: str, splits=("train",), lost=(), faults=(), data_format="yolo", has_datumaro=True
  ) -> tuple[int, str]:
    made = tmp_path / "made"
    made.mkdir()
    for split in splits:
      (made / f"{split}.json").write_text(json.dumps(content))
    report = {"splits": dict.fromkeys(splits, 4), "lost": lost, "faults": faults}
    (made / "import.json").write_text(json.dumps(report))
    python = tmp_path / "python"
    python.write_text(
      _FAKE.format(python=sys.executable, has_datumaro=int(not has_datumaro), made=made)
    )
    python.chmod(0o700)
    status = import_any.main(
      [
        f"--format={data_format}",
        f"--input={tmp_path / 'data'}",
        f"--output_dir={tmp_path / 'records'}",
        f"--datumaro_python={python}",
        *flags,
      ]
    )
    return status, capsys.readouterr().err.replace(str(tmp_path), "")

  return run


class TestCommand:
  def test_converts_all_splits(self, tmp_path, run):
    status, said = run(splits=("train", "val"), lost=["attribute occluded: 3"])
    assert status == 0
    assert said.splitlines()[0] == "not imported: attribute occluded: 3"
    expected = layout_files.expected(tmp_path / "expected")
    for split in ("train", "val"):
      assert layout_files.records(tmp_path / "records", split) == expected
    assert (tmp_path / "records/imported/val.json").exists()

  def test_what_datumaro_is_asked_for(self, tmp_path, run):
    assert run(data_format="open_images")[0] == 0
    isolated, script, *flags = (tmp_path / "flags").read_text().splitlines()
    assert (isolated, pathlib.Path(script).name) == ("-I", "datumaro_to_coco.py")
    assert flags[:2] == ["--format=open_images", f"--input={tmp_path / 'data'}"]

  def test_flags_reach_the_conversion_of_each_split(self, tmp_path, run, monkeypatch):
    given = []
    monkeypatch.setattr(
      import_any.coco_json, "convert_split", lambda *args, **options: given.append((args, options))
    )
    flags = ["--label_map=x", "--on_error=skip", "--clip_px=7", "--no-ignore_faulty_boxes"]
    flags += ["--num_shards=2", "--workers=1", "--annotated_classes=cat,dog"]
    assert run(*flags, splits=("train", "val"))[0] == 0
    records, data = tmp_path / "records", os.path.realpath(tmp_path / "data")
    assert [args for args, _ in given] == [
      (records / f"imported/{split}.json", data, split, str(records)) for split in ("train", "val")
    ]
    for _, options in given:
      assert options == {
        "label_map_file": "x",
        "on_error": "skip",
        "clip_px": 7.0,
        "ignore_faulty_boxes": False,
        "num_shards": 2,
        "workers": 1,
        "annotated_classes": ("cat", "dog"),
      }

  def test_files_of_the_user_stay(self, tmp_path, run):
    path = tmp_path / "records/imported/val.json"
    path.parent.mkdir(parents=True)
    path.write_text("mine")
    status, said = run(splits=("train", "val"))
    assert status == 1
    assert said.startswith(
      "error: --output_dir '/records/imported': val.json cannot be written: it"
    )
    assert [entry.name for entry in path.parent.iterdir()] == ["val.json"]
    assert path.read_text() == "mine"

  def test_an_import_is_replaced(self, tmp_path, run):
    for splits in (("train",), ("train", "val")):
      assert run(splits=splits)[0] == 0
      shutil.rmtree(tmp_path / "made")
    names = sorted(path.name for path in (tmp_path / "records/imported").iterdir())
    assert names == [".written_by_import-any", "import.json", "train.json", "val.json"]

  def test_one_split(self, tmp_path, run):
    assert run("--split=val", splits=("train", "val"))[0] == 0
    assert [path.name for path in (tmp_path / "records").glob("manifest*")] == ["manifest_val.json"]

  def test_the_only_split_by_another_name(self, tmp_path, run):
    assert run("--split=val", "--num_shards=2", splits=("annotations",))[0] == 0
    assert len(list((tmp_path / "records").glob("val-*.tfrecord"))) == 2

  def test_unknown_split(self, run):
    status, said = run("--split=test", splits=("train", "val"))
    assert status == 1
    assert said == "error: --split is test; accepted: one of train, val\n"

  def test_nothing_found(self, run):
    status, said = run(splits=())
    assert status == 1
    assert said == (
      "error: --input /data: no image with its annotation was found as yolo; accepted: see"
      " docs/data_formats.md\n"
    )

  def test_faults(self, tmp_path, run):
    status, said = run(faults=["labels/a.txt: not read"])
    assert status == 1
    assert said.splitlines() == [
      "fault: labels/a.txt: not read",
      "error: --input /data: faults: 1; nothing was written. Fix them, or leave out what is at"
      " fault with --on_error=skip",
    ]
    assert not list((tmp_path / "records").glob("*.tfrecord"))

  def test_faults_are_skipped(self, run):
    status, said = run("--on_error=skip", faults=["labels/a.txt: not read"])
    assert status == 0
    assert said.startswith("fault: labels/a.txt: not read\n")

  def test_what_datumaro_cannot_read(self, run):
    status, said = run(data_format="kitti")
    assert status == 1
    assert said == (
      "error: --input /data: Datumaro cannot read it as kitti (no such thing); accepted: see"
      " docs/data_formats.md\n"
    )

  def test_no_datumaro(self, run):
    status, said = run(has_datumaro=False)
    assert status == 1
    assert "/python, which has no Datumaro; accepted: an interpreter that has it, such as" in said

  @pytest.mark.parametrize(
    ("flag", "message"),
    [
      ("--datumaro_python=/nowhere", "--datumaro_python is /nowhere: cannot be run (No such file"),
      ("--input=/nowhere", "--input is /nowhere; accepted: a folder with a data set"),
    ],
  )
  def test_wrong_flags(self, run, flag, message):
    status, said = run(flag)
    assert status == 1
    assert said.startswith(f"error: {message}")


def _kitti(root: pathlib.Path) -> None:
  line = "{kind} 0.00 0 -1.57 {0}.00 {1}.00 {2}.00 {3}.00 1.5 1.6 3.7 -2.7 1.7 38.6 -1.59\n"
  layout_files.write_images(root, "training/image_2/{}.jpg", "training/label_2/{}.txt", line)


def _open_images(root: pathlib.Path) -> None:
  layout_files.write_images(root, "images/train/{}.jpg")
  classes = "".join(f"{kind},{kind}\n" for kind in layout_files.CLASSES)
  layout_files.write(root / "annotations/class-descriptions-boxable.csv", classes)
  layout_files.write(
    root / "annotations/train-images-with-rotation.csv",
    "ImageID,Subset,OriginalURL,OriginalLandingURL,License,AuthorProfileURL,Author,Title,"
    "OriginalSize,OriginalMD5,Thumbnail300KURL,Rotation\n"
    + "".join(f"{name},train,,,,,,,,,,\n" for name in layout_files.OBJECTS),
  )
  rows = "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated,IsGroupOf"
  rows += ",IsDepiction,IsInside\n"
  for name, objects in layout_files.OBJECTS.items():
    for kind, (xmin, ymin, xmax, ymax) in objects:
      sides = f"{xmin / 40},{xmax / 40},{ymin / 20},{ymax / 20}"
      rows += f"{name},xclick,{kind},1,{sides},0,0,0,0,0\n"
  layout_files.write(root / "annotations/train-annotations-bbox.csv", rows)


class TestLabelmeJson:
  def test_records(self, tmp_path):
    layout_files.labelme(tmp_path / "data")
    (manifest,) = import_any.import_dataset(
      "labelme", tmp_path / "data", tmp_path / "records", split="train", datumaro_python="/nowhere"
    )
    assert manifest["boxes_per_class"] == {"cat": 2, "dog": 2}
    expected = layout_files.expected(tmp_path / "expected")
    assert layout_files.records(tmp_path / "records") == expected

  def test_faults_leave_images_out(self, tmp_path):
    layout_files.labelme(tmp_path / "data")
    (tmp_path / "data/a1.json").write_text("{")
    with pytest.raises(ValueError, match="faults: 1; nothing was written"):
      import_any.import_dataset("labelme", tmp_path / "data", tmp_path / "records")
    (manifest,) = import_any.import_dataset(
      "labelme", tmp_path / "data", tmp_path / "records", on_error="skip"
    )
    assert manifest["num_images"] == 3


@pytest.mark.skipif(not os.path.exists(_PYTHON), reason="needs Datumaro: make datumaro")
class TestDatumaro:
  @pytest.mark.parametrize(
    ("data_format", "write"),
    [
      ("yolo", layout_files.yolo),
      ("yolo", layout_files.roboflow_yolo),
      ("yolo", layout_files.cvat_yolo),
      ("yolo", layout_files.cvat_ultralytics),
      ("cvat", layout_files.cvat),
      ("kitti", _kitti),
      ("open_images", _open_images),
    ],
  )
  def test_records(self, tmp_path, data_format, write):
    write(tmp_path / "data")
    flags = [f"--format={data_format}", f"--input={tmp_path / 'data'}", "--split=train"]
    flags += [f"--output_dir={tmp_path / 'records'}", f"--datumaro_python={_PYTHON}"]
    assert import_any.main(flags) == 0
    expected = layout_files.expected(tmp_path / "expected")
    assert layout_files.records(tmp_path / "records") == expected

  def test_wider_has_one_class(self, tmp_path):
    data = tmp_path / "data"
    layout_files.write_images(data, "WIDER_train/images/0--Parade/{}.jpg")
    lines = "0--Parade/a1.jpg\n1\n2 3 10 12 0 0 0 0 0 0 \n0--Parade/a2.jpg\n0\n" + "0 " * 10
    layout_files.write(data / "wider_face_split/wider_face_train_bbx_gt.txt", lines)
    (manifest,) = import_any.import_dataset(
      "wider", data, tmp_path / "records", datumaro_python=_PYTHON
    )
    assert manifest["boxes_per_class"] == {"face": 1}
    assert manifest["num_images"] == 2
