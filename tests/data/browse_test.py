"""The command that shows training images: what it takes, what it writes, and what it refuses."""

import pathlib
import shutil

import pytest
import tensorflow as tf
import yaml

from mtl_ssl_tf.data import browse
from mtl_ssl_tf.serving import export_lib
from mtl_ssl_tf.tasks import fed_images
from tests import web_page_test
from tests.serving import tiny_run as tiny_run_lib
from tests.tasks import tiny


@pytest.fixture(name="folder")
def _folder(tmp_path) -> pathlib.Path:
  tiny.write_records(tmp_path)
  (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(tiny.settings(tmp_path)))
  return tmp_path


def call(folder: pathlib.Path, *flags: str) -> int:
  return browse.main([f"--output={folder / 'page.html'}", *flags])


def test_a_page_of_the_configuration(folder, capsys):
  override = "task: {train_data: {crowd: keep}}"
  flags = (f"--config_file={folder / 'tiny.yaml'}", f"--params_override={override}")
  assert call(folder, *flags, "--num_images=3", "--first_batch=5") == 0
  assert capsys.readouterr().err == f"{folder / 'page.html'}: 3 images from batch 5 on\n"
  reader = web_page_test.read((folder / "page.html").read_bytes())
  assert [text[:13] for text in reader.texts if text.startswith("batch")] == [
    "batch 5, row ",
    "batch 5, row ",
    "batch 6, row ",
  ]
  assert (
    f"Configuration: {folder / 'tiny.yaml'}. Records: {folder / 'train.tfrecord'}. From batch 5 on,"
    " in batches of 2."
  ) in reader.texts
  assert "Training images as they are fed" in reader.texts
  assert {"cat", "dog"} <= {text.strip() for text in reader.texts}


@pytest.fixture(name="asked")
def _asked(monkeypatch) -> list[tuple]:
  """Stands in for the images; notes what they are asked for with."""
  calls = []

  def images(task, num_images, first_batch, model):
    calls.append((type(task).__name__, num_images, first_batch, model))
    return []

  monkeypatch.setattr(fed_images, "fed_images", images)
  monkeypatch.setattr(export_lib, "build_model", lambda run: f"model of {run.choice}")
  return calls


def test_a_run_gives_its_configuration_its_step_and_its_label_map(folder, asked, tiny_run):
  run = folder / "run"
  shutil.copytree(tiny_run, run)
  params = yaml.safe_load((run / "params.yaml").read_text())
  params["task"]["train_data"]["input_path"] = str(run / "records.tfrecord")
  params["task"]["label_map"] = "/moved/label_map.txt"
  (run / "params.yaml").write_text(yaml.safe_dump(params))
  assert call(folder, f"--model_dir={run}") == 0
  assert call(folder, f"--model_dir={run}", "--first_batch=2", "--num_images=7") == 0
  # Nothing is mined, so that no model is built.
  assert asked == [("MtlDetectionTask", 24, 5, None), ("MtlDetectionTask", 7, 2, None)]
  assert f"Configuration: the run in {run}. Records: " in (folder / "page.html").read_text()
  assert call(folder, f"--model_dir={run}", "--first_batch=0") == 0
  last = run / f"ckpt-{tiny_run_lib.LATEST_STEP}"
  assert call(folder, f"--model_dir={run}", f"--checkpoint={last}") == 0
  assert [first_batch for _, _, first_batch, _ in asked[2:]] == [0, tiny_run_lib.LATEST_STEP]
  assert "größe" in (folder / "page.html").read_text()


