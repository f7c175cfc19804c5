"""Detects objects in image and video files.

  python -m mtl_ssl_tf.predict --saved_model exported/NAME --input images clip.mp4 --output_dir OUT

`--model_dir runs/NAME` takes the best checkpoint of a training run instead. Inputs are files,
folders (with the folders inside them) and patterns; `--input_list` chooses from them: a text file
with one name a line, with or without ending. `--outputs` lists what is written into OUT:
  drawn: drawn/ holds each image with its detections, under its own name (with `.jpg` behind it if
    it is no JPEG), and videos/ each video.
  dataset, results: predictions.json, coco_results.json; see `prediction.result_files`.
  voc: Annotations/ holds a PASCAL VOC file for each image, to be corrected in a labelling tool.
The detections in a video are in videos/NAME.json in any case; see `prediction.video`. All leave out
what scores less than `--score_threshold`, by default 0.5 or what an export has for each class; to
evaluate, use 0. Drawn images and videos may have a threshold of their own, `--draw_threshold`.

Images are read as the converters read them: turned upright as EXIF says, made 8-bit RGB. Files that
cannot be read, or whose results cannot be written, are listed at the end and in failures.json, and
stop nothing. Files in OUT that are not this command's own, see `written_files`, stay as they are. A
prediction that was stopped, in whatever way, resumes where it was when the same command is given
again.

Exit status: 0, done (files may have been left out); 1, an error, there is a result of not one file,
or a JSON file is lacking; 2, a flag is missing or unknown; 130, stopped with Ctrl-C.
"""

import argparse
import logging
import os
import pathlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from mtl_ssl_tf import terminal, written_files
from mtl_ssl_tf.command_line import predict as predict_flags
from mtl_ssl_tf.data import faults, progress_lines
from mtl_ssl_tf.prediction import coco_ids, images, input_files, journal, result_files
from mtl_ssl_tf.serving import saved_model_detector, score_thresholds, served_detector

_LOGGER = logging.getLogger("mtl_ssl_tf.predict")  # `__name__` is `__main__` in `python -m`.
DRAWN, VOC = "drawn", "voc"
DRAWN_FOLDER, VIDEOS_FOLDER, VOC_FOLDER = "drawn", "videos", "Annotations"
COMMAND = "predict"  # As the list of what it wrote is called.
JOURNAL_FILE = "unfinished.jsonl"
_SCORE_THRESHOLD = 0.5  # Of a detector without thresholds of its own.
_INTERRUPTED = 130  # As shells report a program that Ctrl-C ended.


