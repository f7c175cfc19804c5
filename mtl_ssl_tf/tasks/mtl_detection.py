"""The training task: batch -> labels -> model -> losses -> logs."""

import os
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import tensorflow as tf
import tf_keras
from official.core import config_definitions as cfg
from official.core import task_factory

from mtl_ssl_tf import terminal
from mtl_ssl_tf.checkpoints import pretrained
from mtl_ssl_tf.configs import data as data_config
from mtl_ssl_tf.configs import detector as detector_config
from mtl_ssl_tf.configs import training as training_config
from mtl_ssl_tf.configs import validation
from mtl_ssl_tf.data import label_map, schema
from mtl_ssl_tf.data.inspection import validation_report
from mtl_ssl_tf.data.pipeline import reader
from mtl_ssl_tf.labels import auxiliary as auxiliary_labels
from mtl_ssl_tf.losses import batch_sum
from mtl_ssl_tf.modeling import detector, factory
from mtl_ssl_tf.modeling.backbones import registry
from mtl_ssl_tf.tasks import (
  auxiliary_costs,
  detection_evaluation,
  detection_settings,
  main_head_losses,
  pretraining_start,
  training_losses,
  training_panels,
  validation_outputs,
  validation_panels,
)
from mtl_ssl_tf.training import nonfinite, strategies
from mtl_ssl_tf.training import task as task_lib

# Evaluation draws its windows as this step would, so that its figures can be compared.
EVALUATION_STEP = 0
START_WEIGHTS_FILE = "start_weights.txt"


