"""bfloat16 and float16: which tensors stay float32, and what a step and a checkpoint are like."""

import functools

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from mtl_ssl_tf.checkpoints import model_checkpoint
from mtl_ssl_tf.labels import closeness, foreground, multi_object, windows
from mtl_ssl_tf.losses import auxiliary_losses, detection_losses
from mtl_ssl_tf.modeling import refinement, window_evidence
from mtl_ssl_tf.ops import box_coder_ops, box_ops, nms_ops, resize_ops, union_area_ops
from mtl_ssl_tf.tasks import mtl_detection
from tests.modeling import small_backbones
from tests.tasks import tiny

HALVES = ("bfloat16", "float16")
# What takes part in a step or an evaluation and must not lose bits.
FLOAT32 = [
  (box_coder_ops, "encode"),
  (box_coder_ops, "decode"),
  (box_ops, "pairwise_iou"),
  (box_ops, "normalize"),
  (nms_ops, "batched_nms"),
  (nms_ops, "multiclass_nms"),
  (resize_ops, "bilinear_resize"),
  (closeness, "closeness_labels"),
  (foreground, "foreground_labels"),
  (multi_object, "multi_object_labels"),
  (union_area_ops, "union_fractions"),
  (windows, "sample_windows"),
  (refinement, "mean_closeness"),
  (window_evidence, "expanded_windows"),
  (detection_losses, "rpn_losses"),
  (detection_losses, "roi_class_loss"),
  (detection_losses, "roi_box_loss"),
  (auxiliary_losses, "multi_object_loss"),
  (auxiliary_losses, "closeness_loss"),
  (auxiliary_losses, "foreground_loss"),
  (tf.nn, "softmax"),
  (tf.nn, "log_softmax"),
  (tf.nn, "softmax_cross_entropy_with_logits"),
  (tf.nn, "sparse_softmax_cross_entropy_with_logits"),
  (tf.nn, "l2_loss"),
]


@pytest.fixture(name="backbones", autouse=True, scope="module")
def _backbones():
  with small_backbones.registered():
    yield


class Run:
  """A new tiny detector with its optimizer and a batch, the same every time."""

  def __init__(self, folder, precision: str, head: str = "faster_rcnn", **runtime):
    fields = {
      "backbone": {"type": "blocks"},
      "roi_head": {"type": head, "rfcn": {"reduce_depth": 16}},
    }
    runtime = {"mixed_precision_dtype": precision, **runtime}
    experiment = tiny.experiment(folder, {"task": fields, "runtime": runtime})
    self.task = mtl_detection.MtlDetectionTask(
      experiment.task, crop_method="matmul", precision=precision
    )
    self.model = self.task.build_model()
    optimizer_config = experiment.trainer.optimizer_config
    optimizer_config.optimizer.get().clipnorm = 1.0
    self.optimizer = self.task.create_optimizer(optimizer_config, experiment.runtime)
    self.batch = next(iter(self.task.build_inputs(self.task.task_config.train_data)))
    self.before = self.model.get_weights()

  def step(self) -> dict[str, tf.Tensor]:
    return self.task.train_step(self.batch, self.model, self.optimizer)

  def update(self) -> np.ndarray:
    """What the steps so far have added to all weights."""
    weights = zip(self.model.get_weights(), self.before, strict=True)
    return np.concatenate([np.ravel(after - before) for after, before in weights])

  def checkpoint(self) -> tf.train.Checkpoint:
    return tf.train.Checkpoint(model=self.model, optimizer=self.optimizer)


@pytest.fixture(name="plain", scope="module")
def _plain(folder):
  """A float32 run after one step, and the step's losses."""
  run = Run(folder, "float32")
  run.losses = run.step()
  return run


