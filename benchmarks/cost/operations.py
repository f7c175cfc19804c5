"""Arithmetic and memory traffic of a traced function, counted from its graph's static shapes.

Convolutions, depthwise convolutions, matrix products and their gradients; 2 FLOP for a multiply
and an add. Taps that fall on padding are counted, as is customary.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf


class Count(NamedTuple):
  """The counts of a function's ops.

  Attributes:
    flops: 2 for each multiply-add.
    num_bytes: inputs, weights and outputs of every counted op, each once.
    num_ops: counted ops.
  """

  flops: int = 0
  num_bytes: int = 0
  num_ops: int = 0


def count(
  graph: tf.Graph,
  inputs: Sequence[tf.Tensor] = (),
  outputs: Sequence[tf.Tensor] | None = None,
) -> Count:
  """Counts the ops of a function's graph that its results or side effects need.

  Args:
    graph: of the function.
    inputs: tensors of the graph that are given, so that what makes them does not count.
    outputs: tensors of the graph that are wanted; None is the function's own and its side effects.

  Raises:
    ValueError: a shape is not static, or counted ops lie in a loop or in a branch, where nobody
      knows how often they run.
  """
  total = Count()
  for op in _needed(graph, inputs, outputs):
    if op.type in _FLOPS:
      found = Count(_FLOPS[op.type](op), _bytes(op), 1)
    elif op.type in ("PartitionedCall", "StatefulPartitionedCall"):
      found = count(_body(graph, op.get_attr("f").name))
    else:
      _refuse_hidden(graph, op)
      continue
    total = Count(*(a + b for a, b in zip(total, found, strict=True)))
  return total


def of_type(
  graph: tf.Graph,
  kind: str,
  inputs: Sequence[tf.Tensor] = (),
  outputs: Sequence[tf.Tensor] | None = None,
) -> list[tf.Operation]:
  """Returns the needed ops of a type; arguments as of `count`."""
  found = []
  for op in _needed(graph, inputs, outputs):
    if op.type == kind:
      found.append(op)
    elif op.type in ("PartitionedCall", "StatefulPartitionedCall"):
      found += of_type(_body(graph, op.get_attr("f").name), kind)
  return found


def _needed(
  graph: tf.Graph,
  inputs: Sequence[tf.Tensor] = (),
  outputs: Sequence[tf.Tensor] | None = None,
) -> list[tf.Operation]:
  """Returns the ops that results need: unused gradients are traced, but pruned before running."""
  given = {tensor.name for tensor in inputs}
  # Whoever waits for them does not need them made.
  makers = {tensor.op.name for tensor in inputs}
  stack = [tensor.op for tensor in (graph.outputs if outputs is None else outputs)]
  stack += graph.control_outputs if outputs is None else []
  seen = {}
  while stack:
    op = stack.pop()
    if op.name not in seen:
      seen[op.name] = op
      stack += [tensor.op for tensor in op.inputs if tensor.name not in given]
      stack += [waited for waited in op.control_inputs if waited.name not in makers]
  return list(seen.values())


def _body(graph: tf.Graph, name: str) -> tf.Graph:
  return graph._get_function(name).graph


def _refuse_hidden(graph: tf.Graph, op: tf.Operation) -> None:
  for attribute in ("body", "cond", "then_branch", "else_branch"):
    if attribute in op.node_def.attr and op.node_def.attr[attribute].HasField("func"):
      inside = count(_body(graph, op.node_def.attr[attribute].func.name))
      if inside.num_ops:
        raise ValueError(
          f"{op.name} ({op.type}) holds {inside.num_ops} counted ops; accepted: none in loops"
          " and branches"
        )


def _shape(tensor: tf.Tensor) -> list[int]:
  if not tensor.shape.is_fully_defined():
    raise ValueError(f"{tensor.name} has shape {tensor.shape}; accepted: a static shape")
  return tensor.shape.as_list()


def _size(tensor: tf.Tensor) -> int:
  return math.prod(_shape(tensor))


def _bytes(op: tf.Operation) -> int:
  return sum(_size(tensor) * tensor.dtype.size for tensor in (*op.inputs, *op.outputs))


def _convolution(op: tf.Operation) -> int:
  height, width, depth, _ = _shape(op.inputs[1])
  return 2 * _size(op.outputs[0]) * height * width * depth


def _convolution_input_gradient(op: tf.Operation) -> int:
  height, width, depth, _ = _shape(op.inputs[1])
  return 2 * _size(op.inputs[2]) * height * width * depth


def _convolution_kernel_gradient(op: tf.Operation) -> int:
  height, width, depth, _ = _shape(op.outputs[0])
  return 2 * _size(op.inputs[2]) * height * width * depth


def _depthwise(op: tf.Operation) -> int:
  height, width, _, _ = _shape(op.inputs[1])
  return 2 * _size(op.outputs[0]) * height * width


def _depthwise_input_gradient(op: tf.Operation) -> int:
  height, width, _, _ = _shape(op.inputs[1])
  return 2 * _size(op.inputs[2]) * height * width


def _depthwise_kernel_gradient(op: tf.Operation) -> int:
  height, width, _, _ = _shape(op.outputs[0])
  return 2 * _size(op.inputs[2]) * height * width


def _matmul(op: tf.Operation) -> int:
  rows, columns = _shape(op.inputs[0])
  return 2 * _size(op.outputs[0]) * (rows if op.get_attr("transpose_a") else columns)


def _batch_matmul(op: tf.Operation) -> int:
  *_, rows, columns = _shape(op.inputs[0])
  return 2 * _size(op.outputs[0]) * (rows if op.get_attr("adj_x") else columns)


def _einsum(op: tf.Operation) -> int:
  """Returns the FLOP of an einsum: each combination of indices is one multiply-add."""
  operands = op.get_attr("equation").decode().split("->")[0].split(",")
  sizes = {}
  for letters, tensor in zip(operands, op.inputs, strict=True):
    shape = _shape(tensor)
    if "..." in letters:
      first, last = letters.split("...")
      num_hidden = len(shape) - len(first) - len(last)
      hidden = range(num_hidden)
      # Axes that the dots replace are counted from the last one on, as they broadcast.
      names = [*first, *(f"axis {num_hidden - number}" for number in hidden), *last]
    else:
      names = list(letters)
    for name, size in zip(names, shape, strict=True):
      sizes[name] = max(size, sizes.get(name, 1))
  return 2 * math.prod(sizes.values())


_FLOPS = {
  "Conv2D": _convolution,
  "Conv2DBackpropInput": _convolution_input_gradient,
  "Conv2DBackpropFilter": _convolution_kernel_gradient,
  "DepthwiseConv2dNative": _depthwise,
  "DepthwiseConv2dNativeBackpropInput": _depthwise_input_gradient,
  "DepthwiseConv2dNativeBackpropFilter": _depthwise_kernel_gradient,
  "MatMul": _matmul,
  "BatchMatMulV2": _batch_matmul,
  "Einsum": _einsum,
}
