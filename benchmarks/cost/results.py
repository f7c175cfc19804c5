"""The file of a run: the machine, the commands and every job with its result."""

import datetime
import importlib.metadata
import json
import os
import pathlib
from collections.abc import Sequence

from benchmarks.cost import jobs
from mtl_ssl_tf import files


class Results:
  """Results by the key of their job; each is on disk as soon as it is there."""

  def __init__(self, path: pathlib.Path | None, command: Sequence[str], resume: bool = False):
    """Begins a file, or continues one.

    Args:
      path: of the file; None keeps all in memory.
      command: words of the command line.
      resume: continue a file that exists.

    Raises:
      ValueError: the file exists and is not to be continued, or holds something else.
    """
    self._path = path
    self._content = {"machine": machine(), "commands": [], "results": {}}
    if path is not None and path.exists():
      if not resume:
        raise ValueError(
          f"--output: {path} exists; accepted: a new file, or --resume to continue it"
        )
      try:
        content = json.loads(path.read_text())
        known = isinstance(content["results"], dict) and isinstance(content["commands"], list)
      except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError):
        known = False
      if not known:
        raise ValueError(f"--output: {path} is no file of results; accepted: one of this command")
      self._content = content
    machine_now, machine_then = machine(), self._content["machine"]
    for name in ("cpu", "cores", "tensorflow"):
      if machine_now[name] != machine_then.get(name):
        raise ValueError(
          f"--output: {path} was measured with {name} {machine_then.get(name)!r}; accepted: this"
          f" machine's, {machine_now[name]!r}, as ratios are those of one machine"
        )
    self._content["commands"].append(" ".join(command))

  def __getitem__(self, job: jobs.Job) -> dict | None:
    """Returns the result of this very job, None if it was not taken or failed."""
    record = self._content["results"].get(jobs.key(job))
    # Through JSON, as those of the file are: no tuples.
    same = record is not None and record["job"] == json.loads(json.dumps(job))
    return record["result"] if same and "error" not in record["result"] else None

  def latest(self, job: jobs.Job) -> dict:
    """Returns the result that a job has got, a failure too."""
    return self._content["results"][jobs.key(job)]["result"]

  def add(self, job: jobs.Job, result: dict) -> None:
    """Keeps a result, in place of an older one."""
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    record = {"job": job, "result": result, "date": now}
    self._content["results"][jobs.key(job)] = json.loads(json.dumps(record))
    if self._path is not None:
      files.write_text(self._path, json.dumps(self._content, indent=1))

  @property
  def machine(self) -> dict:
    """The machine that the results were measured on."""
    return self._content["machine"]

  def of(self, section: str) -> list[tuple[jobs.Job, dict]]:
    """Returns the jobs of a section with their results, failed ones too, the oldest first."""
    return [
      (record["job"], record["result"])
      for record in self._content["results"].values()
      if record["job"]["section"] == section
    ]


def machine() -> dict:
  """Returns this machine's processor, cores, memory and TensorFlow, and the date."""
  names = [
    line.split(":", 1)[1].strip()
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    if line.startswith("model name")
  ]
  pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
  return {
    "cpu": names[0] if names else "unknown",
    "cores": len(os.sched_getaffinity(0)),
    "memory_gib": round(pages / 2**30, 1),
    "tensorflow": importlib.metadata.version("tensorflow"),
    "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    "seed": 0,
  }
