"""Tests of the COCO converter as a user meets it: by its command line."""

import json
import os
import pathlib
import re
import shutil

import pytest
import tensorflow as tf

from mtl_ssl_tf.data import coco_json, pascal_voc, progress_lines, schema
from mtl_ssl_tf.data.sources import coco_source, coco_stream, image_files
from tests import fixtures
from tests.data import coco_files, voc_files

_REPOSITORY = pathlib.Path(__file__).parents[2]
_BCCD = pathlib.Path(os.environ.get("BCCD_DIR", _REPOSITORY / "../shared/data/bccd"))


@pytest.fixture(name="run")
def _run(tmp_path, capsys):
  """Runs the command line on `tmp_path`; returns exit status and what was said."""

  def run(*flags: str, split: str = "train") -> tuple[int, str]:
    places = [f"--annotations={tmp_path / 'train.json'}", f"--image_dir={tmp_path / 'images'}"]
    places += [f"--output_dir={tmp_path / 'records'}", f"--split={split}"]
    status = coco_json.main([*places, *flags])
    return status, capsys.readouterr().err.replace(str(tmp_path), "")

  return run


def _manifest(tmp_path, split: str = "train") -> dict:
  return json.loads((tmp_path / "records" / f"manifest_{split}.json").read_text())


def _features(folder: pathlib.Path, split: str = "train") -> list[dict]:
  """The features of all records, in order."""
  files = sorted(str(path) for path in folder.glob(f"{split}-*.tfrecord"))
  records = tf.data.TFRecordDataset(files).as_numpy_iterator()
  return [dict(tf.train.Example.FromString(record).features.feature) for record in records]


class TestSound:
  def test_writes_what_the_reader_reads(self, tmp_path, run):
    annotations = [
      coco_files.annotation_entry(11, iscrowd=1),
      coco_files.annotation_entry(12, image_id=8, category_id=1, area=None),
    ]
    images = [coco_files.image_entry(8, file_name="a/8.jpg"), coco_files.image_entry(7)]
    coco_files.write(tmp_path, coco_files.text(annotations, images), ["a/8.jpg", "7.jpg"])
    status, said = run("--num_shards=1")
    assert status == 0
    assert said.splitlines() == [
      "train: the classes of train.json: dog, cat, cow (3)",
      "        1 dog",
      "        1 cat",
      "        0 cow",
      "train: 2 images with 2 boxes written; at most 1 boxes in an image",
      "train: classes without a box: cow",
    ]
    dataset = fixtures.make_dataset(
      str(tmp_path / "records"), global_batch_size=2, is_training=False, input_size=(64, 64)
    )
    _, labels = next(iter(dataset))
    assert labels["gt_classes"][:, 0].numpy().tolist() == [1, 2]
    assert labels["gt_boxes_orig"][1, 0].numpy() == pytest.approx([4, 2, 14, 12])
    first, second = _features(tmp_path / "records")
    assert first[schema.IMAGE_SOURCE_ID].bytes_list.value == [b"8"]
    assert first[schema.IMAGE_FILENAME].bytes_list.value == [b"8.jpg"]
    assert first[schema.OBJECT_ID].int64_list.value == [12]
    assert first[schema.OBJECT_AREA].float_list.value == [100]
    assert second[schema.OBJECT_AREA].float_list.value == [60.5]
    assert second[schema.OBJECT_IS_CROWD].int64_list.value == [1]
    assert first[schema.OBJECT_IS_CROWD].int64_list.value == [0]

  def test_manifest(self, tmp_path, run):
    coco_files.write(tmp_path, coco_files.text([coco_files.annotation_entry(iscrowd=1)]))
    run()
    manifest = _manifest(tmp_path)
    assert manifest["category_ids"] == {"dog": 1, "cat": 3, "cow": 90}
    assert manifest["classes"] == ["dog", "cat", "cow"]
    assert manifest["num_crowd_boxes"] == 1
    assert manifest["sources"]["num_files"] == 2
    assert manifest["options"] == {
      "annotations": str(tmp_path / "train.json"),
      "image_dir": str(tmp_path / "images"),
      "label_map": None,
      "on_error": "fail",
      "clip_px": None,
      "ignore_faulty_boxes": True,
      "num_shards": 1,
    }

  def test_a_list_of_images_without_annotations(self, tmp_path, run):
    coco_files.write(tmp_path, coco_files.text(annotations=None))
    assert run(split="test-dev")[0] == 0
    assert _manifest(tmp_path, "test-dev")["num_images_without_boxes"] == 1

  def test_an_image_that_exif_turns(self, tmp_path, run):
    picture = voc_files.picture(20, 40)
    content = voc_files.image_bytes(picture, exif=voc_files.exif(6))
    coco_files.write(tmp_path, coco_files.text([coco_files.annotation_entry()]), {"7.jpg": content})
    assert run()[0] == 0
    assert _manifest(tmp_path)["notes"]["boxes_turned_upright"]["first_images"] == ["7"]
    (feature,) = _features(tmp_path / "records")
    box = image_files.upright_box((4, 2, 14, 12), 6, 20, 40)
    assert feature[schema.OBJECT_YMIN].float_list.value == pytest.approx([box[0] / 40])
    assert feature[schema.OBJECT_XMIN].float_list.value == pytest.approx([box[1] / 20])

  def test_given_classes(self, tmp_path, run):
    (tmp_path / "classes.txt").write_text("cat\ndog\n")
    entries = [coco_files.annotation_entry(1), coco_files.annotation_entry(2, category_id=90)]
    coco_files.write(tmp_path, coco_files.text(entries))
    status, said = run(f"--label_map={tmp_path / 'classes.txt'}", "--on_error=skip")
    assert status == 0
    assert (
      "train.json: object 2 ('cow', id 2) category_id: 'cow' is no known class; accepted: the"
      " classes of /classes.txt: cat, dog"
    ) in said
    assert _manifest(tmp_path)["category_ids"] == {"cat": 3, "dog": 1}


