"""Locks of a run's folder, and configurations that a run may resume with."""

import subprocess
import sys

import pytest
import tensorflow as tf

from mtl_ssl_tf.tasks import detection_settings
from mtl_ssl_tf.training import run_folder
from tests.tasks import tiny

HOLD = """
import sys, time
from mtl_ssl_tf.tasks import detection_settings
from mtl_ssl_tf.training import run_folder
with run_folder.locked(sys.argv[1]):
  print("held", flush=True)
  time.sleep(600)
"""


class TestLocked:
  def test_a_second_process_is_refused_until_the_first_is_gone(self, tmp_path):
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
      try:
        assert process.stdout.readline() == "held\n"
        with (
          pytest.raises(ValueError, match="is being trained in by another process") as error,
          run_folder.locked(str(tmp_path)),
        ):
          pass
        assert f"(process {process.pid} on " in str(error.value)
      finally:
        process.kill()
    # It left its file behind, which means nothing.
    assert (tmp_path / run_folder.LOCK_FILE).exists()
    with run_folder.locked(str(tmp_path)):
      pass

  def test_a_file_elsewhere_is_not_emptied(self, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / run_folder.LOCK_FILE).symlink_to(tmp_path / "notes.txt")
    with (
      pytest.raises(ValueError, match=r"run' cannot be written to: .*/run/\.lock'"),
      run_folder.locked(str(tmp_path / "run")),
    ):
      pass
    assert (tmp_path / "notes.txt").read_text() == "mine"

  def test_an_owner_that_cannot_be_read(self, tmp_path):
    with run_folder.locked(str(tmp_path)):
      (tmp_path / run_folder.LOCK_FILE).write_bytes(b"\xff\n\x1b[31m" * 1000)
      with (
        pytest.raises(ValueError, match="is being trained in by another process") as error,
        run_folder.locked(str(tmp_path)),
      ):
        pass
    assert len(str(error.value).splitlines()) == 1
    assert len(str(error.value)) < 1000

  def test_a_folder_is_made(self, tmp_path):
    with run_folder.locked(str(tmp_path / "a" / "b")):
      assert (tmp_path / "a" / "b").is_dir()

  def test_no_folder(self, tmp_path):
    (tmp_path / "file").write_text("")
    with (
      pytest.raises(ValueError, match="cannot be written to"),
      run_folder.locked(str(tmp_path / "file")),
    ):
      pass

  def test_a_remote_folder_is_not_touched(self):
    with run_folder.locked("gs://nowhere/run"):
      pass

  def test_a_file_system_without_locks(self, tmp_path, monkeypatch, capsys):
    def flock(*args):
      raise OSError(95, "Operation not supported")

    monkeypatch.setattr(run_folder.fcntl, "flock", flock)
    with run_folder.locked(str(tmp_path)):
      pass
    assert capsys.readouterr().err == (
      f"warning: {tmp_path}/.lock: this file system has no locks (Operation not supported)\n"
    )


