"""Tests of images.py, with a detector made up here."""

import errno
import os

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from mtl_ssl_tf import written_files
from mtl_ssl_tf.data.sources import voc_annotation
from mtl_ssl_tf.prediction import images
from tests import fixtures
from tests.data import jpeg_damage, voc_files


class WholeDetector:
  """Says that each image is a `cat`, less certainly a `dog`; keeps the pictures it was given."""

  class_names = ("cat", "dog")

  def __init__(self):
    self.pictures = []

  def detect_encoded(self, contents):
    pictures = [tf.io.decode_image(content, channels=3).numpy() for content in contents]
    self.pictures += pictures
    count = len(contents)
    return {
      "detection_boxes_px": np.float32([[[0, 0, *picture.shape[:2]]] * 2 for picture in pictures]),
      "detection_scores": np.tile(np.float32([0.75, 0.25]), [count, 1]),
      "detection_classes": np.tile(np.float32([1, 2]), [count, 1]),
      "num_detections": np.full([count], 2.0, np.float32),
    }


@pytest.fixture(name="detector")
def _detector():
  return WholeDetector()


@pytest.fixture(name="predict")
def _predict(detector, tmp_path):
  (tmp_path / "in").mkdir()
  return images.ImagePredictor(
    detector,
    tmp_path / "in",
    0.5,
    written_files.WrittenFiles(tmp_path, "predict"),
    drawn_dir="drawn",
    voc_dir="voc",
  )


def _save(path, height, width, **options):
  Image.fromarray(fixtures.noise_image(height, width)).save(path, **options)


def test_records_in_order(predict, tmp_path):
  _save(tmp_path / "in" / "a.png", 4, 6)
  (tmp_path / "in" / "b.jpg").write_bytes(b"")
  _save(tmp_path / "in" / "c.jpg", 1, 1)
  cat = {"category_id": 1, "score": 0.75}
  assert predict(["c.jpg", "b.jpg", "a.png"]) == [
    {"file": "c.jpg", "height": 1, "width": 1, "detections": [cat | {"bbox": [0, 0, 1, 1]}]},
    {
      "file": "b.jpg",
      "failure": "the file is empty; accepted: a whole JPEG, PNG, BMP, TIFF, WebP or GIF image",
    },
    {"file": "a.png", "height": 4, "width": 6, "detections": [cat | {"bbox": [0, 0, 6, 4]}]},
  ]
  results = [path.relative_to(tmp_path).as_posix() for path in sorted(tmp_path.rglob("*.*"))]
  assert results == [
    ".written_by_predict",
    "drawn/a.png.jpg",
    "drawn/c.jpg",
    "in/a.png",
    "in/b.jpg",
    "in/c.jpg",
    "voc/a.xml",
    "voc/c.xml",
  ]
  annotation = voc_annotation.parse_annotation((tmp_path / "voc" / "a.xml").read_bytes(), "a.xml")
  assert (annotation.filename, annotation.size) == ("a.png", (4, 6))
  assert [(found.name, found.box) for found in annotation.objects] == [("cat", (0, 0, 4, 6))]


def test_only_what_is_asked_for(detector, tmp_path):
  _save(tmp_path / "a.png", 4, 6)
  (record,) = images.ImagePredictor(detector, tmp_path, 0.25)(["a.png"])
  assert len(record["detections"]) == 2
  assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_a_jpeg_that_decoders_take_for_whole_is_a_failure(detector, tmp_path):
  (tmp_path / "a.jpg").write_bytes(jpeg_damage.zeroed(jpeg_damage.photo()))
  (record,) = images.ImagePredictor(detector, tmp_path, 0.25)(["a.jpg"])
  assert record == {
    "file": "a.jpg",
    "failure": "damaged or truncated (a JPEG whose data are damaged); accepted: a whole JPEG, PNG,"
    " BMP, TIFF, WebP or GIF image",
  }


@pytest.mark.parametrize("image_format", ["JPEG", "PNG"])
def test_turned_upright(predict, detector, tmp_path, image_format):
  # Stored 20 high and 40 wide, with its left side at the top of the upright picture.
  picture, name = voc_files.picture(20, 40), f"a.{image_format.lower()}"
  content = voc_files.image_bytes(picture, image_format, exif=voc_files.exif(6))
  (tmp_path / "in" / name).write_bytes(content)
  (record,) = predict([name])
  assert (record["height"], record["width"]) == (40, 20)
  expected = np.rot90(np.asarray(picture), -1)
  np.testing.assert_allclose(detector.pictures[0], expected, atol=12)
  drawn = np.asarray(Image.open(tmp_path / "drawn" / images.drawn_name(name)))
  np.testing.assert_allclose(drawn[25:35, 5:15], expected[25:35, 5:15], atol=25)