class TestFaults:
  def _write(self, tmp_path):
    annotations = [
      coco_files.annotation_entry(1),
      coco_files.annotation_entry(2, image_id=99),
      coco_files.annotation_entry(3, bbox=[31, 4, 12.5, 10]),
      coco_files.annotation_entry(4, iscrowd=3),
      coco_files.annotation_entry(5, category_id=4),
      coco_files.annotation_entry(6, bbox=[float("nan"), 4, 10, 10], image_id=8),
    ]
    images = [
      coco_files.image_entry(7),
      coco_files.image_entry(8, width=41),
      coco_files.image_entry(9),
      coco_files.image_entry(7, file_name="7b.jpg"),
      coco_files.image_entry(10, file_name="../secret.jpg"),
      coco_files.image_entry(11, file_name="link.jpg"),
      coco_files.image_entry(12),
    ]
    content = voc_files.image_bytes(voc_files.picture(20, 40))
    files = {"7.jpg": content, "7b.jpg": content, "8.jpg": content, "12.jpg": content[:-9]}
    coco_files.write(tmp_path, coco_files.text(annotations, images), files)
    (tmp_path / "secret.jpg").write_bytes(content)
    (tmp_path / "images/link.jpg").symlink_to(tmp_path / "secret.jpg")

  _EXPECTED = (
    "train.json: object 2 (id 2) image_id: 99",
    "train.json: object 4 ('cat', id 4) iscrowd: 3",
    "train.json: object 5 (id 5) category_id: 4",
    "train.json: object 3 ('cat', id 3) bbox/x + width: 43.5 lies outside the image of 40 x 20"
    " (width x height)",
    "train.json: object 6 ('cat', id 6) bbox/x: 'NaN'",
    "train.json: image 2 width, height: 41 x 20 (width x height)",
    "9.jpg: file: missing",
    "train.json: image 4 id: 7 repeats image 1",
    "../secret.jpg: file: missing",
    "link.jpg: file: a link that leads out of the data set",
    "12.jpg: image: damaged or truncated (a JPEG that is cut short)",
  )

  def test_fail_lists_all_faults_and_writes_nothing(self, tmp_path, run):
    self._write(tmp_path)
    status, said = run()
    assert status == 1
    assert tuple(line.split("; accepted")[0] for line in said.splitlines()[1:-1]) == self._EXPECTED
    assert "error: faults: 11, in files: 5; nothing was written." in said
    assert not (tmp_path / "records").exists()

  def test_skip_leaves_out_as_little_as_possible(self, tmp_path, run):
    self._write(tmp_path)
    assert run("--on_error=skip")[0] == 0
    manifest = _manifest(tmp_path)
    assert (manifest["num_images"], manifest["num_boxes"]) == (1, 1)
    assert manifest["skipped"]["num_images"] == 6
    assert manifest["skipped"]["num_objects"] == 4
    assert manifest["notes"]["regions_ignored"]["num_images"] == 1
    assert len(manifest["skipped"]["faults"]) == 11

  @pytest.mark.parametrize(
    ("content", "message"),
    [
      (b"", "error: train.json: the file is empty; accepted: a COCO file"),
      (coco_files.text(images=[]), "error: train.json: it lists no image; accepted: at least one"),
      (coco_files.text(categories=None), "error: train.json: no sound category; accepted: a list"),
    ],
  )
  def test_what_gives_nothing(self, tmp_path, run, content, message):
    coco_files.write(tmp_path, content)
    status, said = run()
    assert status == 1
    assert said.startswith(message)
    assert not (tmp_path / "records").exists()

  @pytest.mark.parametrize(
    ("flags", "message"),
    [
      (["--annotations=/nowhere"], "error: --annotations /nowhere: no file; accepted: a COCO"),
      (["--image_dir=/nowhere"], "error: --image_dir /nowhere: no folder; accepted: the folder"),
      (["--split=a/b"], "error: --split is a/b; accepted: a name without folders"),
      (["--workers=0"], "error: --workers is 0; accepted: 1 … 1024"),
    ],
  )
  def test_wrong_flags_give_one_line(self, tmp_path, run, flags, message):
    coco_files.write(tmp_path, coco_files.text())
    status, said = run(*flags)
    assert status == 1
    assert said.startswith(message)
    assert len(said.splitlines()) == 1


