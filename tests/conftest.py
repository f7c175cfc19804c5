"""Options of the test suite."""

import fcntl
import os
import pathlib
import pickle
import signal
import subprocess
import sys

import pytest

from mtl_ssl_tf import terminal
from tests import terminal_lines

# Programs that XLA compiles here run once or twice: LLVM need not optimize them, which takes most
# of the time. Processes that tests start inherit it. TensorFlow reads it when it compiles first.
os.environ.setdefault(
  "XLA_FLAGS", "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
)

# A shell ignores Ctrl-C in what it runs in the background, and so would all processes of the tests.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
  signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser):
  parser.addoption(
    "--golden_dir",
    default=str(pathlib.Path(__file__).parent / "golden"),
    help="folder of .npz files with the released code's tensors; golden_test.py checks each",
  )


def pytest_collection_modifyitems(items):
  """Files with slow tests come first, or one process would end alone with them."""
  slow = {item.path for item in items if item.get_closest_marker("slow")}
  items.sort(key=lambda item: item.path not in slow)


def pytest_generate_tests(metafunc):
  if "golden_file" in metafunc.fixturenames:
    folder = pathlib.Path(metafunc.config.getoption("golden_dir"))
    files = sorted(folder.glob("*.npz"))
    if not files:
      raise ValueError(f"--golden_dir {str(folder)!r} holds no .npz file")
    metafunc.parametrize("golden_file", files, ids=[file.stem for file in files], scope="module")


@pytest.fixture(autouse=True)
def _messages_as_in_a_command():
  """Warnings are lines on standard error; whether a test called a command before or not."""
  terminal.set_up()


@pytest.fixture(name="once", scope="session")
def _once(tmp_path_factory):
  """Calls a function of a new folder in the first of pytest's processes that asks for it.

  All processes get what the function returned. They must not change the folder.
  """
  root = tmp_path_factory.getbasetemp()
  if "PYTEST_XDIST_WORKER" in os.environ:
    root = root.parent

  def call(name, function):
    with (root / f"{name}.lock").open("w") as lock:
      fcntl.flock(lock, fcntl.LOCK_EX)
      result = root / f"{name}.pickle"
      if not result.exists():
        (root / name).mkdir()
        result.write_bytes(pickle.dumps(function(root / name)))
      return pickle.loads(result.read_bytes())

  return call


@pytest.fixture(name="browser", scope="session")
def _browser(tmp_path_factory):
  """A browser to open pages with; tests that ask for it are skipped where there is none."""
  from tests import chromium

  program = chromium.find()
  if program is None:
    pytest.skip("no Chromium (apt-get install chromium), so that no page is opened")
  with chromium.running(program, tmp_path_factory.mktemp("profile")) as opened:
    yield opened


@pytest.fixture(name="tiny_run", scope="session")
def _tiny_run(once):
  """Folder of a tiny training run, see `tests/serving/tiny_run.py`; not to be changed."""
  from tests.serving import tiny_run  # Here, as most tests need no TensorFlow.

  return once("tiny_run", tiny_run.write)


@pytest.fixture(name="_tiny_exported", scope="session")
def _fixture_tiny_exported(once, tiny_run):
  """The folder that the command exported `tiny_run` to, and the command as it ended."""

  def export(folder):
    export_dir = folder / "new" / "detector"
    done = subprocess.run(
      [sys.executable, "export.py", f"--model_dir={tiny_run}", f"--export_dir={export_dir}"],
      cwd=pathlib.Path(__file__).parents[1],
      env=terminal_lines.users_environment(),
      capture_output=True,
      text=True,
      check=False,
    )
    assert done.returncode == 0, done.stderr
    return export_dir, done

  return once("tiny_export", export)


@pytest.fixture(name="tiny_export_process", scope="session")
def _tiny_export_process(_tiny_exported):
  """The command that wrote `tiny_export`, as it ended."""
  return _tiny_exported[1]


@pytest.fixture(name="tiny_export", scope="session")
def _tiny_export(_tiny_exported):
  """The first version of `tiny_run` as the command writes it, and what the command printed."""
  export_dir, done = _tiny_exported
  return export_dir / "1", done.stdout


@pytest.fixture(name="tiny_detector", scope="session")
def _tiny_detector(tiny_export):
  """`tiny_export`, loaded for all tests that only ask it, as its first answers take long."""
  from mtl_ssl_tf.serving import saved_model_detector  # Here, as most tests need no TensorFlow.

  return saved_model_detector.SavedModelDetector(tiny_export[0])


@pytest.fixture(name="tiny_loaded", scope="session")
def _tiny_loaded(tiny_detector):
  """`tiny_export`, loaded by `tf.saved_model.load`."""
  return tiny_detector._loaded
