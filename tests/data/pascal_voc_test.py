"""Tests of the converter as a user meets it: by its command line."""

import json
import os
import pathlib
import subprocess
import sys

import pytest
import tensorflow as tf

from mtl_ssl_tf.data import label_map, pascal_voc, progress_lines
from tests import fixtures
from tests.data import voc_files

_REPOSITORY = pathlib.Path(__file__).parents[2]
_BCCD = pathlib.Path(os.environ.get("BCCD_DIR", _REPOSITORY / "../shared/data/bccd"))


def _annotation(*names: str) -> bytes:
  return voc_files.annotation_xml([voc_files.object_xml(name) for name in names])


_SOUND = {"a.xml": _annotation("dog", "cat"), "b.xml": _annotation("cat"), "c.xml": _annotation()}
# Of these, "d" keeps an object and a region; "e" and "f" are left out.
_FAULTY = _SOUND | {
  "d.xml": voc_files.annotation_xml(
    [voc_files.object_xml("cat", {"xmax": 1, "ymax": 99}, difficult=5), voc_files.object_xml("cat")]
  ),
  "e.xml": voc_files.annotation_xml([voc_files.object_xml("cat", {"xmin": "x"})], (1, 2)),
  "f.xml": _annotation("cat"),
  "f.jpg": b"",
}


@pytest.fixture(name="run")
def _run(tmp_path, capsys):
  """Runs the command line on `tmp_path`; returns exit status and what was said."""

  def run(*flags: str, split: str = "train") -> tuple[int, str]:
    folders = [f"--data_dir={tmp_path / 'voc'}", f"--output_dir={tmp_path / 'records'}"]
    status = pascal_voc.main([*folders, f"--split={split}", *flags])
    return status, capsys.readouterr().err.replace(str(tmp_path), "")

  return run


def _manifest(tmp_path, split: str = "train") -> dict:
  return json.loads((tmp_path / "records" / f"manifest_{split}.json").read_text())


class TestSound:
  def test_writes_what_the_reader_reads(self, tmp_path, run):
    voc_files.write(tmp_path / "voc", _SOUND)
    status, said = run("--num_shards=2")
    assert status == 0
    assert said.splitlines() == [
      "train: the classes found in the annotations: cat, dog (2)",
      "        2 cat",
      "        1 dog",
      "train: 3 images with 3 boxes written; at most 2 boxes in an image",
      "train: images without objects: 1",
    ]
    assert label_map.read_label_map(tmp_path / "records/label_map.txt") == ["cat", "dog"]
    dataset = fixtures.make_dataset(
      str(tmp_path / "records"), global_batch_size=3, is_training=False, input_size=(64, 64)
    )
    _, labels = next(iter(dataset))
    assert labels["gt_classes"][:, :2].numpy().tolist() == [[2, 1], [1, -1], [-1, -1]]
    assert labels["gt_boxes_orig"][1, 0].numpy() == pytest.approx([4, 2, 14, 12])

  def test_manifest(self, tmp_path, run):
    voc_files.write(tmp_path / "voc", _SOUND)
    run("--num_shards=2")
    manifest = _manifest(tmp_path)
    assert manifest["num_images"] == 3
    assert manifest["boxes_per_class"] == {"cat": 2, "dog": 1}
    assert manifest["sources"]["num_files"] == 1 + 3 + 3
    assert manifest["options"] == {
      "data_dir": str(tmp_path / "voc"),
      "label_map": None,
      "on_error": "fail",
      "clip_px": None,
      "ignore_faulty_boxes": True,
      "num_shards": 2,
    }
    assert manifest["skipped"] == {"num_images": 0, "num_objects": 0, "faults": []}
    assert manifest["notes"] == {}

  @pytest.mark.parametrize(
    "changed", ["Annotations/a.xml", "JPEGImages/a.jpg", "ImageSets/Main/train.txt"]
  )
  def test_the_hash_of_the_sources_changes_with_each_file(self, tmp_path, run, changed):
    voc_files.write(tmp_path / "voc", _SOUND)
    hashes = []
    for _ in range(2):
      assert run()[0] == 0
      hashes.append(_manifest(tmp_path)["sources"]["sha256"])
      (tmp_path / "voc/JPEGImages/of another split.jpg").touch()
    with open(tmp_path / "voc" / changed, "ab") as file:
      file.write(b"\n")
    assert run()[0] == 0
    hashes.append(_manifest(tmp_path)["sources"]["sha256"])
    assert hashes[0] == hashes[1] != hashes[2]

  def test_what_is_remarkable_is_told(self, tmp_path, run):
    voc_files.write(
      tmp_path / "voc", {"a.xml": voc_files.annotation_xml([voc_files.object_xml()], None)}
    )
    assert "train: the annotation does not say how large the image is: 1\n" in run()[1]
    assert _manifest(tmp_path)["notes"] == {
      "size_missing": {"num_images": 1, "first_images": ["a"]}
    }


