"""Tests of lite.py."""

import os
import types

import pytest
import tensorflow as tf

from mtl_ssl_tf.serving import export_lib, lite, verification
from tests.serving import tiny_run as tiny_run_lib


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


def test_what_it_needs_are_kernels_of_both_kinds(monkeypatch):
  made = []

  class Converter:
    def __init__(self):
      self.target_spec = types.SimpleNamespace()

    def convert(self):
      return sorted(op.name for op in self.target_spec.supported_ops)

  def from_concrete_functions(functions, trackable):
    made.append((functions, trackable))
    return Converter()

  module = tf.Module()
  module.detect_canvases = types.SimpleNamespace(get_concrete_function=lambda: "function")
  monkeypatch.setattr(tf.lite.TFLiteConverter, "from_concrete_functions", from_concrete_functions)
  assert lite.convert(module) == ["SELECT_TF_OPS", "TFLITE_BUILTINS"]
  assert made == [(["function"], module)]


class TestWithoutConverting:
  @pytest.fixture(name="built", autouse=True)
  def _built(self, monkeypatch):
    """Checkpoints and options of modules that were built, and checkpoints of models."""
    built = []
    monkeypatch.setattr(
      lite.export_lib,
      "build_module",
      lambda run, model=None, options=None: built.append((run.checkpoint, model, options)),
    )
    monkeypatch.setattr(lite.export_lib, "build_model", lambda run: built.append(run.checkpoint))
    monkeypatch.setattr(lite, "convert", lambda module: b"content")
    return built

  def test_a_checkpoint_and_a_number_of_images(self, tiny_run, tmp_path, monkeypatch, built):
    """One image at a time, without TensorFlow's own kernels, of the checkpoint that is given."""
    options = []

    def compare(model, ask, task, class_names, **kwargs):
      options.append((class_names, kwargs))
      return verification.Comparison(2, 0.0, 0.0, 0.0, 0, "mAP", 0.5, 0.5)

    monkeypatch.setattr(verification, "compare", compare)
    monkeypatch.setattr(
      tf.lite,
      "Interpreter",
      lambda model_content: types.SimpleNamespace(get_signature_runner=lambda: None),
    )
    checkpoint = str(tiny_run / "ckpt-10")
    arguments = [f"--model_dir={tiny_run}", f"--output={tmp_path / 'a'}"]
    assert lite.main([*arguments, f"--checkpoint={checkpoint}", "--verify_images=3"]) == 0
    one = export_lib.Options(batch_size=1, crop_method="matmul")
    assert built == [(checkpoint, None, one), checkpoint]
    assert options == [(tiny_run_lib.CLASS_NAMES, {"num_images": 3})]
    assert (tmp_path / "a").read_bytes() == b"content"

  def test_without_evaluation_data_nothing_is_compared(
    self, tiny_run, tmp_path, monkeypatch, capsys
  ):
    monkeypatch.setattr(verification, "has_records", lambda data: False)
    monkeypatch.setattr(lite, "convert", lambda module: b"x" * (5 * 2**18))
    arguments = [f"--model_dir={tiny_run}", f"--output={tmp_path / 'a'}", "--verify_images=0"]
    assert lite.main(arguments) == 0
    assert capsys.readouterr().out == f"TensorFlow Lite: {tmp_path / 'a'} (1.2 MiB)\n"

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
