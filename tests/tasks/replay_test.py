"""What the command that repeats a step reads, refuses and prints; a whole run's folder is repeated
in `tests/training/interruption_test.py`."""

import math

import pytest
import yaml

from mtl_ssl_tf.configs import experiments
from mtl_ssl_tf.tasks import replay
from mtl_ssl_tf.training import reproduction
from tests.tasks import insloc_tiny, tiny


def test_losses_and_gradients_are_printed_line_by_line(monkeypatch, capsys):
  losses, gradients = {"loss": math.inf, "rpn_box": 1.234567}, {"conv/kernel:0": 3}
  monkeypatch.setattr(replay, "replay", lambda folder: (losses, gradients))
  assert replay.main(["folder"]) == 0
  assert capsys.readouterr().out.splitlines() == [
    "loss                         inf",
    "rpn_box                      1.23457",
    "gradient of conv/kernel:0: 3 entries are not finite",
  ]


@pytest.fixture(name="repeated")
def _repeated(monkeypatch):
  """The configurations and folders that a step was repeated with."""
  calls = []
  monkeypatch.setattr(reproduction, "repeat", lambda *args: calls.append(args) or ({}, {}))
  return calls


def _write(params, folder) -> str:
  (folder / "params.yaml").write_text(yaml.safe_dump(params.as_dict()))
  return str(folder)


def test_the_label_map_is_that_of_the_folder(folder, tmp_path, repeated):
  params = tiny.experiment(folder, {"task": {"seed": 7}})
  (tmp_path / "label_map.txt").write_text("owl\n")
  replay.replay(_write(params, tmp_path))
  ((given, path),) = repeated
  assert path == str(tmp_path)
  assert given.task.label_map == str(tmp_path / "label_map.txt") != params.task.label_map
  assert given.task.seed == 7


def test_a_pretraining_has_no_label_map(tmp_path, repeated):
  params = experiments.insloc_c4()
  rate = {"learning_rate": {"cosine": {"decay_steps": 8}}}
  data = {"image_dir": "images", "global_batch_size": 4}
  task = {**insloc_tiny.small.CONFIG, "train_data": data}
  params.override({"task": task, "trainer": {"optimizer_config": rate}})
  replay.replay(_write(params, tmp_path))
  ((given, _),) = repeated
  assert given.task.queue_size == insloc_tiny.small.CONFIG["queue_size"]
  assert not hasattr(given.task, "label_map")


@pytest.mark.parametrize(
  ("override", "message"),
  [
    ({"task": {"rpn": {"nms_iou": 2.0}}}, "task.rpn.nms_iou is 2.0; accepted: "),
    ({"trainer": {"validation_interval": -1}}, "trainer.validation_interval is -1; accepted: "),
    ({"runtime": {"crop_method": "fast"}}, "runtime.crop_method is 'fast'; accepted: "),
  ],
)
def test_settings_that_were_changed_to_unacceptable_ones(
  folder, tmp_path, repeated, override, message
):
  with pytest.raises(ValueError) as error:
    replay.replay(_write(tiny.experiment(folder, override), tmp_path))
  assert str(error.value).startswith(message)
  assert not repeated
