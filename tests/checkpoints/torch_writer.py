"""Files as `torch.save` writes them, put together by hand from pickle's instructions."""

import struct
import zipfile

MAGIC = 0x1950A86A20F9469CFC6C


def text(value: str) -> bytes:
  encoded = value.encode()
  return b"X" + struct.pack("<I", len(encoded)) + encoded


def number(value: int) -> bytes:
  if -(2**31) <= value < 2**31:
    return b"J" + struct.pack("<i", value)
  encoded = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
  return b"\x8a" + bytes([len(encoded)]) + encoded


def items(*values: bytes) -> bytes:
  """A tuple."""
  return b"(" + b"".join(values) + b"t"


def numbers(values) -> bytes:
  return items(*map(number, values))


def named(module: str, name: str) -> bytes:
  return f"c{module}\n{name}\n".encode()


def call(module: str, name: str, *arguments: bytes) -> bytes:
  return named(module, name) + items(*arguments) + b"R"


def storage(kind: str, key: str, size: int, *part: bytes) -> bytes:
  """A reference to a storage of so many elements; `part` is what early versions add."""
  values = (text("storage"), named("torch", f"{kind}Storage"), text(key), text("cpu"), number(size))
  return items(*values, *part) + b"Q"


def tensor(of: bytes, shape, strides, offset: int = 0) -> bytes:
  hooks = call("collections", "OrderedDict")
  arguments = (of, number(offset), numbers(shape), numbers(strides), b"\x89", hooks)
  return call("torch._utils", "_rebuild_tensor_v2", *arguments)


def mapping(values: dict[str, bytes]) -> bytes:
  pairs = b"".join(text(key) + value for key, value in values.items())
  return call("collections", "OrderedDict") + b"(" + pairs + b"u"


def program(body: bytes) -> bytes:
  return b"\x80\x02" + body + b"."


def zip_file(
  path, body: bytes, storages: dict[str, bytes], byte_order: str | None = None, **others
):
  """Writes the form since version 1.6 and returns its path.

  Args:
    path: to write to.
    body: of the pickle, without its head and end.
    storages: key -> bytes.
    byte_order: what the file says of it, if it does.
    others: `compression`, or further members by name.
  """
  compression = others.pop("compression", zipfile.ZIP_STORED)
  members = {"data.pkl": program(body), **others}
  members.update({f"data/{key}": value for key, value in storages.items()})
  if byte_order:
    members["byteorder"] = byte_order.encode()
  with zipfile.ZipFile(path, "w", compression) as archive:
    for name, value in members.items():
      archive.writestr(f"weights/{name}", value)
  return str(path)


def legacy_file(path, body: bytes, storages: dict[str, tuple[int, bytes]], keys=None):
  """Writes the form before version 1.6 and returns its path.

  Args:
    path: to write to.
    body: of the pickle, without its head and end.
    storages: key -> number of elements and bytes, in the file's order.
    keys: what the file says there are, where it is something else.
  """
  listed = b"](" + b"".join(text(key) for key in (storages if keys is None else keys)) + b"e"
  machine = b"}(" + text("little_endian") + b"\x88u"
  data = b"".join(map(program, (number(MAGIC), number(1001), machine, body, listed)))
  data += b"".join(struct.pack("<q", size) + content for size, content in storages.values())
  path.write_bytes(data)
  return str(path)
