"""Options of the test suite."""

import pathlib


def pytest_addoption(parser):
  parser.addoption(
    "--golden_dir",
    default=str(pathlib.Path(__file__).parent / "golden"),
    help="folder of .npz files with the released code's tensors; golden_test.py checks each",
  )


def pytest_generate_tests(metafunc):
  if "golden_file" in metafunc.fixturenames:
    folder = pathlib.Path(metafunc.config.getoption("golden_dir"))
    files = sorted(folder.glob("*.npz"))
    if not files:
      raise ValueError(f"--golden_dir {str(folder)!r} holds no .npz file")
    metafunc.parametrize("golden_file", files, ids=[file.stem for file in files], scope="module")
