"""Creates the `tf.distribute` strategy that the configuration asks for, and checks its devices."""

import logging
import os

import tensorflow as tf
from official.common import distribute_utils
from official.core import config_definitions as cfg

from mtl_ssl_tf.reading import json_text, quoting
from mtl_ssl_tf.training import task as task_lib

ONE_DEVICE, MIRRORED, MULTI_WORKER, TPU = (
  "one_device",
  "mirrored",
  "multi_worker_mirrored",
  "tpu",
)
_ALL_REDUCE = {MIRRORED: ("nccl", "hierarchical_copy"), MULTI_WORKER: ("ring", "nccl")}
_LOGGER = logging.getLogger(__name__)


def check(params: cfg.ExperimentConfig, mode: str) -> None:
  """Refuses devices that are not there and settings that contradict each other.

  Nothing is connected and no device is taken into use. Names and numbers were checked before,
  by `validation.check_runtime`.

  Raises:
    ValueError: naming the field, its value and what is accepted.
  """
  runtime = params.runtime
  name, num_gpus = runtime.distribution_strategy, runtime.num_gpus
  num_present = len(tf.config.list_physical_devices("GPU"))
  if num_gpus > num_present:
    raise _error("num_gpus", num_gpus, f"at most {num_present}, the GPUs of this machine")
  if num_present and not num_gpus and name != TPU:
    _LOGGER.warning(
      "runtime.num_gpus is 0, so the CPU does the work; GPUs of this machine: %d", num_present
    )
  if num_gpus > 1 and name == ONE_DEVICE:
    raise _error("num_gpus", num_gpus, f"0 or 1 with one_device, or {MIRRORED} for more")
  if name == TPU and not runtime.tpu:
    raise ValueError(
      f"runtime.tpu is {quoting.shown(runtime.tpu)}; accepted with runtime.distribution_strategy"
      " tpu: --tpu=local on the machine of the TPU, or its name or grpc:// address"
    )
  if name != TPU and runtime.tpu:
    raise _error(
      "distribution_strategy", name, f"tpu, as --tpu or runtime.tpu is {quoting.shown(runtime.tpu)}"
    )
  algorithms = _ALL_REDUCE.get(name, ())
  if runtime.all_reduce_alg is not None and runtime.all_reduce_alg not in algorithms:
    accepted = ", ".join(("null", *algorithms))
    raise _error("all_reduce_alg", runtime.all_reduce_alg, f"{accepted} with {name}")
  if name == MULTI_WORKER:
    _check_cluster(runtime)
    if mode == "continuous_eval":
      raise ValueError(
        f"--mode is 'continuous_eval'; accepted with {MULTI_WORKER}: the modes that train, and"
        " eval; to follow a run, evaluate it on another machine"
      )
  elif runtime.worker_hosts:
    raise _error("worker_hosts", runtime.worker_hosts, f"nothing, unless with {MULTI_WORKER}")


def create(runtime: cfg.RuntimeConfig) -> tf.distribute.Strategy:
  """Returns the strategy; with `multi_worker_mirrored`, once all workers have come together.

  `mirrored` without GPUs takes every logical CPU device that the program has set up, one as a rule.
  With a single device it is `one_device`, which does the same: TensorFlow's own form for one
  replica cannot apply gradients within a condition, as the guard against what is not finite does.

  Args:
    runtime: as `check` accepts it.

  Raises:
    ValueError: the TPU cannot be reached, or the worker's own address cannot be used.
  """
  name = runtime.distribution_strategy
  if name == MULTI_WORKER:
    if not os.environ.get("TF_CONFIG"):
      os.environ.pop("TF_CONFIG", None)  # Model Garden would read an empty one.
    distribute_utils.configure_cluster(",".join(_cluster(runtime)), runtime.task_index)
    # It takes every GPU that it can see.
    tf.config.set_visible_devices(tf.config.list_physical_devices("GPU")[: runtime.num_gpus], "GPU")
  if name == MIRRORED and not runtime.num_gpus:
    # For programs that try out several replicas without GPUs.
    devices = [device.name for device in tf.config.list_logical_devices("CPU")]
    if len(devices) > 1:
      return tf.distribute.MirroredStrategy(devices)
  if name == MIRRORED and runtime.num_gpus <= 1:
    name = ONE_DEVICE
  try:
    return distribute_utils.get_distribution_strategy(
      distribution_strategy=name,
      all_reduce_alg=runtime.all_reduce_alg,
      num_gpus=runtime.num_gpus,
      num_packs=runtime.num_packs,
      tpu_address=runtime.tpu,
    )
  except (tf.errors.OpError, RuntimeError) as error:
    reason = str(error).strip().split("\n")[0]
    if name == TPU:
      raise _error("tpu", runtime.tpu, f"a TPU that can be reached from here ({reason})") from error
    if name == MULTI_WORKER:
      raise ValueError(
        "the workers of the run did not come together; accepted: addresses that they reach each"
        f" other by, free, one for each worker ({reason})"
      ) from error
    raise


