"""PyTorch's files of start weights, and what Python's own unpickler makes of them."""

import collections
import io
import pickle
import random
import struct
import zipfile
import zlib
from typing import Any, ClassVar, NamedTuple

import numpy as np

from mtl_ssl_tf.checkpoints import torch_files
from tests.checkpoints import torch_writer as writer
from tests.fuzz import mutations, outcomes
from tests.fuzz.kinds import base

_FILE = "weights.pth"
_DTYPES = {
  "Long": "<i8",
  "Double": "<f8",
  "Float": "<f4",
  "Half": "<f2",
  "BFloat16": "<u2",
  "Int": "<i4",
  "Short": "<i2",
  "Char": "i1",
  "Byte": "u1",
  "Bool": "?",
}
_NUMBERS = (0, 1, 2, 3, 6, 7, -1, 12, 2**31 - 1, 2**31, 2**62, 2**63 - 1, 2**63, 2**70, 10**30)
_OPCODES = b"(.0123]}tuabRQNqXJKMcjrhesl\x80\x85\x86\x87\x88\x89\x8a\x8c\x93\x94\x95"
_STORAGES = {"0": np.arange(6, dtype="<f4"), "1": np.array([0.5, -2.0, 3.25])}


class Cases(base.Kind):
  """See above."""

  name = "weights"
  about = "start weights (.pth)"

  def __init__(self, prepared, scratch):
    super().__init__(prepared, scratch)
    self._bodies = [_body(random.Random(number), odd=0.0) for number in range(4)]
    self._seeds = [
      self._file(body, form, _STORAGES) for body in self._bodies for form in ("zip", "legacy")
    ]

  def seeds(self) -> list[base.Files]:
    return [{_FILE: content} for content in self._seeds]

  def make(self, rng: random.Random) -> base.Files:
    choice, form = rng.randrange(4), rng.choice(("zip", "legacy"))
    words = [*(bytes([code]) for code in _OPCODES), b"cos\nsystem\n", b"PK\x05\x06", b"PK\x01\x02"]
    if choice == 0:
      return {_FILE: mutations.mutate(rng, self._seeds, words)}
    storages = dict(_STORAGES)
    if rng.random() < 0.2:
      storages["1"] = storages["1"][: rng.randrange(3)]
    if choice == 1:  # The program alone; checksums around it are right.
      body = mutations.mutate(rng, self._bodies, words)
      return {_FILE: self._file(body, form, storages)}
    return {_FILE: self._file(_body(rng, odd=0.3), form, storages)}

  def check(self, files: base.Files) -> bool:
    self.write(files)
    arrays = torch_files.read_state_dict(str(self.scratch / _FILE))
    for name, array in arrays.items():
      outcomes.check(not array.flags.writeable or not array.size, f"{name!r} can be written")
    try:
      root, read = _plain(files[_FILE])
    except Exception as error:
      raise outcomes.DisagreementError(f"read, though pickle refuses it: {error!r}") from error
    outcomes.check(
      any(_holds(candidate, arrays, read) for candidate in _dictionaries(root)),
      f"no dictionary of the file has these tensors: {list(arrays)!r:.200}",
    )
    return True

  def _file(self, body: bytes, form: str, storages: dict[str, np.ndarray]) -> bytes:
    path = self.scratch / "made"
    if form == "zip":
      writer.zip_file(path, body, {key: array.tobytes() for key, array in storages.items()})
    else:
      contents = {key: (array.size, array.tobytes()) for key, array in storages.items()}
      writer.legacy_file(path, body, contents)
    content = path.read_bytes()
    if form == "zip":  # The time of writing.
      with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
      made = io.BytesIO()
      with zipfile.ZipFile(made, "w") as archive:
        for name, member in members.items():
          archive.writestr(zipfile.ZipInfo(name), member)
      content = made.getvalue()
    return content


def _body(rng: random.Random, odd: float) -> bytes:
  """A state dict, alone or in others; a share of its values is odd."""

  def pick(*usual):
    return rng.choice(_NUMBERS) if rng.random() < odd / 3 else rng.choice(usual)

  storages = [("Float", "0", 6), ("Double", "1", 3)]
  if rng.random() < odd:
    storages[1] = (rng.choice(list(_DTYPES)), "1", pick(3))

  def tensor() -> bytes:
    of = writer.storage(*rng.choice(storages))
    if rng.random() < odd / 10:
      of = writer.storage(rng.choice(list(_DTYPES)), "1", pick(3))
    shape, strides = rng.choice((((2, 1), (1, 1)), ((3,), (1,)), ((), ()), ((2,), (1,))))
    shape, strides = (tuple(pick(value) for value in values) for values in (shape, strides))
    return writer.tensor(of, shape, strides, pick(0))

  prefix = rng.choice(("", "", torch_files.PARALLEL_PREFIX))
  names = [f"{prefix}{name}" for name in ("conv.weight", "conv.bias", "fc.weight")]
  # Both storages have to be named, as files before PyTorch 1.6 list them.
  values = {name: tensor() for name in names}
  values["first"] = writer.tensor(writer.storage(*storages[0]), (2, 3), (3, 1))
  values["last"] = writer.tensor(writer.storage(*storages[1]), (2,), (1,))
  if rng.random() < 0.3:
    values["step"] = writer.number(pick(5))
  body = writer.mapping(values)
  if rng.random() < 0.4:
    body = writer.mapping({"epoch": writer.number(3), rng.choice(torch_files.WRAPPERS): body})
  return body


