"""Measures mAP by the number of sampled proposals that train the refinement layer.

    python -m benchmarks.train_rois --model_dir runs/bccd

Takes the detector of a run, with its configuration and its records, and trains refinement layers
again, side by side, on the same batches: one for each value of `refinement.train_rois`. By default
(`refinement.stop_gradient_residual`) the refinement loss trains this layer and nothing else, so
that in a whole training the layers would differ in nothing else either; only that here the
detector is that of the end from the first step on.

Prints the validation mAP of each value and seed, and of the detector without refinement. The
seeds draw the layers' initial weights and the order of the images.
"""

import argparse
import time
from collections.abc import Sequence

import numpy as np
import tensorflow as tf
import tf_keras

from mtl_ssl_tf.configs import data as data_config
from mtl_ssl_tf.evaluation import voc_evaluator
from mtl_ssl_tf.losses import detection_losses
from mtl_ssl_tf.modeling import detector, factory
from mtl_ssl_tf.serving import export_lib
from mtl_ssl_tf.tasks import mtl_detection, training_losses


class Refiners:
  """Refinement layers of one seed, each trained on another number of the same proposals.

  Attributes:
    layers: by the number of proposals.
  """

  def __init__(
    self,
    task: mtl_detection.MtlDetectionTask,
    model: detector.Detector,
    values: Sequence[int],
    steps: int,
    seed: int,
  ):
    self._config, self._model = task.task_config, model
    self.layers, self._optimizers = {}, {}
    schedule = tf_keras.optimizers.schedules.CosineDecay(1e-3, steps)
    for value in values:
      # The same start for all.
      tf_keras.utils.set_random_seed(seed)
      self.layers[value] = factory.build_refiner(self._config.refinement, task.num_classes)
      self._optimizers[value] = tf_keras.optimizers.Adam(schedule, clipnorm=10.0)
    self.learn = tf.function(self._learn, autograph=False)

  def _learn(
    self, images: tf.Tensor, labels: dict[str, tf.Tensor], step: tf.Tensor
  ) -> dict[int, tf.Tensor]:
    """Takes one step with every layer; returns their losses."""
    model, size = self._model, labels["image_size_px"]
    # As at inference: in training, normalisation by the batch would still change.
    first = model.first_stage(images, size)
    rois = training_losses.sample_rois(self._config, first.proposals, labels, step)
    logits, windows, closeness = evidence(model, first, rois.boxes_px, rois.valid, size)
    losses = {}
    for value, layer in self.layers.items():
      rows = training_losses.refinement_rows(logits.shape[1], value)
      seen = [
        tf.gather(values, rows, axis=1) for values in (logits, windows, rois.classes, rois.valid)
      ]
      with tf.GradientTape() as tape:
        refined = layer(*seen[:2], closeness)
        losses[value] = detection_losses.roi_class_loss(refined, *seen[2:])
      weights = layer.trainable_variables
      gradients = tape.gradient(losses[value], weights)
      self._optimizers[value].apply_gradients(zip(gradients, weights, strict=True))
    return losses


def evidence(
  model: detector.Detector,
  first: detector.FirstStage,
  boxes_px: tf.Tensor,
  valid: tf.Tensor,
  size: tf.Tensor,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
  """Returns class logits, window logits and mean closeness: all that a refinement layer sees."""
  second = model.box_stage(first.features, boxes_px, size)
  windows = model.expanded_window_logits(first.features, boxes_px, size, second.box_features)
  return second.class_logits, windows, model.mean_closeness(second.closeness_logits, valid)


def evaluate(
  task: mtl_detection.MtlDetectionTask,
  model: detector.Detector,
  layers: dict[tuple, tf_keras.layers.Layer | None],
) -> dict[tuple, float]:
  """Returns the validation mAP with each of some layers, in per cent; None does not refine."""

  @tf.function(autograph=False)
  def detect(images, labels):
    size = labels["image_size_px"]
    first = model.first_stage(images, size)
    boxes_px, valid = first.proposals.boxes_px, first.proposals.valid
    seen = evidence(model, first, boxes_px, valid, size)
    deltas = model.box_stage(first.features, boxes_px, size).box_deltas
    scale = tf.tile(labels["image_info"][:, 2], [1, 2])[:, tf.newaxis]  # [B, 1, 4]
    found = []
    for layer in layers.values():
      logits = seen[0] if layer is None else layer(*seen)
      found.append(model.detect(logits, deltas, boxes_px, valid, size))
      found[-1]["boxes"] = found[-1]["detection_boxes_px"] / scale
    return found

  evaluators = {key: voc_evaluator.VOCEvaluator(task.class_names) for key in layers}
  for images, labels in task.build_inputs(task.task_config.validation_data):
    found = tf.nest.map_structure(np.asarray, detect(images, labels))
    for i in np.flatnonzero(labels["example_valid"]):
      truth = [labels[f"gt_{name}"][i].numpy() for name in ("boxes_orig", "classes", "difficult")]
      for evaluator, ours in zip(evaluators.values(), found, strict=True):
        evaluator.update(
          *truth, *(ours[name][i] for name in ("boxes", "detection_scores", "detection_classes"))
        )
  return {key: 100.0 * ev.result()[ev.main_key] for key, ev in evaluators.items()}


def main() -> None:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--model_dir", required=True, help="folder of a run with refinement")
  parser.add_argument("--values", type=int, nargs="+", default=[4, 8, 16, 32, 48])
  parser.add_argument("--steps", type=int, default=300)
  parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
  options = parser.parse_args()

  run = export_lib.read_run(options.model_dir, None)
  task = mtl_detection.MtlDetectionTask(run.task)
  model = task.build_model()
  tf.train.Checkpoint(model=model).restore(run.checkpoint).expect_partial()
  layers = {("none", "none"): None}
  for seed in options.seeds:
    refiners = Refiners(task, model, options.values, options.steps, seed)
    data: data_config.Data = run.task.train_data.replace(seed=seed)
    start = time.perf_counter()
    for step, batch in enumerate(task.build_inputs(data).take(options.steps)):
      losses = refiners.learn(*batch, tf.constant(step))
      if step % 20 == 19:
        left = (time.perf_counter() - start) / (step + 1) * (options.steps - step - 1)
        shown = " ".join(f"{value}: {float(loss):.3f}" for value, loss in losses.items())
        print(
          f"seed {seed} step {step + 1}/{options.steps} | {shown} | {left:.0f} s left", flush=True
        )
    layers |= {(value, seed): layer for value, layer in refiners.layers.items()}
  figures = evaluate(task, model, layers)
  print(f"{run.checkpoint}: mAP without refinement {figures.pop(('none', 'none')):.2f}")
  print("train_rois | " + " | ".join(f"seed {seed}" for seed in options.seeds) + " | mean")
  for value in options.values:
    row = [figures[value, seed] for seed in options.seeds]
    print(f"{value:10d} | " + " | ".join(f"{x:6.2f}" for x in row) + f" | {np.mean(row):.2f}")


if __name__ == "__main__":
  main()
