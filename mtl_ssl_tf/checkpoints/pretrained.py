"""Start weights of a detector, whatever form they come in.

`imagenet`             ImageNet weights of tf_keras.applications, downloaded
`efficientnet_lite0`   ImageNet weights of that network from an installed package; also 1 and 2
a file *.h5            weights of such a Keras network
a file *.pth or *.pt   a PyTorch state dict of the classification network, or, on a feature pyramid,
                       of torchvision's detector
a TF-slim checkpoint   of the classification network
a released checkpoint  of a detector of the authors, in TF-slim's names
a checkpoint of ours   of a detector, with or without auxiliary heads, or of a pretraining

From a classification network, the auxiliary heads' second stages start as the main head's does.
So they do from a pretraining by instance localisation, of which the query encoder's two stages are
loaded, and its pyramid if it has one. Its second stage is that of every stage of a cascade.
From a detector without auxiliary heads they start from the detector's own second stage, which the
paper calls replicating it.
"""

import tensorflow as tf
from tensorflow.core.protobuf import trackable_object_graph_pb2

from mtl_ssl_tf.checkpoints import (
  efficientnet_weights,
  keras_weights,
  reading,
  reference,
  torch_files,
  torch_weights,
)
from mtl_ssl_tf.checkpoints.report import Report
from mtl_ssl_tf.modeling import detector

MODULES = ("all", "backbone")
# Last parts of names that are none of a network's weights: in TF-slim's checkpoints, in ours.
IGNORED_LEAVES = ("Momentum", "ExponentialMovingAverage", "global_step", "mean_rgb")
OPTIMIZER_SLOT = ".OPTIMIZER_SLOT"
# In a checkpoint of a pretraining, what is none of a detector's weights.
_KEY_ENCODER = "model/key_encoder/"
PRETRAINING_PARTS = (_KEY_ENCODER, "model/queue/", "model/query_encoder/projection/")


def check_source(path: str, source: str) -> None:
  """Refuses start weights that are not there.

  Raises:
    ValueError: naming the path.
  """
  if path in efficientnet_weights.NAMES:
    efficientnet_weights.find(path, source)
  elif path.endswith((".h5", *torch_files.ENDINGS)):
    if not tf.io.gfile.exists(path):
      raise ValueError(f"{source} {path!r} does not exist")
    reading.check_files([path], source)
  elif path != keras_weights.IMAGENET:
    reading.find(path, source)


def is_pretraining(path: str, source: str) -> bool:
  """Returns whether weights are those of a pretraining by instance localisation.

  Raises:
    ValueError: it is a checkpoint that is not there or cannot be read.
  """
  is_other = path in (*efficientnet_weights.NAMES, keras_weights.IMAGENET)
  if is_other or path.endswith((".h5", *torch_files.ENDINGS)):
    return False
  return any(
    name.startswith(_KEY_ENCODER) for name in reading.names(reading.find(path, source), source)
  )


def load(
  model: detector.Detector, path: str, source: str, modules: str = "all", copy_missing: bool = True
) -> Report:
  """Loads start weights into a detector.

  Args:
    model: the detector, with its variables made.
    path: the name of weights, a file, a checkpoint or a folder with checkpoints; see above.
    source: how the path came about, for the message.
    modules: of a detector's checkpoint, `all`, or `backbone` for both stages alone, e.g. because
      the classes are others.
    copy_missing: whether auxiliary second stages that the weights do not have start as the main
      head's does.

  Returns:
    A report, by the names in the checkpoint or, of our own checkpoints, in ours.

  Raises:
    ValueError: if the weights cannot be read, a shape differs, or nothing fits; then the detector
      is as it was.
  """
  if path in efficientnet_weights.NAMES:
    return efficientnet_weights.load(model, path, source, auxiliary=copy_missing)
  if path == keras_weights.IMAGENET or path.endswith(".h5"):
    return keras_weights.load(model, path, source, auxiliary=copy_missing)
  if path.endswith(torch_files.ENDINGS):
    return torch_weights.load(model, path, source, auxiliary=copy_missing, modules=modules)
  path = reading.find(path, source)
  names = reading.names(path, source)
  try:
    if reading.OBJECT_GRAPH in names:
      arrays = _by_reference_name(model, path, source)
    else:
      arrays = reading.arrays(path, source)
      if not any(name.startswith("FirstStage") for name in names):
        variables = reference.classification_variables(model, auxiliary=copy_missing)
        report = reference.assign_named(variables, arrays)
        return report._replace(unused=[n for n in report.unused if not ignored(n)])
    if modules == "backbone":
      stages = reference.stage_names(model)
      arrays = {name: array for name, array in arrays.items() if name in stages}
    report = reference.assign(model, arrays)
  except ValueError as error:
    message = str(error)
    hint = "; task.init_modules: backbone leaves the heads out" if "shape" in message else ""
    prefix = "" if message.startswith(source) else f"{source} {path!r}: "
    raise ValueError(f"{prefix}{message}{hint}") from error
  report = report._replace(unused=[name for name in report.unused if not ignored(name)])
  return _copy_main_stage2(model, report) if copy_missing else report


