"""AdamW as configured: what decays, how gradients are clipped, and that a run can be resumed."""

import numpy as np
import pytest
import tensorflow as tf

from mtl_ssl_tf.configs import loading
from mtl_ssl_tf.tasks import detection_settings, mtl_detection
from tests.modeling import small_backbones
from tests.tasks import tiny
from tests.training import toy_task

RATE, DECAY = 0.5, 0.1


def optimizer_of(**adamw):
  config = {
    "optimizer": {"type": "adamw", "adamw": {"weight_decay_rate": DECAY, **adamw}},
    "learning_rate": {"type": "constant", "constant": {"learning_rate": RATE}},
  }
  params = loading.load_experiment("mtl_frcnn")
  params.override({"trainer": {"optimizer_config": config}}, is_strict=True)
  return mtl_detection.MtlDetectionTask.create_optimizer(params.trainer.optimizer_config)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_kernels_decay_by_rate_and_share_whatever_their_gradients(jit_compile):
  names = ("conv/kernel", "conv/bias", "norm/gamma", "norm/beta", "conv/depthwise_kernel")
  # As the second replica's own is called.
  names += ("conv/kernel/replica_1",)
  variables = [tf.Variable([2.0], name=name) for name in names]
  optimizer = optimizer_of()

  def step():
    optimizer.apply_gradients([(tf.zeros([1]), variable) for variable in variables])

  tf.function(step, jit_compile=jit_compile)()
  # 2 - 0.5 x 0.1 x 2.
  assert [float(variable[0]) for variable in variables] == pytest.approx(
    [1.9, 2.0, 2.0, 2.0, 2.0, 1.9]
  )


def test_the_rest_of_a_step_is_adams():
  kernel = tf.Variable([2.0, 2.0], name="conv/kernel")
  optimizer_of().apply_gradients([(tf.constant([1.0, -8.0]), kernel)])
  # The first step of Adam is the rate, towards the sign of the gradient.
  np.testing.assert_allclose(kernel, [2.0 - 0.1 - 0.5, 2.0 - 0.1 + 0.5], atol=1e-5)


def test_no_gradient_is_clipped_unless_asked_to():
  first, second = (tf.Variable([0.0], name=name) for name in "ab")
  optimizer = optimizer_of()
  optimizer.apply_gradients([(tf.constant([30.0]), first), (tf.constant([40.0]), second)])
  assert [float(optimizer.get_slot(v, "m")[0]) for v in (first, second)] == pytest.approx([3, 4])
  optimizer = optimizer_of(global_clipnorm=5.0)
  optimizer.apply_gradients([(tf.constant([30.0]), first), (tf.constant([40.0]), second)])
  # Of norm 50 to norm 5; a tenth of that is what the mean takes.
  assert [float(optimizer.get_slot(v, "m")[0]) for v in (first, second)] == pytest.approx(
    [0.3, 0.4]
  )


def test_what_decays_in_a_detector_is_what_the_loss_would_decay(folder):
  with small_backbones.registered():
    params = tiny.experiment(folder)
    model = mtl_detection.MtlDetectionTask(params.task).build_model()
  optimizer = optimizer_of()
  decaying = {v.name for v in model.trainable_variables if optimizer._do_use_weight_decay(v.name)}
  heads = (model.multi_object_head, model.closeness_head, model.foreground_head, model.refiner)
  in_loss = [
    *(kernel for stage in model.stages for kernel in stage.decayed_kernels),
    *model.rpn.decayed_kernels,
    *model.box_head.last_kernels,
    *(kernel for head in heads for kernel in head.last_kernels),
  ]
  assert decaying == {kernel.name for kernel in in_loss}
  assert len(decaying) > 20


def test_decay_by_optimizer_and_loss_is_refused(folder):
  adamw = {"optimizer": {"type": "adamw", "adamw": {"weight_decay_rate": 0.05}}}
  params = tiny.experiment(folder, {"trainer": {"optimizer_config": adamw}})
  with pytest.raises(ValueError, match="as kernels would decay twice"):
    detection_settings.check(params)


@pytest.mark.parametrize("enable_xla", [False, True])
def test_a_run_in_two_parts_is_one_in_one(tmp_path, enable_xla):
  toy_task.write_records(tmp_path)
  config = {
    "optimizer": {"type": "adamw", "adamw": {"weight_decay_rate": 0.1, "global_clipnorm": 1.0}},
    "learning_rate": {
      "type": "cosine",
      "cosine": {"initial_learning_rate": 0.05, "decay_steps": 100},
    },
    "warmup": {"type": "linear", "linear": {"warmup_steps": 10, "warmup_learning_rate": 0.001}},
  }

  def run(name, train_steps):
    trainer = {"train_steps": train_steps, "optimizer_config": config}
    override = {"trainer": trainer, "runtime": {"enable_xla": enable_xla}}
    return toy_task.run(tmp_path, name, override)

  whole = run("whole", 100)
  run("parts", 50)
  assert run("parts", 100).tobytes() == whole.tobytes()
