"""Tests of the command as a user meets it: exit status, what it says, and what it writes."""

import json
import os
import pathlib
import re
from typing import ClassVar

import pytest
import tensorflow as tf

from mtl_ssl_tf.data import pascal_voc, progress_lines, validate
from tests.data import coco_files, voc_files
from tests.data.inspection import limits

_BCCD = pathlib.Path(
  os.environ.get("BCCD_DIR", pathlib.Path(__file__).parents[2] / "../shared/data/bccd")
)


def _annotation(*names: str) -> bytes:
  boxes = [{"xmin": 2 + 5 * i, "xmax": 20 + 5 * i} for i in range(len(names))]
  return voc_files.annotation_xml(list(map(voc_files.object_xml, names, boxes)))


def _picture(colour: int) -> bytes:
  return voc_files.image_bytes(voc_files.picture(20, 40).point(lambda x: (x + colour) % 256))


# Resized, the boxes are 256 high, so that no warning is due.
_SOUND = {"a.xml": _annotation("dog", "cat"), "b.xml": _annotation("cat"), "b.jpg": _picture(9)}

_OF_VOC_FOLDERS = ("--split_share=a=1", "--missing_annotation=background")


@pytest.fixture(name="run")
def _run(tmp_path, capsys):
  """Runs the command line; returns exit status and what was said."""

  def run(*flags: str) -> tuple[int, str]:
    capsys.readouterr()
    status = validate.main(["--min_boxes_per_class=1", *flags])
    captured = capsys.readouterr()
    assert captured.out == ""
    return status, captured.err.replace(str(tmp_path), "")

  return run


def _voc_flags(tmp_path, files) -> list[str]:
  voc_files.write(tmp_path / "voc", files)
  return [f"--data_dir={tmp_path / 'voc'}", "--split=train"]


def _records_flags(tmp_path, files, split="train") -> list[str]:
  voc_files.write(tmp_path / "voc", files, split)
  flags = [f"--data_dir={tmp_path / 'voc'}", f"--split={split}"]
  assert pascal_voc.main([*flags, f"--output_dir={tmp_path / 'records'}", "--num_shards=2"]) == 0
  return [f"--records={tmp_path / 'records' / split}-*"]


class TestSound:
  def test_split(self, tmp_path, run):
    assert run(*_voc_flags(tmp_path, _SOUND)) == (
      0,
      "        2 cat\n"
      "        1 dog\n"
      "images 2, unusable 0, without boxes 0; boxes 3\n"
      "most boxes in an image 2, max_num_boxes 100; boxes smaller than the smallest anchor 0"
      " (0.0 %)\n"
      f"judged by the defaults of mtl_frcnn, as no --config_file is given: {limits.make()}\n"
      "/voc, train: faults 0, warnings 0\n",
    )

  def test_records(self, tmp_path, run):
    status, said = run(*_records_flags(tmp_path, _SOUND))
    assert status == 0
    assert said.splitlines()[:2] == ["        2 cat", "        1 dog"]
    assert said.splitlines()[-1] == "/records/train-*: faults 0, warnings 0"

  @pytest.mark.parametrize("split", [[], ["--split=val"]])
  def test_coco(self, tmp_path, run, split):
    coco_files.write(tmp_path, coco_files.text([coco_files.annotation_entry(bbox=[2, 4, 20, 10])]))
    flags = [f"--annotations={tmp_path / 'train.json'}", f"--image_dir={tmp_path / 'images'}"]
    status, said = run(*flags, *split)
    assert status == 0
    assert said.splitlines()[:3] == ["        0 dog", "        1 cat", "        0 cow"]
    assert f"warning: {'val' if split else 'train'}: class 'cow': 0 boxes in 0 images;" in said
    assert said.splitlines()[-1] == "/train.json, /images: faults 0, warnings 2"