class _Tensor(NamedTuple):
  storage: tuple
  offset: int
  shape: tuple
  strides: tuple


class _Unpickler(pickle._Unpickler):  # Written in Python, its memory grows with the file alone.
  """Python's unpickler, which knows the few names of a state dict."""

  def find_class(self, module, name):
    if (module, name) == ("collections", "OrderedDict"):
      return collections.OrderedDict
    if (module, name) == ("torch", "Size"):
      return tuple
    if module == "torch" and name.endswith("Storage"):
      return name.removesuffix("Storage")
    if (module, name) in (
      ("torch._utils", "_rebuild_tensor_v2"),
      ("torch._utils", "_rebuild_tensor"),
    ):
      return lambda storage, offset, shape, strides, *_: _Tensor(storage, offset, shape, strides)
    if name in ("_rebuild_parameter", "Parameter"):
      return lambda data, *_: data
    raise pickle.UnpicklingError(f"{module}.{name}")

  def persistent_load(self, pid):
    return pid

  def _build(self):  # Attributes are none of the values.
    self.stack.pop()

  dispatch: ClassVar = {**pickle._Unpickler.dispatch, pickle.BUILD[0]: _build}


def _plain(data: bytes) -> tuple[Any, Any]:
  """The pickled object, and a function from a tensor to its array."""
  if data.startswith(b"PK\x03\x04"):
    members = {info.filename: info for info in zipfile.ZipFile(io.BytesIO(data)).infolist()}
    (program,) = (name for name in members if name.endswith("/data.pkl"))
    folder = program.removesuffix("data.pkl")
    root = _Unpickler(io.BytesIO(_member(data, members[program]))).load()
    return root, lambda tensor: _array(
      tensor, _member(data, members[f"{folder}data/{tensor.storage[2]}"])
    )
  file = io.BytesIO(data)
  for _ in range(3):
    _Unpickler(file).load()
  root, contents = _Unpickler(file).load(), {}
  sizes = {}
  for candidate in _dictionaries(root):
    for value in candidate.values():
      if isinstance(value, _Tensor):
        sizes[value.storage[2]] = np.dtype(_DTYPES[value.storage[1]]).itemsize
  for key in _Unpickler(file).load():
    (count,) = struct.unpack("<q", file.read(8))
    contents[key] = file.read(count * sizes[key])
  return root, lambda tensor: _array(tensor, contents[tensor.storage[2]])


def _member(data: bytes, info: zipfile.ZipInfo) -> bytes:
  """The content of a file in the archive, whatever stands before it as its name."""
  sizes = struct.unpack_from("<HH", data, info.header_offset + 26)
  start = info.header_offset + 30 + sum(sizes)
  content = data[start : start + info.file_size]
  if info.CRC not in (0, zlib.crc32(content)):
    raise ValueError(info.filename)
  return content


def _array(tensor: _Tensor, data: bytes) -> np.ndarray:
  """The elements one by one, which is slow and obvious."""
  _, kind, _, _, count, *part = tensor.storage
  elements = np.frombuffer(data, _DTYPES[kind], count)
  if kind == "BFloat16":
    elements = (elements.astype("<u4") << 16).view("<f4")
  first = tensor.offset + (part[0][1] if part and part[0] else 0)
  result = np.zeros(tensor.shape, elements.dtype)
  for index in np.ndindex(*tensor.shape):
    place = first + sum(i * stride for i, stride in zip(index, tensor.strides, strict=True))
    if place < 0:
      raise IndexError(place)
    result[index] = elements[place]
  return result


def _dictionaries(value: Any) -> list[dict]:
  """The object and what lies in it, as far as these are dictionaries."""
  found, pending, seen = [], [value], set()
  while pending:
    value = pending.pop()
    if isinstance(value, dict) and id(value) not in seen:
      seen.add(id(value))
      found.append(value)
      pending += value.values()
  return found


def _holds(candidate: dict, arrays: dict[str, np.ndarray], read) -> bool:
  """Whether a dictionary has these tensors, all of them and no others."""
  tensors = {
    name: value
    for name, value in candidate.items()
    if isinstance(name, str) and isinstance(value, _Tensor)
  }
  prefix = torch_files.PARALLEL_PREFIX
  if tensors and all(name.startswith(prefix) for name in tensors):
    tensors = {name.removeprefix(prefix): value for name, value in tensors.items()}
  return tensors.keys() == arrays.keys() and all(
    np.array_equal(arrays[name], read(tensor), equal_nan=True) for name, tensor in tensors.items()
  )
