"""A look at some of the records before a run spends hours on them."""

import os
from typing import Any

from mtl_ssl_tf.data import validate
from mtl_ssl_tf.data.inspection import checks, validation_report

_MAX_TOLD = 5


def check(task: Any, name: str, num_records: int) -> None:
  """Refuses records with faults, and warns in short of what looks wrong.

  Args:
    task: the configuration, with a label map that can be read.
    name: of its data, `train_data` or `validation_data`.
    num_records: how many are looked at, evenly spread over the files; 0 looks at none.

  Raises:
    ValueError: naming the first faults by file and record.
  """
  if not num_records:
    return
  data = getattr(task, name)
  try:
    report = validate.validate_records(
      data.input_path,
      checks.Limits.of_config(task, data),
      label_map_file=task.label_map,
      num_sampled=num_records,
      num_threads=len(os.sched_getaffinity(0)),
    )
  except ValueError as error:
    raise ValueError(f"task.{name}.{error}") from error
  faults = report.findings(checks.FAULT)
  if faults:
    lines = [f"task.{name}.input_path: {_number(report, checks.FAULT)}, among them:"]
    lines += [f"  {fault}" for fault in faults[:_MAX_TOLD]]
    lines.append(
      "accepted: records without faults; python -m mtl_ssl_tf.data.validate tells all of them,"
      " --validate_data=0 trains nevertheless"
    )
    raise ValueError("\n".join(lines))
  first = {}
  for warning in report.findings(checks.WARNING):
    first.setdefault(warning.kind, warning)
  for kind, counts in report.kinds().items():
    if kind in first:
      found = f"{kind} ({counts['num_findings']}): {first[kind]}"
      print(f"warning: task.{name}: {found}", flush=True)


def _number(report: validation_report.ValidationReport, level: str) -> str:
  return f"{level}s {report.num_of(level)} in the records that were looked at"
