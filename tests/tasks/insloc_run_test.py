"""The two commands of a user: pretrain on a folder of images, then train a detector from it."""

import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
import yaml
from PIL import Image

from tests import fixtures, terminal_lines
from tests.modeling.pretraining import small
from tests.tasks import tiny

_ROOT = pathlib.Path(__file__).parents[2]


def _train(*flags: str) -> subprocess.CompletedProcess:
  done = subprocess.run(
    [sys.executable, "train.py", *flags],
    cwd=_ROOT,
    env=terminal_lines.users_environment(),
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 0, done.stderr
  return done


@pytest.fixture(name="pretraining", scope="module")
def _pretraining(tmp_path_factory):
  """The folder of a pretraining, and the command as it ended."""
  folder = tmp_path_factory.mktemp("pretraining")
  tiny.write_records(folder)
  (folder / "images" / "more").mkdir(parents=True)
  for number in range(6):
    image = Image.fromarray(fixtures.noise_image(60 + number, 80, seed=number))
    image.save(folder / "images" / ("more" if number % 2 else "") / f"{number}.png")
  (folder / "images" / "broken.jpg").write_bytes(b"no image")
  settings = {
    "task": {
      **small.CONFIG,
      "backbone": {"type": "mobilenet_v1", "depth_multiplier": 0.125},
      "picture_interval": 2,
      "num_pictures": 2,
      "probe_neighbours": 1,
      "train_data": {
        "image_dir": str(folder / "images"),
        "store_dir": str(folder / "store"),
        "global_batch_size": 4,
        "composite": {"size": 64},
      },
      "probe_data": {**tiny.DATA, "input_path": str(folder / "val.tfrecord")},
    },
    "trainer": {
      "train_steps": 4,
      "steps_per_loop": 2,
      "summary_interval": 2,
      "checkpoint_interval": 2,
      "validation_interval": 4,
    },
  }
  (folder / "own.yaml").write_text(yaml.safe_dump(settings))
  done = _train(
    "--experiment=insloc",
    f"--config_file={folder / 'own.yaml'}",
    "--mode=train_and_eval",
    f"--model_dir={folder / 'run'}",
  )
  return folder, done


def test_every_line_is_ours(pretraining):
  folder, done = pretraining
  assert terminal_lines.foreign(done.stdout, *terminal_lines.TRAINING) == []
  assert "probe: 6 objects of 2 classes by 1 neighbours: " in done.stdout
  # Whether to warn of the broken image is not for this test.
  assert "broken.jpg" in done.stderr
  assert terminal_lines.foreign(done.stderr, *terminal_lines.WARNINGS, r"\S+: images.*") == []
  assert (folder / "run" / "best" / "best_ckpt-4.index").exists()
  (events,) = (folder / "run" / "pictures").glob("events*")
  tags = [
    value.tag
    for event in tf.compat.v1.train.summary_iterator(str(events))
    for value in event.summary.value
  ]
  assert set(tags) == {"training/0", "training/1"}


@pytest.mark.parametrize("weights", ["run", "run/best"])
def test_a_detector_starts_from_it(pretraining, weights):
  folder, _ = pretraining
  settings = tiny.settings(folder)
  settings["task"]["roi_head"]["crop_size"] = 3
  settings["task"]["backbone"]["norm"] = {"type": "frozen"}
  settings["task"]["init_statistics_images"] = 8
  settings["task"]["pictures"] = {"interval": 0}
  settings["trainer"]["train_steps"] = 2
  config = folder / "detector.yaml"
  config.write_text(yaml.safe_dump(settings))
  model_dir = folder / f"detector-{os.path.basename(weights)}"
  done = _train(
    f"--config_file={config}",
    "--mode=train",
    f"--init={folder / weights}",
    f"--model_dir={model_dir}",
  )
  assert f"start weights {folder / weights}\n" in done.stdout
  assert "query encoder of a pretraining: stage 1 and stage 2" in done.stdout
  assert "frozen norms: estimated on 8 training images" in done.stdout
  losses = [line for line in done.stdout.splitlines() if line.startswith("step 2/2 ")]
  assert len(losses) == 1
  assert np.isfinite(float(losses[0].split("loss ")[1].split()[0]))
