"""The training task: batch -> labels -> model -> losses -> logs."""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras
from official.core import base_task, task_factory

from mtl_ssl_tf.checkpoints import pretrained
from mtl_ssl_tf.configs import data as data_config
from mtl_ssl_tf.configs import detector as detector_config
from mtl_ssl_tf.configs import validation
from mtl_ssl_tf.data import label_map
from mtl_ssl_tf.data.pipeline import reader
from mtl_ssl_tf.evaluation import auxiliary_metrics
from mtl_ssl_tf.labels import auxiliary as auxiliary_labels
from mtl_ssl_tf.losses import batch_sum
from mtl_ssl_tf.modeling import detector, factory
from mtl_ssl_tf.modeling.backbones import registry
from mtl_ssl_tf.ops import box_ops
from mtl_ssl_tf.tasks import detection_evaluation, training_losses
from mtl_ssl_tf.training import (
  momentum,  # noqa: F401 - registers the optimizer
  nonfinite,
  strategies,
)

# Evaluation draws its windows as this step would, so that its figures can be compared.
EVALUATION_STEP = 0
INIT_FIELD = "task.init_checkpoint:"
START_WEIGHTS_FILE = "start_weights.txt"


@task_factory.register_task_cls(detector_config.MtlDetection)
class MtlDetectionTask(base_task.Task):
  """Trains and evaluates a detector with auxiliary tasks and refinement.

  Attributes:
    class_names: names of the object classes, class 1 first.
    num_classes: C, background included.
    guard: keeps what is not finite from the weights; None lets it pass.
    checkpoint_items: what a checkpoint of training holds besides detector and optimizer, by name;
      tasks with a state of their own add to it.
  """

  def __init__(
    self,
    params: detector_config.MtlDetection,
    logging_dir: str | None = None,
    name: str | None = None,
    crop_method: str = "native",
    precision: str = "float32",
    compile_losses: bool = False,
  ):
    """Reads the label map.

    Args:
      params: the task's configuration.
      logging_dir: folder of the run.
      name: of the task.
      crop_method: how regions are cut out, see `crop_ops`; `matmul` compiles under XLA.
      precision: type that the model's stages compute in, see `factory.build_detector`.
      compile_losses: compile what a replica does by itself in a training step, all up to its
        losses and back to its gradients. For steps that cannot be compiled whole.

    Raises:
      ValueError: if a setting or the label map is not acceptable.
    """
    super().__init__(params, logging_dir=logging_dir, name=name)
    validation.check_task(params)
    self._crop_method = crop_method
    self._precision = precision
    self.guard: nonfinite.Guard | None = None
    self.checkpoint_items: dict[str, tf.Module] = {}
    registry.check(params.backbone.type)
    self.class_names = label_map.read_label_map(params.label_map)
    self.num_classes = len(self.class_names) + 1
    self._detection = detection_evaluation.DetectionEvaluation(
      params.evaluation, self.class_names, params.validation_data.input_path, params.label_map
    )
    self._auxiliary = auxiliary_metrics.AuxiliaryEvaluator()
    self._num_dropped_boxes = 0
    self._training_parts = self._make_training_parts
    if compile_losses:
      self._training_parts = tf.function(
        self._make_training_parts, jit_compile=True, autograph=False
      )
    self._make_auxiliary_targets = tf.function(
      lambda labels, step: training_losses.make_auxiliary_targets(
        params, labels, step, self.num_classes
      ),
      jit_compile=not strategies.is_tpu(tf.distribute.get_strategy()) or None,
      autograph=False,
    )

  @property
  def main_metric(self) -> str:
    """Name of the figure that tells the best checkpoint."""
    return self._detection.metrics.main_key

  @property
  def detection_figures(self) -> list[str]:
    """Names of the figures on detection."""
    return list(self._detection.metrics.result())

  @property
  def detection_tables(self) -> str:
    """The last evaluation, class by class."""
    return self._detection.metrics.tables()

  def prepare_evaluation(self) -> None:
    """Reads what evaluation needs besides the validation data.

    Raises:
      ValueError: it is at fault, which would otherwise come out after hours of training.
    """
    self._detection.load_names()

  def build_model(self) -> detector.Detector:
    """Returns the detector with its variables, drawn by the configured seed."""
    tf_keras.utils.set_random_seed(self.task_config.seed)
    return factory.build_detector(
      self.task_config, self.num_classes, self._crop_method, self._precision
    )

  def initialize(self, model: detector.Detector) -> None:
    """Loads the start weights `init_checkpoint`, if there are any; see `checkpoints/pretrained.py`.

    Says what became of them, in short; `start_weights.txt` in the folder of the run says all.

    Raises:
      ValueError: if they cannot be read, or fit nowhere.
    """
    config = self.task_config
    if not config.init_checkpoint:
      return
    report = pretrained.load(
      model,
      config.init_checkpoint,
      INIT_FIELD,
      config.init_modules,
      copy_missing=config.auxiliary.init_from == "main_stage2",
    )
    print(f"start weights {config.init_checkpoint}\n{report.text(limit=3)}", flush=True)
    if self.logging_dir:
      tf.io.gfile.makedirs(self.logging_dir)
      with tf.io.gfile.GFile(os.path.join(self.logging_dir, START_WEIGHTS_FILE), "w") as file:
        file.write(f"{config.init_checkpoint}\n{report.text(limit=None)}\n")

  def build_inputs(
    self,
    params: data_config.Data,
    input_context: tf.distribute.InputContext | None = None,
    first_batch: int = 0,
    skipped_batches: Sequence[int] = (),
  ) -> tf.data.Dataset:
    """Returns batches `(images, labels)`; see `data/pipeline/reader.py`.

    Args:
      params: the data.
      input_context: which worker this is; None is the only one.
      first_batch: running number of the training batch to begin with.
      skipped_batches: running numbers of training batches to leave out.

    Raises:
      ValueError: the records cannot be read or shared by the replicas, or a setting is at fault.
    """
    return reader.make_dataset(
      params.input_path,
      global_batch_size=params.global_batch_size,
      is_training=params.is_training,
      seed=params.seed,
      first_batch=first_batch,
      skipped_batches=skipped_batches,
      cache=params.cache,
      canvas=params.canvas,
      canvas_size=params.canvas_size,
      short_side=params.short_side,
      long_side=params.long_side,
      max_num_boxes=params.max_num_boxes,
      flip_probability=params.flip_probability,
      vertical_flip_probability=params.vertical_flip_probability,
      scale_min=params.scale_min,
      scale_max=params.scale_max,
      difficult=params.difficult,
      crowd=params.crowd,
      input_context=input_context,
    )

  def image_ids(
    self,
    params: data_config.Data,
    batch: int,
    input_context: tf.distribute.InputContext | None = None,
  ) -> list[str]:
    """Returns the source ids of the images in a training batch, of all workers or of one."""
    return reader.image_ids(
      params.input_path,
      batch,
      global_batch_size=params.global_batch_size,
      seed=params.seed,
      canvas=params.canvas,
      input_context=input_context,
    )

  def build_metrics(self, training: bool = True) -> list[tf_keras.metrics.Metric]:
    """Returns a running mean for each loss; evaluation collects its figures by itself."""
    if not training:
      return []
    auxiliary = self.task_config.auxiliary
    names = ["rpn_objectness", "rpn_box", "roi_class", "roi_box"]
    names += [
      name
      for name in ("multi_object", "closeness", "foreground")
      if getattr(auxiliary, name).loss_weight
    ]
    if self.task_config.refinement.enabled:
      names.append("refinement")
    names += ["weight_decay", "dropped_boxes"]
    return [tf_keras.metrics.Mean(name, dtype=tf.float32) for name in names]

  def auxiliary_targets(
    self, labels: dict[str, tf.Tensor], step: tf.Tensor
  ) -> auxiliary_labels.AuxiliaryTargets:
    """Returns the auxiliary labels that a batch is trained on in `step`; compiled."""
    return self._make_auxiliary_targets(labels, tf.cast(step, tf.int32))

  # Nothing here branches in Python on a tensor, and unconverted code is traced twice as fast.
  @tf.autograph.experimental.do_not_convert
  def train_step(
    self,
    inputs: tuple[tf.Tensor, dict[str, tf.Tensor]],
    model: detector.Detector,
    optimizer: tf_keras.optimizers.Optimizer,
    metrics: Sequence[tf_keras.metrics.Metric] | None = None,
  ) -> dict[str, tf.Tensor]:
    """Takes one step. Returns the losses by name, and their sum as `loss`.

    On several replicas the mean over them of what is returned belongs to the whole batch.
    """
    num_replicas = tf.distribute.get_strategy().num_replicas_in_sync
    # In float16, so that small gradients do not become 0 on their way.
    scales_loss = isinstance(optimizer, tf_keras.mixed_precision.LossScaleOptimizer)
    with tf.GradientTape() as tape:
      step = tf.convert_to_tensor(optimizer.iterations)
      parts = self._training_parts(inputs, model, step)
      losses = training_losses.over_replicas(parts)
      total = tf.add_n(list(losses.values()))
      # Gradients are added over replicas.
      scaled = total / num_replicas
      if scales_loss:
        scaled = optimizer.get_scaled_loss(scaled)
    variables = model.trainable_variables
    gradients = tape.gradient(scaled, variables)
    if scales_loss:
      gradients = optimizer.get_unscaled_gradients(gradients)
    nonfinite.apply_gradients(
      self.guard,
      optimizer,
      [
        (gradient, variable)
        for gradient, variable in zip(gradients, variables, strict=True)
        if gradient is not None
      ],
      total,
    )
    logs = {self.loss: total, **losses}
    num_dropped = tf.reduce_sum(tf.cast(inputs[1]["num_dropped_boxes"], tf.float32))
    logs["dropped_boxes"] = num_dropped * num_replicas
    for metric in metrics or ():
      metric.update_state(logs[metric.name])
    return logs

  def _make_training_parts(
    self, inputs: tuple[tf.Tensor, dict[str, tf.Tensor]], model: detector.Detector, step: tf.Tensor
  ) -> dict[str, tf.Tensor | batch_sum.BatchSum]:
    """A replica's part of every loss of a training step; needs nothing of other replicas."""
    images, labels = inputs
    targets = self.auxiliary_targets(labels, step)
    first = model.first_stage(images, labels["image_size_px"], training=True)
    parts = training_losses.loss_parts(model, self.task_config, first, labels, targets, step)
    parts["weight_decay"] = training_losses.weight_decay(model, self.task_config.regularization)
    return parts

  @tf.autograph.experimental.do_not_convert
  def validation_step(
    self,
    inputs: tuple[tf.Tensor, dict[str, tf.Tensor]],
    model: detector.Detector,
    metrics: Sequence[tf_keras.metrics.Metric] | None = None,
  ) -> dict[str, tf.Tensor]:
    """Returns ground truth, detections in file pixels, and what the auxiliary metrics need."""
    del metrics
    images, labels = inputs
    image_size_px = labels["image_size_px"]
    outputs = model(images, image_size_px)
    scale = tf.tile(labels["image_info"][:, 2], [1, 2])[:, tf.newaxis]  # [B, 1, 4]
    logs = {
      name: labels[name]
      for name in (
        "gt_boxes_orig",
        "gt_classes",
        "gt_difficult",
        "gt_is_crowd",
        "gt_area_orig",
        "num_dropped_boxes",
        "example_valid",
        "example_index",
      )
    }
    logs["detection_boxes_orig"] = outputs["detection_boxes_px"] / scale
    logs["detection_scores"] = outputs["detection_scores"]
    logs["detection_classes"] = outputs["detection_classes"]
    if self.task_config.evaluation.auxiliary_metrics:
      logs.update(self._auxiliary_outputs(model, outputs, labels))
    return logs

  def aggregate_logs(self, state: Any, step_logs: dict[str, Any]) -> bool:
    """Adds the images of one step to the evaluators; `state` is None at the start."""
    if state is None:
      self._detection.reset()
      self._auxiliary.reset()
      self._num_dropped_boxes = 0
    logs = {
      name: np.concatenate([np.asarray(value) for value in values])
      for name, values in step_logs.items()
    }
    # In the order of the files, whatever the replicas: it decides between equal scores.
    order = np.argsort(logs["example_index"], kind="stable")
    for i in order[logs["example_valid"][order]]:
      self._num_dropped_boxes += int(logs["num_dropped_boxes"][i])
      self._detection.update({name: values[i] for name, values in logs.items()})
      auxiliary = {
        name.removeprefix("auxiliary/"): values[i]
        for name, values in logs.items()
        if name.startswith("auxiliary/")
      }
      if auxiliary:
        self._auxiliary.update(**auxiliary)
    return True

  def reduce_aggregated_logs(
    self, aggregated_logs: Any, global_step: tf.Tensor | None = None
  ) -> dict[str, float]:
    """Returns the figures of the whole evaluation by name.

    `dropped_boxes` counts ground-truth boxes for which `max_num_boxes` had no room: the figures
    know nothing of them, unless the ground truth is that of `coco_annotations`.
    """
    del aggregated_logs
    step = None if global_step is None else int(global_step.numpy())
    figures = {**self._detection.result(step), **self._auxiliary.result()}
    return {**figures, "dropped_boxes": float(self._num_dropped_boxes)}

  def _auxiliary_outputs(
    self, model: detector.Detector, outputs: dict[str, tf.Tensor], labels: dict[str, tf.Tensor]
  ) -> dict[str, tf.Tensor]:
    """Predictions and labels of the auxiliary tasks, named as `AuxiliaryEvaluator.update` asks."""
    targets = self.auxiliary_targets(labels, tf.constant(EVALUATION_STEP))
    image_size_px, features = labels["image_size_px"], outputs["features"]
    logs = {}
    if model.multi_object_head is not None:
      logits = model.classify_windows(features, targets.windows_px, image_size_px)
      logs["window_probabilities"] = tf.nn.softmax(logits)
      logs["window_labels"] = targets.window_labels
      logs["window_weights"] = targets.window_weights
    if model.closeness_head is not None:
      overlaps = box_ops.pairwise_iou(labels["gt_boxes_px"], outputs["proposals_px"])
      best = tf.argmax(overlaps, axis=-1, output_type=tf.int32)  # [B, N]
      probabilities = tf.nn.softmax(outputs["closeness_logits"])  # [B, P, C]
      logs["closeness_probabilities"] = tf.gather(probabilities, best, batch_dims=1)
      logs["closeness_labels"] = targets.closeness_labels
      matched = tf.reduce_max(overlaps, axis=-1) >= self.task_config.roi_head.positive_iou
      logs["closeness_valid"] = matched & (labels["gt_classes"] > 0)  # [B, N]
    if model.foreground_head is not None:
      logits = training_losses.foreground_logits(model, self.task_config, features, image_size_px)
      logs["foreground_probabilities"] = tf.nn.softmax(logits)[..., 1]  # [B, h, w]
      logs["foreground_labels"] = targets.foreground_mask
    return {f"auxiliary/{name}": values for name, values in logs.items()}


def load_detector(model: detector.Detector, path: str, source: str) -> None:
  """Loads all weights of a detector from a checkpoint of this task, or of a detector alone.

  Args:
    model: the detector.
    path: of the checkpoint, without suffix.
    source: how the path came about, for the message.

  Raises:
    ValueError: if the checkpoint cannot be read, or holds another detector.
  """
  try:
    status = tf.train.Checkpoint(model=model).read(path)
    status.expect_partial().assert_existing_objects_matched()
  except (tf.errors.OpError, AssertionError, ValueError) as error:
    reason = str(error).strip().split("\n")[0]
    raise ValueError(f"{source} {path!r} is no checkpoint of this detector ({reason})") from error
