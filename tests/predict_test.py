"""Tests of predict.py: in process with a detector made up here, and the command with a real one."""

import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from pycocotools import coco

from mtl_ssl_tf import predict
from mtl_ssl_tf.data import progress_lines
from mtl_ssl_tf.prediction import video
from mtl_ssl_tf.serving import saved_model_detector
from tests import fixtures
from tests.data import voc_files

_LIST = ".written_by_predict"
_COMMAND = """
import runpy
runpy.run_module("mtl_ssl_tf.predict", run_name="__main__", alter_sys=True)
"""


class QuarterDetector:
  """Says that each image's top left quarter is a `cat`, its bottom half a less certain `dog`.

  Fails on images 13 pixels high. Notes the sizes that it is given together.
  """

  fingerprint = "quarters"
  score_thresholds = None

  def __init__(self, path):
    self.class_names = ["cat", "dog"]
    self.path = path
    self.sizes = []

  def __call__(self, images):
    return self._detect([image.shape[:2] for image in images])

  def detect_encoded(self, contents):
    return self._detect(
      [tf.io.decode_image(content, channels=3).shape.as_list()[:2] for content in contents]
    )

  def _detect(self, sizes):
    self.sizes.append([tuple(size) for size in sizes])
    if any(height == 13 for height, _ in sizes):
      raise tf.errors.ResourceExhaustedError(None, None, "out of memory\nmuch detail")
    boxes = [
      [[0, 0, height / 2, width / 2], [height / 2, 0, height, width], [0, 0, 0, 0]]
      for height, width in sizes
    ]
    return {
      "detection_boxes_px": np.float32(boxes),
      "detection_scores": np.tile(np.float32([0.75, 0.25, 0.0]), [len(sizes), 1]),
      "detection_classes": np.tile(np.float32([1.0, 2.0, 0.0]), [len(sizes), 1]),
      "num_detections": np.full([len(sizes)], 2.0, np.float32),
    }


@pytest.fixture(name="run")
def _run(tmp_path, monkeypatch, capsys):
  """Runs the command line on `in`; returns exit status, lines, data set and detector."""
  detectors = []

  def load(path):
    detectors.append(QuarterDetector(path))
    return detectors[-1]

  def run(*flags, source="in"):
    with monkeypatch.context() as patched:
      patched.setattr(saved_model_detector, "SavedModelDetector", load)
      status = predict.main(
        [
          "--saved_model=exported",
          f"--input={tmp_path / source}",
          f"--output_dir={tmp_path / 'out'}",
          *flags,
        ]
      )
    printed = capsys.readouterr().err.replace(str(tmp_path), "").splitlines()
    path = tmp_path / "out" / "predictions.json"
    dataset = json.loads(path.read_text()) if path.exists() else None
    return status, printed, dataset, detectors[-1] if detectors else None

  (tmp_path / "in").mkdir(exist_ok=True)
  return run


def _save(path, height, width, value=90, **options):
  path.parent.mkdir(parents=True, exist_ok=True)
  Image.fromarray(fixtures.solid_image(height, width, value)).save(path, **options)


def _names(dataset):
  return [image["file_name"] for image in dataset["images"]]


