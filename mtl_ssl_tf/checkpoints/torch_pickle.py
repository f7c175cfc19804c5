"""Reads the pickles that `torch.save` writes, and runs nothing that they name.

A pickle is a program for a stack machine and may call any function that can be imported. This
module has a machine of its own for the instructions that a dictionary of tensors needs: plain
values and containers, and the functions that rebuild tensors, which here become descriptions
without data. Every other instruction and every other name is refused.

An instruction takes memory and time for the bytes that it reads, and no more than a constant
beyond, whatever it refers to: keys of dictionaries are plain values, since to hash nested tuples
can take for ever. The number of instructions is bounded.

References: Python's `pickletools`, which describes the instructions; `torch/serialization.py` and
`torch/_utils.py` of PyTorch, for what is written.
"""

import dataclasses
import pickletools
from collections.abc import Callable
from typing import BinaryIO

MAX_INSTRUCTIONS = 1_000_000
MAX_PROTOCOL = 5
# Storage classes of `torch` -> NumPy's name of their elements.
DTYPES = {
  "DoubleStorage": "float64",
  "FloatStorage": "float32",
  "HalfStorage": "float16",
  "BFloat16Storage": "bfloat16",
  "LongStorage": "int64",
  "IntStorage": "int32",
  "ShortStorage": "int16",
  "CharStorage": "int8",
  "ByteStorage": "uint8",
  "BoolStorage": "bool",
}
_KEY_TYPES = (str, bytes, int, float, type(None))
_SHOWN = 100


@dataclasses.dataclass(frozen=True, eq=False)
class Storage:
  """A flat piece of memory that tensors lie in.

  Attributes:
    key: its name in the file.
    dtype: one of the values of `DTYPES`.
    num_elements: as the pickle has it.
    first: the element that a tensor's offset counts from; above 0 for storages that are a part of
      this one, as early versions have them.
  """

  key: str
  dtype: str
  num_elements: int
  first: int = 0


