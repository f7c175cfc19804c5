"""Pretraining by instance localisation: composites -> vectors of boxes -> contrastive loss.

    train_step        exchanges key images, then
      _encode           query encoder; the key encoder follows it; key encoder
      info_nce          queries against their keys and the queue
      gradients, then the queue takes the batch's keys
    validation_step   features of annotated objects, for the probe

The networks are in `modeling/pretraining/`, the composites in `data/composites/`.

Reference: Yang et al., "Instance Localization for Self-supervised Detection Pretraining", CVPR
2021.
"""

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import tensorflow as tf
import tf_keras
from official.core import config_definitions as cfg
from official.core import task_factory

from mtl_ssl_tf.configs import insloc as insloc_config
from mtl_ssl_tf.configs import training as training_config
from mtl_ssl_tf.data.composites import reader as composite_reader
from mtl_ssl_tf.data.pipeline import reader
from mtl_ssl_tf.evaluation import knn_probe
from mtl_ssl_tf.labels import box_augmentation
from mtl_ssl_tf.losses import contrastive_losses
from mtl_ssl_tf.modeling.pretraining import insloc_model
from mtl_ssl_tf.ops import replica_ops, seed_ops, shuffle_ops
from mtl_ssl_tf.tasks import insloc_pictures, insloc_probe, insloc_settings
from mtl_ssl_tf.training import nonfinite
from mtl_ssl_tf.training import task as task_lib

# A spread of the keys below this is a collapse, once the queue holds keys of trained weights alone.
COLLAPSED = 0.05


