"""Builds a step of training or inference as one program: traced, compiled, described.

The program's arguments are the batch's tensors, flattened, and then the variables that the step
reads, in the order in which they were captured. Its results are the step's own and then the new
values of the variables that it changes.
"""

import contextlib
import dataclasses
import os
from collections.abc import Iterator, Sequence
from typing import Any

import tensorflow as tf
import tf_keras
from official.core import config_definitions as cfg
from official.core import task_factory, train_utils
from tensorflow.compiler.xla.service import hlo_pb2
from tensorflow.python.ops import handle_data_util

from mtl_ssl_tf.checkpoints import model_checkpoint, reading
from mtl_ssl_tf.configs import detector as detector_config
from mtl_ssl_tf.configs import validation
from mtl_ssl_tf.modeling.backbones import registry
from mtl_ssl_tf.training import averaged_weights, trainer

STEPS = ("training", "inference")
# Which variables an argument of the program may be; the batch is another.
TRAINED, FIXED, OPTIMIZER, BATCH = "trained", "fixed", "optimizer", "batch"
# For programs that are analysed and not run: XLA plans memory with a schedule meant to save it, as
# on accelerators, not with the one that keeps a CPU's threads busy; LLVM need not optimize.
_PLANNING_FLAGS = (
  "--xla_cpu_enable_concurrency_optimized_scheduler=false",
  "--xla_backend_optimization_level=0",
  "--xla_llvm_disable_expensive_passes=true",
)


class CompileError(ValueError):
  """An error of XLA at compiling the step."""


@dataclasses.dataclass(frozen=True)
class Argument:
  """One argument of the program.

  Attributes:
    name: of the variable, or of the label.
    kind: `TRAINED`, `FIXED`, `OPTIMIZER` or `BATCH`.
    shape: static.
    dtype: of the values.
    handle: of the variable, or the constant itself; None of the batch.
  """

  name: str
  kind: str
  shape: tuple[int, ...]
  dtype: tf.DType
  handle: tf.Tensor | None = None

  @property
  def num_bytes(self) -> int:
    """Bytes of the values."""
    return tf.TensorShape(self.shape).num_elements() * self.dtype.size


def plan_only() -> None:
  """Sets XLA up for programs of this process that are compiled but not run; before the first one.

  They compile in about half the time, and their memory is planned as on an accelerator.
  """
  given = os.environ.get("XLA_FLAGS", "")
  missing = [flag for flag in _PLANNING_FLAGS if flag.split("=")[0] not in given]
  os.environ["XLA_FLAGS"] = " ".join([*missing, given]).strip()


def check(params: cfg.ExperimentConfig) -> None:
  """Refuses settings that no step can be built from.

  Raises:
    ValueError: naming the field, its value and what is accepted.
  """
  if not isinstance(params.task, detector_config.MtlDetection):
    raise ValueError(
      f"the task of --experiment is {type(params.task).__name__}; accepted: that of a detector, "
      "such as mtl_frcnn"
    )
  validation.check_task(params.task)
  registry.check(params.task.backbone.type)
  validation.check_trainer(params.trainer)
  validation.check_runtime(params.runtime)
  validation.check_weight_decay(
    params.trainer.optimizer_config.optimizer, params.task.regularization
  )


