"""Checks whether a training step compiles and fits into an accelerator's memory."""

import logging
import math
import time
from typing import Any

from official.core import config_definitions as cfg

from mtl_ssl_tf.compilation import (
  batch_limit,
  graph_checks,
  memory,
  step_inputs,
  step_program,
)
from mtl_ssl_tf.compilation.accelerators import Accelerator
from mtl_ssl_tf.compilation.findings import FAILURE, WARNING, Finding
from mtl_ssl_tf.compilation.inspection_report import InspectionReport
from mtl_ssl_tf.reading import quoting

_LOGGER = logging.getLogger(__name__)
# Enough for a batch of each input size.
_MADE_UP_BATCHES = 4
_BATCH_FIELD = "task.train_data.global_batch_size"


def inspect(
  params: cfg.ExperimentConfig,
  accelerator: Accelerator,
  *,
  num_batches: int,
  margin: float,
  find_largest: bool,
) -> InspectionReport:
  """Builds the step, traces and compiles it for one core's batch, and reads what came out.

  Args:
    params: what to run.
    accelerator: where.
    num_batches: of the run's records that are read for shapes that change.
    margin: share of the memory that is to stay free.
    find_largest: search for the largest batch that fits, with up to six compilations.

  Raises:
    ValueError: a setting or the label map is not acceptable.
  """
  step_program.check(params)
  report = InspectionReport(accelerator, margin, _batch_per_core(params, accelerator))
  report.global_batch_size = params.task.train_data.global_batch_size
  report.precision = params.runtime.mixed_precision_dtype or "float32"
  report.findings += _check_batch_size(params, accelerator) + _check_runtime(params, accelerator)
  _LOGGER.info("building the model")
  crop_method = params.runtime.crop_method
  program = step_program.StepProgram(params, "matmul" if crop_method == "auto" else crop_method)
  batches = _read_batches(program, params, num_batches, report)
  batch = max(batches, key=lambda specs: math.prod(specs[0].shape))
  report.image_shape = tuple(batch[0].shape[1:3])
  if _trace(program, batches, report) and _compile(program, batch, report):
    if find_largest:
      _find_largest(program, batch, report)
    _check_memory(report)
  return report


