"""Compares the preflight's estimate of a step's memory with what it takes on this machine.

    python -m benchmarks.preflight_memory

For each size, a process of its own compiles the training step of a small detector, takes it once,
so that all that stays is there, and then once more, while the system notes the most memory that the
process has. That much more than before the step is what buffers took that come and go; the estimate
of the same is gradients, activations and results. Processes on Linux only.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile

SIZES = ((1, 256), (1, 512), (4, 256), (4, 512), (8, 512))


def peak_growth(step) -> int:
  """Bytes by which the process's memory grows during a call, at most."""
  clear, status = pathlib.Path("/proc/self/clear_refs"), pathlib.Path("/proc/self/status")

  def kibibytes(name: str) -> int:
    (line,) = (line for line in status.read_text().splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1])

  before = kibibytes("VmRSS")
  clear.write_text("5")  # The peak is counted from here on.
  step()
  return 1024 * (kibibytes("VmHWM") - before)


def compare(batch_size: int, side: int) -> dict[str, int]:
  """Estimated and measured bytes of what comes and goes in a step."""
  import tensorflow as tf

  from mtl_ssl_tf.compilation import memory, step_inputs, step_program
  from tests.tasks import tiny

  step_program.plan_only()
  with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    tiny.write_records(folder)
    data = {"input_size": [side, side], "short_side": side, "long_side": side}
    params = tiny.experiment(folder, {"task": {"train_data": data}})
    program = step_program.StepProgram(params, "matmul")
    batch = next(iter(step_inputs.batches(program.task, params.task.train_data, batch_size)))
  flat = tf.nest.flatten(batch)
  estimate = memory.measure(program.compile(batch), program.arguments(batch))
  program.function(*flat)
  return {
    "estimated": estimate.gradients + estimate.activations + estimate.results,
    "measured": peak_growth(lambda: program.function(*flat)["loss"].numpy()),
  }


def main() -> None:
  print(f"{'batch':>5} {'side':>5} {'estimated':>10} {'measured':>9} {'estimated / measured':>21}")
  for batch_size, side in SIZES:
    command = f"from benchmarks import preflight_memory as m; m.child({batch_size}, {side})"
    # Else memory that a step gave back stays with the process, and the next one need not grow.
    returning = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "0"}
    done = subprocess.run(
      [sys.executable, "-c", command],
      env={**os.environ, **returning},
      capture_output=True,
      text=True,
      check=False,
    )
    if done.returncode:
      sys.exit(done.stderr)
    found = json.loads(done.stdout.splitlines()[-1])
    mebibytes = [found[name] / 2**20 for name in ("estimated", "measured")]
    print(
      f"{batch_size:5} {side:5} {mebibytes[0]:6.1f} MiB {mebibytes[1]:5.1f} MiB"
      f" {mebibytes[0] / mebibytes[1]:20.2f}x",
      flush=True,
    )


def child(batch_size: int, side: int) -> None:
  """Prints `compare` as JSON."""
  print(json.dumps(compare(batch_size, side)))


if __name__ == "__main__":
  main()
