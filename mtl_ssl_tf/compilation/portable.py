"""Writes a compiled step as files that run without TensorFlow: StableHLO, inputs and names.

step.mlir    the program; arguments and results are numbered
names.json   what each argument and result is
inputs.npz   arrays arg0, arg1, …: a batch and the weights
"""

import dataclasses
import json
import logging
import os
import pathlib
import re
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.compiler.xla.service import hlo_pb2

from mtl_ssl_tf import files
from mtl_ssl_tf.compilation import step_program

_LOGGER = logging.getLogger(__name__)
PROGRAM_FILE, NAMES_FILE, INPUTS_FILE = "step.mlir", "names.json", "inputs.npz"
# Before 2025 the bits of a mask were packed, since then each takes a byte; written out in words
# they mean the same to every reader.
_PACKED_MASK = re.compile(r'dense<"0x([0-9A-F]*)"> : tensor<([0-9x]*)xi1>')
# Places in the source are of no use elsewhere, and reveal this machine's folders.
_SOURCE_FILE = re.compile(r'"[^"\n]*/([^"/\n]*)"(:\d+:\d+)')


@dataclasses.dataclass(frozen=True)
class Result:
  """One result of the program.

  Attributes:
    name: of a loss or other output, or of the variable whose new value it is.
    argument: number of that variable's argument; None of an output.
    shape: static.
    dtype: of the values.
  """

  name: str
  argument: int | None
  shape: tuple[int, ...]
  dtype: tf.DType


def check_output_dir(output_dir: str) -> None:
  """Refuses a folder that is not empty or cannot be written to.

  Raises:
    ValueError: in these cases.
  """
  path = pathlib.Path(output_dir)
  accepted = "accepted: a folder that is new or empty"
  if os.path.lexists(path) and not path.is_dir():
    raise ValueError(f"--output_dir {output_dir!r} is a file; {accepted}")
  try:
    if path.is_dir() and any(path.iterdir()):
      raise ValueError(f"--output_dir {output_dir!r} is not empty; {accepted}")
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent):
      pass
  except OSError as error:
    raise ValueError(
      f"--output_dir {output_dir!r} cannot be written to ({error.strerror}); {accepted}"
    ) from error


def program_text(program: step_program.StepProgram, batch: Any) -> str:
  """The step as StableHLO that any version of XLA from 2024 on reads.

  Raises:
    step_program.CompileError: XLA does not compile it.
  """
  text = program.export(batch, "stablehlo")
  return _SOURCE_FILE.sub(r'"\1"\2', _PACKED_MASK.sub(_mask_in_words, text))


def results(
  program: step_program.StepProgram, batch: Any, arguments: Sequence[step_program.Argument]
) -> list[Result]:
  """Returns a description of each of the program's results, in their order.

  Raises:
    step_program.CompileError: XLA does not compile the step, or not as is known here.
  """
  module = hlo_pb2.HloModuleProto.FromString(program.export(batch, "hlo_serialized"))
  shapes = module.host_program_shape
  if len(shapes.parameters) != len(arguments):
    raise step_program.CompileError(
      f"the program has {len(shapes.parameters)} arguments; accepted: {len(arguments)}"
    )
  whole = shapes.result
  parts = whole.tuple_shapes if whole.tuple_shapes else [whole]
  outputs = program.trace(batch).structured_outputs
  found = {
    number: Result(name, None, tuple(outputs[name].shape), outputs[name].dtype)
    for number, name in enumerate(sorted(outputs))  # As TensorFlow flattens a dict.
  }
  for entry in module.input_output_alias.entries:
    number = entry.output_shape_index[0] if entry.output_shape_index else 0
    argument = arguments[entry.parameter_number]
    found[number] = Result(argument.name, entry.parameter_number, argument.shape, argument.dtype)
  if sorted(found) != list(range(len(parts))):
    raise step_program.CompileError(
      f"the program has {len(parts)} results; accepted: {len(found)}, the step's and its variables"
    )
  return [found[number] for number in range(len(parts))]


def description(
  arguments: Sequence[step_program.Argument], found: Sequence[Result], about: Mapping[str, Any]
) -> dict[str, Any]:
  """The content of `names.json`: `about`, and each argument and result by its number."""
  updates = {
    result.argument: number for number, result in enumerate(found) if result.argument is not None
  }
  return {
    **about,
    "arguments": [
      {
        "name": argument.name,
        "kind": argument.kind,
        "shape": argument.shape,
        "dtype": argument.dtype.name,
        "new_value": updates.get(number),
      }
      for number, argument in enumerate(arguments)
    ],
    "results": [
      {
        "name": result.name,
        "argument": result.argument,
        "shape": result.shape,
        "dtype": result.dtype.name,
      }
      for result in found
    ],
  }


def values(arguments: Sequence[step_program.Argument], batch: Any) -> dict[str, np.ndarray]:
  """The arguments' values as they are now, by the names that `inputs.npz` has.

  Those of 16 bits that NumPy does not know, bfloat16, come as float32.
  """
  variables = [argument for argument in arguments if argument.kind != step_program.BATCH]
  tensors = [*tf.nest.flatten(batch), *step_program.read(variables)]
  return {
    f"arg{number}": (tf.cast(tensor, tf.float32) if tensor.dtype == tf.bfloat16 else tensor).numpy()
    for number, tensor in enumerate(tensors)
  }


def write(
  output_dir: str,
  text: str,
  names: Mapping[str, Any],
  inputs: Mapping[str, np.ndarray] | None,
) -> None:
  """Writes the files, all or none.

  Raises:
    ValueError: the folder cannot be written to.
  """
  path = pathlib.Path(output_dir)
  try:
    with files.new_folder(path) as folder:
      folder.mkdir()
      (folder / PROGRAM_FILE).write_text(text, encoding="utf-8")
      (folder / NAMES_FILE).write_text(json.dumps(names, indent=1) + "\n", encoding="utf-8")
      if inputs is not None:
        np.savez(folder / INPUTS_FILE, **inputs)
      sizes = [f"{file.name} {file.stat().st_size} bytes" for file in sorted(folder.iterdir())]
  except OSError as error:
    reason = error.strerror or str(error)
    raise ValueError(f"--output_dir {output_dir!r} cannot be written to ({reason})") from error
  _LOGGER.info(f"{output_dir}: {', '.join(sizes)}")


def _mask_in_words(match: re.Match) -> str:
  shape = [int(size) for size in match[2].split("x")]
  packed = np.frombuffer(bytes.fromhex(match[1]), np.uint8)
  bits = np.unpackbits(packed, count=int(np.prod(shape)), bitorder="little").reshape(shape)
  words = np.array2string(
    bits.astype(bool), separator=",", threshold=bits.size + 1, max_line_width=2**31
  )
  words = "".join(words.split()).replace("True", "true").replace("False", "false")
  return f"dense<{words}> : tensor<{match[2]}xi1>"