class TestResults:
  def test_one_file(self, tmp_path, run):
    _save(tmp_path / "in" / "a.png", 40, 80)
    status, printed, dataset, detector = run("--score_threshold=0.2", source="in/a.png")
    assert status == 0
    assert printed == [
      "files: 1, classes: cat, dog",
      "/out: 1 images with 2 detections of score 0.2 and more",
    ]
    assert detector.path == "exported"
    assert dataset == {
      "images": [{"id": 1, "file_name": "a.png", "height": 40, "width": 80}],
      "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
      "annotations": [
        {
          "id": 1,
          "image_id": 1,
          "category_id": 1,
          "bbox": [0.0, 0.0, 40.0, 20.0],
          "score": 0.75,
          "area": 800.0,
          "iscrowd": 0,
        },
        {
          "id": 2,
          "image_id": 1,
          "category_id": 2,
          "bbox": [0.0, 20.0, 80.0, 20.0],
          "score": 0.25,
          "area": 1600.0,
          "iscrowd": 0,
        },
      ],
    }

  def test_what_scores_less_is_neither_listed_nor_drawn(self, tmp_path, run):
    _save(tmp_path / "in" / "a.png", 200, 400)
    for threshold, num_boxes in (("0.5", 1), ("0.2", 2)):
      dataset = run(f"--score_threshold={threshold}")[2]
      assert len(dataset["annotations"]) == num_boxes
      drawn = np.asarray(Image.open(tmp_path / "out" / "drawn" / "a.png.jpg"), np.int32)
      assert drawn.shape == (200, 400, 3)
      # The outline of the cat ends at column 200 of the upper half, that of the dog at 400 below.
      changed = np.abs(drawn - 90).max(axis=-1) > 60
      assert changed[:90, 195:203].any()
      assert changed[110:, 395:].any() == (num_boxes == 2)
      assert not changed[:90, 210:390].any()

  def test_scores_that_the_export_has_for_each_class(self, tmp_path, run, monkeypatch):
    monkeypatch.setattr(QuarterDetector, "score_thresholds", {"dog": 0.2, "cat": 0.8})
    _save(tmp_path / "in" / "a.png", 40, 80)
    _, printed, dataset, _ = run()
    assert [row["category_id"] for row in dataset["annotations"]] == [2]
    assert printed[-1] == (
      "/out: 1 images with 1 detections of the export's scores of their classes and more"
    )
    assert len(run("--score_threshold=0.1")[2]["annotations"]) == 2

  def test_drawn_images_may_have_a_threshold_of_their_own(self, tmp_path, run):
    _save(tmp_path / "in" / "a.png", 200, 400)
    for score, drawn_score, num_listed, num_drawn in ((0.2, 0.5, 2, 1), (0.5, 0.2, 1, 2)):
      flags = (f"--score_threshold={score}", f"--draw_threshold={drawn_score}")
      status, printed, dataset, _ = run(*flags)
      assert status == 0
      assert printed[-1] == (
        f"/out: 1 images with {num_listed} detections of score {score} and more"
      )
      assert len(dataset["annotations"]) == num_listed
      drawn = np.asarray(Image.open(tmp_path / "out" / "drawn" / "a.png.jpg"), np.int32)
      changed = np.abs(drawn - 90).max(axis=-1) > 60
      assert changed[:90, 195:203].any()
      assert changed[110:, 395:].any() == (num_drawn == 2)

  def test_coco_tools_read_it(self, tmp_path, run):
    for name in ("a.jpg", "b.jpg"):
      _save(tmp_path / "in" / name, 40, 80)
    dataset = run("--score_threshold=0")[2]
    loaded = coco.COCO(str(tmp_path / "out" / "predictions.json"))
    assert sorted(loaded.getAnnIds(imgIds=[2])) == [3, 4]
    results = loaded.loadRes(dataset["annotations"])
    assert results.loadAnns([3])[0]["bbox"] == [0.0, 0.0, 40.0, 20.0]

  def test_folders_inside_keep_their_names(self, tmp_path, run):
    for name in ("b/c.JPG", "a.jpg", "a.png", "b/.hidden.jpg"):
      _save(tmp_path / "in" / name, 8, 8)
    (tmp_path / "in" / "notes.txt").write_text("no image")
    dataset = run()[2]
    assert _names(dataset) == ["a.jpg", "a.png", "b/c.JPG"]
    drawn = tmp_path / "out" / "drawn"
    files = sorted(path.relative_to(drawn).as_posix() for path in drawn.rglob("*.*"))
    assert files == ["a.jpg", "a.png.jpg", "b/c.JPG"]

  def test_results_inside_the_input_are_left_out(self, tmp_path, run):
    _save(tmp_path / "in" / "a.jpg", 8, 8)
    for _ in range(2):
      assert run(f"--output_dir={tmp_path / 'in'}")[0] == 0
      dataset = json.loads((tmp_path / "in" / "predictions.json").read_text())
      assert _names(dataset) == ["a.jpg"]

  def test_images_of_a_list(self, tmp_path, run):
    for name in ("a.jpg", "b.jpg", "c.jpg"):
      _save(tmp_path / "in" / name, 8, 8)
    (tmp_path / "list.txt").write_text("c\na\n")
    assert _names(run(f"--input_list={tmp_path / 'list.txt'}")[2]) == ["c.jpg", "a.jpg"]

  def test_images_of_all_sizes_go_together(self, tmp_path, run):
    sizes = [(8, 9), (8, 9), (9, 8), (7, 9), (8, 9)]
    for i, size in enumerate(sizes):
      _save(tmp_path / "in" / f"{i}.png", *size)
    dataset, detector = run("--batch_size=2")[2:]
    assert detector.sizes == [sizes[:2], sizes[2:4], sizes[4:]]
    assert [(image["height"], image["width"]) for image in dataset["images"]] == sizes

  def test_progress(self, tmp_path, run, monkeypatch):
    # A clock that advances by a second whenever it is read, which is once a file.
    for i in range(3):
      _save(tmp_path / "in" / f"{i}.png", 8, 8)
    (tmp_path / "in" / "3.png").write_bytes(b"")
    seconds = iter(range(100))
    monkeypatch.setattr(progress_lines.time, "monotonic", lambda: next(seconds))
    assert "predicting: 3/4, 1.0 a second, 1 s left" in run("--batch_size=1")[1]


