"""Shared parts of the converters' commands: flags, outcome and exit status."""

import argparse
import sys
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from mtl_ssl_tf import terminal
from mtl_ssl_tf.data import faults
from mtl_ssl_tf.data.records import worker_pool
from mtl_ssl_tf.data.sources import annotated

_INTERRUPTED = 130  # As shells have it for a program that Ctrl-C ended.


def options(flags: argparse.Namespace) -> dict[str, Any]:
  """Returns the flags of `command_line.conversion` by the fields of `conversion.Options`."""
  return {
    "output_dir": flags.output_dir,
    "label_map_file": flags.label_map,
    "on_error": flags.on_error,
    "clip_px": flags.clip_px,
    "ignore_faulty_boxes": flags.ignore_faulty_boxes,
    "num_shards": flags.num_shards,
    "workers": flags.workers,
    "annotated_classes": annotated_classes(flags),
  }


def annotated_classes(flags: argparse.Namespace) -> tuple[str, ...] | None:
  """Returns the class names of `command_line.conversion.add_annotated_classes`.

  Raises:
    ValueError: a name is empty or repeated.
  """
  text = flags.annotated_classes
  return None if text is None else annotated.class_list(text)


def run(convert: Callable[[], object]) -> int:
  """Converts, prints errors, and returns the exit status."""
  terminal.set_up()
  try:
    convert()
  except faults.FaultError as error:
    num_files = len({fault.file for fault in error.faults})
    terminal.show(
      f"{error}\nerror: faults: {len(error.faults)}, in files: {num_files}; nothing was written."
      " Fix them, or leave out what is at fault with --on_error=skip",
      sys.stderr,
    )
    return 1
  except (ValueError, OSError, worker_pool.WorkerError, tf.errors.OpError) as error:
    terminal.show_error(error)
    return 1
  except KeyboardInterrupt:
    terminal.show("stopped; the same command continues from here", sys.stderr)
    return _INTERRUPTED
  return 0
