"""Training and evaluation with inputs of two orientations."""

import numpy as np
import pytest
import tensorflow as tf

from mtl_ssl_tf.tasks import mtl_detection
from mtl_ssl_tf.training import driver, trainer
from tests import fixtures
from tests.tasks import tiny

TALL = (0, 3)  # Of five images.


@pytest.fixture(name="mixed", scope="module")
def _mixed(tmp_path_factory):
  """Records of images of both orientations, and the label map."""
  folder = tmp_path_factory.mktemp("mixed")
  examples = []
  for number in range(5):
    image, boxes = fixtures.noise_image(48, 64, number), np.array(tiny.BOXES)
    if number in TALL:
      image, boxes = image.transpose(1, 0, 2), boxes[:, [1, 0, 3, 2]]
    examples.append(fixtures.serialized_example(image, boxes, tiny.CLASSES, source_id=str(number)))
  for split in ("train", "val"):
    fixtures.write_records(folder / f"{split}.tfrecord", examples)
  (folder / "label_map.txt").write_text("cat\ndog\n")
  return folder


def experiment(folder, input_size=(64, 96), **others):
  data = {"input_layout": "by_orientation", "input_size": list(input_size)}
  task = {"train_data": data, "validation_data": data}
  return tiny.experiment(folder, {"task": task, **others})


def make_trainer(params):
  """The trainer, and the sizes of the images that its steps are traced with."""
  task = mtl_detection.MtlDetectionTask(params.task)
  traced = []

  def watch(name):
    step = getattr(task, name)

    def watched(inputs, **others):
      traced.append((name, tuple(inputs[0].shape)))
      return step(inputs, **others)

    setattr(task, name, watched)

  watch("train_step")
  watch("validation_step")
  model = task.build_model()
  optimizer = task.create_optimizer(params.trainer.optimizer_config, params.runtime)
  return trainer.TaskTrainer(params, task, model, optimizer), traced


def test_one_program_for_each_input_size(mixed):
  params = experiment(mixed)
  # How often a step is traced depends on no head; those that read the input's size are left.
  params.task.auxiliary.multi_object.loss_weight = 0.0
  params.task.auxiliary.closeness.loss_weight = 0.0
  params.task.refinement.enabled = False
  made, traced = make_trainer(params)
  losses = [made.train(tf.constant(4))["training_loss"] for _ in range(2)]
  assert np.all(np.isfinite(losses))
  assert sorted(traced) == [("train_step", (2, 64, 96, 3)), ("train_step", (2, 96, 64, 3))]
  traced.clear()
  figures = made.evaluate(tf.constant(-1))
  assert sorted(traced) == [
    ("validation_step", (2, 64, 96, 3)),
    ("validation_step", (2, 96, 64, 3)),
  ]
  assert figures["dropped_boxes"] == 0.0
  made.train(tf.constant(4))
  made.evaluate(tf.constant(-1))
  assert len(traced) == 2


@pytest.mark.parametrize("name", ["train_data", "validation_data"])
def test_loops_in_a_graph_are_refused(mixed, tmp_path, name):
  field = {"train_data": "train_tf_while_loop", "validation_data": "eval_tf_while_loop"}[name]
  params = experiment(mixed, trainer={field: True})
  with pytest.raises(ValueError, match=rf"^trainer\.{field} is True; accepted with task\.{name}"):
    driver.run(params, "train_and_eval", str(tmp_path))


def test_pictures(mixed):
  params = experiment(mixed)
  task = mtl_detection.MtlDetectionTask(params.task)
  task.task_config.pictures.num_images = 4
  drawn = task.draw(task.build_model(), 0)
  assert len({panel.shape for panel in drawn}) == 2


def test_evaluation_finds_what_it_does_with_an_image_s_input_size_alone(mixed):
  params = experiment(mixed)
  params.task.backbone.norm.momentum = 0.0
  data = params.task.validation_data
  lying, standing = (
    data.replace(input_layout="single", input_size=size) for size in ([64, 96], [96, 64])
  )
  task = mtl_detection.MtlDetectionTask(params.task)
  model = task.build_model()
  # One pass sets the statistics of normalisation; as drawn, heads say the same of every box.
  for images, labels in task.build_inputs(lying.replace(global_batch_size=5)):
    model(images, labels["image_size_px"], training=True)
  for kernel in (*model.rpn.decayed_kernels, *model.box_head.last_kernels):
    kernel.assign(10.0 * kernel)

  def evaluate(data):
    """What the validation step says of each image, by its place in the records."""
    found = {}
    for batch in task.build_inputs(data):
      logs = task.validation_step(batch, model)
      for i in np.flatnonzero(logs["example_valid"]):
        rows = {name: values[i].numpy() for name, values in logs.items()}
        assert found.setdefault(int(rows.pop("example_index")), rows) is rows
    return found

  found, on_lying, on_standing = evaluate(data), evaluate(lying), evaluate(standing)
  assert sorted(found) == [0, 1, 2, 3, 4]
  for index, rows in found.items():
    assert len(np.unique(rows["detection_scores"])) > 5
    expected = (on_standing if index in TALL else on_lying)[index]
    for name, values in rows.items():
      np.testing.assert_allclose(values, expected[name], rtol=1e-4, atol=1e-4, err_msg=name)