def run(args: argparse.Namespace) -> int:
  """Predicts as the command line asks; returns the exit status.

  Raises:
    ValueError: an argument is not acceptable.
    OSError: the results cannot be written.
  """
  _check_numbers(args)
  output_dir = pathlib.Path(args.output_dir)
  hidden = [output_dir / DRAWN_FOLDER, output_dir / VIDEOS_FOLDER]
  inputs = input_files.find_inputs(args.input, hidden, args.input_list)
  _check_names(inputs.names, args.outputs)
  # Before any work, so that a wrong file is reported at once.
  image_ids, categories = _read_coco(args.coco_annotations, inputs.names)
  detector = _load(args)
  thresholds = _thresholds(args, detector)
  category_ids = coco_ids.own_ids(detector.class_names).category_ids
  if args.coco_annotations is not None:
    category_ids = coco_ids.choose_categories(
      args.coco_annotations, categories, detector.class_names
    )
  output_dir.mkdir(parents=True, exist_ok=True)
  settings = {
    "--input": [os.path.abspath(source) for source in args.input],
    "--input_list": args.input_list and os.path.abspath(args.input_list),
    "--outputs": sorted(args.outputs),
    "--score_threshold": thresholds,
    "--draw_threshold": args.draw_threshold,
    "--batch_size": args.batch_size,
    "--every": args.every,
    "the detector": detector.fingerprint,
  }
  with journal.Journal(
    output_dir / JOURNAL_FILE,
    settings,
    inputs.names,
    num_classes=len(detector.class_names),
    overwrite=args.overwrite,
  ) as finished:
    names = tuple(finished.names)
    _LOGGER.info(f"files: {len(names)}, classes: {', '.join(detector.class_names)}")
    if inputs.passed_over:
      kinds = [f"{ending} ({count})" for ending, count in inputs.passed_over.items()]
      _LOGGER.info(f"passed over, by their endings no image or video: {faults.listing(kinds)}")
    if finished.num_files:
      _LOGGER.info(f"resuming after {finished.num_files} of them")
    new = len(set(inputs.names) - set(names))
    if new:
      _LOGGER.info(f"{new} files came later and are left for the next time")
    if names != inputs.names:
      image_ids, _ = _read_coco(args.coco_annotations, names)
    ids = coco_ids.CocoIds(image_ids, category_ids)
    written = written_files.WrittenFiles(output_dir, COMMAND)
    for name, reason in written.obstacles(result_files.final_files(args.outputs)).items():
      _LOGGER.warning(f"{output_dir / name} cannot be written ({reason})")
    try:
      _predict(args, inputs.folder, detector, written, thresholds, finished)
      summary = result_files.write_results(
        written,
        finished.records,
        detector.class_names,
        ids,
        args.outputs,
        inputs.unreadable,
      )
    except KeyboardInterrupt:
      _LOGGER.info(
        f"stopped after {finished.num_files} of {len(names)} files; the same command resumes it"
      )
      return _INTERRUPTED
    if not summary.unwritten:
      finished.remove()
      written.tidy()
  _report(args, summary, thresholds, len(names))
  in_final_files = summary.num_images + summary.num_videos
  has_results = in_final_files if result_files.final_files(args.outputs) else summary.num_complete
  return 0 if has_results and not summary.unwritten else 1


def units(names: Sequence[str], batch_size: int) -> Iterator[list[str]]:
  """Yields the files in order: consecutive images in batches, videos by themselves."""
  batch: list[str] = []
  for name in names:
    is_video = input_files.is_video(name)
    if batch and (is_video or len(batch) == batch_size):
      yield batch
      batch = []
    if is_video:
      yield [name]
    else:
      batch.append(name)
  if batch:
    yield batch


def _predict(
  args: argparse.Namespace,
  folder: pathlib.Path,
  detector: served_detector.ServedDetector,
  written: written_files.WrittenFiles,
  thresholds: float | Mapping[str, float],
  finished: journal.Journal,
) -> None:
  """Processes the units that the journal does not have."""
  threshold = thresholds
  if isinstance(thresholds, Mapping):
    threshold = score_thresholds.in_order(thresholds, detector.class_names)
  predict_images = images.ImagePredictor(
    detector,
    folder,
    threshold,
    written,
    draw_threshold=args.draw_threshold,
    drawn_dir=DRAWN_FOLDER if DRAWN in args.outputs else None,
    voc_dir=VOC_FOLDER if VOC in args.outputs else None,
  )
  predict_video = None
  progress_line = progress_lines.Progress("predicting", len(finished.names), _LOGGER.info)
  progress_line.skip(finished.num_files)
  for number, names in enumerate(units(finished.names, args.batch_size)):
    if number < finished.num_units:
      continue
    if input_files.is_video(names[0]):
      predict_video = predict_video or _video_predictor(args, folder, detector, written, threshold)
      records = [predict_video(names[0])]
    else:
      records = predict_images(names)
    finished.add(records)
    progress_line.step(len(names))


def _video_predictor(
  args: argparse.Namespace,
  folder: pathlib.Path,
  detector: served_detector.ServedDetector,
  written: written_files.WrittenFiles,
  threshold: float | np.ndarray,
) -> Callable[[str], dict[str, Any]]:
  # Here, since it needs OpenCV, and images do not.
  from mtl_ssl_tf.prediction import video

  return video.VideoPredictor(
    detector,
    folder,
    written,
    VIDEOS_FOLDER,
    score_threshold=threshold,
    draw_threshold=args.draw_threshold,
    batch_size=args.batch_size,
    every=args.every,
    drawn=DRAWN in args.outputs,
  )


