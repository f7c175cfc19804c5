"""Checks some of the records before a run spends hours on them."""

import logging

from official.core import config_definitions as cfg

from mtl_ssl_tf import texts
from mtl_ssl_tf.data.inspection import checks, validation_report
from mtl_ssl_tf.training import task as task_lib

_MAX_TOLD = 5
_LOGGER = logging.getLogger(__name__)


def check(config: cfg.TaskConfig, name: str, num_records: int) -> None:
  """Refuses records with faults, and warns in short of what may be wrong.

  Args:
    config: of the task, checked.
    name: of its data, `train_data` or `validation_data`.
    num_records: how many are examined, evenly spread over the files; 0 examines none.

  Raises:
    ValueError: naming the first faults by file and record.
  """
  if not num_records:
    return
  report = task_lib.class_of(config).inspect_data(config, name, num_records)
  if report is None:
    return
  faults = report.findings(checks.FAULT)
  if faults:
    lines = [f"task.{name}.input_path: {_number(report, checks.FAULT)}, among them:"]
    lines += [f"  {fault}" for fault in faults[:_MAX_TOLD]]
    lines.append(
      "accepted: records without faults; python -m mtl_ssl_tf.data.validate lists all of them,"
      " --validate_data=0 trains nevertheless"
    )
    raise texts.LinesError(*lines)
  first = {}
  for warning in report.findings(checks.WARNING):
    first.setdefault(warning.kind, warning)
  for kind, counts in report.kinds().items():
    if kind in first:
      found = f"{kind} ({counts['num_findings']}): {first[kind]}"
      _LOGGER.warning("task.%s: %s", name, found)


def _number(report: validation_report.ValidationReport, level: str) -> str:
  return f"{level}s {report.num_of(level)} in the records that were examined"
