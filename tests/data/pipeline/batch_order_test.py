"""The order of records, batch by batch."""

import numpy as np
import pytest
import tensorflow as tf

from mtl_ssl_tf.data.pipeline import batch_order


def draw(order, num_batches, batch_size):
  """Buckets [n] and records [n, B] of the first batches."""
  indices = tf.data.Dataset.range(num_batches * batch_size).map(
    lambda i: (
      order.bucket(i // batch_size),
      order.record(i // batch_size, i % batch_size),
    )
  )
  buckets, records = zip(*indices.as_numpy_iterator(), strict=True)
  return np.array(buckets[::batch_size]), np.array(records).reshape([num_batches, batch_size])


@pytest.mark.parametrize("num_records", [1, 2, 5, 16, 17])
@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_each_epoch_holds_each_record_once(num_records, batch_size):
  order = batch_order.BatchOrder([np.arange(num_records) + 10], batch_size, seed=1)
  _, records = draw(order, 3 * num_records, batch_size)
  epochs = records.reshape([-1, num_records])
  np.testing.assert_array_equal(
    np.sort(epochs), np.tile(np.arange(num_records) + 10, [3 * batch_size, 1])
  )


def test_places_are_fair():
  # 8 records, 400 epochs: each record is to come first, second, … 50 times; 3.3 standard
  # deviations are 22.
  order = batch_order.BatchOrder([np.arange(8)], 8, seed=0)
  _, epochs = draw(order, 400, 8)
  counts = [np.bincount(places, minlength=8) for places in epochs.T]
  assert np.min(counts) > 28
  assert np.max(counts) < 72
  assert len({tuple(epoch) for epoch in epochs}) > 390


@pytest.mark.parametrize("seeds", [(0, 1), (0, 256), (-1, 1), (5, 2**40 + 5)])
def test_seeds_differ(seeds):
  first, second = (
    draw(batch_order.BatchOrder([np.arange(50)], 50, seed), 1, 50)[1] for seed in seeds
  )
  assert (first == second).mean() < 0.2


# Of 8 records, 6 and 2: one batch in four is of the second bucket.
@pytest.mark.parametrize(
  ("sizes", "expected"),
  [
    ((6, 2), [1, 0, 0, 0, 1, 0, 0, 0]),
    ((4, 4), [1, 0, 1, 0, 1, 0, 1, 0]),
    ((0, 3), [1] * 8),
    ((3, 0), [0] * 8),
  ],
)
def test_buckets_take_turns(sizes, expected):
  numbers = np.arange(sum(sizes))
  order = batch_order.BatchOrder([numbers[: sizes[0]], numbers[sizes[0] :]], 2, seed=0)
  buckets, _ = draw(order, 8, 2)
  np.testing.assert_array_equal(buckets, expected)


def test_each_bucket_has_its_epochs():
  first, second = np.array([3, 5, 6, 7, 8]), np.array([1, 2])
  order = batch_order.BatchOrder([first, second], 3, seed=4)
  buckets, records = draw(order, 35, 3)
  # 35 batches are 105 rows: 15 epochs.
  for bucket, members in enumerate((first, second)):
    epochs = records[buckets == bucket].reshape([-1, len(members)])
    assert len(epochs) == 15
    np.testing.assert_array_equal(np.sort(epochs), np.tile(members, [15, 1]))
  assert len({tuple(row) for row in records[buckets == 0].reshape([-1, 5])}) > 10


def test_each_epoch_of_each_bucket_has_an_order_of_its_own():
  # Of two buckets of one size, whose records could otherwise come in one order.
  order = batch_order.BatchOrder([np.arange(20), np.arange(20) + 20], 20, seed=0)
  buckets, epochs = draw(order, 10, 20)
  assert buckets.tolist() == [1, 0] * 5
  assert len({tuple(epoch % 20) for epoch in epochs}) == 10


def test_partners_are_each_record_once_too_in_orders_of_their_own():
  order = batch_order.BatchOrder([np.arange(12) + 5, np.arange(7) + 50], 2, seed=3)
  own_buckets, own = draw(order, 38, 2)
  drawn = [own]
  for number in range(3):
    buckets, records = draw(order.partner(number), 38, 2)
    # Of the same bucket, row by row.
    np.testing.assert_array_equal(buckets, own_buckets)
    np.testing.assert_array_equal(records < 50, own < 50)
    first, second = records[own_buckets == 0], records[own_buckets == 1]
    np.testing.assert_array_equal(np.sort(first.reshape([-1, 12])), [np.arange(12) + 5] * 4)
    np.testing.assert_array_equal(np.sort(second.reshape([-1, 7])), [np.arange(7) + 50] * 4)
    drawn.append(records)
  for i, one in enumerate(drawn):
    assert all(np.mean(one == other) < 0.4 for other in drawn[:i])
