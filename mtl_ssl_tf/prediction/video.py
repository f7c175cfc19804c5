"""Detects objects in a video frame by frame, and draws them into a copy of it.

The annotated video has the frames, rate and size of the original, in MPEG-4 (`.mp4`), without
sound; a side of an odd length gains a pixel, since the format has none. Where only every n-th frame
is examined, the frames between show what was found before.

The detections of `clip.avi` are in `clip.avi.json`:
  file_name, height, width; frames_per_second, null where the file does not state it; every;
  categories: id, name; the lines of the label map.
  frames: of each frame examined, frame (from 0), seconds, and detections: category_id,
    bbox [x, y, width, height] in pixels, score.
  num_frames: that could be read; failure: why no more, or null.
"""

import contextlib
import errno
import json
import logging
import math
import os
import pathlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from typing import Any, BinaryIO

import cv2
import numpy as np

from mtl_ssl_tf import written_files
from mtl_ssl_tf.data import progress_lines
from mtl_ssl_tf.prediction import image_detections
from mtl_ssl_tf.reading import regular_files
from mtl_ssl_tf.serving import served_detector
from mtl_ssl_tf.visualization import draw

# Messages of FFmpeg and OpenCV on a damaged file would come between the lines of progress. FFmpeg
# reads this once, at its first use.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)

_LOGGER = logging.getLogger(__name__)
_SUFFIX = ".mp4"
_CODEC = "mp4v"
_DEFAULT_RATE = 25.0  # Of the annotated video, where the original does not state it.
# How many of the frames that a file announces may be missing: some count only roughly.
_MISSING_FRACTION, _MISSING_FRAMES = 0.01, 1
_LITTLE_SPACE = 16 * 2**20  # Bytes; with so few left, a file that lacks frames met a full disk.


