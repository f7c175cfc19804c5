"""Detects objects in image files with an exported detector.

  python -m mtl_ssl_tf.predict --saved_model exported/NAME --input FILE_OR_FOLDER --output_dir OUT

`--input_list` chooses from the folder: a text file with one name a line, with or without ending.

OUT/drawn holds each image with its detections, under its own name (with `.jpg` behind it if it is
no JPEG); of a folder, folders inside are searched too. OUT/predictions.json is a COCO data set:
  images: id, file_name (inside the input folder), height, width (of the upright image).
  categories: id, name; the lines of the label map.
  annotations: the detections: id, image_id, category_id, bbox [x, y, width, height] in pixels,
    score, area, iscrowd. They can be handed to `pycocotools`' `loadRes` as they are.
Both leave out what scores less than `--score_threshold`; to evaluate, use 0.

Images are read as the converters read them: turned upright as EXIF says, made 8-bit RGB. Files
that cannot be read are listed at the end; the exit status is 1 only if there was no other.
"""

import argparse
import dataclasses
import json
import pathlib
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image

from mtl_ssl_tf.data import image_files, progress
from mtl_ssl_tf.serving import input_files, saved_detector
from mtl_ssl_tf.visualization import draw

PREDICTIONS_FILE = "predictions.json"
DRAWN_FOLDER = "drawn"
_JPEG_SUFFIXES = (".jpg", ".jpeg")
_JPEG_QUALITY = 92


@dataclasses.dataclass(frozen=True, slots=True)
class Picture:
  """An image that could be read: its name, and uint8 [height, width, 3] RGB."""

  file_name: str
  pixels: np.ndarray


class Predictions:
  """Collects detections in the form of a COCO data set, and draws them.

  Attributes:
    dataset: `images`, `categories` and `annotations` so far; see the top of this module.
  """

  def __init__(self, class_names: Sequence[str], score_threshold: float, drawn_dir: pathlib.Path):
    """Begins an empty data set.

    Args:
      class_names: class 1 first.
      score_threshold: detections below it are left out.
      drawn_dir: folder for the drawn images.
    """
    self._class_names = class_names
    self._score_threshold = score_threshold
    self._drawn_dir = drawn_dir
    self.dataset = {
      "images": [],
      "categories": [{"id": i, "name": name} for i, name in enumerate(class_names, start=1)],
      "annotations": [],
    }

  def add(
    self, picture: Picture, boxes_px: np.ndarray, scores: np.ndarray, classes: np.ndarray
  ) -> None:
    """Notes and draws the detections of one image: boxes [D, 4], scores [D] and classes [D].

    Raises:
      OSError: the drawn image cannot be written.
    """
    shown = scores >= self._score_threshold
    boxes_px, scores, classes = boxes_px[shown], scores[shown], classes[shown].astype(np.int32)
    height, width = picture.pixels.shape[:2]
    image_id = len(self.dataset["images"]) + 1
    self.dataset["images"].append(
      {"id": image_id, "file_name": picture.file_name, "height": height, "width": width}
    )
    for box, score, class_id in zip(boxes_px.tolist(), scores.tolist(), classes, strict=True):
      ymin, xmin, ymax, xmax = box
      sides = [xmin, ymin, xmax - xmin, ymax - ymin]
      self.dataset["annotations"].append(
        {
          "id": len(self.dataset["annotations"]) + 1,
          "image_id": image_id,
          "category_id": int(class_id),
          "bbox": [round(side, 3) for side in sides],
          "score": round(score, 6),
          "area": round(sides[2] * sides[3], 3),
          "iscrowd": 0,
        }
      )
    drawn = draw.draw_boxes(picture.pixels, boxes_px, classes, self._class_names, scores)
    path = self._drawn_dir / drawn_name(picture.file_name)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(drawn).save(path, "JPEG", quality=_JPEG_QUALITY)


def predict_files(
  detector: Callable[[np.ndarray], dict[str, np.ndarray]],
  folder: pathlib.Path,
  file_names: Sequence[str],
  predictions: Predictions,
  *,
  batch_size: int = 1,
  say: Callable[[str], object] = print,
) -> list[tuple[str, str]]:
  """Detects, notes and draws; one image after the other, in the order given.

  Args:
    detector: a `SavedDetector`.
    folder: that the names are relative to.
    file_names: of image files.
    predictions: takes the detections.
    batch_size: at most so many images that follow each other and are of one size go together.
    say: takes lines about progress.

  Returns:
    Names of the files that could not be read or looked at, each with the reason.
  """
  failures = []
  progress_line = progress.Progress("predicting", len(file_names), say)
  for batch in _batches(folder, file_names, batch_size, failures, progress_line):
    try:
      outputs = detector(np.stack([picture.pixels for picture in batch]))
    except tf.errors.OpError as error:  # Say, an image too large for the memory.
      reason = error.message.strip().split("\n")[0]
      failures.extend((picture.file_name, f"detection failed ({reason})") for picture in batch)
    else:
      for i, picture in enumerate(batch):
        count = int(outputs["num_detections"][i])
        names = ("detection_boxes_px", "detection_scores", "detection_classes")
        predictions.add(picture, *(outputs[name][i, :count] for name in names))
    for _ in batch:
      progress_line.step()
  return failures


