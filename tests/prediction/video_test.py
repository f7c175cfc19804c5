"""Tests of video.py, on tiny videos written here, with a detector that reads their brightness."""

import json
import shutil

import cv2
import numpy as np
import pytest
import tensorflow as tf

from mtl_ssl_tf import written_files
from mtl_ssl_tf.prediction import video
from tests import fixtures

_STEP = 10  # Frame i has the grey value 10 i.


class BrightnessDetector:
  """Says that the top left quarter of an image is a `cat`, scored a hundredth of its red value.

  Fails on images brighter than `limit`. Notes the grey values that it is given together.
  """

  class_names = ("cat",)

  def __init__(self, limit=255):
    self.limit = limit
    self.values = []

  def __call__(self, images):
    count, height, width, _ = images.shape
    red = images[:, -1, -1, 0].astype(np.float32)
    self.values.append([round(float(value) / _STEP) for value in red])
    if red.max() > self.limit:
      raise tf.errors.ResourceExhaustedError(None, None, "out of memory\nmuch detail")
    return {
      "detection_boxes_px": np.tile(np.float32([0, 0, height / 2, width / 2]), [count, 1, 1]),
      "detection_scores": red[:, np.newaxis] / np.float32(100.0),
      "detection_classes": np.ones([count, 1], np.float32),
      "num_detections": np.ones([count], np.float32),
    }


def _write(path, num_frames=12, height=96, width=64, rate=12.5, bgr=None):
  path.parent.mkdir(parents=True, exist_ok=True)
  writer = cv2.VideoWriter(
    str(path), cv2.CAP_FFMPEG, cv2.VideoWriter_fourcc(*"MJPG"), rate, (width, height)
  )
  for i in range(num_frames):
    frame = fixtures.solid_image(height, width, _STEP * i)
    if bgr is not None:
      frame[:] = bgr
    writer.write(frame)
  writer.release()


def _read(path):
  capture = cv2.VideoCapture(str(path))
  frames = []
  while (frame := capture.read()[1]) is not None:
    frames.append(frame)
  return capture.get(cv2.CAP_PROP_FPS), frames


@pytest.fixture(name="predict")
def _predict(tmp_path):
  """Predicts `in/NAME`; returns the record, the JSON file's content and the detector."""

  def predict(name, limit=255, **settings):
    detector = BrightnessDetector(limit)
    settings = {"score_threshold": 0.35, "batch_size": 4, **settings}
    written = written_files.WrittenFiles(tmp_path, "predict")
    record = video.VideoPredictor(detector, tmp_path / "in", written, "out", **settings)(name)
    path = tmp_path / "out" / f"{name}.json"
    return record, json.loads(path.read_text()) if path.exists() else None, detector

  return predict


def _outlined(frame):
  """Whether the quarter's right edge, in its upper half, is drawn."""
  value = int(frame[-8, -8, 0])
  column = frame[4:40, 28:36].astype(int)
  return bool((np.abs(column - value).max(axis=-1) > 40).any())


