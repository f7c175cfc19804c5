"""Times the first request to an export after its warm-up requests, and the median request.

    python -m benchmarks.serving_warmup --export_dir exported/NAME

The warm-up file is replayed as a server does; then one JPEG at a time goes to `serving_bytes`.
"""

import argparse
import os
import time

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from mtl_ssl_tf.serving import export_paths, warmup
from tests.data import voc_files

_REPEATS = 12
_SIZE = (480, 640)


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
  parser.add_argument("--export_dir", required=True)
  folder = export_paths.find_saved_model(parser.parse_args().export_dir)
  signatures = tf.saved_model.load(folder).signatures
  path = os.path.join(folder, export_paths.EXTRA_FOLDER, warmup.FILE)
  for record in tf.data.TFRecordDataset(path):
    request = prediction_log_pb2.PredictionLog.FromString(record.numpy()).predict_log.request
    inputs = {name: tf.constant(tf.make_ndarray(v)) for name, v in request.inputs.items()}
    start = time.perf_counter()
    signatures[request.model_spec.signature_name](**inputs)
    print(f"{request.model_spec.signature_name:20} {time.perf_counter() - start:8.2f} s")
  encoded = tf.constant([voc_files.image_bytes(voc_files.picture(*_SIZE), "JPEG")])
  seconds = []
  for _ in range(_REPEATS):
    start = time.perf_counter()
    signatures["serving_bytes"](encoded)
    seconds.append(time.perf_counter() - start)
  median = np.median(seconds)
  print(f"first {seconds[0]:.3f} s, median {median:.3f} s: {seconds[0] / median:.2f}x")


if __name__ == "__main__":
  main()