def _batches(
  folder: pathlib.Path,
  file_names: Sequence[str],
  batch_size: int,
  failures: list[tuple[str, str]],
  progress_line: progress.Progress,
) -> Iterator[list[Picture]]:
  """The images in order, those of one size together; what cannot be read goes to `failures`."""
  batch = []
  for file_name in file_names:
    try:
      picture = read_picture(folder, file_name)
    except (OSError, ValueError) as error:
      failures.append((file_name, str(error).removeprefix(f"{file_name}: image: ")))
      progress_line.step()
      continue
    if batch and (len(batch) == batch_size or batch[0].pixels.shape != picture.pixels.shape):
      yield batch
      batch = []
    batch.append(picture)
  if batch:
    yield batch


def read_picture(folder: pathlib.Path, file_name: str) -> Picture:
  """An image exactly as training would have been shown it, before resizing.

  Raises:
    ValueError: it is no image, is damaged or is too large.
    OSError: the file cannot be read.
  """
  stored = image_files.prepare_image((folder / file_name).read_bytes(), file_name)
  return Picture(file_name, tf.io.decode_image(stored.encoded, channels=3).numpy())


def drawn_name(file_name: str) -> str:
  """What the drawn image is called: two images never share a name, and JPEGs keep theirs."""
  return file_name if file_name.lower().endswith(_JPEG_SUFFIXES) else f"{file_name}.jpg"


def run(args: argparse.Namespace, say: Callable[[str], object]) -> int:
  """Does what the command line asks for; returns the exit status.

  Raises:
    ValueError: an argument is not acceptable.
    OSError: the results cannot be written.
  """
  if not 0.0 <= args.score_threshold <= 1.0:
    raise ValueError(f"--score_threshold is {args.score_threshold}; accepted: 0 to 1")
  if args.batch_size < 1:
    raise ValueError(f"--batch_size is {args.batch_size}; accepted: at least 1")
  output_dir = pathlib.Path(args.output_dir)
  drawn_dir = output_dir / DRAWN_FOLDER
  folder, file_names = input_files.find_images(args.input, drawn_dir, args.input_list)
  try:
    detector = saved_detector.SavedDetector(args.saved_model)
  except ValueError as error:
    raise ValueError(f"--saved_model {error}") from error
  output_dir.mkdir(parents=True, exist_ok=True)
  predictions = Predictions(detector.class_names, args.score_threshold, drawn_dir)
  say(f"images: {len(file_names)}, classes: {', '.join(detector.class_names)}")
  failures = predict_files(
    detector, folder, file_names, predictions, batch_size=args.batch_size, say=say
  )
  dataset = predictions.dataset
  _write_json(output_dir / PREDICTIONS_FILE, dataset)
  say(
    f"{args.output_dir}: {len(dataset['images'])} images with {len(dataset['annotations'])}"
    f" detections of score {args.score_threshold:g} and more"
  )
  if failures:
    say(f"left out, {len(failures)} of {len(file_names)} files:")
  for file_name, reason in failures:
    say(f"  {file_name}: {reason}")
  return 0 if dataset["images"] else 1


def _write_json(path: pathlib.Path, content: Any) -> None:
  """Writes the file whole or not at all."""
  temporary = path.with_name(f".{path.name}.tmp")
  temporary.write_text(json.dumps(content), encoding="utf-8")
  temporary.replace(path)


def main(argv: Sequence[str] | None = None) -> int:
  """Runs the command line; returns the exit status."""
  parser = argparse.ArgumentParser(
    prog="python -m mtl_ssl_tf.predict",
    description="Detects objects in image files; writes drawn images and a COCO data set.",
    allow_abbrev=False,
  )
  parser.add_argument("--saved_model", required=True, help="folder that export.py wrote")
  parser.add_argument("--input", required=True, help="image file, or folder of such")
  parser.add_argument("--input_list", help="file with names of images to choose from the folder")
  parser.add_argument("--output_dir", required=True, help="where the results go")
  parser.add_argument(
    "--score_threshold", type=float, default=0.5, help="leave out what scores less (default: 0.5)"
  )
  parser.add_argument(
    "--batch_size",
    type=int,
    default=1,
    help="images of one size, one after the other, that are looked at together (default: 1)",
  )
  args = parser.parse_args(argv)
  try:
    return run(args, lambda line: print(line, file=sys.stderr, flush=True))
  except (ValueError, OSError) as error:
    print(f"error: {error}", file=sys.stderr)
    return 1


if __name__ == "__main__":
  sys.exit(main())
