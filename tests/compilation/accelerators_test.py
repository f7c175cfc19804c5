"""Tests of the table of accelerators."""

import pytest

from mtl_ssl_tf.compilation import accelerators

_GIB = 2**30


@pytest.mark.parametrize(
  ("name", "kind", "num_cores", "bytes_per_core"),
  [
    ("v5e-8", "tpu", 8, 16e9),
    ("v5litepod-8", "tpu", 8, 16e9),
    # Two devices a chip of 32 GiB.
    ("v3-8", "tpu", 8, 16 * _GIB),
    # Eight cores are four chips, of one device each.
    ("v4-8", "tpu", 4, 32 * _GIB),
    ("v5p-8", "tpu", 4, 95e9),
    (" V6E-1 ", "tpu", 1, 32e9),
    ("h100", "gpu", 1, 80e9),
    ("a100-80x4", "gpu", 4, 80e9),
    ("gpu:24GiB", "gpu", 1, 24 * _GIB),
    ("gpu:0.5GiB x8", "gpu", 8, _GIB / 2),
  ],
)
def test_known(name, kind, num_cores, bytes_per_core):
  found = accelerators.parse(name)
  assert (found.kind, found.num_cores, found.bytes_per_core) == (kind, num_cores, bytes_per_core)
  assert found.name == name


@pytest.mark.parametrize(
  "name", ["", "v5e", "v5e-7", "v9-8", "h100x0", "gpu:GiB", "gpu:0GiB", "8", "v5litepod-3", "tpu"]
)
def test_unknown_is_reported_with_all_names(name):
  with pytest.raises(ValueError, match="--accelerator is ") as caught:
    accelerators.parse(name)
  message = str(caught.value)
  assert repr(name) in message
  for known in ("v2-8|32", "v5e-1|4|8", "h200", "gpu:MEMORYGiB"):
    assert known in message
  assert "\n" not in message


def test_the_nearest_name_is_offered():
  with pytest.raises(ValueError, match=r"'v5e-18' \(nearest: v5e-1\w*\); accepted"):
    accelerators.parse("v5e-18")