def ignored(name: str) -> bool:
  """Returns whether a checkpoint's variable is none of a detector's weights.

  The released graph makes ResNet's block 4 in the first stage too, and has no use for it. A
  pretraining has a key encoder and a queue.
  """
  if name.startswith(PRETRAINING_PARTS):
    return True
  parts = name.split("/")
  unused_block4 = parts[0] == "FirstStageFeatureExtractor" and parts[2:3] == ["block4"]
  return unused_block4 or parts[-1] in IGNORED_LEAVES


def _copy_main_stage2(model: detector.Detector, report: Report) -> Report:
  """Copies the main second stage to the auxiliary heads of which nothing was loaded."""
  named = reference.reference_variables(model)
  missing, copied = set(report.missing), []
  for scope in reference.AUXILIARY_SCOPES:
    pairs = reference.stage2_copies(model, scope)
    if pairs and missing.issuperset(pairs):
      for name, main_name in pairs.items():
        named[name].assign(named[main_name])
      copied += pairs
  return report._replace(missing=sorted(missing - set(copied)), copied=sorted(copied))


def _by_reference_name(model: detector.Detector, path: str, source: str) -> dict:
  """The weights in a checkpoint of ours: by reference name those that this detector has too, by
  their own name the others.
  """
  arrays = reading.arrays(path, source)
  graph = arrays[reading.OBJECT_GRAPH]
  keys = _checkpoint_keys(tf.train.Checkpoint(model=model), graph)
  if any(name.startswith(_KEY_ENCODER) for name in arrays):
    for head in model.main_heads:
      box_head = tf.train.Checkpoint(stage2=head.stage2)
      model_with_it = tf.train.Checkpoint(box_head=box_head)
      keys |= _checkpoint_keys(tf.train.Checkpoint(model=model_with_it), graph)
  named = reference.reference_variables(model)
  found = {
    name: arrays[keys[variable.ref()]] for name, variable in named.items() if variable.ref() in keys
  }
  known = set(keys.values())
  found.update(
    {
      key: array
      for key, array in arrays.items()
      if key.startswith("model/") and key not in known and OPTIMIZER_SLOT not in key
    }
  )
  return found


def _checkpoint_keys(root: tf.train.Checkpoint, serialized_graph: bytes) -> dict:
  """Reference of each variable below `root` -> its key in a checkpoint, where it is there.

  Goes the ways that the checkpoint and the object have in common, as restoring does.
  """
  graph = trackable_object_graph_pb2.TrackableObjectGraph.FromString(serialized_graph)
  view = tf.train.TrackableView(root)
  keys, queue, seen = {}, [(root, graph.nodes[0])], set()
  while queue:
    trackable, node = queue.pop()
    if id(trackable) in seen:
      continue
    seen.add(id(trackable))
    if isinstance(trackable, tf.Variable) and node.attributes:
      keys[trackable.ref()] = node.attributes[0].checkpoint_key
    children = {child.local_name: graph.nodes[child.node_id] for child in node.children}
    for name, child in view.children(trackable).items():
      if name in children:
        queue.append((child, children[name]))
  return keys