class TestSameBoxes:
  """A COCO file and a VOC folder of the same boxes give the same records."""

  def _check(self, tmp_path, voc: pathlib.Path, split: str, classes: list[str]) -> int:
    content = coco_files.from_voc(voc, split, classes)
    (tmp_path / "train.json").write_text(json.dumps(content))
    options = {"on_error": "skip", "num_shards": 3}
    pascal_voc.convert_split(voc, split, tmp_path / "from_voc", **options)
    coco_json.convert_split(
      tmp_path / "train.json", voc / "JPEGImages", split, tmp_path / "from_coco", **options
    )
    pairs = zip(
      _features(tmp_path / "from_voc", split), _features(tmp_path / "from_coco", split), strict=True
    )
    names = [image["file_name"].removesuffix(".jpg") for image in content["images"]]
    num_records = 0
    for ours, theirs in pairs:
      number = int(theirs[schema.IMAGE_SOURCE_ID].bytes_list.value[0])
      assert ours[schema.IMAGE_SOURCE_ID].bytes_list.value == [names[number].encode()]
      ids = theirs[schema.OBJECT_ID].int64_list.value
      assert ours[schema.OBJECT_ID].int64_list.value == [value % 1000 for value in ids]
      for key in (ours.keys() | theirs.keys()) - {schema.IMAGE_SOURCE_ID, schema.OBJECT_ID}:
        assert ours[key] == theirs[key], key
      num_records += 1
    return num_records

  def test_small(self, tmp_path):
    box = {"xmin": 0.5, "ymin": 3.25, "xmax": 40.75, "ymax": 7}
    voc = voc_files.write(
      tmp_path / "voc",
      {
        "a.xml": voc_files.annotation_xml(
          [
            voc_files.object_xml("dog", box, difficult=1),
            voc_files.object_xml("cat", truncated=1),
          ]
        ),
        "b.xml": voc_files.annotation_xml(),
        "c.xml": voc_files.annotation_xml(
          [voc_files.object_xml("cat", {"xmax": 2}), voc_files.object_xml("cat")], (40, 20)
        ),
        "c.jpg": voc_files.image_bytes(voc_files.picture(20, 40), exif=voc_files.exif(5)),
      },
    )
    assert self._check(tmp_path, voc, "train", ["cat", "dog"]) == 3

  @pytest.mark.skipif(not _BCCD.is_dir(), reason=f"no BCCD data set at {_BCCD}; set BCCD_DIR")
  def test_bccd(self, tmp_path):
    classes = ["Platelets", "RBC", "WBC"]
    assert self._check(tmp_path, _BCCD, "trainval", classes) == 292


def test_progress_of_reading_the_file(tmp_path, run, monkeypatch):
  # A clock that advances by a second whenever it is read; a file of 20 "MiB".
  content = coco_files.text([coco_files.annotation_entry(i) for i in range(100)])
  coco_files.write(tmp_path, content)
  seconds = iter(range(1000))
  monkeypatch.setattr(progress_lines.time, "monotonic", lambda: next(seconds))
  monkeypatch.setattr(coco_source, "_MIB", len(content) // 20)
  monkeypatch.setattr(coco_stream, "_CHUNK_BYTES", -(-len(content) // 10))
  said = run()[1]
  done = re.findall(r"train: reading train\.json, MiB: (\d+)/20, ", said)
  assert said.count(" MiB: ") == len(done) > 1
  numbers = list(map(int, done))
  assert numbers == sorted(numbers) and numbers[0] < 10 and 10 < numbers[-1] <= 20


@pytest.mark.parametrize(
  ("ids", "expected"), [(("1", 3, 90.0), {"dog": 1, "cat": 3, "cow": 90}), (("a", 3, 90), None)]
)
def test_ids_of_categories_in_the_manifest_are_numbers(tmp_path, run, ids, expected):
  names = ("dog", "cat", "cow")
  categories = [{"id": i, "name": name} for i, name in zip(ids, names, strict=True)]
  coco_files.write(tmp_path, coco_files.text(categories=categories))
  assert run()[0] == 0
  assert _manifest(tmp_path).get("category_ids") == expected


def test_the_next_split_takes_the_classes_of_the_first(tmp_path, run):
  coco_files.write(tmp_path, coco_files.text())
  run()
  shutil.copy(tmp_path / "records/label_map.txt", tmp_path / "before.txt")
  coco_files.write(tmp_path, coco_files.text(categories=[{"id": 7, "name": "cat"}]))
  said = run(split="val")[1]
  assert "val: the classes of /records/label_map.txt: dog, cat, cow (3)" in said
  assert _manifest(tmp_path, "val")["category_ids"] == {"cat": 7}
