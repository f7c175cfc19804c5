"""Time and memory of inference and of a training step of one setup."""

from benchmarks.cost import experiment, measuring, rows


def measure(
  setup: rows.Setup, repeats: int, inference: bool = True, budget_s: float | None = None
) -> dict:
  """Returns what one process has to say about a setup.

  Args:
    setup: what to build.
    repeats: timed calls of each kind.
    inference: measure it too.
    budget_s: see `measuring.timed`.

  Returns:
    `train` and `infer` as of `measuring.timed`, `train_memory` and `infer_memory` as of
    `measuring.peak_memory`, `model_mib`, `optimizer_mib`, and `proposals`, the smallest number of
    proposals of an image.
  """
  built = experiment.Experiment(setup)
  found = {"model_mib": built.model_mib, "optimizer_mib": built.optimizer_mib}
  calls = {"train": built.take_step}
  if inference:
    calls = {"infer": built.take_detections, **calls}
  for name, call in calls.items():
    found[name] = measuring.timed(call, repeats, budget_s=budget_s)
  if inference:
    found["proposals"] = built.take_detections()
  # Last, because memory is given back more eagerly from here on.
  for name, call in calls.items():
    found[f"{name}_memory"] = measuring.peak_memory(call)
  return found