class TestStatus:
  def test_fault(self, tmp_path, run):
    status, said = run(*_voc_flags(tmp_path, _SOUND | {"c.xml": b""}))
    assert status == 1
    assert "\nfault: Annotations/c.xml: xml: the file is empty; accepted: an XML file of" in said
    assert said.endswith("faults 1, warnings 0\n")

  @pytest.mark.parametrize(("strict", "status"), [([], 0), (["--strict"], 1)])
  def test_warning(self, tmp_path, run, strict, status):
    # The same picture under two names.
    flags = _voc_flags(tmp_path, {"a.xml": _annotation("cat"), "b.xml": _annotation("cat")})
    assert run(*flags, *strict)[0] == status

  @pytest.mark.parametrize("strict", [[], ["--strict"]])
  def test_note(self, tmp_path, run, strict):
    flags = _voc_flags(tmp_path, {"a.xml": _annotation("cat").replace(b"size", b"sais")})
    assert run(*flags, *strict)[0] == 0

  @pytest.mark.parametrize(
    ("flags", "message"),
    [
      (["--records=/nowhere/x-*"], "error: input_path: no record files match '/nowhere/x-*'"),
      (["--data_dir=/nowhere", "--split=x"], "error: --data_dir /nowhere: no folder Annotations;"),
      (["--records=x", "--config_file=/nowhere"], "error: /nowhere: cannot be read (No such"),
      (["--records=x", "--experiment=x"], "error: --experiment is 'x'; accepted: mtl_frcnn"),
      (
        ["--records=x", "--report=/nowhere/x"],
        "error: /nowhere/x: cannot be written; accepted: a fil",
      ),
      (
        ["--records=x", "--contact_sheet=/"],
        "error: /: cannot be written; accepted: a file in a",
      ),
      ([], "error: one of --records, --data_dir, --annotations is needed"),
      (
        ["--records=x", "--data_dir=x"],
        "error: one of --records, --data_dir, --annotations is needed",
      ),
      (["--data_dir=x"], "error: --data_dir needs --split"),
      (["--annotations=x"], "error: --annotations needs --image_dir"),
      *(
        (
          ["--records=x", flag],
          f"error: {flag.split('=')[0]} has no use with --records; accepted w",
        )
        for flag in ("--split=x", "--image_dir=x", "--seed=1", "--clip_px=1", *_OF_VOC_FOLDERS)
      ),
      *(
        (
          ["--annotations=x", "--image_dir=x", flag],
          "has no use with --annotations; accepted with --data_dir",
        )
        for flag in ("--seed=1", *_OF_VOC_FOLDERS)
      ),
      *(
        (["--records=x", flag], f"error: --{name} has no use with --records; accepted with --data")
        for name, flag in (
          ("ignore_faulty_boxes", "--no-ignore_faulty_boxes"),
          ("annotated_classes", "--annotated_classes=cat"),
        )
      ),
      (
        ["--data_dir=x", "--split=x", "--image_dir=x"],
        "error: --image_dir has no use with --data_dir; accepted with --annotations",
      ),
      (
        ["--annotations=x", "--image_dir=x", "--split=x", "--split=y"],
        "error: --split is given more than once; accepted with --annotations: once",
      ),
      (
        ["--data_dir=x", "--split=x", "--seed=3"],
        "error: --seed is 3; accepted: with --split",
      ),
      (["--annotations=x", "--image_dir=/nowhere"], "error: --image_dir /nowhere: no folder;"),
      (["--records=x", "--sample=-1"], "argument --sample: '-1'; accepted: 0 or more"),
      (["--records=x", "--threads=0"], "argument --threads: '0'; accepted: 1 or more"),
      (["--records=x", "--threads=a"], "argument --threads: 'a'; accepted: 1 or more"),
      (["--records=x", "--duplicate_iou=0"], "'0'; accepted: more than 0, at most 1"),
      (["--records=x", "--duplicate_iou=nan"], "'nan'; accepted: more than 0, at most 1"),
    ],
  )
  def test_nothing_to_look_at(self, run, flags, message, capsys):
    try:
      status, said = run(*flags)
    except SystemExit as end:
      status, said = end.code, capsys.readouterr().err
    assert status == 2
    assert message in said.splitlines()[-1]

  def test_what_tensorflow_cannot_read(self, tmp_path, run, monkeypatch):
    def fail(*args, **options):
      raise tf.errors.PermissionDeniedError(None, None, "x.tfrecord; Permission denied")

    monkeypatch.setattr(validate, "validate_records", fail)
    assert run("--records=x") == (2, "error: x.tfrecord; Permission denied\n")

  def test_faulty_label_map(self, tmp_path, run):
    flags = _voc_flags(tmp_path, _SOUND)
    (tmp_path / "classes.txt").write_text("cat\ncat\n")
    status, said = run(*flags, f"--label_map={tmp_path / 'classes.txt'}")
    assert (status, said) == (
      2,
      "error: /classes.txt: line 2: 'cat' repeats line 1; accepted: each class once\n",
    )


