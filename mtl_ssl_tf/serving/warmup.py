"""Writes the requests that TF Serving sends itself on loading an export, so that no user waits.

The first call of a graph is slow: memory is reserved, kernels are chosen. A server that finds
`assets.extra/tf_serving_warmup_requests` in a version, TFRecords of PredictionLog, answers these
requests before it announces the version.
"""

import os
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from mtl_ssl_tf.data import schema
from mtl_ssl_tf.serving import detection_module, export_paths

FILE = "tf_serving_warmup_requests"


def write(
  folder: str, model_name: str, sizes: Sequence[tuple[int, int]], batch_size: int | None
) -> int:
  """Writes a request of every size to every signature; returns how many.

  Args:
    folder: of the SavedModel.
    model_name: that the server knows it by.
    sizes: heights and widths of images, those that users will send.
    batch_size: images in a request; None for one.
  """
  path = os.path.join(folder, export_paths.EXTRA_FOLDER, FILE)
  os.makedirs(os.path.dirname(path), exist_ok=True)
  count = 0
  with tf.io.TFRecordWriter(path) as writer:
    for size in sizes:
      for request in requests(model_name, size, batch_size or 1):
        log = prediction_log_pb2.PredictionLog(
          predict_log=prediction_log_pb2.PredictLog(request=request)
        )
        writer.write(log.SerializeToString())
        count += 1
  return count


def requests(
  model_name: str, size: tuple[int, int], batch_size: int
) -> Iterator[predict_pb2.PredictRequest]:
  """One request to each signature, all with the same image of a size."""
  for signature, value in inputs(size).items():
    request = predict_pb2.PredictRequest()
    request.model_spec.name = model_name
    request.model_spec.signature_name = signature
    name = detection_module.INPUTS[signature]
    request.inputs[name].CopyFrom(tf.make_tensor_proto(np.stack([value] * batch_size)))
    yield request


def inputs(size: tuple[int, int]) -> Mapping[str, np.ndarray]:
  """Returns the input of each signature for one image, which is made up."""
  height, width = size
  # Of many values and smooth, so that it takes about as long to decode as a photograph.
  rows, columns = np.arange(height)[:, np.newaxis], np.arange(width)
  waves = np.sin(rows / 9.0) * np.cos(columns / 7.0)  # [h, w]
  image = np.stack([128 + 100 * waves, 128 - 100 * waves, 128 + 60 * waves], axis=-1)
  image = image.astype(np.uint8)  # [h, w, 3]
  encoded = tf.io.encode_jpeg(image).numpy()
  example = tf.train.Example()
  example.features.feature[schema.IMAGE_ENCODED].bytes_list.value.append(encoded)
  return {
    detection_module.SERVING_DEFAULT: image,
    detection_module.SERVING_BYTES: np.array(encoded, object),
    detection_module.SERVING_TF_EXAMPLE: np.array(example.SerializeToString(), object),
  }