class TestImages:
  @pytest.mark.parametrize("image_format", ["JPEG", "PNG"])
  def test_turned_upright(self, tmp_path, run, image_format):
    # Stored 20 high and 40 wide, with its left side at the top of the upright picture.
    picture, name = voc_files.picture(20, 40), f"a.{image_format.lower()}"
    content = voc_files.image_bytes(picture, image_format, exif=voc_files.exif(6))
    (tmp_path / "in" / name).write_bytes(content)
    dataset = run()[2]
    assert [(image["height"], image["width"]) for image in dataset["images"]] == [(40, 20)]


class TestFaults:
  def test_unreadable_files_are_listed_and_the_rest_is_processed(self, tmp_path, run):
    folder = tmp_path / "in"
    for name in ("a.jpg", "e.jpg"):
      _save(folder / name, 8, 8)
    (folder / "b.jpg").write_bytes(b"")
    (folder / "c.jpg").write_bytes((folder / "a.jpg").read_bytes()[:-60])
    _save(folder / "d.jpg", 13, 8)
    (folder / "f.jpg").symlink_to("nowhere")
    status, printed, dataset, _ = run()
    assert status == 0
    assert _names(dataset) == ["a.jpg", "e.jpg"]
    assert printed[-5] == "left out or ended early, 4 of 6 files:"
    listed = sorted(printed[-4:])
    assert listed[0] == (
      "  b.jpg: the file is empty; accepted: a whole JPEG, PNG, BMP, TIFF, WebP or GIF image"
    )
    assert listed[1].startswith("  c.jpg: damaged or truncated")
    assert listed[2] == "  d.jpg: detection failed (out of memory)"
    assert listed[3].startswith("  f.jpg: cannot be read (No such file")

  def test_nothing_readable(self, tmp_path, run):
    (tmp_path / "in" / "a.jpg").write_bytes(b"no image")
    status, printed, dataset, _ = run()
    assert status == 1
    assert dataset["images"] == []
    assert printed[-2] == "left out or ended early, 1 of 1 files:"

  @pytest.mark.parametrize(
    ("flags", "message"),
    [
      (["--score_threshold=1.5"], "--score_threshold is 1.5; accepted: 0 to 1"),
      (["--score_threshold=nan"], "--score_threshold is nan; accepted: 0 to 1"),
      (["--draw_threshold=-1"], "--draw_threshold is -1.0; accepted: 0 to 1"),
      (
        ["--draw_threshold=0.5", "--outputs", "dataset"],
        "--draw_threshold is 0.5; accepted: with drawn among --outputs",
      ),
      (["--batch_size=0"], "--batch_size is 0; accepted: at least 1"),
      (["--every=0"], "--every is 0; accepted: at least 1"),
      (
        ["--input=/in/nowhere"],
        "--input '/in/nowhere' does not exist; accepted: files, folders and patterns",
      ),
    ],
  )
  def test_unusable_arguments(self, run, flags, message):
    status, printed, dataset, _ = run(*flags)
    assert (status, printed, dataset) == (1, [f"error: {message}"], None)

  def test_a_checkpoint_of_a_saved_model(self, tmp_path, run):
    _save(tmp_path / "in" / "a.jpg", 8, 8)
    assert run("--checkpoint=best")[:2] == (
      1,
      ["error: --checkpoint is 'best'; accepted: with --model_dir alone"],
    )

  def test_stopped_while_the_detector_is_loaded(self, tmp_path, monkeypatch, capsys):
    _save(tmp_path / "a.jpg", 8, 8)
    monkeypatch.setattr(saved_model_detector, "SavedModelDetector", _interrupt)
    flags = ["--saved_model=exported", f"--input={tmp_path}", f"--output_dir={tmp_path / 'out'}"]
    assert predict.main(flags) == 130
    assert capsys.readouterr().err == "stopped before the first file\n"

  @pytest.mark.parametrize("flags", [[], ["--saved_model=a", "--model_dir=b"], ["--outputs=x"]])
  def test_wrong_flags(self, flags):
    with pytest.raises(SystemExit) as caught:
      predict.main(["--input=a", "--output_dir=b", *flags])
    assert caught.value.code == 2

  @pytest.mark.parametrize("missing", ["folder", "file"])
  def test_no_saved_model(self, tmp_path, capsys, missing):
    _save(tmp_path / "a.jpg", 8, 8)
    model = tmp_path / missing
    if missing == "file":
      model.mkdir()
    arguments = [f"--input={tmp_path}", f"--output_dir={tmp_path / 'out'}"]
    assert predict.main([f"--saved_model={model}", *arguments]) == 1
    message = f"error: --saved_model {str(model)!r} is no exported detector: "
    reason = (
      "it is no folder" if missing == "folder" else f"'{model}/saved_model.pb' does not exist"
    )
    assert capsys.readouterr().err.startswith(message + reason)
    assert not (tmp_path / "out").exists()

  def test_output_cannot_be_written(self, tmp_path, run):
    _save(tmp_path / "in" / "a.jpg", 8, 8)
    (tmp_path / "out").write_text("a file")
    status, printed = run()[:2]
    assert status == 1
    assert printed[0].startswith("error: [Errno 17] File exists")


