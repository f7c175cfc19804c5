"""Runs and times a program that `mtl_ssl_tf.export_step` wrote, with JAX and without TensorFlow.

    python benchmarks/run_step.py exported/step
    python benchmarks/run_step.py exported/step --runs 50 --peak_tflops 989

Needs NumPy and JAX alone, and takes whatever device JAX finds. New values of variables go into the
next run, so that runs are steps of training. Prints one JSON object: what the first step came to
and how far that is from TensorFlow's, where `names.json` holds it; time of a step, steps and images
a second; memory; FLOPs by XLA's count and, with --peak_tflops, the share of the device's peak that
is made use of (MFU = steps a second × FLOPs of a step / peak). The time is the device's alone:
batches are not read, all steps see the same one.
"""

import argparse
import json
import pathlib
import time
from typing import Any

import jax
import numpy as np
from jax.extend import backend as jax_backend
from jaxlib import _jax, xla_client

jax.config.update("jax_enable_x64", True)  # Step counters have 64 bits.


class Program:
  """An exported step on JAX's first device.

  Attributes:
    names: content of `names.json`.
    compile_s: seconds that compiling took.
  """

  def __init__(self, folder: pathlib.Path):
    """Compiles the program and puts its arguments on the device."""
    self.names = json.loads((folder / "names.json").read_text())
    client = jax_backend.get_backend()
    self.device = client.local_devices()[0]
    start = time.perf_counter()
    self._executable = client.compile_and_load(
      (folder / "step.mlir").read_text(),
      _jax.DeviceList((self.device,)),
      xla_client.CompileOptions(),
    )
    self.compile_s = time.perf_counter() - start
    self._arguments = [
      jax.device_put(value, self.device) for value in load_arguments(folder, self.names)
    ]

  def step(self) -> list[jax.Array]:
    """Takes a step; the variables have their new values afterwards."""
    done = self._executable.execute_sharded(self._arguments)
    results = [parts[0] for parts in done.disassemble_into_single_device_arrays()]
    for result in results:
      result.block_until_ready()
    for number, argument in enumerate(self.names["arguments"]):
      if argument["new_value"] is not None:
        self._arguments[number] = results[argument["new_value"]]
    return results

  def flops(self) -> float | None:
    """Returns the FLOP of one step as XLA counts them, or None."""
    return self._executable.cost_analysis().get("flops")

  def memory(self) -> dict[str, int | None]:
    """Bytes that the program is to take, and the most that the device has had in use."""
    planned = self._executable.get_compiled_memory_stats()
    # CPUs keep no account.
    in_use = self.device.memory_stats() or {}
    return {
      "arguments_bytes": planned.argument_size_in_bytes,
      "temporary_bytes": planned.temp_size_in_bytes,
      "peak_bytes_in_use": in_use.get("peak_bytes_in_use"),
    }


def load_arguments(folder: pathlib.Path, names: dict[str, Any]) -> list[np.ndarray]:
  """Each argument's value: of `inputs.npz`, or small random numbers and zeros without it."""
  path = folder / "inputs.npz"
  given = np.load(path) if path.exists() else {}
  rng = np.random.default_rng(0)
  arguments = []
  for number, argument in enumerate(names["arguments"]):
    # JAX's, as NumPy by itself does not know bfloat16.
    dtype = jax.numpy.dtype(argument["dtype"])
    if f"arg{number}" in given:
      value = given[f"arg{number}"].astype(dtype)
    elif jax.numpy.issubdtype(dtype, jax.numpy.floating):
      value = (0.05 * rng.standard_normal(argument["shape"])).astype(dtype)
    else:
      value = np.zeros(argument["shape"], dtype)
    arguments.append(value)
  return arguments


def outputs(program: Program, results: list[jax.Array]) -> dict[str, np.ndarray]:
  """The step's own results by name: losses, or detections."""
  return {
    result["name"]: np.asarray(value, np.float64)
    for result, value in zip(program.names["results"], results, strict=True)
    if result["argument"] is None
  }


def difference(found: dict[str, np.ndarray], expected: dict[str, Any]) -> float:
  """Largest difference to the expected outputs; of figures above 1, relative."""
  return max(
    float(np.max(np.abs(found[name] - value) / np.maximum(np.abs(value), 1.0)))
    for name, value in expected.items()
  )


def main() -> None:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("folder", type=pathlib.Path, help="that export_step wrote")
  parser.add_argument("--warmup", type=int, default=3, help="runs that are not timed")
  parser.add_argument("--runs", type=int, default=20, help="runs that are")
  parser.add_argument("--peak_tflops", type=float, help="of the device, in the program's precision")
  parser.add_argument("--outputs", help="npz that takes the results of the first run, out0, out1 …")
  args = parser.parse_args()

  program = Program(args.folder)
  first = program.step()
  found = outputs(program, first)
  if args.outputs:
    np.savez(args.outputs, **{f"out{i}": np.asarray(value) for i, value in enumerate(first)})
  report = {
    "device": str(program.device),
    "jax": jax.__version__,
    "step": program.names["step"],
    "precision": program.names["precision"],
    "batch_size": program.names["batch_size"],
    "compile_s": program.compile_s,
    "first": {name: float(value) for name, value in found.items() if value.ndim == 0},
  }
  if "expected" in program.names:
    report["difference"] = difference(found, program.names["expected"])
  seconds = []
  for run in range(args.warmup + args.runs):
    start = time.perf_counter()
    program.step()
    if run >= args.warmup:
      seconds.append(time.perf_counter() - start)
  flops = program.flops()
  if seconds:
    median = float(np.median(seconds))
    report |= {
      "runs": len(seconds),
      "step_s": median,
      "step_s_range": [min(seconds), max(seconds)],
      "steps_per_second": 1.0 / median,
      "images_per_second": program.names["batch_size"] / median,
    }
    if flops and args.peak_tflops:
      report["mfu"] = flops / median / (args.peak_tflops * 1e12)
  print(json.dumps({**report, "flops": flops, **program.memory()}))


if __name__ == "__main__":
  main()
