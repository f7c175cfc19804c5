"""Settings that no strategy can be made of are refused before anything is connected or built."""

import json
import os
import types

import numpy as np
import pytest
import tensorflow as tf

from mtl_ssl_tf.training import strategies
from tests.tasks import tiny
from tests.training import toy_task


def message(folder, mode="train", **runtime) -> str:
  with pytest.raises(ValueError) as error:
    strategies.check(tiny.experiment(folder, {"runtime": runtime}), mode)
  return str(error.value)


def workers(**fields):
  hosts = {"worker_hosts": "a:1,b:2", "task_index": 0}
  return {"distribution_strategy": "multi_worker_mirrored", **hosts, **fields}


@pytest.fixture(autouse=True)
def _no_cluster(monkeypatch):
  monkeypatch.delenv("TF_CONFIG", raising=False)


@pytest.mark.parametrize(
  ("runtime", "expected"),
  [
    (
      {"distribution_strategy": "mirrored", "num_gpus": 64},
      "runtime.num_gpus is 64; accepted: at most 0, the GPUs of this machine",
    ),
    (
      {"distribution_strategy": "tpu"},
      "runtime.tpu is None; accepted with runtime.distribution_strategy tpu: --tpu=local on the"
      " machine of the TPU, or its name or grpc:// address",
    ),
    (
      {"tpu": "local"},
      "runtime.distribution_strategy is 'one_device'; accepted: tpu, as --tpu or runtime.tpu is"
      " 'local'",
    ),
    (
      {"distribution_strategy": "mirrored", "all_reduce_alg": "ring"},
      "runtime.all_reduce_alg is 'ring'; accepted: null, nccl, hierarchical_copy with mirrored",
    ),
    (
      {"distribution_strategy": "mirrored", "worker_hosts": "a:1,b:2"},
      "runtime.worker_hosts is 'a:1,b:2'; accepted: nothing, unless with multi_worker_mirrored",
    ),
    (
      workers(worker_hosts=None),
      "runtime.worker_hosts is None; accepted: host:port of each worker, with commas, for"
      " multi_worker_mirrored; or the variable TF_CONFIG",
    ),
    (
      workers(worker_hosts="a:1,b"),
      "runtime.worker_hosts is 'a:1,b'; accepted: host:port, which 'b' is not",
    ),
    (
      workers(worker_hosts="a:1,a:1"),
      "runtime.worker_hosts is 'a:1,a:1'; accepted: each host:port once",
    ),
    (
      workers(task_index=-1),
      "runtime.task_index is -1; accepted: 0 to 1, this worker's place in runtime.worker_hosts",
    ),
    (
      workers(task_index=2),
      "runtime.task_index is 2; accepted: 0 to 1, this worker's place in runtime.worker_hosts",
    ),
  ],
)
def test_unacceptable_settings(folder, monkeypatch, runtime, expected):
  monkeypatch.setattr(tf.config, "list_physical_devices", lambda _: [])
  assert message(folder, **runtime) == expected


def test_one_device_is_one(folder, monkeypatch):
  monkeypatch.setattr(tf.config, "list_physical_devices", lambda _: ["gpu"] * 4)
  assert message(folder, num_gpus=2) == (
    "runtime.num_gpus is 2; accepted: 0 or 1 with one_device, or mirrored for more"
  )
  strategies.check(tiny.experiment(folder, {"runtime": {"num_gpus": 1}}), "train")


def test_mirrored_on_a_single_device_trains(tmp_path):
  toy_task.write_records(tmp_path)
  runs = [
    toy_task.run(
      tmp_path,
      name,
      {"runtime": {"distribution_strategy": name}, "trainer": {"train_steps": 20}},
    )
    for name in (strategies.MIRRORED, strategies.ONE_DEVICE)
  ]
  np.testing.assert_array_equal(*runs)


def test_idle_gpus_are_reported(folder, monkeypatch, capsys):
  monkeypatch.setattr(tf.config, "list_physical_devices", lambda _: ["gpu"] * 2)
  strategies.check(tiny.experiment(folder, {"runtime": {"num_gpus": 1}}), "train")
  assert not capsys.readouterr().err
  strategies.check(tiny.experiment(folder), "train")
  assert capsys.readouterr().err == (
    "warning: runtime.num_gpus is 0, so the CPU does the work; GPUs of this machine: 2\n"
  )


