"""Tests of warmup.py, on the requests that a tiny export comes with."""

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from mtl_ssl_tf.serving import detection_module, example_images, warmup
from tests.serving import tiny_run


def _replay(folder, loaded):
  """Sends the folder's requests to its SavedModel, as a server does; returns them."""
  path = folder / "assets.extra" / "tf_serving_warmup_requests"
  requests = [
    prediction_log_pb2.PredictionLog.FromString(record.numpy()).predict_log.request
    for record in tf.data.TFRecordDataset(str(path))
  ]
  for request in requests:
    inputs = {name: tf.constant(tf.make_ndarray(v)) for name, v in request.inputs.items()}
    outputs = loaded.signatures[request.model_spec.signature_name](**inputs)
    assert outputs["detection_boxes"].shape == (1, 40, 4)
  return requests


def test_every_signature_with_every_size(tiny_export, tiny_loaded):
  requests = _replay(tiny_export[0], tiny_loaded)
  names = [request.model_spec.signature_name for request in requests]
  assert names == [*tiny_run.SIGNATURES] * len(tiny_run.IMAGE_SIZES)
  assert {request.model_spec.name for request in requests} == {tiny_export[0].parent.name}
  sizes = [
    tuple(dim.size for dim in request.inputs["images"].tensor_shape.dim)
    for request in requests[:: len(names) // len(tiny_run.IMAGE_SIZES)]
  ]
  assert sizes == [(1, *size, 3) for size in tiny_run.IMAGE_SIZES]


def test_batches(tmp_path):
  (tmp_path / "assets.extra").mkdir()  # Where an export has its score thresholds.
  assert warmup.write(str(tmp_path), "m", [(8, 9)], 2) == 3
  path = tmp_path / "assets.extra" / "tf_serving_warmup_requests"
  sent = {}
  for record in tf.data.TFRecordDataset(str(path)):
    request = prediction_log_pb2.PredictionLog.FromString(record.numpy()).predict_log.request
    name = detection_module.INPUTS[request.model_spec.signature_name]
    sent[name] = tf.make_ndarray(request.inputs[name])
  assert {name: values.shape for name, values in sent.items()} == {
    "images": (2, 8, 9, 3),
    "encoded_images": (2,),
    "tf_examples": (2,),
  }
  # All show the same picture.
  records = tf.constant(sent["tf_examples"])
  assert example_images.encoded_images(records, "x").numpy().tolist() == list(
    sent["encoded_images"]
  )
  decoded = tf.io.decode_jpeg(sent["encoded_images"][0]).numpy()
  np.testing.assert_allclose(decoded, sent["images"][0], atol=30)
