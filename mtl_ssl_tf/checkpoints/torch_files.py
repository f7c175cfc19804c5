"""PyTorch's files of weights (.pth, .pt) as arrays by name, without PyTorch.

Both forms of `torch.save` are read: the zip archive (since PyTorch 1.6), and the older sequence of
pickles with the storages after them. Nothing in a file is run (`torch_pickle`), and no size in it
is believed before it is compared with the file's length: arrays are views of the file's bytes, so
that what is held is the file once, and once more what is of another byte order or `bfloat16`.

References: `torch/serialization.py` of PyTorch, the functions `_save` and `_legacy_save`.
"""

import io
import math
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator

import numpy as np

from mtl_ssl_tf.checkpoints import torch_pickle
from mtl_ssl_tf.reading import regular_files

ENDINGS = (".pth", ".pt")
# Names that training scripts give a state dict in a file with other things, the first that fits.
WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "state_dict_ema", "model_ema", "ema")
# What wrapping a network for several devices puts before all its names.
PARALLEL_PREFIX = "module."
MAX_BYTES = 16 * 2**30
MAX_MEMBERS = 20_000
MAX_AXES = 32  # NumPy's.
MAX_EMPTY_SIZE = 2**31 - 1  # Of an axis, where another has no elements.

_MAGIC_NUMBER, _PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
_ZIP_START, _ZIP_ENTRY = b"PK\x03\x04", b"PK\x01\x02"
_LOCAL_HEADER = struct.Struct("<4s22xHH")
_ENCRYPTED = 1
# `torch.serialization.set_crc32_options(False)` writes it.
_NO_CHECKSUM = 0
_BYTE_ORDERS = {b"little": "<", b"big": ">"}
_LEGACY_SIZE = struct.Struct("<q")

# A storage, checked -> its bytes' array of elements, one axis, read-only.
_ReadStorage = Callable[[torch_pickle.Storage], np.ndarray]


def read_state_dict(path: str) -> dict[str, np.ndarray]:
  """Returns the tensors of a PyTorch file by name.

  A state dict that lies in a dictionary under one of `WRAPPERS` is found there, a prefix `module.`
  of all names is left out, and so is what is no tensor.

  Args:
    path: of a file by `torch.save`, of a state dict or of a dictionary with one in it.

  Returns:
    Read-only arrays in PyTorch's order of axes (of a convolution [out, in, height, width]), of the
    file's type; `bfloat16` as float32. They may share memory, as the tensors do.

  Raises:
    ValueError: naming the file, if it cannot be read, is damaged, or has other contents.
  """
  try:
    data = regular_files.read_bytes(path, MAX_BYTES)
  except OSError as error:
    raise ValueError(f"{path!r} cannot be read ({error.strerror})") from error
  try:
    read = _read_zip if data.startswith(_ZIP_START) else _read_legacy
    contents, read_storage = read(data)
    tensors = _state_dict(contents)
    arrays = {name: _array(name, tensors[name], read_storage) for name in tensors}
  except ValueError as error:
    raise ValueError(f"{path!r} {error}") from error
  if all(name.startswith(PARALLEL_PREFIX) for name in arrays):
    arrays = {name.removeprefix(PARALLEL_PREFIX): array for name, array in arrays.items()}
  return arrays


def _state_dict(contents: object) -> dict[str, torch_pickle.Tensor]:
  """The tensors by name, of the file's own dictionary or of one in it, one or two levels down."""
  for candidate in _candidates(contents, levels=2):
    tensors = {
      name: value
      for name, value in candidate.items()
      if isinstance(name, str) and isinstance(value, torch_pickle.Tensor)
    }
    if tensors:
      return tensors
  if not isinstance(contents, dict):
    found = f"a {type(contents).__name__}"
  else:
    found = ", ".join(f"{key!a:.40}" for key in list(contents)[:5]) or "nothing"
  raise ValueError(
    f"has no tensors by name; it has {found}; accepted: a state dict, alone or under one of "
    f"{', '.join(WRAPPERS)}"
  )


def _candidates(contents: object, levels: int) -> Iterator[dict]:
  if not isinstance(contents, dict):
    return
  if levels:
    for name in WRAPPERS:
      yield from _candidates(contents.get(name), levels - 1)
  yield contents


