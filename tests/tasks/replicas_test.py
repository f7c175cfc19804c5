"""Two replicas, in one process and in two, do what one does with the double batch.

Each part is a program of its own: devices are set up once, and a worker is a process.
"""

import contextlib
import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import numpy as np
import pytest
import tensorflow as tf
import yaml

from mtl_ssl_tf.checkpoints import run_checkpoints
from tests.tasks import replica_steps
from tests.training import toy_task

_ROOT = pathlib.Path(__file__).parents[2]
_MULTI_WORKER = "multi_worker_mirrored"


def start(module: str, *args: str, folder: str = "tasks") -> subprocess.Popen:
  environment = {**os.environ, "PYTHONPATH": str(_ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
  environment["TF_GRPC_REUSE_PORT"] = "1"  # See `held_ports`.
  environment.pop("TF_CONFIG", None)
  return subprocess.Popen(
    [sys.executable, "-m", f"tests.{folder}.{module}", *args],
    cwd=_ROOT,
    env=environment,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )


def finish(process: subprocess.Popen) -> str:
  """What the program printed, once it has ended well."""
  try:
    output, errors = process.communicate(timeout=900)
  finally:
    process.kill()
  assert process.returncode == 0, errors
  return output


@contextlib.contextmanager
def held_ports(number: int) -> Iterator[list[int]]:
  """Yields ports that nobody else gets until the end of the block, but workers of `start` do.

  A port that was found free and let go of could be taken before its worker listens to it. These
  stay bound, by sockets that do not listen, so that no connection comes here. On Linux another
  socket can be bound to the same port where both have SO_REUSEPORT and the same owner. TensorFlow's
  server has it with TF_GRPC_REUSE_PORT, and the system gives such a port to none that asks for any.
  """
  # As the server does: on all interfaces, IPv4 and where possible IPv6.
  family = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET
  with contextlib.ExitStack() as stack:
    ports = []
    for _ in range(number):
      held = stack.enter_context(socket.socket(family))
      if family == socket.AF_INET6:
        held.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
      held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
      held.bind(("", 0))
      ports.append(held.getsockname()[1])
    yield ports


@contextlib.contextmanager
def cluster_of_two() -> Iterator[dict[str, str]]:
  """Yields settings of `runtime` for two workers on this machine, whose ports are held."""
  with held_ports(2) as ports:
    hosts = ",".join(f"localhost:{port}" for port in ports)
    yield {"distribution_strategy": _MULTI_WORKER, "worker_hosts": hosts}


def test_a_held_port_is_for_workers_alone():
  with held_ports(1) as (port,):
    for address in ("", "localhost"):
      with socket.socket() as other, pytest.raises(OSError, match="Address already in use"):
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind((address, port))
    with socket.socket() as worker:
      worker.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
      worker.bind(("", port))
      worker.listen()
      for _ in range(10):  # All come here.
        socket.create_connection(("localhost", port)).close()
        worker.accept()[0].close()


@pytest.fixture(name="steps", scope="module")
def _steps():
  return json.loads(finish(start("replica_steps")))


def test_losses_over_the_batch(steps):
  one, two = steps["losses"]
  assert set(one) == {"multi_object", "batch_positives", "per_image_sum"}
  for name in one:
    np.testing.assert_allclose(two[name], one[name], rtol=1e-5, atol=1e-7)


def test_logs_are_those_of_the_whole_batch(steps):
  one, two = steps["logs"]
  assert two == pytest.approx(one, rel=1e-5)
  assert one["dropped_boxes"] == 1.0  # The first image has four boxes, and room for three.
  assert one["closeness"] > 0.1


def test_a_fault_on_one_replica_is_kept_from_all(steps):
  assert steps["guarded"] == [1.0, 0.25, 0.25]


def test_averages_are_alike_on_all_replicas(steps):
  # The weight goes from 1 to 0.25, its average half of the way; then nothing moves.
  assert steps["averaged"] == [
    [0.25, 0.25, 0.625, 0.625],
    [0.25, 0.25, 0.625, 0.625],
    [0.625, 0.625, 0.625, 0.625],
    [0.25, 0.25, 0.625, 0.625],
    [0.25, 0.25, 0.625, 0.625],
  ]


def test_gradients_and_weights_are_those_of_one_replica(steps):
  assert steps["largest_error"] < 1e-5


def test_each_replica_mines_its_own_images(steps):
  one, two = steps["co_mining"]
  assert one["mining/boxes"] > 0.0
  assert two == pytest.approx(one, rel=1e-5)
  assert steps["co_mining_error"] < 1e-5


def test_each_stage_of_a_cascade_learns_as_on_one_replica(steps):
  one, two = steps["cascade"]
  assert one["roi_class"] > 0.0
  assert two == pytest.approx(one, rel=1e-5)
  assert steps["cascade_error"] < 1e-5


class Runs:
  """The same two steps and an evaluation, by one process and by others."""

  def __init__(self, folder: pathlib.Path):
    self.folder = folder
    self._number = 0

  def start(self, name: str, num_cpus: int = 1, **runtime) -> subprocess.Popen:
    """Starts a process that writes to the folder `name`; returns it."""
    self._number += 1
    own = self.folder / f"own_{self._number}"
    own.mkdir()
    replica_steps.write_records(own)
    override = {
      "own_folder": str(own),
      "task": {
        "backbone": {"norm": {"type": "group"}},
        "roi_head": {"positive_fraction": 0.75},
        # Fewer heads are built in less time; the closeness loss looks at the whole batch.
        "auxiliary": {"multi_object": {"loss_weight": 0.0}},
        "refinement": {"enabled": False},
        # All four images are in each step, whoever gets which.
        "train_data": {"global_batch_size": 4, "flip_probability": 0.0},
        "validation_data": {"global_batch_size": 4},
        "evaluation": {"results_dir": str(self.folder / f"results_{name}")},
        "pictures": {"interval": 1, "num_images": 1},
      },
      "trainer": {
        "train_steps": 2,
        "steps_per_loop": 1,
        "summary_interval": 1,
        "validation_interval": 2,
        "checkpoint_interval": 1,
        "optimizer_config": {
          "optimizer": {"momentum": {"clipnorm": 0.1}},
          "ema": {"average_decay": 0.5, "dynamic_decay": False},
        },
      },
      "runtime": {"crop_method": "matmul", **runtime},
    }
    text = yaml.safe_dump(override)
    return start("replica_run", str(self.folder / name), text, "train_and_eval", str(num_cpus))

  def weights(self, name: str) -> dict[str, np.ndarray]:
    """Of the model, which are averaged, the trained ones, and the momentum of each."""
    reader = tf.train.load_checkpoint(str(self.folder / name / "ckpt-2"))
    shapes = reader.get_variable_to_shape_map()
    kinds = ("model/", "training_weights/")
    return {key: reader.get_tensor(key) for key in shapes if key.startswith(kinds)}

  def figures(self, name: str) -> dict[str, float]:
    return json.loads((self.folder / name / "evaluation-2.json").read_text())

  def detections(self, name: str) -> list[dict]:
    file = self.folder / f"results_{name}" / "step_2" / "coco_results.json"
    return json.loads(file.read_text())

  def files(self, name: str) -> set[str]:
    """Of the folder of a run; event files, whose names say when and where, by their folder."""
    found = {str(file.relative_to(self.folder / name)) for file in (self.folder / name).rglob("*")}
    return {
      os.path.join(os.path.dirname(file), "events") if "events.out" in file else file
      for file in found
    }

  def check_weights(self, name: str, expected: str, tolerance: float) -> None:
    ours, theirs = self.weights(name), self.weights(expected)
    assert ours.keys() == theirs.keys()
    assert len(ours) > 100
    assert any(key.startswith("training_weights/") for key in ours)
    for key, values in theirs.items():
      np.testing.assert_allclose(ours[key], values, atol=tolerance, err_msg=key)

  def check_detections(self, name: str, expected: str) -> None:
    for ours, theirs in zip(self.detections(name), self.detections(expected), strict=True):
      assert ours["image_id"] == theirs["image_id"]
      assert ours["score"] == pytest.approx(theirs["score"], abs=1e-5)
      assert ours["bbox"] == pytest.approx(theirs["bbox"], abs=1e-2)


@pytest.fixture(name="runs", scope="module")
def _runs(tmp_path_factory):
  """`one` process, two compiled `mirrored` replicas, and two `workers` that join after a step."""
  runs = Runs(tmp_path_factory.mktemp("runs"))
  finish(runs.start("one"))
  finish(runs.start("mirrored", 2, distribution_strategy="mirrored", enable_xla=True))
  begun = runs.folder / "workers"
  begun.mkdir()
  for file in (runs.folder / "one").glob("ckpt-1.*"):
    shutil.copy(file, begun)
  (begun / "checkpoint").write_text('model_checkpoint_path: "ckpt-1"')
  with cluster_of_two() as cluster:
    chief, worker = (runs.start("workers", task_index=index, **cluster) for index in (0, 1))
    runs.said = [finish(chief), finish(worker)]
  return runs


@pytest.mark.slow
def test_workers_stop_at_the_same_step(tmp_path):
  # Whatever they train: a linear model begins sooner than a detector.
  toy_task.write_records(tmp_path)
  trainer = {"train_steps": 1_000_000, "validation_interval": 1_000_000, "checkpoint_interval": 5}
  trainer |= {"steps_per_loop": 1, "summary_interval": 5}
  with cluster_of_two() as cluster:
    chief, worker = (
      start(
        "toy_task",
        str(tmp_path),
        yaml.safe_dump({"trainer": trainer, "runtime": {**cluster, "task_index": index}}),
        folder="training",
      )
      for index in (0, 1)
    )
    deadline = time.monotonic() + 400
    while not run_checkpoints.numbered(str(tmp_path / "run")) and chief.poll() is None:
      assert time.monotonic() < deadline
      time.sleep(0.1)
    worker.terminate()
    said = finish(chief)
    assert not finish(worker)
  last = max(run_checkpoints.numbered(str(tmp_path / "run")))
  assert said.endswith(
    f"stopped by another worker; the same command resumes from {tmp_path}/run/ckpt-{last}\n"
  )
  assert last < 1_000_000


@pytest.mark.slow
def test_two_workers_are_one(runs):
  runs.check_weights("workers", "one", 1e-5)
  runs.check_detections("workers", "one")
  assert runs.figures("workers") == pytest.approx(runs.figures("one"), abs=1e-4)


@pytest.mark.slow
def test_two_compiled_replicas_are_one(runs):
  # XLA rounds otherwise, which decides between detections of nearly equal scores.
  runs.check_weights("mirrored", "one", 1e-3)
  assert runs.figures("mirrored") == pytest.approx(runs.figures("one"), abs=1e-2)


@pytest.mark.slow
def test_only_the_chief_writes_and_speaks(runs):
  assert runs.files("workers") == runs.files("one")
  assert {"ckpt-2.index", "best/info.json", "evaluation-2.json"} <= runs.files("one")
  chief, worker = runs.said
  assert "evaluation at step 2" in chief
  assert "learning rate 0.01 (constant), batch 4, no warm-up" in chief
  assert not worker
