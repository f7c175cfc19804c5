"""The whole training step as one XLA program: its losses and its update are the uncompiled ones."""

import numpy as np
import pytest
import tensorflow as tf

from mtl_ssl_tf.tasks import mtl_detection
from tests.modeling import small_backbones
from tests.tasks import tiny

# All heads are compiled with the first one and in the tests below; here they are left out, as they
# take most of the time: each has a second stage of its own.
FEW_HEADS = {
  "auxiliary": {"closeness": {"loss_weight": 0.0}, "foreground": {"loss_weight": 0.0}},
  "refinement": {"enabled": False},
}
ARCHITECTURES = [
  ("faster_rcnn", "mobilenet_v1"),
  ("faster_rcnn", "small_resnet"),
  ("faster_rcnn", "small_inception"),
  ("rfcn", "small_resnet"),
  ("faster_rcnn", "small_efficientnet"),
]


@pytest.fixture(name="backbones", autouse=True, scope="module")
def _backbones():
  with small_backbones.registered():
    yield


class Run:
  """A new tiny detector with its optimizer and data, the same every time."""

  def __init__(self, folder, compiled: bool, batch_size: int = 2, **task_fields):
    fields = {**task_fields, "train_data": {"global_batch_size": batch_size}}
    experiment = tiny.experiment(folder, {"task": fields})
    method = "matmul" if compiled else "native"
    self.task = mtl_detection.MtlDetectionTask(experiment.task, crop_method=method)
    self.model = self.task.build_model()
    self.before = self.model.get_weights()
    optimizer = self.task.create_optimizer(experiment.trainer.optimizer_config, experiment.runtime)

    def step(images, labels):
      return self.task.train_step((images, labels), self.model, optimizer)

    self.step = tf.function(step, jit_compile=True, autograph=False) if compiled else step
    self.batches = iter(self.task.build_inputs(self.task.task_config.train_data))

  def losses(self) -> dict[str, float]:
    """Takes a step."""
    return {name: float(value) for name, value in self.step(*next(self.batches)).items()}

  def update(self) -> np.ndarray:
    """What the steps so far have added to all weights."""
    weights = zip(self.model.get_weights(), self.before, strict=True)
    return np.concatenate([np.ravel(after - before) for after, before in weights])


def assert_same_losses(found, expected, losses=tiny.LOSSES):
  assert set(found) == {"loss", "dropped_boxes", *losses}
  for name, value in expected.items():
    np.testing.assert_allclose(found[name], value, atol=1e-4, rtol=0, err_msg=name)


def assert_same_update(found: np.ndarray, expected: np.ndarray):
  """Up to rounding, of which 0.1 to 1.1 % were seen.

  Threads add in any order, and in a new network a unit near zero goes either way.
  """
  assert np.linalg.norm(found - expected) < 0.03 * np.linalg.norm(expected)


@pytest.mark.slow
@pytest.mark.parametrize(("head", "backbone"), ARCHITECTURES)
def test_architectures(folder, head, backbone):
  fields = {
    "backbone": {"type": backbone},
    "roi_head": {"type": head, "rfcn": {"reduce_depth": 16}},
  }
  losses = tiny.LOSSES
  if (head, backbone) != ARCHITECTURES[0]:
    fields |= FEW_HEADS
    left_out = {*FEW_HEADS, *FEW_HEADS["auxiliary"]}
    losses = [name for name in losses if name not in left_out]
  plain, compiled = Run(folder, False, **fields), Run(folder, True, **fields)
  assert_same_losses(compiled.losses(), plain.losses(), losses)
  assert_same_update(compiled.update(), plain.update())


@pytest.mark.slow
@pytest.mark.parametrize(
  ("backbone", "features"), [("small_resnet", "shared_map"), ("blocks", "main_head")]
)
def test_features_of_auxiliary_heads_with_recomputed_activations(folder, backbone, features):
  fields = {
    "backbone": {"type": backbone, "norm": {"type": "group"}, "recompute": True},
    "auxiliary": {"features": features, "shared_map": {"reduce_depth": 16}},
  }
  compiled = Run(folder, True, **fields)
  fields["backbone"]["recompute"] = False
  plain = Run(folder, False, **fields)
  assert_same_losses(compiled.losses(), plain.losses())
  assert_same_update(compiled.update(), plain.update())


@pytest.mark.slow
@pytest.mark.parametrize("batch_size", [1, 3])  # All others here are of two images.
def test_any_batch_size_and_the_step_that_follows(folder, batch_size):
  # One convolution a stage: what rounding does to one step is not blown up in the next.
  fields = {"backbone": {"type": "blocks"}}
  plain, compiled = (
    Run(folder, is_compiled, batch_size, **fields) for is_compiled in (False, True)
  )
  assert_same_losses(compiled.losses(), plain.losses())
  traces = compiled.step.experimental_get_tracing_count()
  assert_same_losses(compiled.losses(), plain.losses())
  for _ in range(8):
    compiled.losses()
  assert compiled.step.experimental_get_tracing_count() == traces