def test_rules_for_boxes_are_those_of_the_flags(tmp_path, run):
  # The box reaches 5 pixels out of the image.
  objects = [voc_files.object_xml("cat"), voc_files.object_xml("cat", {"xmin": 20, "xmax": 45})]
  flags = _voc_flags(tmp_path, {"a.xml": voc_files.annotation_xml(objects)})
  for others, status, words in (
    ((), 1, "note: Annotations/a.xml: regions_ignored: "),
    (("--clip_px=5",), 0, "note: Annotations/a.xml: boxes_clipped: "),
    (("--no-ignore_faulty_boxes",), 1, "images 1, unusable 1, without boxes 0; boxes 0\n"),
    (("--annotated_classes=dog",), 2, "error: --annotated_classes: 'dog' is no known class; "),
  ):
    found, said = run(*flags, *others)
    assert found == status and words in said, (others, said)


class TestClasses:
  def test_given_ones(self, tmp_path, run):
    flags = _voc_flags(tmp_path, _SOUND)
    (tmp_path / "classes.txt").write_text("cat\ncow\n")
    status, said = run(*flags, f"--label_map={tmp_path / 'classes.txt'}")
    assert status == 1
    assert said.splitlines()[:2] == ["        2 cat", "        0 cow"]
    assert "fault: Annotations/a.xml: object 1 ('dog') name: 'dog' is no known class;" in said
    assert "warning: train: class 'cow': 0 boxes in 0 images; accepted: at least 1 boxes" in said

  def test_of_the_records_by_the_label_map_beside_them(self, tmp_path, run):
    flags = _records_flags(tmp_path, _SOUND)
    (tmp_path / "records/label_map.txt").write_text("cat\n")
    status, said = run(*flags)
    assert status == 1
    assert "image/object/class/label: 2; accepted: 1 … 1, the lines of the label map" in said
    assert (
      "manifest_train.json: classes: 'cat, dog'; accepted: the classes of the label map" in said
    )

  def test_of_the_records_by_the_flag_instead(self, tmp_path, run):
    flags = _records_flags(tmp_path, _SOUND)
    (tmp_path / "names.txt").write_text("cat\ndog\ncow\n")
    status, said = run(*flags, f"--label_map={tmp_path / 'names.txt'}")
    assert status == 1
    assert said.splitlines()[:3] == ["        2 cat", "        1 dog", "        0 cow"]
    assert "classes: 'cat, dog'; accepted: the classes of the label map: cat, dog, cow" in said
    assert "warning: /records/train-*: class 'cow': 0 boxes in 0 images; accepted" in said

  def test_without_any_label_map(self, tmp_path, run):
    flags = _records_flags(tmp_path, _SOUND)
    (tmp_path / "records/label_map.txt").unlink()
    status, said = run(*flags)
    assert status == 0
    assert said.splitlines()[:2] == ["        1 dog", "        2 cat"]


class TestLimits:
  def test_of_a_configuration(self, tmp_path, run):
    flags = _voc_flags(tmp_path, _SOUND)
    config = tmp_path / "a.yaml"
    config.write_text(
      "task: {anchors: {scales: [0.5]}, train_data: {max_num_boxes: 1},"
      " validation_data: {short_side: 20, long_side: 40, input_size: [64, 64]}}"
    )
    said = run(*flags, f"--config_file={config}")[1]
    assert (
      f"\njudged by train_data of /a.yaml: {limits.make(max_num_boxes=1, anchor_scales=(0.5,))}"
      in said
    )
    assert "object" not in said
    assert "warning: Annotations/a.xml: boxes: 2 boxes, of which the last would be left" in said
    said = run(*flags, f"--config_file={config}", "--data=validation_data")[1]
    assert "\njudged by validation_data of /a.yaml: images with a short side of 20 pixels" in said
    assert "box: 18 x 10 pixels (width x height) once the image is resized" in said
    assert "accepted: the area of 128 x 128 pixels, or more" in said

  def test_impossible_input_size(self, tmp_path, run):
    config = tmp_path / "a.yaml"
    config.write_text("task: {train_data: {input_size: [64]}}")
    status, said = run(*_voc_flags(tmp_path, _SOUND), f"--config_file={config}")
    assert (status, said) == (
      2,
      "error: task.train_data.input_size is [64]; accepted: a list of 2 whole numbers, each 1 to"
      " 65,536\n",
    )

  def test_duplicates(self, tmp_path, run):
    # 18 x 10 boxes, five columns apart: IoU 13 / 23.
    flags = _voc_flags(tmp_path, {"a.xml": _annotation("cat", "cat")})
    assert "duplicate" not in run(*flags, "--strict")[1]
    assert "repeats object 1 (IoU 0.57)" in run(*flags, "--duplicate_iou=0.5")[1]