class TestResults:
  def test_detections_frame_by_frame(self, predict, tmp_path):
    _write(tmp_path / "in" / "a.avi")
    record, content, detector = predict("a.avi")
    assert record == {"file": "a.avi", "num_frames": 12}
    assert detector.values == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
    frames = content.pop("frames")
    assert content == {
      "file_name": "a.avi",
      "height": 96,
      "width": 64,
      "frames_per_second": 12.5,
      "every": 1,
      "categories": [{"id": 1, "name": "cat"}],
      "num_frames": 12,
      "failure": None,
    }
    assert [frame["frame"] for frame in frames] == list(range(12))
    assert [frame["seconds"] for frame in frames] == pytest.approx([0.08 * i for i in range(12)])
    for i, frame in enumerate(frames):
      assert len(frame["detections"]) == (i >= 4)
    (found,) = frames[9]["detections"]
    assert found["category_id"] == 1
    assert found["bbox"] == [0, 0, 32, 48]
    assert found["score"] == pytest.approx(0.9, abs=0.03)

  @pytest.mark.parametrize("size", [(96, 64), (64, 98)])
  def test_the_annotated_video_keeps_rate_size_and_frames(self, predict, tmp_path, size):
    _write(tmp_path / "in" / "a.avi", height=size[0], width=size[1])
    predict("a.avi")
    rate, frames = _read(tmp_path / "out" / "a.avi.mp4")
    assert rate == 12.5
    assert len(frames) == 12
    for i, frame in enumerate(frames):
      assert frame.shape == (*size, 3)
      assert abs(int(frame[-8, -8, 0]) - _STEP * i) < 6

  def test_boxes_are_drawn_where_they_are(self, predict, tmp_path):
    _write(tmp_path / "in" / "a.avi")
    predict("a.avi")
    _, frames = _read(tmp_path / "out" / "a.avi.mp4")
    assert [_outlined(frame) for frame in frames] == [i >= 4 for i in range(12)]

  def test_colours_keep_their_order(self, predict, tmp_path):
    # Red all along: as OpenCV writes it, as the detector sees it, and in the annotated video.
    _write(tmp_path / "in" / "a.avi", num_frames=3, bgr=(0, 0, 200))
    assert predict("a.avi")[2].values == [[20, 20, 20]]
    _, frames = _read(tmp_path / "out" / "a.avi.mp4")
    blue, _, red = frames[-1][-8, -8].astype(int)
    assert red > 170 > 40 > blue

  def test_odd_sides_gain_a_pixel(self, tmp_path):
    path = tmp_path / "a.mp4"
    image = fixtures.solid_image(63, 95, 40)
    image[-1], image[:, -1] = 200, 200
    with video._Writer(path, 10.0, 63, 95) as writer:
      for _ in range(3):
        writer.write(image)
    rate, frames = _read(path)
    assert rate == 10.0
    # Nothing was cut off: the last row and column are there, twice.
    assert [frame.shape for frame in frames] == [(64, 96, 3)] * 3
    assert frames[-1][-1, -1].min() > 120

  def test_drawn_boxes_may_have_a_threshold_of_their_own(self, predict, tmp_path):
    # Frame i scores 0.1 i.
    _write(tmp_path / "in" / "a.avi", num_frames=8)
    _, result, _ = predict("a.avi", score_threshold=0.35, draw_threshold=0.55)
    assert [len(frame["detections"]) for frame in result["frames"]] == [0] * 4 + [1] * 4
    frames = _read(tmp_path / "out" / "a.avi.mp4")[1]
    assert [bool(_outlined(frame)) for frame in frames] == [False] * 6 + [True] * 2

  def test_every_third_frame(self, predict, tmp_path):
    _write(tmp_path / "in" / "a.avi")
    _, content, detector = predict("a.avi", every=3, batch_size=4)
    # Four frames are in memory at a time: of 0 … 3 the first and the last are examined.
    assert detector.values == [[0, 3], [6], [9]]
    assert [frame["frame"] for frame in content["frames"]] == [0, 3, 6, 9]
    _, frames = _read(tmp_path / "out" / "a.avi.mp4")
    # 3 scores too little; 6 is the first to show a box, which stays.
    assert [_outlined(frame) for frame in frames] == [i >= 6 for i in range(12)]

  def test_batches_without_a_frame_to_look_at(self, predict, tmp_path):
    _write(tmp_path / "in" / "a.avi")
    _, content, detector = predict("a.avi", every=5, batch_size=2)
    assert detector.values == [[0], [5], [10]]
    assert [frame["frame"] for frame in content["frames"]] == [0, 5, 10]
    assert len(_read(tmp_path / "out" / "a.avi.mp4")[1]) == 12

  def test_without_drawing(self, predict, tmp_path):
    _write(tmp_path / "in" / "b" / "a.avi")
    record, content, _ = predict("b/a.avi", drawn=False)
    assert record["num_frames"] == len(content["frames"]) == 12
    assert [path.name for path in (tmp_path / "out" / "b").iterdir()] == ["a.avi.json"]

  def test_without_drawing_a_file_in_its_place_is_no_obstacle(self, predict, tmp_path):
    _write(tmp_path / "in" / "a.avi", num_frames=3)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.avi.mp4").write_text("mine")
    assert predict("a.avi", drawn=False)[0] == {"file": "a.avi", "num_frames": 3}
    assert predict("a.avi")[0]["is_unwritten"]
    assert (tmp_path / "out" / "a.avi.mp4").read_text() == "mine"

  def test_names(self):
    assert video.video_name("a/b.MP4") == "a/b.MP4"
    assert video.video_name("a/b.avi") == "a/b.avi.mp4"

  def test_progress(self, predict, tmp_path, monkeypatch, capsys):
    _write(tmp_path / "in" / "a.avi", num_frames=5)
    seconds = iter(range(100))
    monkeypatch.setattr(video.progress_lines.time, "monotonic", lambda: next(seconds))
    predict("a.avi")
    assert capsys.readouterr() == ("", "a.avi: frames: 3/5, 1.0 a second, 2 s left\n")


