"""Two replicas with a group of normalisation each do what one does with both groups."""

import json

import pytest

from tests.tasks import replicas_test


@pytest.fixture(name="found", scope="module")
def _found():
  return json.loads(replicas_test.finish(replicas_test.start("insloc_replicas")))


@pytest.mark.parametrize("kind", ["batch", "none", "compiled", "pyramid"])
def test_logs_and_weights_are_those_of_one_replica(found, kind):
  tolerance = 1e-2 if kind == "compiled" else 1e-3
  one, two = found[kind]["logs"]
  for expected, logs in zip(one, two, strict=True):
    assert logs == pytest.approx(expected, rel=tolerance, abs=tolerance)
  assert found[kind]["largest_error"] < tolerance


@pytest.mark.parametrize("kind", ["batch", "none", "compiled", "pyramid"])
def test_key_encoder_and_queue_are_the_same_on_both(found, kind):
  assert found[kind]["between_replicas"] == 0.0


def test_shuffling_over_replicas_changes_something(found):
  assert found["batch"]["logs"][0] != found["none"]["logs"][0]


def test_rows_of_bytes_come_in_the_order_of_the_replicas(found):
  whole, odd = found["bytes"]
  assert whole == [[*range(8), *range(10, 18)]] * 2
  assert odd == [[0, 4, 10, 14]] * 2