@task_factory.register_task_cls(detector_config.MtlDetection)
class MtlDetectionTask(task_lib.TrainableTask):
  """Trains and evaluates a detector with auxiliary tasks and refinement.

  Attributes:
    class_names: names of the object classes, class 1 first.
    num_classes: C, background included.
  """

  fixed_fields = detection_settings.FIXED
  switch_fields = detection_settings.SWITCHES
  hyperparameters = detection_settings.HYPERPARAMETERS
  counters = ("dropped_boxes",)

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
    registry.check(params.backbone.type)
    self.class_names = label_map.read_label_map(params.label_map)
    self.num_classes = len(self.class_names) + 1
    self._evaluation = detection_evaluation.DetectionEvaluation(
      params.evaluation, self.class_names, params.validation_data.input_path, params.label_map
    )
    self._panels = training_panels.TrainingPanels(
      params.pictures,
      self.class_names,
      lambda: self.build_inputs(params.train_data),
      self.auxiliary_targets,
      self.mined_views,
    )
    self._validation_panels = validation_panels.ValidationPanels(
      params.pictures, self.class_names, params.validation_data.input_path
    )
    if compile_losses:
      self._compute_replica_losses = tf.function(
        self._compute_replica_losses, jit_compile=True, autograph=False
      )
    self._make_auxiliary_targets = tf.function(
      lambda labels, step: training_losses.make_auxiliary_targets(
        params, labels, step, self.num_classes
      ),
      jit_compile=not strategies.is_tpu(tf.distribute.get_strategy()) or None,
      autograph=False,
    )

  @classmethod
  def check(cls, params: cfg.ExperimentConfig) -> None:
    """Raises ValueError where no detector can be built from the settings or trained with them."""
    detection_settings.check(params)

  @classmethod
  def check_split(cls, config: detector_config.MtlDetection, reason: str) -> None:
    """Raises ValueError where replicas would have to exchange values before their losses."""
    detection_settings.check_split(config, reason)

  @classmethod
  def check_data(cls, config: detector_config.MtlDetection, name: str) -> None:
    """Raises ValueError where records are missing or of other classes than the label map."""
    detection_settings.check_data(config, name)

  @classmethod
  def inspect_data(
    cls, config: detector_config.MtlDetection, name: str, num_records: int
  ) -> validation_report.ValidationReport:
    """Returns what was found in so many records."""
    return detection_settings.inspect_data(config, name, num_records)

  @classmethod
  def check_start(cls, config: detector_config.MtlDetection) -> None:
    """Raises ValueError where start weights are missing; warns of frozen norms without them."""
    detection_settings.check_start(config)

  @classmethod
  def start_from(cls, config: detector_config.MtlDetection, weights: str) -> None:
    """Sets the start weights as `--init` asks."""
    detection_settings.start_from(config, weights)

  @classmethod
  def files(cls, config: detector_config.MtlDetection) -> dict[str, str]:
    """Returns the label map, without which a checkpoint cannot be used."""
    return {schema.LABEL_MAP_FILE: config.label_map}

  @classmethod
  def check_files(cls, config: detector_config.MtlDetection, model_dir: str) -> list[str]:
    """Returns a line where the classes are not those of the run so far."""
    return detection_settings.check_files(config, model_dir)

  @classmethod
  def for_run(
    cls,
    config: detector_config.MtlDetection,
    runtime: training_config.Runtime,
    *,
    logging_dir: str | None = None,
    compile_losses: bool = False,
  ) -> Self:
    """Builds the task with the kernels and the precision of a run."""
    return cls(
      config,
      logging_dir=logging_dir,
      crop_method=runtime.compiled_crop_method,
      precision=runtime.mixed_precision_dtype or "float32",
      compile_losses=compile_losses,
    )

  @property
  def main_metric(self) -> str:
    """Name of the figure that selects the best checkpoint."""
    return self._evaluation.metrics.main_key

  @property
  def figures(self) -> list[str]:
    """Names of the figures on detection."""
    return list(self._evaluation.metrics.result())

  def prepare_evaluation(self, writes: bool = True) -> None:
    """Reads the names of the validation images where metrics or result files need them.

    Args:
      writes: whether this process writes the result files.

    Raises:
      ValueError: a file is at fault, which would otherwise come out after hours of training.
    """
    self._evaluation.prepare(writes)

  def build_model(self) -> detector.Detector:
    """Returns the detector with its variables, drawn by the configured seed."""
    tf_keras.utils.set_random_seed(self.task_config.seed)
    return factory.build_detector(
      self.task_config, self.num_classes, self._crop_method, self._precision
    )

  def initialize(self, model: detector.Detector) -> None:
    """Loads the start weights `init_checkpoint`, if there are any; see `checkpoints/pretrained.py`.

    Prints a short report; `start_weights.txt` in the folder of the run is the whole one.

    Raises:
      ValueError: if they cannot be read, or fit nowhere.
    """
    config = self.task_config
    if not config.init_checkpoint:
      return
    report = pretrained.load(
      model,
      config.init_checkpoint,
      detection_settings.INIT_FIELD,
      config.init_modules,
      copy_missing=config.auxiliary.init_from == "main_stage2",
    )
    terminal.show(f"start weights {config.init_checkpoint}\n{report.text(limit=3)}")
    text = f"{config.init_checkpoint}\n{report.text(limit=None)}\n"
    if pretrained.is_pretraining(config.init_checkpoint, detection_settings.INIT_FIELD):
      for line in pretraining_start.after_pretraining(model, config):
        terminal.show(line)
        text += f"{line}\n"
    if self.logging_dir:
      tf.io.gfile.makedirs(self.logging_dir)
      with tf.io.gfile.GFile(os.path.join(self.logging_dir, START_WEIGHTS_FILE), "w") as file:
        file.write(text)

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
      params,
      first_batch=first_batch,
      skipped_batches=skipped_batches,
      input_context=input_context,
      num_classes=self.num_classes,
    )

  def image_ids(self, params: data_config.Data, batch: int) -> list[str]:
    """Returns the source ids of the images in a training batch, of all workers."""
    return reader.image_ids(params, batch)

  def count_warning(self, values: dict[str, float]) -> str | None:
    """Returns a warning where ground-truth boxes were left out of a step."""
    if not values.get("dropped_boxes"):
      return None
    return (
      f"images hold more than {self.task_config.train_data.max_num_boxes} boxes, the rest is left "
      "out; raise task.train_data.max_num_boxes"
    )

  def build_metrics(self, training: bool = True) -> list[tf_keras.metrics.Metric]:
    """Returns a running mean for each loss; evaluation collects its figures by itself."""
    if not training:
      return []
    auxiliary = self.task_config.auxiliary
    names = ["rpn_objectness", "rpn_box", *main_head_losses.names(self.task_config.roi_head)]
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
    """Returns the auxiliary targets of a batch in `step`; compiled."""
    return self._make_auxiliary_targets(labels, tf.cast(step, tf.int32))

  def mined_views(
    self,
    model: detector.Detector | None,
    inputs: tuple[tf.Tensor, dict[str, tf.Tensor]],
    step: tf.Tensor,
  ) -> Any:
    """Returns the views of a batch with the boxes mined in them, for pictures; None without any."""
    return None

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
      parts, measures = self._compute_replica_losses(inputs, model, step)
      losses = training_losses.reduce_over_replicas(parts)
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
    logs |= {name: measure.mean for name, measure in measures.items()}
    num_dropped = tf.reduce_sum(tf.cast(inputs[1]["num_dropped_boxes"], tf.float32))
    logs["dropped_boxes"] = num_dropped * num_replicas
    for metric in metrics or ():
      weight = measures[metric.name].count if metric.name in measures else None
      metric.update_state(logs[metric.name], sample_weight=weight)
    return logs

  def _compute_replica_losses(
    self, inputs: tuple[tf.Tensor, dict[str, tf.Tensor]], model: detector.Detector, step: tf.Tensor
  ) -> tuple[dict[str, tf.Tensor | batch_sum.BatchSum], dict[str, training_losses.Measure]]:
    """A replica's part of every loss of a training step, and measures for the log.

    Needs nothing of other replicas.
    """
    supervision = self.supervise(inputs, model, step)
    labels = supervision.labels
    parts = training_losses.replica_losses(
      model,
      self.task_config,
      supervision.first,
      labels,
      self.auxiliary_targets(labels, step),
      step,
      num_views=supervision.num_views,
    )
    parts |= supervision.losses
    parts["weight_decay"] = training_losses.weight_decay(model, self.task_config.regularization)
    return parts, supervision.measures

  def supervise(
    self, inputs: tuple[tf.Tensor, dict[str, tf.Tensor]], model: detector.Detector, step: tf.Tensor
  ) -> training_losses.Supervision:
    """Returns what the losses of `step` are computed from: the batch and its annotations.

    A task with another source of ground truth overrides this method alone.
    """
    del step
    images, labels = inputs
    first = model.first_stage(images, labels["image_size_px"], training=True)
    return training_losses.Supervision(first, labels)

  @tf.autograph.experimental.do_not_convert
  def validation_step(
    self,
    inputs: tuple[tf.Tensor, dict[str, tf.Tensor]],
    model: detector.Detector,
    metrics: Sequence[tf_keras.metrics.Metric] | None = None,
  ) -> dict[str, tf.Tensor]:
    """Returns ground truth, detections in file pixels, and what the auxiliary metrics need."""
    del metrics
    targets = None
    evaluation = self.task_config.evaluation
    if evaluation.losses:
      inputs = validation_outputs.filled_up(inputs)
    if evaluation.auxiliary_metrics or evaluation.losses:
      targets = self.auxiliary_targets(inputs[1], tf.constant(EVALUATION_STEP))
    return validation_outputs.validation_outputs(model, self.task_config, inputs, targets)

  def aggregate_logs(self, state: Any, step_logs: dict[str, Any]) -> bool:
    """Adds the images of one step to the evaluation; `state` is None at the start."""
    if state is None:
      self._evaluation.reset()
      self._validation_panels.reset()
    for image in self._evaluation.update_batch(step_logs):
      self._validation_panels.update(image)
    return True

  def reduce_aggregated_logs(
    self, aggregated_logs: Any, global_step: tf.Tensor | None = None
  ) -> dict[str, float]:
    """Returns the figures of the whole evaluation by name, see `DetectionEvaluation.result`."""
    del aggregated_logs
    return self._evaluation.result(None if global_step is None else int(global_step.numpy()))

  def draw_evaluation(self) -> list[np.ndarray]:
    """Returns pictures of validation images with the detections of the last evaluation."""
    return self._validation_panels.draw()

  def closing_lines(self, folder: str | None) -> list[str]:
    """Returns which kind of error costs most, and where the confusion matrix is."""
    return self._evaluation.closing_lines(folder)

  def closing_table(self, model: detector.Detector) -> task_lib.ClosingTable | None:
    """Returns what auxiliary tasks and refinement cost, and what refinement is worth.

    None without them, and without an evaluation to take an image and figures from.
    """
    wanted = self.task_config.evaluation.auxiliary_costs and self._evaluation.num_images
    if not wanted or not auxiliary_costs.count_parameters(model):
      return None
    strategy, reason = tf.distribute.get_strategy(), ""
    if strategies.is_tpu(strategy) or strategy.num_replicas_in_sync > 1:
      reason = "on a TPU" if strategies.is_tpu(strategy) else "on several replicas"
    costs = auxiliary_costs.measure(model, None if reason else self._first_image)
    device = "GPU" if tf.config.get_visible_devices("GPU") else "CPU"
    return auxiliary_costs.table(costs, self._evaluation.worth(), device, reason)

  def _first_image(self) -> tuple[tf.Tensor, tf.Tensor]:
    images, labels = next(iter(self.build_inputs(self.task_config.validation_data)))
    return images[:1], labels["image_size_px"][:1]

  def describe_evaluation(self, figures: dict[str, float]) -> list[str]:
    """Returns the tables of the last evaluation and the auxiliary figures."""
    return self._evaluation.describe(figures)

  def evaluation_warnings(self, figures: dict[str, float]) -> list[str]:
    """Returns a line where ground-truth boxes were left out of the figures."""
    if not figures["dropped_boxes"]:
      return []
    return [
      f"ground-truth boxes left out of these figures: {figures['dropped_boxes']:.0f}; "
      "raise task.validation_data.max_num_boxes"
    ]

  @property
  def picture_interval(self) -> int:
    """Steps from one drawing to the next."""
    return self.task_config.pictures.interval

  def draw(self, model: detector.Detector, step: int) -> list[np.ndarray]:
    """Returns pictures of training images, see `TrainingPanels`."""
    return self._panels.draw(model, step)
