"""Times Model Garden's Faster R-CNN, ResNet-50 with FPN, for `benchmarks.run`.

    --peer 'Model Garden=python -m benchmarks.peers.model_garden_cost'

Its experiment `fasterrcnn_resnetfpn_coco` with random weights, all of which it trains, the
normalisations' statistics among them; 300 proposals at inference, 256 sampled boxes; momentum.
`--jit_compile` compiles both.
"""

import numpy as np
import tensorflow as tf
import tf_keras
from official.core import exp_factory
from official.vision import registry_imports  # noqa: F401
from official.vision.ops import anchor
from official.vision.tasks import maskrcnn

from benchmarks.peers import cost


def make_task(height: int, width: int) -> maskrcnn.MaskRCNNTask:
  """Returns the task for images of the given size."""
  config = exp_factory.get_exp_config("fasterrcnn_resnetfpn_coco").task
  config.init_checkpoint = None
  model = config.model
  model.num_classes = cost.NUM_CLASSES + 1
  model.input_size = [height, width, 3]
  model.norm_activation.use_sync_bn = False
  model.roi_generator.test_num_proposals = cost.NUM_PROPOSALS
  model.roi_sampler.num_sampled_rois = cost.NUM_SAMPLED
  return maskrcnn.MaskRCNNTask(config)


def make_labels(
  task: maskrcnn.MaskRCNNTask, rng: np.random.Generator, height: int, width: int
) -> dict[str, tf.Tensor]:
  """Returns labels of one image as the task's input pipeline makes them."""
  model, settings = task.task_config.model, task.task_config.train_data.parser
  boxes = tf.constant(cost.random_boxes(rng, height, width))
  classes = tf.constant(rng.integers(1, cost.NUM_CLASSES + 1, cost.NUM_BOXES), tf.int32)
  anchors = anchor.build_anchor_generator(
    min_level=model.min_level,
    max_level=model.max_level,
    num_scales=model.anchor.num_scales,
    aspect_ratios=model.anchor.aspect_ratios,
    anchor_size=model.anchor.anchor_size,
  )(image_size=(height, width))
  labeler = anchor.RpnAnchorLabeler(
    settings.rpn_match_threshold,
    settings.rpn_unmatched_threshold,
    settings.rpn_batch_size_per_im,
    settings.rpn_fg_fraction,
  )
  scores, offsets = labeler.label_anchors(anchors, boxes, tf.cast(classes, tf.float32)[:, None])
  padding = settings.max_num_instances - cost.NUM_BOXES
  of_image = {
    "image_info": tf.constant([[height, width], [height, width], [1, 1], [0, 0]], tf.float32),
    "anchor_boxes": anchors,
    "rpn_score_targets": scores,
    "rpn_box_targets": offsets,
    "gt_boxes": tf.pad(boxes, [[0, padding], [0, 0]], constant_values=-1.0),
    "gt_classes": tf.pad(classes, [[0, padding]], constant_values=-1),
  }
  return tf.nest.map_structure(lambda value: value[None], of_image)


def main() -> None:
  parser = cost.parser(__doc__)
  parser.add_argument("--jit_compile", action="store_true", help="compile inference and the step")
  options = parser.parse_args()
  tf.config.threading.set_intra_op_parallelism_threads(options.threads)
  tf_keras.utils.set_random_seed(0)
  rng = np.random.default_rng(0)
  task = make_task(options.height, options.width)
  model = task.build_model()
  image = tf.constant(rng.standard_normal([1, options.height, options.width, 3]), tf.float32)
  labels = make_labels(task, rng, options.height, options.width)
  size = tf.constant([[options.height, options.width]], tf.float32)
  optimizer = tf_keras.optimizers.SGD(cost.LEARNING_RATE, momentum=cost.MOMENTUM)
  optimizer.build(model.trainable_variables)
  compiled = True if options.jit_compile else None

  @tf.function(jit_compile=compiled)
  def detect():
    outputs = model(image, image_shape=size, training=False)
    return outputs["detection_boxes"], outputs["detection_scores"], outputs["detection_classes"]

  @tf.function(jit_compile=compiled)
  def step():
    return task.train_step((image, labels), model, optimizer)[task.loss]

  def infer() -> int:
    detect()[1].numpy()
    # A fixed number of rows, also where fewer boxes are left.
    return task.task_config.model.roi_generator.test_num_proposals

  cost.report(cost.measure(infer, lambda: float(step()), options.repeats))


if __name__ == "__main__":
  main()
