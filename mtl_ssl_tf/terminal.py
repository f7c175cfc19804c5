"""Sets up what a command shows: its own lines, and only the errors of the libraries beneath.

Results and the progress of training go to standard output; warnings and errors, and the progress of
the other commands, to standard error. Modules log with `logging.getLogger(__name__)`. A command
writes their warnings as `warning: TEXT`, and what they log as information as plain lines: to
standard error, or to standard output where these lines are its product. A message is one line,
unless it comes with `LINES`.
Whatever of it a terminal would obey, such as a file name with an escape sequence, shows as the
escapes of `texts`; so it is with what a command prints by `show` and `show_error`.

A command calls `prepare` before TensorFlow is loaded, and `set_up` once it is. A program that
imports the package calls neither, and decides about its own messages. TF_CPP_MIN_LOG_LEVEL=0 in the
environment, or `--verbosity=0` where there is that flag, shows everything.
"""

import ctypes
import importlib.util
import itertools
import logging
import os
import re
import sys
import warnings
from typing import TextIO

from absl import logging as absl_logging

from mtl_ssl_tf import texts

_LEVEL = "TF_CPP_MIN_LOG_LEVEL"
_DEVICE_TYPES = "TF_ENABLED_DEVICE_TYPES"
_ALL, _ERRORS = 0, 2  # As TensorFlow counts: 0 shows all, 2 errors, 3 what ends the process.
_VERBOSITY = re.compile(r"--?(?:verbosity|v)(?:=(.*))?")
# Abseil's `SetMinLogLevel`, by the names that it has in TensorFlow 2.20 and 2.21.
_SET_MIN_LOG_LEVEL = (
  "_ZN4absl12lts_2025012714SetMinLogLevelENS0_18LogSeverityAtLeastE",
  "_ZN4absl12lts_2025081414SetMinLogLevelENS0_18LogSeverityAtLeastE",
)
_OWN = logging.getLogger("mtl_ssl_tf")
# Of a message with line ends of ours: `logger.warning(text, extra=terminal.LINES)`.
LINES = {"has_lines": True}


def prepare() -> None:
  """Sets what TensorFlow reads from the environment as it is loaded.

  What the user has set there stays, unless the command line asks for all.
  """
  if _asks_for_all(sys.argv[1:]):
    os.environ[_LEVEL] = str(_ALL)
  os.environ.setdefault(_LEVEL, str(_ERRORS))
  # TensorFlow would report that there is no driver, as an error, on every machine without a GPU.
  if _level() != _ALL and _has_no_gpu():
    os.environ.setdefault(_DEVICE_TYPES, "CPU,XLA_CPU,TPU,TPU_SYSTEM")


def set_up(verbosity: int | None = None, *, info_on_stdout: bool = False) -> None:
  """Gives the messages of Python, TensorFlow and Abseil a command's form; call it when one begins.

  Args:
    verbosity: what the user has chosen for absl's messages; they are left as they are then.
    info_on_stdout: write our lines of information to standard output, not to standard error.
  """
  if not any(handler is _LINES for handler in _OWN.handlers):
    _OWN.addHandler(_LINES)
  _LINES.info_on_stdout = info_on_stdout
  _OWN.propagate = False  # Or absl would write them once more, in its own form.
  _OWN.setLevel(logging.INFO)  # Not the root's level, which goes with absl's.
  level = _level() if verbosity is None or verbosity < 0 else _ALL
  if verbosity is None and level != _ALL:
    absl_logging.set_verbosity(absl_logging.ERROR)
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    if not sys.warnoptions:
      # They warn programmers of changes to come in TensorFlow, Keras or NumPy.
      for category in (DeprecationWarning, PendingDeprecationWarning, FutureWarning):
        warnings.simplefilter("ignore", category)
      warnings.filterwarnings("ignore", message=r"\s*Warning: tf\.lite\.Interpreter is deprecated")
  if level != _ALL:
    warnings.showwarning = _show_warning
  if "tensorflow" in sys.modules:
    _set_level_of_abseil(level)


def show(text: str, file: TextIO | None = None) -> None:
  """Prints a text whose line ends are ours, to standard output by default."""
  print(texts.block(text), file=file, flush=True)


def show_error(error: BaseException) -> None:
  """Prints `error: TEXT` to standard error, for an error that ends a command."""
  print(f"error: {texts.error_text(error)}", file=sys.stderr, flush=True)


class _Lines(logging.Handler):
  """Writes `warning: TEXT`, `error: TEXT` or a plain line of information.

  Attributes:
    info_on_stdout: where information goes; all else goes to standard error. The streams are those
      at the time of writing.
  """

  info_on_stdout = False

  def emit(self, record: logging.LogRecord) -> None:
    is_info = record.levelno < logging.WARNING
    prefix = "" if is_info else f"{record.levelname.lower()}: "
    stream = sys.stdout if is_info and self.info_on_stdout else sys.stderr
    try:
      harmless = texts.block if getattr(record, "has_lines", False) else texts.escaped
      text = f"{prefix}{harmless(record.getMessage())}"
      if record.exc_info:
        text += f"\n{texts.block(logging.Formatter().formatException(record.exc_info))}"
      print(text, file=stream, flush=True)
    except Exception:  # As all handlers of `logging` do: a message must not end the program.
      self.handleError(record)


_LINES = _Lines()


def _show_warning(message, category, filename, lineno, file=None, line=None) -> None:
  """Python's `warnings.showwarning`, in our form, which is one line."""
  _OWN.warning("%s: %s", category.__name__, " ".join(str(message).split()))


def _set_level_of_abseil(level: int) -> None:
  """Sets what TF_CPP_MIN_LOG_LEVEL does not reach, the messages that TensorFlow logs by Abseil.

  Among them are a line at the first program that XLA compiles, and a page on each operation whose
  cost cannot be estimated as the size of the batch is open. There is no other way to this setting
  from Python. Where a build of TensorFlow lacks the function, the messages remain.
  """
  folder = os.path.dirname(sys.modules["tensorflow"].__file__)
  try:
    library = ctypes.CDLL(os.path.join(folder, "libtensorflow_framework.so.2"))
  except OSError:
    return
  name = next((name for name in _SET_MIN_LOG_LEVEL if hasattr(library, name)), None)
  if name is None:
    return
  set_min_log_level = getattr(library, name)
  set_min_log_level.argtypes, set_min_log_level.restype = [ctypes.c_int], None
  set_min_log_level(level)


def _level() -> int:
  """Returns the level that the user, or `prepare`, has set."""
  try:
    return int(os.environ.get(_LEVEL, _ERRORS))
  except ValueError:
    return _ALL  # So TensorFlow reads it.


def _asks_for_all(arguments: list[str]) -> bool:
  """Whether absl's flag is there, and is not for less than all; the last one counts."""
  values = []
  for argument, following in itertools.pairwise([*arguments, ""]):
    match = _VERBOSITY.fullmatch(argument)
    if match:
      values.append(following if match[1] is None else match[1])
  return bool(values) and values[-1].isdigit()


def _has_no_gpu() -> bool:
  """Whether TensorFlow cannot find a GPU, or is to find none."""
  if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
    return True
  # Plug-ins for other makers' GPUs, and AMD's driver.
  if importlib.util.find_spec("tensorflow-plugins") or os.path.exists("/dev/kfd"):
    return False
  try:
    ctypes.CDLL("libcuda.so.1")  # The driver, by the name that TensorFlow opens it by.
  except OSError:
    return True
  return False
