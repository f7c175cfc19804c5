"""The command that explains refinement, on the tiny run and on exports of it."""

import pytest
import tensorflow as tf
from PIL import Image

from mtl_ssl_tf import explain, predict
from mtl_ssl_tf.serving import checkpoint_detector, saved_model_detector
from tests import fixtures, web_page_test
from tests.prediction import explanation_test
from tests.serving import tiny_run as tiny_run_lib


@pytest.fixture(name="image")
def _image(tmp_path):
  path = tmp_path / "a.png"
  Image.fromarray(tiny_run_lib.images()[1]).save(path)
  return path


def call(folder, *flags) -> int:
  return explain.main([f"--input={folder / 'a.png'}", f"--output={folder / 'page.html'}", *flags])


def test_a_page_of_a_run(tiny_run, image, tmp_path, capsys):
  assert call(tmp_path, f"--model_dir={tiny_run}", "--score_threshold=0.01") == 0
  assert capsys.readouterr().err.endswith(" detections explained\n")
  reader = web_page_test.read((tmp_path / "page.html").read_bytes())
  assert "Refinement in a.png" in reader.texts
  assert any(text.startswith(f"Checkpoint: {tiny_run / 'best'}") for text in reader.texts)
  assert " window 5: the image" in reader.texts


def test_without_a_detection_of_the_score(tiny_run, image, tmp_path, capsys):
  assert call(tmp_path, f"--model_dir={tiny_run}", "--score_threshold=1") == 0
  line = capsys.readouterr().err.splitlines()[-1]
  start = f"{tmp_path / 'page.html'}: 0 detections explained; the highest score is 0."
  assert line.startswith(start) and line.endswith(", see --score_threshold")


def test_a_saved_model_without_raw_outputs_is_refused(tiny_export, image, tmp_path, capsys):
  assert call(tmp_path, f"--saved_model={tiny_export[0]}") == 1
  (line,) = capsys.readouterr().err.splitlines()
  assert line == (
    f"error: --saved_model {str(tiny_export[0])!r} has no proposal_class_scores,"
    " proposal_refined_class_scores or proposal_refinement_parts: it was exported with its"
    " detections alone; accepted: an export with --outputs=raw, or the run itself as --model_dir"
  )
  assert not (tmp_path / "page.html").exists()


@pytest.mark.parametrize("command", [explain, predict])
def test_a_run_is_asked_for_the_checkpoint_that_is_given(tmp_path, monkeypatch, command):
  asked = []

  def load(*args, **kwargs):
    asked.append((args, kwargs))
    raise ValueError("no run")

  monkeypatch.setattr(checkpoint_detector, "CheckpointDetector", load)
  Image.fromarray(fixtures.noise_image(10, 20)).save(tmp_path / "a.png")
  output = "--output_dir=out" if command is predict else f"--output={tmp_path / 'page.html'}"
  flags = [f"--input={tmp_path / 'a.png'}", output, "--model_dir=run"]
  assert command.main(flags) == command.main([*flags, "--checkpoint=run/ckpt-10"]) == 1
  options = {"raw_outputs": True} if command is explain else {}
  assert asked == [(("run", None), options), (("run", "run/ckpt-10"), options)]


def test_a_detection_that_fails_is_one_line(image, tmp_path, monkeypatch, capsys):
  def fail(*_):
    raise tf.errors.ResourceExhaustedError(None, None, "out of memory")

  monkeypatch.setattr(saved_model_detector, "SavedModelDetector", RawDetector)
  monkeypatch.setattr(RawDetector, "detect_encoded", fail)
  assert call(tmp_path, "--saved_model=exported") == 1
  assert capsys.readouterr().err == "error: out of memory\n"


class RawDetector:
  """An export with raw outputs, made up."""

  class_names = ("cat", "dog")
  output_names = frozenset(explanation_test.outputs())

  def __init__(self, path):
    self.path = path

  def detect_encoded(self, contents):
    (content,) = contents
    assert content.startswith(b"\x89PNG")
    return explanation_test.outputs()


def test_a_saved_model_with_raw_outputs(tmp_path, monkeypatch):
  monkeypatch.setattr(saved_model_detector, "SavedModelDetector", RawDetector)
  Image.fromarray(fixtures.noise_image(100, 200)).save(tmp_path / "a.png")
  assert call(tmp_path, "--saved_model=exported", "--score_threshold=0.75") == 0
  texts = web_page_test.read((tmp_path / "page.html").read_bytes()).texts
  assert "1. cat: 0.50 → 0.80" in texts
  assert not any(text.startswith("2. ") for text in texts)
  assert "Detector: exported. Detections of score 0.75 and more." in texts


@pytest.mark.parametrize(
  ("flags", "message"),
  [
    (["--score_threshold=2"], "error: --score_threshold is 2.0; accepted: 0 to 1"),
    (["--input=/nowhere/a.png"], "error: [Errno 2] No such file or directory: '/nowhere/a.png'"),
    (["--input={folder}/b.png"], "error: b.png: image: the file is empty; accepted: a whole JPEG"),
    (["--output=/nowhere/x.html"], "error: /nowhere/x.html: cannot be written; accepted: a file"),
    (["--checkpoint=x"], "error: --checkpoint is 'x'; accepted: with --model_dir alone"),
    ([], "error: --saved_model '/nowhere/x' is no exported detector: it is no folder"),
  ],
)
def test_errors_are_one_line(image, tmp_path, capsys, flags, message):
  (tmp_path / "b.png").touch()
  flags = [flag.format(folder=tmp_path) for flag in flags]
  assert call(tmp_path, "--saved_model=/nowhere/x", *flags) == 1
  (line,) = capsys.readouterr().err.splitlines()
  assert line.startswith(message)