class TestFaults:
  @pytest.mark.parametrize("content", [b"", b"no video" * 100])
  def test_no_video(self, predict, tmp_path, capfd, content):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.mp4").write_bytes(content)
    record, results, detector = predict("a.mp4")
    reason = "no video that can be read, or damaged from the beginning"
    assert record == {"file": "a.mp4", "failure": reason}
    assert (results, detector.values) == (None, [])
    assert capfd.readouterr() == ("", "")  # Neither OpenCV nor FFmpeg has a word of its own.
    assert not (tmp_path / "out").exists()

  def test_no_file(self, predict):
    assert predict("a.mp4")[0] == {
      "file": "a.mp4",
      "failure": "cannot be read (No such file or directory)",
    }

  def test_truncated(self, predict, tmp_path):
    path = tmp_path / "in" / "a.avi"
    _write(path, num_frames=20)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    record, content, _ = predict("a.avi")
    count = record["num_frames"]
    assert 1 <= count < 15
    assert record["failure"] == f"damaged or truncated: {count} of 20 frames could be read"
    assert content["failure"] == record["failure"]
    assert content["num_frames"] == len(content["frames"]) == count
    assert len(_read(tmp_path / "out" / "a.avi.mp4")[1]) == count

  def test_a_batch_that_fails_is_tried_one_by_one(self, predict, tmp_path):
    _write(tmp_path / "in" / "a.avi")
    record, content, detector = predict("a.avi", limit=65)
    assert detector.values == [[0, 1, 2, 3], [4, 5, 6, 7], [4], [5], [6], [7]]
    assert record == {
      "file": "a.avi",
      "num_frames": 7,
      "failure": "frame 7: detection failed (out of memory)",
    }
    assert len(content["frames"]) == 7
    assert len(_read(tmp_path / "out" / "a.avi.mp4")[1]) == 7

  def test_no_frame_can_be_read(self, predict, tmp_path):
    _write(tmp_path / "in" / "a.avi")
    record, content, _ = predict("a.avi", limit=-1)
    assert record["failure"] == "frame 0: detection failed (out of memory)"
    assert content["frames"] == []

  def test_frames_of_another_size(self):
    frames = video._Frames(_Capture([(4, 6), (4, 6), (6, 4)]))
    assert [frames.read() is None for _ in range(3)] == [False, False, True]
    assert frames.failure == "frame 2 is of another size: 4 x 6, not 6 x 4"

  def test_a_file_that_says_nothing_of_itself(self):
    frames = video._Frames(_Capture([(4, 6)], rate=float("nan"), count=-1.0))
    assert (frames.rate, frames.num_announced) == (None, None)
    assert frames.read().shape == (4, 6, 3)
    assert frames.read() is None
    assert frames.failure is None

  def test_a_count_that_is_only_rough(self):
    for count, failure in (
      (2.0, None),
      (3.0, "damaged or truncated: 1 of 3 frames could be read"),
    ):
      frames = video._Frames(_Capture([(4, 6)], count=count))
      while frames.read() is not None:
        pass
      assert frames.failure == failure

  def test_a_full_disk(self, predict, tmp_path, monkeypatch):
    _write(tmp_path / "in" / "a.avi")
    monkeypatch.setattr(video._Writer, "write", lambda self, image: setattr(self, "_num_frames", 9))
    record, content, _ = predict("a.avi")
    message = "only 0 of 9 frames were written; is the disk full?"
    assert record["failure"] == f"its results cannot be written ({message})"
    assert (record["is_unwritten"], content) == (True, None)
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(OSError, match=r"only 0 of 9 frames were written; is the disk full\?$"):
      predict("a.avi")
    assert list((tmp_path / "out").iterdir()) == []

  @pytest.mark.parametrize(("suffix", "listed"), [("json", False), ("mp4", True)])
  def test_files_of_the_user_stay(self, predict, tmp_path, suffix, listed):
    _write(tmp_path / "in" / "a.avi")
    path = tmp_path / "out" / f"a.avi.{suffix}"
    path.parent.mkdir()
    path.write_text('"mine"')
    record, content, _ = predict("a.avi")
    assert record["num_frames"] > 0
    assert record["failure"].startswith(f"out/a.avi.{suffix} cannot be written (it is there alrea")
    assert path.read_text() == '"mine"'
    assert (isinstance(content, dict)) == listed

  @pytest.mark.parametrize(
    ("name", "failure"),
    [
      (f"{'a' * 251}.avi", "its results cannot be written (File name too long)"),
      # OpenCV would end the process.
      ("a\udcff.avi", "its path is not UTF-8, and no other can be opened"),
    ],
  )
  def test_a_name(self, tmp_path, name, failure):
    _write(tmp_path / "in" / "a.avi", num_frames=2)
    (tmp_path / "in" / "a.avi").rename(tmp_path / "in" / name)
    written = written_files.WrittenFiles(tmp_path, "predict")
    predict = video.VideoPredictor(
      BrightnessDetector(), tmp_path / "in", written, "out", score_threshold=0.5
    )
    assert predict(name)["failure"] == failure

  def test_a_folder_whose_name_is_no_utf8(self, tmp_path):
    with pytest.raises(OSError, match="its path is not UTF-8"):
      video._Writer(tmp_path / "\udcff.mp4", 10.0, 64, 96)


class _Capture:
  """Frames of the sizes given, as `cv2.VideoCapture` gives them."""

  def __init__(self, sizes, rate=25.0, count=0.0):
    self._frames = iter([fixtures.solid_image(*size) for size in sizes])
    self._values = {cv2.CAP_PROP_FPS: rate, cv2.CAP_PROP_FRAME_COUNT: count}

  def get(self, what):
    return self._values.get(what, 0.0)

  def isOpened(self):  # noqa: N802 - OpenCV's name.
    return True

  def read(self):
    frame = next(self._frames, None)
    return frame is not None, frame
