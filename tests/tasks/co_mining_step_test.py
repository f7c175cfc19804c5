"""The step of Co-mining as one XLA program, and in low precision."""

import numpy as np
import pytest
import tensorflow as tf

from mtl_ssl_tf.compilation import graph_checks
from mtl_ssl_tf.configs import experiments
from mtl_ssl_tf.tasks import co_mining, mining_measures
from tests.modeling import small, small_backbones
from tests.tasks import compiled_step_test, tiny


@pytest.fixture(name="backbones", autouse=True, scope="module")
def _backbones():
  with small_backbones.registered():
    yield


class Run:
  """A new tiny detector with its optimizer and a batch, the same every time."""

  def __init__(self, folder, compiled, batch_size=2, precision="float32"):
    task = {
      "backbone": {"type": "blocks"},
      "mining": {
        "score_threshold": 0.4,
        "ignore_band": 0.05,
        "num_slots": 3,
        "unlabelled": {
          "mask_proposals": True,
          "mask_anchors": True,
          "consistency_loss_weight": 1.0,
          "min_objectness": 0.4,
        },
      },
      "train_data": {"global_batch_size": batch_size},
    }
    params = tiny.experiment(
      folder,
      {"task": task, "runtime": {"mixed_precision_dtype": precision}},
      experiments.CO_MINING,
    )
    self.task = co_mining.CoMiningTask(
      params.task, crop_method="matmul" if compiled else "native", precision=precision
    )
    self.model = self.task.build_model()
    small.randomize(self.model)  # So that some places are objects to it.
    self.before = self.model.get_weights()
    optimizer = self.task.create_optimizer(params.trainer.optimizer_config, params.runtime)

    def step(images, labels):
      return self.task.train_step((images, labels), self.model, optimizer)

    self.step = tf.function(step, jit_compile=True, autograph=False) if compiled else step
    self.batch = next(iter(self.task.build_inputs(self.task.task_config.train_data)))

  def logs(self) -> dict[str, float]:
    """Takes a step."""
    return {name: float(value) for name, value in self.step(*self.batch).items()}

  def update(self) -> np.ndarray:
    """What the steps so far have added to all weights."""
    weights = zip(self.model.get_weights(), self.before, strict=True)
    return np.concatenate([np.ravel(after - before) for after, before in weights])


@pytest.mark.slow
def test_compiled_step_is_the_uncompiled_one(folder):
  plain, compiled = (Run(folder, is_compiled, batch_size=3) for is_compiled in (False, True))
  assert not graph_checks.check(compiled.step.get_concrete_function(*compiled.batch).graph)
  expected, found = plain.logs(), compiled.logs()
  measured = mining_measures.names(plain.task.task_config.mining, with_erased=False)
  assert set(found) == {"loss", "dropped_boxes", "consistency", *tiny.LOSSES, *measured}
  for name, value in expected.items():
    np.testing.assert_allclose(found[name], value, atol=1e-4, rtol=1e-4, err_msg=name)
  assert expected[mining_measures.BOXES] > 0.0
  assert expected[mining_measures.UNLABELLED] > 0.0 and expected["consistency"] > 0.0
  compiled_step_test.assert_same_update(compiled.update(), plain.update())


def test_low_precision(folder):
  plain, half = (Run(folder, False, precision=precision) for precision in ("float32", "bfloat16"))
  expected, found = plain.logs(), half.logs()
  assert found[mining_measures.BOXES] > 0.0
  for name in ("roi_class", "roi_box", "rpn_objectness"):
    np.testing.assert_allclose(found[name], expected[name], rtol=0.1, atol=0.02, err_msg=name)
  assert all(np.isfinite(value) for value in found.values())