class TestFaults:
  def test_fail_lists_all_faults_and_writes_nothing(self, tmp_path, run):
    voc_files.write(tmp_path / "voc", _FAULTY)
    with open(tmp_path / "voc/ImageSets/Main/train.txt", "a") as file:
      file.write("../nowhere\nmissing\n")
    status, said = run()
    assert status == 1
    assert [line.split("; accepted")[0] for line in said.splitlines()] == [
      "train: the classes found in the annotations: cat, dog (2)",
      "ImageSets/Main/train.txt: line 7: '../nowhere'",
      "Annotations/d.xml: object 1 ('cat') difficult: '5'",
      "Annotations/e.xml: object 1 ('cat') bndbox/xmin: 'x'",
      "Annotations/e.xml: size: 2 x 1 (width x height)",
      "JPEGImages/f.jpg: image: the file is empty",
      "Annotations/missing.xml: file: missing",
      "JPEGImages/missing.*: file: missing",
      "error: faults: 7, in files: 6; nothing was written. Fix them, or leave out what is at"
      " fault with --on_error=skip",
    ]
    assert os.listdir(tmp_path) == ["voc"]

  def test_fail_leaves_an_earlier_conversion_alone(self, tmp_path, run):
    voc_files.write(tmp_path / "voc", _SOUND)
    run()
    before = {path: path.read_bytes() for path in (tmp_path / "records").iterdir()}
    voc_files.write(tmp_path / "voc", _FAULTY)
    assert run()[0] == 1
    assert before == {path: path.read_bytes() for path in (tmp_path / "records").iterdir()}

  def test_skip_leaves_out_as_little_as_possible(self, tmp_path, run):
    voc_files.write(tmp_path / "voc", _FAULTY)
    status, said = run("--on_error=skip")
    assert status == 0
    assert said.splitlines()[-5:] == [
      "left out: Annotations/d.xml: object 1 ('cat') difficult: '5'; accepted: 0 or 1",
      "left out: Annotations/e.xml: object 1 ('cat') bndbox/xmin: 'x'; accepted: a finite number",
      "left out: Annotations/e.xml: size: 2 x 1 (width x height);"
      " accepted: 40 x 20, the size of JPEGImages/e.jpg",
      "left out: JPEGImages/f.jpg: image: the file is empty;"
      " accepted: a whole JPEG, PNG, BMP, TIFF, WebP or GIF image",
      "train: left out: images 2, objects 1; all faults (4) are listed in manifest_train.json",
    ]
    manifest = _manifest(tmp_path)
    assert manifest["num_images"] == 4
    assert manifest["boxes_per_class"] == {"cat": 3, "dog": 1}
    assert manifest["skipped"]["num_images"] == 2
    assert manifest["skipped"]["num_objects"] == 1
    assert manifest["notes"]["regions_ignored"]["first_images"] == ["d"]
    assert manifest["skipped"]["faults"][0] == {
      "file": "Annotations/d.xml",
      "field": "difficult",
      "value": "'5'",
      "accepted": "0 or 1",
      "object_number": 1,
      "object_name": "'cat'",
    }

  def test_nothing_left(self, tmp_path, run):
    voc_files.write(tmp_path / "voc", {"a.xml": b"", "b.xml": _annotation("cat"), "b.jpg": b""})
    assert "error: train: no image is left to write" in run("--on_error=skip")[1]
    assert os.listdir(tmp_path) == ["voc"]

  def test_no_box_left(self, tmp_path, run):
    files = {"a.xml": _annotation("cow"), "b.xml": _annotation("cat"), "b.jpg": b""}
    voc_files.write(tmp_path / "voc", files)
    (tmp_path / "classes.txt").write_text("cat\n")
    status, said = run("--on_error=skip", f"--label_map={tmp_path / 'classes.txt'}")
    assert status == 1
    assert [line.split("; accepted")[0] for line in said.splitlines()[1:]] == [
      "left out: Annotations/a.xml: object 1 ('cow') name: 'cow' is no known class",
      "left out: JPEGImages/b.jpg: image: the file is empty",
      "error: train: no box is left to write (images left out: 1, faults: 2)",
    ]
    assert not (tmp_path / "records").exists()

  @pytest.mark.parametrize(
    ("flags", "message"),
    [
      (["--split=val"], "error: --split val: no file ImageSets/Main/val.txt; accepted, as there"),
      (["--data_dir=/nowhere"], "error: --data_dir /nowhere: no folder Annotations;"),
      (["--num_shards=0"], "error: --num_shards is 0; accepted: 1 … 99999"),
      (
        ["--label_map=/nowhere"],
        "error: /nowhere: cannot be read (No such file or directory); accepted: a text file",
      ),
      (["--output_dir=/dev/null"], "error: [Errno 17] File exists: '/dev/null'"),
    ],
  )
  def test_wrong_flags_give_one_line(self, tmp_path, run, flags, message):
    voc_files.write(tmp_path / "voc", _SOUND)
    status, said = run(*flags)
    assert status == 1
    assert message in said.splitlines()[-1]

  def test_wrong_on_error(self, tmp_path, run):
    with pytest.raises(SystemExit, match="2"):
      run("--on_error=ignore")
    with pytest.raises(ValueError, match="--on_error is ignore; accepted: fail or skip"):
      pascal_voc.convert_split(tmp_path, "train", tmp_path, on_error="ignore")

  def test_secrets_stay_secret(self, tmp_path, run):
    secret = tmp_path / "secret.jpg"
    secret.write_bytes(voc_files.image_bytes(voc_files.picture(20, 40)))
    voc_files.write(
      tmp_path / "voc",
      {
        "a.xml": voc_files.annotation_xml(filename="../../secret.jpg"),
        "b.xml": voc_files.annotation_xml(filename=str(secret)),
        "c.xml": voc_files.annotation_xml(),
        "d.xml": _annotation("cat"),
      },
    )
    for name in "abc":
      (tmp_path / f"voc/JPEGImages/{name}.jpg").unlink()
    (tmp_path / "voc/JPEGImages/c.jpg").symlink_to(secret)
    status, said = run("--on_error=skip")
    assert status == 0
    assert "JPEGImages/a.*: file: missing;" in said
    assert "JPEGImages/b.*: file: missing;" in said
    assert "JPEGImages/c.jpg: file: a link that leads out of the data set;" in said
    assert _manifest(tmp_path)["num_images"] == 1
    assert _manifest(tmp_path)["sources"]["num_files"] == 1 + 4 + 1


