"""Tests of converting as a Beam pipeline: the same bytes, and continuing with existing files."""

import importlib.machinery
import importlib.util
import json
import pathlib
import sys
import types

import pytest

from mtl_ssl_tf.data import beam_conversion, pascal_voc
from tests.data import coco_files, voc_files


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


class _Step:
  """A step of a pipeline, which works at once."""

  def __init__(self, work):
    self._work = work

  def __rrshift__(self, name):
    return self

  def __ror__(self, values):
    return self._work(values)


@pytest.fixture(name="asked")
def _asked(monkeypatch):
  """Something in Beam's place that works in this process; the flags of each pipeline."""
  asked = []

  class Pipeline:
    def __init__(self, options):
      asked.append(options)

    def __enter__(self):
      return self

    def __exit__(self, *exception):
      return None

  options = types.ModuleType("pipeline_options")
  options.PipelineOptions = lambda flags, save_main_session: flags
  modules = {
    "apache_beam": types.ModuleType("apache_beam"),
    "apache_beam.options": types.SimpleNamespace(pipeline_options=options),
  }
  beam = modules["apache_beam"]
  beam.__spec__ = importlib.machinery.ModuleSpec("apache_beam", None)
  beam.Pipeline = Pipeline
  beam.Create = lambda values: _Step(lambda pipeline: values)
  beam.Reshuffle = lambda: _Step(lambda values: values[::-1])
  beam.Map = lambda function, *args: _Step(lambda values: [function(v, *args) for v in values])
  for name, module in modules.items():
    monkeypatch.setitem(sys.modules, name, module)
  return asked


def test_shards_of_a_pipeline_become_a_split(tmp_path, asked, capsys):
  voc = _write(tmp_path)
  pascal_voc.convert_split(voc, "train", tmp_path / "local", on_error="skip", num_shards=2)
  assert beam_conversion.main(_flags(tmp_path, "--runner=x", "--flink_master=y")) == 0
  # Classes are collected first.
  assert asked == [["--runner=x", "--flink_master=y"]] * 2
  local, pipeline = (
    {path.name: path.read_bytes() for path in (tmp_path / folder).iterdir()}
    for folder in ("local", "records")
  )
  assert local == pipeline
  capsys.readouterr()
  assert beam_conversion.main(_flags(tmp_path, "--on_error=fail")) == 1
  assert "JPEGImages/2.jpg: image: the file is empty; accepted" in capsys.readouterr().err


def test_coco_files_too(tmp_path, asked):
  coco_files.write(tmp_path, coco_files.text([coco_files.annotation_entry()]))
  flags = [f"--annotations={tmp_path / 'train.json'}", f"--image_dir={tmp_path / 'images'}"]
  flags += ["--split=train", f"--output_dir={tmp_path / 'records'}", "--runner=x"]
  assert beam_conversion.main(["coco_json", *flags]) == 0
  assert asked == [["--runner=x"]]
  manifest = json.loads((tmp_path / "records/manifest_train.json").read_text())
  assert manifest["boxes_per_class"]["cat"] == 1
