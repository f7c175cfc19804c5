"""A tiny trained detector as training leaves it behind, and processes that lack some packages."""

import os
import pathlib
import subprocess
import sys
from collections.abc import Collection, Sequence

import numpy as np
import tensorflow as tf
import tf_keras
from official.core import config_definitions as cfg
from official.core import exp_factory, train_utils

from mtl_ssl_tf import registry_imports  # noqa: F401
from mtl_ssl_tf.modeling import factory
from tests import fixtures

REPOSITORY = pathlib.Path(__file__).parents[2]
CLASS_NAMES = ["disc", "ring", "größe"]
# Enlarged to fit the input of 128 × 160, reduced, and left as it is; the last is filled up.
IMAGE_SIZES = [(60, 80), (200, 90), (90, 160)]
BEST_STEP, LATEST_STEP = 5, 10
SIGNATURES = ("serving_default", "serving_bytes", "serving_tf_example")
OUTPUTS = (
  "detection_boxes",
  "detection_boxes_px",
  "detection_scores",
  "detection_classes",
  "num_detections",
)
_RECORDS = "records.tfrecord"

_WITHOUT_PACKAGES = """
import sys
class Blocker:
  def find_spec(self, name, path=None, target=None):
    if name.split(".")[0] in {names!r}:
      raise ImportError(f"{{name}} is not installed")
sys.meta_path.insert(0, Blocker())
"""


def images() -> list[np.ndarray]:
  """One image uint8 of each size: grey noise with bright blocks."""
  pictures = []
  for seed, (height, width) in enumerate(IMAGE_SIZES):
    picture = fixtures.noise_image(height, width, seed) // 4
    picture[height // 4 : height // 2, width // 5 : width // 2] += 150
    picture[height // 2 :, width // 2 : width - 9, seed] += 120
    pictures.append(picture)
  return pictures


def params(folder: pathlib.Path) -> cfg.ExperimentConfig:
  """The configuration that the run in `folder` was trained under."""
  experiment = exp_factory.get_exp_config("mtl_frcnn")
  data = {
    "input_path": str(folder / _RECORDS),
    "input_size": [128, 160],
    "short_side": 96,
    "long_side": 160,
    "max_num_boxes": 4,
  }
  task = {
    "label_map": str(folder / "label_map.txt"),
    "backbone": {
      "type": "mobilenet_v1",
      "depth_multiplier": 0.125,
      "norm": {"type": "batch", "momentum": 0.0},
    },
    "anchors": {"base_size_px": 64.0, "scales": [0.5, 1.0]},
    "rpn": {"depth": 16, "num_proposals": 20, "pre_nms_top_k": 100},
    "detections": {"max_per_class": 10, "max_total": 40},
    "evaluation": {"auxiliary_metrics": False},
    "validation_data": data,
  }
  experiment.override({"task": task}, is_strict=True)
  return experiment


def write(folder: pathlib.Path) -> pathlib.Path:
  """Writes records of the images, and a run: configuration, label map, best and last weights."""
  examples = [
    fixtures.serialized_example(image, [[1, 2, 30, 40]], [1], source_id=str(i))
    for i, image in enumerate(images())
  ]
  fixtures.write_records(folder / _RECORDS, examples)
  (folder / "label_map.txt").write_text("".join(f"{name}\n" for name in CLASS_NAMES))
  experiment = params(folder)
  train_utils.serialize_config(experiment, str(folder))

  tf_keras.utils.set_random_seed(1)
  model = factory.build_detector(experiment.task, len(CLASS_NAMES) + 1)
  _keep_signal(model)
  model.start_auxiliary_heads_like_main()
  # As drawn, heads say nearly the same of every box; and which of two equals is better is chance.
  for kernel in (*model.rpn.decayed_kernels, *model.box_head.last_kernels):
    kernel.assign(10.0 * kernel)
  optimizer = tf_keras.optimizers.SGD(momentum=0.9)
  optimizer.build(model.trainable_variables)
  step = tf.Variable(BEST_STEP, dtype=tf.int64)
  checkpoint = tf.train.Checkpoint(model=model, optimizer=optimizer, global_step=step)
  tf.train.CheckpointManager(checkpoint, folder / "best", 1, checkpoint_name="best_ckpt").save()
  step.assign(LATEST_STEP)
  for variable in model.trainable_variables:
    if not _is_of_backbone(variable):
      variable.assign(0.5 * variable)
  tf.train.CheckpointManager(checkpoint, folder, 3).save(checkpoint_number=LATEST_STEP)
  return folder


def _keep_signal(model: tf_keras.Model) -> None:
  """Draws the convolutions of the backbone so large that maps neither vanish nor grow.

  Statistics of a batch would do that, too, but they make differences of rounding large, so that
  the best boxes would be others on other processors.
  """
  rng = np.random.default_rng(1)
  for variable in model.trainable_variables:
    if _is_of_backbone(variable) and "kernel" in variable.name:
      inputs = variable.shape[:2] if "depthwise" in variable.name else variable.shape[:3]
      variable.assign(rng.normal(0.0, np.sqrt(3.0 / np.prod(inputs)), variable.shape))


def _is_of_backbone(variable: tf.Variable) -> bool:
  return "/Conv2d_" in variable.name


def run_python(
  code: str,
  arguments: Sequence[str] = (),
  without: Collection[str] = (),
  cwd: str | os.PathLike[str] = REPOSITORY,
) -> subprocess.CompletedProcess:
  """Runs code in a new process that cannot import the packages named in `without`."""
  # The second is of train.py and export.py, which some tests import.
  left_out = ("PYTHONPATH", "TF_USE_LEGACY_KERAS")
  environment = {name: value for name, value in os.environ.items() if name not in left_out}
  return subprocess.run(
    [sys.executable, "-c", _WITHOUT_PACKAGES.format(names=set(without)) + code, *arguments],
    cwd=cwd,
    env=environment,
    capture_output=True,
    text=True,
    check=False,
  )
