"""Time and memory of inference and of a training step of one setup."""

from benchmarks.cost import experiment, measuring, rows


def measure(
  setup: rows.Setup, repeats: int, inference: bool = True, budget_s: float | None = None
) -> dict:
  """Returns the measurements of a setup in one process.

  Args:
    setup: what to build.
    repeats: timed calls of each kind.
    inference: measure it too.
    budget_s: see `measuring.timed`.

  Returns:
    `train` and `infer` as of `measuring.timed`; `train_memory` and `infer_memory`: `before_mib`,
    MiB before the first call, TensorFlow and the model among it, and `peak_mib`, the most in all
    calls of the kind; `model_mib`, `optimizer_mib`, and `proposals`, the smallest number of
    proposals of an image.
  """
  built = experiment.Experiment(setup)
  found = {"model_mib": built.model_mib, "optimizer_mib": built.optimizer_mib}
  calls = {"train": built.take_step}
  if inference:
    calls = {"infer": built.take_detections, **calls}
  # Before the first call, as the process keeps most of what a call has taken.
  before_mib = measuring.resident_mib()
  for name, call in calls.items():
    measuring.restart_peak()
    found[name] = measuring.timed(call, repeats, budget_s=budget_s)
    found[f"{name}_memory"] = {"before_mib": before_mib, "peak_mib": measuring.peak_mib()}
  if inference:
    found["proposals"] = built.take_detections()
  return found
