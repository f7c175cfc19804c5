"""Accelerators by name: how many devices a run sees, and how much memory each of them has."""

import dataclasses
import difflib
import re

from mtl_ssl_tf.reading import quoting

GIB = 2**30
_GB = 10**9


@dataclasses.dataclass(frozen=True)
class Accelerator:
  """The accelerator of a run: its cores and their memory.

  Attributes:
    name: as it was asked for.
    kind: `tpu` or `gpu`.
    num_cores: devices as `tf.distribute` counts them, each with a replica of the model.
    bytes_per_core: memory of one of them.
  """

  name: str
  kind: str
  num_cores: int
  bytes_per_core: int


# TPU generation -> what its names count, what a device is, memory of a device, and sizes on offer.
# A v2 or v3 chip is two devices with half of its memory each; of a v4 and v5p chip the name counts
# two cores, but a program sees one device with all its memory; later chips have one core. Memory of
# a chip, from Google's "TPU architecture" pages (cloud.google.com/tpu/docs, one for each version):
# v2 16 GiB, v3 32 GiB, v4 32 GiB, v5e 16 GB, v5p 95 GB, v6e 32 GB.
_TPUS = {
  # generation: (counted in the name for one device, bytes of a device, sizes)
  "v2": (1, 8 * GIB, (8, 32, 128, 256, 512)),
  "v3": (1, 16 * GIB, (8, 32, 64, 128, 256, 512, 1024, 2048)),
  "v4": (2, 32 * GIB, (8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096)),
  "v5e": (1, 16 * _GB, (1, 4, 8, 16, 32, 64, 128, 256)),
  "v5p": (2, 95 * _GB, (8, 16, 32, 64, 128, 256, 512, 1024, 2048)),
  "v6e": (1, 32 * _GB, (1, 4, 8, 16, 32, 64, 128, 256)),
}
# Memory of one GPU, from NVIDIA's data sheets (nvidia.com/data-center), in the GB printed there.
_GPUS = {
  "t4": 16 * _GB,
  "l4": 24 * _GB,
  "v100-16": 16 * _GB,
  "v100-32": 32 * _GB,
  "a100-40": 40 * _GB,
  "a100-80": 80 * _GB,
  "h100": 80 * _GB,
  "h200": 141 * _GB,
}
_TPU_NAME = re.compile(r"(v\d[a-z]*|v5litepod)-(\d+)")
_GPU_NAME = re.compile(r"(.+?)(?:\s*x\s*(\d+))?")
_GPU_MEMORY = re.compile(r"gpu:(\d+(?:\.\d+)?)gib")


def parse(name: str) -> Accelerator:
  """Returns the accelerator of a name: `v5e-8`, `h100`, `a100-80x4` or, for any GPU, `gpu:24GiBx2`.

  Raises:
    ValueError: nothing is known by that name.
  """
  text = name.strip().lower()
  tpu = _TPU_NAME.fullmatch(text)
  if tpu:
    generation = tpu[1].replace("v5litepod", "v5e")
    counted, num_bytes, sizes = _TPUS.get(generation, (1, 0, ()))
    if int(tpu[2]) in sizes:
      return Accelerator(name, "tpu", int(tpu[2]) // counted, num_bytes)
  gpu = _GPU_NAME.fullmatch(text)
  if gpu:
    memory = _GPU_MEMORY.fullmatch(gpu[1])
    num_bytes = round(float(memory[1]) * GIB) if memory else _GPUS.get(gpu[1], 0)
    if num_bytes and int(gpu[2] or 1):
      return Accelerator(name, "gpu", int(gpu[2] or 1), num_bytes)
  nearest = difflib.get_close_matches(text, _names(), n=1)
  hint = f" (nearest: {nearest[0]})" if nearest else ""
  raise ValueError(f"--accelerator is {quoting.shown(name)}{hint}; accepted: {accepted()}")


def accepted() -> str:
  """Returns all names as text."""
  tpus = [f"{generation}-{'|'.join(map(str, entry[2]))}" for generation, entry in _TPUS.items()]
  return (
    f"{', '.join(tpus)}, {', '.join(_GPUS)}, gpu:MEMORYGiB; GPUs with their number, such as"
    " a100-80x4 or gpu:24GiBx2"
  )


def _names() -> list[str]:
  tpus = [f"{generation}-{size}" for generation, entry in _TPUS.items() for size in entry[2]]
  return [*tpus, *_GPUS]
