"""Tests of the names of files."""

import pytest

from mtl_ssl_tf.data import schema


def test_names():
  assert schema.shard_file("train", 3, 12) == "train-00003-of-00012.tfrecord"
  assert schema.manifest_file("train") == "manifest_train.json"


@pytest.mark.parametrize(
  ("name", "expected"),
  [
    ("train-00003-of-00012.tfrecord", True),
    ("trainval-00003-of-00012.tfrecord", False),
    ("train-00003-of-00012.tfrecord.gz", False),
    ("train.tfrecord", False),
  ],
)
def test_shards_of_a_split_are_told_by_name(name, expected):
  assert schema.is_shard_file(name, "train") is expected


def test_a_split_is_no_pattern():
  assert not schema.is_shard_file("train-00003-of-00012.tfrecord", "t.ain")
