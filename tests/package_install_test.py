"""The wheel: what it holds, and that it works without the clone."""

import email
import json
import os
import pathlib
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile

import numpy as np
import pytest
from PIL import Image

import mtl_ssl_tf

_ROOT = pathlib.Path(__file__).parents[1]
_PRINT = "import mtl_ssl_tf; print(mtl_ssl_tf.__version__, mtl_ssl_tf.__file__)"


@pytest.fixture(name="wheel", scope="module")
def _wheel(tmp_path_factory):
  """The wheel, built from a copy, as building leaves files behind."""
  source, target = tmp_path_factory.mktemp("source") / "clone", tmp_path_factory.mktemp("wheel")
  ignored = shutil.ignore_patterns(".*", "__pycache__", "runs", "build", "dist", "*.egg-info")
  shutil.copytree(_ROOT, source, ignore=ignored)
  pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check"]
  flags = ["--no-deps", "--no-index", "--no-build-isolation", f"--wheel-dir={target}"]
  subprocess.run([*pip, *flags, str(source)], check=True)
  (path,) = target.iterdir()
  return path


@pytest.fixture(name="installed", scope="module")
def _installed(wheel, tmp_path_factory):
  """`bin` of an environment with the wheel, and with the dependencies of this environment."""
  folder = tmp_path_factory.mktemp("environment")
  venv.create(folder)
  python = folder / "bin" / "python"
  pip = [sys.executable, "-m", "pip", f"--python={python}", "install", "--quiet"]
  subprocess.run([*pip, "--no-deps", "--no-index", str(wheel)], check=True)
  (site_packages,) = folder.glob("lib/python*/site-packages")
  (site_packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
  return folder / "bin"


def _run(*command, cwd):
  settings = ("PYTHONPATH", "TF_CPP_MIN_LOG_LEVEL", "TF_USE_LEGACY_KERAS")
  environment = {name: value for name, value in os.environ.items() if name not in settings}
  return subprocess.run(
    [str(part) for part in command],
    capture_output=True,
    text=True,
    check=False,
    cwd=cwd,
    env=environment,
  )


@pytest.mark.slow
def test_the_wheel_holds_the_package_alone(wheel):
  about = f"mtl_ssl_tf-{mtl_ssl_tf.__version__}.dist-info"
  with zipfile.ZipFile(wheel) as file:
    names = set(file.namelist())
    metadata = email.message_from_bytes(file.read(f"{about}/METADATA"))
  modules = {str(path.relative_to(_ROOT)) for path in (_ROOT / "mtl_ssl_tf").rglob("*.py")}
  assert {name for name in names if not name.startswith(f"{about}/")} == modules
  assert f"{about}/licenses/LICENSE" in names
  assert metadata["Version"] == mtl_ssl_tf.__version__


@pytest.mark.slow
def test_imports_from_another_folder(installed, tmp_path):
  done = _run(installed / "python", "-c", _PRINT, cwd=tmp_path)
  version, path = done.stdout.split()
  assert version == mtl_ssl_tf.__version__
  assert pathlib.Path(path).is_relative_to(installed.parent)
  done = _run(installed / "mtl-ssl", "--version", cwd=tmp_path)
  assert done.stdout == f"mtl-ssl {version}\n"


@pytest.mark.slow
def test_exports_and_predicts_from_another_folder(installed, tiny_run, tmp_path):
  # An export needs most of the package: configuration, modeling, data, serving.
  flags = [f"--model_dir={tiny_run}", "--export_dir=exported", "--no-verify"]
  done = _run(installed / "mtl-ssl", "export", *flags, cwd=tmp_path)
  assert done.returncode == 0, done.stderr
  assert f"mtl_ssl_tf: {mtl_ssl_tf.__version__}\n" in (
    tmp_path / "exported" / "1" / "model_card.md"
  ).read_text().replace("`", "").replace("- ", "")

  image = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
  Image.fromarray(image).save(tmp_path / "picture.png")
  flags = ["--saved_model=exported", "--input=picture.png", "--output_dir=out"]
  done = _run(installed / "mtl-ssl", "predict", *flags, "--score_threshold=0", cwd=tmp_path)
  assert done.returncode == 0, done.stderr
  found = json.loads((tmp_path / "out" / "predictions.json").read_text())
  assert [image["file_name"] for image in found["images"]] == ["picture.png"]
  assert (tmp_path / "out" / "drawn" / "picture.png.jpg").exists()