def _content(folder):
  """Every file below a folder, by its name, but the list of these files."""
  return {
    path.relative_to(folder).as_posix(): path.read_bytes()
    for path in sorted(folder.rglob("*"))
    if path.is_file() and path.name != _LIST
  }


def _write_video(path, num_frames=6):
  writer = cv2.VideoWriter(
    str(path), cv2.CAP_FFMPEG, cv2.VideoWriter_fourcc(*"MJPG"), 10.0, (32, 16)
  )
  for _ in range(num_frames):
    writer.write(fixtures.solid_image(16, 32, 90))
  writer.release()


class TestOutputs:
  def test_each_alone(self, tmp_path, run):
    _save(tmp_path / "in" / "b" / "a.png", 8, 8)
    for output, file in {
      "drawn": "drawn/b/a.png.jpg",
      "dataset": "predictions.json",
      "results": "coco_results.json",
      "voc": "Annotations/b/a.xml",
    }.items():
      out = tmp_path / output
      assert run("--outputs", output, f"--output_dir={out}")[0] == 0
      ids = ["coco_results_ids.json"] if output == "results" else []
      assert list(_content(out)) == [file, *ids]

  def test_coco_results_with_the_ids_of_a_file(self, tmp_path, run):
    for name in ("a.png", "b/c.png"):
      _save(tmp_path / "in" / name, 40, 80)
    _save(tmp_path / "in" / "a.mp4", 8, 8, format="PNG")  # No image: needs no id.
    content = {
      "images": [{"id": 900, "file_name": "c.png"}, {"id": 5, "file_name": "a.png"}],
      "categories": [{"id": 18, "name": "dog"}, {"id": 17, "name": "cat"}],
      "annotations": [],
    }
    for image in content["images"]:
      image |= {"height": 40, "width": 80}
    (tmp_path / "ids.json").write_text(json.dumps(content))
    flags = ["--outputs", "results", "dataset", f"--coco_annotations={tmp_path / 'ids.json'}"]
    dataset = run(*flags, "--score_threshold=0")[2]
    results = json.loads((tmp_path / "out" / "coco_results.json").read_text())
    assert results == [
      {"image_id": 5, "category_id": 17, "bbox": [0.0, 0.0, 40.0, 20.0], "score": 0.75},
      {"image_id": 5, "category_id": 18, "bbox": [0.0, 20.0, 80.0, 20.0], "score": 0.25},
      {"image_id": 900, "category_id": 17, "bbox": [0.0, 0.0, 40.0, 20.0], "score": 0.75},
      {"image_id": 900, "category_id": 18, "bbox": [0.0, 20.0, 80.0, 20.0], "score": 0.25},
    ]
    assert [image["id"] for image in dataset["images"]] == [5, 900]
    loaded = coco.COCO(str(tmp_path / "ids.json")).loadRes(str(tmp_path / "out/coco_results.json"))
    assert loaded.getImgIds() == [900, 5]

  @pytest.mark.parametrize(
    ("names", "classes", "message"),
    [
      (["b.png"], ["cat", "dog"], "images: no file_name for a.png (1 of 1)"),
      (["a.png"], ["cat"], "categories: no dog; there: cat"),
    ],
  )
  def test_ids_that_are_missing(self, tmp_path, run, names, classes, message):
    _save(tmp_path / "in" / "a.png", 8, 8)
    content = {
      "images": [{"id": 1, "file_name": name} for name in names],
      "categories": [{"id": i, "name": name} for i, name in enumerate(classes)],
    }
    (tmp_path / "ids.json").write_text(json.dumps(content))
    status, printed, dataset, detector = run(f"--coco_annotations={tmp_path / 'ids.json'}")
    assert (status, dataset) == (1, None)
    assert printed[-1].startswith(f"error: --coco_annotations '/ids.json': {message}")
    assert not (tmp_path / "out").exists()
    # A missing image is reported before the detector is loaded.
    assert (detector is None) == (names == ["b.png"])

  def test_videos_among_images(self, tmp_path, run):
    for name in ("a.png", "c.png"):
      _save(tmp_path / "in" / name, 8, 8)
    _write_video(tmp_path / "in" / "b.avi")
    (tmp_path / "in" / "d.mp4").write_bytes(b"no video")
    status, printed, dataset, detector = run("--every=2", "--batch_size=4")
    assert status == 0
    assert detector.sizes == [[(8, 8)], [(16, 32)] * 2, [(16, 32)], [(8, 8)]]
    assert _names(dataset) == ["a.png", "c.png"]
    assert printed[1] == ("/out: 2 images with 2 detections of score 0.5 and more and 1 videos")
    assert printed[3:] == ["  d.mp4: no video that can be read, or damaged from the beginning"]
    assert list(_content(tmp_path / "out")) == [
      "drawn/a.png.jpg",
      "drawn/c.png.jpg",
      "failures.json",
      "predictions.json",
      "videos/b.avi.json",
      "videos/b.avi.mp4",
    ]
    frames = json.loads((tmp_path / "out" / "videos" / "b.avi.json").read_text())["frames"]
    assert [frame["frame"] for frame in frames] == [0, 2, 4]

  def test_every_setting_reaches_the_videos(self, tmp_path, run, monkeypatch):
    given, predictor = [], video.VideoPredictor

    def make(*args, **options):
      given.append(dict(options))
      return predictor(*args, **options)

    monkeypatch.setattr(QuarterDetector, "score_thresholds", {"dog": 0.2, "cat": 0.8})
    monkeypatch.setattr(video, "VideoPredictor", make)
    _write_video(tmp_path / "in" / "b.avi")
    assert run("--draw_threshold=0.3", "--batch_size=3", "--every=2")[0] == 0
    (options,) = given
    assert options.pop("score_threshold").tolist() == [0.8, 0.2]
    assert options == {"draw_threshold": 0.3, "batch_size": 3, "every": 2, "drawn": True}

  def test_videos_drawn_inside_the_input_are_left_out(self, tmp_path, run):
    _write_video(tmp_path / "in" / "b.avi")
    for _ in range(2):
      assert run(f"--output_dir={tmp_path / 'in'}")[1][0] == "files: 1, classes: cat, dog"

  def test_a_video_alone_and_not_drawn(self, tmp_path, run):
    _write_video(tmp_path / "in" / "b.avi")
    assert run("--outputs", "results")[0] == 0
    assert list(_content(tmp_path / "out")) == [
      "coco_results.json",
      "coco_results_ids.json",
      "videos/b.avi.json",
    ]

  @pytest.mark.parametrize(
    ("output", "names", "result"),
    [("voc", ["a.jpg", "a.png"], "a.xml"), ("drawn", ["a.png", "a.png.jpg"], "a.png.jpg")],
  )
  def test_two_that_would_become_one(self, tmp_path, run, output, names, result):
    for name in names:
      _save(tmp_path / "in" / name, 8, 8)
    status, printed, _, _ = run("--outputs", output)
    assert status == 1
    assert printed == [
      f"error: --outputs {output}: {names[0]!r} and {names[1]!r} would both become {result!r};"
      " accepted: images whose names differ in more than the ending"
    ]
    assert run("--outputs", "results")[0] == 0