def _load(args: argparse.Namespace) -> served_detector.ServedDetector:
  if args.saved_model is not None:
    if args.checkpoint is not None:
      raise ValueError(f"--checkpoint is {args.checkpoint!r}; accepted: with --model_dir alone")
    try:
      return saved_model_detector.SavedModelDetector(args.saved_model)
    except ValueError as error:
      raise ValueError(f"--saved_model {error}") from error
  # Here, since it needs Model Garden, and a SavedModel does not.
  from mtl_ssl_tf.serving import checkpoint_detector

  detector = checkpoint_detector.CheckpointDetector(args.model_dir, args.checkpoint)
  _LOGGER.info(f"checkpoint: {detector.checkpoint} ({detector.choice})")
  return detector


def _thresholds(
  args: argparse.Namespace, detector: served_detector.ServedDetector
) -> float | dict[str, float]:
  """Returns the smallest score that is asked for, or those of the detector by class."""
  if args.score_threshold is not None:
    return args.score_threshold
  return _SCORE_THRESHOLD if detector.score_thresholds is None else detector.score_thresholds


def _check_numbers(args: argparse.Namespace) -> None:
  if args.score_threshold is not None and not 0.0 <= args.score_threshold <= 1.0:
    raise ValueError(f"--score_threshold is {args.score_threshold}; accepted: 0 to 1")
  if args.draw_threshold is not None:
    if not 0.0 <= args.draw_threshold <= 1.0:
      raise ValueError(f"--draw_threshold is {args.draw_threshold}; accepted: 0 to 1")
    if DRAWN not in args.outputs:
      raise ValueError(
        f"--draw_threshold is {args.draw_threshold}; accepted: with drawn among --outputs"
      )
  for flag in ("batch_size", "every"):
    if getattr(args, flag) < 1:
      raise ValueError(f"--{flag} is {getattr(args, flag)}; accepted: at least 1")


def _check_names(names: Sequence[str], outputs: Sequence[str]) -> None:
  """Raises ValueError if two images would be drawn into, or annotated in, the same file."""
  for output, result_name in ((DRAWN, images.drawn_name), (VOC, images.voc_name)):
    first: dict[str, str] = {}
    for name in names if output in outputs else ():
      if input_files.is_video(name):
        continue
      other = first.setdefault(result_name(name), name)
      if other != name:
        raise ValueError(
          f"--outputs {output}: {other!r} and {name!r} would both become {result_name(name)!r};"
          " accepted: images whose names differ in more than the ending"
        )


def _read_coco(
  path: str | None, names: Sequence[str]
) -> tuple[dict[str, int] | None, dict[str, int]]:
  """The ids of images and of categories in a file; of images None where there is no file."""
  if path is None:
    return None, {}
  pictures = [name for name in names if not input_files.is_video(name)]
  return coco_ids.read_image_ids(path, pictures), coco_ids.read_categories(path)


def _report(
  args: argparse.Namespace,
  summary: result_files.Summary,
  thresholds: float | Mapping[str, float],
  num_files: int,
) -> None:
  videos = f" and {summary.num_videos} videos" if summary.num_videos else ""
  of_score = "the export's scores of their classes"
  if not isinstance(thresholds, Mapping):
    of_score = f"score {thresholds:g}"
  _LOGGER.info(
    f"{args.output_dir}: {summary.num_images} images with {summary.num_detections} detections of"
    f" {of_score} and more{videos}"
  )
  if summary.failures:
    _LOGGER.info(f"left out or ended early, {len(summary.failures)} of {num_files} files:")
    for name, reason in summary.failures:
      _LOGGER.info(f"  {name}: {reason}")
  for name, reason in summary.unwritten:
    _LOGGER.error(
      f"{args.output_dir}: {name} cannot be written ({reason}); the same command, once it can be,"
      " does this alone"
    )


def main(argv: Sequence[str] | None = None) -> int:
  """Runs the command line; returns the exit status."""
  args = predict_flags.parser().parse_args(argv)
  terminal.set_up()
  try:
    return run(args)
  except (ValueError, OSError) as error:
    terminal.show_error(error)
    return 1
  except KeyboardInterrupt:
    terminal.show("stopped before the first file", sys.stderr)
    return _INTERRUPTED


if __name__ == "__main__":
  sys.exit(main())
