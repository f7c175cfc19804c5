"""What a detection run checks before it is built; the whole of it is tried in `driver_test.py`."""

import pytest

from mtl_ssl_tf.configs import detector
from mtl_ssl_tf.tasks import detection_settings


@pytest.mark.parametrize(
  ("norm_type", "init", "warns"),
  [("frozen", "", True), ("frozen", "imagenet", False), ("batch", "", False)],
)
def test_frozen_statistics_without_start_weights(norm_type, init, warns, capsys):
  task = detector.MtlDetection()
  task.backbone.norm.type, task.init_checkpoint = norm_type, init
  detection_settings.check_start(task)
  told = capsys.readouterr().err
  assert told.startswith("warning: task.backbone.norm.type is 'frozen' and there are no") == warns


@pytest.mark.parametrize(
  ("backbone", "weights", "layout"),
  [
    ("resnet_101", "imagenet", "keras"),
    ("resnet_50", "imagenet", "keras"),
    ("resnet_101", "resnet_v1_101.ckpt", "slim"),
    ("mobilenet_v1", "imagenet", "slim"),
    ("resnet_18", "imagenet", "slim"),
    ("resnet_18", "resnet18.pth", "torchvision"),
    ("resnet_50", "resnet50.pt", "torchvision"),
    ("mobilenet_v1", "mobilenet.pth", "slim"),
  ],
)
def test_weights_of_resnet_bring_their_layout(backbone, weights, layout):
  task = detector.MtlDetection()
  task.backbone.type = backbone
  detection_settings.start_from(task, weights)
  assert (task.init_checkpoint, task.backbone.layout) == (weights, layout)
