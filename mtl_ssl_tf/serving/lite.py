"""Exports a detector as a TensorFlow Lite file, compared with its checkpoint beforehand.

  python -m mtl_ssl_tf.serving.lite --model_dir runs/NAME --output NAME.tflite

The file has one function, of one padded image (`DetectionModule.detect_canvases`, B = 1):
whoever calls it resizes and pads as `data/pipeline/fitting.py` does. Regions are cut out by
matrix products, which need none of TensorFlow's own kernels besides those of TensorFlow Lite.
"""

import logging
import sys
from collections.abc import Sequence

import tensorflow as tf

from mtl_ssl_tf import files, terminal
from mtl_ssl_tf.command_line import export_lite as export_lite_flags
from mtl_ssl_tf.serving import detection_module, export_lib, verification

_LOGGER = logging.getLogger("mtl_ssl_tf.serving.lite")  # `__name__` is `__main__` in `python -m`.


def convert(module: detection_module.DetectionModule) -> bytes:
  """The TensorFlow Lite file of a module that serves one image at a time."""
  function = module.detect_canvases.get_concrete_function()
  converter = tf.lite.TFLiteConverter.from_concrete_functions([function], module)
  converter.target_spec.supported_ops = [
    tf.lite.OpsSet.TFLITE_BUILTINS,
    tf.lite.OpsSet.SELECT_TF_OPS,  # For whatever a backbone may need.
  ]
  return converter.convert()


def write(
  model_dir: str,
  output: str,
  *,
  checkpoint: str | None = None,
  verify_images: int = export_lib.VERIFY_IMAGES,
) -> None:
  """Writes the file of a run's best checkpoint, if it detects what the checkpoint does.

  Args:
    model_dir, checkpoint: as in `export_lib.export_run`.
    output: path of the file.
    verify_images: number of evaluation images to compare on; 0 does not compare.

  Raises:
    ValueError: something is missing or not acceptable, or the two differ.
    OSError: the file cannot be written.
  """
  run = export_lib.read_run(model_dir, checkpoint)
  if verify_images < 0:
    raise ValueError(f"--verify_images is {verify_images}; accepted: at least 0")
  if verify_images and not verification.has_records(run.task.validation_data):
    raise ValueError("--verify_images: no evaluation data available; accepted: 0 to do without")
  options = export_lib.Options(batch_size=1, crop_method="matmul")
  content = convert(export_lib.build_module(run, options=options))
  if verify_images:
    runner = tf.lite.Interpreter(model_content=content).get_signature_runner()

    def ask(_, canvases, sizes_px, original_sizes):
      return runner(
        canvases=canvases.numpy(), sizes_px=sizes_px.numpy(), original_sizes=original_sizes.numpy()
      )

    report = verification.compare(
      export_lib.build_model(run),
      ask,
      run.task,
      run.class_names,
      num_images=verify_images,
    )
    _LOGGER.info(str(report))
    if not report.agrees:
      raise ValueError(f"the file differs from its checkpoint and is not written: {report}")
  files.write_bytes(output, content)
  _LOGGER.info(f"TensorFlow Lite: {output} ({len(content) / 2**20:.1f} MiB)")


def main(argv: Sequence[str] | None = None) -> int:
  """Runs the command line; returns the exit status."""
  args = export_lite_flags.parser().parse_args(argv)
  terminal.set_up(info_on_stdout=True)
  try:
    write(args.model_dir, args.output, checkpoint=args.checkpoint, verify_images=args.verify_images)
  except (ValueError, OSError) as error:
    terminal.show_error(error)
    return 1
  return 0


if __name__ == "__main__":
  sys.exit(main())
