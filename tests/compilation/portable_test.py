"""Tests of the files of an exported step."""

import json

import numpy as np
import pytest
import tensorflow as tf

from mtl_ssl_tf.compilation import portable, step_program


class _Exported:
  """Replaces a step program; its StableHLO is given."""

  def __init__(self, text):
    self._text = text

  def export(self, batch, stage):
    del batch
    assert stage == "stablehlo"
    return self._text


def _text(text):
  return portable.program_text(_Exported(text), None)


def test_packed_masks_are_written_in_words():
  # 0x35 is 00110101: from the lowest bit on 1, 0, 1, 0, 1, 1; the last two fill the byte up.
  text = _text('%c = stablehlo.constant dense<"0x35"> : tensor<2x3xi1> loc(#loc3)')
  assert text == (
    "%c = stablehlo.constant dense<[[true,false,true],[false,true,true]]> : tensor<2x3xi1>"
    " loc(#loc3)"
  )


def test_a_long_mask_is_not_cut():
  text = _text(f'dense<"0x{"FF" * 250}"> : tensor<2000xi1>')
  assert text.count("true") == 2000


def test_other_constants_stay():
  text = 'dense<"0x0000803F"> : tensor<1xf32>, dense<true> : tensor<4xi1>'
  assert _text(text) == text


def test_folders_of_this_machine_are_left_out():
  text = _text('#loc12 = loc("/home/someone/venv/ops.py":1221:0)\nloc("gradient_tape/Mul")')
  assert text == '#loc12 = loc("ops.py":1221:0)\nloc("gradient_tape/Mul")'


def _arguments():
  return [
    step_program.Argument("images", step_program.BATCH, (1, 2), tf.float32),
    step_program.Argument("kernel", step_program.TRAINED, (2,), tf.float32),
    step_program.Argument("steps", step_program.OPTIMIZER, (), tf.int64),
  ]


def test_names_lead_from_a_variable_to_its_new_value():
  results = [
    portable.Result("loss", None, (), tf.float32),
    portable.Result("steps", 2, (), tf.int64),
    portable.Result("kernel", 1, (2,), tf.float32),
  ]
  names = portable.description(_arguments(), results, {"step": "training"})
  names = json.loads(json.dumps(names))
  assert names["step"] == "training"
  assert [argument["new_value"] for argument in names["arguments"]] == [None, 2, 1]
  assert names["arguments"][1] == {
    "name": "kernel", "kind": "trained", "shape": [2], "dtype": "float32", "new_value": 2
  }  # fmt: skip
  assert [result["argument"] for result in names["results"]] == [None, 2, 1]
  assert names["results"][1]["dtype"] == "int64"


def test_values_are_those_of_the_batch_and_then_of_the_variables():
  kernel, steps = tf.Variable([3.0, 4.0]), tf.Variable(7, dtype=tf.int64)
  images, *variables = _arguments()
  arguments = [images] + [
    step_program.Argument(a.name, a.kind, a.shape, a.dtype, variable.handle)
    for a, variable in zip(variables, (kernel, steps), strict=True)
  ]
  table = tf.constant([[5.0]])
  arguments.append(step_program.Argument("table", step_program.FIXED, (1, 1), tf.float32, table))
  batch = (tf.constant([[1.0, 2.0]]), {})
  found = portable.values(arguments, batch)
  kernel.assign([0.0, 0.0])
  assert found["arg0"].tolist() == [[1.0, 2.0]]
  assert found["arg1"].tolist() == [3.0, 4.0]
  assert found["arg2"] == 7
  assert found["arg3"].tolist() == [[5.0]]
  assert found["arg2"].dtype == np.int64


def test_a_folder_that_holds_something_is_refused(tmp_path):
  (tmp_path / "precious.txt").write_text("mine")
  with pytest.raises(ValueError, match=r"--output_dir '.*' is not empty; accepted: a folder that"):
    portable.check_output_dir(str(tmp_path))
  with pytest.raises(ValueError, match="is a file; accepted: a folder that is new or empty"):
    portable.check_output_dir(str(tmp_path / "precious.txt"))
  with pytest.raises(ValueError, match="cannot be written to"):
    portable.check_output_dir(str(tmp_path / "precious.txt" / "inside"))
  assert (tmp_path / "precious.txt").read_text() == "mine"


@pytest.mark.parametrize("exists", [False, True])
def test_files_come_together(tmp_path, exists, capsys):
  folder = tmp_path / "step"
  if exists:
    folder.mkdir()
  portable.check_output_dir(str(folder))
  portable.write(str(folder), "module", {"step": "x"}, {"arg0": np.ones(2)})
  assert sorted(path.name for path in folder.iterdir()) == ["inputs.npz", "names.json", "step.mlir"]
  assert (folder / "step.mlir").read_text() == "module"
  assert np.load(folder / "inputs.npz")["arg0"].tolist() == [1.0, 1.0]
  assert "step.mlir 6 bytes" in capsys.readouterr().err
  assert [path.name for path in tmp_path.iterdir()] == ["step"]


def test_a_failure_leaves_nothing_behind(tmp_path, monkeypatch):
  def full(*_, **__):
    raise OSError(28, "No space left on device")

  monkeypatch.setattr(np, "savez", full)
  with pytest.raises(ValueError, match=r"cannot be written to \(No space left on device\)"):
    portable.write(str(tmp_path / "step"), "module", {}, {"arg0": np.ones(2)})
  assert list(tmp_path.iterdir()) == []