@task_factory.register_task_cls(insloc_config.InsLoc)
class InsLocTask(task_lib.TrainableTask):
  """Trains a query encoder to know an instance again wherever it was pasted."""

  fixed_fields = insloc_settings.FIXED
  counters = ("queue_filled",)

  def __init__(
    self,
    params: insloc_config.InsLoc,
    logging_dir: str | None = None,
    name: str | None = None,
    crop_method: str = "native",
    precision: str = "float32",
    compile_losses: bool = False,
  ):
    """Keeps the settings; in the strategy's scope.

    Args:
      params: the task's configuration.
      logging_dir: folder of the run.
      name: of the task.
      crop_method, precision: see `insloc_model.build`.
      compile_losses: compile what a replica does by itself, both encoders and back. For steps that
        cannot be compiled whole.

    Raises:
      ValueError: the replicas' shares of a batch are not made of whole groups.
    """
    super().__init__(params, logging_dir=logging_dir, name=name)
    self._crop_method, self._precision = crop_method, precision
    self._num_replicas = tf.distribute.get_strategy().num_replicas_in_sync
    insloc_config.check_groups(params, self._num_replicas)
    self._probe = insloc_probe.Probe(params.probe_neighbours)
    self._pictures = insloc_pictures.InsLocPictures(
      params.num_pictures, lambda: self.build_inputs(params.train_data), self._query_boxes
    )
    self._levels = insloc_config.levels(params)
    if compile_losses:
      self._encode = tf.function(self._encode, jit_compile=True, autograph=False)

  @classmethod
  def check(cls, params: cfg.ExperimentConfig) -> None:
    """Raises ValueError where nothing can be pretrained with the settings."""
    insloc_settings.check(params)

  @classmethod
  def check_split(cls, config: insloc_config.InsLoc, reason: str) -> None:
    """Raises ValueError where replicas would have to exchange values within the encoders."""
    insloc_settings.check_split(config, reason)

  @classmethod
  def check_data(cls, config: insloc_config.InsLoc, name: str) -> None:
    """Raises ValueError where the probe has no records."""
    insloc_settings.check_data(config, name)

  @classmethod
  def for_run(
    cls,
    config: insloc_config.InsLoc,
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
    return knn_probe.ACCURACY

  @property
  def figures(self) -> list[str]:
    """Names of the probe's figures."""
    return list(knn_probe.KnnProbe(1).result())

  def build_model(self) -> insloc_model.InsLocModel:
    """Returns both encoders and the queue with their variables, drawn by the configured seed."""
    tf_keras.utils.set_random_seed(self.task_config.seed)
    return insloc_model.build(self.task_config, self._crop_method, self._precision)

  def initialize(self, model: insloc_model.InsLocModel) -> None:
    """Leaves the network as it is: there are no start weights."""

  def build_inputs(
    self,
    params: cfg.DataConfig,
    input_context: tf.distribute.InputContext | None = None,
    first_batch: int = 0,
    skipped_batches: Sequence[int] = (),
  ) -> tf.data.Dataset:
    """Returns batches of composites, or those of the probe; see `TrainableTask.build_inputs`.

    Training's are dicts, see `data/composites/reader.py`; the probe's are `(images, labels)`, see
    `data/pipeline/reader.py`.
    """
    make = composite_reader.make_dataset if params.is_training else reader.make_dataset
    if params.is_training:
      insloc_settings.warn_of_queue(self.task_config, composite_reader.num_images(params))
    return make(
      params,
      first_batch=first_batch,
      skipped_batches=skipped_batches,
      input_context=input_context,
    )

  def image_ids(self, params: cfg.DataConfig, batch: int) -> list[str]:
    """Returns what the images of a training batch are called."""
    return composite_reader.image_ids(params, batch)

  def count_warning(self, values: dict[str, float]) -> str | None:
    """Returns a warning where all images have much the same vector."""
    if values.get("queue_filled", 0.0) < 1.0 or values["spread"] >= COLLAPSED:
      return None
    return (
      f"the network has collapsed: its vectors spread over {values['spread']:.3f} of what they "
      "could, so that all images look alike to it; lower the learning rate, raise task.momentum, "
      "and give each group of task.group_size at least 16 images"
    )

  def build_metrics(self, training: bool = True) -> list[tf_keras.metrics.Metric]:
    """Returns a running mean for each log; the probe collects its figures by itself."""
    if not training:
      return []
    names = ["contrastive", "weight_decay", "accuracy", "spread", "queue_age", "queue_filled"]
    names += [_accuracy_name(level) for level in self._levels]
    return [tf_keras.metrics.Mean(name, dtype=tf.float32) for name in names]

  # Nothing here branches in Python on a tensor, and unconverted code is traced twice as fast.
  @tf.autograph.experimental.do_not_convert
  def train_step(
    self,
    inputs: dict[str, tf.Tensor],
    model: insloc_model.InsLocModel,
    optimizer: tf_keras.optimizers.Optimizer,
    metrics: Sequence[tf_keras.metrics.Metric] | None = None,
  ) -> dict[str, tf.Tensor]:
    """Takes one step. Returns by name

    * `contrastive` and `weight_decay`, the losses, and their sum as `loss`. On a feature pyramid
      `contrastive` is the sum over its levels;
    * `accuracy`, the share of queries that are most like their own key, of 1 + K; on a pyramid the
      mean over its levels, of which each has its own too, as `accuracy_p5`;
    * `spread` of the keys, see `contrastive_losses.spread`; on a pyramid the least of its levels;
    * `queue_age`, the mean age of the queue's keys in steps, and `queue_filled`, the share of it
      that are keys of images.

    On several replicas the mean over them of what is returned belongs to the whole batch.
    """
    # In float16, so that small gradients do not become 0 on their way.
    scales_loss = isinstance(optimizer, tf_keras.mixed_precision.LossScaleOptimizer)
    step = tf.cast(optimizer.iterations, tf.int32)
    with tf.GradientTape() as tape:
      logs, keys = self._compare(inputs, model, step)
      # Gradients are added over replicas.
      scaled = logs[self.loss] / self._num_replicas
      if scales_loss:
        scaled = optimizer.get_scaled_loss(scaled)
    variables = model.trainable_variables
    gradients = tape.gradient(scaled, variables)
    if scales_loss:
      gradients = optimizer.get_unscaled_gradients(gradients)
    pairs = list(zip(gradients, variables, strict=True))
    nonfinite.apply_gradients(self.guard, optimizer, pairs, logs[self.loss])
    keys = replica_ops.gather_rows(keys)  # [N, L D], the same on every replica
    of_levels = tf.split(keys, model.query_encoder.num_levels, axis=1)
    logs |= {
      "spread": tf.reduce_min([contrastive_losses.spread(level) for level in of_levels]),
      "queue_age": model.queue.mean_age(keys.shape[0]),
      "queue_filled": model.queue.filled(),
    }
    model.queue.enqueue(keys)
    for metric in metrics or ():
      metric.update_state(logs[metric.name])
    return logs

  def _compare(
    self, inputs: dict[str, tf.Tensor], model: insloc_model.InsLocModel, step: tf.Tensor
  ) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
    """Losses and accuracy of a replica's queries, and its keys.

    The keys, [B, L D], are in the order of the batch.
    """
    order = self._key_order(inputs["key_boxes"].shape[0], step)
    key_images, key_boxes = (
      self._exchange(inputs[name], order) for name in ("key_images", "key_boxes")
    )
    exact = inputs["query_boxes"]
    pooled = self._query_boxes(exact, inputs["query_images"].shape[1], step)
    queries, mixed_keys, decay = self._encode(
      model,
      inputs["query_images"],
      self._boxes_of_levels(exact, pooled),
      key_images,
      self._boxes_of_levels(key_boxes, key_boxes),
    )
    num_rows, num_levels, depth = mixed_keys.shape
    mixed_keys = tf.reshape(mixed_keys, [num_rows, num_levels * depth])
    keys = self._exchange(mixed_keys, None if order is None else shuffle_ops.inverse(order))
    keys_of_levels = tf.split(keys, num_levels, axis=1)
    contrasts = [
      contrastive_losses.info_nce(
        queries[:, i], keys_of_levels[i], model.queue.of_level(i), self.task_config.temperature
      )
      for i in range(num_levels)
    ]
    contrastive = tf.add_n([contrast.loss for contrast in contrasts])
    accuracies = [tf.reduce_mean(tf.cast(one.is_first, tf.float32)) for one in contrasts]
    logs = {
      self.loss: contrastive + decay,
      "contrastive": contrastive,
      "weight_decay": decay,
      "accuracy": tf.add_n(accuracies) / num_levels,
    }
    logs |= {_accuracy_name(level): accuracies[i] for i, level in enumerate(self._levels)}
    return logs, keys

  def _encode(
    self,
    model: insloc_model.InsLocModel,
    query_images: tf.Tensor,
    query_boxes: tf.Tensor,
    key_images: tf.Tensor,
    key_boxes: tf.Tensor,
  ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """A replica's queries and keys, [B, L, D] each, and the loss of weight decay.

    Boxes are [B, L, 4]. The key encoder follows in between. With norm `batch` or `group` replicas
    exchange nothing here.
    """
    config = self.task_config
    queries = model.query_encoder(query_images, query_boxes, training=True)
    # The order is the published one: keys are made by weights that have followed already.
    with tf.control_dependencies([queries]):
      model.key_encoder.follow(model.query_encoder, config.momentum)
      keys = tf.stop_gradient(model.key_encoder(key_images, key_boxes, training=True))
    decay = tf.constant(0.0)
    if config.weight_decay:
      squares = [tf.nn.l2_loss(variable) for variable in model.trainable_variables]
      decay = config.weight_decay * tf.add_n(squares)
    return queries, keys, decay

  def _query_boxes(self, boxes_px: tf.Tensor, image_side: int, step: tf.Tensor) -> tf.Tensor:
    """The boxes [B, 4] that queries are pooled from in a step, given the exact ones."""
    config = self.task_config
    if not config.box_augmentation.enabled or config.pooling == "image":
      return boxes_px
    # A row has the same seed whichever replica it is on.
    rows = tf.range(config.train_data.global_batch_size)
    rows = replica_ops.own_rows(rows)[: boxes_px.shape[0]]
    seeds = seed_ops.image_seeds(config.seed, seed_ops.BOX_AUGMENTATION, step, rows)
    settings = config.box_augmentation
    return box_augmentation.augment_boxes(
      boxes_px,
      seeds,
      image_side,
      min_iou=settings.min_iou,
      cells=settings.cells,
      scales=settings.scales,
      aspect_ratios=settings.aspect_ratios,
    )

  def _boxes_of_levels(self, exact_px: tf.Tensor, augmented_px: tf.Tensor) -> tf.Tensor:
    """The boxes [B, L, 4] of each level, given the exact and the augmented ones [B, 4]."""
    if not self._levels:
      return augmented_px[:, tf.newaxis]
    augmented = self.task_config.box_augmentation.levels
    boxes = [augmented_px if level in augmented else exact_px for level in self._levels]
    return tf.stack(boxes, axis=1)

  def _key_order(self, num_rows: int, step: tf.Tensor) -> tf.Tensor | None:
    """The order in which key images are normalised, or None for their own.

    int32 [N] over the rows of all replicas, or [B] where each replica shuffles its own.
    """
    config = self.task_config
    if config.shuffle == "none" or config.backbone.norm.type == "group":
      return None
    seed = seed_ops.step_seed(config.seed, seed_ops.KEY_SHUFFLE, step)
    if config.shuffle == "replica":
      context = tf.distribute.get_replica_context()
      seed += tf.stack([context.replica_id_in_sync_group, 0])
      return shuffle_ops.random_order(num_rows, seed)
    return shuffle_ops.random_order(num_rows * self._num_replicas, seed)

  def _exchange(self, values: tf.Tensor, order: tf.Tensor | None) -> tf.Tensor:
    """Rows [B, ...] of this replica in an order of `_key_order`."""
    if order is None:
      return values
    if self.task_config.shuffle == "replica":
      return tf.gather(values, order)
    return shuffle_ops.take_rows(values, order)

  @tf.autograph.experimental.do_not_convert
  def validation_step(
    self,
    inputs: tuple[tf.Tensor, dict[str, tf.Tensor]],
    model: insloc_model.InsLocModel,
    metrics: Sequence[tf_keras.metrics.Metric] | None = None,
  ) -> dict[str, tf.Tensor]:
    """Returns the features of annotated objects, see `insloc_probe.outputs`."""
    del metrics
    return insloc_probe.outputs(inputs, model)

  def aggregate_logs(self, state: Any, step_logs: dict[str, Any]) -> bool:
    """Adds the objects of one step to the probe; `state` is None at the start."""
    if state is None:
      self._probe.reset()
    self._probe.update_batch(step_logs)
    return True

  def reduce_aggregated_logs(
    self, aggregated_logs: Any, global_step: tf.Tensor | None = None
  ) -> dict[str, float]:
    """Returns the probe's figures by name."""
    del aggregated_logs, global_step
    return self._probe.result()

  def describe_evaluation(self, figures: dict[str, float]) -> list[str]:
    """Returns a line on the probe."""
    return [insloc_probe.describe(figures, self.task_config.probe_neighbours)]

  @property
  def picture_interval(self) -> int:
    """Steps from one drawing to the next."""
    return self.task_config.picture_interval

  def draw(self, model: insloc_model.InsLocModel, step: int) -> list[np.ndarray]:
    """Returns pairs of composites with their boxes, see `InsLocPictures`."""
    del model
    return self._pictures.draw(step)


def _accuracy_name(level: int) -> str:
  return f"accuracy_p{level}"
