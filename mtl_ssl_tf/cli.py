"""The console command `mtl-ssl`: a name for each command of the package.

`mtl-ssl NAME FLAGS` is `python -m MODULE FLAGS`, with the modules of `COMMANDS`.
"""

import argparse
import difflib
import importlib
import runpy
import sys
from collections.abc import Sequence

from mtl_ssl_tf import __version__, command_line, terminal
from mtl_ssl_tf.command_line import completion

NAME = "mtl-ssl"
# Command -> module, what it does.
COMMANDS = {
  "synthetic": ("mtl_ssl_tf.data.synthetic", "draw a small data set to try commands on"),
  "convert-voc": ("mtl_ssl_tf.data.pascal_voc", "PASCAL VOC folder to records"),
  "convert-coco": ("mtl_ssl_tf.data.coco_json", "COCO annotation file to records"),
  "import-any": ("mtl_ssl_tf.data.import_any", "YOLO, CVAT and other data sets to records"),
  "convert-beam": ("mtl_ssl_tf.data.beam_conversion", "either of them on many machines"),
  "validate": ("mtl_ssl_tf.data.validate", "list what is wrong with a data set"),
  "sparse-annotations": ("mtl_ssl_tf.data.sparse_annotations", "erase annotations on purpose"),
  "composites": (
    "mtl_ssl_tf.visualization.composites",
    "draw what pretraining makes of images",
  ),
  "suggest": ("mtl_ssl_tf.suggest", "write a configuration that suits the data"),
  "browse": ("mtl_ssl_tf.data.browse", "show training images as the network is fed them"),
  "train": ("mtl_ssl_tf.train", "train and evaluate a detector"),
  "curves": ("mtl_ssl_tf.visualization.curves", "draw the losses and metrics of a run"),
  "replay": ("mtl_ssl_tf.tasks.replay", "repeat a step whose loss was not finite"),
  "import-reference": (
    "mtl_ssl_tf.checkpoints.import_reference",
    "the authors' checkpoint to a run",
  ),
  "export": ("mtl_ssl_tf.export", "run to SavedModel"),
  "export-lite": ("mtl_ssl_tf.serving.lite", "run to TensorFlow Lite file"),
  "export-step": ("mtl_ssl_tf.export_step", "compiled step to StableHLO"),
  "predict": ("mtl_ssl_tf.predict", "detect objects in images and videos"),
  "explain": ("mtl_ssl_tf.explain", "show what refinement did to the detections of an image"),
  "evaluate": ("mtl_ssl_tf.evaluate", "evaluate result files of any detector"),
  "report": ("mtl_ssl_tf.report", "one page about a trained detector, to look at"),
  "audit-labels": ("mtl_ssl_tf.audit_labels", "list objects that annotations probably lack"),
  "compare": ("mtl_ssl_tf.compare", "train configurations side by side and compare them"),
  "preflight": ("mtl_ssl_tf.preflight", "check whether a run would fit on an accelerator"),
}


# Commands that also take flags of libraries, which only these know.
_OPEN = ("train", "convert-beam")


def main(argv: Sequence[str] | None = None) -> int:
  """Runs the command line; returns the exit status."""
  name, *flags = (sys.argv[1:] if argv is None else argv) or ["--help"]
  if name in _ABOUT:
    print(_ABOUT[name]())
    return 0
  if name not in COMMANDS:
    nearest = difflib.get_close_matches(name, [*COMMANDS, *_ABOUT], 1, 0.0)[0]
    print(f"{NAME}: no command {name!r}; did you mean {nearest}?", file=sys.stderr)
    return 2
  terminal.prepare()
  if name not in _OPEN or "--help" in flags:
    # First, as the command itself may have to wait for TensorFlow.
    _parser(name).parse_args(flags)
  command_line.call(f"{NAME} {name}")
  sys.argv[1:] = flags
  runpy.run_module(COMMANDS[name][0], run_name="__main__", alter_sys=True)
  return 0


def _parser(name: str) -> argparse.ArgumentParser:
  command_line.call(f"{NAME} {name}")
  module = importlib.import_module(f"{command_line.__name__}.{name.replace('-', '_')}")
  return module.parser()


def _help() -> str:
  width = max(map(len, COMMANDS))
  return "\n".join(
    [
      f"usage: {NAME} COMMAND [flags]",
      "",
      *(f"  {name:{width}}  {about}" for name, (_, about) in COMMANDS.items()),
      "",
      f"{NAME} COMMAND --help lists a command's flags, {NAME} --version prints the version, and",
      f'eval "$({NAME} --completion)" lets bash complete commands and flags.',
    ]
  )


def _version() -> str:
  return f"{NAME} {__version__}"


def _completion() -> str:
  return completion.bash({name: _parser(name).format_help() for name in COMMANDS})


_ABOUT = {"--help": _help, "-h": _help, "--version": _version, "--completion": _completion}


if __name__ == "__main__":
  sys.exit(main())
