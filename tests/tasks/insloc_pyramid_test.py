"""Steps and runs of pretraining on a feature pyramid: a loss and a queue for each level."""

import numpy as np
import pytest
import tensorflow as tf

from mtl_ssl_tf.losses import contrastive_losses
from mtl_ssl_tf.modeling.pretraining import insloc_model
from mtl_ssl_tf.training import driver
from tests.modeling.pretraining import small
from tests.tasks import insloc_test, insloc_tiny

NAMES = ["accuracy_p2", "accuracy_p3", "accuracy_p4", "accuracy_p5"]


def _step(**changed) -> insloc_test.Step:
  return insloc_test.Step(**{**small.PYRAMID_CONFIG, **changed})


def test_a_step_is_what_the_method_says():
  step = _step(momentum=1.0, group_size=1, box_augmentation={"min_iou": 0.3})
  model, task = step.model, step.task
  queue = model.queue.keys.numpy()
  batch = insloc_tiny.random_batch(tf.constant(0, tf.int64), (0, 4))
  other = insloc_model.build(task.task_config)
  other.set_weights(model.get_weights())
  decay = 1e-3 * 0.5 * sum(np.sum(v.numpy() ** 2) for v in model.trainable_variables)
  logs = step(0)

  exact = batch["query_boxes"]
  augmented = task._query_boxes(exact, insloc_tiny.SIDE, tf.constant(0))
  assert np.any(augmented != exact)
  # Only the coarsest level pools the other box.
  boxes = tf.stack([exact, exact, exact, augmented], axis=1)
  queries = other.query_encoder(batch["query_images"], boxes, training=True).numpy()
  key_boxes = tf.tile(batch["key_boxes"][:, tf.newaxis], [1, 4, 1])
  keys = other.key_encoder(batch["key_images"], key_boxes, training=True).numpy()
  losses, accuracies = [], []
  for level in range(4):
    own = np.sum(queries[:, level] * keys[:, level], axis=1)
    others = queries[:, level] @ queue[:, 4 * level : 4 * level + 4].T
    similarities = np.concatenate([own[:, None], others], axis=1)
    exponents = np.exp(similarities / 0.2)
    losses.append(np.mean(-np.log(exponents[:, 0] / exponents.sum(axis=1))))
    accuracies.append(np.mean(own > others.max(axis=1)))
  assert logs["contrastive"] == pytest.approx(sum(losses), rel=1e-3)
  assert [logs[name] for name in NAMES] == accuracies
  assert logs["accuracy"] == pytest.approx(np.mean(accuracies))
  assert logs["loss"] == pytest.approx(sum(losses) + decay, rel=1e-3)
  spreads = [float(contrastive_losses.spread(tf.constant(keys[:, i]))) for i in range(4)]
  assert logs["spread"] == pytest.approx(min(spreads), rel=1e-3)
  np.testing.assert_allclose(model.queue.keys[:4], keys.reshape(4, 16), atol=1e-4)
  np.testing.assert_array_equal(model.queue.keys[4:], queue[4:])


def test_the_levels_of_other_boxes_are_chosen():
  exact, augmented = tf.zeros([2, 4]), tf.ones([2, 4])
  for levels in ([5], [2, 4], []):
    task = _step(box_augmentation={"levels": levels}).task
    boxes = task._boxes_of_levels(exact, augmented)
    assert boxes.shape == [2, 4, 4]
    assert boxes[0, :, 0].numpy().tolist() == [float(level in levels) for level in (2, 3, 4, 5)]


def test_shuffling_loses_nothing():
  plain, shuffled = (_step(shuffle=name, group_size=1) for name in ("none", "batch"))
  for number in range(2):
    assert shuffled(number) == pytest.approx(plain(number), rel=1e-3, abs=1e-4)
  np.testing.assert_allclose(plain.model.queue.keys, shuffled.model.queue.keys, atol=1e-3)


def test_the_compiled_step_is_the_same():
  plain, compiled = _step(), _step(jit_compile=True)
  assert compiled(0) == pytest.approx(plain(0), rel=1e-3, abs=1e-3)
  for one, other in zip(plain.model.variables, compiled.model.variables, strict=True):
    np.testing.assert_allclose(one, other, atol=3e-3, err_msg=one.name)


def test_every_log_has_its_mean():
  task = _step().task
  names = [metric.name for metric in task.build_metrics()]
  assert names[-4:] == NAMES and len(set(names)) == len(names)
  assert not set(NAMES) & {metric.name for metric in insloc_test.Step().task.build_metrics()}


@pytest.mark.parametrize(
  ("task", "expected"),
  [
    ({"fpn": {"max_level": 6}}, "task.fpn.max_level is 6; accepted: 5, as boxes are cropped "),
    ({"fpn": {"norm": "sync"}}, "task.fpn.norm is 'sync'; accepted: none, or batch, as "
                                "task.backbone.norm.type"),
    ({"fpn_head": {"norm": "group"}}, "task.fpn_head.norm is 'group'; accepted: none, or batch"),
    ({"fpn": {"min_level": 3}, "box_augmentation": {"levels": [2]}},
     "task.box_augmentation.levels is [2]; accepted: of 3, 4, 5, the levels of task.fpn"),
    ({"backbone": {"type": small.BACKBONE}}, "task.head_type is 'fpn'; accepted: faster_rcnn with "
                                             "this backbone: "),
    ({"head_type": "rfcn"}, "task.head_type is 'rfcn'; accepted: faster_rcnn, fpn"),
  ],
)  # fmt: skip
def test_refused(task, expected, tmp_path):
  task = {**small.PYRAMID_CONFIG, **task}
  with pytest.raises(ValueError) as error:
    driver.run(insloc_tiny.experiment({"task": task}), "train", str(tmp_path))
  assert str(error.value).startswith(expected)
