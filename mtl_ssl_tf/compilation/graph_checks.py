"""Finds what keeps a traced step from compiling: unknown shapes, ops that XLA cannot run."""

import collections
import os
from collections.abc import Iterator

import tensorflow as tf
from tensorflow.compiler.xla.service import hlo_pb2
from tensorflow.python.framework import kernels

from mtl_ssl_tf.compilation.findings import FAILURE, WARNING, Finding

# XLA's ops for CPUs; those for TPUs are not in TensorFlow's packages. The two differ in a few ops
# that this step does not use.
_XLA_DEVICE = "XLA_CPU_JIT"
# The arguments of a graph; they are no operations.
_ARGUMENTS = ("Placeholder", "_Arg")
_FIELD_OF_OP = {
  "CropAndResize": ("runtime.crop_method", "auto or matmul"),
  "CropAndResizeGradImage": ("runtime.crop_method", "auto or matmul"),
  "CropAndResizeGradBoxes": ("runtime.crop_method", "auto or matmul"),
}
# From this output on, room for a kernel's own use, whose size nobody knows; XLA makes none.
_RESERVED_OUTPUTS = {"FusedBatchNormV3": 5}
_PACKAGE = f"{os.sep}mtl_ssl_tf{os.sep}"


def check(graph: tf.Graph) -> list[Finding]:
  """Findings on a traced function's graph and all functions that it calls.

  Shapes that are not known in the graph are warnings; inputs and host ops are in the way.
  """
  return [*dynamic_inputs(graph), *dynamic_shapes(graph), *host_ops(graph)]


def dynamic_inputs(graph: tf.Graph) -> list[Finding]:
  """A finding for each input of the graph whose shape is not fully known."""
  return [
    Finding(
      FAILURE,
      "dynamic_shape",
      "task.train_data.input_size",
      f"input {tensor.op.name} has the shape {tensor.shape}",
      "batches of static shape",
    )
    for tensor in graph.inputs
    if tensor.dtype not in (tf.resource, tf.variant) and not tensor.shape.is_fully_defined()
  ]


def dynamic_shapes(graph: tf.Graph) -> list[Finding]:
  """A finding for each place in the code that makes tensors whose shape is not known in the graph.

  XLA may still find the shape, from others that are known; `dynamic_dimensions` finds out.
  """
  found = collections.defaultdict(list)
  inputs = {id(tensor) for tensor in graph.inputs}
  for operation in operations(graph):
    for tensor in operation.outputs:
      if tensor.dtype in (tf.resource, tf.variant) or tensor.shape.is_fully_defined():
        continue
      # Loops have arguments that nobody uses, without a shape; the graph's own were reported above.
      if id(tensor) in inputs or (operation.type in _ARGUMENTS and not tensor.consumers()):
        continue
      if not _is_reserved(tensor):
        found[operation.type, _place(operation)].append(str(tensor.shape))
  return [
    Finding(
      WARNING,
      "dynamic_shape",
      "",
      f"{type_} at {place} makes tensors of shape {shapes[0]} ({len(shapes)})",
      "shapes that follow from the configuration alone",
    )
    for (type_, place), shapes in found.items()
  ]


def dynamic_dimensions(program: hlo_pb2.HloProto) -> list[Finding]:
  """A finding for each op whose result has another size from step to step in XLA's program.

  A TPU reserves the largest size for it and, where there is no largest, fails.
  """
  found = collections.Counter()
  for computation in program.hlo_module.computations:
    for instruction in computation.instructions:
      if any(instruction.shape.is_dynamic_dimension):
        found[instruction.metadata.op_type or instruction.opcode, instruction.metadata.op_name] += 1
  return [
    Finding(
      FAILURE,
      "dynamic_shape",
      "",
      f"{type_} {name} has a size that the data decide ({count})",
      "shapes that follow from the configuration alone",
    )
    for (type_, name), count in found.items()
  ]


def host_ops(graph: tf.Graph) -> list[Finding]:
  """A finding for each kind of op that XLA has no kernel for, at each place in the code."""
  compiled = compiled_op_types()
  found = collections.Counter()
  for operation in operations(graph):
    if operation.type not in compiled and operation.type not in _ARGUMENTS:
      found[operation.type, _place(operation)] += 1
  findings = []
  for (type_, place), count in found.items():
    field, accepted = _FIELD_OF_OP.get(type_, ("", "an op that XLA compiles"))
    findings.append(
      Finding(FAILURE, "host_op", field, f"{type_} at {place} runs on the host ({count})", accepted)
    )
  return findings


def compiled_op_types() -> frozenset[str]:
  """The ops that XLA has a kernel for."""
  # The kernels come with the first function that is compiled.
  tf.function(lambda x: x + 1.0, jit_compile=True, autograph=False)(tf.constant(0.0))
  registered = kernels.get_all_registered_kernels().kernel
  return frozenset(kernel.op for kernel in registered if kernel.device_type == _XLA_DEVICE)


def operations(graph: tf.Graph) -> Iterator[tf.Operation]:
  """Every operation of a graph and of the functions that it calls, each function once."""
  yield from _operations(graph, set())


def _operations(graph: tf.Graph, seen: set[str]) -> Iterator[tf.Operation]:
  for operation in graph.get_operations():
    yield operation
    for attribute in operation.node_def.attr.values():
      called = [attribute.func] if attribute.HasField("func") else attribute.list.func
      for name in (function.name for function in called):
        if name and name not in seen:
          seen.add(name)
          yield from _operations(graph._get_function(name).graph, seen)


def _is_reserved(tensor: tf.Tensor) -> bool:
  operation = tensor.op
  if operation.type == "ZerosLike":  # The gradient of such an output.
    tensor = operation.inputs[0]
  first = _RESERVED_OUTPUTS.get(tensor.op.type)
  return first is not None and tensor.value_index >= first


def _place(operation: tf.Operation) -> str:
  """File and line of this package that made the operation, or its name."""
  frames = [frame for frame in operation.traceback or () if _PACKAGE in frame.filename]
  if not frames:
    return operation.name
  file = frames[-1].filename.rsplit(_PACKAGE, 1)[1]
  return f"mtl_ssl_tf/{file}:{frames[-1].lineno}"