class TestGoingOn:
  """Seven images, one of them unreadable, and a video, in four units."""

  _FLAGS = ("--outputs", "drawn", "dataset", "results", "voc", "--batch_size=3")

  @pytest.fixture(name="files", autouse=True)
  def _files(self, tmp_path):
    for i in range(7):
      _save(tmp_path / "in" / f"{i}.png", 20 + i, 9, 20 * i)
    (tmp_path / "in" / "2.png").write_bytes(b"")
    _write_video(tmp_path / "in" / "v.avi")

  @pytest.mark.parametrize("calls", range(5))
  def test_stopped_with_ctrl_c(self, tmp_path, run, monkeypatch, calls):
    # The calls are: three batches of images, the video's frames twice.
    whole = tmp_path / "whole"
    run(*self._FLAGS, f"--output_dir={whole}")
    detect, left = QuarterDetector._detect, [calls]

    def stop(detector, sizes):
      if not left[0]:
        raise KeyboardInterrupt
      left[0] -= 1
      return detect(detector, sizes)

    with monkeypatch.context() as patched:
      patched.setattr(QuarterDetector, "_detect", stop)
      status, printed, dataset, _ = run(*self._FLAGS)
    assert (status, dataset) == (130, None)
    finished = min(3 * calls, 7)
    assert printed[-1] == f"stopped after {finished} of 8 files; the same command resumes it"
    assert "unfinished.jsonl" in _content(tmp_path / "out")
    status, printed, _, detector = run(*self._FLAGS)
    assert status == 0
    assert ("resuming after" in printed[1]) == (calls > 0)
    assert len(detector.sizes) == 5 - min(calls, 3)
    assert _content(tmp_path / "out") == _content(whole)
    assert (tmp_path / "out" / _LIST).read_bytes() == (whole / _LIST).read_bytes()

  def test_files_that_come_and_go(self, tmp_path, run, monkeypatch):
    monkeypatch.setattr(QuarterDetector, "__call__", _interrupt)  # In the video, the last file.
    assert run(*self._FLAGS)[0] == 130
    monkeypatch.undo()
    _save(tmp_path / "in" / "00.png", 8, 8)
    (tmp_path / "in" / "v.avi").unlink()
    # A clock that advances by five seconds whenever it is read.
    seconds = iter(range(0, 1000, 5))
    monkeypatch.setattr(progress_lines.time, "monotonic", lambda: next(seconds))
    status, printed, dataset, detector = run(*self._FLAGS)
    assert status == 0
    assert "predicting: 8/8, 0.2 a second, 0 s left" in printed
    assert printed[1:3] == [
      "resuming after 7 of them",
      "1 files came later and are left for the next time",
    ]
    assert printed[-1] == "  v.avi: cannot be read (No such file or directory)"
    assert len(dataset["images"]) == 6
    assert detector.sizes == []
    assert "00.png" in _names(run(*self._FLAGS)[2])

  def test_other_settings(self, tmp_path, run, monkeypatch):
    monkeypatch.setattr(QuarterDetector, "__call__", _interrupt)
    run(*self._FLAGS)
    monkeypatch.undo()
    before = _content(tmp_path / "out")
    for flag, now in (
      ("--score_threshold=0.25", "--score_threshold 0.5, now it is 0.25"),
      ("--batch_size=4", "--batch_size 3, now it is 4"),
      ("--every=2", "--every 1, now it is 2"),
      (f"--input={tmp_path / 'in' / '0.png'}", '--input ["/in"], now it is ["/in/0.png"]'),
    ):
      status, printed, _, _ = run(*self._FLAGS, flag)
      assert status == 1
      assert printed[-1].startswith(
        f"error: --output_dir '/out' holds an unfinished prediction with {now}; accepted: the same"
      )
      assert _content(tmp_path / "out") == before
    assert run(*self._FLAGS, "--score_threshold=0.25", "--overwrite")[0] == 0

  def test_other_thresholds_of_the_export(self, run, monkeypatch):
    monkeypatch.setattr(QuarterDetector, "score_thresholds", {"cat": 0.5, "dog": 0.2})
    monkeypatch.setattr(QuarterDetector, "__call__", _interrupt)
    run(*self._FLAGS)
    monkeypatch.setattr(QuarterDetector, "score_thresholds", {"cat": 0.5, "dog": 0.3})
    status, printed, _, _ = run(*self._FLAGS)
    assert status == 1
    assert (
      '--score_threshold {"cat": 0.5, "dog": 0.2}, now it is {"cat": 0.5, "dog": 0.3};'
      in printed[-1]
    )

  def test_a_finished_prediction_begins_again(self, tmp_path, run):
    run(*self._FLAGS)
    status, printed, _, detector = run(*self._FLAGS, "--batch_size=7")
    assert status == 0
    assert len(detector.sizes) == 2
    assert not any("resuming" in line for line in printed)

  def test_another_detector(self, run, monkeypatch):
    monkeypatch.setattr(QuarterDetector, "__call__", _interrupt)
    run(*self._FLAGS)
    monkeypatch.setattr(QuarterDetector, "fingerprint", "halves")
    printed = run(*self._FLAGS)[1]
    assert 'with the detector "quarters", now it is "halves"; accepted' in printed[-1]

  def test_ids_of_a_file_that_is_gone(self, tmp_path, run, monkeypatch):
    content = {
      "images": [{"id": 50 + i, "file_name": f"{i}.png"} for i in range(7)],
      "categories": [{"id": i, "name": name} for i, name in enumerate(["cat", "dog"])],
    }
    (tmp_path / "ids.json").write_text(json.dumps(content))
    flags = (*self._FLAGS, f"--coco_annotations={tmp_path / 'ids.json'}")
    monkeypatch.setattr(QuarterDetector, "__call__", _interrupt)
    run(*flags)
    monkeypatch.undo()
    (tmp_path / "in" / "0.png").unlink()
    status, _, dataset, _ = run(*flags)
    assert status == 0
    assert [image["id"] for image in dataset["images"]] == [50, 51, 53, 54, 55, 56]

  def test_disk_full_in_the_end(self, tmp_path, run, monkeypatch):
    replace, left = os.replace, [16]

    def fill(source, target):
      left[0] -= 1
      if not left[0]:
        raise OSError(errno.ENOSPC, "No space left on device")
      replace(source, target)

    with monkeypatch.context() as patched:
      patched.setattr(os, "replace", fill)
      status, printed, dataset, _ = run(*self._FLAGS)
    assert (status, dataset is None) == (1, False)
    assert printed[-1] == "error: [Errno 28] No space left on device"
    status, _, _, detector = run(*self._FLAGS)
    assert (status, detector.sizes) == (0, [])