@pytest.mark.parametrize("head", ["faster_rcnn", "rfcn"])
def test_what_stays_float32(folder, monkeypatch, head):
  seen = {}

  def spy(name, function, *args, **kwargs):
    result = function(*args, **kwargs)
    tensors = tf.nest.flatten((args, kwargs, result))
    seen.setdefault(name, set()).update(
      tensor.dtype for tensor in tensors if tf.is_tensor(tensor) and tensor.dtype.is_floating
    )
    return result

  for module, name in FLOAT32:
    function = getattr(module, name)
    monkeypatch.setattr(module, name, functools.partial(spy, name, function))
  run = Run(folder, "bfloat16", head)
  losses = run.step()
  batch = next(iter(run.task.build_inputs(run.task.task_config.validation_data)))
  logs = run.task.validation_step(batch, run.model)
  assert seen == {name: {tf.float32} for _, name in FLOAT32}
  assert {value.dtype for value in losses.values()} == {tf.float32}
  assert {value.dtype for value in logs.values() if value.dtype.is_floating} == {tf.float32}
  assert {variable.dtype for variable in run.model.variables} == {tf.float32}


@pytest.mark.parametrize("precision", HALVES)
@pytest.mark.parametrize("head", ["faster_rcnn", "rfcn"])
def test_the_stages_compute_in_the_low_precision(folder, precision, head):
  run = Run(folder, precision, head)
  images, labels = run.batch
  size = labels["image_size_px"]
  first = run.model.first_stage(images, size, training=True)
  assert first.features.dtype == first.rpn.features.dtype == precision
  assert first.rpn.logits.dtype == first.rpn.deltas.dtype == tf.float32
  if head == "faster_rcnn":
    second = run.model.box_stage(first.features, first.proposals.boxes_px, size)
    assert second.box_features.dtype == tf.float32
  seen = []

  def spy(owner, name):
    method = getattr(owner, name)

    def call(inputs, **kwargs):
      seen.append(inputs.dtype.name)
      return method(inputs, **kwargs)

    setattr(owner, name, call)

  spy(run.model.backbone, "preprocess")
  for stage in (run.model.stage1, run.model.box_head.stage2, run.model.closeness_head.stage2):
    spy(stage, "call")
  run.model(images, size)
  assert seen == ["float32"] + [precision] * 3
  # The policy was for this model alone.
  assert tf_keras.mixed_precision.global_policy().name == "float32"


@pytest.mark.slow
@pytest.mark.parametrize("precision", HALVES)
def test_compiled_steps_learn(folder, plain, precision):
  run = Run(folder, precision)
  step = tf.function(run.step, jit_compile=True, autograph=False)
  losses = [step() for _ in range(25)]
  for name, value in plain.losses.items():
    np.testing.assert_allclose(losses[0][name], value, rtol=0.02, atol=0.02, err_msg=name)
  totals = [float(logs["loss"]) for logs in losses]
  assert all(np.isfinite(totals))
  # Windows and regions are drawn again each time.
  assert np.mean(totals[-5:]) < np.mean(totals[:5]) - 0.3


@pytest.mark.parametrize(
  ("precision", "runtime"),
  [("bfloat16", {}), ("float16", {"loss_scale": 64}), ("float16", {"loss_scale": "dynamic"})],
)
def test_the_update_is_that_of_float32(folder, plain, precision, runtime):
  # Gradients are clipped, and so must not be scaled any more.
  run = Run(folder, precision, **runtime)
  run.step()
  error = np.linalg.norm(run.update() - plain.update())
  assert error < 0.1 * np.linalg.norm(plain.update())


@pytest.mark.parametrize("precision", HALVES)
def test_checkpoints_fit_both_ways(folder, plain, precision, tmp_path):
  half = Run(folder, precision, **({"loss_scale": 64} if precision == "float16" else {}))
  half.step()
  for source, target in ((half, Run(folder, "float32")), (plain, half)):
    target.step()  # Makes the slots of the optimizer.
    path = source.checkpoint().write(str(tmp_path / "weights"))
    model_checkpoint.load_model(target.model, path, "here:")
    target.checkpoint().read(path).assert_existing_objects_matched()
    found = {name: value for name, value in _values(target).items() if name != "loss_scale"}
    expected = _values(source)
    assert any("momentum" in name for name in found)
    for name, value in found.items():
      np.testing.assert_array_equal(value, expected[name], err_msg=name)


def _values(run: Run) -> dict[str, np.ndarray]:
  """All weights, and what the optimizer remembers of each."""
  values = {f"weight {i}": weight for i, weight in enumerate(run.model.get_weights())}
  inner = getattr(run.optimizer, "inner_optimizer", run.optimizer)
  for i, weight in enumerate(inner.get_weights()):
    values[f"momentum {i}"] = weight
  return values