class StepProgram:
  """The step of a configuration, with its model and variables."""

  def __init__(self, params: cfg.ExperimentConfig, crop_method: str, step: str = "training"):
    """Builds task, model and optimizer.

    Args:
      params: an experiment that passes `check`.
      crop_method: how regions are cut out, see `crop_ops`.
      step: one of `STEPS`.

    Raises:
      ValueError: the label map is not acceptable.
    """
    precision = params.runtime.mixed_precision_dtype or "float32"
    try:
      self.task = task_factory.get_task(params.task, crop_method=crop_method, precision=precision)
    except ValueError as error:
      raise ValueError(f"task.label_map: {error}") from error
    self.model = self.task.build_model()
    self.optimizer = train_utils.create_optimizer(self.task, params)
    trainer.create_slots(self.optimizer, self.model.trainable_variables)
    self.averages = averaged_weights.create(params.trainer.optimizer_config.ema, self.model)
    self._structure = None
    self._take = self._train if step == "training" else self._infer
    self.function = tf.function(self._take, jit_compile=True, autograph=False)

  def load(self, checkpoint: str | None = None) -> None:
    """Gives the model the weights a run would start from, or those of a checkpoint of a run.

    Raises:
      ValueError: they cannot be read or do not fit.
    """
    if checkpoint:
      path = reading.find(checkpoint, "--checkpoint")
      model_checkpoint.load_model(self.model, path, "--checkpoint")
    else:
      self.task.initialize(self.model)

  def trace(self, batch: Any) -> tf.types.experimental.ConcreteFunction:
    """Returns the step's graph for batches like `batch`, a structure of tensors or `TensorSpec`s.

    Raises:
      CompileError: there is none.
    """
    self._structure = tf.nest.map_structure(lambda _: 0, batch)
    with _as_compile_error():
      return self.function.get_concrete_function(*_specs(batch))

  def export(self, batch: Any, stage: str) -> str | bytes:
    """Returns XLA's program of the step for batches like `batch`, at a stage of compilation.

    Args:
      batch: a structure of tensors or `TensorSpec`s of static shape.
      stage: as `tf.function.experimental_get_compiler_ir` knows them.

    Raises:
      CompileError: in XLA's words.
    """
    self.trace(batch)
    with _as_compile_error():
      return self.function.experimental_get_compiler_ir(*_specs(batch))(stage=stage)

  def compile(self, batch: Any) -> hlo_pb2.HloProto:
    """Returns the optimized program for batches like `batch`, with XLA's assignment of memory.

    Raises:
      CompileError: in XLA's words.
    """
    return hlo_pb2.HloProto.FromString(self.export(batch, "optimized_hlo_proto_serialized"))

  def run_uncompiled(self, batch: Any) -> dict[str, tf.Tensor]:
    """Takes the step with TensorFlow's own kernels, and returns its outputs."""
    self._structure = tf.nest.map_structure(lambda _: 0, batch)
    return tf.function(self._take, autograph=False)(*tf.nest.flatten(batch))

  def arguments(self, batch: Any) -> list[Argument]:
    """Returns the program's arguments in their order: batch, weights and optimizer slots."""
    trained = {id(variable.handle) for variable in self.model.trainable_variables}
    fixed = {id(variable.handle) for variable in self.model.variables} - trained
    others = _variables(self.optimizer)
    if self.averages is not None:
      others += self.averages.variables.values()
    names = {id(v.handle): v.name for v in [*self.model.variables, *others]}
    found = [
      Argument(name, BATCH, tuple(leaf.shape), leaf.dtype)
      for name, leaf in zip(names_of(batch), tf.nest.flatten(batch), strict=True)
    ]
    for captured, inside in self.trace(batch).graph.captures:
      name = names.get(id(captured), inside.op.name)
      kind = TRAINED if id(captured) in trained else FIXED if id(captured) in fixed else OPTIMIZER
      shape, dtype = inside.shape, inside.dtype
      if dtype == tf.resource:
        data = handle_data_util.get_resource_handle_data(inside).shape_and_type[0]
        shape, dtype = tf.TensorShape(data.shape), tf.as_dtype(data.dtype)
      else:  # A table of constants, too large to be written into the graph.
        kind = FIXED
      found.append(Argument(name, kind, tuple(shape), dtype, captured))
    return found

  def _train(self, *flat: tf.Tensor) -> dict[str, tf.Tensor]:
    batch = tf.nest.pack_sequence_as(self._structure, flat)
    logs = self.task.train_step(batch, model=self.model, optimizer=self.optimizer)
    if self.averages is not None:
      self.averages.update(self.optimizer.iterations)
    return logs

  def _infer(self, *flat: tf.Tensor) -> dict[str, tf.Tensor]:
    images, labels = tf.nest.pack_sequence_as(self._structure, flat)
    outputs = self.model(images, labels["image_size_px"])
    return {name: outputs[name] for name in outputs if name.startswith("detection_")}


@contextlib.contextmanager
def _as_compile_error() -> Iterator[None]:
  try:
    yield
  except (TypeError, ValueError, tf.errors.OpError) as error:
    lines = [line.strip() for line in str(error).split("\n") if line.strip()]
    raise CompileError(lines[0] if lines else type(error).__name__) from error


def _specs(batch: Any) -> list[tf.TensorSpec]:
  return [tf.TensorSpec(leaf.shape, leaf.dtype) for leaf in tf.nest.flatten(batch)]


def _variables(optimizer: tf_keras.optimizers.Optimizer) -> list[tf.Variable]:
  """An optimizer's slots and settings, and those of an optimizer that it wraps."""
  # A method in Keras's older optimizers, an attribute in its newer ones; settings such as the rate
  # are in neither.
  slots = optimizer.variables() if callable(optimizer.variables) else optimizer.variables
  parts = tf.train.TrackableView(optimizer).descendants()
  return [*slots, *(part for part in parts if isinstance(part, tf.Variable))]


def names_of(batch: Any) -> list[str]:
  """Names of a batch's tensors, in the order of `tf.nest.flatten`: `images`, then the labels."""
  images, labels = batch
  del images
  return ["images", *sorted(labels)]


def resized(batch: Any, batch_size: int) -> Any:
  """The `TensorSpec`s of a batch with another number of images."""
  return tf.nest.map_structure(
    lambda leaf: tf.TensorSpec([batch_size, *leaf.shape[1:]], leaf.dtype), batch
  )


def read(arguments: Sequence[Argument]) -> list[tf.Tensor]:
  """Values of arguments that are variables or constants."""
  return [
    tf.raw_ops.ReadVariableOp(resource=argument.handle, dtype=argument.dtype)
    if argument.handle.dtype == tf.resource
    else argument.handle
    for argument in arguments
  ]
