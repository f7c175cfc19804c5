"""Mixed good and bad requests to an export over gRPC: wrong answers, rate and memory.

    python -m benchmarks.serving_soak --export_dir exported/NAME [--requests 10000]

The server is the tests' own (`tests/serving/contract_server.py`), in this process, with the client:
the memory is that of both, and of TensorFlow. It is read every 500 requests; growth is that
from the end of the warm-up, a fifth of the requests, to the end. Every answer is compared: of good
requests with the answer to the same one at the start, of bad ones with the status.
"""

import argparse
import pathlib
import time
from concurrent import futures

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from mtl_ssl_tf.serving import export_paths
from tests import fixtures
from tests.data import voc_files
from tests.serving import contract_server

_THREADS = 4
_LOOK_EVERY = 500
_SIZES = ((1, 1), (60, 80), (90, 160), (200, 90), (480, 640))


def requests() -> list[tuple[str, str, np.ndarray]]:
  """Signature, input and value of good and of bad requests, about half and half."""
  pictures = [voc_files.picture(*size) for size in _SIZES]
  jpegs = [voc_files.image_bytes(picture, "JPEG", exif=voc_files.exif(6)) for picture in pictures]
  pngs = [voc_files.image_bytes(picture, "PNG") for picture in pictures]
  gif = voc_files.image_bytes(pictures[1], "GIF")
  bomb = pngs[0][:16] + b"\0\0\x4e\x20" * 2 + pngs[0][24:]
  example = fixtures.serialized_example(np.asarray(pictures[1]))

  def encoded(*contents):
    return "serving_bytes", "encoded_images", np.array(contents, object)

  good = [encoded(content) for content in (*jpegs, *pngs, gif)]
  good += [encoded(jpegs[1], pngs[3], gif)]
  good += [("serving_default", "images", np.asarray(picture)[np.newaxis]) for picture in pictures]
  good += [("serving_tf_example", "tf_examples", np.array([example] * 2, object))]
  bad = [encoded(), encoded(b""), encoded(b"text"), encoded(bomb), encoded(pngs[1], bomb)]
  bad += [encoded(content[: len(content) // 2]) for content in (*jpegs[1:], *pngs[1:], gif)]
  bad += [
    ("serving_default", "images", np.zeros([1, 0, 0, 3], np.uint8)),
    ("serving_default", "images", np.full([1, 8, 8, 3], np.nan, np.float32)),
    ("serving_default", "photo", np.zeros([1, 8, 8, 3], np.uint8)),
    ("serving_tf_example", "tf_examples", np.array([example[:-1]], object)),
  ]
  return good + bad


def resident_mib() -> float:
  pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
  return pages * 4096 / 2**20


def call(stub, signature: str, name: str, value: np.ndarray):
  """Boxes and scores, or the status of the refusal."""
  request = predict_pb2.PredictRequest()
  request.model_spec.name = "soak"
  request.model_spec.signature_name = signature
  request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
  try:
    outputs = stub.Predict(request, timeout=600).outputs
  except grpc.RpcError as error:
    return error.code()
  return [tf.make_ndarray(outputs[key]) for key in ("detection_boxes_px", "detection_scores")]


def is_same(answer, expected) -> bool:
  if isinstance(expected, grpc.StatusCode) or isinstance(answer, grpc.StatusCode):
    return answer is expected
  return all(np.allclose(a, b, atol=1e-3) for a, b in zip(answer, expected, strict=True))


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
  parser.add_argument("--export_dir", required=True)
  parser.add_argument("--requests", type=int, default=10_000)
  args = parser.parse_args()
  folder = pathlib.Path(export_paths.find_saved_model(args.export_dir))
  kinds = requests()
  rng = np.random.default_rng(0)
  order = rng.integers(0, len(kinds), args.requests)
  with contract_server.serve(folder, "soak") as addresses:
    channel = grpc.insecure_channel(addresses.grpc)
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    expected = [call(stub, *kind) for kind in kinds]
    num_bad = sum(isinstance(answer, grpc.StatusCode) for answer in expected)
    statuses = {answer.name for answer in expected if isinstance(answer, grpc.StatusCode)}
    print(f"{len(kinds)} kinds of requests, {num_bad} bad ({', '.join(statuses)})", flush=True)
    wrong, memory, start = 0, {}, time.monotonic()
    with futures.ThreadPoolExecutor(_THREADS) as pool:
      for first in range(0, args.requests, _LOOK_EVERY):
        chunk = order[first : first + _LOOK_EVERY]
        answers = pool.map(lambda kind: call(stub, *kinds[kind]), chunk)
        wrong += sum(
          not is_same(answer, expected[kind]) for kind, answer in zip(chunk, answers, strict=True)
        )
        done = first + len(chunk)
        memory[done] = resident_mib()
        rate = done / (time.monotonic() - start)
        print(f"{done:6} requests {rate:6.1f}/s {memory[done]:8.1f} MiB, {wrong} wrong", flush=True)
  warm = memory[min(done for done in memory if done >= args.requests // 5)]
  growth = memory[max(memory)] / warm - 1.0
  print(f"{args.requests} requests: {wrong} wrong answers, memory {growth:+.2%} after warm-up")


if __name__ == "__main__":
  main()