class TestClasses:
  def test_given_classes_keep_their_order(self, tmp_path, run):
    voc_files.write(tmp_path / "voc", _SOUND)
    (tmp_path / "classes.txt").write_text("dog\ncow\ncat\n")
    said = run(f"--label_map={tmp_path / 'classes.txt'}")[1]
    assert "train: the classes of /classes.txt: dog, cow, cat (3)" in said
    assert _manifest(tmp_path)["boxes_per_class"] == {"dog": 1, "cow": 0, "cat": 2}
    assert (tmp_path / "records/label_map.txt").read_text() == "dog\ncow\ncat\n"

  def test_the_next_split_takes_the_classes_of_the_first(self, tmp_path, run):
    voc_files.write(tmp_path / "voc", _SOUND)
    run()
    voc_files.write(tmp_path / "voc", {"v.xml": _annotation("dog")}, split="val")
    status, said = run(split="val")
    assert status == 0
    assert "val: the classes of /records/label_map.txt: cat, dog (2)" in said
    path = str(tmp_path / "records/val-00000-of-00001.tfrecord")
    record = next(tf.data.TFRecordDataset(path).as_numpy_iterator())
    feature = tf.train.Example.FromString(record).features.feature
    assert feature["image/object/class/label"].int64_list.value == [2]

  def test_a_class_that_the_first_split_lacks(self, tmp_path, run):
    voc_files.write(tmp_path / "voc", _SOUND)
    run()
    voc_files.write(tmp_path / "voc", {"v.xml": _annotation("cow")}, split="val")
    status, said = run(split="val")
    assert status == 1
    assert (
      "Annotations/v.xml: object 1 ('cow') name: 'cow' is no known class;"
      " accepted: the classes of /records/label_map.txt: cat, dog\n"
    ) in said

  def test_other_classes_than_those_of_the_first_split(self, tmp_path, run):
    voc_files.write(tmp_path / "voc", _SOUND)
    run()
    (tmp_path / "classes.txt").write_text("dog\ncat\n")
    status, said = run(f"--label_map={tmp_path / 'classes.txt'}")
    assert status == 1
    assert "error: /records/label_map.txt: holds other classes than dog, cat; accepted" in said

  def test_nothing_to_collect_classes_from(self, tmp_path, run):
    voc_files.write(tmp_path / "voc", {"a.xml": _annotation()})
    status, said = run()
    assert status == 1
    assert "error: train: no object to collect classes from; accepted: --label_map FILE" in said
    assert os.listdir(tmp_path) == ["voc"]