class TestOutputs:
  def test_report_and_sheet(self, tmp_path, run):
    flags = _voc_flags(tmp_path, _SOUND | {"c.xml": b"<x"})
    report, sheet = tmp_path / "report.json", tmp_path / "sheet.html"
    run(*flags, f"--report={report}", f"--contact_sheet={sheet}")
    parsed = json.loads(report.read_text())
    assert parsed["source"]["split"] == "train"
    assert parsed["num_images"] == 3
    assert [finding["kind"] for finding in parsed["findings"]] == ["xml"]
    assert [image["image"] for image in parsed["worst"]] == ["c"]
    assert "Annotations/c.xml: xml: malformed" in sheet.read_text()
    assert f"<h1>{tmp_path / 'voc'}, train</h1>" in sheet.read_text()
    judged_by = (
      f"judged by the defaults of mtl_frcnn, as no --config_file is given: {limits.make()}"
    )
    assert parsed["judged_by"] == judged_by and judged_by in sheet.read_text()

  @pytest.mark.parametrize("make_flags", [_voc_flags, _records_flags])
  def test_a_sheet_shows_images_where_nothing_is_wrong(self, tmp_path, run, make_flags):
    sheet = tmp_path / "sheet.html"
    assert run(*make_flags(tmp_path, _SOUND), f"--contact_sheet={sheet}")[0] == 0
    content = sheet.read_text()
    assert "Nothing was found." in content and "2 images at random" in content
    assert re.findall(r'<span class="tag [^>]*>(\w+)<', content) == ["dog", "cat", "cat"]

  def test_a_sheet_shows_a_dozen_at_most(self, tmp_path, run):
    sheet = tmp_path / "sheet.html"
    files = {f"{i}.xml": _annotation("cat") for i in range(13)}
    run(*_voc_flags(tmp_path, files), f"--contact_sheet={sheet}")
    assert "12 images at random" in sheet.read_text()

  def test_anchors_that_miss_boxes(self, tmp_path, run):
    # Resized, boxes are 256 x 460: 0.5 with the anchor of 256 x 256.
    flags = _voc_flags(tmp_path, _SOUND)
    config = tmp_path / "a.yaml"
    config.write_text("task: {anchors: {scales: [0.25]}}")
    status, said = run(*flags, f"--config_file={config}")
    assert status == 0
    assert (
      "warning: anchors: boxes: 3 of 3 (100.0 %) overlap no anchor by an IoU of 0.5: 3 larger than"
      " all anchors; accepted: at most 5 %; mtl-ssl suggest writes a configuration with anchors"
      " that fit\n"
    ) in said
    assert "anchors: boxes" not in run(*flags)[1]

  @pytest.mark.parametrize("flag", ["report", "contact_sheet"])
  def test_a_file_of_the_user_stays(self, tmp_path, run, flag):
    flags = _voc_flags(tmp_path, _SOUND)
    path = tmp_path / "file"
    path.write_text("mine")
    status, said = run(*flags, f"--{flag}={path}")
    assert status == 2
    assert "error: /file: is there already, and was not written by this command; accepted" in said
    assert path.read_text() == "mine"
    path.unlink()
    for _ in range(2):
      assert run(*flags, f"--{flag}={path}")[0] == 0

  @pytest.mark.parametrize("make_flags", [_voc_flags, _records_flags])
  def test_listing_is_bounded(self, tmp_path, run, make_flags):
    # Each picture but the first repeats it.
    flags = make_flags(tmp_path, {f"{i}.xml": _annotation("cat") for i in range(6)})
    report = tmp_path / "report.json"
    run(*flags, f"--report={report}", "--max_listed=2")
    parsed = json.loads(report.read_text())
    assert (parsed["num_warnings"], len(parsed["findings"])) == (5, 2)

  def test_sample(self, tmp_path, run):
    flags = _voc_flags(tmp_path, {f"{i}.xml": _annotation("cat") for i in range(9)})
    assert "images 3, unusable 0" in run(*flags, "--sample=3")[1]
    # Nor is it told that there are few boxes, of which most were not seen.
    assert "class" not in run(*flags, "--sample=1", "--min_boxes_per_class=5")[1]

  def test_sample_of_records(self, tmp_path, run):
    flags = _records_flags(tmp_path, {f"{i}.xml": _annotation("cat") for i in range(9)})
    # Two of nine, and the last one of each of the two files.
    said = run(*flags, "--sample=2", "--min_boxes_per_class=50")[1]
    assert "images 4, unusable 0" in said
    assert "class 'cat'" not in said

  @pytest.mark.parametrize("make_flags", [_voc_flags, _records_flags])
  def test_progress(self, tmp_path, run, make_flags, monkeypatch):
    flags = make_flags(tmp_path, {f"{i}.xml": _annotation("cat") for i in range(8)})
    seconds = iter(range(1000))
    monkeypatch.setattr(progress_lines.time, "monotonic", lambda: next(seconds))
    monkeypatch.setattr(validate, "_MIB", 1000)
    said = run(*flags)[1]
    assert " a second, " in said
    if make_flags is _voc_flags:
      assert "train: checking images: 6/8, 1.0 a second, 2 s left\n" in said
    else:
      assert "records: checking MiB: " in said


