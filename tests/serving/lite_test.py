"""Tests of lite.py."""

import os

import pytest
import tensorflow as tf

from mtl_ssl_tf.serving import lite, verification


@pytest.mark.slow
def test_detects_what_the_checkpoint_does(tiny_run, tmp_path, capsys):
  output = tmp_path / "tiny.tflite"
  assert lite.main([f"--model_dir={tiny_run}", f"--output={output}", "--verify_images=2"]) == 0
  printed = capsys.readouterr().out
  assert "export and checkpoint on 2 images: largest difference " in printed
  inputs = tf.lite.Interpreter(str(output)).get_signature_runner().get_input_details()
  assert {name: detail["shape"].tolist() for name, detail in inputs.items()} == {
    "canvases": [1, 128, 160, 3],
    "sizes_px": [1, 2],
    "original_sizes": [1, 2],
  }
  assert os.listdir(tmp_path) == ["tiny.tflite"]


class TestWithoutConverting:
  @pytest.fixture(autouse=True)
  def _light(self, monkeypatch):
    monkeypatch.setattr(lite.export_lib, "build_module", lambda *args, **kwargs: None)
    monkeypatch.setattr(lite.export_lib, "build_model", lambda *args: None)
    monkeypatch.setattr(lite, "convert", lambda module: b"content")

  def test_what_differs_is_not_written(self, tiny_run, tmp_path, monkeypatch, capsys):
    report = verification.Comparison(2, 0.0, 0.0, 0.5, 0, "mAP", 0.5, 0.5)
    monkeypatch.setattr(verification, "compare", lambda *args, **kwargs: report)

    class Interpreter:
      def __init__(self, model_content):
        assert model_content == b"content"

      def get_signature_runner(self):
        return None

    monkeypatch.setattr(tf.lite, "Interpreter", Interpreter)
    assert lite.main([f"--model_dir={tiny_run}", f"--output={tmp_path / 'a'}"]) == 1
    assert "error: the file differs from its checkpoint and is not" in capsys.readouterr().err
    assert os.listdir(tmp_path) == []

  def test_without_comparison(self, tiny_run, tmp_path, capsys):
    arguments = [f"--model_dir={tiny_run}", f"--output={tmp_path / 'a'}", "--verify_images=0"]
    assert lite.main(arguments) == 0
    assert (tmp_path / "a").read_bytes() == b"content"
    assert capsys.readouterr() == (f"TensorFlow Lite: {tmp_path / 'a'} (0.0 MiB)\n", "")

  def test_errors(self, tiny_run, tmp_path, monkeypatch, capsys):
    arguments = [f"--model_dir={tiny_run}", f"--output={tmp_path / 'no' / 'a'}"]
    assert lite.main([*arguments, "--verify_images=-1"]) == 1
    assert capsys.readouterr().err == "error: --verify_images is -1; accepted: at least 0\n"
    assert lite.main([*arguments, "--verify_images=0"]) == 1
    assert "No such file" in capsys.readouterr().err
    monkeypatch.setattr(verification, "has_records", lambda data: False)
    assert lite.main(arguments) == 1
    assert "no evaluation data available; accepted: 0 to do without" in capsys.readouterr().err


@pytest.mark.parametrize(
  ("flags", "expected"),
  [
    ([], {"checkpoint": None, "verify_images": 20}),
    (
      ["--checkpoint=run/ckpt-10", "--verify_images=3"],
      {"checkpoint": "run/ckpt-10", "verify_images": 3},
    ),
  ],
)
def test_flags(monkeypatch, flags, expected):
  given = []
  monkeypatch.setattr(lite, "write", lambda *args, **options: given.append((args, options)))
  assert lite.main(["--model_dir=run", "--output=a.tflite", *flags]) == 0
  ((args, options),) = given
  assert args == ("run", "a.tflite")
  assert options == expected
