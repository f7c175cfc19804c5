"""From flags to a configuration, and errors that come before anything is trained in vain."""

import copy
import types

import pytest
import tensorflow as tf

from mtl_ssl_tf.tasks import mtl_detection
from mtl_ssl_tf.training import driver
from tests.tasks import tiny

EXPERIMENTS = "mtl_frcnn, mtl_frcnn_co_mining, mtl_rfcn_co_mining, insloc"


class TestRun:
  """Nothing here gets as far as training, and mostly not as far as a model."""

  def message(self, folder, model_dir, override=None, mode="train_and_eval") -> str:
    with pytest.raises(ValueError) as error:
      driver.run(tiny.experiment(folder, override), mode, str(model_dir))
    return str(error.value)

  def test_unknown_mode(self, folder, tmp_path):
    assert self.message(folder, tmp_path, mode="train_and_validate") == (
      "--mode is 'train_and_validate'; accepted: train, eval, train_and_eval, "
      "train_and_post_eval, continuous_eval"
    )

  def test_unacceptable_values(self, folder, tmp_path):
    override = {"task": {"rpn": {"nms_iou": 2.0}}}
    assert self.message(folder, tmp_path, override).startswith("task.rpn.nms_iou is 2.0; ")
    override = {"trainer": {"validation_interval": -1}}
    assert self.message(folder, tmp_path, override).startswith("trainer.validation_interval is -1;")
    override = {"runtime": {"crop_method": "fast"}}
    assert self.message(folder, tmp_path, override).startswith("runtime.crop_method is 'fast'; ")

  @pytest.mark.parametrize(
    ("runtime", "expected"),
    [
      ({}, ("native", "float32", False)),
      ({"enable_xla": True, "mixed_precision_dtype": "bfloat16"}, ("matmul", "bfloat16", True)),
    ],
  )
  def test_the_runtime_reaches_the_task(self, folder, tmp_path, monkeypatch, runtime, expected):
    def make(self, params, logging_dir, crop_method, precision, compile_losses):
      raise ValueError(f"made in {logging_dir} with {(crop_method, precision, compile_losses)}")

    monkeypatch.setattr(mtl_detection.MtlDetectionTask, "__init__", make)
    # As on several replicas.
    monkeypatch.setattr(driver.strategies, "compiles_losses", lambda runtime, _: runtime.enable_xla)
    message = self.message(folder, tmp_path, {"runtime": runtime})
    assert message == f"made in {tmp_path} with {expected}"

  def test_unacceptable_devices(self, folder, tmp_path):
    override = {"runtime": {"distribution_strategy": "gpus"}}
    assert self.message(folder, tmp_path, override).startswith(
      "runtime.distribution_strategy is 'gpus'; accepted: one_device, mirrored, "
    )

  @pytest.mark.parametrize("name", ["train_data", "validation_data"])
  def test_missing_records(self, folder, tmp_path, name):
    override = {"task": {name: {"input_path": "/nowhere/x-*"}}}
    assert self.message(folder, tmp_path, override) == (
      f"task.{name}.input_path: no record files match '/nowhere/x-*'"
    )

  @pytest.mark.parametrize(("mode", "idle"), [("train", "validation_data"), ("eval", "train_data")])
  def test_only_the_records_of_the_mode_are_needed(self, folder, tmp_path, mode, idle):
    # The next check fails in their place.
    override = {"task": {idle: {"input_path": ""}}}
    assert self.message(folder, "", override, mode) == "--model_dir is empty; accepted: a folder"

  def test_missing_label_map(self, folder, tmp_path):
    override = {"task": {"label_map": "/nowhere/a.txt"}}
    assert self.message(folder, tmp_path, override) == (
      "task.label_map: /nowhere/a.txt: cannot be read (No such file or directory); accepted: a text"
      " file with one class name a line"
    )
    override = {"task": {"label_map": str(tmp_path)}}
    assert self.message(folder, tmp_path, override).startswith(
      f"task.label_map: {tmp_path}: cannot be read (Is a directory); accepted: "
    )

  def test_label_map_of_other_records(self, folder, tmp_path):
    other = tmp_path / "other.txt"
    other.write_text("dog\ncat\n")
    override = {"task": {"label_map": str(other)}}
    assert self.message(folder, tmp_path, override) == (
      f"task.label_map is '{other}'; accepted: the classes of '{folder / 'label_map.txt'}', which "
      "the records of task.train_data were written with"
    )

  @pytest.mark.parametrize("text", ["\ufeffcat\ndog\n", "cat\r\ndog\r\n", "cat\ndog"])
  def test_same_label_map_in_another_spelling(self, folder, tmp_path, text):
    other = tmp_path / "other.txt"
    other.write_bytes(text.encode())
    override = {"task": {"label_map": str(other)}}
    # The next check fails in its place.
    assert self.message(folder, "", override) == "--model_dir is empty; accepted: a folder"

  def test_nothing_to_evaluate(self, folder, tmp_path):
    for model_dir in (tmp_path, tmp_path / "new"):
      assert self.message(folder, model_dir, mode="eval") == (
        f"--model_dir '{model_dir}' holds no checkpoint; accepted: one to evaluate"
      )

  def test_best_checkpoint_by_an_unknown_figure(self, folder, tmp_path):
    override = {"trainer": {"best_checkpoint_eval_metric": "voc/mAP50_are"}}
    assert self.message(folder, tmp_path, override).startswith(
      "trainer.best_checkpoint_eval_metric is 'voc/mAP50_are'; accepted: a figure of the "
      "evaluation, the nearest are voc/mAP50_area, "
    )

  def test_official_annotations_are_read_before_training(self, folder, tmp_path):
    evaluation = {"metrics": ["coco"], "coco_annotations": str(tmp_path / "none.json")}
    override = {"task": {"evaluation": evaluation}}
    assert self.message(folder, tmp_path / "run", override).startswith(
      f"{tmp_path}/none.json: file: cannot be read (No such file or directory)"
    )

  def test_the_configuration_of_the_caller_stays_as_it_was(self, folder, tmp_path):
    # The metric of the best checkpoint is left open; the run ends once it has been chosen.
    evaluation = {"metrics": ["coco"], "coco_annotations": str(tmp_path / "none.json")}
    params = tiny.experiment(folder, {"task": {"evaluation": evaluation}})
    before = copy.deepcopy(params.as_dict())
    with pytest.raises(ValueError, match=r"none\.json"):
      driver.run(params, "train_and_eval", str(tmp_path / "run"))
    assert before["trainer"]["best_checkpoint_eval_metric"] == ""
    assert params.as_dict() == before

  def test_model_dir_that_cannot_be_written(self, folder, tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    for model_dir in (file, file / "below"):
      assert self.message(folder, model_dir).startswith(
        f"--model_dir '{model_dir}' cannot be written to: "
      )

  def test_model_dir_of_another_run(self, folder, tmp_path, task):
    tf.train.Checkpoint(model=task.build_model()).save(str(tmp_path / "ckpt"))
    override = {"task": {"backbone": {"depth_multiplier": 0.25}}}
    assert self.message(folder, tmp_path, override, "train").startswith(
      f"--model_dir '{tmp_path}' belongs to another run: '{tmp_path / 'ckpt-1'}' is no checkpoint "
      "of this model ("
    )
    # What belongs to the other run is left alone.
    assert not (tmp_path / "params.yaml").exists()


class TestMainWithFlags:
  def flags(self, folder, **values):
    tiny.experiment(folder)

    class Flags(types.SimpleNamespace):
      def __getitem__(self, name):
        return types.SimpleNamespace(present=0)

    return Flags(
      **{
        "experiment": "mtl_frcnn",
        "config_file": [str(folder / "tiny.yaml")],
        "params_override": None,
        "tpu": None,
        "init": None,
        "validate_data": 0,
        "mode": "train",
        "model_dir": "",
        **values,
      }
    )

  @pytest.mark.parametrize(
    ("mode", "names"),
    [("train", ["train_data"]), ("train_and_eval", ["train_data", "validation_data"])],
  )
  def test_number_of_records_to_look_at(self, folder, tmp_path, monkeypatch, mode, names):
    asked = []
    monkeypatch.setattr(driver.data_sample, "check", lambda *args: asked.append(args[1:]))
    monkeypatch.setattr(driver.assembly, "TrainingRun", lambda *_: lambda: None)
    values = {"validate_data": 7, "mode": mode, "model_dir": str(tmp_path)}
    driver.main_with_flags(self.flags(folder, **values))
    assert asked == [(name, 7) for name in names]

  @pytest.mark.parametrize(
    ("values", "message"),
    [
      ({}, "error: --model_dir is empty; accepted: a folder"),
      ({"experiment": None}, "error: --model_dir is empty; accepted: a folder"),
      ({"experiment": "x"}, f"error: --experiment is 'x'; accepted: {EXPERIMENTS}"),
      (
        # From within Model Garden.
        {
          "model_dir": "new",
          "params_override": "trainer: {optimizer_config: {optimizer: {type: null}}}",
        },
        "error: Optimizer type must be specified",
      ),
    ],
  )
  def test_error_is_one_line(self, folder, tmp_path, monkeypatch, values, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as error:
      driver.main_with_flags(self.flags(folder, **values))
    assert error.value.code == message

  def test_the_way_of_the_call_is_left_out(self, folder, tmp_path, monkeypatch):
    def run(*_):
      raise ValueError("seed is x\n  In call to configurable 'Trainer' (<class 'Trainer'>)")

    monkeypatch.setattr(driver, "run", run)
    with pytest.raises(SystemExit) as error:
      driver.main_with_flags(self.flags(folder, model_dir=str(tmp_path)))
    assert error.value.code == "error: seed is x"

  def test_every_flag_reaches_the_run(self, folder, monkeypatch):
    calls = []
    monkeypatch.setattr(driver, "run", lambda *args: calls.append(args))
    values = {"mode": "eval", "model_dir": "runs/a", "validate_data": 3}
    overrides = {"init": "start/ckpt-1", "tpu": "local", "params_override": "task.seed=9"}
    driver.main_with_flags(self.flags(folder, **values, **overrides))
    driver.main_with_flags(self.flags(folder, **values))
    for params, *others in calls:
      assert others == ["eval", "runs/a", 3]
      assert params.task.rpn.depth == 16  # Of the file.
    given, usual = (params for params, *_ in calls)
    assert (given.task.seed, usual.task.seed) == (9, 0)
    assert (given.task.init_checkpoint, usual.task.init_checkpoint) == ("start/ckpt-1", "")
    assert given.runtime.tpu == "local" != usual.runtime.tpu

  @pytest.mark.parametrize(("present", "expected"), [(0, None), (1, -1)])
  def test_messages_are_those_of_the_level_that_was_asked_for(
    self, folder, monkeypatch, present, expected
  ):
    levels = []
    monkeypatch.setattr(driver, "run", lambda *_: None)
    monkeypatch.setattr(driver.terminal, "set_up", lambda *args: levels.append(*args))
    given = self.flags(folder, verbosity=-1)
    type(given).__getitem__ = lambda self, name: types.SimpleNamespace(present=present)
    driver.main_with_flags(given)
    assert levels == [expected]

  def test_start_weights_that_are_not_there(self, folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as error:
      driver.main_with_flags(self.flags(folder, model_dir="new", init="nowhere/model.ckpt"))
    assert error.value.code == "error: task.init_checkpoint: 'nowhere/model.ckpt' does not exist"
    assert not (tmp_path / "new").exists()