class VideoPredictor:
  """Detects objects in the frames of videos and writes their results."""

  def __init__(
    self,
    detector: served_detector.ServedDetector,
    folder: pathlib.Path,
    written: written_files.WrittenFiles,
    videos_dir: str,
    *,
    score_threshold: float | np.ndarray,
    draw_threshold: float | None = None,
    batch_size: int = 1,
    every: int = 1,
    drawn: bool = True,
  ):
    """Takes the detector and the settings.

    Args:
      detector: does the work.
      folder: that the names of files are relative to.
      written: the folder of the results.
      videos_dir: folder in there for those of videos.
      score_threshold: detections below it, or below that of their class, are left out.
      draw_threshold: another smallest score for the annotated video; None is `score_threshold`.
      batch_size: so many frames are in memory, and those of them to examine are processed together.
      every: examine the first frame of each so many.
      drawn: write the annotated video.
    """
    self._detector = detector
    self._folder = folder
    self._written, self._videos_dir = written, videos_dir
    self._score_threshold = score_threshold
    self._draw_threshold = score_threshold if draw_threshold is None else draw_threshold
    self._batch_size = batch_size
    self._every = every
    self._drawn = drawn

  def __call__(self, name: str) -> dict[str, Any]:
    """Returns the record of a video; writes its results.

    A record has `file`, `num_frames` if there was a frame, and `failure`, the reason, if the video
    could not be read or ended before its time, or a file of its results cannot be written;
    `is_unwritten` then says so.

    Raises:
      OSError: no result can be written, say as the disk is full.
    """
    path = self._folder / name
    try:
      regular_files.check(path)
    except OSError as error:
      return {"file": name, "failure": f"cannot be read ({error.strerror})"}
    if not _is_utf8(path):  # OpenCV would end the process.
      return {"file": name, "failure": "its path is not UTF-8, and no other can be opened"}
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    try:
      frames = _Frames(capture)
      first = frames.read()
      if first is None:
        return {"file": name, "failure": "no video that can be read, or damaged from the beginning"}
      unwritten = self._predict(name, frames, first)
    finally:
      capture.release()
    record = {"file": name, "num_frames": frames.num_read}
    if failure := "; ".join(filter(None, [frames.failure, *unwritten])):
      record["failure"] = failure
    return record | ({"is_unwritten": True} if unwritten else {})

  def _predict(self, name: str, frames: "_Frames", first: np.ndarray) -> list[str]:
    """Writes the results of a video; returns the reasons of those that cannot be written."""
    listed, drawn = f"{self._videos_dir}/{name}.json", f"{self._videos_dir}/{video_name(name)}"
    obstacles = self._written.claim([listed, drawn] if self._drawn else [listed])
    unwritten = [f"{result} cannot be written ({why})" for result, why in obstacles.items()]
    if listed not in obstacles:
      try:
        self._write(name, frames, first, listed, None if drawn in obstacles else drawn)
      except OSError as error:
        unwritten.append(f"its results cannot be written ({written_files.reason(error)})")
    return unwritten

  def _write(
    self, name: str, frames: "_Frames", first: np.ndarray, listed: str, drawn: str | None
  ) -> None:
    """Writes the detections of a video and, unless `drawn` is None, its annotated copy."""
    height, width = first.shape[:2]
    head = {
      "file_name": name,
      "height": height,
      "width": width,
      "frames_per_second": frames.rate,
      "every": self._every,
      "categories": [
        {"id": i, "name": text} for i, text in enumerate(self._detector.class_names, start=1)
      ],
    }
    progress_line = progress_lines.Progress(f"{name}: frames", frames.num_announced, _LOGGER.info)
    with contextlib.ExitStack() as stack:
      file = stack.enter_context(self._written.writing(listed))
      draw_frame = None
      if self._drawn and drawn is not None:
        part = stack.enter_context(self._written.replacing(drawn))
        writer = stack.enter_context(_Writer(part, frames.rate or _DEFAULT_RATE, height, width))
        draw_frame = writer.write
      file.write(json.dumps(head).encode()[:-1] + b',\n"frames": [')
      self._predict_frames(frames, first, file, draw_frame, progress_line)
      tail = {"num_frames": frames.num_read, "failure": frames.failure}
      file.write(b"\n],\n" + json.dumps(tail).encode()[1:] + b"\n")

  def _predict_frames(
    self,
    frames: "_Frames",
    first: np.ndarray,
    file: BinaryIO,
    draw_frame: Callable[[np.ndarray], None] | None,
    progress_line: progress_lines.Progress,
  ) -> None:
    separator, latest = b"\n", None
    for start, batch in _batches(frames, first, self._batch_size):
      chosen = [i for i in range(len(batch)) if (start + i) % self._every == 0]
      found = image_detections.detect_each(
        lambda images: self._detector(np.stack(images)), [batch[i][0] for i in chosen]
      )
      by_place = dict(zip(chosen, found, strict=True))
      for i, (image, seconds) in enumerate(batch):
        detections = by_place.get(i, latest)
        if isinstance(detections, str):
          frames.failure = f"frame {start + i}: {detections}"
          frames.num_read = start + i
          return
        if i in by_place:
          latest = detections
          rows = detections.at_least(self._score_threshold).coco_rows()
          entry = {"frame": start + i, "seconds": round(seconds, 6), "detections": rows}
          file.write(separator + json.dumps(entry).encode())
          separator = b",\n"
        if draw_frame:
          draw_frame(self._draw(image, detections.at_least(self._draw_threshold)))
        progress_line.step()

  def _draw(self, image: np.ndarray, detections: image_detections.Detections) -> np.ndarray:
    return draw.draw_boxes(
      image,
      detections.boxes_px,
      detections.class_ids,
      self._detector.class_names,
      detections.scores,
    )