@dataclasses.dataclass(frozen=True, eq=False)
class Tensor:
  """A view of a storage, as the pickle has it: nothing is checked but the types.

  Attributes:
    storage: where its elements are.
    offset: of its first element.
    shape: elements along each axis.
    strides: elements from one step along an axis to the next.
  """

  storage: Storage
  offset: int
  shape: tuple[int, ...]
  strides: tuple[int, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class Global:
  """A class or function that the pickle names.

  Attributes:
    name: with its module.
  """

  name: str


def load(file: BinaryIO) -> tuple[object, dict[str, Storage]]:
  """Returns what the pickle at the file's position describes, and leaves the file after it.

  Args:
    file: of bytes in memory, as a read of a length that the pickle claims must not allocate it.

  Returns:
    Plain values, lists, tuples and dictionaries of them, `Tensor`s and `Storage`s; and all storages
    by key, each as it was first named.

  Raises:
    ValueError: a sentence's predicate, for what is wrong or refused.
  """
  machine = _Machine()
  for count, (opcode, argument, _) in enumerate(pickletools.genops(file)):
    if count == MAX_INSTRUCTIONS:
      raise ValueError(f"has a pickle of more than {MAX_INSTRUCTIONS} instructions")
    if opcode.name == "STOP":
      return machine.pop(object), machine.storages
    step = _STEPS.get(opcode.name)
    if step is None:
      raise ValueError(
        f"has the pickle instruction {opcode.name}; accepted: those of a dictionary of tensors"
      )
    step(machine, argument)
  raise ValueError("has a pickle without an end")


class _Machine:
  """The stack machine; a method is an instruction, given its argument or None.

  Attributes:
    storages: all that were named, by key.
  """

  def __init__(self):
    self.storages = {}
    self._stack = []
    # Stacks under a mark.
    self._marked = []
    self._memo = {}

  def pop(self, *kinds: type) -> object:
    if not self._stack:
      raise ValueError("has a damaged pickle: an instruction lacks its operand")
    value = self._stack.pop()
    if not isinstance(value, kinds):
      found = value.name if isinstance(value, Global) else type(value).__name__
      names = " or ".join(kind.__name__ for kind in kinds)
      raise ValueError(f"has a damaged pickle: {found} instead of {names}")
    return value

  def top(self, *kinds: type) -> object:
    value = self.pop(*kinds)
    self._stack.append(value)
    return value

  def push(self, value: object) -> None:
    self._stack.append(value)

  def mark(self, _) -> None:
    self._marked.append(self._stack)
    self._stack = []

  def pop_to_mark(self) -> list:
    if not self._marked:
      raise ValueError("has a damaged pickle: a mark is missing")
    items, self._stack = self._stack, self._marked.pop()
    return items

  def protocol(self, number: int) -> None:
    if number > MAX_PROTOCOL:
      raise ValueError(f"has a pickle of protocol {number}; accepted: up to {MAX_PROTOCOL}")

  def put(self, index: int) -> None:
    self._memo[index] = self.top(object)

  def memoize(self, _) -> None:
    self.put(len(self._memo))

  def get(self, index: int) -> None:
    if index not in self._memo:
      raise ValueError(f"has a damaged pickle: nothing is stored under {index}")
    self.push(self._memo[index])

  def tuple_to_mark(self, _) -> None:
    self.push(tuple(self.pop_to_mark()))

  def tuple_of(self, size: int) -> None:
    self.push(tuple(self.pop(object) for _ in range(size))[::-1])

  def append(self, _) -> None:
    item = self.pop(object)
    self.top(list).append(item)

  def appends(self, _) -> None:
    items = self.pop_to_mark()
    self.top(list).extend(items)

  def set_item(self, _) -> None:
    value, key = self.pop(object), self.pop(*_KEY_TYPES)
    self.top(dict)[key] = value

  def set_items(self, _) -> None:
    items = self.pop_to_mark()
    if len(items) % 2 or not all(isinstance(key, _KEY_TYPES) for key in items[::2]):
      raise ValueError("has a damaged pickle: keys that are no plain values")
    self.top(dict).update(zip(items[::2], items[1::2], strict=True))

  def named_global(self, pair: str) -> None:
    self._push_global(*pair.split(" ", 1))

  def stack_global(self, _) -> None:
    name, module = self.pop(str), self.pop(str)
    self._push_global(module, name)

  def _push_global(self, module: str, name: str) -> None:
    full_name = f"{module}.{name}"
    if full_name not in _CALLS and not (module == "torch" and name in DTYPES):
      raise ValueError(
        f"names {full_name[:_SHOWN]!a}; accepted: tensors, plain values and containers, as of "
        "torch.save(model.state_dict(), path)"
      )
    self.push(Global(full_name))

  def call(self, _) -> None:
    arguments, function = self.pop(tuple), self.pop(Global)
    if function.name not in _CALLS:
      raise ValueError(f"has a damaged pickle: it calls {function.name}")
    self.push(_CALLS[function.name](arguments))

  def build(self, _) -> None:
    # Attributes of dictionaries and parameters, such as `_metadata`, are none of their values.
    self.pop(object)
    self.top(dict, Tensor)

  def persistent(self, _) -> None:
    storage = _storage(self.pop(tuple))
    known = self.storages.setdefault(storage.key, storage)
    if (known.dtype, known.num_elements) != (storage.dtype, storage.num_elements):
      raise ValueError("has a damaged pickle: a storage of two types or sizes")
    self.push(storage)


def _storage(reference: tuple) -> Storage:
  """A storage from ("storage", class, key, device, size) and, of early versions, a part of it."""
  if not _are(reference[:5], (str, Global, str, object, int)) or reference[0] != "storage":
    raise ValueError("refers to an object outside of its pickle that is no storage")
  _, kind, key, _, num_elements = reference[:5]
  part = reference[5] if len(reference) > 5 else None
  dtype = DTYPES.get(kind.name.removeprefix("torch."))
  if dtype is None:
    raise ValueError(f"has a damaged pickle: {kind.name} as the class of a storage")
  if part is None:
    return Storage(key, dtype, num_elements)
  # Named, its first element and its size.
  if not isinstance(part, tuple) or not _are(part, (str, int, int)):
    raise ValueError("has a damaged pickle: a wrong part of a storage")
  return Storage(key, dtype, num_elements, part[1])


def _are(values: tuple, kinds: tuple[type, ...]) -> bool:
  return len(values) == len(kinds) and all(map(isinstance, values, kinds))


def _tensor(arguments: tuple) -> Tensor:
  """A tensor from (storage, offset, shape, strides, ...)."""
  if not _are(arguments[:4], (Storage, int, tuple, tuple)):
    raise ValueError("has a damaged pickle: a tensor with wrong arguments")
  storage, offset, shape, strides = arguments[:4]
  if not all(isinstance(number, int) for number in (*shape, *strides)):
    raise ValueError("has a damaged pickle: a tensor with wrong arguments")
  return Tensor(storage, storage.first + offset, shape, strides)


def _parameter(arguments: tuple) -> Tensor:
  if not _are(arguments[:1], (Tensor,)):
    raise ValueError("has a damaged pickle: a parameter that is no tensor")
  return arguments[0]


def _size(arguments: tuple) -> tuple:
  if not _are(arguments, (tuple,)):
    raise ValueError("has a damaged pickle: a size that is no tuple")
  return arguments[0]


def _ordered_dict(arguments: tuple) -> dict:
  if arguments != ():
    raise ValueError("has a damaged pickle: a dictionary with arguments")
  return {}


_CALLS: dict[str, Callable[[tuple], object]] = {
  "torch._utils._rebuild_tensor": _tensor,
  "torch._utils._rebuild_tensor_v2": _tensor,
  "torch._utils._rebuild_parameter": _parameter,
  "torch.nn.parameter.Parameter": _parameter,
  "torch.Size": _size,
  "collections.OrderedDict": _ordered_dict,
}
# Instructions whose argument is the value.
_VALUES = (
  *("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINSTRING", "SHORT_BINSTRING"),
  *("BINUNICODE", "SHORT_BINUNICODE", "BINBYTES", "SHORT_BINBYTES"),
)
_STEPS: dict[str, Callable[[_Machine, object], None]] = {
  **dict.fromkeys(_VALUES, _Machine.push),
  "PROTO": _Machine.protocol,
  "FRAME": lambda machine, argument: None,
  "NONE": lambda machine, _: machine.push(None),
  "NEWTRUE": lambda machine, _: machine.push(True),
  "NEWFALSE": lambda machine, _: machine.push(False),
  "EMPTY_TUPLE": lambda machine, _: machine.push(()),
  "EMPTY_LIST": lambda machine, _: machine.push([]),
  "EMPTY_DICT": lambda machine, _: machine.push({}),
  "TUPLE": _Machine.tuple_to_mark,
  "TUPLE1": lambda machine, _: machine.tuple_of(1),
  "TUPLE2": lambda machine, _: machine.tuple_of(2),
  "TUPLE3": lambda machine, _: machine.tuple_of(3),
  "MARK": _Machine.mark,
  "BINPUT": _Machine.put,
  "LONG_BINPUT": _Machine.put,
  "MEMOIZE": _Machine.memoize,
  "BINGET": _Machine.get,
  "LONG_BINGET": _Machine.get,
  "APPEND": _Machine.append,
  "APPENDS": _Machine.appends,
  "SETITEM": _Machine.set_item,
  "SETITEMS": _Machine.set_items,
  "GLOBAL": _Machine.named_global,
  "STACK_GLOBAL": _Machine.stack_global,
  "REDUCE": _Machine.call,
  "BUILD": _Machine.build,
  "BINPERSID": _Machine.persistent,
}