class TestFilesOfTheUser:
  """What OUT holds that the command did not write stays, and stops nothing else."""

  _FLAGS = ("--outputs", "drawn", "dataset", "results", "voc")

  def test_results_of_images(self, tmp_path, run):
    for name in ("a.jpg", "b.jpg", "c.jpg"):
      _save(tmp_path / "in" / name, 8, 8)
    out = tmp_path / "out"
    for name in ("drawn/a.jpg", "Annotations/b.xml"):
      (out / name).parent.mkdir(parents=True)
      (out / name).write_text("mine")
    (out / "drawn" / "c.jpg").mkdir()
    for _ in range(2):
      status, printed, dataset, _ = run(*self._FLAGS)
      assert status == 0
      assert _names(dataset) == ["a.jpg", "b.jpg", "c.jpg"]
      assert printed[-4] == "left out or ended early, 3 of 3 files:"
      assert printed[-3].startswith("  a.jpg: drawn/a.jpg cannot be written (it is there already,")
      assert printed[-2].startswith("  b.jpg: Annotations/b.xml cannot be written (it is there al")
      assert printed[-1] == "  c.jpg: drawn/c.jpg cannot be written (a folder is in its place)"
      content = _content(out)
      assert content["drawn/a.jpg"] == content["Annotations/b.xml"] == b"mine"
      assert {"Annotations/a.xml", "drawn/b.jpg", "Annotations/c.xml"} < content.keys()

  def test_corrected_annotations(self, tmp_path, run):
    for name in ("a.jpg", "b.jpg"):
      _save(tmp_path / "in" / name, 8, 8)
    run(*self._FLAGS)
    (tmp_path / "out" / "Annotations" / "a.xml").write_text("corrected")
    _, printed, _, _ = run(*self._FLAGS, "--score_threshold=0.2")
    assert printed[-2] == "left out or ended early, 1 of 2 files:"
    content = _content(tmp_path / "out")
    assert content["Annotations/a.xml"] == b"corrected"
    assert b"dog" in content["Annotations/b.xml"]

  @pytest.mark.parametrize("is_folder", [True, False])
  def test_a_final_file(self, tmp_path, run, is_folder):
    _save(tmp_path / "in" / "a.jpg", 8, 8)
    path = tmp_path / "out" / "coco_results.json"
    path.parent.mkdir()
    path.mkdir() if is_folder else path.write_text("mine")
    status, printed, dataset, _ = run(*self._FLAGS)
    reason = "(a folder is in its place" if is_folder else "(it is there already, and not as this "
    assert status == 1
    assert printed[1].startswith(f"warning: /out/coco_results.json cannot be written {reason}")
    assert printed[-1].startswith(f"error: /out: coco_results.json cannot be written {reason}")
    assert _names(dataset) == ["a.jpg"]
    assert "coco_results_ids.json" in _content(tmp_path / "out")
    path.rmdir() if is_folder else path.unlink()
    status, _, _, detector = run(*self._FLAGS)
    assert (status, detector.sizes) == (0, [])
    assert path.exists() and not (tmp_path / "out" / "unfinished.jsonl").exists()

  def test_a_list_of_failures(self, tmp_path, run):
    _save(tmp_path / "in" / "a.jpg", 8, 8)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "failures.json").write_text("mine")
    assert run()[0] == 0
    assert (tmp_path / "out" / "failures.json").read_text() == "mine"

  def test_a_file_in_the_place_of_a_folder(self, tmp_path, run):
    for name in ("a.jpg", "b.jpg"):
      _save(tmp_path / "in" / name, 8, 8)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "drawn").write_text("mine")
    status, printed, dataset, _ = run()
    assert (status, _names(dataset)) == (0, ["a.jpg", "b.jpg"])
    assert printed[-3] == "left out or ended early, 2 of 2 files:"
    # Nothing that was asked for of any image is there then, though all could be read.
    assert run("--outputs", "drawn")[0] == 1

  def test_names_are_harmless(self, tmp_path, run):
    (tmp_path / "in" / "a\x1b[2J\nb.jpg").write_bytes(b"")
    assert run()[1][-1].startswith(r"  a\x1b[2J\nb.jpg: the file is empty; accepted: ")


