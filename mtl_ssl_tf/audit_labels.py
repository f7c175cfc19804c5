"""Lists objects that annotations probably lack, and boxes that are probably wrong, best first.

  python -m mtl_ssl_tf.audit_labels --data records/train-* --model_dir runs/mine --output_dir audit
  python -m mtl_ssl_tf.audit_labels --data VOCdevkit/VOC2007 --split train --folds 4 \\
      --config_file configs/own_data.yaml --output_dir audit
  python -m mtl_ssl_tf.audit_labels --data train.json --image_dir images \\
      --predictions coco_results.json --output_dir audit
  python -m mtl_ssl_tf.audit_labels --data records/train-* --output_dir audit \\
      --accept decisions.json

Written to the folder: audit.html, a page on which candidates are accepted or rejected, audit.json
and audit.csv, cvat.xml and label_studio.json. The last command writes corrected annotations to
`corrected/`. See docs/label_audit.md.
"""

import argparse
import logging
import pathlib
import shlex
import signal
import sys
from collections.abc import Sequence

from mtl_ssl_tf import command_line, files, terminal, written_files
from mtl_ssl_tf.command_line import audit_labels as audit_labels_flags

_LOGGER = logging.getLogger("mtl_ssl_tf.audit_labels")  # `__name__` is `__main__` in `python -m`.
JSON_FILE, CSV_FILE, PAGE_FILE = "audit.json", "audit.csv", "audit.html"
CVAT_FILE, LABEL_STUDIO_FILE = "cvat.xml", "label_studio.json"
FILES = (JSON_FILE, CSV_FILE, PAGE_FILE, CVAT_FILE, LABEL_STUDIO_FILE)
CORRECTED, RECORDS, DETECTIONS, FOLDS = "corrected", "records", "detections", "folds"
COMMAND = "audit_labels"  # As the list of what it wrote is called.
_MAX_SHOWN, _MAX_LISTED = 2000, 1_000_000
_OF_FOLDS = ("config_file", "params_override", "init", "steps", "seed")


def run(args: argparse.Namespace, command: str) -> bool:
  """Audits, or corrects annotations, as the command line says.

  Args:
    args: of the command line.
    command: it, for the page.

  Returns:
    Whether all went well.

  Raises:
    ValueError: an argument, a file or a run is not acceptable.
    OSError: a file cannot be read or written.
  """
  _check(args)
  # TensorFlow comes with it.
  from mtl_ssl_tf.auditing import inputs

  output_dir = pathlib.Path(args.output_dir).resolve()
  if not args.accept:
    written_files.WrittenFiles(output_dir, COMMAND).check(FILES)
  data = inputs.obtain(
    args.data,
    output_dir / RECORDS,
    split=args.split,
    image_dir=args.image_dir,
    label_map_file=args.label_map,
    on_error=args.on_error,
  )
  num_objects = sum(len(image.classes) for image in data.truth.images)
  _LOGGER.info(
    f"{args.data}: {len(data.truth.images)} images, {num_objects} boxes,"
    f" {len(data.truth.class_names)} classes"
  )
  if args.accept:
    _correct(args, data, output_dir)
    return True
  found = _detections(args, data, output_dir)
  if found is None:
    return False
  _audit(args, command, data, found, output_dir)
  return True


def _check(args: argparse.Namespace) -> None:
  """Raises a ValueError for arguments that do not go together."""
  if not (args.model_dir or args.predictions or args.folds is not None or args.accept):
    raise ValueError(
      "no detections; accepted: one of --model_dir, --predictions and --folds, or --accept"
    )
  for flag, limit in (("num_shown", _MAX_SHOWN), ("num_listed", _MAX_LISTED)):
    if not 0 <= getattr(args, flag) <= limit:
      raise ValueError(f"--{flag} is {getattr(args, flag)}; accepted: 0 to {limit}")
  if args.folds is not None and not args.config_file:
    raise ValueError(f"--folds {args.folds}: nothing to train; accepted: with --config_file")
  given = {flag: getattr(args, flag) for flag in _OF_FOLDS if args.folds is None}
  given |= {"checkpoint": None if args.model_dir else args.checkpoint}
  given |= {"ids_of": None if args.predictions else args.ids_of}
  given |= {"format": None if args.accept else args.format}
  owners = dict.fromkeys(_OF_FOLDS, "folds")
  owners |= {"checkpoint": "model_dir", "ids_of": "predictions", "format": "accept"}
  for flag, value in given.items():
    if value:
      raise ValueError(f"--{flag} {value}: has no use here; accepted: with --{owners[flag]}")
  if args.model_dir and not pathlib.Path(args.model_dir).is_dir():
    raise ValueError(
      f"--model_dir {args.model_dir!r} is no folder; accepted: that of a training run"
    )


def _detections(args: argparse.Namespace, data, output_dir: pathlib.Path) -> list | None:
  """Returns the detections in each image; None where a training failed."""
  from mtl_ssl_tf import registry_imports  # noqa: F401
  from mtl_ssl_tf.auditing import detectors
  from mtl_ssl_tf.data.ground_truth import detection_files

  if args.predictions:
    return detection_files.read_predictions(args.predictions, data.truth, args.ids_of)
  if args.model_dir:
    return detectors.of_run(args.model_dir, args.checkpoint, data, output_dir / DETECTIONS)
  from mtl_ssl_tf import compare

  folder = output_dir / FOLDS
  arms = detectors.plan(data, folder, args.folds, args.config_file, args.params_override, args.seed)
  resolved = {arm.name: compare.resolve(arm, args.experiment) for arm in arms}
  folds = detectors.claim(
    arms,
    resolved,
    data,
    folder,
    args.seed,
    steps=args.steps,
    init=args.init,
    experiment=args.experiment,
  )
  if compare.carry_out(folds.runs, folds.schedule, args.jobs):
    return None
  found = detectors.of_folds(folds, data.truth)
  detectors.write_results(folder, data.truth, found)
  return found


