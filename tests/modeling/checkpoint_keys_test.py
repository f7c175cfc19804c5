"""Checkpoints of earlier versions still load: no key, name, shape or order has changed.

`checkpoint_keys.json` holds what detectors of every kind wrote. A new kind is added by

    python -m tests.modeling.checkpoint_keys_test

which keeps the kinds that are there. If a key has to change, translate it in `checkpoints/`, keep
the old list, and test the translation.
"""

import json
import pathlib

import pytest
import tensorflow as tf
from tensorflow.core.protobuf import trackable_object_graph_pb2

from mtl_ssl_tf.checkpoints import reading
from mtl_ssl_tf.configs import detector as config_lib
from mtl_ssl_tf.modeling import factory
from tests.modeling import small_backbones

_FILE = pathlib.Path(__file__).with_name("checkpoint_keys.json")
_SUFFIX = "/.ATTRIBUTES/VARIABLE_VALUE"
# Name -> backbone, kind of heads, features of the auxiliary heads.
KINDS = {
  "mobilenet, Faster R-CNN": ("mobilenet_v1", "faster_rcnn", "own_stage2"),
  "mobilenet, R-FCN": ("mobilenet_v1", "rfcn", "own_stage2"),
  "mobilenet, Faster R-CNN, shared map": ("mobilenet_v1", "faster_rcnn", "shared_map"),
  "mobilenet, R-FCN, shared map": ("mobilenet_v1", "rfcn", "shared_map"),
  "mobilenet, main head's features": ("mobilenet_v1", "faster_rcnn", "main_head"),
  "ResNet, Faster R-CNN": ("small_resnet", "faster_rcnn", "own_stage2"),
  "ResNet, R-FCN": ("small_resnet", "rfcn", "own_stage2"),
  "ResNet of basic blocks, Faster R-CNN": ("small_basic_resnet", "faster_rcnn", "own_stage2"),
  "EfficientNet-Lite, Faster R-CNN": ("small_efficientnet", "faster_rcnn", "own_stage2"),
  "Inception-ResNet, Faster R-CNN": ("small_inception", "faster_rcnn", "own_stage2"),
  "ResNet of basic blocks, pyramid": ("small_basic_resnet", "fpn", "own_stage2"),
  "EfficientNet-Lite, pyramid, shared map": ("small_efficientnet", "fpn", "shared_map"),
  "mobilenet, pyramid, main head's features": ("mobilenet_v1", "fpn", "main_head"),
  "mobilenet, pyramid, cascade": ("mobilenet_v1", "fpn cascade", "main_head"),
}


def written(kind, path):
  """What the checkpoint of a detector holds, and its variables in the order of optimizer slots."""
  backbone, head, features = KINDS[kind]
  head, _, cascade = head.partition(" ")
  config = config_lib.MtlDetection()
  config.override(
    {
      "backbone": {"type": backbone, "depth_multiplier": 0.125},
      "rpn": {"depth": 8, "num_proposals": 6},
      "fpn": {"depth": 4},
      "roi_head": {
        "type": head,
        "rfcn": {"reduce_depth": 4},
        "fpn": {"dense_depth": 4},
        "cascade": {"enabled": bool(cascade)},
      },
      "auxiliary": {"features": features, "shared_map": {"reduce_depth": 4, "stride": 1}},
    },
    is_strict=True,
  )
  with small_backbones.registered():
    model = factory.build_detector(config, 3)
  arrays = reading.arrays(tf.train.Checkpoint(model=model).write(str(path)), "path")
  graph = trackable_object_graph_pb2.TrackableObjectGraph.FromString(arrays[reading.OBJECT_GRAPH])
  return {
    "checkpoint": {
      name.removesuffix(_SUFFIX): str(list(array.shape))
      for name, array in sorted(arrays.items())
      if name.endswith(_SUFFIX)
    },
    "empty objects": _empty_objects(graph),
    "order": [variable.name for variable in model.variables],
    "not trained": [variable.name for variable in model.non_trainable_variables],
  }


def _empty_objects(graph):
  """Paths of the objects that hold nothing; a new layer would keep older checkpoints from loading.

  Lists count for nothing then, and every normalisation has one, `axis`.
  """
  found, seen, queue = [], set(), [(0, "")]
  for index, path in queue:
    if index in seen:
      continue
    seen.add(index)
    node = graph.nodes[index]
    if not node.children and not node.attributes and not path.endswith("/norm/axis"):
      found.append(path)
    queue += [(child.node_id, f"{path}/{child.local_name}") for child in node.children]
  return sorted(found)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_written_is_what_was_written(kind, tmp_path):
  expected = json.loads(_FILE.read_text())[kind]
  found = written(kind, tmp_path / "model")
  for name, values in expected.items():
    assert found[name] == values, name


def main() -> None:
  """Adds the kinds that are not yet in the file."""
  import tempfile

  known = json.loads(_FILE.read_text()) if _FILE.exists() else {}
  for kind in KINDS:
    if kind not in known:
      with tempfile.TemporaryDirectory() as folder:
        known[kind] = written(kind, pathlib.Path(folder) / "model")
  _FILE.write_text(json.dumps(known, indent=1) + "\n")


if __name__ == "__main__":
  main()
