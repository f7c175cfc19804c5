"""The probe of a pretraining: features of annotated objects, from a step's outputs to figures."""

from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from mtl_ssl_tf.evaluation import knn_probe
from mtl_ssl_tf.modeling.pretraining import insloc_model


def outputs(
  inputs: tuple[tf.Tensor, dict[str, tf.Tensor]], model: insloc_model.InsLocModel
) -> dict[str, tf.Tensor]:
  """Returns the features of a batch's ground-truth boxes, their classes and the images' numbers.

  Args:
    inputs: images and labels, see `data/pipeline/detection_parser.py`.
    model: whose query encoder is measured.
  """
  images, labels = inputs
  features = model.query_encoder.box_features(
    images, labels["gt_boxes_px"], labels["image_size_px"]
  )  # [B, N, depth]
  names = ("gt_classes", "example_valid", "example_index")
  return {"features": features, **{name: labels[name] for name in names}}


class Probe(knn_probe.KnnProbe):
  """A `KnnProbe` of the batches of an evaluation."""

  def update_batch(self, step_logs: Mapping[str, Sequence[np.ndarray]]) -> None:
    """Adds the objects of one step: of each of `outputs` the values of all replicas."""
    logs = {
      name: np.concatenate([np.asarray(value) for value in values])
      for name, values in step_logs.items()
    }
    for row in np.flatnonzero(logs["example_valid"]):
      is_object = logs["gt_classes"][row] > 0
      self.update(
        int(logs["example_index"][row]),
        logs["features"][row][is_object],
        logs["gt_classes"][row][is_object],
      )


def describe(figures: Mapping[str, float], num_neighbours: int) -> str:
  """Returns a line on an evaluation's figures."""
  return (
    f"probe: {figures[knn_probe.NUM_OBJECTS]:.0f} objects of "
    f"{figures[knn_probe.NUM_CLASSES]:.0f} classes by {num_neighbours} neighbours: "
    f"{figures[knn_probe.ACCURACY]:.1f} % right, mean of the classes (chance "
    f"{figures[knn_probe.CHANCE]:.1f}), {figures[knn_probe.OBJECT_ACCURACY]:.1f} % of the objects; "
    f"spread {figures[knn_probe.SPREAD]:.3f}"
  )
