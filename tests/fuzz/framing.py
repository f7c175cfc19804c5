"""The frame of records in a TFRecord file, read and written without TensorFlow."""

import functools
import struct

_HEADER_BYTES, _FOOTER_BYTES = 12, 4


def frame(content: bytes) -> bytes:
  """A record of a file: the content with its length and both checksums."""
  length = struct.pack("<Q", len(content))
  return length + masked_crc(length) + content + masked_crc(content)


def unframe(data: bytes) -> tuple[list[bytes], bool]:
  """The records up to the first damage, and whether there is none."""
  contents, at = [], 0
  while at < len(data):
    header = data[at : at + 8]
    if data[at + 8 : at + _HEADER_BYTES] != masked_crc(header) or len(header) < 8:
      return contents, False
    (length,) = struct.unpack("<Q", header)
    end = at + _HEADER_BYTES + length
    content = data[at + _HEADER_BYTES : end]
    if len(content) < length or data[end : end + _FOOTER_BYTES] != masked_crc(content):
      return contents, False
    contents.append(content)
    at = end + _FOOTER_BYTES
  return contents, True


def masked_crc(data: bytes) -> bytes:
  """TFRecord's checksum: CRC-32C, turned by 15 bits, and a constant."""
  crc, table = 0xFFFFFFFF, _crc_table()
  for byte in data:
    crc = table[(crc ^ byte) & 0xFF] ^ crc >> 8
  crc ^= 0xFFFFFFFF
  return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


@functools.cache
def _crc_table() -> list[int]:
  table = list(range(256))
  for _ in range(8):
    table = [value >> 1 ^ 0x82F63B78 if value & 1 else value >> 1 for value in table]
  return table
