"""Results of runs that nobody made."""

import dataclasses

from benchmarks.cost import jobs, results, rows


def timing(*seconds, other_cores=0.0):
  return {"seconds": list(seconds), "first_s": 9.0, "other_cores": other_cores}


def memory(before_mib, peak_mib):
  return {"before_mib": before_mib, "peak_mib": peak_mib}


def step_result(infer, train, peak_mib=500.0, other_cores=0.0):
  """Returns a result like `steps.measure`; `infer` and `train` are lists of seconds."""
  return {
    "model_mib": 100.0,
    "optimizer_mib": 50.0,
    "proposals": 300,
    "infer": timing(*infer, other_cores=other_cores),
    "train": timing(*train),
    "infer_memory": memory(200.0, 250.0),
    "train_memory": memory(200.0, peak_mib),
  }


def step_job(name, precision="float32", number=1):
  return {
    "section": "steps",
    "name": name,
    "precision": precision,
    "round": number,
    "setup": dataclasses.asdict(rows.row_setup(name, precision)),
  }


def peer_job(number=1):
  return {"section": "peer", "name": "theirs", "command": "true", "round": number}


def part(seconds, flops=0):
  return {**timing(seconds), "flops": flops, "bytes": 2**20}


def collected(*pairs):
  """Results in memory, of jobs and their results."""
  found = results.Results(None, ["command"])
  for job, result in pairs:
    found.add(job, result)
  return found


def peak_job():
  return next(job for job in jobs.plan(["peak"], "*", ["float32"]))
