"""Reads the memory use of a compiled program from XLA's buffer assignment."""

import collections
import dataclasses
from collections.abc import Iterable, Sequence

from tensorflow.compiler.xla.service import hlo_pb2

from mtl_ssl_tf.compilation import step_program
from mtl_ssl_tf.compilation.accelerators import GIB

_ALLOC, _FREE = hlo_pb2.HeapSimulatorTrace.Event.ALLOC, hlo_pb2.HeapSimulatorTrace.Event.FREE
_MAX_HOLDERS = 5


@dataclasses.dataclass(frozen=True)
class Holder:
  """A buffer at the peak of memory: bytes, shape and the op that made it."""

  num_bytes: int
  shape: str
  op: str


@dataclasses.dataclass(frozen=True)
class Memory:
  """Bytes of a program on one core.

  Attributes:
    parameters: weights of the model, trained or not.
    optimizer: its slots and counters.
    batch: the step's input.
    gradients: of the trained weights. Where several cores add them up, all of them; on one core
      those that are there at the peak.
    activations: all else that is there at the peak, gaps between buffers included.
    results: losses and the like.
    holders: the largest buffers of that moment.
  """

  parameters: int
  optimizer: int
  batch: int
  gradients: int
  activations: int
  results: int
  holders: tuple[Holder, ...] = ()

  @property
  def total(self) -> int:
    """Bytes of all uses together."""
    return (
      self.parameters
      + self.optimizer
      + self.batch
      + self.gradients
      + self.activations
      + self.results
    )


def measure(
  program: hlo_pb2.HloProto, arguments: Sequence[step_program.Argument], num_cores: int = 1
) -> Memory:
  """Returns the memory that a compiled program takes, by use.

  Args:
    program: with its assignment of buffers.
    arguments: of the program, in order.
    num_cores: that add up their gradients.

  Raises:
    ValueError: the program has another number of arguments.
  """
  sizes = collections.Counter()
  temporary = results = num_parameters = 0
  for allocation in program.buffer_assignment.buffer_allocations:
    if allocation.is_entry_computation_parameter:
      num_parameters += 1
      sizes[arguments[allocation.parameter_number].kind] += allocation.size
    elif allocation.maybe_live_out:
      results += allocation.size
    else:
      temporary += allocation.size
  if num_parameters != len(arguments):
    raise ValueError(f"the program has {num_parameters} arguments; accepted: {len(arguments)}")
  at_peak = _peak_buffers(program)
  trained = [argument for argument in arguments if argument.kind == step_program.TRAINED]
  gradients_at_peak = _gradient_bytes(at_peak, trained)
  all_gradients = sum(argument.num_bytes for argument in trained)
  return Memory(
    parameters=sizes[step_program.TRAINED] + sizes[step_program.FIXED],
    optimizer=sizes[step_program.OPTIMIZER],
    batch=sizes[step_program.BATCH],
    gradients=max(gradients_at_peak, all_gradients) if num_cores > 1 else gradients_at_peak,
    activations=temporary - gradients_at_peak,
    results=results,
    holders=_largest(at_peak),
  )


def gib(num_bytes: float) -> str:
  """Returns bytes in the largest unit that suits them, as text."""
  for unit, size in (("GiB", GIB), ("MiB", 2**20), ("KiB", 2**10)):
    if abs(num_bytes) >= size:
      return f"{num_bytes / size:.2f} {unit}"
  return f"{num_bytes:.0f} B"


@dataclasses.dataclass(frozen=True)
class _Buffer:
  size: int
  dimensions: tuple[int, ...]
  dtype: str
  op_type: str
  op_name: str


def _peak_buffers(program: hlo_pb2.HloProto) -> list[_Buffer]:
  """Returns the temporary buffers that are there when their sum is largest."""
  assignment = program.buffer_assignment
  buffers = {buffer.id: buffer for buffer in assignment.logical_buffers}
  instructions = {
    instruction.id: instruction
    for computation in program.hlo_module.computations
    for instruction in computation.instructions
  }
  peak = []
  for trace in assignment.heap_simulator_traces:
    live, num_bytes, most, at = set(), 0, 0, ()
    for event in trace.events:
      # The third kind of event hands an old buffer to a new value, which takes nothing.
      if event.kind == _ALLOC:
        live.add(event.buffer_id)
        num_bytes += buffers[event.buffer_id].size
      elif event.kind == _FREE and event.buffer_id in live:
        live.remove(event.buffer_id)
        num_bytes -= buffers[event.buffer_id].size
      if num_bytes > most:
        most, at = num_bytes, tuple(live)
    peak += at
  return [
    _describe(buffers[key], instructions[buffers[key].defined_at.instruction_id]) for key in peak
  ]


def _describe(buffer, instruction) -> _Buffer:
  shape = instruction.shape
  for index in buffer.defined_at.shape_index:
    shape = shape.tuple_shapes[index]
  return _Buffer(
    buffer.size,
    tuple(shape.dimensions),
    hlo_pb2.xla_dot_xla__data__pb2.PrimitiveType.Name(shape.element_type).lower(),
    instruction.metadata.op_type or instruction.opcode,
    instruction.metadata.op_name,
  )


def _gradient_bytes(buffers: Iterable[_Buffer], trained: Iterable[step_program.Argument]) -> int:
  """Bytes of buffers that are shaped like a trained weight, whatever the order of its axes."""
  shapes = collections.Counter(tuple(sorted(argument.shape)) for argument in trained)
  num_bytes = 0
  for buffer in buffers:
    key = tuple(sorted(buffer.dimensions))
    if shapes[key] > 0:
      shapes[key] -= 1
      num_bytes += buffer.size
  return num_bytes


def _largest(buffers: Iterable[_Buffer]) -> tuple[Holder, ...]:
  counts = collections.Counter(buffers)
  largest = sorted(counts, key=lambda buffer: -buffer.size * counts[buffer])[:_MAX_HOLDERS]
  return tuple(
    Holder(
      buffer.size * counts[buffer],
      (f"{counts[buffer]} × " if counts[buffer] > 1 else "")
      + f"{buffer.dtype}[{','.join(map(str, buffer.dimensions))}]",
      " ".join(part for part in (buffer.op_type, buffer.op_name) if part),
    )
    for buffer in largest
  )