def test_a_worker_takes_as_many_gpus_as_it_may(folder, monkeypatch):
  seen, made = [], []
  monkeypatch.setattr(tf.config, "list_physical_devices", lambda _: ["gpu0", "gpu1"])
  monkeypatch.setattr(tf.config, "set_visible_devices", lambda *args: seen.append(args))
  monkeypatch.setattr(
    strategies.distribute_utils, "get_distribution_strategy", lambda **args: made.append(args)
  )
  monkeypatch.setenv("TF_CONFIG", "")
  runtime = workers(num_gpus=1, worker_hosts="a:1, b:2", task_index=1)
  strategies.create(tiny.experiment(folder, {"runtime": runtime}).runtime)
  assert seen == [(["gpu0"], "GPU")]
  assert made[0]["distribution_strategy"] == "multi_worker_mirrored"
  assert json.loads(os.environ["TF_CONFIG"]) == {
    "cluster": {"worker": ["a:1", "b:2"]},
    "task": {"type": "worker", "index": 1},
  }


def test_continuous_evaluation_is_for_one_machine(folder):
  assert message(folder, "continuous_eval", **workers()).startswith(
    "--mode is 'continuous_eval'; accepted with multi_worker_mirrored: "
  )
  for mode in ("train", "eval"):
    strategies.check(tiny.experiment(folder, {"runtime": workers()}), mode)


@pytest.mark.parametrize(
  "text",
  [
    "{",
    "[]",
    '{"cluster": {"worker": ["a:1"]}}',
    '{"cluster": {"worker": ["a:1"]}, "task": {"type": "chief", "index": 0}}',
    '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}',
  ],
)
def test_unacceptable_tf_config(folder, monkeypatch, text):
  monkeypatch.setenv("TF_CONFIG", text)
  found = message(folder, distribution_strategy="multi_worker_mirrored")
  assert found.startswith("TF_CONFIG ")
  assert found.endswith(
    '; accepted: {"cluster": {"worker": ["host:port", …]}, "task": {"type": "worker", "index": 0}}'
  )


def test_tf_config_counts_in_place_of_the_fields(folder, monkeypatch):
  text = '{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 1}}'
  monkeypatch.setenv("TF_CONFIG", text)
  strategies.check(
    tiny.experiment(folder, {"runtime": workers(worker_hosts=None, task_index=-1)}), "train"
  )


def fake(num_replicas: int):
  """A strategy as far as the checks need it."""
  return types.SimpleNamespace(num_replicas_in_sync=num_replicas)


@pytest.mark.parametrize(
  ("mode", "name"), [("train", "train_data"), ("train_and_eval", "validation_data")]
)
def test_batches_are_split_evenly(folder, mode, name):
  params = tiny.experiment(folder, {"task": {name: {"global_batch_size": 4}}})
  other = "train_data" if name == "validation_data" else "validation_data"
  params.task.override({other: {"global_batch_size": 6 if "eval" in mode else 1}})
  with pytest.raises(ValueError) as error:
    strategies.check_replicas(params, mode, fake(3))
  assert str(error.value) == (
    f"task.{name}.global_batch_size is 4; accepted: a multiple of the 3 replicas of"
    " runtime.distribution_strategy one_device"
  )
  # What the mode does not need may have any size.
  strategies.check_replicas(params, mode, fake(2))


@pytest.mark.parametrize(
  ("task", "field"),
  [
    ({"backbone": {"norm": {"type": "sync"}}}, "task.backbone.norm.type is 'sync'"),
    ({"refinement": {"closeness_mean": "all_rows"}}, "task.refinement.closeness_mean is"),
  ],
)
def test_exchange_within_the_forward_pass_does_not_compile(folder, task, field):
  params = tiny.experiment(folder, {"task": task, "runtime": {"enable_xla": True}})
  with pytest.raises(ValueError, match=f"^{field}.*with runtime.enable_xla and 2 replicas"):
    strategies.check_replicas(params, "train", fake(2))
  strategies.check_replicas(params, "eval", fake(2))
  strategies.check_replicas(params, "train", fake(1))
  params.runtime.enable_xla = False
  strategies.check_replicas(params, "train", fake(2))


def test_what_is_compiled(folder):
  runtime = tiny.experiment(folder, {"runtime": {"enable_xla": True}}).runtime
  for num_replicas, whole, losses in ((1, True, False), (2, False, True)):
    assert strategies.compiles_whole(runtime, fake(num_replicas)) is whole
    assert strategies.compiles_losses(runtime, fake(num_replicas)) is losses
  runtime.enable_xla = False
  assert not strategies.compiles_whole(runtime, fake(1))
  assert not strategies.compiles_losses(runtime, fake(2))


def test_a_tpu_that_is_not_there(folder):
  params = tiny.experiment(folder, {"runtime": {"distribution_strategy": "tpu", "tpu": "local"}})
  strategies.check(params, "train")
  with pytest.raises(ValueError, match=r"^runtime.tpu is 'local'; accepted: a TPU that can be"):
    strategies.create(params.runtime)