def _audit(
  args: argparse.Namespace, command: str, data, found: Sequence, output_dir: pathlib.Path
) -> None:
  """Writes list and page."""
  from mtl_ssl_tf.auditing import candidates, exports, inputs, listing, page, pictures
  from mtl_ssl_tf.comparison import report as comparison_report
  from mtl_ssl_tf.data import progress_lines

  truth = data.truth
  if not sum(len(detections.scores) for detections in found):
    raise ValueError("there is no detection in any image; accepted: detections down to low scores")
  progress = progress_lines.Progress("comparing images", 2 * len(found), _LOGGER.info)
  limit = max(args.num_listed, args.num_shown)
  audit = candidates.find(truth, found, data.regions, progress.step, limit)
  listed = listing.rows(truth, audit.candidates[: args.num_listed])
  shown = listed[: args.num_shown]
  wanted: dict[int, list] = {}
  for candidate, row in zip(audit.candidates, shown, strict=False):
    wanted.setdefault(candidate.image, []).append(row)
  progress = progress_lines.Progress("drawing candidates", len(shown), _LOGGER.info)
  drawn = {}
  for place, encoded in inputs.encoded_images(data.records, wanted.keys()) if wanted else ():
    for row in wanted[place]:
      picture = pictures.draw(truth.images[place], row, encoded)
      if picture is not None:
        drawn[row["id"]] = picture
      progress.step()
  about = {
    "data": args.data,
    "images": len(truth.images),
    "boxes": sum(len(image.classes) for image in truth.images),
    "detections": args.model_dir or args.predictions or f"{args.folds} folds",
    "share_of_objects_with_a_box_as_estimated": round(audit.calibration.annotated_share, 3),
    **comparison_report.about(command),
  }
  title = f"Audit of {args.data}"
  cvat, left_out = exports.cvat(truth, shown)
  contents = {
    JSON_FILE: listing.as_json(about, data.fingerprint, listed).encode(),
    CSV_FILE: listing.as_csv(listed).encode(),
    PAGE_FILE: page.page(title, data.fingerprint, shown, drawn, about, audit.num_candidates),
    CVAT_FILE: cvat,
    LABEL_STUDIO_FILE: exports.label_studio(truth, shown, args.image_url),
  }
  output_dir.mkdir(parents=True, exist_ok=True)
  with written_files.WrittenFiles(output_dir, COMMAND).replacing_all(FILES):
    for name, content in contents.items():
      files.write_bytes(output_dir / name, content)
  if left_out:
    _LOGGER.warning(f"{CVAT_FILE}: without {len(left_out)} images, as XML cannot hold their names")
  counts = {kind: sum(row["kind"] == kind for row in shown) for kind in candidates.KINDS}
  told = ", ".join(f"{kind.replace('_', ' ')} {count}" for kind, count in counts.items())
  _LOGGER.info(f"{output_dir / PAGE_FILE}: {len(shown)} candidates ({told})")


def _correct(args: argparse.Namespace, data, output_dir: pathlib.Path) -> None:
  """Writes corrected annotations."""
  from mtl_ssl_tf.auditing import corrections, inputs, listing
  from mtl_ssl_tf.data import progress_lines

  listed = listing.read(output_dir / JSON_FILE, data.fingerprint)
  accepted = listing.read_accepted(args.accept, listed, data.fingerprint)
  changed = corrections.apply(data.truth, accepted, str(output_dir / JSON_FILE))
  folder = output_dir / CORRECTED
  if folder.exists() and any(folder.iterdir()):
    raise ValueError(f"--output_dir: {str(folder)!r} is not empty; accepted: none, or an empty one")
  kind = args.format or (inputs.VOC if data.kind == inputs.VOC else inputs.COCO)
  write = {inputs.VOC: corrections.write_voc, inputs.COCO: corrections.write_coco}[kind]
  progress = progress_lines.Progress("writing images", len(changed.images), _LOGGER.info)
  with files.new_folder(folder) as new:
    new.mkdir()
    write(new, changed, inputs.encoded_images(data.records), progress.step)
  if data.regions:
    _LOGGER.warning(
      f"{len(data.regions)} images have regions to be ignored, which the corrected annotations lack"
    )
  flags = f"convert-voc --data_dir {folder} --split {corrections.SPLIT}"
  if kind == inputs.COCO:
    image_dir, annotations = folder / "images", folder / corrections.COCO_FILE
    flags = f"convert-coco --annotations {annotations} --image_dir {image_dir}"
    flags += f" --split {corrections.SPLIT}"
  _LOGGER.info(
    f"{len(accepted)} candidates accepted; convert: mtl-ssl {flags} --output_dir records"
  )


def main(argv: Sequence[str] | None = None) -> int:
  """Runs the command line; returns the exit status."""
  args = audit_labels_flags.parser().parse_args(argv)
  command_line.prepare_tensorflow()
  import tensorflow as tf

  from mtl_ssl_tf.data import faults

  terminal.set_up()
  signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
  given = sys.argv[1:] if argv is None else argv
  try:
    succeeded = run(args, shlex.join(["python", "-m", "mtl_ssl_tf.audit_labels", *given]))
  except faults.FaultError as error:
    terminal.show(
      f"{error}\nerror: faults: {len(error.faults)}; nothing was audited;"
      " --on_error=skip leaves them out",
      sys.stderr,
    )
    return 1
  except (ValueError, OSError, tf.errors.OpError) as error:
    terminal.show_error(error)
    return 1
  except KeyboardInterrupt:
    return 130
  return int(not succeeded)


if __name__ == "__main__":
  sys.exit(main())
