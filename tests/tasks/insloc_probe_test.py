"""From the outputs of an evaluation's steps to the objects that the probe compares."""

import numpy as np

from mtl_ssl_tf.tasks import insloc_probe


def test_objects_alone_are_compared():
  probe = insloc_probe.Probe(1)
  # Two replicas with two images each; the last row fills up the batch.
  features = np.arange(2 * 2 * 3).reshape(2, 2, 3, 1).astype(np.float32)
  logs = {
    "features": tuple(features),
    # Regions to be ignored are 0, padding is -1.
    "gt_classes": (np.array([[2, 0, 1], [0, -1, -1]]), np.array([[-1, 3, 0], [1, 2, 3]])),
    "example_valid": (np.array([True, True]), np.array([True, False])),
    "example_index": (np.array([4, 5]), np.array([6, 0])),
  }
  probe.update_batch(logs)
  assert np.concatenate(probe._classes).tolist() == [2, 1, 3]
  assert np.concatenate(probe._images).tolist() == [4, 4, 6]
  rows = np.concatenate(probe._features)
  assert rows.ravel().tolist() == [0.0, 2.0, 7.0]