def _interrupt(*_):
  raise KeyboardInterrupt


@pytest.fixture(name="files")
def _files(tmp_path):
  """A folder with many images of the tiny run's sizes, a few of them broken, and a video."""
  from tests.serving import tiny_run  # Here, as only tests of the command need Model Garden.

  folder = tmp_path / "files"
  folder.mkdir()
  for i in range(60):
    Image.fromarray(np.roll(tiny_run.images()[i % 3], i, axis=1)).save(folder / f"{i:02}.png")
  for i in (7, 20, 59):
    (folder / f"{i:02}.png").write_bytes((folder / f"{i:02}.png").read_bytes()[:200])
  _write_video(folder / "30.avi")
  return folder


def test_killed_it_resumes_to_the_same_files(
  tiny_export, tiny_detector, files, tmp_path, monkeypatch
):
  flags = [f"--saved_model={tiny_export[0]}", f"--input={files}", "--score_threshold=0.1"]
  flags += ["--outputs", "drawn", "dataset", "results", "voc", "--batch_size=2"]
  with monkeypatch.context() as patched:
    # Loaded before.
    patched.setattr(saved_model_detector, "SavedModelDetector", lambda path: tiny_detector)
    assert predict.main([*flags, f"--output_dir={tmp_path / 'whole'}"]) == 0
  out = tmp_path / "out"
  command = [sys.executable, "-m", "mtl_ssl_tf.predict", *flags, f"--output_dir={out}"]
  with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
    # In the middle of the work, wherever it is: after some images are drawn.
    while process.poll() is None and len(list(out.glob("drawn/*.jpg"))) < 9:
      time.sleep(0.01)
    process.kill()
  assert process.returncode == -signal.SIGKILL
  assert (out / "unfinished.jsonl").exists()
  assert not (out / "predictions.json").exists()
  done = subprocess.run(command, capture_output=True, text=True, check=False)
  assert done.returncode == 0, done.stderr
  assert re.search(r"resuming after \d+ of them", done.stderr)
  assert _content(out) == _content(tmp_path / "whole")
  failures = json.loads((out / "failures.json").read_text())
  assert [failure["file_name"] for failure in failures] == ["07.png", "20.png", "59.png"]


