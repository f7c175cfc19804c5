"""Reading files that a user names, each of them a regular file of bounded size.

Whoever opens a pipe waits until somebody writes to it, and a device may never end. Both are refused
here with an `OSError` whose `strerror` says what the path is, so that callers report it like any
other file that cannot be read.

Remote paths such as `gs://...` are read with TensorFlow; its errors become `OSError`s too.
"""

import errno
import os
import stat
from typing import BinaryIO

# Of what is read whole unless the caller knows better: settings, lists, manifests, label maps.
MAX_BYTES = 64 * 2**20
_CHUNK_BYTES = 2**20
_KINDS = {
  stat.S_IFIFO: "a pipe",
  stat.S_IFCHR: "a device",
  stat.S_IFBLK: "a device",
  stat.S_IFSOCK: "a socket",
}


def check(path: str | os.PathLike[str]) -> None:
  """Refuses a path that another library is to read, unless a regular file is there.

  Raises:
    OSError: there is nothing, a folder, a pipe, a device or a socket.
  """
  if is_remote(path):
    _remote_size(path)
  else:
    _check_kind(path, os.stat(path).st_mode)


def check_if_present(path: str | os.PathLike[str]) -> None:
  """Refuses pipes, devices and sockets; what is missing, a folder or remote is left to the reader.

  Raises:
    OSError: there is one of these.
  """
  if is_remote(path):
    return
  try:
    mode = os.stat(path).st_mode
  except OSError:
    return
  if not stat.S_ISDIR(mode):
    _check_kind(path, mode)


def open_file(path: str | os.PathLike[str], buffering: int = -1) -> BinaryIO:
  """Opens a local regular file for reading, and nothing else, without waiting.

  Args:
    path: of the file.
    buffering: as Python's `open` has it.

  Raises:
    OSError: it cannot be opened, or is no regular file.
  """
  _check_kind(path, os.stat(path).st_mode)
  # Another file may have come to be there since: opening must not wait, and is checked again.
  descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
  try:
    _check_kind(path, os.fstat(descriptor).st_mode)
    return open(descriptor, "rb", buffering)
  except BaseException:
    os.close(descriptor)
    raise


def read_bytes(path: str | os.PathLike[str], max_bytes: int = MAX_BYTES) -> bytes:
  """The content of a regular file.

  Args:
    path: local, or remote with `://` in it.
    max_bytes: the largest size that is accepted.

  Raises:
    OSError: it cannot be read, is no regular file or is larger.
  """
  if is_remote(path):
    content = _read_remote(os.fspath(path), max_bytes)
  else:
    with open_file(path) as file:
      size = os.fstat(file.fileno()).st_size
      _check_size(path, size, max_bytes)
      # Not up to the limit at once: a buffer of that size, made before, may be more than there is.
      content = file.read(size + 1)
      # Files of /proc do not tell their size, and others may grow.
      while more := file.read(min(_CHUNK_BYTES, max_bytes + 1 - len(content))):
        content += more
  _check_size(path, len(content), max_bytes)
  return content


def read_text(
  path: str | os.PathLike[str],
  max_bytes: int = MAX_BYTES,
  *,
  encoding: str = "utf-8",
  errors: str = "strict",
) -> str:
  """The text of a regular file, its line ends as `open` would give them.

  Raises:
    OSError: as `read_bytes`.
    UnicodeDecodeError: it is no such text.
  """
  text = read_bytes(path, max_bytes).decode(encoding, errors)
  return text.replace("\r\n", "\n").replace("\r", "\n")


def is_remote(path: str | os.PathLike[str]) -> bool:
  """Whether a path is the address of a file elsewhere."""
  return "://" in os.fspath(path)


def _check_kind(path: str | os.PathLike[str], mode: int) -> None:
  if stat.S_ISDIR(mode):
    raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
  if not stat.S_ISREG(mode):
    kind = _KINDS.get(stat.S_IFMT(mode), "something else")
    raise OSError(errno.EINVAL, f"{kind} and no regular file", os.fspath(path))


def _check_size(path: str | os.PathLike[str], size: int, max_bytes: int) -> None:
  if size > max_bytes:
    problem = f"at least {size} bytes; accepted here: at most {max_bytes}"
    raise OSError(errno.EFBIG, problem, os.fspath(path))


def _read_remote(path: str, max_bytes: int) -> bytes:
  import tensorflow as tf  # Here, as most of what reads files needs no TensorFlow.

  size = _remote_size(path)
  _check_size(path, size, max_bytes)
  try:
    with tf.io.gfile.GFile(path, "rb") as file:
      return file.read(size + 1)
  except tf.errors.OpError as error:
    raise _os_error(path, error) from error


def _remote_size(path: str | os.PathLike[str]) -> int:
  import tensorflow as tf

  try:
    return tf.io.gfile.stat(os.fspath(path)).length
  except tf.errors.OpError as error:
    raise _os_error(path, error) from error


def _os_error(path: str | os.PathLike[str], error) -> OSError:
  """The error that Python would raise where TensorFlow raised this `OpError`."""
  import tensorflow as tf

  codes = {tf.errors.NOT_FOUND: errno.ENOENT, tf.errors.PERMISSION_DENIED: errno.EACCES}
  code = codes.get(error.error_code, errno.EIO)
  return OSError(code, os.strerror(code), os.fspath(path))