def _array(name: str, tensor: torch_pickle.Tensor, read_storage: _ReadStorage) -> np.ndarray:
  """The tensor as a view of its storage, within which it lies.

  Raises:
    ValueError: naming the tensor.
  """
  storage, offset, shape, strides = tensor.storage, tensor.offset, tensor.shape, tensor.strides
  limit = storage.num_elements
  if 0 in shape and all(0 <= size <= MAX_EMPTY_SIZE for size in shape):
    return np.zeros(shape, read_storage(storage).dtype)
  sizes_fit = len(shape) == len(strides) <= MAX_AXES and all(0 <= n <= limit for n in shape)
  if not sizes_fit or min(strides, default=0) < 0 or math.prod(shape) > limit:
    raise ValueError(f"{_claim(name)} a shape that its storage of {limit} elements cannot have")
  # What is never stepped along may have any stride.
  strides = [stride if size > 1 else 0 for size, stride in zip(shape, strides, strict=True)]
  last = offset + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
  if offset < 0 or last >= limit:
    raise ValueError(f"{_claim(name)} elements beyond the end of its storage")
  elements = read_storage(storage)
  byte_strides = [stride * elements.itemsize for stride in strides]
  return np.lib.stride_tricks.as_strided(elements[offset:], shape, byte_strides, writeable=False)


def _claim(name: str) -> str:
  return f"is damaged: {name[:100]!a} has"


def _elements(data: memoryview, storage: torch_pickle.Storage, byte_order: str) -> np.ndarray:
  """The elements of a storage that begins where `data` does: [num_elements].

  Raises:
    ValueError: if `data` ends before them.
  """
  dtype = _stored_type(storage).newbyteorder(byte_order)
  if not 0 <= storage.num_elements <= len(data) // dtype.itemsize:
    raise ValueError(
      f"is damaged: storage {storage.key[:100]!a} of {storage.num_elements} elements has "
      f"{len(data)} bytes"
    )
  elements = np.frombuffer(data, dtype, storage.num_elements)
  if storage.dtype == "bfloat16":
    # The upper half of a float32.
    elements = elements.astype(np.uint32)
    elements <<= 16
    return elements.view(np.float32)
  if storage.dtype == "bool":
    return elements != 0
  return elements.astype(elements.dtype.newbyteorder("="), copy=False)


def _stored_type(storage: torch_pickle.Storage) -> np.dtype:
  return np.dtype({"bfloat16": "uint16", "bool": "uint8"}.get(storage.dtype, storage.dtype))


class _Storages:
  """Reads each storage once.

  Attributes:
    find: a storage -> the file's bytes that it has.
    byte_order: of the elements, as NumPy writes it.
    available: bytes that all storages together can have.
  """

  def __init__(
    self, find: Callable[[torch_pickle.Storage], memoryview], byte_order: str, available: int
  ):
    self._find = find
    self._byte_order = byte_order
    self._available = available
    self._read = {}

  def __call__(self, storage: torch_pickle.Storage) -> np.ndarray:
    if storage.key not in self._read:
      data = self._find(storage)
      self._available -= len(data)
      if self._available < 0:
        raise ValueError("is damaged: its storages lie over each other")
      self._read[storage.key] = _elements(data, storage, self._byte_order)
    return self._read[storage.key]


