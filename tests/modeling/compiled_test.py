"""The whole of inference under XLA, for all backbones and heads: the detections uncompiled."""

import numpy as np
import pytest
import tensorflow as tf

from mtl_ssl_tf.configs import detector as config_lib
from mtl_ssl_tf.modeling import factory
from tests.modeling import small, small_backbones

NUM_CLASSES = 4


@pytest.fixture(name="backbones", autouse=True, scope="module")
def _backbones():
  with small_backbones.registered():
    yield


def _detector(backbone, head, features, crop_method):
  config = config_lib.MtlDetection()
  config.override(
    {
      "backbone": {"type": backbone, "depth_multiplier": 0.25, "norm": {"type": "group"}},
      "anchors": {"base_size_px": 32.0},
      "rpn": {"depth": 16, "num_proposals": 8},
      "roi_head": {"type": head, "rfcn": {"reduce_depth": 16}},
      "auxiliary": {"features": features, "shared_map": {"reduce_depth": 16}},
      "refinement": {"max_proposals": 5},
      "detections": {"max_total": 10},
    },
    is_strict=True,
  )
  tf.random.set_seed(0)
  return factory.build_detector(config, NUM_CLASSES, crop_method)


@pytest.mark.slow
@pytest.mark.parametrize(
  ("backbone", "head", "features"),
  [
    ("mobilenet_v1", "faster_rcnn", "own_stage2"),
    ("mobilenet_v1", "rfcn", "own_stage2"),
    ("small_resnet", "rfcn", "own_stage2"),
    ("small_inception", "faster_rcnn", "own_stage2"),
    ("small_resnet", "faster_rcnn", "shared_map"),
    ("small_resnet", "faster_rcnn", "main_head"),
  ],
)
def test_inference_compiles_whole(backbone, head, features):
  native = _detector(backbone, head, features, "native")
  twin = _detector(backbone, head, features, "matmul")
  twin.set_weights(native.get_weights())
  images = small.noise_images(2, 96, 128)
  sizes = tf.constant([[96.0, 128.0], [80.0, 101.0]])
  expected = native(images, sizes)
  compiled = tf.function(lambda *inputs: twin(*inputs), jit_compile=True, autograph=False)
  found = compiled(images, sizes)
  assert set(found) == set(expected)
  for name in ("proposals_px", "class_logits", "refined_logits", "closeness_logits"):
    scale = np.std(expected[name])
    np.testing.assert_allclose(found[name], expected[name], atol=1e-3 * scale, err_msg=name)
  np.testing.assert_array_equal(found["refined"], expected["refined"])
  assert np.all(np.sum(found["refined"], axis=1) == 5)
  np.testing.assert_array_equal(found["num_detections"], expected["num_detections"])
  np.testing.assert_allclose(found["detection_scores"], expected["detection_scores"], atol=1e-4)
