"""A detector, its step and its inference, built as training builds them, with a made-up batch."""

import os
import pathlib
import tempfile

import numpy as np
import tensorflow as tf
import yaml

from benchmarks.cost import rows
from mtl_ssl_tf import registry_imports  # noqa: F401
from mtl_ssl_tf.tasks import mtl_detection
from mtl_ssl_tf.training import driver, nonfinite, trainer

_ROOT = pathlib.Path(__file__).parents[2]
# Last layer of each residual branch; so small, the map stays of one size through the depth, and the
# proposals of random weights are ordinary boxes, as many as are asked for.
_BRANCH_SCALE, _BRANCH_LAYER = 0.2, "conv3/norm/gamma"
_SEED = 0


class Experiment:
  """A setup, ready to run: task, model, optimizer and batch."""

  def __init__(self, setup: rows.Setup):
    """Builds task, model, optimizer and batch.

    Raises:
      ValueError: a field of the override is not known.
    """
    self.setup = setup
    with tempfile.TemporaryDirectory() as folder:
      label_map = os.path.join(folder, "label_map.txt")
      pathlib.Path(label_map).write_text(
        "".join(f"class{number}\n" for number in range(1, setup.num_classes + 1))
      )
      override = rows.merged(setup.override, {"task": {"label_map": label_map}})
      path = config_file(setup.config)
      self.params = driver.load_experiment("mtl_frcnn", [str(path)], yaml.safe_dump(override))
      self.task = mtl_detection.MtlDetectionTask(
        self.params.task,
        crop_method=self.params.runtime.compiled_crop_method,
        precision=setup.precision,
      )
    self.model = self.task.build_model()
    for variable in self.model.variables:
      if variable.name.split(":")[0].endswith(_BRANCH_LAYER):
        variable.assign(_BRANCH_SCALE * tf.ones_like(variable))
    settings = self.params.trainer
    self.optimizer = self.task.create_optimizer(settings.optimizer_config, self.params.runtime)
    trainer.create_slots(self.optimizer, self.model.trainable_variables)
    self.task.guard = nonfinite.Guard(
      self.optimizer.iterations, settings.loss_upper_bound, settings.recovery_begin_steps
    )
    self.images, self.labels = make_batch(setup, self.params.task.train_data.max_num_boxes)
    self.train_step = tf.function(self._train_step, autograph=False)
    self.detect = tf.function(self._detect, autograph=False)

  def take_step(self) -> float:
    """Takes a training step; returns the loss.

    Raises:
      FloatingPointError: it is not finite, so that the step did not do its usual work.
    """
    loss = float(self.train_step(self.images, self.labels)[self.task.loss])
    if not np.isfinite(loss):
      raise FloatingPointError(f"the loss of a training step is {loss}")
    return loss

  def take_detections(self) -> int:
    """Runs inference on the batch; returns the smallest number of proposals of an image."""
    outputs = self.detect(self.images, self.labels["image_size_px"])
    outputs["detection_scores"].numpy()
    return int(np.min(np.sum(outputs["proposals_valid"].numpy(), axis=1)))

  @property
  def model_mib(self) -> float:
    """MiB of weights."""
    return sum(v.shape.num_elements() * v.dtype.size for v in self.model.variables) / 2**20

  @property
  def optimizer_mib(self) -> float:
    """MiB of the optimizer's slots: an accumulator for each trained weight."""
    trained = self.model.trainable_variables
    return sum(v.shape.num_elements() * v.dtype.size for v in trained) / 2**20

  def _train_step(self, images, labels):
    return self.task.train_step((images, labels), self.model, self.optimizer)

  def _detect(self, images, image_size_px):
    outputs = self.model(images, image_size_px)
    kept = ("proposals_valid", "detection_boxes_px", "detection_scores", "detection_classes")
    return {name: outputs[name] for name in kept}


def config_file(name: str) -> pathlib.Path:
  """Returns the YAML file of a configuration, which is in one of `rows.FOLDERS`."""
  (found,) = (path for folder in rows.FOLDERS if (path := _ROOT / folder / f"{name}.yaml").exists())
  return found


def make_batch(setup: rows.Setup, max_num_boxes: int) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
  """Images of noise with random boxes, as the input pipeline gives them.

  Args:
    setup: sizes.
    max_num_boxes: ground-truth rows of an image; those without a box are padding.
  """
  rng = np.random.default_rng(_SEED)
  batch_size, num_boxes = setup.batch_size, setup.num_boxes
  size = np.array([setup.height, setup.width], np.float32)
  sides = rng.uniform(0.1, 0.5, [batch_size, num_boxes, 2]) * size
  starts = rng.uniform(0.0, 1.0, [batch_size, num_boxes, 2]) * (size - sides)
  boxes_px = np.full([batch_size, max_num_boxes, 4], -1.0, np.float32)
  boxes_px[:, :num_boxes] = np.concatenate([starts, starts + sides], axis=-1)
  classes = np.full([batch_size, max_num_boxes], -1, np.int32)
  classes[:, :num_boxes] = rng.integers(1, setup.num_classes + 1, [batch_size, num_boxes])
  images = rng.uniform(0.0, 255.0, [batch_size, setup.height, setup.width, 3])
  labels = {
    "gt_boxes_px": tf.constant(boxes_px),
    "gt_classes": tf.constant(classes),
    "image_size_px": tf.constant(np.stack([size] * batch_size)),
    "image_key": tf.range(batch_size),
    "flipped": tf.zeros([batch_size], tf.bool),
    "num_dropped_boxes": tf.zeros([batch_size], tf.int32),
  }
  return tf.constant(images, tf.float32), labels
