"""The command, from records to a configuration that training takes."""

import pathlib

import pytest

from mtl_ssl_tf import suggest
from mtl_ssl_tf.command_line import suggest as suggest_flags
from mtl_ssl_tf.configs import loading, validation
from mtl_ssl_tf.suggestion import timing
from tests import fixtures

BOXES = [[4, 4, 36, 36], [10, 20, 26, 36]]


@pytest.fixture
def records(tmp_path):
  for split in ("train", "val"):
    fixtures.write_noise_records(tmp_path / f"{split}.tfrecord", 6, BOXES, [1, 2])
  (tmp_path / "label_map.txt").write_text("cat\ndog\n")
  return tmp_path


def call(folder: pathlib.Path, *flags: str) -> int:
  return suggest.main(
    [
      f"--records={folder / 'train.tfrecord'}",
      f"--validation_records={folder / 'val.tfrecord'}",
      f"--output={folder / 'mine.yaml'}",
      *flags,
    ]
  )


@pytest.mark.parametrize("preset", suggest_flags.PRESETS)
def test_what_is_written_can_be_trained(records, capsys, preset):
  assert call(records, f"--preset={preset}", "--batch_size=2") == 0
  text = (records / "mine.yaml").read_text()
  assert capsys.readouterr().out == text
  assert "# Suggested from 6 images with 12 objects of 2 classes." in text
  params = loading.load_experiment("mtl_frcnn", [str(records / "mine.yaml")])
  validation.check_task(params.task)
  assert params.task.train_data.global_batch_size == 2
  assert params.task.validation_data.input_path == str(records / "val.tfrecord")
  assert params.task.train_data.input_size == params.task.validation_data.input_size
  assert params.task.train_data.max_num_boxes == 10
  assert params.trainer.train_steps == 1200


@pytest.mark.parametrize("preset", ["small_data", "from_scratch"])
def test_anchors_of_a_single_map(records, preset):
  assert call(records, f"--preset={preset}") == 0
  params = loading.load_experiment("mtl_frcnn", [str(records / "mine.yaml")])
  # Sides of 16 and 32 pixels, resized from 64 to 320 or less.
  base = params.task.anchors.base_size_px
  assert len(params.task.anchors.scales) == 2
  assert params.task.anchors.scales[0] * base == pytest.approx(base / 2, rel=0.05)


@pytest.mark.parametrize("preset", ["small_data_fpn", "from_scratch_fpn"])
def test_anchors_of_a_pyramid(records, preset):
  assert call(records, f"--preset={preset}") == 0
  params = loading.load_experiment("mtl_frcnn", [str(records / "mine.yaml")])
  anchors = params.task.anchors
  # Sides of 16 x 32 and 32 x 16 pixels, five times as large: from level 4 on, 3 cells are 48.
  text = (records / "mine.yaml").read_text()
  levels = params.task.fpn
  smallest, largest = (anchors.cells * 2**level for level in (levels.min_level, levels.max_level))
  assert f"sides from {smallest:.0f} to {largest * anchors.level_scales[-1]:.0f} pixels" in text
  assert "base_size_px" not in text


def test_a_budget_is_filled_by_the_measured_pace(records, monkeypatch, capsys):
  measured = []

  def measure(config_file):
    measured.append(loading.load_experiment("mtl_frcnn", [config_file]).trainer.train_steps)
    return timing.Pace(start_up_s=60.0, step_s=0.5)

  monkeypatch.setattr(timing, "measure", measure)
  assert call(records, "--budget_minutes=11") == 0
  assert measured == [1200]
  params = loading.load_experiment("mtl_frcnn", [str(records / "mine.yaml")])
  assert params.trainer.train_steps == 1200 and params.trainer.validation_interval == 240
  assert "11 minutes here: 60 s to start and 0.50 s a step" in capsys.readouterr().out


def test_without_pretrained_weights_it_trains_from_scratch(records, monkeypatch, capsys):
  monkeypatch.setattr(
    "mtl_ssl_tf.checkpoints.efficientnet_weights.importlib.util.find_spec", lambda name: None
  )
  assert call(records) == 0
  assert "from_scratch_fpn.yaml" in (records / "mine.yaml").read_text()
  assert "is not installed" in capsys.readouterr().err


@pytest.mark.parametrize(
  ("flags", "message"),
  [
    (["--batch_size=0"], "error: --batch_size is 0; accepted: at least 1"),
    (["--largest_side=8"], "error: --largest_side is 8; accepted: at least 64"),
    (["--budget_minutes=0"], "error: --budget_minutes is 0.0; accepted: above 0"),
    (["--presets_dir=/nowhere"], "error: --presets_dir: '/nowhere/"),
    (["--records=/nowhere/x"], "/nowhere/x"),
    (["--output=/nowhere/x.yaml"], "error: --output /nowhere/x.yaml: its folder is missing"),
  ],
)
def test_what_is_refused(records, capsys, flags, message):
  assert call(records, *flags) == 1
  assert message in capsys.readouterr().err


def test_a_file_is_not_replaced_unasked(records, capsys):
  (records / "mine.yaml").write_text("mine")
  assert call(records) == 1
  assert "exists; accepted: another file, or --overwrite" in capsys.readouterr().err
  assert (records / "mine.yaml").read_text() == "mine"
  assert call(records, "--overwrite") == 0


def test_records_without_an_object_are_refused(records, capsys):
  fixtures.write_noise_records(records / "train.tfrecord", 2, [], [])
  assert call(records) == 1
  assert "no object in 2 images; accepted: at least one" in capsys.readouterr().err


def test_the_largest_side_and_the_batch_are_each_their_own(records, capsys):
  # Objects of 8 pixels want more than is allowed.
  fixtures.write_noise_records(
    records / "train.tfrecord", 2, [[0, 0, 8, 8], [20, 20, 28, 28]], [1, 2], size=(600, 800)
  )
  assert call(records, "--largest_side=416", "--batch_size=3") == 0
  params = loading.load_experiment("mtl_frcnn", [str(records / "mine.yaml")])
  assert params.task.train_data.long_side == 416
  assert params.task.train_data.input_size == [320, 416]
  assert "2 images in batches of 3: " in capsys.readouterr().out
