"""What `tf.distribute` makes of the input: two replicas in a process of their own."""

import json
import pathlib
import subprocess
import sys

from tests import fixtures

_CODE = """
import json, sys
import tensorflow as tf
from tests import fixtures

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
settings = {"global_batch_size": 4, "input_layout": "by_orientation", "input_size": (12, 16)}

def make(is_training):
  return strategy.distribute_datasets_from_function(
    lambda context: fixtures.make_dataset(
      sys.argv[1], is_training=is_training, input_context=context, **settings
    )
  )

found = {"train": [], "eval": []}
iterator = iter(make(True))
for _ in range(4):
  images = strategy.experimental_local_results(next(iterator)[0])
  found["train"].append([image.numpy()[:, 0, 0, 0].tolist() for image in images])
for images, labels in make(False):
  indices = strategy.experimental_local_results(labels["example_index"])
  found["eval"].append([index.numpy().tolist() for index in indices])
print(json.dumps(found))
"""


def test_replicas_share_each_batch(tmp_path):
  examples = [
    fixtures.serialized_example(fixtures.solid_image(*size, number))
    for number, size in enumerate([(12, 16), (12, 16), (16, 12), (12, 16), (16, 12), (12, 16)], 1)
  ]
  path = fixtures.write_records(tmp_path / "a.tfrecord", examples)
  done = subprocess.run(
    [sys.executable, "-c", _CODE, path],
    cwd=pathlib.Path(__file__).parents[3],
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 0, done.stderr
  found = json.loads(done.stdout.splitlines()[-1])
  lying, standing = {1, 2, 4, 6}, {3, 5}
  for parts in found["train"]:
    assert [len(part) for part in parts] == [2, 2]
    images = {int(number) for part in parts for number in part}
    # A batch of four is an epoch of those that lie, and two epochs of those that stand.
    assert images in (lying, standing)
  assert found["eval"] == [[[0, 1], [3, 5]], [[2, 4], [-1, -1]]]
