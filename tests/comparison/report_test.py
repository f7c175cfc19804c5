"""From the records of runs to the figures of a report."""

import numpy as np

from mtl_ssl_tf.comparison import arms, outcomes, report


def found(hit_share):
  """An object and a detection in each of 40 images; so many of them are hits."""
  return outcomes.Outcomes(
    images=np.arange(40),
    classes=np.ones(40, np.int64),
    hits=np.arange(40) < 40 * hit_share,
    num_objects=np.ones([40, 1], np.int64),
  )


def record(arm, seed, figure, is_resumed=False):
  return {
    "arm": arm,
    "seed": seed,
    "is_resumed": is_resumed,
    "cpu_minutes": 3.0,
    "figures": {5: {"voc/mAP50_area": figure}},
  }


def test_intervals_over_images_are_of_the_arm_minus_the_first():
  named = [arms.Arm("first", ()), arms.Arm("other", ())]
  records = [record("first", 0, 0.2), record("other", 0, 0.9), record("other", 1, 0.8, True)]
  result = report.collect(
    "voc/mAP50_area",
    named,
    records,
    {"first": {0: found(0.2)}, "other": {0: found(0.9)}},
    {("other", 1): {"refinement_off": {"voc/mAP50_area": 0.7}}},
    {},
    {},
  )
  low, high = result.intervals["other"]
  assert 30.0 < low < high < 100.0
  assert result.difference("other", 5).mean == 70.0
  # A resumed run tells the cost of its last part alone.
  assert result.cpu_minutes == {"first": [3.0], "other": [3.0]}
  assert result.ablations == {"other": {"refinement_off": {1: 70.0}}}