def _read_zip(data: bytes) -> tuple[object, _ReadStorage]:
  """The pickled object of a zip archive, and how to read its storages."""
  # Each entry costs a kilobyte, whatever it is of.
  if data.count(_ZIP_ENTRY) > MAX_MEMBERS:
    raise ValueError(f"is a zip archive of more than {MAX_MEMBERS} files")
  try:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
      members = {info.filename: info for info in archive.infolist()}
  except (zipfile.BadZipFile, NotImplementedError, OverflowError, struct.error) as error:
    raise ValueError(f"is cut short or no zip archive of torch.save ({error})") from error
  folders = [
    name.removesuffix("data.pkl")
    for name in members
    if name.endswith("/data.pkl") and name.count("/") == 1
  ]
  if len(folders) != 1 or f"{folders[0]}constants.pkl" in members:
    kind = "is a TorchScript program" if folders else "is a zip archive, but not of torch.save"
    found = f"{min(members, default='nothing')!a:.100}"
    raise ValueError(f"{kind}; it has e.g. {found}; accepted: torch.save(model.state_dict(), path)")

  def find(name: str) -> memoryview:
    if folders[0] + name not in members:
      raise ValueError(f"is damaged: {name[:100]!a} is missing")
    return _member(data, members[folders[0] + name])

  order = b"little"
  if f"{folders[0]}byteorder" in members:
    order = bytes(find("byteorder"))
  if order not in _BYTE_ORDERS:
    raise ValueError(f"has byte order {order[:20]!a}; accepted: little or big")
  contents, _ = torch_pickle.load(io.BytesIO(find("data.pkl")))
  storages = _Storages(lambda storage: find(f"data/{storage.key}"), _BYTE_ORDERS[order], len(data))
  return contents, storages


def _member(data: bytes, info: zipfile.ZipInfo) -> memoryview:
  """The bytes of a file in a zip archive.

  Raises:
    ValueError: if it is compressed, which `torch.save` does not do, cut short, or damaged.
  """
  name = f"{info.filename[:100]!a}"
  if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & _ENCRYPTED:
    raise ValueError(f"has {name} compressed or encrypted; accepted: as torch.save stores it")
  start = info.header_offset
  if not 0 <= start <= len(data) - _LOCAL_HEADER.size:
    raise ValueError(f"is damaged: {name} lies outside of the file")
  signature, name_size, extra_size = _LOCAL_HEADER.unpack_from(data, start)
  start += _LOCAL_HEADER.size + name_size + extra_size
  content = memoryview(data)[start : start + info.file_size]
  if signature != _ZIP_START or len(content) != info.file_size:
    raise ValueError(f"is damaged: {name} lies outside of the file")
  if info.CRC not in (_NO_CHECKSUM, zlib.crc32(content)):
    raise ValueError(f"is damaged: {name} has another checksum than the archive has for it")
  return content


def _read_legacy(data: bytes) -> tuple[object, _ReadStorage]:
  """The pickled object of a file before PyTorch 1.6, and how to read its storages."""
  file = io.BytesIO(data)
  if not data.startswith(b"\x80"):
    raise ValueError("is no file of torch.save; accepted: a state dict (.pth or .pt)")
  (magic_number, _), (protocol, _) = torch_pickle.load(file), torch_pickle.load(file)
  if magic_number != _MAGIC_NUMBER or protocol != _PROTOCOL:
    raise ValueError("is a pickle, but not of torch.save; accepted: a state dict (.pth or .pt)")
  torch_pickle.load(file)  # The machine that wrote it; storages are little-endian on every one.
  contents, storages = torch_pickle.load(file)
  keys, _ = torch_pickle.load(file)
  if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
    raise ValueError("is damaged: it has no list of storages")
  found, position = {}, file.tell()
  for key in keys:
    if key not in storages:
      raise ValueError(f"is damaged: no tensor has storage {key[:100]!a}")
    found[key] = _legacy_storage(data, position, storages[key])
    position += _LEGACY_SIZE.size + len(found[key])
  missing = sorted(set(storages) - set(found))
  if missing:
    raise ValueError(f"is damaged: storage {missing[0][:100]!a} is missing")
  return contents, _Storages(lambda storage: found[storage.key], "<", len(data))


def _legacy_storage(data: bytes, position: int, storage: torch_pickle.Storage) -> memoryview:
  """The bytes of a storage that begins with its size at `position`."""
  start = position + _LEGACY_SIZE.size
  name = f"storage {storage.key[:100]!a}"
  if start > len(data):
    raise ValueError(f"is cut short before {name}")
  (size,) = _LEGACY_SIZE.unpack_from(data, position)
  if size != storage.num_elements:
    raise ValueError(f"is damaged: {name} has {size} elements, or {storage.num_elements}")
  num_bytes = size * _stored_type(storage).itemsize
  if not 0 <= num_bytes <= len(data) - start:
    raise ValueError(f"is cut short in {name}")
  return memoryview(data)[start : start + num_bytes]