def _batch_per_core(params: cfg.ExperimentConfig, accelerator: Accelerator) -> int:
  return max(1, params.task.train_data.global_batch_size // accelerator.num_cores)


def _check_batch_size(params: cfg.ExperimentConfig, accelerator: Accelerator) -> list[Finding]:
  size, cores = params.task.train_data.global_batch_size, accelerator.num_cores
  if size % cores == 0:
    return []
  value = f"{size} images are no whole number for each of {cores} cores"
  return [Finding(FAILURE, "batch_size", _BATCH_FIELD, value, f"a multiple of {cores}")]


def _check_runtime(params: cfg.ExperimentConfig, accelerator: Accelerator) -> list[Finding]:
  runtime, found = params.runtime, []
  strategy = runtime.distribution_strategy
  if accelerator.kind == "tpu" and strategy != "tpu":
    found.append(
      Finding(WARNING, "runtime", "runtime.distribution_strategy", repr(strategy), "'tpu'")
    )
  if accelerator.kind == "gpu" and not runtime.enable_xla:
    value = "False; the run would not be compiled, and takes other memory than what follows"
    found.append(Finding(WARNING, "runtime", "runtime.enable_xla", value, "True"))
  if accelerator.kind == "gpu" and accelerator.num_cores > 1 and strategy == "one_device":
    accepted = "'mirrored' or 'multi_worker_mirrored'"
    found.append(
      Finding(WARNING, "runtime", "runtime.distribution_strategy", repr(strategy), accepted)
    )
  return found


def _read_batches(
  program: step_program.StepProgram,
  params: cfg.ExperimentConfig,
  num_batches: int,
  report: InspectionReport,
) -> list[Any]:
  """Returns the specs of each kind of batch, of made-up records where there are no others.

  Records at fault are findings, as the step can be examined without them.
  """
  data, task = params.task.train_data, program.task
  if not step_inputs.is_there(data):
    value = (
      f"no records match {quoting.shown(data.input_path)}; whether shapes change was not checked"
    )
    report.findings.append(
      Finding(WARNING, "records", "task.train_data.input_path", value, "record files")
    )
  elif num_batches:
    _LOGGER.info(f"reading {num_batches} batches of {report.batch_per_core}")
    try:
      dataset = step_inputs.batches(task, data, report.batch_per_core)
      counts, specs = step_inputs.count_signatures(dataset, num_batches)
    except ValueError as error:
      field, separator, value = str(error).partition(": ")
      if not separator:
        field, value = "task.train_data", str(error)
      report.findings.append(Finding(FAILURE, "records", field, value, "records that can be read"))
    else:
      report.num_batches, report.num_signatures = sum(counts.values()), len(counts)
      report.findings += _check_signatures(data, counts)
      return list(specs.values())
  with step_inputs.made_up_records(task.class_names) as path:
    dataset = step_inputs.batches(task, data, report.batch_per_core, path)
    _, specs = step_inputs.count_signatures(dataset, _MADE_UP_BATCHES)
  return list(specs.values())


def _check_signatures(data: Any, counts: dict[step_inputs.Signature, int]) -> list[Finding]:
  allowed = 2 if data.input_layout == "by_orientation" else 1
  if len(counts) <= allowed:
    return []
  first, *others = counts
  differing = sorted({one[0] for other in others for one in set(other) ^ set(first)})
  value = (
    f"{len(counts)} kinds of batches, each of which is compiled; they differ in"
    f" {', '.join(differing)}"
  )
  accepted = f"{allowed}: the same shapes and types in every batch of an input size"
  return [Finding(FAILURE, "recompilation", "task.train_data", value, accepted)]


def _trace(
  program: step_program.StepProgram,
  batches: list[Any],
  report: InspectionReport,
) -> bool:
  """Traces the step for each kind of batch; returns whether it could."""
  _LOGGER.info(f"tracing the step for {report.batch_per_core} images of {report.image_size}")
  start = time.monotonic()
  found = {}
  try:
    for batch in batches:
      graph = program.trace(batch).graph
      found |= dict.fromkeys(graph_checks.check(graph))
  except step_program.CompileError as error:
    report.findings.append(_not_compiled(f"cannot be traced: {error}", report))
    return False
  report.findings += found
  report.num_operations = sum(1 for _ in graph_checks.operations(graph))
  report.num_traces = program.function.experimental_get_tracing_count()
  report.trace_s = time.monotonic() - start
  return True


def _compile(program: step_program.StepProgram, batch: Any, report: InspectionReport) -> bool:
  """Compiles the step and measures its memory; returns whether it could."""
  if any(finding.kind == "host_op" for finding in report.findings):
    return False  # XLA would only report the same in worse words.
  _LOGGER.info(
    f"compiling {report.num_operations} operations; of a large network, this takes minutes"
  )
  start = time.monotonic()
  try:
    compiled = program.compile(batch)
  except step_program.CompileError as error:
    report.findings.append(_not_compiled(str(error), report))
    return False
  report.compile_s = time.monotonic() - start
  report.findings += graph_checks.dynamic_dimensions(compiled)
  report.needed = memory.measure(compiled, program.arguments(batch), report.accelerator.num_cores)
  return True


def _not_compiled(reason: str, report: InspectionReport) -> Finding:
  field = "" if report.precision == "float32" else "runtime.mixed_precision_dtype"
  return Finding(FAILURE, "compilation", field, reason, "a step that XLA compiles")


def _find_largest(program: step_program.StepProgram, batch: Any, report: InspectionReport) -> None:
  def measure(size: int) -> int:
    _LOGGER.info(
      f"compiling for a batch of {size} a core; the last time took {report.compile_s:.0f} s"
    )
    start = time.monotonic()
    other = step_program.resized(batch, size)
    used = memory.measure(
      program.compile(other), program.arguments(other), report.accelerator.num_cores
    )
    report.compile_s = time.monotonic() - start
    return used.total

  known = {report.batch_per_core: report.needed.total}
  report.limit = batch_limit.find(measure, report.available_bytes, known)


def _check_memory(report: InspectionReport) -> None:
  needed = report.needed.total
  if needed <= report.available_bytes:
    return
  cores = report.accelerator.num_cores
  accepted = f"less than {memory.gib(report.available_bytes)}"
  if report.limit is not None and report.limit.largest:
    accepted = f"at most {report.limit.largest * cores}"
  elif report.limit is not None:
    accepted = (
      "nothing, as one image does not fit; smaller task.train_data.input_size,"
      " runtime.mixed_precision_dtype: bfloat16, or a larger accelerator"
    )
  value = f"{report.batch_per_core} images a core take {memory.gib(needed)}"
  report.findings.append(Finding(FAILURE, "memory", _BATCH_FIELD, value, accepted))
