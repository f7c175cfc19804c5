"""Tests of the check of some records before a run."""

import os
import shlex

import pytest

from mtl_ssl_tf.command_line import suggest as suggest_flags
from mtl_ssl_tf.tasks import mtl_detection
from mtl_ssl_tf.training import data_sample, driver
from tests import fixtures
from tests.tasks import tiny


def _experiment(folder, name, *records, **data):
  """The tiny experiment with these records in the place of `name`'s."""
  path = fixtures.write_records(folder / f"{name}.tfrecord", records)
  tiny.write_records(folder / "sound")
  override = {"task": {name: {"input_path": path, **data}}}
  return tiny.experiment(folder / "sound", override)


@pytest.fixture(name="folder")
def _folder(tmp_path):
  (tmp_path / "sound").mkdir()
  return tmp_path


def _record(source_id, classes=(1,), boxes=((0, 0, 40, 40),)):
  image = fixtures.noise_image(48, 64, seed=int(source_id))
  return fixtures.serialized_example(image, boxes, classes, source_id=source_id)


def test_sound_records_go_by_in_silence(folder, capsys):
  params = _experiment(folder, "train_data", _record("0"), _record("1"))
  data_sample.check(params.task, "train_data", 8)
  assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["train_data", "validation_data"])
def test_faults_end_the_run_before_anything_is_built(folder, name, monkeypatch):
  records = [_record(str(i), classes=[i % 2 + 2]) for i in range(8)]
  params = _experiment(folder, name, *records)
  monkeypatch.setattr(
    mtl_detection.MtlDetectionTask, "for_run", lambda *_, **__: pytest.fail("built")
  )
  with pytest.raises(ValueError) as error:
    driver.run(params, "train_and_eval", str(folder / "model"), validate_data=8)
  lines = str(error.value).splitlines()
  assert lines[0] == (
    f"task.{name}.input_path: faults 4 in the records that were examined, among them:"
  )
  assert lines[1] == (
    f"  {name}.tfrecord, record 1: object 1 image/object/class/label: 3; accepted: 1 … 2, the"
    " lines of the label map"
  )
  assert len(lines) == 1 + 4 + 1
  assert lines[-1].startswith("accepted: records without faults; python -m mtl_ssl_tf.data.valid")
  assert not (folder / "model").exists()


def test_the_message_is_bounded(folder):
  params = _experiment(folder, "train_data", *[_record(str(i), classes=[0]) for i in range(20)])
  with pytest.raises(ValueError, match="faults 20 in the records") as error:
    data_sample.check(params.task, "train_data", 20)
  assert len(str(error.value).splitlines()) == 1 + 5 + 1


def test_only_so_many_are_examined(folder):
  # Of eight, two: 2 and 6, and the last one.
  for faulty, is_found in ((1, False), (2, True), (6, True), (7, True)):
    records = [_record(str(i), classes=[9 if i == faulty else 1]) for i in range(8)]
    task = _experiment(folder, "train_data", *records).task
    if is_found:
      with pytest.raises(ValueError, match=f"record {faulty}: object 1 image/object/class/label"):
        data_sample.check(task, "train_data", 2)
    else:
      data_sample.check(task, "train_data", 2)


def test_none_are_examined(folder):
  params = _experiment(folder, "train_data", _record("0", classes=[9]))
  data_sample.check(params.task, "train_data", 0)


@pytest.mark.parametrize("name", ["train_data", "validation_data"])
def test_warnings_in_short(folder, capsys, name):
  twice = [(0, 0, 40, 40)] * 2
  records = [_record(str(i), (1, 1), twice) for i in range(3)]
  params = _experiment(folder, name, *records, max_num_boxes=1)
  data_sample.check(params.task, name, 8)
  assert capsys.readouterr().err.splitlines() == [
    f"warning: task.{name}: duplicate_box (3): {name}.tfrecord, record 0: object 2 ('cat')"
    " box: repeats object 1 (IoU 1.00); accepted: each object once",
    f"warning: task.{name}: too_many_boxes (3): {name}.tfrecord, record 0: boxes: 2"
    " boxes, of which the last would be left out; accepted: at most 1 (max_num_boxes)",
  ]


class TestAnchors:
  """Boxes of 5 × 5 pixels once resized; anchors have sides of 32 and 64."""

  def _check(self, folder, name="train_data", boxes=((0, 0, 4, 4), (20, 20, 24, 24)), **task):
    records = [_record(str(i), (1, 2), boxes) for i in range(3)]
    params = _experiment(folder, name, *records)
    params.task.override(task)
    data_sample.check(params.task, name, 8)
    return params.task

  def _told(self, capsys) -> list[str]:
    lines = capsys.readouterr().err.splitlines()
    return [line for line in lines if "anchors_miss_boxes" in line]

  def test_too_many_missed_boxes_come_with_the_command_that_fits_them(self, folder, capsys):
    task = self._check(folder)
    assert self._told(capsys) == [
      "warning: task.train_data: anchors_miss_boxes (1): task.anchors: boxes: 6 of 6 (100.0 %)"
      " overlap no anchor by an IoU of 0.5: 6 smaller than all anchors; accepted: at most 5 %;"
      f" mtl-ssl suggest --records {task.train_data.input_path} --validation_records"
      f" {task.validation_data.input_path} --output suggested.yaml writes anchors that fit"
    ]

  def test_that_command_takes_its_flags(self, folder, capsys):
    self._check(folder)
    command = self._told(capsys)[0].split("mtl-ssl suggest ")[1].split(" writes")[0]
    flags = suggest_flags.parser().parse_args(shlex.split(command))
    assert flags.output == "suggested.yaml"
    assert flags.records != flags.validation_records

  def test_of_several_files_it_names_none(self, folder, capsys):
    path = [str(folder / "train_data.tfrecord")]
    self._check(folder, train_data={"input_path": path})
    assert " --records RECORDS --validation_records /" in self._told(capsys)[0]

  def test_a_feature_pyramid_has_its_own_anchors(self, folder, capsys):
    pyramid = {
      "roi_head": {"type": "fpn"},
      "fpn": {"min_level": 2, "max_level": 5},
      "anchors": {"cells": 1.25},
    }
    self._check(folder, **pyramid)
    assert self._told(capsys) == []
    self._check(folder, **pyramid | {"anchors": {"cells": 8.0}})
    assert self._told(capsys)[0].endswith(
      "6 smaller than all anchors; accepted: at most 5 %; change task.anchors.cells, level_scales"
      " or aspect_ratios"
    )

  @pytest.mark.parametrize(
    ("name", "boxes"),
    [("train_data", [(0, 0, 40, 40)] * 2), ("validation_data", [(0, 0, 4, 4)] * 2)],
  )
  def test_boxes_that_fit_and_evaluation_pass(self, folder, capsys, name, boxes):
    self._check(folder, name, boxes)
    assert self._told(capsys) == []


def test_a_damaged_file(folder):
  params = _experiment(folder, "train_data", _record("0"), _record("1"))
  path = params.task.train_data.input_path
  os.truncate(path, os.path.getsize(path) - 3)
  with pytest.raises(ValueError, match="record 1: framing: the file ends after"):
    data_sample.check(params.task, "train_data", 8)


def test_an_impossible_input_size(folder):
  params = _experiment(folder, "train_data", _record("0"), input_size=[64])
  message = r"^task\.train_data\.input_size is \[64\]; accepted: height and width, at least 1 each$"
  with pytest.raises(ValueError, match=message):
    data_sample.check(params.task, "train_data", 8)
