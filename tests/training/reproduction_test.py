"""The batch in the folder that repeats a step; the rest is tried in `interruption_test.py`."""

import numpy as np
import pytest

from mtl_ssl_tf.training import reproduction


@pytest.mark.parametrize(
  "batch",
  [
    np.ones([2, 3]),
    (np.zeros([2]), {"gt_classes": np.ones([2, 1]), "image_key": np.arange(2)}),
    # Two views of each image, as mappings in a tuple.
    ({"image": np.zeros([1])}, {"image": np.ones([1]), "boxes": {"px": np.ones([4])}}),
    [np.arange(number) for number in range(12)],
  ],
)
def test_a_batch_comes_back_as_it_was(batch):
  paths = dict(reproduction._flatten(batch))
  again = reproduction._unflatten(paths)

  def check(one, other):
    if isinstance(one, np.ndarray):
      np.testing.assert_array_equal(one, other)
    elif isinstance(one, dict):
      assert list(one) == list(other)
      for name in one:
        check(one[name], other[name])
    else:
      assert len(one) == len(other)
      for first, second in zip(one, other, strict=True):
        check(first, second)

  check(batch, again)


def test_a_part_is_missing():
  with pytest.raises(KeyError):
    reproduction._unflatten({"0": 1, "2": 3})