@pytest.mark.skipif(not _BCCD.is_dir(), reason=f"no folder {_BCCD} (the BCCD data set)")
def test_bccd(tmp_path, run):
  """Its two empty boxes are all that is wrong with it."""
  report = tmp_path / "report.json"
  flags = [f"--data_dir={_BCCD}", "--split=trainval", f"--report={report}"]
  assert run(*flags)[0] == 1
  parsed = json.loads(report.read_text())
  assert parsed["num_images"] == 292
  found = [finding for finding in parsed["findings"] if finding["level"] == "fault"]
  assert [(finding["source_id"], finding["object_number"]) for finding in found] == [
    ("BloodImage_00338", 13),
    ("BloodImage_00343", 4),
  ]
  assert {kind for kind, counts in parsed["kinds"].items() if counts["level"] == "warning"} == {
    "smaller_than_anchors"
  }


class TestSeveralSplits:
  """The picture of b.xml is in both splits, under the name c in `val`."""

  _VAL: ClassVar = {"c.xml": _annotation("cat"), "c.jpg": _picture(9), "d.xml": _annotation("dog")}
  _WORDS = "that are in {} too, by content: 1: '{}' ('{}' there); accepted: each picture in one"

  def _write(self, tmp_path) -> None:
    voc_files.write(tmp_path / "voc", _SOUND)
    voc_files.write(tmp_path / "voc", self._VAL | {"d.jpg": _picture(30)}, "val")

  def test_before_conversion(self, tmp_path, run):
    self._write(tmp_path)
    report = tmp_path / "report.json"
    flags = [f"--data_dir={tmp_path / 'voc'}", "--split=train", "--split=val"]
    status, said = run(*flags, f"--report={report}")
    assert status == 0
    assert f"warning: val: pictures: {self._WORDS.format('train', 'c', 'b')} split\n" in said
    assert said.splitlines()[:2] == ["        3 cat", "        2 dog"]
    assert said.splitlines()[-1] == "/voc, train, val: faults 0, warnings 1"
    source = json.loads(report.read_text())["source"]
    assert source == {"data_dir": str(tmp_path / "voc"), "split": ["train", "val"]}
    said = run(*flags, "--min_boxes_per_class=3")[1]
    assert "warning: train, val: class 'dog': 2 boxes in 2 images; accepted: at least 3" in said

  def test_records(self, tmp_path, run, capsys):
    self._write(tmp_path)
    for split in ("train", "val"):
      capsys.readouterr()
      flags = [f"--data_dir={tmp_path / 'voc'}", f"--split={split}", "--num_shards=1"]
      assert pascal_voc.main([*flags, f"--output_dir={tmp_path / 'records'}"]) == 0
      converted = capsys.readouterr().err
    assert (
      "warning: val: pictures that are in split train too, by content: 1: 'c' ('b'" in converted
    )
    files = [f"--records={tmp_path / 'records' / split}-*" for split in ("train", "val")]
    status, said = run(*files)
    assert status == 0
    names = [
      f"{name} ({split}-00000-of-00001.tfrecord, record {number})"
      for name, split, number in (("c", "val", 0), ("b", "train", 1))
    ]
    assert f"/records/val: pictures: {self._WORDS.format('/records/train', *names)} split\n" in said
    assert said.splitlines()[-1] == "/records/train-*, /records/val-*: faults 0, warnings 1"
    # A pattern of both is the same.
    assert (
      self._WORDS.format("/records/train", *names) in run(f"--records={tmp_path}/records/*-*")[1]
    )