class _Frames:
  """The frames of a video, RGB, until they end or cannot be read.

  Attributes:
    rate: frames a second; None where the file does not state it.
    num_announced: frames in the file as it says itself; None where it does not.
    num_read: frames so far.
    failure: why there are no more, if it is not the end.
  """

  def __init__(self, capture: cv2.VideoCapture):
    self._capture = capture
    rate = capture.get(cv2.CAP_PROP_FPS)
    self.rate = rate if math.isfinite(rate) and rate > 0.0 else None
    count = capture.get(cv2.CAP_PROP_FRAME_COUNT)
    self.num_announced = int(count) if math.isfinite(count) and count > 0 else None
    self.num_read = 0
    self.failure: str | None = None
    self.seconds = 0.0
    self._shape: tuple[int, ...] | None = None

  def read(self) -> np.ndarray | None:
    """The next frame, uint8 [height, width, 3]; None if there is none."""
    if not self._capture.isOpened():
      return None
    try:
      found, frame = self._capture.read()
    except cv2.error as error:
      self.failure = f"frame {self.num_read} cannot be read ({' '.join(str(error).split())})"
      return None
    if not found:
      self._check_end()
      return None
    if self._shape not in (None, frame.shape):
      sizes = [f"{shape[1]} x {shape[0]}" for shape in (self._shape, frame.shape)]
      self.failure = f"frame {self.num_read} is of another size: {sizes[1]}, not {sizes[0]}"
      return None
    self._shape = frame.shape
    # Of the frame just read; where a file has no times, OpenCV counts frames.
    self.seconds = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000.0
    self.num_read += 1
    return np.ascontiguousarray(frame[..., ::-1])

  def _check_end(self) -> None:
    """Notes a failure where much is missing of what the file announces."""
    announced = self.num_announced or 0
    missing = announced - self.num_read
    if missing > max(_MISSING_FRAMES, _MISSING_FRACTION * announced):
      self.failure = f"damaged or truncated: {self.num_read} of {announced} frames could be read"


def _batches(
  frames: _Frames, first: np.ndarray, batch_size: int
) -> Iterator[tuple[int, Sequence[tuple[np.ndarray, float]]]]:
  """Yields the number of the first frame, and `batch_size` frames with their times."""
  start, batch, frame = 0, [], first
  while frame is not None:
    batch.append((frame, frames.seconds))
    if len(batch) == batch_size:
      yield start, batch
      start, batch = start + len(batch), []
    frame = frames.read()
  if batch:
    yield start, batch


class _Writer:
  """A writer of an annotated video; on leaving it without an error, the file is complete."""

  def __init__(self, path: pathlib.Path, rate: float, height: int, width: int):
    """Opens the file.

    Raises:
      OSError: it cannot be written.
    """
    if not _is_utf8(path):
      raise OSError("its path is not UTF-8, and no other can be written")
    self._path = path
    self._paddings = ((0, height % 2), (0, width % 2), (0, 0))
    size = (width + width % 2, height + height % 2)
    self._writer = cv2.VideoWriter(
      str(path), cv2.CAP_FFMPEG, cv2.VideoWriter_fourcc(*_CODEC), rate, size
    )
    if not self._writer.isOpened():
      raise OSError(f"OpenCV cannot write a video of {width} x {height} pixels there")
    self._num_frames = 0

  def write(self, image: np.ndarray) -> None:
    """Adds a frame, uint8 [height, width, 3], RGB."""
    padded = np.pad(image, self._paddings, mode="edge")
    self._writer.write(np.ascontiguousarray(padded[..., ::-1]))
    self._num_frames += 1

  def __enter__(self) -> "_Writer":
    return self

  def __exit__(self, kind: type[BaseException] | None, *exception: object) -> None:
    self._writer.release()
    if kind is None:
      self._check()

  def _check(self) -> None:
    """Raises OSError unless all frames arrived: OpenCV does not report a full disk."""
    written = cv2.VideoCapture(str(self._path), cv2.CAP_FFMPEG)
    count = int(written.get(cv2.CAP_PROP_FRAME_COUNT)) if written.isOpened() else 0
    written.release()
    if count != self._num_frames:
      free = shutil.disk_usage(self._path.parent).free
      raise OSError(
        errno.ENOSPC if free < _LITTLE_SPACE else errno.EINVAL,
        f"only {count} of {self._num_frames} frames were written; is the disk full?",
      )


def _is_utf8(path: pathlib.Path) -> bool:
  try:
    return bool(str(path).encode())
  except UnicodeEncodeError:
    return False


def video_name(name: str) -> str:
  """Returns the name of the annotated video."""
  return name if name.lower().endswith(_SUFFIX) else f"{name}{_SUFFIX}"
