"""The command that turns a released checkpoint into a run."""

import numpy as np
import pytest
import tensorflow as tf
import yaml

from mtl_ssl_tf.checkpoints import import_reference, reference
from mtl_ssl_tf.serving import export_lib
from mtl_ssl_tf.tasks import mtl_detection
from mtl_ssl_tf.training import driver
from tests.checkpoints import slim_files
from tests.tasks import tiny

STEP = 177720


@pytest.fixture(name="config_file")
def _config_file(tmp_path):
  """A thin detector; what it lacks of the released one is left to `released`."""
  tiny.write_records(tmp_path)
  path = tmp_path / "thin.yaml"
  path.write_text(yaml.safe_dump(tiny.settings(tmp_path)))
  return str(path)


@pytest.fixture(name="released")
def _released(tmp_path):
  path = tmp_path / "released.yaml"
  path.write_text("task: {refinement: {use_bias: true}}\n")
  return str(path)


def arrays_of(files) -> dict[str, np.ndarray]:
  """Random weights by reference name for the detector that the files describe."""
  task = mtl_detection.MtlDetectionTask(driver.load_experiment("mtl_frcnn", files).task)
  rng = np.random.default_rng(0)
  named = reference.reference_variables(task.build_model())
  return {
    name: np.abs(rng.normal(1.0, 0.1, variable.shape)).astype(np.float32)
    for name, variable in named.items()
  }


@pytest.fixture(name="checkpoint")
def _checkpoint(tmp_path, config_file, released):
  """A released checkpoint, with what training leaves in it, and its weights."""
  arrays = arrays_of([config_file, released])
  extra = {f"{name}/Momentum": value for name, value in list(arrays.items())[:3]}
  extra["global_step"] = np.array(STEP, np.int64)
  return slim_files.write(tmp_path / "model.ckpt", {**arrays, **extra}), arrays


def command(*arguments) -> int:
  return import_reference.main([str(argument) for argument in arguments])


def test_a_run_that_evaluates_and_exports(tmp_path, config_file, released, checkpoint, capsys):
  path, arrays = checkpoint
  output_dir = tmp_path / "run"
  files = ["--config_file", config_file, "--config_file", released]
  assert command(*files, "--checkpoint", path, "--output_dir", output_dir) == 0
  printed = capsys.readouterr().out
  assert printed.startswith(f"loaded: {len(arrays)}\n")
  assert "left as initialised: 0" in printed
  assert (output_dir / "import_report.txt").read_text().startswith(f"{path}\nloaded: ")

  run = export_lib.read_run(str(output_dir))
  assert (run.class_names, run.step) == (tiny.CLASS_NAMES, STEP)
  export_lib.export_run(str(output_dir), str(tmp_path / "exported"))
  assert (tmp_path / "exported" / "1" / "saved_model.pb").exists()

  params = driver.load_experiment("mtl_frcnn", [config_file, released])
  model, _ = driver.run(params, "eval", str(output_dir))
  assert f"evaluation at step {STEP}" in capsys.readouterr().out
  for name, variable in reference.reference_variables(model).items():
    np.testing.assert_array_equal(variable, arrays[name], err_msg=name)


def test_class_names_of_the_checkpoint(tmp_path, config_file, released, checkpoint):
  label_map = tmp_path / "other.txt"
  label_map.write_text("eagle\nfox\n")
  output_dir = tmp_path / "run"
  files = ["--config_file", config_file, "--config_file", released]
  arguments = ["--checkpoint", checkpoint[0], "--output_dir", output_dir]
  assert command(*files, *arguments, "--label_map", label_map) == 0
  assert export_lib.read_run(str(output_dir)).class_names == ["eagle", "fox"]


def test_weights_that_are_not_finite(tmp_path, config_file, released, checkpoint, capsys):
  arrays = {**checkpoint[1]}
  arrays[min(arrays)][..., 0] = np.nan
  path = slim_files.write(tmp_path / "spoilt.ckpt", arrays)
  files = ["--config_file", config_file, "--config_file", released]
  assert command(*files, "--checkpoint", path, "--output_dir", tmp_path / "run") == 1
  printed = capsys.readouterr().err
  assert printed.startswith(f"error: --checkpoint '{path}': 1 of ")
  assert printed.endswith("; accepted: a checkpoint of finite weights\n")
  assert not (tmp_path / "run").exists()


def test_without_the_overlay(tmp_path, config_file, checkpoint, capsys):
  output_dir = tmp_path / "run"
  arguments = ["--config_file", config_file, "--checkpoint", checkpoint[0]]
  assert command(*arguments, "--output_dir", output_dir) == 1
  assert capsys.readouterr().err == (
    f"error: --checkpoint '{checkpoint[0]}' is of another detector: the checkpoint has, but the "
    "detector has not: MTLClassRefiner/fc1/biases (1); released refinement layers need "
    "--config_file=configs/overlays/released.yaml on top. --allow_partial imports what fits\n"
  )
  assert not output_dir.exists()
  assert command(*arguments, "--output_dir", output_dir, "--allow_partial") == 0