def test_boxes_are_mined_by_the_run_s_best_checkpoint(folder, asked, tiny_run, capsys):
  flags = ["--experiment=mtl_frcnn_co_mining", f"--config_file={folder / 'tiny.yaml'}"]
  assert call(folder, *flags) == 0
  assert call(folder, *flags, f"--model_dir={tiny_run}") == 1
  assert capsys.readouterr().err.splitlines()[-1] == (
    f"error: --model_dir '{tiny_run}' has the classes disc, ring, größe; accepted: those of"
    " task.label_map, cat, dog"
  )
  (folder / "label_map.txt").write_text("disc\nring\ngröße\n")
  assert call(folder, *flags, f"--model_dir={tiny_run}") == 0
  assert asked == [("CoMiningTask", 24, 0, None), ("CoMiningTask", 24, 5, "model of best")]
  best = tiny_run / "best" / "best_ckpt-1"
  assert f"Boxes are mined by {best} (best)." in (folder / "page.html").read_text()


def test_all_files_of_the_configuration_are_named(folder, asked):
  (folder / "more.yaml").write_text("task: {train_data: {global_batch_size: 3}}\n")
  files = [folder / "tiny.yaml", folder / "more.yaml"]
  assert call(folder, *(f"--config_file={file}" for file in files)) == 0
  page = (folder / "page.html").read_text()
  assert f"Configuration: {files[0]}, {files[1]}. Records: " in page and "batches of 3." in page


def test_records_that_break_off_are_one_line(folder, monkeypatch, capsys):
  def break_off(*_):
    raise tf.errors.DataLossError(None, None, "corrupted record")

  monkeypatch.setattr(fed_images, "fed_images", break_off)
  assert call(folder, f"--config_file={folder / 'tiny.yaml'}") == 1
  (line,) = capsys.readouterr().err.splitlines()
  assert line.startswith("error: ") and "corrupted record" in line


def test_the_checkpoint_is_that_of_the_flag(folder, monkeypatch):
  asked = []

  def read_run(*args):
    asked.append(args)
    raise tf.errors.DataLossError(None, None, "why")

  monkeypatch.setattr(export_lib, "read_run", read_run)
  assert call(folder, "--model_dir=x", "--checkpoint=ckpt-3") == 1
  assert asked == [("x", "ckpt-3")]


@pytest.mark.parametrize(
  ("flags", "message"),
  [
    ([], "error: --config_file is missing; accepted: a configuration, or --model_dir of a run"),
    (["--num_images=0"], "error: --num_images is 0; accepted: at least 1"),
    (["--first_batch=-1"], "error: --first_batch is -1; accepted: 0 or more"),
    (["--checkpoint=x"], "error: --checkpoint is 'x'; accepted: with --model_dir alone"),
    (
      ["--model_dir=x", "--params_override=y"],
      "error: --params_override is 'y'; accepted: with --config_file alone",
    ),
    (["--output=/nowhere/x.html"], "error: /nowhere/x.html: cannot be written; accepted: a file"),
    (["--model_dir=/nowhere"], "error: --model_dir '/nowhere' is no folder; accepted: that of"),
    (
      ["--experiment=insloc", "--config_file={folder}/insloc.yaml"],
      "error: the configuration is a pretraining's, which has no boxes; accepted: a detector's (mt",
    ),
    (
      ["--params_override=task: {train_data: {input_path: /nowhere/x-*}}"],
      "error: task.train_data.input_path: no record files match '/nowhere/x-*'",
    ),
    (
      ["--params_override=task: {train_data: {scale_min: 2.0}}"],
      "error: task.train_data.scale_min is 2.0; accepted: ",
    ),
  ],
)
def test_errors_are_one_line_before_any_work(folder, capsys, monkeypatch, flags, message):
  monkeypatch.setattr(fed_images, "fed_images", lambda *_: pytest.fail("work"))
  (folder / "insloc.yaml").write_text("task: {seed: 1}\n")
  flags = [flag.format(folder=folder) if "{folder}" in flag else flag for flag in flags]
  if flags and "--config_file" not in " ".join(flags) and "--model_dir" not in flags[0]:
    flags.append(f"--config_file={folder / 'tiny.yaml'}")
  assert call(folder, *flags) == 1
  (line,) = capsys.readouterr().err.splitlines()
  assert line.startswith(message)
  assert not (folder / "page.html").exists()
