"""Training images with everything that a step teaches about them, to be shown."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from mtl_ssl_tf.configs import auxiliary as auxiliary_config
from mtl_ssl_tf.configs import data as data_config
from mtl_ssl_tf.data.pipeline import reader
from mtl_ssl_tf.labels import auxiliary as auxiliary_labels
from mtl_ssl_tf.modeling import detector
from mtl_ssl_tf.tasks import mtl_detection, training_panels
from mtl_ssl_tf.visualization import browse_page, draw

_VIEWS = ("The image", "The second view")


def fed_images(
  task: mtl_detection.MtlDetectionTask,
  num_images: int,
  first_batch: int = 0,
  model: detector.Detector | None = None,
) -> Iterator[browse_page.FedImage]:
  """Yields images of the training as the steps from `first_batch` on see them.

  Input pipeline and labels are those of training. A step draws its windows by its own number.

  Args:
    task: of the training.
    num_images: as many images.
    first_batch: running number of the batch, and of the step, to begin with.
    model: mines boxes, where the task does that; None mines none.

  Raises:
    ValueError: the records cannot be read, or a setting is at fault.
  """
  data = task.task_config.train_data
  # With a seed that is known, so are the names of the images.
  data = data.replace(seed=0 if data.seed is None else data.seed)
  batches = task.build_inputs(data, first_batch=first_batch)
  for number, (images, labels) in enumerate(batches, start=first_batch):
    yield from _of_batch(task, data, (images, labels), number, model)[:num_images]
    num_images -= len(images)
    if num_images <= 0:
      return


def _of_batch(
  task: mtl_detection.MtlDetectionTask,
  data: data_config.Data,
  inputs: tuple[tf.Tensor, dict[str, tf.Tensor]],
  number: int,
  model: detector.Detector | None,
) -> list[browse_page.FedImage]:
  images, labels = inputs
  step = tf.constant(number)
  targets = task.auxiliary_targets(labels, step)
  views = task.mined_views(model, inputs, step)
  names = reader.image_ids(data, number)
  found = []
  for i, name in enumerate(names):
    row = {key: values[i].numpy() for key, values in labels.items()}
    height, width = (max(1, round(float(side))) for side in row["image_size_px"])
    found.append(
      browse_page.FedImage(
        name=name,
        place=f"batch {number}, row {i}",
        image=training_panels.as_bytes(images[i])[:height, :width],
        input_size=tuple(images.shape[1:3]),
        boxes_px=row["gt_boxes_px"],
        classes=row["gt_classes"],
        is_crowd=row["gt_is_crowd"],
        flipped=bool(row["flipped"]),
        annotated_classes=_annotated_classes(row),
        views=[] if views is None else _cut_views(views, i, len(images), (height, width)),
        **_auxiliary(task.task_config.auxiliary, targets, i),
      )
    )
  return found


def _annotated_classes(row: dict[str, np.ndarray]) -> np.ndarray | None:
  """The classes that an image is annotated for; None is all of them."""
  mask = row.get("annotated_classes")
  return None if mask is None or mask.all() else np.flatnonzero(mask[1:]) + 1


def _cut_views(views: Any, i: int, num_images: int, size: tuple[int, int]) -> list[draw.MinedView]:
  """The views of image i, without padding."""
  height, width = size
  return [
    view._replace(image=view.image[:height, :width])
    for view in training_panels.views_of(views, i, num_images, _VIEWS)
  ]


def _auxiliary(
  config: auxiliary_config.Auxiliary, targets: auxiliary_labels.AuxiliaryTargets, i: int
) -> dict[str, np.ndarray]:
  """The labels of image i for the tasks that the detector learns."""
  found = {}
  if config.multi_object.loss_weight:
    carries_label = targets.window_weights[i].numpy() > 0.0  # [S]
    found["windows_px"] = targets.windows_px[i].numpy()[carries_label]
    found["window_labels"] = targets.window_labels[i].numpy()[carries_label]
  if config.closeness.loss_weight:
    found["closeness_labels"] = targets.closeness_labels[i].numpy()
  if config.foreground.loss_weight:
    found["foreground_mask"] = targets.foreground_mask[i].numpy()
  return found