def test_a_baseline_lacks_heads(tmp_path, config_file, released, capsys):
  bare = tmp_path / "bare.yaml"
  bare.write_text(
    "task: {refinement: {enabled: false}, auxiliary: {foreground: {loss_weight: 0.0}, "
    "closeness: {loss_weight: 0.0}, multi_object: {loss_weight: 0.0}}}\n"
  )
  path = slim_files.write(tmp_path / "base.ckpt", arrays_of([config_file, str(bare)]))
  files = ["--config_file", config_file, "--config_file", released]
  assert command(*files, "--checkpoint", path, "--output_dir", tmp_path / "run") == 1
  printed = capsys.readouterr().err
  assert "the detector has, but the checkpoint has not: ClosenessBoxPredictor/" in printed


def test_what_is_in_the_way(tmp_path, config_file, released, checkpoint, capsys):
  output_dir = tmp_path / "run"
  files = ["--config_file", config_file, "--config_file", released]
  arguments = [*files, "--checkpoint", checkpoint[0], "--output_dir", output_dir]
  assert command(*arguments) == 0
  assert command(*arguments) == 1
  printed = capsys.readouterr().err
  assert printed == (
    f"error: --output_dir '{output_dir}' holds a checkpoint already; accepted: a new folder\n"
  )
  other = tmp_path / "other"
  other.mkdir()
  (other / "label_map.txt").write_text("mine\n")
  assert command(*arguments[:-1], other) == 1
  printed = capsys.readouterr().err
  assert (
    printed
    == f"error: --output_dir '{other}' holds label_map.txt already; accepted: a new folder\n"
  )
  assert [path.name for path in other.iterdir()] == ["label_map.txt"]


@pytest.mark.parametrize(
  ("arrays", "message"),
  [
    ({"resnet_v1_101/conv1/weights": np.ones(3)}, "holds no released detector"),
    ({"FirstStageBoxPredictor/Conv/biases": np.ones(3)}, "given shape (3,), the detector's is (16"),
  ],
)
def test_another_checkpoint(tmp_path, config_file, arrays, message, capsys):
  path = slim_files.write(tmp_path / "other.ckpt", arrays)
  arguments = ["--config_file", config_file, "--checkpoint", path]
  assert command(*arguments, "--output_dir", tmp_path / "run") == 1
  printed = capsys.readouterr().err
  assert printed.startswith(f"error: --checkpoint '{path}'")
  assert message in printed
  assert not (tmp_path / "run").exists()


def test_a_missing_label_map(tmp_path, config_file, checkpoint, capsys):
  arguments = ["--config_file", config_file, "--checkpoint", checkpoint[0]]
  arguments += ["--output_dir", tmp_path / "run", "--label_map", tmp_path / "none.txt"]
  assert command(*arguments) == 1
  assert capsys.readouterr().err == (
    f"error: task.label_map '{tmp_path / 'none.txt'}' does not exist; accepted: what the converter "
    "wrote, or --label_map with a class name a line, in the order of the checkpoint\n"
  )


@pytest.mark.parametrize("run", ["import", "train"])
def test_an_unknown_backbone(tmp_path, config_file, checkpoint, run):
  other = tmp_path / "other.yaml"
  other.write_text("task: {backbone: {type: vgg}, train_data: {input_path: nowhere}}\n")
  files = [config_file, str(other)]
  with pytest.raises(ValueError, match=r"^task\.backbone\.type is 'vgg'; accepted: "):
    if run == "import":
      import_reference.import_reference(files, checkpoint[0], str(tmp_path / "run"))
    else:
      driver.run(driver.load_experiment("mtl_frcnn", files), "train", str(tmp_path / "run"))


def test_a_missing_configuration(tmp_path, checkpoint, capsys):
  arguments = ["--config_file", tmp_path / "none.yaml", "--checkpoint", checkpoint[0]]
  assert command(*arguments, "--output_dir", tmp_path / "run") == 1
  assert capsys.readouterr().err.startswith(f"error: {tmp_path / 'none.yaml'}: cannot be read (")


def test_the_step_is_optional(tmp_path, config_file, released):
  path = slim_files.write(tmp_path / "model.ckpt", arrays_of([config_file, released]))
  import_reference.import_reference([config_file, released], path, str(tmp_path / "run"))
  assert tf.train.latest_checkpoint(tmp_path / "run") == str(tmp_path / "run" / "ckpt-0")