class TestCompare:
  @pytest.fixture(name="model_dir")
  def _model_dir(self, folder, tmp_path):
    run_folder.describe_run(tiny.experiment(folder), str(tmp_path))
    return tmp_path

  def compare(self, folder, model_dir, override=None):
    return run_folder.compare(tiny.experiment(folder, override), str(model_dir))

  def test_nothing_has_changed(self, folder, model_dir):
    assert self.compare(folder, model_dir) == []

  def test_a_folder_that_says_nothing(self, folder, tmp_path):
    assert self.compare(folder, tmp_path) == []

  def test_what_may_change_is_reported(self, folder, model_dir):
    override = {
      "trainer": {
        "train_steps": 7,
        "optimizer_config": {"optimizer": {"momentum": {"clipnorm": 5.0}}},
      },
      "task": {"train_data": {"short_side": 50}, "auxiliary": {"closeness": {"loss_weight": 0.1}}},
    }
    assert self.compare(folder, model_dir, override) == [
      "task.auxiliary.closeness.loss_weight 0.3 -> 0.1",
      "task.train_data.short_side 60 -> 50",
      "trainer.optimizer_config.optimizer.momentum.clipnorm 10.0 -> 5.0",
      "trainer.train_steps 300000 -> 7",
    ]

  def test_what_figures_depend_on_is_told_of_an_evaluation(self, folder, model_dir, tmp_path):
    override = {
      "trainer": {"train_steps": 7},
      "task": {
        "train_data": {"short_side": 50},
        "pictures": {"interval": 0},
        "evaluation": {"results_dir": str(tmp_path), "iou_threshold": 0.75},
        "refinement": {"enabled": False},
      },
    }
    params = tiny.experiment(folder, override)
    assert run_folder.evaluation_changes(params, str(model_dir)) == {
      "task.evaluation.iou_threshold": 0.75,
      "task.refinement.enabled": False,
    }
    same = tiny.experiment(folder)
    assert run_folder.evaluation_changes(same, str(model_dir)) == {}
    assert run_folder.evaluation_changes(params, str(tmp_path / "none")) == {}

  @pytest.mark.parametrize(
    ("override", "reported"),
    [
      (
        {"task": {"backbone": {"depth_multiplier": 0.25}}},
        "task.backbone.depth_multiplier 0.125 -> 0.25",
      ),
      # As many weights as before, but for other boxes.
      (
        {"task": {"anchors": {"scales": [0.25, 1.0]}}},
        "task.anchors.scales [0.5, 1.0] -> [0.25, 1.0]",
      ),
      (
        {"task": {"auxiliary": {"closeness": {"loss_weight": 0.0}}}},
        "task.auxiliary.closeness.loss_weight 0.3 -> 0.0",
      ),
      (
        {"trainer": {"optimizer_config": {"optimizer": {"type": "adam"}}}},
        "trainer.optimizer_config.optimizer.type 'momentum' -> 'adam'",
      ),
    ],
  )
  def test_what_the_weights_depend_on_is_refused(self, folder, model_dir, override, reported):
    before = (model_dir / "params.yaml").read_text()
    with pytest.raises(ValueError) as error:
      self.compare(folder, model_dir, override)
    assert str(error.value) == (
      f"--model_dir '{model_dir}' belongs to a run that was configured otherwise, and its weights "
      f"depend on that: {reported}; accepted: the earlier values, or another folder, which --init "
      "can start from these weights"
    )
    assert (model_dir / "params.yaml").read_text() == before

  def test_averages_of_weights_can_begin_but_not_end(self, folder, model_dir):
    def averaged(decay):
      ema = {"average_decay": decay, "start_step": 5}
      return {"trainer": {"optimizer_config": {"ema": ema}}}

    field = "trainer.optimizer_config.ema.average_decay"
    assert f"{field} None -> 0.9" in self.compare(folder, model_dir, averaged(0.9))
    run_folder.describe_run(tiny.experiment(folder, averaged(0.9)), str(model_dir))
    assert self.compare(folder, model_dir, averaged(0.8)) == [f"{field} 0.9 -> 0.8"]
    with pytest.raises(ValueError, match=rf"{field} 0\.9 -> None; accepted"):
      self.compare(folder, model_dir)

  def test_other_classes(self, folder, model_dir):
    other = model_dir / "other.txt"
    other.write_text("dog\ncat\n")
    with pytest.raises(ValueError, match=r"task\.label_map cat, dog -> dog, cat; "):
      self.compare(folder, model_dir, {"task": {"label_map": str(other)}})

  def test_a_field_that_the_earlier_version_had_not(self, folder, model_dir):
    path = model_dir / "params.yaml"
    lines = path.read_text().splitlines()
    path.write_text("\n".join(line for line in lines if "early_stopping_patience" not in line))
    override = {"trainer": {"early_stopping_patience": 5}}
    assert self.compare(folder, model_dir, override) == []

  def test_a_field_that_had_another_name(self, folder, model_dir):
    path = model_dir / "params.yaml"
    text = path.read_text()
    assert "input_layout: single" in text
    path.write_text(text.replace("input_layout: single", "canvas: square"))
    assert self.compare(folder, model_dir) == []
    override = {"task": {"data": {"input_layout": "by_orientation", "input_size": [64, 96]}}}
    assert "task.train_data.input_layout 'single' -> 'by_orientation'" in self.compare(
      folder, model_dir, override
    )

  @pytest.mark.parametrize("text", ["{", "trainer: {no_such_field: 1}", "trainer: 5", "[1]"])
  def test_a_configuration_that_cannot_be_read(self, folder, model_dir, text, capsys):
    (model_dir / "params.yaml").write_text(text)
    assert self.compare(folder, model_dir) == []
    assert capsys.readouterr().err.startswith(
      "warning: what has changed in the configuration is not known: "
    )


@pytest.mark.parametrize(
  "field", [*detection_settings.FIXED, *detection_settings.SWITCHES, *run_folder._FIXED]
)
def test_fields_exist(folder, field):
  fields = run_folder.flatten(tiny.experiment(folder).as_dict())
  assert any(name == field or name.startswith(f"{field}.") for name in fields)


def test_checkpoints_of_which_none_can_be_read(tmp_path):
  tf.train.Checkpoint(x=tf.Variable(1.0)).write(str(tmp_path / "ckpt-4"))
  assert run_folder.find_checkpoint(str(tmp_path)) == str(tmp_path / "ckpt-4")
  (tmp_path / "ckpt-4.index").write_bytes(b"")
  with pytest.raises(ValueError, match="holds checkpoints, but none that can be used"):
    run_folder.find_checkpoint(str(tmp_path))
