"""Writes the files that start `tensorflow_model_server`, next to the versions it serves."""

import pathlib

from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from mtl_ssl_tf import files

MODELS_FILE = "models.config"
BATCHING_FILE = "batching_parameters.txt"
MODELS_FOLDER = "/models"

_MODELS_HEADER = """\
# --model_config_file of tensorflow_model_server. The path is the one inside a container that has
# this folder mounted there; for a server without a container, write the folder's own.
"""
# Messages of TF Serving's BatchingParameters, whose definition the client packages leave out.
_BATCHING = """\
# --batching_parameters_file of tensorflow_model_server, with --enable_batching. Requests to
# serving_bytes and serving_tf_example that arrive at about the same time are answered together:
# good for an accelerator, hardly for a CPU. One bad image then fails its neighbours' requests too,
# and requests to serving_default must all send images of one size.
max_batch_size { value: %(max_batch_size)d }
batch_timeout_micros { value: 5000 }
max_enqueued_batches { value: 100 }
num_batch_threads { value: 2 }
%(allowed)s"""
_MAX_BATCH_SIZE = 8


def write_missing(export_dir: str, model_name: str, batch_size: int | None) -> None:
  """Writes those of the two files that are not there; others may have been changed by hand.

  Args:
    export_dir: folder of the versions.
    model_name: that clients will ask for.
    batch_size: the only one that the versions serve, or None.
  """
  allowed = f"allowed_batch_sizes: {batch_size}\n" if batch_size else ""
  batching = _BATCHING % {"max_batch_size": batch_size or _MAX_BATCH_SIZE, "allowed": allowed}
  for name, text in (
    (MODELS_FILE, _MODELS_HEADER + _models_config(model_name)),
    (BATCHING_FILE, batching),
  ):
    path = pathlib.Path(export_dir, name)
    if not path.exists():
      files.write_text(path, text)


def _models_config(model_name: str) -> str:
  config = model_server_config_pb2.ModelServerConfig()
  model = config.model_config_list.config.add()
  model.name = model_name
  model.base_path = f"{MODELS_FOLDER}/{model_name}"
  model.model_platform = "tensorflow"
  return text_format.MessageToString(config)
