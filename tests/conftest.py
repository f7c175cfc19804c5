"""Options of the test suite."""

import os
import pathlib
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


@pytest.fixture(name="tiny_run", scope="session")
def _tiny_run(tmp_path_factory):
  """Folder of a tiny training run, see `tests/serving/tiny_run.py`; not to be changed."""
  from tests.serving import tiny_run  # Here, as most tests need no TensorFlow.

  return tiny_run.write(tmp_path_factory.mktemp("tiny_run"))


@pytest.fixture(name="tiny_export_dir", scope="session")
def _tiny_export_dir(tmp_path_factory):
  return tmp_path_factory.mktemp("tiny_export") / "new" / "detector"


@pytest.fixture(name="tiny_export_process", scope="session")
def _tiny_export_process(tiny_run, tiny_export_dir):
  """The command that wrote `tiny_export`, as it ended."""
  done = subprocess.run(
    [sys.executable, "export.py", f"--model_dir={tiny_run}", f"--export_dir={tiny_export_dir}"],
    cwd=pathlib.Path(__file__).parents[1],
    env=terminal_lines.users_environment(),
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 0, done.stderr
  return done


@pytest.fixture(name="tiny_export", scope="session")
def _tiny_export(tiny_export_dir, tiny_export_process):
  """The first version of `tiny_run` as the command writes it, and what the command printed."""
  return tiny_export_dir / "1", tiny_export_process.stdout


@pytest.fixture(name="tiny_detector", scope="session")
def _tiny_detector(tiny_export):
  """`tiny_export`, loaded for all tests that only ask it, as its first answers take long."""
  from mtl_ssl_tf.serving import saved_detector  # Here, as most tests need no TensorFlow.

  return saved_detector.SavedDetector(tiny_export[0])


@pytest.fixture(name="tiny_loaded", scope="session")
def _tiny_loaded(tiny_detector):
  """What `tf.saved_model.load` makes of `tiny_export`."""
  return tiny_detector._loaded