def check_replicas(
  params: cfg.ExperimentConfig, mode: str, strategy: tf.distribute.Strategy
) -> None:
  """Refuses what cannot be split evenly, or computed, over the strategy's replicas.

  Raises:
    ValueError: naming the field, its value and what is accepted.
  """
  num_replicas = strategy.num_replicas_in_sync
  for name, needed_in in (("train_data", "train"), ("validation_data", "eval")):
    size = getattr(params.task, name).global_batch_size
    if needed_in in mode and size % num_replicas:
      raise ValueError(
        f"task.{name}.global_batch_size is {size}; accepted: a multiple of the {num_replicas}"
        f" replicas of runtime.distribution_strategy {params.runtime.distribution_strategy}"
      )
  if not ("train" in mode and compiles_losses(params.runtime, strategy)):
    return
  task_lib.class_of(params.task).check_split(
    params.task,
    f"with runtime.enable_xla and {num_replicas} replicas that are no TPU: it needs the other"
    " replicas' values within what XLA compiles for each by itself",
  )


def compiles_whole(runtime: cfg.RuntimeConfig, strategy: tf.distribute.Strategy) -> bool:
  """Whether the training step is to be one function with `jit_compile=True`.

  A TPU's strategy compiles everything that it runs. On CPU and GPU only a single replica's step is
  one program; see `compiles_losses`.
  """
  return compiles_each_replica(runtime, strategy) and strategy.num_replicas_in_sync == 1


def compiles_losses(runtime: cfg.RuntimeConfig, strategy: tf.distribute.Strategy) -> bool:
  """Whether each replica compiles its forward and backward pass, without what replicas exchange.

  Counts that normalise losses, gradients and the optimizer's step then remain outside.
  """
  return compiles_each_replica(runtime, strategy) and strategy.num_replicas_in_sync > 1


def compiles_each_replica(runtime: cfg.RuntimeConfig, strategy: tf.distribute.Strategy) -> bool:
  """Whether what a replica does by itself is to be compiled with `jit_compile=True`."""
  return runtime.enable_xla and not is_tpu(strategy)


def is_multi_worker(strategy: tf.distribute.Strategy) -> bool:
  """Whether replicas are in several processes, each of which runs this program."""
  return isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)


def is_tpu(strategy: tf.distribute.Strategy) -> bool:
  """Whether the strategy compiles whatever it runs, for a TPU."""
  return isinstance(strategy, tf.distribute.TPUStrategy)


def is_chief(strategy: tf.distribute.Strategy) -> bool:
  """Whether this process is the one that writes files and prints."""
  return strategy.extended.should_checkpoint


def _check_cluster(runtime: cfg.RuntimeConfig) -> None:
  """Refuses a set of workers that this process has no place in."""
  if os.environ.get("TF_CONFIG"):
    _check_tf_config(os.environ["TF_CONFIG"])
    return
  workers = _cluster(runtime)
  if not workers:
    raise _error(
      "worker_hosts",
      runtime.worker_hosts,
      f"host:port of each worker, with commas, for {MULTI_WORKER}; or the variable TF_CONFIG",
    )
  for worker in workers:
    host, _, port = worker.rpartition(":")
    if not host or not port.isdigit():
      raise _error(
        "worker_hosts", runtime.worker_hosts, f"host:port, which {quoting.shown(worker)} is not"
      )
  if len(set(workers)) < len(workers):
    raise _error("worker_hosts", runtime.worker_hosts, "each host:port once")
  if not 0 <= runtime.task_index < len(workers):
    raise _error(
      "task_index",
      runtime.task_index,
      f"0 to {len(workers) - 1}, this worker's place in runtime.worker_hosts",
    )


def _check_tf_config(text: str) -> None:
  accepted = (
    'accepted: {"cluster": {"worker": ["host:port", …]}, "task": {"type": "worker", "index": 0}}'
  )
  try:
    config = json_text.loads(text)
    json_text.check(config, {"cluster": dict, "task": {"type": str, "index": (int, str)}}, "")
    workers = config["cluster"][config["task"]["type"]]
    index = int(config["task"]["index"])
    json_text.check(workers, [str], "")
  except (ValueError, KeyError) as error:
    raise ValueError(f"TF_CONFIG is {quoting.shown(text)}; {accepted}") from error
  if not 0 <= index < len(workers):
    raise ValueError(f"TF_CONFIG has task index {index} of {len(workers)}; {accepted}")


def _cluster(runtime: cfg.RuntimeConfig) -> list[str]:
  return [host.strip() for host in (runtime.worker_hosts or "").split(",") if host.strip()]


def _error(field: str, value: object, accepted: str) -> ValueError:
  return ValueError(f"runtime.{field} is {quoting.shown(value)}; accepted: {accepted}")