@pytest.mark.parametrize(
  ("mode", "suffix"),
  [
    ("L", "jpg"),
    ("CMYK", "jpg"),
    ("P", "png"),
    ("RGBA", "png"),
    ("RGB", "bmp"),
    ("RGB", "webp"),
    ("RGB", "tif"),
  ],
)
def test_others_become_rgb(predict, detector, tmp_path, mode, suffix):
  picture = voc_files.picture(20, 40).convert(mode)
  picture.save(tmp_path / "in" / f"a.{suffix}")
  predict([f"a.{suffix}"])
  assert detector.pictures[0].shape == (20, 40, 3)
  np.testing.assert_allclose(detector.pictures[0], np.asarray(picture.convert("RGB")), atol=12)


def test_a_name_that_xml_cannot_hold(predict, tmp_path):
  name = "a\x01.png"
  _save(tmp_path / "in" / name, 4, 6)
  (record,) = predict([name])
  assert record == {"file": name, "failure": f"its name {name!r} cannot be written in XML"}
  assert not (tmp_path / "drawn").exists()


def test_no_regular_files(predict, tmp_path):
  os.mkfifo(tmp_path / "in" / "pipe.jpg")
  (tmp_path / "in" / "folder.jpg").mkdir()
  (tmp_path / "in" / "lost.jpg").symlink_to("nowhere")
  records = predict(["pipe.jpg", "folder.jpg", "lost.jpg"])
  assert [record["failure"] for record in records] == [
    "cannot be read (a pipe and no regular file)",
    "cannot be read (Is a directory)",
    "cannot be read (No such file or directory)",
  ]


class TestUnwritten:
  """One file of an image's results cannot be written; its detections and the others' files are."""

  def _check(self, predict, tmp_path, reason, name="a.png", left="a.xml"):
    _save(tmp_path / "in" / name, 4, 6)
    _save(tmp_path / "in" / "z.jpg", 4, 6)
    records = predict([name, "z.jpg"])
    assert records[0].pop("failure") == f"drawn/{name}.jpg cannot be written ({reason})"
    assert records[0].pop("is_unwritten") is True
    assert records[0]["detections"] == records[1]["detections"]
    assert "failure" not in records[1]
    assert (tmp_path / "voc" / left).exists()
    assert (tmp_path / "drawn" / "z.jpg").exists()

  def test_a_file_of_the_user(self, predict, tmp_path):
    (tmp_path / "drawn").mkdir()
    (tmp_path / "drawn" / "a.png.jpg").write_text("mine")
    reason = (
      "it is there already, and not as this command left it; accepted: another folder, or without"
      " it"
    )
    for _ in range(2):
      self._check(predict, tmp_path, reason)
      assert (tmp_path / "drawn" / "a.png.jpg").read_text() == "mine"

  def test_a_folder(self, predict, tmp_path):
    (tmp_path / "drawn" / "a.png.jpg").mkdir(parents=True)
    self._check(predict, tmp_path, "a folder is in its place")

  def test_a_name_that_gets_too_long(self, predict, tmp_path):
    stem = "ä" * 125  # Of two bytes each.
    self._check(predict, tmp_path, "File name too long", f"{stem}.png", f"{stem}.xml")

  def test_permission(self, predict, tmp_path, monkeypatch):
    replace = os.replace

    def refuse(source, target):
      if str(target).endswith("a.png.jpg"):
        raise PermissionError(errno.EACCES, "Permission denied")
      replace(source, target)

    monkeypatch.setattr(os, "replace", refuse)
    self._check(predict, tmp_path, "Permission denied")

  def test_a_side_that_is_too_long_for_jpeg(self, predict, tmp_path):
    Image.new("RGB", (1, 66_000)).save(tmp_path / "in" / "a.png")
    (record,) = predict(["a.png"])
    assert record["height"] == 66_000
    assert record["failure"].startswith("drawn/a.png.jpg cannot be written (")

  def test_a_full_disk_is_no_matter_of_one_image(self, predict, tmp_path, monkeypatch):
    def refuse(source, target):
      raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", refuse)
    _save(tmp_path / "in" / "a.png", 4, 6)
    with pytest.raises(OSError, match="No space left"):
      predict(["a.png"])


def test_names():
  assert images.drawn_name("a/b.JPEG") == "a/b.JPEG"
  assert images.drawn_name("a/b.png") == "a/b.png.jpg"
  assert images.voc_name("a.b/c.d.png") == "a.b/c.d.xml"