class TestTwoYears:
  def test_records_of_07_and_12_together(self, tmp_path):
    # As configs/experiments/voc0712_*.yaml name them; a stem may be in both years.
    voc_files.write(tmp_path / "VOC2007", _SOUND, split="trainval")
    voc_files.write(
      tmp_path / "VOC2012",
      {
        "a.xml": voc_files.annotation_xml(
          [voc_files.object_xml("dog", difficult=1, truncated=1), voc_files.object_xml("dog")]
        )
      },
      split="trainval",
    )
    records = [tmp_path / "voc07", tmp_path / "voc12"]
    pascal_voc.convert_split(tmp_path / "VOC2007", "trainval", records[0])
    pascal_voc.convert_split(
      tmp_path / "VOC2012",
      "trainval",
      records[1],
      label_map_file=records[0] / "label_map.txt",
    )
    assert (records[1] / "label_map.txt").read_text() == (records[0] / "label_map.txt").read_text()
    dataset = fixtures.make_dataset(
      [f"{folder}/trainval-*.tfrecord" for folder in records],
      global_batch_size=4,
      is_training=False,
      input_size=(64, 64),
    )
    (batch,) = list(dataset)
    assert batch[1]["gt_classes"][:, :2].numpy().tolist() == [[2, 1], [1, -1], [-1, -1], [2, 2]]
    files = sorted(str(path) for path in records[1].glob("*.tfrecord"))
    record = next(tf.data.TFRecordDataset(files).as_numpy_iterator())
    feature = tf.train.Example.FromString(record).features.feature
    assert feature["image/object/difficult"].int64_list.value == [1, 0]
    assert feature["image/object/truncated"].int64_list.value == [1, 0]
    assert feature["image/object/id"].int64_list.value == [0, 1]


class TestProgress:
  def test_a_line_every_few_seconds(self, tmp_path, monkeypatch, capsys):
    # A clock that advances by a second whenever it is read, which is once an image.
    voc_files.write(tmp_path / "voc", {f"{i}.xml": _annotation("cat") for i in range(8)})
    seconds = iter(range(1000))
    monkeypatch.setattr(progress_lines.time, "monotonic", lambda: next(seconds))
    pascal_voc.convert_split(tmp_path / "voc", "train", tmp_path / "records")
    said = capsys.readouterr().err.splitlines()
    assert said[:2] == [
      "train: reading annotations: 3/8, 1.0 a second, 5 s left",
      "train: reading annotations: 6/8, 1.0 a second, 2 s left",
    ]
    assert "train: converting images: 6/8, 1.0 a second, 2 s left" in said


class TestProgram:
  def test_runs_as_a_module(self, tmp_path):
    voc_files.write(tmp_path / "voc", _FAULTY)
    command = [sys.executable, "-m", "mtl_ssl_tf.data.pascal_voc", "--split=train"]
    command += [f"--data_dir={tmp_path / 'voc'}", f"--output_dir={tmp_path / 'records'}"]
    result = subprocess.run(command, cwd=_REPOSITORY, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert "error: faults: 4, in files: 3; nothing was written" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.skipif(not _BCCD.is_dir(), reason=f"no BCCD data set at {_BCCD}; set BCCD_DIR")
class TestBccd:
  def test_fail_names_the_two_empty_boxes(self, tmp_path, capsys):
    flags = [f"--data_dir={_BCCD}", "--split=trainval", f"--output_dir={tmp_path / 'records'}"]
    assert pascal_voc.main(flags) == 1
    assert capsys.readouterr().err.splitlines()[1:3] == [
      "Annotations/BloodImage_00338.xml: object 13 ('RBC') bndbox/xmax, bndbox/ymax: 504, 337;"
      " accepted: more than xmin 504, more than ymin 337",
      "Annotations/BloodImage_00343.xml: object 4 ('RBC') bndbox/xmax, bndbox/ymax: 181, 329;"
      " accepted: more than xmin 181, more than ymin 329",
    ]
    assert not (tmp_path / "records").exists()

  def test_skip_leaves_out_exactly_these(self, tmp_path):
    manifests = [
      pascal_voc.convert_split(_BCCD, split, tmp_path, on_error="skip")
      for split in ("trainval", "test")
    ]
    assert [manifest["num_images"] for manifest in manifests] == [292, 72]
    assert sum(manifest["num_boxes"] for manifest in manifests) == 4886
    counts = [manifest["boxes_per_class"] for manifest in manifests]
    assert {name: sum(count[name] for count in counts) for name in counts[0]} == {
      "Platelets": 361,
      "RBC": 4153,
      "WBC": 372,
    }
    assert manifests[0]["max_boxes_per_image"] == 30
    assert manifests[0]["skipped"]["num_objects"] == 2
    assert manifests[0]["skipped"]["num_images"] == 0
    assert manifests[0]["notes"] == {}
