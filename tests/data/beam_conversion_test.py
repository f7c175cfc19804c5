"""Tests of converting as a Beam pipeline: the same bytes, and continuing with existing files."""

import importlib.util
import pathlib

import pytest

from mtl_ssl_tf.data import beam_conversion, pascal_voc
from tests.data import voc_files


def _write(root: pathlib.Path) -> pathlib.Path:
  files = {
    f"{i}.xml": voc_files.annotation_xml([voc_files.object_xml("cat" if i % 2 else "dog")])
    for i in range(5)
  }
  return voc_files.write(root / "voc", files | {"2.jpg": b""})


def _flags(root: pathlib.Path, *more: str) -> list[str]:
  flags = [f"--data_dir={root / 'voc'}", f"--output_dir={root / 'records'}", "--split=train"]
  return ["pascal_voc", *flags, "--num_shards=2", "--on_error=skip", *more]


def test_the_bytes_of_the_local_path(tmp_path, capsys):
  pytest.importorskip("apache_beam", reason="needs the packages of requirements-beam.txt")
  voc = _write(tmp_path)
  options = {"on_error": "skip", "num_shards": 2}
  pascal_voc.convert_split(voc, "train", tmp_path / "local", **options)
  status = beam_conversion.main(_flags(tmp_path, "--runner=DirectRunner"))
  assert status == 0, capsys.readouterr().err
  local, pipeline = (
    {path.name: path.read_bytes() for path in (tmp_path / folder).iterdir()}
    for folder in ("local", "records")
  )
  assert local == pipeline
  assert len(local) == 5


def test_without_beam_there_is_one_line(tmp_path, monkeypatch, capsys):
  find_spec = importlib.util.find_spec
  monkeypatch.setattr(
    importlib.util, "find_spec", lambda name: None if name == "apache_beam" else find_spec(name)
  )
  _write(tmp_path)
  assert beam_conversion.main(_flags(tmp_path)) == 1
  assert capsys.readouterr().err == (
    "error: Apache Beam is not installed; accepted: pip install 'mtl_ssl_tf[beam]', or make beam in"
    " a clone\n"
  )


def test_faults_are_told_as_by_the_converter(tmp_path, capsys):
  pytest.importorskip("apache_beam", reason="needs the packages of requirements-beam.txt")
  _write(tmp_path)
  assert beam_conversion.main(_flags(tmp_path, "--on_error=fail", "--runner=DirectRunner")) == 1
  assert "JPEGImages/2.jpg: image: the file is empty; accepted" in capsys.readouterr().err
  assert not (tmp_path / "records").exists()