def test_a_run_gives_the_boxes_of_its_evaluation(tiny_run, tmp_path):
  from mtl_ssl_tf.checkpoints import model_checkpoint
  from mtl_ssl_tf.tasks import mtl_detection
  from tests.serving import tiny_run as tiny_run_lib

  for i, image in enumerate(tiny_run_lib.images()):
    Image.fromarray(image).save(tmp_path / f"{i}.png")
  flags = [f"--model_dir={tiny_run}", f"--input={tmp_path}", f"--output_dir={tmp_path / 'out'}"]
  assert predict.main([*flags, "--score_threshold=0", "--outputs", "results"]) == 0
  results = json.loads((tmp_path / "out" / "coco_results.json").read_text())
  task = mtl_detection.MtlDetectionTask(tiny_run_lib.params(tiny_run).task)
  model = task.build_model()
  model_checkpoint.load_model(model, str(tiny_run / "best" / "best_ckpt-1"), "the best")
  dataset = task.build_inputs(task.task_config.validation_data)
  number = 0
  for batch in dataset:
    logs = task.validation_step(batch, model)
    for i in np.flatnonzero(logs["example_valid"]):
      number += 1
      found = [row for row in results if row["image_id"] == number]
      height, width = tiny_run_lib.IMAGE_SIZES[number - 1]
      valid = logs["detection_classes"][i].numpy() > 0
      ymin, xmin, ymax, xmax = logs["detection_boxes_orig"][i].numpy()[valid].T
      expected = np.stack([xmin, ymin, xmax - xmin, ymax - ymin], axis=-1)
      # A ten-thousandth of the image's size, and what three decimals round off.
      atol = 1e-4 * min(height, width) + 5e-4
      np.testing.assert_allclose([row["bbox"] for row in found], expected, atol=atol)
      np.testing.assert_allclose(
        [row["score"] for row in found], logs["detection_scores"][i].numpy()[valid], atol=1e-4
      )
  assert number == 3


def test_the_command_needs_no_training_code(tiny_export, tiny_detector, tmp_path):
  from tests.serving import tiny_run  # Here, as only this test needs Model Garden.

  for i, image in enumerate(tiny_run.images()):
    Image.fromarray(image).save(tmp_path / f"{i}.png")
  model = tmp_path / "moved"
  shutil.copytree(tiny_export[0], model)
  flags = {"saved_model": model, "input": tmp_path, "output_dir": tmp_path / "out"}
  done = tiny_run.run_python(
    _COMMAND,
    [*(f"--{name}={value}" for name, value in flags.items()), "--score_threshold=0.1"],
    without=("tf_keras", "official", "orbit"),
  )
  assert done.returncode == 0, done.stderr
  dataset = json.loads((tmp_path / "out" / "predictions.json").read_text())
  assert [category["name"] for category in dataset["categories"]] == tiny_run.CLASS_NAMES
  for i, image in enumerate(tiny_run.images()):
    expected = tiny_detector(image[np.newaxis])
    shown = expected["detection_scores"][0] >= 0.1
    ymin, xmin, ymax, xmax = expected["detection_boxes_px"][0][shown].T
    found = [entry for entry in dataset["annotations"] if entry["image_id"] == i + 1]
    np.testing.assert_allclose(
      [entry["bbox"] for entry in found],
      np.stack([xmin, ymin, xmax - xmin, ymax - ymin], axis=-1),
      atol=2e-3,
    )
    assert len(found) > 0
    assert (tmp_path / "out" / "drawn" / f"{i}.png.jpg").exists()
