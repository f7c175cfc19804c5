"""Tests of cutting a split into shards."""

import hypothesis
from hypothesis import strategies as st

from mtl_ssl_tf.data.records import shards


def test_positions():
  assert [list(shards.positions(shard, 3, 5)) for shard in range(3)] == [[0, 1], [2, 3], [4]]


@hypothesis.settings(max_examples=100, deadline=None, derandomize=True, database=None)
@hypothesis.given(st.integers(1, 60), st.integers(0, 1000))
def test_each_position_is_in_the_shard_that_a_serial_writer_puts_it_in(num_shards, num_images):
  found = [
    (position, shard)
    for shard in range(num_shards)
    for position in shards.positions(shard, num_shards, num_images)
  ]
  assert found == [(i, i * num_shards // num_images) for i in range(num_images)]
