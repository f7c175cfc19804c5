"""One measurement in a process of its own: `python -m benchmarks.cost.child JOB`, JOB as JSON.

The last line on stdout is the result, or `{"error": cause}`; `benchmarks.run` reads it.
"""

import json
import sys

import tensorflow as tf

from benchmarks import labels as labels_benchmark
from benchmarks.cost import experiment, measuring, parts, peak, rows, steps

# Windows that `benchmarks.labels` draws for an image.
NUM_WINDOWS = labels_benchmark.NUM_WINDOWS


def measure(job: dict) -> dict:
  """Returns the result of a job of `benchmarks.cost.jobs`."""
  section, repeats = job["section"], job["repeats"]
  if section in ("steps", "growth"):
    setup = rows.Setup(**job["setup"])
    return steps.measure(setup, repeats, job["inference"], job.get("budget_s"))
  if section == "parts":
    return _parts(job)
  if section == "peak":
    return peak.measure(job["precision"], repeats, job["small"])
  return _labels(job["num_boxes"], job["num_classes"], repeats)


def _parts(job: dict) -> dict:
  setup = rows.Setup(**job["setup"])
  before = peak.measure(setup.precision, job["repeats"], job["small"])
  found = parts.measure(experiment.Experiment(setup), job["repeats"])
  after = peak.measure(setup.precision, job["repeats"], job["small"])
  return {**found, "peak_gflops": [before["gflops"], after["gflops"]]}


def _labels(num_boxes: int, num_classes: int, repeats: int) -> dict:
  """All labels of one image, in one compiled function, the windows drawn in it."""
  boxes, classes = labels_benchmark.random_objects(num_boxes, num_classes)
  make = tf.function(labels_benchmark.label_functions(num_classes)["all"], jit_compile=True)
  unused = tf.zeros([1, NUM_WINDOWS, 4])
  image = (unused, boxes[None], classes[None], labels_benchmark.SIZE[None])
  batch = [tf.constant(values) for values in image]

  def call():
    outputs = make(tf.constant([0, 0]), *batch)
    return [tensor.numpy() for tensor in tf.nest.flatten(outputs)]

  return measuring.timed(call, repeats)


def main() -> int:
  """Runs the command line; returns the exit status."""
  try:
    result = measure(json.loads(sys.argv[1]))
  except Exception as error:  # Whatever goes wrong is this measurement's result; others continue.
    lines = [line.strip() for line in str(error).split("\n") if line.strip()]
    print(json.dumps({"error": f"{type(error).__name__}: {(lines or ['no message'])[0][:300]}"}))
    return 1
  print(json.dumps(result))
  return 0


if __name__ == "__main__":
  sys.exit(main())
